package images

import "slices"

// A Board is what an image for one kind of box consists of. It is data: what differs between boxes is a row here.
type Board struct {
	Name        string
	CommandLine string   // of the kernel; measured
	Modules     []string // in the order in which they are loaded; what they depend on comes by itself
	Packages    []string // that the image is made of; the kernel's first
	Tools       []string // programs in the packages, with all that they need to run
	Layout      Layout
	Loader      bool // systemd-boot chooses the slot
}

// Boards are all boxes that there are images for, by name.
var Boards = []Board{qemu}

// FindBoard returns the board of that name.
func FindBoard(name string) (Board, bool) {
	i := slices.IndexFunc(Boards, func(b Board) bool { return b.Name == name })
	if i < 0 {
		return Board{}, false
	}
	return Boards[i], true
}

// qemu is QEMU's arm64 machine "virt" with EDK2: every test boots it. The kernel is Debian's cloud flavour, the one that
// has a driver for QEMU's TPM (tpm_tis). It shows what `make run` shows, with a user to try, because nothing that it
// keeps is anyone's.
var qemu = Board{
	Name:        "qemu",
	CommandLine: "console=ttyAMA0 loglevel=4 panic=10 postern.demo",
	Modules:     []string{"virtio_rng", "virtio_blk", "virtio_net", "tpm_tis", "evdev"},
	Packages: []string{
		"linux-image-6.12.107+deb13-cloud-arm64", "systemd-boot-efi",
		"e2fsprogs", "libext2fs2t64", "libcom-err2", "libblkid1", "libuuid1", "libc6",
	},
	Tools:  []string{"usr/sbin/mke2fs"},
	Loader: true,
	Layout: Layout{
		GUID:  "0D6C5F5E-8C0A-4B6F-9A63-0F1F6B7D2A01",
		First: align,
		Partitions: []Partition{
			{Name: "postern-boot", Type: TypeESP, GUID: "0D6C5F5E-8C0A-4B6F-9A63-0F1F6B7D2A02", Size: 256 << 20},
			{Name: StateName, Type: TypeState, GUID: "0D6C5F5E-8C0A-4B6F-9A63-0F1F6B7D2A03", Size: 256 << 20},
		},
	},
}

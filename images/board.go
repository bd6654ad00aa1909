package images

import "slices"

// A Board is what an image for one kind of box consists of. It is data: what differs between boxes is a row here.
type Board struct {
	Name        string
	About       string // of the boxes, for people
	CommandLine string // of the kernel; measured
	Layout      Layout
	Packages    []string // that the image is made of; a name may have a * in it (Lock.Select)
	Tools       []string // programs in the packages, with all that they need to run

	Modules []string           // always loaded, in this order; what they depend on comes by itself
	Drivers []string           // carried, and loaded for a device that asks for them
	Trees   []string           // device trees in the kernel's packages; what drives their devices is carried too
	Patches map[string][]Patch // by tree
	Beside  bool               // the trees lie on the boot partition, where the first firmware wants them, and not in the kernel image

	Loader bool   // systemd-boot chooses the slot
	Script bool   // U-Boot's script chooses the slot
	Files  []File // on the boot partition, for what comes before Linux
	Raw    []Raw  // outside of the partitions, the same
	// Needs says which boot loader the box must have of its own, because Debian has none that we could ship; "" if none.
	Needs string
}

// A File is a file of the boot partition: a package's, or a text.
type File struct{ Name, From, Text string }

// A Raw is a range of a package's file, at a place on the disk where a processor's first program looks for it.
type Raw struct {
	From string
	At   int64 // bytes from the disk's beginning
}

// Boards are all boxes that there are images for, by name.
var Boards = []Board{qemu, qemuUBoot, uefi, rpi, helios64, odroidHC4, cm3588, rock5, rockpro64}

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
	About:       "QEMU's arm64 machine virt, to try and to test",
	CommandLine: "console=ttyAMA0 loglevel=4 panic=10 postern.demo",
	Modules: []string{
		"virtio_rng", "virtio_blk", "virtio_net", "tpm_tis", "efivarfs", "efi_pstore", "softdog", "evdev", "btrfs", "vfat", "nls_ascii", "nls_cp437",
		"nf_tables", "nft_ct", "nft_limit", "nft_reject_inet", "nft_log",
	},
	Packages: append([]string{"linux-image-*-cloud-arm64", "systemd-boot-efi"}, toolPackages...),
	Tools:    tools,
	Loader:   true,
	Layout: Layout{
		GUID:  "0D6C5F5E-8C0A-4B6F-9A63-0F1F6B7D2A01",
		First: align,
		Partitions: []Partition{
			{Name: "postern-boot", Type: TypeESP, GUID: "0D6C5F5E-8C0A-4B6F-9A63-0F1F6B7D2A02", Size: 256 << 20},
			{Name: StateName, Type: TypeState, GUID: "0D6C5F5E-8C0A-4B6F-9A63-0F1F6B7D2A03", Size: 256 << 20},
		},
	},
}

// qemuUBoot is the same machine, started by U-Boot as boxes with Rockchip's and Broadcom's processors are: what differs is
// who chooses the slot.
var qemuUBoot = func() Board {
	b := qemu
	b.Name, b.About = "qemu-uboot", "the same with U-Boot, for tests"
	b.Loader, b.Script = false, true
	b.Packages = append(slices.Clone(b.Packages), UBootPackage)
	return b
}()

// UBootPackage has the U-Boot that QEMU starts for it, as UBootFile.
const (
	UBootPackage = "u-boot-qemu"
	UBootFile    = "usr/lib/u-boot/qemu_arm64/u-boot.bin"
)

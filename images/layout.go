package images

import (
	"fmt"
	"unicode/utf16"
)

// Partition types: UEFI Specification 5.3.3, and "Linux filesystem data" of the UAPI group's Discoverable Partitions
// Specification. The state partition has a type of its own, so that no other system takes it for one of its own or
// mounts it by itself.
const (
	TypeESP   = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	TypeState = "7B8C1C9E-6F35-4F0B-9B58-2E6C5D0B51A7"
)

// StateName is the name of the partition that holds all that outlives a restart. The box finds it by that.
const StateName = "postern-state"

// ResolverFile is where the box writes which name servers there are. The image's /etc/resolv.conf leads there: its root is
// read-only.
const ResolverFile = "/run/resolv.conf"

const (
	sector = 512
	// align is where partitions begin: no flash that we know has larger erase blocks in its partition alignment.
	align = 1 << 20
	// gptSectors is a table at either end of a disk: a header and 128 entries; and the protective MBR before the first.
	gptSectors = 34
)

// A Partition is one row of a Layout.
type Partition struct {
	Name string // in the table; at most 36 UTF-16 units
	Type string // GUID
	GUID string
	Size int64 // bytes, a multiple of 1 MiB
}

// A Layout is a disk: its partitions in order. GUIDs are fixed, so that an image has the same bytes each time; nothing
// finds a disk by them.
type Layout struct {
	GUID       string
	First      int64 // offset of the first partition, in bytes: what is before it belongs to the boot loader
	MBR        bool  // the table is an MBR, for processors that read no GPT; names and GUIDs are then ours alone
	Partitions []Partition
}

// The slots are two files on the first partition: a boot loader that counts tries (systemd-boot, or U-Boot's script)
// chooses among files, not partitions. The numbers in a name are systemd-boot's, the larger one boots.
const (
	SlotFolder = "/EFI/Linux"
	SlotA      = SlotFolder + "/postern_1.efi"
	SlotB      = SlotFolder + "/postern_2.efi"
	// LoaderFile is where firmware looks for a boot loader on a disk that it was told nothing about (UEFI 3.5.1.1).
	LoaderFile = "/EFI/BOOT/BOOTAA64.EFI"
	// LoaderConfig is systemd-boot's configuration.
	LoaderConfig = "/loader/loader.conf"
	// ApprovalsFile is what the release key has approved of: the image in the first slot, as it will be measured, for each of
	// its device trees. An update brings its own.
	ApprovalsFile = "/postern/approvals.json"
	// MaxUKI bounds one slot's image. Two of them, and a third being written, fit on the first partition.
	MaxUKI = 68 << 20
	// MaxDownload is what we want an update to have at most: the image of a slot, compressed.
	MaxDownload = 32 << 20
)

// Size is the length of the whole disk in bytes.
func (l Layout) Size() int64 {
	size := l.First
	for _, p := range l.Partitions {
		size += p.Size
	}
	return size + align // the second table lies in the last MiB
}

// Start returns where partition i begins, in bytes.
func (l Layout) Start(i int) int64 {
	at := l.First
	for _, p := range l.Partitions[:i] {
		at += p.Size
	}
	return at
}

// Check says what is wrong with a layout.
func (l Layout) Check() error {
	if l.First%align != 0 || l.First < gptSectors*sector {
		return fmt.Errorf("the first partition begins at %d", l.First)
	}
	seen := map[string]bool{l.GUID: true}
	if !isGUID(l.GUID) {
		return fmt.Errorf("the disk has the GUID %q", l.GUID)
	}
	for _, p := range l.Partitions {
		switch {
		case p.Name == "" || len(utf16.Encode([]rune(p.Name))) > 36:
			return fmt.Errorf("a partition is called %q", p.Name)
		case p.Size <= 0 || p.Size%align != 0:
			return fmt.Errorf("partition %s has %d bytes", p.Name, p.Size)
		case !isGUID(p.GUID) || !isGUID(p.Type):
			return fmt.Errorf("partition %s has a GUID that is none", p.Name)
		case seen[p.GUID] || seen[p.Name]:
			return fmt.Errorf("partition %s shares its name or GUID", p.Name)
		}
		seen[p.GUID], seen[p.Name] = true, true
	}
	if len(l.Partitions) == 0 {
		return fmt.Errorf("no partition")
	}
	return nil
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		switch hex := c >= '0' && c <= '9' || c >= 'A' && c <= 'F'; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case !hex:
			return false
		}
	}
	return true
}

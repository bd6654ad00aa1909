package images

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Some processors read only the oldest kind of partition table, or keep their first program where a GPT has its header.
// Such a table has no names, so its partitions are known by its signature and their numbers, which Linux calls their
// PARTUUID.
const (
	// MBRSignature is the disk's: "POST".
	MBRSignature = 0x504F5354
	// BootName is the name of the partition that the box starts from.
	BootName = "postern-boot"

	mbrFAT32 = 0x0C // FAT32, addressed by block
	mbrLinux = 0x83
	mbrRows  = 4
)

// mbr makes a layout one with an MBR.
func mbr(l Layout) Layout {
	l.MBR = true
	return l
}

// Sector0 returns the first block of a disk with an MBR. The program in its first 440 bytes is left out: no board of
// ours runs it.
func (l Layout) Sector0() ([]byte, error) {
	if len(l.Partitions) > mbrRows || l.Size()/sector > 1<<32-1 {
		return nil, fmt.Errorf("an MBR has no room for this layout")
	}
	le := binary.LittleEndian
	b := make([]byte, sector)
	le.PutUint32(b[440:], MBRSignature)
	for i, p := range l.Partitions {
		row := b[446+16*i:]
		row[4] = mbrLinux
		if p.Type == TypeESP {
			row[0], row[4] = 0x80, mbrFAT32 // started from: U-Boot looks for that
		}
		copy(row[1:4], "\xfe\xff\xff") // cylinders, heads and sectors are beyond what can be said
		copy(row[5:8], "\xfe\xff\xff")
		le.PutUint32(row[8:], uint32(l.Start(i)/sector))
		le.PutUint32(row[12:], uint32(p.Size/sector))
	}
	b[510], b[511] = 0x55, 0xAA
	return b, nil
}

// PartitionName reads what Linux says of a block device (its uevent file: lines NAME=value), and returns the name that
// its partition has in our layouts: the name in a GPT, or the one that an MBR of ours has no room for; "" for all else.
func PartitionName(uevent string) string {
	for line := range strings.Lines(uevent) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "PARTNAME="); ok {
			return name
		}
		switch line { // in the order of layout
		case fmt.Sprintf("PARTUUID=%08x-01", MBRSignature):
			return BootName
		case fmt.Sprintf("PARTUUID=%08x-02", MBRSignature):
			return StateName
		}
	}
	return ""
}

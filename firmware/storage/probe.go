package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// edge is how much of a disk's beginning and end is looked at: everything that says what a disk is is in it.
const edge = 1 << 20

// A content is what a disk or a partition holds.
type content struct {
	words string // "" for nothing
	kind  string // "btrfs", "ext4", "xfs": can be mounted; else ""
	uuid  string
	label string

	// btrfs alone: which of how many disks this is.
	id, disks uint64
	bytes     uint64
}

// read looks at a disk of so many bytes through r.
func read(r io.ReaderAt, size int64) (c content, err error) {
	head := make([]byte, min(edge, size))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return c, err
	}
	tail := make([]byte, min(edge, size-int64(len(head))))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return c, err
	}
	return identify(head, tail), nil
}

func at(b []byte, offset int, magic string) bool {
	return len(b) >= offset+len(magic) && string(b[offset:offset+len(magic)]) == magic
}

// identify tells what bytes are. Where two kinds have left theirs, the one that the kernel would mount counts.
func identify(head, tail []byte) (c content) {
	le := binary.LittleEndian
	const btrfs, ext = 64 << 10, 1024
	switch {
	case at(head, btrfs+0x40, "_BHRfS_M") && len(head) >= btrfs+4096: // btrfs, on-disk format: superblock
		b := head[btrfs:]
		c = content{
			words: "a btrfs pool", kind: "btrfs", uuid: uuid(b[0x20:]), label: label(b[0x12b : 0x12b+256]),
			disks: le.Uint64(b[0x88:]), id: le.Uint64(b[0xc9:]), bytes: le.Uint64(b[0x70:]),
		}
	case at(head, 0, "XFSB") && len(head) >= 512: // XFS Algorithms & Data Structures, superblock
		c = content{
			words: "an XFS file system", kind: "xfs", uuid: uuid(head[32:]), label: label(head[108:120]),
			bytes: uint64(binary.BigEndian.Uint32(head[4:])) * binary.BigEndian.Uint64(head[8:]),
		}
	case at(head, ext+0x38, "\x53\xef") && len(head) >= ext+1024: // Linux, Documentation/filesystems/ext4/super.rst
		b := head[ext:]
		c = content{words: "an ext4 file system", kind: "ext4", uuid: uuid(b[0x68:]), label: label(b[0x78:0x88]), bytes: uint64(le.Uint32(b[4:])) << (10 + le.Uint32(b[0x18:])%32)}
		if le.Uint32(b[0x60:])&8 != 0 { // INCOMPAT_JOURNAL_DEV
			c = content{words: "the journal of another disk"}
		}
	default:
		c.words = foreign(head, tail)
	}
	if c.words != "" && c.label != "" {
		c.words += fmt.Sprintf(" called %q", c.label)
	}
	return c
}

// foreign names what we do not mount.
func foreign(head, tail []byte) string {
	zero := func(b []byte) bool { return bytes.Count(b, []byte{0}) == len(b) }
	for _, m := range []struct {
		offset int
		magic  string
		words  string
	}{
		{0, "LUKS\xba\xbe", "an encrypted volume (LUKS)"},
		{512, "EFI PART", "partitions"},
		{4096, "EFI PART", "partitions"},
		{4096, "\xfc\x4e\x2b\xa9", "a disk of a RAID array (md)"},
		{512, "LABELONE", "a disk of a volume group (LVM)"},
		{3, "NTFS    ", "a Windows file system (NTFS)"},
		{3, "-FVE-FS-", "an encrypted Windows volume (BitLocker)"},
		{3, "EXFAT   ", "an exFAT file system"},
		{82, "FAT32   ", "a FAT file system"},
		{54, "FAT", "a FAT file system"},
		{4096 - 10, "SWAPSPACE2", "swap space"},
		{32, "NXSB", "a Mac's file system (APFS)"},
		{1024, "H+", "a Mac's file system (HFS+)"},
		{1024, "HX", "a Mac's file system (HFS+)"},
		{0, "hsqs", "a read-only image"},
	} {
		if at(head, m.offset, m.magic) {
			return m.words
		}
	}
	for _, b := range [][]byte{head, tail} { // ZFS, vdev labels: the first uberblocks of any of its four labels
		for _, label := range []int{0, 256 << 10, 512 << 10} {
			if at(b, label+128<<10, "\x0c\xb1\xba\x00") || at(b, label+128<<10, "\x00\xba\xb1\x0c") {
				return "a disk of a ZFS pool"
			}
		}
	}
	switch {
	case at(head, 510, "\x55\xaa") && !zero(head[446:510]):
		return "partitions"
	case zero(head) && zero(tail):
		return ""
	case bytes.Contains(tail[max(0, len(tail)-128<<10):], []byte("\xfc\x4e\x2b\xa9")): // version 1.0 and 0.90
		return "a disk of a RAID array (md)"
	}
	return "data that Postern does not know"
}

func uuid(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// label is a name that ends at a zero byte, fit to be shown.
func label(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return printable(string(b))
}

// folder makes a pool's folder name of what it is called, or "" if that cannot be one.
func folder(name string) string {
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|[]+;,=%`, r) {
			return '-'
		}
		return r
	}, strings.ToLower(printable(name)))
	name = strings.Trim(name, " .")
	for n := 64; len(name) > 64; n-- {
		if utf8.RuneStart(name[n]) {
			name = name[:n]
		}
	}
	return name
}

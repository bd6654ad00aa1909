package mkimage

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/diskfs/go-diskfs/partition"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"

	"github.com/postern-nas/postern/images"
)

const sector = 512

// partitionTable is the layout as the library writes it. It writes no signature into an MBR; raw does.
func partitionTable(l images.Layout) (partition.Table, error) {
	if l.MBR {
		t := &mbr.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector}
		for i, p := range l.Partitions {
			kind := mbr.Linux
			if p.Type == images.TypeESP {
				kind = mbr.Fat32LBA
			}
			t.Partitions = append(t.Partitions, &mbr.Partition{
				Index: i + 1, Type: kind, Start: uint32(l.Start(i) / sector), Size: uint32(p.Size / sector),
			})
		}
		return t, nil
	}
	t := &gpt.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true, GUID: l.GUID}
	for i, p := range l.Partitions {
		start := uint64(l.Start(i)) / sector
		t.Partitions = append(t.Partitions, &gpt.Partition{
			Index: i + 1, Start: start, End: start + uint64(p.Size)/sector - 1, Size: uint64(p.Size),
			Type: gpt.Type(p.Type), Name: p.Name, GUID: p.GUID,
		})
	}
	return t, nil
}

// writeRaw writes what lies outside of the partitions: the first sector of a disk with an MBR, and first programs. They
// may not reach into a partition, nor into a GPT.
func writeRaw(name string, l images.Layout, raw []rawData) (err error) {
	begin := int64(34 * sector) // a GPT: its header and 128 entries
	if l.MBR {
		first, err := l.Sector0()
		if err != nil {
			return err
		}
		raw, begin = append([]rawData{{data: first}}, raw...), 0
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, w := range raw {
		end := w.at + int64(len(w.data))
		if w.at < begin || end > l.First {
			return fmt.Errorf("%d bytes at %d do not fit between %d and the first partition, at %d", len(w.data), w.at, begin, l.First)
		}
		// What a first program is padded with need not be written: the disk is zero there, and stays a hole.
		if _, err := f.WriteAt(bytes.TrimRight(w.data, "\x00"), w.at); err != nil {
			return err
		}
		begin = end
	}
	return nil
}

package images

import (
	"encoding/binary"
	"fmt"
	"testing"
)

func TestSector0(t *testing.T) {
	b, err := rpi.Layout.Sector0()
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	if len(b) != sector || b[510] != 0x55 || b[511] != 0xAA || le.Uint32(b[440:]) != MBRSignature {
		t.Errorf("%x", b[440:])
	}
	for i, p := range rpi.Layout.Partitions {
		row := b[446+16*i:]
		if int64(le.Uint32(row[8:]))*sector != rpi.Layout.Start(i) || int64(le.Uint32(row[12:]))*sector != p.Size {
			t.Errorf("partition %d: %x", i, row[:16])
		}
	}
	if b[446] != 0x80 || b[450] != mbrFAT32 || b[466] == mbrFAT32 {
		t.Errorf("kinds %x and %x", b[446:451], b[462:467])
	}
	big := rpi.Layout
	big.Partitions = []Partition{{Name: "x", Type: TypeState, Size: 4 << 40}}
	if _, err := big.Sector0(); err == nil {
		t.Error("4 TiB in an MBR")
	}
}

func TestPartitionName(t *testing.T) {
	mbr := fmt.Sprintf("DEVNAME=mmcblk0p%%d\nDEVTYPE=partition\nPARTN=%%[1]d\nPARTUUID=%08x-0%%[1]d\n", MBRSignature)
	for uevent, want := range map[string]string{
		"DEVNAME=vda1\nPARTNAME=postern-boot\nPARTUUID=0d6c5f5e-8c0a-4b6f-9a63-0f1f6b7d2a02\n": BootName,
		"PARTNAME=" + StateName:       StateName,
		fmt.Sprintf(mbr, 1):           BootName,
		fmt.Sprintf(mbr, 2):           StateName,
		fmt.Sprintf(mbr, 3):           "",
		"PARTUUID=12345678-02\n":      "",
		"DEVNAME=sda\nDEVTYPE=disk\n": "",
		"":                            "",
	} {
		if got := PartitionName(uevent); got != want {
			t.Errorf("%q: %q, want %q", uevent, got, want)
		}
	}
}

package fscc

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// An entry as a Mac reads it: the fields from EaSize to FileId.
func TestMacInfo(t *testing.T) {
	var finder [32]byte
	copy(finder[:], "TEXTttxt")
	copy(finder[8:], "\x04\x00")          // flags
	copy(finder[10:], "\xEE\xEE\xEE\xEE") // where it was once
	copy(finder[20:], "\x11\x22\x33\x44\x80\x01")
	entry := DirEntry{
		Name: "n", EASize: 0xEEEE, ShortName: "EEEE", FileID: 0x99,
		Mac: &MacInfo{Access: 0x001F01FF, Fork: 0x123456789, Finder: CompressFinderInfo(&finder, false), Mode: 0o100644},
	}
	for _, c := range []struct {
		class      FileClass
		attributes uint32
		want       string
	}{
		{FileIdBothDirectoryInformation, 0x20, "FF011F00" + "0000" + "8967452301000000" + "54455854" + "74747874" + "0400" + "8001" + "11223344" + "A481" + "9900000000000000" + "6E00"},
		{FileIdBothDirectoryInformation, 0x420, "0C0000A0" + "0000" + "8967452301000000" + "54455854" + "74747874" + "0400" + "8001" + "11223344" + "A481" + "9900000000000000" + "6E00"},
		{FileIdFullDirectoryInformation, 0x20, "EEEE0000" + "00000000" + "9900000000000000" + "6E00"},
	} {
		entry.Attributes, entry.ReparseTag = c.attributes, 0
		if c.attributes&attrReparsePoint != 0 {
			entry.ReparseTag = 0xA000000C
		}
		w, err := NewDirWriter(nil, c.class, 1000)
		if err != nil || !w.Add(&entry) {
			t.Fatal(err)
		}
		want, _ := hex.DecodeString(c.want)
		if got := w.Bytes()[64:]; !bytes.Equal(got, want) {
			t.Errorf("%v, attributes %#x:\n% x, want\n% x", c.class, c.attributes, got, want)
		}
	}
	if got := CompressFinderInfo(&finder, true); !bytes.Equal(got[:8], make([]byte, 8)) || got[8] != 4 {
		t.Errorf("of a directory: % x", got)
	}
}

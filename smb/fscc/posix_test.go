package fscc

import (
	"testing"

	"github.com/postern-nas/postern/smb/dtyp"
)

// Written down from the tables of [POSIX-FSCC].
var aPOSIX = POSIXInfo{
	Creation: 0x11, LastAccess: 0x22, LastWrite: 0x33, Change: 0x44, EndOfFile: 0x55, AllocationSize: 0x66, Attributes: 0x20,
	Inode: 0x77, Device: 0x88, POSIXObject: POSIXObject{
		Links: 2, ReparseTag: 0xA000000C, Mode: POSIXSymlink | 0o751, Owner: dtyp.NewSID(22, 1, 1000), Group: dtyp.NewSID(5, 32, 545),
	},
}

const (
	posixObjectHex = `02000000 0c0000a0 e9210000 0102 000000000016 01000000 e8030000 0102 000000000005 20000000 21020000`

	posixHex = `1100000000000000 2200000000000000 3300000000000000 4400000000000000 5500000000000000 6600000000000000
	20000000 7700000000000000 88000000 00000000 ` + posixObjectHex
)

// No SID is the null SID: the wire has no shorter way to say so.
func TestPOSIXNoOwner(t *testing.T) {
	var o POSIXObject
	if err := o.Decode(POSIXObject{Links: 1}.Append(nil)); err != nil || o.Owner.String() != "S-1-0-0" || o.Group != o.Owner {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestPOSIXWriterAllocates(t *testing.T) {
	buf := make([]byte, 0, 1<<10)
	e := POSIXEntry{Name: "name", POSIXInfo: aPOSIX}
	e.Owner = dtyp.NewSID(5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
	e.Group = e.Owner
	if n := testing.AllocsPerRun(100, func() {
		w, _ := NewDirWriter(buf, FilePosixInformation, cap(buf))
		for w.AddPOSIX(&e) {
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

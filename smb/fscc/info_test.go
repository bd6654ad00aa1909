package fscc

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/nt"
)

type decoder interface{ Decode([]byte) error }

type encoder interface{ Append([]byte) []byte }

// A vector is one structure as a value and as bytes, written down from the tables of [MS-FSCC].
type vector struct {
	name  string
	value encoder
	hex   string
	fixed int       // fewer bytes are short
	short nt.Status // what fewer are
	fresh func() decoder
}

var vectors = []vector{
	{
		"Basic", BasicInfo{Creation: 0x01D9000000000001, LastAccess: 2, LastWrite: TimeFreeze, Change: TimeThaw, Attributes: 0x20}, `
		0100000000 00d901 0200000000000000 ffffffffffffffff feffffffffffffff
		20000000 00000000`, 40, nt.InfoLengthMismatch, func() decoder { return new(BasicInfo) },
	},
	{
		"Standard", StandardInfo{AllocationSize: 0x1000, EndOfFile: 0x123, Links: 2, DeletePending: true, Directory: false}, `
		0010000000000000 2301000000000000 02000000 01 00 0000`, 24, nt.InfoLengthMismatch, func() decoder { return new(StandardInfo) },
	},
	{
		"StandardLink", StandardLinkInfo{AccessibleLinks: 1, TotalLinks: 3, Directory: true}, `
		01000000 03000000 00 01 0000`, 12, nt.InfoLengthMismatch, func() decoder { return new(StandardLinkInfo) },
	},
	{"Internal", InternalInfo{0x1122334455667788}, `8877665544332211`, 8, nt.InfoLengthMismatch, func() decoder { return new(InternalInfo) }},
	{
		"Id", IDInfo{VolumeSerial: 0xA1, FileID: 0xB2}, `
		a100000000000000 b200000000000000 0000000000000000`, 24, nt.InfoLengthMismatch, func() decoder { return new(IDInfo) },
	},
	{"Ea", EAInfo{0x44}, `44000000`, 4, nt.InfoLengthMismatch, func() decoder { return new(EAInfo) }},
	{"Access", AccessInfo{0x001F01FF}, `ff011f00`, 4, nt.InfoLengthMismatch, func() decoder { return new(AccessInfo) }},
	{"Position", PositionInfo{0x0102}, `0201000000000000`, 8, nt.InfoLengthMismatch, func() decoder { return new(PositionInfo) }},
	{"Mode", ModeInfo{ModeWriteThrough | ModeDeleteOnClose}, `02100000`, 4, nt.InfoLengthMismatch, func() decoder { return new(ModeInfo) }},
	{"Alignment", AlignmentInfo{1}, `01000000`, 4, nt.InfoLengthMismatch, func() decoder { return new(AlignmentInfo) }},
	{"Name", NameInfo{`a\ü`}, `06000000 61005c00fc00`, 4, nt.InfoLengthMismatch, func() decoder { return new(NameInfo) }},
	{
		"All", AllInfo{
			BasicInfo{Creation: 1, LastAccess: 2, LastWrite: 3, Change: 4, Attributes: 0x80},
			StandardInfo{AllocationSize: 5, EndOfFile: 6, Links: 7},
			InternalInfo{8},
			EAInfo{9},
			AccessInfo{10},
			PositionInfo{11},
			ModeInfo{12},
			AlignmentInfo{13},
			NameInfo{"x"},
		}, `
		0100000000000000 0200000000000000 0300000000000000 0400000000000000 80000000 00000000
		0500000000000000 0600000000000000 07000000 00 00 0000
		0800000000000000 09000000 0a000000 0b00000000000000 0c000000 0d000000
		02000000 7800`, 100, nt.InfoLengthMismatch, func() decoder { return new(AllInfo) },
	},
	{
		"NetworkOpen", NetworkOpenInfo{Creation: 1, LastAccess: 2, LastWrite: 3, Change: 4, AllocationSize: 5, EndOfFile: 6, Attributes: 0x10}, `
		0100000000000000 0200000000000000 0300000000000000 0400000000000000
		0500000000000000 0600000000000000 10000000 00000000`, 56, nt.InfoLengthMismatch, func() decoder { return new(NetworkOpenInfo) },
	},
	{"AttributeTag", AttributeTagInfo{0x410, TagSymlink}, `10040000 0c0000a0`, 8, nt.InfoLengthMismatch, func() decoder { return new(AttributeTagInfo) }},
	{
		"Compression", CompressionInfo{CompressedSize: 0x99, Format: 2, UnitShift: 16, ChunkShift: 12, ClusterShift: 11}, `
		9900000000000000 0200 10 0c 0b 000000`, 16, nt.InfoLengthMismatch, func() decoder { return new(CompressionInfo) },
	},
	{"Pipe", PipeInfo{ReadMode: 1}, `01000000 00000000`, 8, nt.InfoLengthMismatch, func() decoder { return new(PipeInfo) }},
	{
		"PipeLocal", PipeLocalInfo{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, `
		01000000 02000000 03000000 04000000 05000000 06000000 07000000 08000000 09000000 0a000000`, 40, nt.InfoLengthMismatch, func() decoder { return new(PipeLocalInfo) },
	},
	{
		"Rename", RenameInfo{RenameReplace, `d\n`}, `
		01 00000000000000 0000000000000000 06000000 64005c006e00`, 20, nt.InfoLengthMismatch, func() decoder { return new(RenameInfo) },
	},
	{"Disposition", DispositionInfo{true}, `01`, 1, nt.InfoLengthMismatch, func() decoder { return new(DispositionInfo) }},
	{"DispositionEx", DispositionExInfo{DispositionDelete | DispositionPosix}, `03000000`, 4, nt.InfoLengthMismatch, func() decoder { return new(DispositionExInfo) }},
	{"EndOfFile", SizeInfo{1 << 40}, `0000000000010000`, 8, nt.InfoLengthMismatch, func() decoder { return new(SizeInfo) }},
	{
		"Volume", VolumeInfo{Creation: 7, Serial: 0xCAFE, SupportsObjects: true, Label: "nas"}, `
		0700000000000000 feca0000 06000000 01 00 6e0061007300`, 18, nt.InfoLengthMismatch, func() decoder { return new(VolumeInfo) },
	},
	{
		"FsSize", FSSizeInfo{Total: 100, Available: 50, SectorsPerUnit: 8, BytesPerSector: 512}, `
		6400000000000000 3200000000000000 08000000 00020000`, 24, nt.InfoLengthMismatch, func() decoder { return new(FSSizeInfo) },
	},
	{
		"FsFullSize", FSFullSizeInfo{Total: 100, CallerAvailable: 40, ActualAvailable: 50, SectorsPerUnit: 8, BytesPerSector: 512}, `
		6400000000000000 2800000000000000 3200000000000000 08000000 00020000`, 32, nt.InfoLengthMismatch, func() decoder { return new(FSFullSizeInfo) },
	},
	{"Device", DeviceInfo{DeviceDisk, DeviceMounted}, `07000000 20000000`, 8, nt.InfoLengthMismatch, func() decoder { return new(DeviceInfo) }},
	{
		"FsAttribute", FSAttributeInfo{Attributes: FSCasePreservedNames | FSUnicodeOnDisk, MaxComponent: 255, Name: "NTFS"}, `
		06000000 ff000000 08000000 4e00540046005300`, 12, nt.InfoLengthMismatch, func() decoder { return new(FSAttributeInfo) },
	},
	{
		"FsControl", FSControlInfo{DefaultThreshold: NoQuota, DefaultLimit: NoQuota, Flags: 0x100}, `
		0000000000000000 0000000000000000 0000000000000000 ffffffffffffffff ffffffffffffffff
		00010000 00000000`, 48, nt.InfoLengthMismatch, func() decoder { return new(FSControlInfo) },
	},
	{
		"ObjectId", ObjectID{ID: [16]byte{1, 2, 3}, Extended: [48]byte{47: 9}}, `
		01020300000000000000000000000000
		00000000000000000000000000000000 00000000000000000000000000000000 00000000000000000000000000000009`, 64, nt.InfoLengthMismatch, func() decoder { return new(ObjectID) },
	},
	{
		"SectorSize", SectorSizeInfo{512, 4096, 4096, 4096, SectorAlignedDevice | SectorPartitionAligned, 0, 0}, `
		00020000 00100000 00100000 00100000 03000000 00000000 00000000`, 28, nt.InfoLengthMismatch, func() decoder { return new(SectorSizeInfo) },
	},
	{"ZeroData", ZeroData{0x10, 0x20}, `1000000000000000 2000000000000000`, 16, nt.InvalidParameter, func() decoder { return new(ZeroData) }},
	{"Range", Range{0x10, 0x20}, `1000000000000000 2000000000000000`, 16, nt.InvalidParameter, func() decoder { return new(Range) }},
	{
		"DuplicateExtents", DuplicateExtents{SourceID: [16]byte{1, 15: 2}, SourceOffset: 3, TargetOffset: 4, Count: 5}, `
		01000000000000000000000000000002 0300000000000000 0400000000000000 0500000000000000`, 40, nt.InvalidParameter, func() decoder { return new(DuplicateExtents) },
	},
	{
		"Trim", Trim{Key: 0, Ranges: []Range{{0, 0x1000}, {0x3000, 1}}}, `
		00000000 02000000 0000000000000000 0010000000000000 0030000000000000 0100000000000000`, 40, nt.InvalidParameter, func() decoder { return new(Trim) },
	},
	{
		"Symlink", Symlink{`..\t`, "t", SymlinkRelative}, `
		0c0000a0 1600 0000 # tag, data length
		0000 0800 0800 0200 # substitute name first
		01000000 2e002e005c007400 7400`, 30, nt.InvalidParameter, func() decoder { return new(Symlink) },
	},
	{
		"PipeWait", PipeWait{Timeout: 0x1234, Given: true, Name: "srvsvc"}, `
		3412000000000000 0c000000 01 00 730072007600730076006300`, 26, nt.InvalidParameter, func() decoder { return new(PipeWait) },
	},
	{
		"PipePeek", PipePeek{State: 3, Available: 5, Messages: 1, MessageLength: 5, Data: []byte{1, 2}}, `
		03000000 05000000 01000000 05000000 0102`, 16, nt.InvalidParameter, func() decoder { return new(PipePeek) },
	},
	{
		"POSIX", aPOSIX, posixHex, 96, nt.InfoLengthMismatch, func() decoder { return new(POSIXInfo) },
	},
	{
		"POSIXObject", aPOSIX.POSIXObject, posixObjectHex, 12, nt.InfoLengthMismatch, func() decoder { return new(POSIXObject) },
	},
	{
		"FSPOSIX", FSPOSIXInfo{0x10000, 0x1000, 3, 2, 1, 9, 8, 7}, `
		00000100 00100000 0300000000000000 0200000000000000 0100000000000000 0900000000000000 0800000000000000
		0700000000000000`, 56, nt.InfoLengthMismatch, func() decoder { return new(FSPOSIXInfo) },
	},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			want := hextext.Bytes(v.hex)
			if got := v.value.Append([]byte("head")); string(got[:4]) != "head" || !bytes.Equal(got[4:], want) {
				t.Errorf("Append:\n% x, want\n% x", got[4:], want)
			}
			d := v.fresh()
			if err := d.Decode(want); err != nil {
				t.Fatal(err)
			}
			if got := reflect.ValueOf(d).Elem().Interface(); !reflect.DeepEqual(got, v.value) {
				t.Errorf("Decode: %+v, want %+v", got, v.value)
			}
			for n := range want {
				err := v.fresh().Decode(want[:n:n])
				switch {
				case n < v.fixed && !errors.Is(err, v.short):
					t.Errorf("cut at %d: %v, want %v", n, err, v.short)
				case n >= v.fixed && v.name != "PipePeek" && !errors.Is(err, nt.InvalidParameter):
					t.Errorf("cut at %d: %v, want %v", n, err, nt.InvalidParameter)
				}
			}
			// Padding behind a structure does not matter; but a reparse buffer says how long it is.
			err := v.fresh().Decode(append(want, 0xFF, 0xFF))
			if v.name == "Symlink" {
				if !errors.Is(err, nt.InvalidParameter) {
					t.Errorf("with bytes behind it: %v", err)
				}
			} else if err != nil {
				t.Errorf("with bytes behind it: %v", err)
			}
		})
	}
}

// TestMinimumSizes: what Windows wants at least, as smbtorture's buffer checks have it, and what it makes of less.
func TestMinimumSizes(t *testing.T) {
	for class, want := range map[FileClass]int{
		0x04: 40,
		0x05: 24,
		0x06: 8,
		0x07: 4,
		0x08: 4,
		0x09: 8,
		0x0E: 8,
		0x10: 4,
		0x11: 4,
		0x12: 104,
		0x15: 8,
		0x16: 32,
		0x1C: 16,
		0x22: 56,
		0x23: 8,
		0x30: 8,
		0x36: 12,
		0x3B: 24,
		0x64: 96,
	} {
		if n, ok := class.QueryMin(); n != want || !ok {
			t.Errorf("%v: %d, want %d", class, n, want)
		}
	}
	for class, want := range map[FSClass]int{1: 24, 3: 24, 4: 8, 5: 16, 6: 48, 7: 32, 8: 64, 11: 28, 100: 56} {
		if n, ok := class.QueryMin(); n != want || !ok {
			t.Errorf("%v: %d, want %d", class, n, want)
		}
	}
	for class, want := range map[FileClass]int{4: 40, 10: 20, 11: 20, 13: 1, 14: 8, 16: 4, 19: 8, 20: 8, 39: 8, 40: 4, 64: 4, 65: 20, 72: 20} {
		if n, ok := class.SetMin(); n != want || !ok {
			t.Errorf("set %v: %d, want %d", class, n, want)
		}
	}
	for class, want := range map[FileClass]int{
		0x01: 64,
		0x02: 68,
		0x03: 94,
		0x0C: 12,
		0x25: 104,
		0x26: 80,
		0x3C: 88,
		0x4E: 80,
		0x4F: 106,
		0x50: 96,
		0x51: 122,
		0x64: 108,
	} {
		if n, ok := class.DirMin(); n != want || !ok {
			t.Errorf("directory %v: %d, want %d", class, n, want)
		}
	}
	if _, ok := FileRenameInformation.QueryMin(); ok {
		t.Error("a rename can be queried")
	}
	if _, ok := FileStandardInformation.SetMin(); ok {
		t.Error("standard information can be set")
	}
	if _, ok := FileBasicInformation.DirMin(); ok {
		t.Error("basic information lists a directory")
	}
	if _, ok := FSClass(0x99).QueryMin(); ok {
		t.Error("filesystem class 0x99 can be queried")
	}
}

func TestBadValues(t *testing.T) {
	for _, c := range []struct {
		name string
		d    decoder
		hex  string
		want nt.Status
	}{
		{"time below -2", new(BasicInfo), `fdffffffffffffff` + strings.Repeat("00", 32), nt.InvalidParameter},
		{"least time", new(BasicInfo), strings.Repeat("00", 24) + `0000000000000080` + strings.Repeat("00", 8), nt.InvalidParameter},
		{"negative position", new(PositionInfo), `ffffffffffffffff`, nt.InvalidParameter},
		{"negative size", new(SizeInfo), `0000000000000080`, nt.InvalidParameter},
		{"odd name", new(NameInfo), `03000000 610062`, nt.InvalidParameter},
		{"name of 4 GiB", new(NameInfo), `feffffff 6100`, nt.InvalidParameter},
		{"half a surrogate", new(NameInfo), `02000000 00d8`, nt.ObjectNameInvalid},
		{"rename to nothing", new(RenameInfo), strings.Repeat("00", 24), nt.InvalidParameter},
		{"rename at a root", new(RenameInfo), `0100000000000000 0100000000000000 02000000 6100`, nt.InvalidParameter},
		{"rename past the end", new(RenameInfo), `0100000000000000 0000000000000000 04000000 6100`, nt.InvalidParameter},
		{"rename to half a surrogate", new(RenameInfo), `0100000000000000 0000000000000000 02000000 00dc`, nt.ObjectNameInvalid},
		{"pipe mode", new(PipeInfo), `02000000 00000000`, nt.InvalidParameter},
		{"zeros reversed", new(ZeroData), `2000000000000000 1000000000000000`, nt.InvalidParameter},
		{"zeros before the start", new(ZeroData), `ffffffffffffffff 1000000000000000`, nt.InvalidParameter},
		{"range past the end", new(Range), `ffffffffffffff7f 0100000000000000`, nt.InvalidParameter},
		{"negative range", new(Range), `0000000000000000 ffffffffffffffff`, nt.InvalidParameter},
		{"duplicate past the end", new(DuplicateExtents), strings.Repeat("00", 16) + `0000000000000000 ffffffffffffff7f 0100000000000000`, nt.InvalidParameter},
		{"trim of nothing", new(Trim), `00000000 00000000`, nt.InvalidParameter},
		{"trim of 4 G ranges", new(Trim), `00000000 ffffffff 0000000000000000 0010000000000000`, nt.InvalidParameter},
		{"another reparse tag", new(Symlink), `030000a0 0000 0000`, nt.IOReparseTagNotHandled},
		{"symlink to nothing", new(Symlink), `0c0000a0 0c00 0000 0000 0000 0000 0000 00000000`, nt.InvalidParameter},
		{"symlink with NUL", new(Symlink), `0c0000a0 0e00 0000 0000 0200 0000 0200 00000000 0000`, nt.InvalidParameter},
		{"symlink name outside", new(Symlink), `0c0000a0 0e00 0000 0200 0200 0000 0000 00000000 6100`, nt.InvalidParameter},
	} {
		b := hextext.Bytes(c.hex)
		if err := c.d.Decode(b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestRenameForms(t *testing.T) {
	b := hextext.Bytes(`02 a5a5a5a5a5a5a5 0000000000000000 02000000 6100 0000`)
	var i RenameInfo
	if err := i.Decode(b); err != nil || i != (RenameInfo{RenameReplace, "a"}) {
		t.Errorf("plain: %+v, %v", i, err)
	}
	if err := i.DecodeEx(b); err != nil || i != (RenameInfo{0xA5A5A502, "a"}) || i.Replace() {
		t.Errorf("Ex: %+v, %v", i, err)
	}
}

func TestDuplicateExtentsEx(t *testing.T) {
	d := DuplicateExtents{SourceID: [16]byte{8}, SourceOffset: 1, TargetOffset: 2, Count: 3, Flags: DuplicateAtomic}
	want := hextext.Bytes(`
		3000000000000000 # size of the native structure, [MS-FSCC] 2.3.9.2
		08000000000000000000000000000000 0100000000000000 0200000000000000 0300000000000000
		01000000 00000000`)
	if got := d.AppendEx(nil); !bytes.Equal(got, want) {
		t.Errorf("% x", got)
	}
	var got DuplicateExtents
	if err := got.DecodeEx(want); err != nil || got != d {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range want {
		if err := got.DecodeEx(want[:n]); !errors.Is(err, nt.InvalidParameter) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	want[0] = 0x31
	if err := got.DecodeEx(want); !errors.Is(err, nt.InvalidParameter) {
		t.Errorf("wrong size: %v", err)
	}
}

func TestSmallBodies(t *testing.T) {
	if !DecodeSetSparse(nil) || !DecodeSetSparse([]byte{1}) || DecodeSetSparse([]byte{0}) {
		t.Error("DecodeSetSparse")
	}
	for f, ok := range map[uint16]bool{0: true, 1: true, 2: true, 3: false, 0xFFFF: false} {
		got, err := DecodeCompression(AppendCompression(nil, f))
		if ok != (err == nil) || ok && got != f {
			t.Errorf("compression %d: %d, %v", f, got, err)
		}
	}
	if _, err := DecodeCompression([]byte{0}); err == nil {
		t.Error("half a compression format")
	}
	if got := AppendTrimResult(nil, 2); !bytes.Equal(got, []byte{2, 0, 0, 0}) {
		t.Errorf("% x", got)
	}
	if _, err := DecodeRanges(make([]byte, 17)); err == nil {
		t.Error("a range and a byte")
	}
	if _, _, err := DecodeReparse(make([]byte, MaxReparse+1)); err == nil {
		t.Error("a reparse buffer too large")
	}
}

// FuzzStructures gives bytes to every decoder. What is accepted must come back the same.
func TestObjectIDBirth(t *testing.T) {
	id := ObjectID{ID: dtyp.GUID{1}, Extended: [48]byte{15: 2, 16: 3, 32: 4, 47: 5}}
	if v, o := id.Birth(); v != (dtyp.GUID{15: 2}) || o != (dtyp.GUID{3}) {
		t.Errorf("%v %v", v, o)
	}
	id.SetBirth(dtyp.GUID{6}, dtyp.GUID{7})
	if want := [48]byte{0: 6, 16: 7}; id.Extended != want || id.ID != (dtyp.GUID{1}) {
		t.Errorf("%x", id)
	}
}

func FuzzStructures(f *testing.F) {
	for _, v := range vectors {
		f.Add(hextext.Bytes(v.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range vectors {
			d := v.fresh()
			if d.Decode(b) != nil {
				continue
			}
			value := reflect.ValueOf(d).Elem().Interface()
			again := v.fresh()
			if err := again.Decode(value.(encoder).Append(nil)); err != nil || !reflect.DeepEqual(d, again) {
				t.Errorf("%s: %+v became %+v, %v", v.name, d, again, err)
			}
		}
		var d DuplicateExtents
		if d.DecodeEx(b) == nil {
			var again DuplicateExtents
			if err := again.DecodeEx(d.AppendEx(nil)); err != nil || d != again {
				t.Errorf("%+v became %+v, %v", d, again, err)
			}
		}
	})
}

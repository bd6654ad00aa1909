package fscc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/nt"
)

var dirClasses = []FileClass{
	FileDirectoryInformation, FileFullDirectoryInformation, FileBothDirectoryInformation, FileNamesInformation,
	FileIdBothDirectoryInformation, FileIdFullDirectoryInformation, FileIdExtdDirectoryInformation,
	FileId64ExtdDirectoryInformation, FileId64ExtdBothDirInformation, FileIdAllExtdDirectoryInformation,
	FileIdAllExtdBothDirInformation,
}

// A link with everything, whose fields can be told apart.
var anEntry = DirEntry{
	Name: "lü", FileIndex: 0x0F, Creation: 0x11, LastAccess: 0x22, LastWrite: 0x33, Change: 0x44,
	EndOfFile: 0x55, AllocationSize: 0x66, Attributes: 0x20, EASize: 0x77, FileID: 0x88, ShortName: "L~1",
}

const common = `
	00000000 0f000000 1100000000000000 2200000000000000 3300000000000000 4400000000000000
	5500000000000000 6600000000000000 20000000 04000000
	`

// dirVectors are anEntry in every class, from the tables of [MS-FSCC] 2.4.
var dirVectors = map[FileClass]string{
	FileDirectoryInformation:     common + `6c00fc00`,
	FileFullDirectoryInformation: common + `77000000 6c00fc00`,
	FileBothDirectoryInformation: common + `77000000 06 00 4c007e003100 000000000000000000000000000000000000 6c00fc00`,
	FileNamesInformation:         `00000000 0f000000 04000000 6c00fc00`,
	FileIdBothDirectoryInformation: common + `77000000 06 00 4c007e003100 000000000000000000000000000000000000
		0000 8800000000000000 6c00fc00`,
	FileIdFullDirectoryInformation:   common + `77000000 00000000 8800000000000000 6c00fc00`,
	FileIdExtdDirectoryInformation:   common + `77000000 00000000 88000000000000000000000000000000 6c00fc00`,
	FileId64ExtdDirectoryInformation: common + `77000000 00000000 8800000000000000 6c00fc00`,
	FileId64ExtdBothDirInformation: common + `77000000 00000000 8800000000000000
		06 00 4c007e003100 000000000000000000000000000000000000 6c00fc00`,
	FileIdAllExtdDirectoryInformation: common + `77000000 00000000 8800000000000000 88000000000000000000000000000000 6c00fc00`,
	FileIdAllExtdBothDirInformation: common + `77000000 00000000 8800000000000000 88000000000000000000000000000000
		06 00 4c007e003100 000000000000000000000000000000000000 6c00fc00`,
}

func TestDirVectors(t *testing.T) {
	for _, class := range dirClasses {
		want := hextext.Bytes(dirVectors[class])
		w, err := NewDirWriter([]byte("head"), class, len(want))
		if err != nil {
			t.Fatal(err)
		}
		if !w.Add(&anEntry) || w.Count() != 1 {
			t.Fatalf("%v: does not fit", class)
		}
		if got := w.Bytes(); string(got[:4]) != "head" || !bytes.Equal(got[4:], want) {
			t.Errorf("%v:\n% x, want\n% x", class, got[4:], want)
		}
		got, err := DecodeDir(class, want)
		if err != nil || len(got) != 1 || got[0].Name != anEntry.Name {
			t.Fatalf("%v: %+v, %v", class, got, err)
		}
		for n := range want {
			if _, err := DecodeDir(class, want[:n]); !errors.Is(err, nt.InvalidParameter) {
				t.Errorf("%v cut at %d: %v", class, n, err)
			}
			small, _ := NewDirWriter(nil, class, n)
			if small.Add(&anEntry) || small.Count() != 0 || len(small.Bytes()) != 0 {
				t.Errorf("%v: fits into %d of %d bytes", class, n, len(want))
			}
		}
	}
	all, err := DecodeDir(FileIdAllExtdBothDirInformation, hextext.Bytes(dirVectors[FileIdAllExtdBothDirInformation]))
	if err != nil || !reflect.DeepEqual(all[0], anEntry) {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestDirChain fills buffers of every size and reads back how far it got.
func TestDirChain(t *testing.T) {
	var entries []DirEntry
	for i := range 7 {
		e := anEntry
		e.Name, e.ShortName = strings.Repeat("n", i), ""
		entries = append(entries, e)
	}
	for _, class := range dirClasses {
		fixed, _ := class.DirMin()
		for limit := range 800 {
			w, _ := NewDirWriter(make([]byte, 3, 900), class, limit) // 3: alignment counts from the list, not from the slice
			n := 0
			for n < len(entries) && w.Add(&entries[n]) {
				n++
			}
			list := w.Bytes()[3:]
			if len(list) > limit {
				t.Fatalf("%v: %d bytes of %d", class, len(list), limit)
			}
			// An entry more would not have fitted: that is the size of the whole list before, padded, and its own.
			if n < len(entries) && (len(list)+7)&^7+fixed+2*n <= limit {
				t.Fatalf("%v: stopped after %d bytes of %d", class, len(list), limit)
			}
			if n == 0 {
				continue
			}
			got, err := DecodeDir(class, list)
			if err != nil || len(got) != n {
				t.Fatalf("%v: %d entries of %d, %v", class, len(got), n, err)
			}
			for i := range got {
				if got[i].Name != entries[i].Name {
					t.Fatalf("%v: entry %d is %q", class, i, got[i].Name)
				}
			}
			for off := 0; ; {
				next := int(binary.LittleEndian.Uint32(list[off:]))
				if next == 0 {
					break
				}
				if off += next; off%8 != 0 {
					t.Fatalf("%v: entry at %d", class, off)
				}
			}
		}
	}
}

func TestDirReparse(t *testing.T) {
	e := anEntry
	e.Attributes, e.ReparseTag, e.EASize = 0x400, TagSymlink, 0
	for _, class := range dirClasses {
		w, _ := NewDirWriter(nil, class, 200)
		w.Add(&e)
		got, err := DecodeDir(class, w.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if class == FileNamesInformation || class == FileDirectoryInformation {
			continue
		}
		if got[0].ReparseTag != TagSymlink || got[0].EASize != 0 {
			t.Errorf("%v: tag %#x, EAs %#x", class, got[0].ReparseTag, got[0].EASize)
		}
		if at := binary.LittleEndian.Uint32(w.Bytes()[64:]); (at == TagSymlink) != (dirLayouts[class].tag == 0) {
			t.Errorf("%v: EaSize is %#x", class, at)
		}
	}
}

func TestDirWriterAllocates(t *testing.T) {
	b := make([]byte, 0, 64<<10)
	n := testing.AllocsPerRun(100, func() {
		w, _ := NewDirWriter(b, FileIdBothDirectoryInformation, 64<<10)
		for w.Add(&anEntry) {
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDirClass(t *testing.T) {
	if _, err := NewDirWriter(nil, FileBasicInformation, 100); !errors.Is(err, nt.InvalidInfoClass) {
		t.Errorf("NewDirWriter: %v", err)
	}
	if _, err := DecodeDir(0, make([]byte, 100)); !errors.Is(err, nt.InvalidInfoClass) {
		t.Errorf("DecodeDir: %v", err)
	}
}

// A list is one kind of chained list.
type list struct {
	name   string
	values any
	hex    string
	fixed  int // what the shortest entry has
	append func(b []byte, limit int, values any) ([]byte, bool)
	decode func(b []byte) (any, error)
	bad    nt.Status
}

var lists = []list{
	{
		"streams",
		[]Stream{{"::$DATA", 5, 8}, {":a:$DATA", 1, 8}},
		`
		28000000 0e000000 0500000000000000 0800000000000000 3a003a002400440041005400 4100 0000
		00000000 10000000 0100000000000000 0800000000000000 3a0061003a00240044004100 54004100`, 24,
		func(b []byte, limit int, v any) ([]byte, bool) { return AppendStreams(b, limit, v.([]Stream)) },
		func(b []byte) (any, error) { return DecodeStreams(b) },
		nt.InvalidParameter,
	},
	{
		"EAs",
		[]EA{{0, "EAONE", []byte("VALUE1")}, {NeedEA, "B", []byte("v")}},
		`
		14000000 00 05 0600 45414f4e45 00 56414c554531
		00000000 80 01 0100 42 00 76`, 9,
		func(b []byte, limit int, v any) ([]byte, bool) { return AppendEAs(b, limit, v.([]EA)) },
		func(b []byte) (any, error) { return DecodeEAs(b) },
		nt.EAListInconsistent,
	},
	{
		"quotas",
		[]QuotaInfo{{9, 0x1000, 0x2000, NoQuota, dtyp.Everyone}, {0, 1, NoQuota, 5, dtyp.Administrators}},
		`
		38000000 0c000000 0900000000000000 0010000000000000 0020000000000000 ffffffffffffffff 0101000000000001 00000000 00000000
		00000000 10000000 0000000000000000 0100000000000000 ffffffffffffffff 0500000000000000 0102000000000005 20000000 20020000`, 40,
		func(b []byte, limit int, v any) ([]byte, bool) { return AppendQuotas(b, limit, v.([]QuotaInfo)) },
		func(b []byte) (any, error) { return DecodeQuotas(b) },
		nt.QuotaListInconsistent,
	},
	{
		"EA names",
		[]string{"EAONE", "B"},
		`
		0c000000 05 45414f4e45 00 00
		00000000 01 42 00`, 6,
		func(b []byte, _ int, v any) ([]byte, bool) { return AppendEANames(b, v.([]string)), true },
		func(b []byte) (any, error) { return DecodeEANames(b) },
		nt.EAListInconsistent,
	},
	{
		"changes",
		[]Change{{ActionRenamedOld, "a"}, {ActionRenamedNew, `b\c`}},
		`
		10000000 04000000 02000000 6100 0000
		00000000 05000000 06000000 62005c006300`, 12,
		func(b []byte, limit int, v any) ([]byte, bool) { return AppendChanges(b, limit, v.([]Change)) },
		func(b []byte) (any, error) { return DecodeChanges(b) },
		nt.InvalidParameter,
	},
	{
		"POSIX entries",
		[]POSIXEntry{{"a", aPOSIX}, {"lü", aPOSIX}},
		`
		80000000 00000000` + posixHex + `02000000 6100 0000
		00000000 00000000` + posixHex + `04000000 6c00 fc00`, 108,
		func(b []byte, limit int, v any) ([]byte, bool) {
			w, _ := NewDirWriter(b, FilePosixInformation, limit)
			for _, e := range v.([]POSIXEntry) {
				if !w.AddPOSIX(&e) {
					return w.Bytes(), false
				}
			}
			return w.Bytes(), true
		},
		func(b []byte) (any, error) {
			if len(b) == 0 {
				return []POSIXEntry{}, nil
			}
			return DecodePOSIXDir(b)
		},
		nt.InvalidParameter,
	},
}

func TestLists(t *testing.T) {
	for _, l := range lists {
		t.Run(l.name, func(t *testing.T) {
			want := hextext.Bytes(l.hex)
			got, all := l.append([]byte("head!"), len(want), l.values)
			if !all || string(got[:5]) != "head!" || !bytes.Equal(got[5:], want) {
				t.Errorf("% x, want\n% x", got[5:], want)
			}
			v, err := l.decode(want)
			if err != nil || !reflect.DeepEqual(v, l.values) {
				t.Errorf("%+v, %v", v, err)
			}
			if v, err := l.decode(nil); err != nil || reflect.ValueOf(v).Len() != 0 {
				t.Errorf("no bytes: %v, %v", v, err)
			}
			first := int(binary.LittleEndian.Uint32(want))
			for n := 1; n < len(want); n++ {
				if _, err := l.decode(want[:n]); !errors.Is(err, l.bad) {
					t.Errorf("cut at %d: %v", n, err)
				}
				if l.name == "EA names" {
					continue
				}
				part, all := l.append(nil, n, l.values)
				switch {
				case all:
					t.Errorf("fits into %d of %d bytes", n, len(want))
				case l.name == "changes" && len(part) != 0:
					t.Errorf("%d: some of the changes", n)
				case l.name != "changes" && n >= first && len(part) == 0:
					t.Errorf("%d: nothing, though the first fits", n)
				}
			}
		})
	}
}

// TestSEC07Lists: distances to the next entry that lie, and lists that are long.
func TestSEC07Lists(t *testing.T) {
	for _, l := range lists {
		b := hextext.Bytes(l.hex)
		good := binary.LittleEndian.Uint32(b)
		for _, next := range []uint32{1, 2, 3, 4, good - 1, good + 1, uint32(len(b)) + 4, 0x7FFFFFF8, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF} {
			if next == good {
				continue
			}
			binary.LittleEndian.PutUint32(b, next)
			if _, err := l.decode(b); !errors.Is(err, l.bad) {
				t.Errorf("%s: next %#x: %v", l.name, next, err)
			}
		}
		binary.LittleEndian.PutUint32(b, 0)
		if v, err := l.decode(b); err != nil || reflect.ValueOf(v).Len() != 1 {
			t.Errorf("%s: next 0: %v, %v", l.name, v, err)
		}
		binary.LittleEndian.PutUint32(b, uint32(len(b)+3)&^3)
		if _, err := l.decode(append(b, 0, 0, 0)[:(len(b)+3)&^3]); !errors.Is(err, l.bad) {
			t.Errorf("%s: next is the end: %v", l.name, err)
		}
	}
	for _, c := range []struct {
		name, hex string
		want      nt.Status
	}{
		{"empty name", `00000000 00 00 0000 00`, nt.InvalidEAName},
		{"flags", `00000000 01 01 0000 41 00`, nt.InvalidEAName},
		{"name with a colon", `00000000 00 01 0000 3a 00`, nt.InvalidEAName},
		{"name with NUL", `00000000 00 02 0000 4100 00`, nt.InvalidEAName},
		{"no terminator", `00000000 00 01 0100 41 41 41`, nt.EAListInconsistent},
		{"value past the end", `00000000 00 01 ffff 41 00`, nt.EAListInconsistent},
		{"name past the end", `00000000 00 ff 0000 41 00`, nt.EAListInconsistent},
		{"value over the next entry", `0c000000 00 01 0300 41 00 4242 00000000 00 01 0000 41 00`, nt.EAListInconsistent},
	} {
		if _, err := DecodeEAs(hextext.Bytes(c.hex)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := DecodeEAs(make([]byte, MaxEATotal+1)); !errors.Is(err, nt.EATooLarge) {
		t.Errorf("64 KiB and a byte of EAs: %v", err)
	}
	for _, c := range []struct {
		hex  string
		want nt.Status
	}{{`00000000 00 00`, nt.InvalidEAName}, {`00000000 01 41 41`, nt.EAListInconsistent}, {`00000000 ff 41 00`, nt.EAListInconsistent}} {
		if _, err := DecodeEANames(hextext.Bytes(c.hex)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.hex, err)
		}
	}
	if _, ok := AppendEAs(nil, 1000, []EA{{Name: strings.Repeat("n", 256)}}); ok {
		t.Error("an EA name of 256 bytes")
	}

	// A list of as many entries as bytes allow is walked once.
	start := time.Now()
	b := make([]byte, 8<<20)
	for off := 0; off+16 < len(b); off += 16 {
		binary.LittleEndian.PutUint32(b[off:], 16)
	}
	if v, err := DecodeChanges(b); err != nil || len(v) != len(b)/16 {
		t.Errorf("%d entries, %v", len(v), err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("8 MiB took %v", d)
	}
}

func FuzzLists(f *testing.F) {
	for i, l := range lists {
		f.Add(uint8(i), hextext.Bytes(l.hex))
	}
	for i, class := range dirClasses {
		f.Add(uint8(len(lists)+i), hextext.Bytes(dirVectors[class]))
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		if i := int(which) % (len(lists) + len(dirClasses)); i < len(lists) {
			l := lists[i]
			v, err := l.decode(b)
			if err != nil || reflect.ValueOf(v).Len() == 0 {
				return
			}
			again, all := l.append(nil, len(b)+16, v)
			w, err := l.decode(again)
			if !all || err != nil || fmt.Sprint(v) != fmt.Sprint(w) {
				t.Errorf("%s: %+v became %+v, %v", l.name, v, w, err)
			}
		} else {
			class := dirClasses[i-len(lists)]
			v, err := DecodeDir(class, b)
			if err != nil {
				return
			}
			w, _ := NewDirWriter(nil, class, len(b)+16)
			for i := range v {
				if !w.Add(&v[i]) {
					t.Fatalf("%v: entry %d of %d does not fit into %d bytes", class, i, len(v), len(b))
				}
			}
			if again, err := DecodeDir(class, w.Bytes()); err != nil || !reflect.DeepEqual(v, again) {
				t.Errorf("%v: %+v became %+v, %v", class, v, again, err)
			}
		}
	})
}

func BenchmarkDirWriter(b *testing.B) {
	buf := make([]byte, 0, 1<<20)
	e := anEntry
	e.Name = "a name of some length.txt"
	b.ReportAllocs()
	for b.Loop() {
		w, _ := NewDirWriter(buf, FileIdBothDirectoryInformation, 1<<20)
		for w.Add(&e) {
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	p := NewPattern("<.txt")
	b.ReportAllocs()
	for b.Loop() {
		p.Match("a name of some length.txt")
	}
}

func TestEASize(t *testing.T) {
	var list []EA
	for i := range 20 {
		list = append(list, EA{Name: strings.Repeat("N", i+1), Value: make([]byte, i*3)})
		b, all := AppendEAs(nil, MaxEATotal, list)
		if !all || int(EASize(list)) != len(b) {
			t.Errorf("%d attributes: %d bytes, said to be %d", len(list), len(b), EASize(list))
		}
	}
	if EASize(nil) != 0 {
		t.Error("nothing takes something")
	}
}

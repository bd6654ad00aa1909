package images

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

// testPE makes a small image as a linker does: headers of 0x400 bytes, then the sections.
func testPE(sections ...part) []byte {
	const headers, fileAlign, memAlign, at = 0x400, 0x200, 0x1000, 0x80
	le := binary.LittleEndian
	b := make([]byte, headers)
	copy(b, "MZ")
	copy(b[imageMagicAt:], imageMagic)
	le.PutUint32(b[peOffsetAt:], at)
	copy(b[at:], peSignature)
	coff := b[at+4:]
	le.PutUint16(coff, MachineARM64)
	le.PutUint16(coff[2:], uint16(len(sections)))
	le.PutUint16(coff[16:], 240)
	opt := coff[coffHeader:]
	le.PutUint16(opt, optionalPlus)
	le.PutUint32(opt[optSectionAlignment:], memAlign)
	le.PutUint32(opt[optFileAlignment:], fileAlign)
	le.PutUint32(opt[optHeadersSize:], headers)
	le.PutUint32(opt[optDirectories:], 16)
	address := uint64(memAlign)
	for i, s := range sections {
		row := b[at+4+coffHeader+240+i*sectionHeader:]
		raw := roundUp(uint64(len(s.data)), fileAlign)
		copy(row[:8], s.name)
		le.PutUint32(row[8:], uint32(len(s.data)))
		le.PutUint32(row[12:], uint32(address))
		le.PutUint32(row[16:], uint32(raw))
		le.PutUint32(row[20:], uint32(len(b)))
		b = append(append(b, s.data...), make([]byte, raw-uint64(len(s.data)))...)
		address += roundUp(raw, memAlign)
		opt = b[at+4+coffHeader:]
	}
	le.PutUint32(opt[optImageSize:], uint32(address))
	return b
}

func testStub() []byte {
	return testPE(part{".text", bytes.Repeat([]byte{1}, 700)}, part{".sbat", []byte("sbat,1,one\n")})
}

func testTree(model string) []byte {
	t := make([]byte, 40+len(model))
	binary.BigEndian.PutUint32(t, deviceTreeMagic)
	binary.BigEndian.PutUint32(t[4:], uint32(len(t)))
	copy(t[40:], model)
	return t
}

func testUKI() UKI {
	return UKI{
		Kernel: testPE(part{".text", bytes.Repeat([]byte("kernel"), 300)}), Initrd: bytes.Repeat([]byte{7}, 5000),
		CommandLine: "console=ttyAMA0 quiet", Release: "ID=postern\nVERSION_ID=1\n", Uname: "6.12.0",
		DeviceTrees: [][]byte{testTree("one"), testTree("two")}, SBAT: "sbat,1,one\npostern,1,two\n",
	}
}

// TestUKI: another reader of PE files finds everything in its place.
func TestUKI(t *testing.T) {
	u := testUKI()
	image, err := u.Write(testStub())
	if err != nil {
		t.Fatal(err)
	}
	f, err := pe.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	opt := f.OptionalHeader.(*pe.OptionalHeader64)
	var names []string
	trees := 0
	for i, s := range f.Sections {
		names = append(names, s.Name)
		data, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		if s.Size < s.VirtualSize {
			t.Fatalf("%s: %d bytes in the file, %d in memory", s.Name, s.Size, s.VirtualSize)
		}
		data = data[:s.VirtualSize]
		want := map[string][]byte{
			".linux": u.Kernel, ".initrd": u.Initrd, ".cmdline": []byte(u.CommandLine), ".osrel": []byte(u.Release),
			".uname": []byte(u.Uname), ".sbat": []byte(u.SBAT), ".text": bytes.Repeat([]byte{1}, 700),
		}[s.Name]
		if s.Name == ".dtbauto" {
			want = u.DeviceTrees[trees]
			trees++
		}
		if !bytes.Equal(data, want) {
			t.Errorf("%s holds other bytes", s.Name)
		}
		if s.Offset%opt.FileAlignment != 0 || s.Size%opt.FileAlignment != 0 || s.VirtualAddress%opt.SectionAlignment != 0 {
			t.Errorf("%s is not aligned", s.Name)
		}
		if end := s.VirtualAddress + s.VirtualSize; end > opt.SizeOfImage {
			t.Errorf("%s ends at %#x, the image at %#x", s.Name, end, opt.SizeOfImage)
		}
		for _, o := range f.Sections[:i] {
			if s.VirtualAddress < o.VirtualAddress+o.VirtualSize && o.VirtualAddress < s.VirtualAddress+s.VirtualSize {
				t.Errorf("%s and %s overlap in memory", s.Name, o.Name)
			}
			if s.Offset < o.Offset+o.Size && o.Offset < s.Offset+s.Size {
				t.Errorf("%s and %s overlap in the file", s.Name, o.Name)
			}
		}
	}
	want := []string{".text", ".sbat", ".osrel", ".cmdline", ".uname", ".dtbauto", ".dtbauto", ".initrd", ".linux"}
	if !slices.Equal(names, want) {
		t.Errorf("sections %v", names)
	}
	again, err := testUKI().Write(testStub())
	if err != nil || !bytes.Equal(image, again) {
		t.Errorf("not the same bytes twice (%v)", err)
	}
}

func TestUKIRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*UKI)
		stub   []byte
		says   string
	}{
		"no kernel":         {change: func(u *UKI) { u.Kernel = nil }, says: "the kernel is not a usable arm64"},
		"compressed kernel": {change: func(u *UKI) { u.Kernel = []byte(strings.Repeat("\x1f\x8b", 100)) }, says: "no MZ header"},
		"other EFI program": {change: func(u *UKI) { u.Kernel[imageMagicAt] = 'X' }, says: "no arm64 Image header"},
		"no command line":   {change: func(u *UKI) { u.CommandLine = " " }, says: "no command line"},
		"long command line": {change: func(u *UKI) { u.CommandLine = strings.Repeat("a", maxCommandLine) }, says: "a command line of 2048 bytes"},
		"a newline":         {change: func(u *UKI) { u.CommandLine = "a\nb" }, says: `the character '\n'`},
		"no release":        {change: func(u *UKI) { u.Release = "GRID=1\n" }, says: "no ID= line"},
		"no device tree":    {change: func(u *UKI) { u.DeviceTrees[1] = u.DeviceTrees[1][:41] }, says: "device tree 1 is none"},
		"no DTB":            {change: func(u *UKI) { u.DeviceTree = []byte{1} }, says: "the device tree is none"},
		"many device trees": {
			change: func(u *UKI) { u.DeviceTrees = slices.Repeat(u.DeviceTrees, maxDeviceTrees) }, says: "96 device trees, more than 48",
		},
		"crowded stub": {
			change: func(u *UKI) { u.DeviceTrees = slices.Repeat(u.DeviceTrees, 10) }, says: "no room for 25 more section headers",
		},
		"large SBAT":   {change: func(u *UKI) { u.SBAT = strings.Repeat("x", 4097) }, says: ".sbat has 4097 bytes, and the stub's place for it 4096"},
		"UKI as stub":  {stub: testPE(part{".linux", []byte{1}}), says: "has a section .linux already"},
		"no stub":      {stub: []byte("MZ"), says: "the stub is not a usable"},
		"signed stub":  {stub: signed(testStub()), says: "the stub is signed"},
		"cut stub":     {stub: testStub()[:0x500], says: `section ".text" is outside of the file`},
		"32-bit stub":  {stub: poke16(testStub(), 0x80+24, 0x10b), says: "not PE32+"},
		"x86 stub":     {stub: poke16(testStub(), 0x84, 0x8664), says: "machine 0x8664"},
		"odd stub":     {stub: poke16(testStub(), 0x98+optFileAlignment, 3), says: "an alignment of 3"},
		"far header":   {stub: poke16(testStub(), peOffsetAt, 0xffff), says: "the PE header at 0xffff is outside"},
		"sectionless":  {stub: testPE(), says: "0 sections"},
		"directories":  {stub: poke16(testStub(), 0x98+optDirectories, 17), says: "17 data directories do not fit"},
		"tiny headers": {stub: poke16(testStub(), 0x98+optHeadersSize, 0x10), says: "headers of 16 bytes"},
	} {
		u, stub := testUKI(), c.stub
		if c.change != nil {
			c.change(&u)
		}
		if stub == nil {
			stub = testStub()
		}
		_, err := u.Write(stub)
		if !errors.Is(err, ErrUKI) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

func poke16(b []byte, at int, v uint16) []byte {
	binary.LittleEndian.PutUint16(b[at:], v)
	return b
}

func signed(b []byte) []byte {
	entry := 0x80 + 24 + optionalFixed + certificateTable*directoryEntry
	binary.LittleEndian.PutUint32(b[entry:], uint32(len(b)))
	binary.LittleEndian.PutUint32(b[entry+4:], 64)
	return append(b, bytes.Repeat([]byte{9}, 64)...)
}

// FuzzPE: whatever a file claims, reading it ends and stays within it.
func FuzzPE(f *testing.F) {
	uki, err := testUKI().Write(testStub())
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{testStub(), uki, signed(testStub()), []byte("MZ")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			return
		}
		_, _ = Measure(UBoot, nil, data, 0)
		u := testUKI()
		if out, err := u.Write(bytes.Clone(data)); err == nil {
			if _, err := parsePE(out); err != nil {
				t.Fatalf("an image of ours cannot be read: %v", err)
			}
		}
	})
}

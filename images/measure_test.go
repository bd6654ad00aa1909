package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
)

// TestAuthenticode: what a signature changes is not covered by it, everything else is.
func TestAuthenticode(t *testing.T) {
	plain := testStub()
	want, err := Authenticode(plain)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing is left out of this image but the checksum and the directory entry, both of them zero; it ends on a
	// multiple of 8 bytes.
	sum, entry := 0x98+optChecksum, 0x98+optionalFixed+certificateTable*directoryEntry
	if by := sha256.Sum256(bytes.Join([][]byte{plain[:sum], plain[sum+4 : entry], plain[entry+8:]}, nil)); by != want {
		t.Errorf("%x, by hand %x", want, by)
	}
	with := signed(testStub())
	if got, err := Authenticode(with); err != nil || got != want {
		t.Errorf("a signature changes the digest (%v)", err)
	}
	sums := testStub()
	poke16(sums, sum, 0x1234)
	if got, err := Authenticode(sums); err != nil || got != want {
		t.Errorf("the checksum changes the digest (%v)", err)
	}
	for _, at := range []int{3, 0x98 + optImageSize, 0x3ff, 0x400, len(plain) - 1} {
		other := testStub()
		other[at] ^= 1
		if got, err := Authenticode(other); err != nil || got == want {
			t.Errorf("byte %#x is not covered (%v)", at, err)
		}
	}
	// Bytes behind the sections are covered, up to a multiple of 8 with zeros.
	longer := append(testStub(), 1)
	got, err := Authenticode(longer)
	padded, err2 := Authenticode(append(longer, 0, 0, 0, 0, 0, 0, 0))
	if err != nil || err2 != nil || got == want || got != padded {
		t.Errorf("trailing bytes: %v, %v", err, err2)
	}
	huge := signed(testStub())
	poke16(huge, entry+6, 0x7fff)
	if _, err := Authenticode(huge); !errors.Is(err, ErrPE) {
		t.Errorf("certificates longer than the file: %v", err)
	}
}

// TestMeasure: each of the registers moves with what it covers and with nothing else.
func TestMeasure(t *testing.T) {
	stub, loader := testStub(), testPE(part{".text", []byte("loader")})
	measure := func(chain Chain, loader []byte, tree int, u UKI) map[int][32]byte {
		t.Helper()
		image, err := u.Write(stub)
		if err != nil {
			t.Fatal(err)
		}
		pcrs, err := Measure(chain, loader, image, tree)
		if err != nil {
			t.Fatal(err)
		}
		return pcrs
	}
	base := measure(EDK2, nil, NoDeviceTree, testUKI())

	four := map[[32]byte]bool{base[4]: true}
	for chain, l := range map[Chain][]byte{EDK2Loader: loader, UBoot: nil} {
		got := measure(chain, l, NoDeviceTree, testUKI())
		if got[11] != base[11] {
			t.Errorf("chain %d changes PCR 11", chain)
		}
		four[got[4]] = true
	}
	if len(four) != 3 {
		t.Errorf("%d values of PCR 4 for three chains", len(four))
	}

	eleven := map[[32]byte]string{base[11]: "as it was"}
	for name, change := range map[string]func(*UKI){
		"kernel":       func(u *UKI) { u.Kernel[0x400] ^= 1 },
		"initrd":       func(u *UKI) { u.Initrd[0] ^= 1 },
		"command line": func(u *UKI) { u.CommandLine += " " },
		"release":      func(u *UKI) { u.Release += "\n" },
		"uname":        func(u *UKI) { u.Uname = "" },
		"SBAT":         func(u *UKI) { u.SBAT = "" },
		"a tree":       func(u *UKI) { u.DeviceTree = testTree("x") },
	} {
		u := testUKI()
		change(&u)
		got := measure(EDK2, nil, NoDeviceTree, u)
		if other, twice := eleven[got[11]]; twice {
			t.Errorf("%s: PCR 11 is that of %s", name, other)
		}
		eleven[got[11]] = name
		if got[4] == base[4] {
			t.Errorf("%s: PCR 4 does not see it", name)
		}
	}
	for tree := range 2 {
		got := measure(EDK2, nil, tree, testUKI())
		if _, twice := eleven[got[11]]; twice {
			t.Errorf("device tree %d is not in PCR 11", tree)
		}
		eleven[got[11]] = "a device tree"
		if got[4] != base[4] {
			t.Errorf("device tree %d is in PCR 4", tree)
		}
	}
}

// TestMeasureByHand: PCR 11 of an image with nothing but what it must have, extended step by step.
func TestMeasureByHand(t *testing.T) {
	u := UKI{Kernel: testUKI().Kernel, CommandLine: "c", Release: "ID=x"}
	image, err := u.Write(testPE(part{".text", []byte{1}}))
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256
	var pcr [32]byte
	for _, data := range [][]byte{
		[]byte(".linux\x00"), u.Kernel, []byte(".osrel\x00"), []byte("ID=x"), []byte(".cmdline\x00"), []byte("c"),
	} {
		d := h(data)
		pcr = h(append(pcr[:], d[:]...))
	}
	got, err := Measure(EDK2, nil, image, NoDeviceTree)
	if err != nil || got[PCRImage] != pcr {
		t.Errorf("PCR 11 %x, by hand %x (%v)", got[PCRImage], pcr, err)
	}

	a, s := h([]byte("Calling EFI Application from Boot Option")), h([]byte{0, 0, 0, 0})
	// The separator's and the intent's digests are facts of every firmware's event log.
	if hex.EncodeToString(a[:4]) != "3d6772b4" || hex.EncodeToString(s[:4]) != "df3f6198" {
		t.Errorf("digests %x and %x", a, s)
	}
	outer, err1 := Authenticode(image)
	inner, err2 := Authenticode(u.Kernel)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	pcr = [32]byte{}
	for _, d := range [][32]byte{a, s, outer, inner} {
		pcr = h(append(pcr[:], d[:]...))
	}
	if got[PCRBootCode] != pcr {
		t.Errorf("PCR 4 %x, by hand %x", got[PCRBootCode], pcr)
	}
}

func TestMeasureRefuses(t *testing.T) {
	image, err := testUKI().Write(testStub())
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"no image":             func() error { _, err := Measure(EDK2, nil, []byte("x"), -1); return err },
		"no UKI":               func() error { _, err := Measure(EDK2, nil, testStub(), -1); return err },
		"no such tree":         func() error { _, err := Measure(EDK2, nil, image, 2); return err },
		"a loader too many":    func() error { _, err := Measure(EDK2, testStub(), image, -1); return err },
		"a loader too few":     func() error { _, err := Measure(EDK2Loader, nil, image, -1); return err },
		"a loader that is not": func() error { _, err := Measure(EDK2Loader, []byte("x"), image, -1); return err },
		"no such chain":        func() error { _, err := Measure(9, nil, image, -1); return err },
	} {
		if f() == nil {
			t.Errorf("%s: measured", name)
		}
	}
}

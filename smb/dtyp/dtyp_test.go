package dtyp

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestGUID(t *testing.T) {
	// [MS-DTYP] 2.3.4.2: three fields little-endian, the rest bytes.
	const text = "6cb71c2c-9812-4540-0300-000000000000"
	g, err := ParseGUID(text)
	if err != nil || hex.EncodeToString(g[:]) != "2c1cb76c129840450300000000000000" {
		t.Errorf("%x, %v", g[:], err)
	}
	if g.String() != text {
		t.Errorf("%v", g)
	}
	if h, err := ParseGUID("{6CB71C2C-9812-4540-0300-000000000000}"); err != nil || h != g {
		t.Errorf("in braces and capitals: %v, %v", h, err)
	}
	for _, bad := range []string{
		"", "6cb71c2c", text + "0", text[:35], "{" + text, text + "}", "(" + text + ")",
		strings.ReplaceAll(text, "-", "x"), "6cb71c2c-9812-4540-0300-00000000000g", "6cb71c2c-9812-4540-030-0000000000000",
	} {
		if _, err := ParseGUID(bad); !errors.Is(err, ErrGUID) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	a, b := NewGUID(), NewGUID()
	if a == b || a[7]>>4 != 4 || a[8]>>6 != 2 {
		t.Errorf("random GUIDs %v, %v", a, b)
	}
	if back, err := ParseGUID(a.String()); err != nil || back != a {
		t.Errorf("%v became %v, %v", a, back, err)
	}
}

func TestFiletime(t *testing.T) {
	for _, c := range []struct {
		time time.Time
		want Filetime
	}{
		{time.Unix(0, 0), 116444736000000000},
		{time.Unix(0, 199), 116444736000000001}, // whole 100 ns
		{time.Date(1601, 1, 1, 0, 0, 0, 100, time.UTC), 1},
		{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), 125911584000000000},
		{time.Date(1969, 12, 31, 23, 59, 59, 999999900, time.UTC), 116444735999999999},
		{time.Date(30827, 12, 31, 0, 0, 0, 0, time.UTC), 9223149024000000000},
	} {
		if got := FiletimeOf(c.time); got != c.want {
			t.Errorf("FiletimeOf(%v) = %d, want %d", c.time, got, c.want)
		}
		if got := c.want.Time(); !got.Equal(c.time.Truncate(100)) || got.Location() != time.UTC {
			t.Errorf("%d.Time() = %v, want %v", c.want, got, c.time)
		}
	}
	if !Filetime(0).Time().IsZero() || FiletimeOf(time.Time{}) != 0 {
		t.Error("no time is not 0")
	}
	east := time.FixedZone("", 14*3600)
	if got := FiletimeOf(time.Date(1601, 1, 1, 0, 0, 0, 0, east)); got != 0 {
		t.Errorf("1600 in UTC is %d", got)
	}
	if got := FiletimeOf(time.Date(40000, 1, 1, 0, 0, 0, 0, time.UTC)); got != 1<<63-1 {
		t.Errorf("the year 40000 is %d", got)
	}
	for _, f := range []Filetime{1<<63 - 1, 1 << 63, 1<<64 - 1} {
		_ = f.Time().String() // values that only a wire has: whatever it is, it is a time
	}
}

func TestSID(t *testing.T) {
	for _, c := range []struct{ text, hex string }{
		{"S-1-0-0", "010100000000000000000000"},
		{"S-1-1-0", "010100000000000100000000"},
		{"S-1-5-32-544", "01020000000000052000000020020000"},
		{"S-1-5-21-1-4294967295-3-1000", "0105000000000005150000000100000" + "0ffffffff03000000e8030000"},
		{"S-1-5", "0100000000000005"},
		{"S-1-4294967295-1", "01010000ffffffff01000000"},
		{"S-1-0x000100000000-1", "010100010000000001000000"},
		{"S-1-5" + strings.Repeat("-7", 15), "010f000000000005" + strings.Repeat("07000000", 15)},
	} {
		want, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseSID(c.text)
		if err != nil || string(s) != string(want) {
			t.Errorf("ParseSID(%s) = %x, %v", c.text, string(s), err)
		}
		if got := SID(want).String(); got != c.text {
			t.Errorf("%x is %s, want %s", want, got, c.text)
		}
		got, n, err := DecodeSID(append(want, 1, 2, 3))
		if err != nil || n != len(want) || string(got) != string(want) {
			t.Errorf("DecodeSID(%x) = %v, %d, %v", want, got, n, err)
		}
		for n := range want {
			if _, _, err := DecodeSID(want[:n]); !errors.Is(err, ErrSID) {
				t.Errorf("%s cut at %d: %v", c.text, n, err)
			}
		}
	}
	for _, bad := range []string{
		"", "S-1", "S-2-5-1", "s-1-5-1", "S-1-5-", "S-1-5--1", "S-1-5-4294967296", "S-1-281474976710656-1", "S-1-5-x",
		"S-1-0x-1", "S-1-5_0-1", "S-1-5-0x10", "S-1-5" + strings.Repeat("-7", 16), strings.Repeat("S-1-5", 1000),
	} {
		if _, err := ParseSID(bad); !errors.Is(err, ErrSID) {
			t.Errorf("ParseSID(%q): %v", bad, err)
		}
	}
	for _, bad := range []string{
		"020100000000000100000000",                          // revision
		"0110000000000005" + strings.Repeat("07000000", 16), // 16 sub-authorities
		"01ff000000000005" + strings.Repeat("07000000", 255),
	} {
		b, err := hex.DecodeString(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := DecodeSID(b); !errors.Is(err, ErrSID) {
			t.Errorf("DecodeSID(%x): %v", b, err)
		}
	}
	if got := Administrators.String(); got != "S-1-5-32-544" {
		t.Errorf("Administrators is %s", got)
	}
	if got := NewSID(5, 21).Child(1000).Child(7).String(); got != "S-1-5-21-1000-7" {
		t.Errorf("a grandchild is %s", got)
	}
	for _, s := range []SID{"", "x", SID(append([]byte(Everyone), 0))} {
		if s.String() != "(no SID)" {
			t.Errorf("%x is %v", string(s), s)
		}
	}
	for name, f := range map[string]func(){
		"16 sub-authorities":  func() { NewSID(5, make([]uint32, 16)...) },
		"authority of 49 bit": func() { NewSID(1 << 48) },
		"16th child":          func() { NewSID(5, make([]uint32, 15)...).Child(1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func TestExpand(t *testing.T) {
	for _, c := range []struct{ in, want Access }{
		{0, 0},
		{ReadData, ReadData},
		{GenericRead, 0x00120089},
		{GenericWrite, 0x00120116},
		{GenericExecute, 0x001200A0},
		{GenericAll, 0x001F01FF},
		{GenericRead | Delete | MaximumAllowed, 0x02130089},
		{0xF0000000, 0x001F01FF},
	} {
		if got := c.in.Expand(); got != c.want {
			t.Errorf("%#x is %#x, want %#x", c.in, got, c.want)
		}
	}
}

func FuzzSID(f *testing.F) {
	f.Add([]byte(Administrators), "S-1-5-32-544")
	f.Add([]byte(NewSID(1<<40, 1)), "S-1-0x10000000000-1")
	f.Fuzz(func(t *testing.T, b []byte, text string) {
		if s, n, err := DecodeSID(b); err == nil {
			if back, err := ParseSID(s.String()); err != nil || back != s || n != len(s) {
				t.Errorf("%v became %v, %v", s, back, err)
			}
		}
		if s, err := ParseSID(text); err == nil {
			if back, err := ParseSID(s.String()); err != nil || back != s {
				t.Errorf("%q became %v, %v", text, back, err)
			}
		}
		if g, err := ParseGUID(text); err == nil {
			if back, err := ParseGUID(g.String()); err != nil || back != g {
				t.Errorf("%q became %v, %v", text, back, err)
			}
		}
	})
}

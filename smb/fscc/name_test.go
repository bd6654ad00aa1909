package fscc

import (
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/postern-nas/postern/smb/nt"
)

// TestUpcaseRule derives the table again from Go's Unicode tables: a lowercase letter of the BMP maps exactly if its
// pair maps back and is no younger than Unicode 6.1.
func TestUpcaseRule(t *testing.T) {
	young := []struct{ lo, hi rune }{
		{0x019B, 0x019B},
		{0x025C, 0x025C},
		{0x0261, 0x0261},
		{0x0264, 0x0264},
		{0x026A, 0x026A},
		{0x026C, 0x026C},
		{0x0282, 0x0282},
		{0x0287, 0x0287},
		{0x029D, 0x029E},
		{0x03F3, 0x03F3},
		{0x0528, 0x052F},
		{0x10D0, 0x10FF},
		{0x13A0, 0x13FF},
		{0x1C80, 0x1C8A},
		{0x1D8E, 0x1D8E},
		{0x2C5F, 0x2C5F},
		{0xA698, 0xA69B},
		{0xA794, 0xA79F},
		{0xA7B0, 0xA7FF},
		{0xAB53, 0xABBF},
	}
	for r := rune(0); r <= 0xFFFF; r++ {
		want := r
		if u := unicode.ToUpper(r); u <= 0xFFFF && unicode.ToLower(u) == r {
			want = u
		}
		for _, y := range young {
			if y.lo <= r && r <= y.hi {
				want = r
			}
		}
		if r == 'ς' {
			want = 'Σ'
		}
		if got := Upcase(r); got != want {
			t.Errorf("Upcase(%U) = %U, want %U", r, got, want)
		}
		if u := Upcase(r); Upcase(u) != u {
			t.Errorf("Upcase(%U) = %U is not its own uppercase", r, u)
		}
	}
}

func TestUpcaseWindows(t *testing.T) {
	for _, c := range []struct{ in, want rune }{
		{'a', 'A'},
		{'z', 'Z'},
		{'{', '{'},
		{'`', '`'},
		{'é', 'É'},
		{'ÿ', 'Ÿ'},
		{'÷', '÷'},
		{'я', 'Я'},
		{'ѐ', 'Ѐ'},
		{'ω', 'Ω'},
		{'ς', 'Σ'},
		{'ａ', 'Ａ'},
		{'ⅷ', 'Ⅷ'},
		{'ⓐ', 'Ⓐ'},
		{'ß', 'ß'}, // two letters in full uppercasing
		{'ẞ', 'ẞ'},
		{'ı', 'ı'}, // Unicode says I
		{'İ', 'İ'},
		{'ſ', 'ſ'}, // Unicode says S
		{'µ', 'µ'}, // Unicode says Greek capital mu
		{'ϐ', 'ϐ'},
		{0x212A, 0x212A}, // Kelvin sign
		{0x212B, 0x212B}, // Angstrom sign
		{'ǆ', 'Ǆ'},
		{'ǅ', 'ǅ'}, // titlecase
		{'ᾳ', 'ᾼ'},
		{0x0345, 0x0345},
		{0xD800, 0xD800},
		{'𐐨', '𐐨'}, // Deseret, above the BMP
		{-1, -1},
	} {
		if got := Upcase(c.in); got != c.want {
			t.Errorf("Upcase(%U) = %U, want %U", c.in, got, c.want)
		}
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"README.TXT", "README.TXT"},
		{"ReadMe.txt", "README.TXT"},
		{"Übung ÿ straße", "ÜBUNG Ÿ STRAßE"},
		{"ɐ", "Ɐ"},           // longer in UTF-8
		{"ⱥ", "Ⱥ"},           // shorter
		{"𐐨x", "𐐨X"},         // above the BMP
		{"a\xffb", "A\xffB"}, // no UTF-8
		{"\ufffd", "\ufffd"},
	} {
		if got := Fold(c.in); got != c.want {
			t.Errorf("Fold(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	for _, s := range []string{"", "UPPER.TXT", "123-_."} {
		if n := testing.AllocsPerRun(100, func() { Fold(s) }); n != 0 {
			t.Errorf("Fold(%q) allocates %v times", s, n)
		}
	}
}

func TestEqualFold(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"", "", true},
		{"a", "", false},
		{"abc", "ABC", true},
		{"abc", "abcd", false},
		{"straße", "STRASSE", false},
		{"I", "ı", false},
		{"i", "İ", false},
		{"ΟΔΟΣ", "οδος", true},
		{"k", "\u212a", false},
		{"\xff", "\xfe", false},
		{"\xff", "\xff", true},
		{"\xff", "\ufffd", false},
		{"ɐ", "Ɐ", true},
	} {
		if got := EqualFold(c.a, c.b); got != c.want {
			t.Errorf("EqualFold(%q, %q) = %v", c.a, c.b, got)
		}
		if got := Fold(c.a) == Fold(c.b); got != c.want {
			t.Errorf("Fold disagrees on %q, %q", c.a, c.b)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "anything", true},
		{"*", "", true},
		{"**", "anything", true},
		{"", "", true},
		{"", "a", false},
		{"abc", "ABC", true},
		{"abc", "abcd", false},
		{"abcd", "abc", false},
		{"Übung", "üBUNG", true},
		{"?", "a", true},
		{"?", "", false},
		{"?", "ab", false},
		{"?", "ä", true},
		{"?", "😀", false}, // two code units
		{"??", "😀", true},
		{"*.txt", "a.txt", true},
		{"*.txt", "a.txt.bak", false},
		{"*.txt", "a.txt.txt", true},
		{"*.*", "noext", false},
		{"a*b*c", "aXbYbZc", true},
		{"a*b*c", "aXcYb", false},
		{"*a", "bbba", true},
		{"a?c*", "abcdef", true},

		// DOS_STAR eats anything but the last period: what "*." and "*.ext" become on the client.
		{"<", "noext", true},
		{"<", "a.txt", false},
		{"<", "", true},
		{"<.txt", "a.txt", true},
		{"<.txt", "a.b.txt", true},
		{"<.b", "a.b.txt", false},
		{`<"*`, "a.b.txt", true},
		{`<"*`, "noext", true},
		{`<"`, "noext", true},
		{`<"`, "a.", true},
		{`<"`, "a.b", false},
		{"<.<", "a.b", true},
		{"a<b", "a.x.b", false},
		{"a<.b", "a.x.b", true},

		// DOS_QM is one character, or none before a period or at the end.
		{">", "a", true},
		{">", "", true},
		{">", "ab", false},
		{">>>", "ab", true},
		{">>>>>>>>.>>>", "file.c", true},
		{`>>>>>>>>">>>`, "file.c", true},
		{`>>>>>>>>">>>`, "file", true},
		{`>>>>>>>>">>>`, "file.", true},
		{">>>>>>>>.>>>", "toolongname.c", false},
		{">>.c", ".c", true},
		{">x", "x", false},
		{">x", "ax", true},

		// DOS_DOT is a period, or nothing at the end.
		{`a"`, "a", true},
		{`a"`, "a.", true},
		{`a"`, "ab", false},
		{`a"b`, "a.b", true},
		{`a"b`, "ab", false},
		{`a"""`, "a", true},
		{`a""`, "a..", true},
		{`*"`, "a.b", true},

		// A wildcard in a name is an ordinary character to everything but itself.
		{"a*", "a*", true},
		{"*", ".", true},
		{"..", "..", true},
	} {
		if got := Match(c.pattern, c.name); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

// naive is the recursive definition of [MS-FSA] 2.1.4.4; exponential, so for short inputs.
func naive(p, n []uint16) bool {
	if len(p) == 0 {
		return len(n) == 0
	}
	last := true
	for _, u := range n[min(1, len(n)):] {
		last = last && u != '.'
	}
	switch p[0] {
	case '*':
		return naive(p[1:], n) || len(n) > 0 && naive(p, n[1:])
	case '<':
		return naive(p[1:], n) || len(n) > 0 && (n[0] != '.' || !last) && naive(p, n[1:])
	case '>':
		if len(n) == 0 || n[0] == '.' {
			return naive(p[1:], n)
		}
		return naive(p[1:], n[1:])
	case '"':
		if len(n) == 0 {
			return naive(p[1:], n)
		}
		return n[0] == '.' && naive(p[1:], n[1:])
	}
	return len(n) > 0 && (p[0] == '?' || p[0] == n[0]) && naive(p[1:], n[1:])
}

// TestMatchExhaustive compares with the definition for every pattern and name of up to four of the
// characters that mean something.
func TestMatchExhaustive(t *testing.T) {
	words := func(alphabet string, n int) (out []string) {
		out = []string{""}
		for from := 0; n > 0; n-- {
			to := len(out)
			for _, w := range out[from:to] {
				for _, c := range alphabet {
					out = append(out, w+string(c))
				}
			}
			from = to
		}
		return out
	}
	names := words("A.B", 4)
	for _, p := range words(`A.*?<>"`, 4) {
		c := NewPattern(p)
		for _, n := range names {
			if got, want := c.Match(n), naive(appendUnits(nil, p), appendUnits(nil, n)); got != want {
				t.Fatalf("Match(%q, %q) = %v", p, n, got)
			}
		}
	}
}

// TestSEC36Pattern: no pattern costs more than the product of its length and the name's: each character of the name looks
// at each position in the pattern once.
func TestSEC36Pattern(t *testing.T) {
	name := strings.Repeat("a", MaxComponent-1) + "b"
	most := 0
	for _, p := range []string{
		"*********a",
		strings.Repeat("*a", 127) + "c",
		strings.Repeat("*?", 127) + "c",
		strings.Repeat("<a", 127) + "c",
		strings.Repeat("<", 254) + "c",
		strings.Repeat("<*", 127) + "c",
		strings.Repeat("<>", 127) + "c",
		strings.Repeat(">", 254) + "c",
		strings.Repeat(`<"`, 127) + "c",
	} {
		if err := CheckPattern(p); err != nil {
			t.Fatalf("CheckPattern(%q): %v", p, err)
		}
		c := NewPattern(p)
		for _, n := range []string{name, strings.Repeat(".", MaxComponent)} {
			if c.Match(n) {
				t.Errorf("%q matches %q", p, n)
			}
			at := []int32{0}
			for i, u := range appendUnits(nil, n) {
				var looked int
				at, looked = c.advance(nil, at, u, n[i] == '.' && i == len(n)-1)
				if most = max(most, looked); looked > len(c.units) || len(at) > len(c.units)+1 {
					t.Fatalf("%q: character %d of %q looks at %d positions of %d, and leads to %d", p, i, n, looked, len(c.units), len(at))
				}
			}
		}
	}
	if most < MaxComponent-1 {
		t.Errorf("the patterns are not the worst: %d positions looked at", most)
	}
	c := NewPattern("<.txt")
	if n := testing.AllocsPerRun(100, func() { c.Match("a name of some length.txt") }); n != 0 {
		t.Errorf("Match allocates %v times", n)
	}
}

func TestCheckName(t *testing.T) {
	long := strings.Repeat("ä", MaxComponent)
	for _, c := range []struct {
		name             string
		ok, stream, expr bool
	}{
		{"a", true, true, true},
		{"", false, false, false},
		{".", false, true, true},
		{"..", false, true, true},
		{"...", true, true, true},
		{"trailing. ", true, true, true},
		{"a*", false, true, true},
		{"a?", false, true, true},
		{"a<", false, true, true},
		{"a>", false, true, true},
		{`a"`, false, true, true},
		{"a|", false, true, false},
		{"a/b", false, false, false},
		{`a\b`, false, false, false},
		{"a:b", false, false, false},
		{"a\x00", false, false, false},
		{"a\x1f", false, true, false},
		{"a\x7f", true, true, true},
		{"\xff", false, false, false},
		{"日本語", true, true, true},
		{long, true, true, true},
		{long + "a", false, false, false},
		{strings.Repeat("😀", 127), true, true, true},
		{strings.Repeat("😀", 128), false, false, false},
		{strings.Repeat("a", 1<<20), false, false, false},
	} {
		for _, f := range []struct {
			what  string
			check func(string) error
			ok    bool
		}{{"CheckName", CheckName, c.ok}, {"CheckStream", CheckStream, c.stream}, {"CheckPattern", CheckPattern, c.expr}} {
			if err := f.check(c.name); f.ok != (err == nil) || err != nil && !errors.Is(err, nt.ObjectNameInvalid) {
				t.Errorf("%s(%.20q) = %v", f.what, c.name, err)
			}
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("<.txt", "a.b.txt")
	f.Add(`>>">>*`, "ab.c")
	f.Add("*\xff?", "\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		got := Match(pattern, name)
		if len(pattern) <= 8 && len(name) <= 10 {
			if want := naive(appendUnits(nil, pattern), appendUnits(nil, name)); got != want {
				t.Errorf("Match(%q, %q) = %v", pattern, name, got)
			}
		}
		if CheckName(pattern) == nil && CheckName(name) == nil && got != EqualFold(pattern, name) {
			t.Errorf("Match(%q, %q) = %v, but EqualFold differs", pattern, name, got)
		}
		if Fold(Fold(name)) != Fold(name) || !EqualFold(name, Fold(name)) {
			t.Errorf("Fold(%q) is not stable", name)
		}
		if EqualFold(pattern, name) != (Fold(pattern) == Fold(name)) {
			t.Errorf("EqualFold(%q, %q)", pattern, name)
		}
	})
}

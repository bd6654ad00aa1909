package vfs

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb/nt"
)

var traversal = []struct {
	in     string
	names  []string
	stream string
	err    error
}{
	{in: ""},
	{in: `a`, names: []string{"a"}},
	{in: `a\b\c.txt`, names: []string{"a", "b", "c.txt"}},
	{in: `dir\`, names: []string{"dir"}},
	{in: `a b. `, names: []string{"a b. "}}, // NTFS stores what Win32 would trim
	{in: `...`, names: []string{"..."}},
	{in: `..a`, names: []string{"..a"}},
	{in: `CON`, names: []string{"CON"}}, // reserved for Win32, not for the protocol
	{in: "e\u0301", names: []string{"e\u0301"}},
	{in: "\u00e9", names: []string{"\u00e9"}},
	{in: "x\uf03ay", names: []string{"x\uf03ay"}},
	{in: "\x7f", names: []string{"\x7f"}},

	{in: `\`, err: nt.ObjectNameInvalid},
	{in: `\a`, err: nt.ObjectNameInvalid},
	{in: `\\a`, err: nt.ObjectNameInvalid},
	{in: `a\\`, err: nt.ObjectNameInvalid},
	{in: `a\\b`, err: nt.ObjectNameInvalid},
	{in: `.`, err: nt.ObjectNameInvalid},
	{in: `a\.`, err: nt.ObjectNameInvalid},
	{in: `.\a`, err: nt.ObjectNameInvalid},
	{in: `a\.\b`, err: nt.ObjectNameInvalid},
	{in: `a\..`},
	{in: `a\..\`},
	{in: `a\..\b`, names: []string{"b"}},
	{in: `a\b\..`, names: []string{"a"}},
	{in: `a\b\..\..\c`, names: []string{"c"}},
	{in: `a\..\f:s`, names: []string{"f"}, stream: "s"},
	{in: `a\..\:s`, stream: "s"},
	{in: `a\.\..\b`, err: nt.ObjectNameInvalid},
	{in: `a\\..\b`, err: nt.ObjectNameInvalid},
	{in: `\..\a`, err: nt.ObjectNameInvalid},
	{in: `f:s\..\a`, err: nt.ObjectNameInvalid},
	{in: `a*\..\b`, err: nt.ObjectNameInvalid},
	{in: `..`, err: nt.ObjectPathSyntaxBad},
	{in: `..\`, err: nt.ObjectPathSyntaxBad},
	{in: `..\a`, err: nt.ObjectPathSyntaxBad},
	{in: `.\..\a`, err: nt.ObjectNameInvalid},
	{in: `a\..\..\b`, err: nt.ObjectPathSyntaxBad},
	{in: `a\..\..`, err: nt.ObjectPathSyntaxBad},

	{in: `/`, err: nt.ObjectNameInvalid},
	{in: `a/b`, names: []string{"a", "b"}},
	{in: `a/b/`, names: []string{"a", "b"}},
	{in: `/`, err: nt.ObjectNameInvalid},
	{in: `/a`, err: nt.ObjectNameInvalid},
	{in: `a//b`, err: nt.ObjectNameInvalid},
	{in: `../../etc/passwd`, err: nt.ObjectPathSyntaxBad},
	{in: `a\../b`, names: []string{"b"}},
	{in: "a\x00b", err: nt.ObjectNameInvalid},
	{in: "a\x1fb", err: nt.ObjectNameInvalid},
	{in: "a\n", err: nt.ObjectNameInvalid},
	{in: `a*`, err: nt.ObjectNameInvalid},
	{in: `a?`, err: nt.ObjectNameInvalid},
	{in: `a<`, err: nt.ObjectNameInvalid},
	{in: `a>`, err: nt.ObjectNameInvalid},
	{in: `a"`, err: nt.ObjectNameInvalid},
	{in: `a|b`, err: nt.ObjectNameInvalid},
	{in: "\xff", err: nt.ObjectNameInvalid},
	{in: "a\xed\xa0\x80", err: nt.ObjectNameInvalid}, // a lone surrogate, if a decoder let it through
	{in: "\xc0\xaf", err: nt.ObjectNameInvalid},      // "/", overlong

	{in: `C:`, err: nt.ObjectNameInvalid},
	{in: `C:\a`, err: nt.ObjectNameInvalid},
	{in: `f:s`, names: []string{"f"}, stream: "s"},
	{in: `d\f:s:$DATA`, names: []string{"d", "f"}, stream: "s"},
	{in: `f:s:$data`, names: []string{"f"}, stream: "s"},
	{in: `f::$DATA`, names: []string{"f"}},
	{in: `:s`, stream: "s"},
	{in: `f:..`, names: []string{"f"}, stream: ".."}, // a stream name is no path
	{in: `f:`, err: nt.ObjectNameInvalid},
	{in: `f::`, err: nt.ObjectNameInvalid},
	{in: `f:s:`, err: nt.ObjectNameInvalid},
	{in: `f:s:$INDEX_ALLOCATION`, err: nt.ObjectNameInvalid},
	{in: `d::$INDEX_ALLOCATION`, err: nt.ObjectNameInvalid},
	{in: `f:s:$DATA:`, err: nt.ObjectNameInvalid},
	{in: `f:s:t:$DATA`, err: nt.ObjectNameInvalid},
	{in: `f:s\x`, err: nt.ObjectNameInvalid},
	{in: `d:s\f`, err: nt.ObjectNameInvalid},
	{in: `d::$DATA\f`, err: nt.ObjectNameInvalid},
	{in: `f:a/b`, err: nt.ObjectNameInvalid},
	{in: "f:a\x00", err: nt.ObjectNameInvalid},
	{in: `::$DATA`, err: nt.ObjectNameInvalid},
	{in: `:`, err: nt.ObjectNameInvalid},
	{in: `..:s`, err: nt.ObjectNameInvalid},
	{in: `.:s`, err: nt.ObjectNameInvalid},
	{in: `a\..::$DATA`, err: nt.ObjectNameInvalid},

	{in: strings.Repeat("n", 255), names: []string{strings.Repeat("n", 255)}},
	{in: strings.Repeat("n", 256), err: nt.ObjectNameInvalid},
	{in: strings.Repeat("\u4e2d", 255), names: []string{strings.Repeat("\u4e2d", 255)}},
	{in: strings.Repeat("\u4e2d", 256), err: nt.ObjectNameInvalid},
	{in: strings.Repeat("\U0001F600", 127), names: []string{strings.Repeat("\U0001F600", 127)}},
	{in: strings.Repeat("\U0001F600", 128), err: nt.ObjectNameInvalid}, // 256 units
	{in: `f:` + strings.Repeat("s", 255), names: []string{"f"}, stream: strings.Repeat("s", 255)},
	{in: `f:` + strings.Repeat("s", 256), err: nt.ObjectNameInvalid},
	{in: strings.Repeat(`d\`, MaxDepth) + "f", err: nt.NameTooLong},
	{in: strings.Repeat(`\`, 16000), err: nt.NameTooLong},
	{in: strings.Repeat(strings.Repeat("n", 200)+`\`, 200), err: nt.NameTooLong},
	{in: strings.Repeat("n", 1<<20), err: nt.NameTooLong},
}

func TestSEC28Traversal(t *testing.T) {
	for _, c := range traversal {
		name := c.in
		if len(name) > 40 {
			name = name[:40] + "..."
		}
		p, err := ParsePath(c.in)
		if c.err != nil {
			if !errors.Is(err, c.err) {
				t.Errorf("%q: %q, %v; want %v", name, p.Names, err, c.err)
			}
			continue
		}
		if err != nil || !slices.Equal(p.Names, c.names) || p.Stream != c.stream {
			t.Errorf("%q: %q stream %q, %v; want %q stream %q", name, p.Names, p.Stream, err, c.names, c.stream)
		}
	}
}

func TestParsePathDepth(t *testing.T) {
	p, err := ParsePath(strings.TrimSuffix(strings.Repeat(`d\`, MaxDepth), `\`))
	if err != nil || len(p.Names) != MaxDepth {
		t.Fatalf("%d components: %v", len(p.Names), err)
	}
}

func FuzzParsePath(f *testing.F) {
	for _, c := range traversal {
		if len(c.in) < 1<<10 {
			f.Add(c.in)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePath(s)
		if err != nil {
			var status nt.Status
			if !errors.As(err, &status) || p.Names != nil || p.Stream != "" {
				t.Fatalf("%q: %v, %v", s, p, err)
			}
			return
		}
		for _, n := range p.Names {
			if n == "" || n == "." || n == ".." || strings.ContainsAny(n, "\x00/\\:") {
				t.Fatalf("%q: component %q", s, n)
			}
		}
		if strings.ContainsAny(p.Stream, "\x00/\\:") {
			t.Fatalf("%q: stream %q", s, p.Stream)
		}
		again, err := ParsePath(p.String())
		if err != nil || !slices.Equal(again.Names, p.Names) || again.Stream != p.Stream {
			t.Fatalf("%q: %v came back as %v, %v", s, p, again, err)
		}
	})
}

func TestParseTyped(t *testing.T) {
	for _, c := range []struct {
		in, path string
		kind     StreamType
		ok       bool
	}{
		{"", "", AnyType, true},
		{"f", "f", AnyType, true},
		{"f:s", "f:s", AnyType, true},
		{"f:s:$data", "f:s", DataType, true},
		{"f::$DATA", "f", DataType, true},
		{`d\e::$INDEX_ALLOCATION`, `d\e`, IndexType, true},
		{`d:$i30:$Index_Allocation`, `d`, IndexType, true},
		{`::$INDEX_ALLOCATION`, ``, IndexType, true},
		{"d:s:$INDEX_ALLOCATION", "", AnyType, false},
		{"f:s:$BITMAP", "", AnyType, false},
		{"f:s:", "", AnyType, false},
		{"f:", "", AnyType, false},
		{"::$DATA", "", AnyType, false},
	} {
		p, kind, err := ParseTyped(c.in)
		if (err == nil) != c.ok || p.String() != c.path || kind != c.kind {
			t.Errorf("%q: %q, type %d, %v", c.in, p, kind, err)
		}
	}
	if p, err := ParsePath("d::$INDEX_ALLOCATION"); !errors.Is(err, nt.ObjectNameInvalid) || p.Names != nil {
		t.Errorf("ParsePath: %v, %v", p, err)
	}
}

package osfs

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
)

var nameMap = []struct{ disk, wire string }{
	{"plain.txt", "plain.txt"},
	{"Ünï 中文 \U0001F600", "Ünï 中文 \U0001F600"},
	{"a:b", "a\uf03ab"},
	{`"*:<>?\|`, "\uf022\uf02a\uf03a\uf03c\uf03e\uf03f\uf05c\uf07c"},
	{"\x01\n\x1f\x7f", "\uf001\uf00a\uf01f\x7f"},
	{"end.", "end\uf02e"},
	{"end ", "end\uf020"},
	{"end..", "end.\uf02e"},
	{". .a", ". .a"},
	{" ", "\uf020"},
	{"...", "..\uf02e"},
	{"\xff\xfe", "\uf0ff\uf0fe"},
	{"caf\xe9", "caf\uf0e9"},               // Latin-1
	{"\xed\xa0\x80", "\uf0ed\uf0a0\uf080"}, // a surrogate in UTF-8
	{"\xc0\xaf", "\uf0c0\uf0af"},           // an overlong "/"
	{"\uf03a", "\uf0ef\uf080\uf0ba"},       // what would come back as a colon
	{"x\uf02e", "x\uf0ef\uf080\uf0ae"},
	{"\uf02ex", "\uf02ex"}, // is a dot's form only at the end
	{"\uf041\uf000\uf02f", "\uf041\uf000\uf02f"},
	{"\ufffd", "\ufffd"},
	{strings.Repeat("\xff", 255), strings.Repeat("\uf0ff", 255)},
}

func TestNames(t *testing.T) {
	for _, c := range nameMap {
		if got := toWire(c.disk); got != c.wire {
			t.Errorf("%q on disk is %q on the wire, want %q", c.disk, got, c.wire)
		}
		if disk, wire, err := toDisk(c.wire); disk != c.disk || wire != c.wire || err != nil {
			t.Errorf("%q on the wire is %q on disk, %q, %v; want %q", c.wire, disk, wire, err, c.disk)
		}
	}
	for _, name := range []string{"end.", "end ", "..."} { // as NTFS takes them, if a client insists
		if disk, wire, err := toDisk(name); disk != name || wire != toWire(name) || err != nil {
			t.Errorf("%q: %q, %q, %v", name, disk, wire, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "\uf02e", ".\uf02e", "a/b", "a:b", "a\x00",
		"\uf0c3\uf0a9",                   // é, which has a form of its own
		"\uf0ef\uf080\uf0ba\uf0c3\uf0a9", // and hidden behind one that has not
		"a\uf0ef\uf081\uf081",            // U+F041, likewise
		strings.Repeat("é", 128),         // 256 bytes
		strings.Repeat("\u4e2d", 255),    // 765
		"\xff",
	} {
		if disk, _, err := toDisk(name); !errors.Is(err, nt.ObjectNameInvalid) {
			t.Errorf("%q on the wire is %q on disk, %v", name, disk, err)
		}
	}
}

// FuzzNames: every name that Linux can hold has one form on the wire, which is legal there and leads back; and no
// name on the wire leads out of its directory.
func FuzzNames(f *testing.F) {
	for _, c := range nameMap {
		f.Add(c.disk)
		f.Add(c.wire)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if disk, wire, err := toDisk(s); err == nil {
			if disk == "" || disk == "." || disk == ".." || strings.ContainsAny(disk, "/\x00") || len(disk) > nameMax {
				t.Fatalf("%q leads to %q", s, disk)
			}
			if toWire(disk) != wire {
				t.Fatalf("%q: %q is shown as %q, not %q", s, disk, toWire(disk), wire)
			}
		}
		if s == "" || s == "." || s == ".." || len(s) > nameMax || strings.ContainsAny(s, "/\x00") {
			return
		}
		wire := toWire(s)
		if !utf8.ValidString(wire) || fscc.CheckName(wire) != nil {
			t.Fatalf("%q is shown as %q", s, wire)
		}
		if disk, again, err := toDisk(wire); disk != s || again != wire || err != nil {
			t.Fatalf("%q is shown as %q, which is %q, %v", s, wire, disk, err)
		}
	})
}

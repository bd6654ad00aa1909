package vfs

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb/nt"
)

func TestParsePOSIX(t *testing.T) {
	for in, want := range map[string][]string{
		"":              nil,
		"a":             {"a"},
		"a/b/":          {"a", "b"},
		`a\b`:           {"a\uf05cb"},
		"a:b/c?":        {"a\uf03ab", "c\uf03f"},
		"end. /x.":      {"end.\uf020", "x\uf02e"},
		"Ünï":           {"Ünï"},
		"tab\t":         {"tab\uf009"},
		"...":           {"..\uf02e"},
		"a\uf03ab":      {"a\uf0ef\uf080\uf0bab"}, // what stands for a colon elsewhere is itself here
		"file:stream:x": {"file\uf03astream\uf03ax"},
	} {
		p, err := ParsePOSIX(in)
		if err != nil || !slices.Equal(p.Names, want) || p.Stream != "" {
			t.Errorf("%q: %q, %v", in, p.Names, err)
		}
		if in == "" || strings.HasSuffix(in, "/") {
			continue
		}
		var back []string
		for _, n := range p.Names {
			back = append(back, POSIXName(n))
		}
		if got := strings.Join(back, "/"); got != in {
			t.Errorf("%q came back as %q", in, got)
		}
	}
	for in, want := range map[string]nt.Status{
		"..": nt.ObjectPathSyntaxBad, "a/../../b": nt.ObjectPathSyntaxBad, "a/..": nt.ObjectNameInvalid, "./a": nt.ObjectNameInvalid,
		"a//b": nt.ObjectNameInvalid, "/a": nt.ObjectNameInvalid, "/": nt.ObjectNameInvalid, "a\x00": nt.ObjectNameInvalid,
		"\xff": nt.ObjectNameInvalid, strings.Repeat("n", 256): nt.ObjectNameInvalid,
		strings.Repeat("a/", MaxDepth) + "a": nt.NameTooLong, strings.Repeat("n", MaxPath): nt.NameTooLong,
	} {
		if p, err := ParsePOSIX(in); !errors.Is(err, want) {
			t.Errorf("%.20q: %q, %v; want %v", in, p.Names, err, want)
		}
	}
}

// FuzzParsePOSIX: what is a path leads to names that every volume takes, and no two to the same.
func FuzzParsePOSIX(f *testing.F) {
	for _, s := range []string{"", "a/b", "a:b", "..", "a\uf03ab", "end. ", `\`, "\xff", "a//b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePOSIX(s)
		if err != nil {
			return
		}
		var back []string
		for _, n := range p.Names {
			disk, wire, err := NameToDisk(n)
			if err != nil || wire != n || disk == "" || disk == "." || disk == ".." || strings.ContainsAny(disk, "/\x00") {
				t.Fatalf("%q in %q: on disk %q, on the wire %q, %v", n, s, disk, wire, err)
			}
			back = append(back, POSIXName(n))
		}
		if got := strings.Join(back, "/"); got != strings.TrimSuffix(s, "/") {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
}

package fscc

import (
	"fmt"
	"strings"
	"testing"
)

func TestIsShortName(t *testing.T) {
	for name, want := range map[string]bool{
		"A": true, "autoexec.bat": true, "12345678.123": true, "a-b_c$~1": true, "README": true,
		"": false, ".": false, "..": false, ".rc": false, "a.": false, "a.b.c": false, "123456789": false, "a.html": false,
		"a b": false, "a+b": false, "ä": false, "a.ä": false, "[a]": false, "a,b": false, "a;b=c": false, "\x7f": false,
	} {
		if got := IsShortName(name); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
}

func TestShortName(t *testing.T) {
	for name, like := range map[string]string{
		"verylongfilename":       "V?????~?",
		"Brief an Anna.docx":     "B?????~?.DOC",
		".gitignore":             "G?????~?",
		"...":                    "_?????~?",
		"a.":                     "A?????~?",
		"archive.tar.gz":         "A?????~?.GZ",
		"Übersicht.tiff":         "_?????~?.TIF",
		"x.äöü":                  "X?????~?",
		"a b.t t":                "A?????~?.TT",
		strings.Repeat("n", 255): "N?????~?",
	} {
		got := ShortName(name)
		if !Match(like, got) || !IsShortName(got) || !MadeShort(got) {
			t.Errorf("%q has %q", name, got)
		}
		if ShortName(strings.ToUpper(name)) != got && Fold(name) == Fold(strings.ToUpper(name)) {
			t.Errorf("%q has another short name in capitals", name)
		}
		if ShortName(got) != got {
			t.Errorf("the short name of %q has one of its own", got)
		}
	}
	if got := ShortName("a.txt"); got != "a.txt" {
		t.Errorf("a.txt has %q", got)
	}
	// They are stored nowhere: a program that kept one must find its file after the next update, too.
	if got := ShortName("verylongfilename"); got != "V6HVYY~K" {
		t.Errorf("verylongfilename has another one now: %q", got)
	}
}

func TestShortNamesDiffer(t *testing.T) {
	seen := map[string]string{}
	for i := range 2000 {
		name := fmt.Sprintf("holiday picture %d.jpeg", i)
		short := ShortName(name)
		if other, ok := seen[short]; ok {
			t.Fatalf("%q and %q are both %q", name, other, short)
		}
		seen[short] = name
	}
}

func FuzzShortName(f *testing.F) {
	for _, s := range []string{"", ".", "..", "a", "long name.text", "ä.ö", "\xff\xfe", "~1", "A12345~7.TXT", strings.Repeat(".", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		short := ShortName(name)
		if !IsShortName(short) || len(short) > 12 {
			t.Fatalf("%q has %q", name, short)
		}
		if short != name && !MadeShort(short) {
			t.Fatalf("%q has %q, which does not look made", name, short)
		}
	})
}

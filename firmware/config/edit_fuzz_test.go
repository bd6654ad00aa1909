package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// fuzzHome is a folder with those that the documents below name.
func fuzzHome(f *testing.F) string {
	dir := f.TempDir()
	for _, d := range []string{"photos", "bob", "disk"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			f.Fatal(err)
		}
	}
	return dir
}

// documents are files in forms that owners write them in.
var documents = []string{
	editable, DefaultFile,
	"version = 1\r\n[[share]]\r\nname = \"bob\"\r\npath = \"bob\"\r\nread = [\r\n\"x\"]\r\n",
	"version = 1\n[[share]]\n\"name\" = 'bob'\npath = \"\"\"bob\"\"\"\ncomment = '''a\n[[share]]\nname = \"no\"\n'''\nwrite = []",
	"version = 1\nshare = [{ name = \"bob\", path = \"bob\", read = [\"x\"] }]\n",
	"version = 1\n[log]\nlevel = \"warn\"\n[network]\n[[network.port]]\nname = \"lan\"\n[[share]]\nname = \"bob\"\npath = \"bob\"\nread_only = true#\nread = [ # one\n 'a]', \"b#\" , # two ]\n]\n# end",
	"version = 1\nlog.level = \"warn\"\nnames = [\"a.b\"]\nname = \"x\"",
}

// judge fails for an answer that an owner could do nothing with: a change is made, or the line that stands in its way is
// named.
func judge(t *testing.T, doc, changed []byte, err error) {
	t.Helper()
	var at *Error
	if err != nil && !errors.As(err, &at) && !errors.Is(err, errText) {
		t.Fatalf("%v\n%s", err, doc)
	}
	if err != nil {
		return
	}
	// What the owner has written beside the keys that are changed stays: all comments that have a line of their own,
	// outside of lists and texts.
	for line := range strings.Lines(string(doc)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "# ") && !strings.ContainsAny(string(doc), "[]'") && !strings.Contains(string(changed), line) {
			t.Fatalf("%q is lost\n%s\n%s", line, doc, changed)
		}
	}
}

func FuzzSetShare(f *testing.F) {
	dir := fuzzHome(f)
	for _, doc := range documents {
		f.Add([]byte(doc), "words", uint8(0), "alice", "bob")
		f.Add([]byte(doc), "say \"x\" [#]\n'''", uint8(7), "", "b \"c\" ]")
		f.Add([]byte(doc), "", uint8(15), "ü", "\\")
	}
	f.Fuzz(func(t *testing.T, doc []byte, comment string, how uint8, read, write string) {
		cfg, err := Parse("f.toml", doc, dir)
		if err != nil || len(cfg.Shares) == 0 {
			return
		}
		s := cfg.Shares[int(how>>4)%len(cfg.Shares)]
		s.Comment, s.ReadOnly, s.Encrypt, s.Hidden = comment, how&1 != 0, how&2 != 0, how&4 != 0
		s = s.Restrict(how&8 != 0, slices.DeleteFunc([]string{read}, func(n string) bool { return n == "" }), []string{write})
		changed, err := revise("f.toml", dir, doc, setShare(s))
		judge(t, doc, changed, err)
		if err != nil {
			return
		}
		now, err := Parse("f.toml", changed, dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := now.Shares[slices.IndexFunc(now.Shares, func(o Share) bool { return o.Name == s.Name })]; got.Comment != comment || got.Restricted() != s.Restricted() {
			t.Fatalf("%+v instead of %+v\n%s", got, s, changed)
		}
	})
}

func FuzzSet(f *testing.F) {
	dir := fuzzHome(f)
	for _, doc := range documents {
		f.Add([]byte(doc), uint8(0), "nas.example.org")
		f.Add([]byte(doc), uint8(1), "error")
		f.Add([]byte(doc), uint8(2), "a.example.org")
		f.Add([]byte(doc), uint8(3), "")
		f.Add([]byte(doc), uint8(4), "Europe/Berlin\"\n")
	}
	f.Fuzz(func(t *testing.T, doc []byte, which uint8, value string) {
		before, err := Parse("f.toml", doc, dir)
		if err != nil {
			return
		}
		s := []Setting{
			{"", "name", value},
			{"log", "level", value},
			{"", "names", []string{value, value + ".b"}},
			{"network", "port_mapping", value == ""},
			{"certificate", "key_store", value},
			{"limits", "connections", len(value)},
		}[int(which)%6]
		var now *Config
		changed, err := revise("f.toml", dir, doc, set(dir, &now, s))
		judge(t, doc, changed, err)
		if err != nil {
			return
		}
		if s.Key == "names" && !slices.Contains(now.Names, strings.ToLower(value)) {
			t.Fatalf("%q\n%s", now.Names, changed)
		}
		if !reflect.DeepEqual(now.Shares, before.Shares) {
			t.Fatalf("the shares are others\n%s\n%s", doc, changed)
		}
	})
}

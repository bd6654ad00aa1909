package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a page changes of a share is what the file says afterwards, and nothing else of it is another.
func TestSetShare(t *testing.T) {
	for _, c := range []struct {
		name, share string
		change      func(Share) Share
		gone, come  []string // lines
	}{
		{
			"lists shorter", "photos", func(s Share) Share { return s.Restrict(true, []string{"carol"}, nil) },
			[]string{"write = [", `  "alice", # me`, "]"},
			[]string{`read = ["carol"]`, "write = []"},
		},
		{
			"everybody", "photos", func(s Share) Share { return s.Restrict(false, nil, nil) },
			[]string{"write = [", `  "alice", # me`, "]"},
			nil,
		},
		{
			"a user gone", "photos", func(s Share) Share { return s.Without("ALICE") },
			[]string{"write = [", `  "alice", # me`, "]"},
			[]string{"read = []", "write = []"},
		},
		{
			"switches and words", "photos", func(s Share) Share {
				s.Comment, s.ReadOnly, s.Encrypt, s.Hidden = `say "x" [#]`, true, true, true
				return s
			},
			[]string{`comment = "Old # and new" # for everybody`},
			[]string{`comment = "say \"x\" [#]" # for everybody`, "read_only = true", "encrypt = true", "hidden = true"},
		},
		{
			"the last block", "BOB", func(s Share) Share { s.Comment = "hers"; return s.Restrict(true, nil, []string{"bob", "a \"b\" ]"}) },
			nil,
			[]string{`comment = "hers"`, "read = []", `write = ["bob", "a \"b\" ]"]`},
		},
		{"nothing", "bob", func(s Share) Share { return s }, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := editDir(t, editable)
			cfg, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range cfg.Shares {
				if strings.EqualFold(s.Name, c.share) {
					if err := SetShare(dir, c.change(s)); err != nil {
						t.Fatal(err)
					}
				}
			}
			got := read(t, dir)
			for _, l := range c.gone {
				if strings.Contains(got, l+"\n") && l != "]" {
					t.Errorf("%q is still there:\n%s", l, got)
				}
			}
			for _, l := range c.come {
				if !strings.Contains(got, l+"\n") {
					t.Errorf("no line %q:\n%s", l, got)
				}
			}
			for _, l := range []string{"# My box.", "# Pictures of all of us.", `name = "Photos"   # capital P`, "# that was Photos", `level = "warn"`, "# Bob's.", "# the end"} {
				if !strings.Contains(got, l+"\n") {
					t.Errorf("the change has lost %q:\n%s", l, got)
				}
			}
		})
	}
	if err := SetShare(editDir(t, editable), Share{Name: "unknown"}); err == nil {
		t.Error("a share that is not there was changed")
	}
}

func TestSet(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings []Setting
		want     []string
		wrong    bool
	}{
		{"a key that is there", []Setting{{"", "name", "attic.local"}}, []string{`name = "attic.local" # the name`}, false},
		{"one that is not", []Setting{{"", "names", []string{"nas.example.org", "b.example.org"}}}, []string{`names = ["nas.example.org", "b.example.org"]`}, false},
		{"in a table", []Setting{{"log", "format", "json"}, {"log", "level", "info"}}, []string{`format = "json"`, `level = "info"`}, false},
		{"in a new table", []Setting{{"page", "outside", true}, {"limits", "connections", 20}, {"page", "listen", ":8443"}}, []string{"[page]", "outside = true", "connections = 20", `listen = ":8443"`}, false},
		{"a wrong value", []Setting{{"", "name", "192.168.1.1"}}, nil, true},
		{"an unknown key", []Setting{{"", "nothing", "x"}}, nil, true},
		{"a line break", []Setting{{"", "name", "a\nb = 1"}}, nil, true},
		{"a share's", []Setting{{"share", "name", "x"}}, nil, true},
		{"the version", []Setting{{"", "version", 2}}, nil, true},
		{"no value", []Setting{{"", "name", 1.5}}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := editDir(t, editable)
			_, err := Set(dir, c.settings...)
			got := read(t, dir)
			if c.wrong {
				if err == nil || got != editable {
					t.Errorf("error %v, and the file is\n%s", err, got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range c.want {
				if !strings.Contains(got, l+"\n") {
					t.Errorf("no line %q:\n%s", l, got)
				}
			}
			if _, err := Load(dir); err != nil {
				t.Error(err)
			}
		})
	}
}

func read(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

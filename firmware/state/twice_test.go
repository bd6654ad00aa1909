package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReadTwice: whatever happens to a file or to its copy, the contents are there or it is said that they are not; what
// others write counts.
func TestReadTwice(t *testing.T) {
	const text, later = `{"id": 1, "name": "box"}`, `{"id": 2, "name": "box"}`
	spoil := func(t *testing.T, path string, change func([]byte) []byte) { // as a disk does: no time changes
		t.Helper()
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(data), 0o600)
		}
		if err := errors.Join(err, os.Chtimes(path, time.Time{}, st.ModTime())); err != nil {
			t.Fatal(err)
		}
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	digit := func(b []byte) []byte { return []byte(strings.Replace(string(b), "1", "3", 1)) } // still parses
	cut := func(b []byte) []byte { return b[:len(b)/2] }
	remove := func(path string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	change := func(path string, how func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) { spoil(t, filepath.Join(dir, path), how) }
	}
	both := func(a, b func(*testing.T, string)) func(*testing.T, string) {
		return func(t *testing.T, dir string) { a(t, dir); b(t, dir) }
	}
	for name, c := range map[string]struct {
		do    func(*testing.T, string)
		want  string // "": lost
		told  string
		aside int
	}{
		"nothing":            {func(*testing.T, string) {}, text, "", 0},
		"flipped":            {change("f", flip), text, "made anew from its copy", 1},
		"another digit":      {change("f", digit), text, "nobody has written it", 1},
		"cut":                {change("f", cut), text, "made anew from its copy", 1},
		"empty":              {change("f", func([]byte) []byte { return nil }), text, "made anew from its copy", 1},
		"gone":               {remove("f"), text, "it is gone", 0},
		"copy flipped":       {change("f.copy", flip), text, "", 0},
		"copy cut":           {change("f.copy", cut), text, "", 0},
		"copy empty":         {change("f.copy", func([]byte) []byte { return nil }), text, "", 0},
		"copy gone":          {remove("f.copy"), text, "", 0},
		"both cut":           {both(change("f", cut), change("f.copy", cut)), "", "lost", 1},
		"cut and no copy":    {both(change("f", cut), remove("f.copy")), "", "lost", 1},
		"both gone":          {both(remove("f"), remove("f.copy")), "", "", 0},
		"by an older server": {write(later), later, "", 0},
		"by hand, wrongly":   {write("{"), text, "made anew from its copy", 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			if err := WriteTwice(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c.do(t, dir)
			var got string
			parse := func(b []byte) error {
				var v struct {
					ID   int    `json:"id"`
					Name string `json:"name"`
				}
				got = string(b)
				return DecodeJSON(b, 1<<10, &v)
			}
			found, told, err := ReadTwice(path, parse)
			if err != nil || found != (c.want != "") || found && got != c.want || !strings.Contains(told, c.told) || (told == "") != (c.told == "") {
				t.Errorf("%v %q, told %q (%v)", found, got, told, err)
			}
			if !found {
				if found, told, err := ReadTwice(path, parse); found || told != "" || err != nil {
					t.Errorf("the second time: %v, told %q (%v)", found, told, err)
				}
			}
			if asides, _ := filepath.Glob(path + ".corrupt-*"); len(asides) != c.aside {
				t.Errorf("set aside: %v", asides)
			}
			if found { // and from now on there are two again
				spoil(t, path, cut)
				if found, _, err := ReadTwice(path, parse); err != nil || !found || got != c.want {
					t.Errorf("the second time: %v %q (%v)", found, got, err)
				}
			}
		})
	}
}

// write replaces the file as a program does that knows of no copy.
func write(text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := Write(filepath.Join(dir, "f"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		now := time.Now().Add(time.Hour) // clocks of file systems are coarse
		if err := os.Chtimes(filepath.Join(dir, "f"), now, now); err != nil {
			t.Fatal(err)
		}
	}
}

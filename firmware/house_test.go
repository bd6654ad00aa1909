package main

import (
	"os"
	"path/filepath"
	"testing"
)

// No share is made of what shows the keys, by whatever name.
func TestSharedFolder(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if err := os.MkdirAll(filepath.Join(state, "audit"), 0o700); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"to-state": state, "to-above": dir, "elsewhere/to-audit": filepath.Join(state, "audit")} {
		path := filepath.Join(dir, link)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	h := &house{state: state, at: places{state: state}}
	for _, c := range []struct {
		name, path string
		ok         bool
	}{
		{"photos", "", true}, // made
		{"photos", filepath.Join(dir, "photos"), true},
		{"disk", filepath.Join(state, "disk"), true},
		{"in shares", filepath.Join(state, "shares", "a", "b"), true},
		{"relative", "photos", false},
		{"the state", state, false},
		{"in it", filepath.Join(state, "audit"), false},
		{"above", dir, false},
		{"all", "/", false},
		{"with dots", filepath.Join(state, "disk") + "/../audit", false},
		{"by a link", filepath.Join(dir, "to-state"), false},
		{"by a link to above", filepath.Join(dir, "to-above"), false},
		{"by a link into it", filepath.Join(dir, "elsewhere/to-audit"), false},
		{"../x", "", false}, // a name never leads out: CheckShareName comes first, and this is behind it
	} {
		got, err := h.folder(c.name, c.path)
		if (err == nil) != c.ok {
			t.Errorf("%s: %q, %v; want it shared: %t", c.name, got, err, c.ok)
		}
	}
	entries, err := os.ReadDir(state)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if n := e.Name(); n != "audit" && n != "shares" && n != "disk" {
			t.Errorf("%s was made in the state folder", n)
		}
	}
}

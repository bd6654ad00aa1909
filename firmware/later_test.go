package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/tpm/tpmtest"
)

// TestStateOfLaterVersions: what a later version has left in the state folder. A key that it has added changes nothing for
// this one, which serves as the same server; a form that only it knows is told, and nothing of it is changed.
func TestStateOfLaterVersions(t *testing.T) {
	chip := tpmtest.New(t)
	kept := t.TempDir()
	b := startWith(t, kept, chip.Socket)
	authority := b.said(t, "SHA-256")
	b.end(t)
	for name, text := range map[string]string{
		"update.json":  `{"form": 1, "floor": 3, "last": {"release": {"board": "qemu", "number": 3, "version": "v"}, "good": true, "time": "2026-11-01T00:00:00Z"}}`,
		"devices.json": `{"version": 1, "devices": [], "revoked": []}`,
		"access.json":  `{"version": 1, "certificate_required": false, "entries": []}`,
	} {
		if err := os.WriteFile(filepath.Join(kept, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		serves bool // with a later form of it: it is not needed for that
	}{
		{"identity.json", false},
		{"users.json", false},
		{"access.json", false},
		{"devices.json", false},
		{"update.json", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copied(t, kept)
			path := filepath.Join(dir, c.name)
			change(t, path, "added later", map[string]any{"some": []int{1}})
			b := startWith(t, dir, chip.Socket)
			if now := b.said(t, "SHA-256"); now != authority {
				t.Errorf("another server: %s, before %s", now, authority)
			}
			if _, err := update.Open(update.Options{Dir: dir}); err != nil {
				t.Error(err)
			}
			b.end(t)
			if aside, _ := filepath.Glob(filepath.Join(dir, "*.corrupt-*")); len(aside) > 0 {
				t.Errorf("set aside: %v", aside)
			}

			key := "version"
			if c.name == "update.json" {
				key = "form"
			}
			later := change(t, path, key, 2)
			if c.serves {
				b = startWith(t, dir, chip.Socket)
				b.end(t)
			} else {
				b = launch(t, dir, chip.Socket)
				err := <-b.done
				b.done <- nil // it need not end well
				if !errors.Is(err, state.ErrLater) || !bytes.Contains([]byte(err.Error()), []byte(c.name)) {
					t.Errorf("serve = %v", err)
				}
			}
			if c.name == "update.json" {
				if _, err := update.Open(update.Options{Dir: dir}); !errors.Is(err, state.ErrLater) {
					t.Errorf("update.Open = %v", err)
				}
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, later) {
				t.Errorf("it is %q now (%v)", now, err)
			}
			if aside, _ := filepath.Glob(filepath.Join(dir, "*.corrupt-*")); len(aside) > 0 {
				t.Errorf("set aside: %v", aside)
			}
		})
	}
}

// TestSettingsOfLaterVersions: a box that came back from a later version, whose settings have a key that this one does not
// know, serves with the others, and says so; the file stays as it is.
func TestSettingsOfLaterVersions(t *testing.T) {
	dir := t.TempDir()
	text := []byte("version = 1\nname = \"nas\"\nfrom_tomorrow = true\n\n[tomorrow]\nx = 1\n")
	if err := state.WriteTwice(filepath.Join(dir, config.FileName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	box := &boot.Box{}
	cfg, err := loadConfig(options{state: dir, machine: box})
	if err != nil || cfg.Name != "nas" || len(box.Troubles) != 1 {
		t.Errorf("%+v %q (%v)", cfg, box.Troubles, err)
	}
	if now, err := os.ReadFile(filepath.Join(dir, config.FileName)); err != nil || !bytes.Equal(now, text) {
		t.Errorf("%q (%v)", now, err)
	}
}

// copied is a copy of a folder.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// change gives a JSON file another value under a key, and returns what is in it then.
func change(t *testing.T, path, key string, value any) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	all[key] = value
	if text, err = json.Marshal(all); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return text
}

package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/tpm/tpmtest"
	"github.com/postern-nas/postern/ui"
)

// spoilers are what happens to a file on a disk that fails, or in a crash.
var spoilers = map[string]func([]byte) []byte{
	"a bit": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	"cut":   func(b []byte) []byte { return b[:len(b)/2] },
	"empty": func([]byte) []byte { return nil },
}

// notState are files that hold nothing that could be read wrongly; and the configuration, which its owner writes: TestGoodConfig
// spoils that.
var notState = regexp.MustCompile(`\.lock$|^postern\.toml`)

// TestDamagedState spoils each file of a state folder in turn, as a disk does, which leaves the time of change as it was. The
// server starts each time. It is the same one, with the same user; where it is not, that is in its log and among the alarms
// that panel and page show, and the file is set aside.
func TestDamagedState(t *testing.T) {
	chip := tpmtest.New(t)
	for name, tpm := range map[string]string{"plain": "", "sealed": chip.Socket} {
		t.Run(name, func(t *testing.T) {
			whole := t.TempDir()
			first := startWith(t, whole, tpm)
			password := first.said(t, "password")
			if err := state.WriteJSON(filepath.Join(whole, "devices.json"), map[string]any{"version": 1, "devices": []any{}, "revoked": []any{}}, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := state.WriteJSON(filepath.Join(whole, "access.json"), map[string]any{"version": 1, "certificate_required": false, "entries": []any{}}, 0o600); err != nil {
				t.Fatal(err)
			}
			first.end(t)
			second := startWith(t, whole, tpm) // what is written at a second start is there, too
			second.end(t)
			want := whoIs(t, second, whole)
			for _, file := range regularFiles(t, whole) {
				if tpm != "" && !strings.HasPrefix(file, "keys.sealed") && file != "tpm.anchor" {
					continue // as in plain
				}
				for how, spoil := range spoilers {
					t.Run(file+" "+how, func(t *testing.T) {
						startSpoiled(t, whole, tpm, file, spoil, want, password)
					})
				}
			}
		})
	}
}

// startSpoiled starts a server on a copy of the folder in which one file is damaged.
func startSpoiled(t *testing.T, whole, tpm, file string, spoil func([]byte) []byte, want who, password string) {
	dir := t.TempDir()
	copyState(t, dir, whole)
	path := filepath.Join(dir, file)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil || len(data) < 2 {
		t.Skip("there is nothing in it that could be damaged") // an empty journal
	}
	if err := os.WriteFile(path, spoil(bytes.Clone(data)), st.Mode()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, st.ModTime()); err != nil {
		t.Fatal(err)
	}
	b := launch(t, dir, tpm)
	for b.address("tcp") == "" || !strings.Contains(b.out.String(), "Ctrl-C") {
		select {
		case err := <-b.done:
			b.done <- nil // said here
			t.Fatalf("it does not start: %v\n%s", err, b.logs.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
	_, err = mount(t, b, "demo", password)
	b.end(t)
	got := whoIs(t, b, dir)
	if got == want && err == nil {
		return
	}
	if file == "state.key" && got == want && strings.Contains(b.logs.String(), "password cannot be read") {
		return // what panel and page say then: TestPasswordAlarms
	}
	told := strings.Contains(b.logs.String(), "level=ERROR") && strings.Contains(b.logs.String(), file)
	shown := slices.ContainsFunc(asides(dir, time.Now()), func(a ui.Alarm) bool { return strings.HasSuffix(a.Text, file) })
	if !told || !shown {
		t.Errorf("another server, silently (told %v, shown %v): %+v, before %+v; logon: %v\n%s", told, shown, got, want, err, b.logs.String())
	}
}

// who is what makes a server the one that its clients know, and the user the owner of his files.
type who struct {
	GUID      string `json:"guid"`
	Machine   string `json:"machine_sid"`
	demo      int
	authority string
}

func whoIs(t *testing.T, b *box, dir string) (w who) {
	t.Helper()
	var list struct {
		Users []struct {
			Name string `json:"name"`
			RID  int    `json:"rid"`
		} `json:"users"`
	}
	for name, v := range map[string]any{"identity.json": &w, "users.json": &list} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = json.Unmarshal(data, v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.demo, w.authority = list.Users[0].RID, b.said(t, "SHA-256")
	return w
}

func regularFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if e.IsDir() && name == "disk" {
			return fs.SkipDir // a share
		}
		if e.Type().IsRegular() && !notState.MatchString(name) {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// copyState copies a folder with the times of its files.
func copyState(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(regularFiles(t, from), config.FileName) {
		st, err := os.Stat(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(to, name), time.Time{}, st.ModTime()); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(to, name), st.Mode()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPasswordAlarms: who cannot log on any more through no doing of the owner's is told of.
func TestPasswordAlarms(t *testing.T) {
	got := passwordAlarms([]account.User{{Name: "alice", HasPassword: true}, {Name: "bob"}, {Name: "carol", Disabled: true}})
	if len(got) != 1 || !strings.Contains(got[0].Text, "bob") {
		t.Errorf("%+v", got)
	}
}

// TestAsides: what was set aside is told for a while, once for each file.
func TestAsides(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	for name, age := range map[string]time.Duration{"users.json": time.Hour, "ca.key": 8 * 24 * time.Hour, "clock": -time.Hour} {
		for range 2 {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := state.SetAside(path, now.Add(-age)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var ids []string
	for _, a := range asides(dir, now) {
		ids = append(ids, a.ID)
	}
	if !slices.Equal(ids, []string{"damaged clock", "damaged users.json"}) {
		t.Errorf("%q", ids)
	}
}

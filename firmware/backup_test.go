package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
)

// A backup of one box makes another box the first: its users with their passwords, and its authority. Without the password, or
// with one byte of it wrong, it makes nothing.
func TestBackup(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	box := func(dir, name string) (*keys.Ring, *account.Store, *cert.Authority) {
		return openBackupBox(t, dir, name)
	}
	one, two := t.TempDir(), t.TempDir()
	ring, users, authority := box(one, "one.test")
	if _, err := users.Add("olga", "a long password"); err != nil {
		t.Fatal(err)
	}
	if err := users.SetOwner("olga", true); err != nil {
		t.Fatal(err)
	}
	all, err := collect(one, ring)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sealBackup(all, "short"); err == nil {
		t.Error("a password of five letters")
	}
	sealed, err := sealBackup(all, "of the backup")
	if err != nil {
		t.Fatal(err)
	}
	ring.Close()
	if bytes.Contains(sealed, []byte("olga")) {
		t.Error("the backup can be read as it is")
	}
	for _, n := range []int{0, 1, len(backupMagic), len(backupMagic) + backupSalt + 12, len(sealed) - 1} {
		if _, err := openBackup(sealed[:n], "of the backup"); err == nil {
			t.Errorf("cut to %d bytes it was taken", n)
		}
	}
	for _, at := range []int{0, len(backupMagic), len(backupMagic) + backupSalt, len(sealed) - 1} {
		bad := bytes.Clone(sealed)
		bad[at] ^= 1
		if _, err := openBackup(bad, "of the backup"); err == nil {
			t.Errorf("with byte %d changed it was taken", at)
		}
	}
	if _, err := openBackup(sealed, "of another one"); err == nil {
		t.Error("another password opens it")
	}

	ring, _, _ = box(two, "two.test")
	ring.Close()
	files, err := openBackup(sealed, "of the backup")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&restoring{files}).put(options{state: two}, log); err != nil {
		t.Fatal(err)
	}
	ring, users, again := box(two, "")
	defer ring.Close()
	if _, ok := users.OwnerPassword("olga", "a long password"); !ok {
		t.Error("the owner of the first box does not sign in to the second")
	}
	if again.Fingerprint() != authority.Fingerprint() {
		t.Error("it has another authority")
	}
	if cfg, err := config.Load(two); err != nil || cfg.Name != "one.test" {
		t.Errorf("it is called %v, %v", cfg, err)
	}
	_, _, _ = users.Lookup(context.Background(), "olga", "")
}

// openBackupBox opens what a backup is of, and makes it if it is not there.
func openBackupBox(t *testing.T, dir, name string) (*keys.Ring, *account.Store, *cert.Authority) {
	log := slog.New(slog.DiscardHandler)
	t.Helper()
	doc := "version = 1\nname = \"" + name + "\"\n[certificate]\nkey_store = \"file\"\n"
	path := filepath.Join(dir, config.FileName)
	if _, err := os.Stat(path); err != nil {
		if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := settings(options{state: dir})
	if err != nil {
		t.Fatal(err)
	}
	ring, _, err := serverKeys(options{state: dir}, cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Open(); err != nil {
		t.Fatal(err)
	}
	users, err := account.OpenWith(ring, dir, log)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := cert.OpenAuthorityWith(ring, dir, cfg.Name, time.Now(), log)
	if err != nil {
		t.Fatal(err)
	}
	return ring, users, authority
}

// The power may go after any step of putting a backup in place, and once more while that is finished: the box is the one
// from before, or the one of the backup, and nothing is left over.
func TestRestoreCut(t *testing.T) {
	one := t.TempDir()
	ring, users, authority := openBackupBox(t, one, "one.test")
	if _, err := users.Add("olga", "a long password"); err != nil {
		t.Fatal(err)
	}
	files, err := collect(one, ring)
	if err != nil {
		t.Fatal(err)
	}
	ring.Close()
	r := &restoring{files}
	log := slog.New(slog.DiscardHandler)
	steps := len(r.steps(one, ring))
	for cut := range steps + 1 {
		tries := 1
		if cut == 2 { // all of it is to be finished
			tries = steps - 1
		}
		for again := range tries { // how far the first attempt to finish comes
			dir := t.TempDir()
			ring, _, before := openBackupBox(t, dir, "two.test")
			for _, step := range r.steps(dir, ring)[:cut] {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}
			for _, step := range r.replacing(dir, ring)[:again] {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}
			ring.Close()
			cfg, err := settings(options{state: dir})
			if err != nil {
				t.Fatal(err)
			}
			if ring, _, err = serverKeys(options{state: dir}, cfg, log); err != nil || ring.Open() != nil {
				t.Fatal(err)
			}
			if _, err := finishRestore(dir, ring, log); err != nil {
				t.Fatalf("cut %d, %d: %v", cut, again, err)
			}
			if done, err := finishRestore(dir, ring, log); done || err != nil {
				t.Errorf("cut %d, %d: finished twice: %v", cut, again, err)
			}
			ring.Close()
			ring, users, now := openBackupBox(t, dir, "")
			_, there := users.OwnerPassword("olga", "a long password")
			if users.SetOwner("olga", true) == nil {
				_, there = users.OwnerPassword("olga", "a long password")
			}
			cfg, err = config.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			if old := cut < 2; there == old || (now.Fingerprint() == before.Fingerprint()) != old || (now.Fingerprint() == authority.Fingerprint()) == old ||
				(cfg.Name == "two.test") != old {
				t.Errorf("cut %d, %d: olga %t, authority %s, name %s", cut, again, there, now.Fingerprint(), cfg.Name)
			}
			ring.Close()
			for _, name := range []string{restoreJournal, keys.RestoreKey} {
				if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
					t.Errorf("cut %d, %d: %s is left", cut, again, name)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*corrupt*")); len(left) > 0 {
				t.Errorf("cut %d, %d: %q", cut, again, left)
			}
		}
	}
}

// What is left of a journal that cannot be read stops nobody from starting.
func TestRestoreDamaged(t *testing.T) {
	dir := t.TempDir()
	ring, _, _ := openBackupBox(t, dir, "one.test")
	defer ring.Close()
	path := filepath.Join(dir, restoreJournal)
	for name, contents := range map[string][]byte{"none": nil, "empty": {}, "another one": []byte(strings.Repeat("x", 100))} {
		if err := ring.Write(keys.RestoreKey, bytes.Repeat([]byte{1}, 32)); err != nil {
			t.Fatal(err)
		}
		if contents != nil {
			if err := os.WriteFile(path, contents, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if done, err := finishRestore(dir, ring, slog.New(slog.DiscardHandler)); done || err != nil {
			t.Errorf("%s: %t, %v", name, done, err)
		}
		if _, err := ring.Read(keys.RestoreKey); err == nil {
			t.Errorf("%s: its key is still there", name)
		}
	}
}

func TestBackupHoldsNothingElse(t *testing.T) {
	for _, text := range []string{
		``, `[]`, `{}`, `{"postern.toml":"eA=="}`, `{"../x":"eA==","postern.toml":"eA==","users.json":"eA==","identity.json":"eA==","state.key":"eA=="}`,
		`{"postern.lock":"eA==","postern.toml":"eA==","users.json":"eA==","identity.json":"eA==","state.key":"eA=="}`,
		`{"cert-0123456789abcdef.pem/x":"eA==","postern.toml":"eA==","users.json":"eA==","identity.json":"eA==","state.key":"eA=="}`,
	} {
		if all, err := readBackup([]byte(text)); err == nil {
			t.Errorf("%s was taken as %v", text, all)
		}
	}
}

func FuzzBackup(f *testing.F) {
	f.Add([]byte(`{"postern.toml":"eA==","users.json":"eA==","identity.json":"eA==","state.key":"eA=="}`))
	f.Add([]byte(`{"a/b":""}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := readBackup(text)
		for name := range all {
			if err == nil && (strings.ContainsAny(name, "/\x00") || name == "..") {
				t.Errorf("let through: %q", name)
			}
		}
	})
}

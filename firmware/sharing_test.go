package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs"
)

// sharingBox is a state folder with a share base, in it a/b, and beside it a folder with a secret.
func sharingBox(t *testing.T, more string) (dir string, s *sharing) {
	t.Helper()
	dir = t.TempDir()
	for _, d := range []string{"base/a/b", "base/other", "outside/b"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	doc := "version = 1\n[[share]]\nname = \"base\"\npath = \"base\"\n" + more
	if err := os.WriteFile(filepath.Join(dir, config.FileName), []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, &sharing{dir: dir, served: cfg.Shares}
}

// restarted are the names of the shares that the next start serves, and what it logs.
func restarted(t *testing.T, dir string) (names, logs string) {
	t.Helper()
	cfg, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	users, err := account.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	shares, err := openShares(cfg, users, slog.New(slog.NewTextHandler(&b, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, sh := range shares {
		names += sh.Name + " "
	}
	return names, b.String()
}

// TestSEC27AddedShare: a share that was added over the network lies in the share that it was added in for ever, whatever
// clients put in the place of its folder; and that the folder is gone keeps no other share from being served.
func TestSEC27AddedShare(t *testing.T) {
	for _, c := range []struct {
		name, remove, link, to, want string
	}{
		{"as it was", "", "", "", "base new newer "},
		{"the folder is a link out", "base/a/b", "base/a/b", "../../outside/b", "base "},
		{"the folder is a link to another", "base/a/b", "base/a/b", "../other", "base "},
		{"its parent is a link out", "base/a", "base/a", "../outside", "base "},
		{"its parent is an absolute link", "base/a", "base/a", "/etc", "base "},
		{"it is gone", "base/a/b", "", "", "base "},
		{"the one within is gone", "base/a/b/c", "", "", "base new "},
	} {
		dir, s := sharingBox(t, "")
		if err := os.Mkdir(filepath.Join(dir, "base/a/b/c"), 0o755); err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		if _, err := s.Add(ctx, "base", "new", "", vfs.Path{Names: []string{"a", "b"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Add(ctx, "new", "newer", "", vfs.Path{Names: []string{"c"}}); err != nil { // in one that was added
			t.Fatal(err)
		}
		if c.remove != "" {
			if err := os.RemoveAll(filepath.Join(dir, c.remove)); err != nil {
				t.Fatal(err)
			}
		}
		if c.link != "" {
			if err := os.Symlink(c.to, filepath.Join(dir, c.link)); err != nil {
				t.Fatal(err)
			}
		}
		names, logs := restarted(t, dir)
		if names != c.want || (names == "base new newer ") == strings.Contains(logs, "not served") {
			t.Errorf("%s: %qare served; log %s", c.name, names, logs)
		}
	}
}

// TestSEC27AddedNow: nor is it anything else the moment that it is added.
func TestSEC27AddedNow(t *testing.T) {
	dir, s := sharingBox(t, "")
	if err := os.Symlink("../outside", filepath.Join(dir, "base/out")); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, config.FileName))
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range [][]string{{"out"}, {"out", "b"}, {"..", "outside"}, {"a", "..", "..", "outside"}, {".postern-streams"}, {"a/b"}, {"a", ""}} {
		if _, err := s.Add(context.Background(), "base", "new", "", vfs.Path{Names: names}); err == nil {
			t.Errorf("%q became a share", names)
		}
	}
	if after, err := os.ReadFile(filepath.Join(dir, config.FileName)); err != nil || !bytes.Equal(after, before) {
		t.Errorf("%s, %v", after, err)
	}
}

// What holds for the share that another is added in holds for that one, too: no option is lost on the way into the file,
// and its previous versions are those of its folder, which are hidden there as well.
func TestAddedShareOptions(t *testing.T) {
	dir, s := sharingBox(t, "")
	for path, what := range map[string]string{"base/a/.kept/2026-01-31_12-00-00/old/a/file": "as it was", "base/a/file": "as it is"} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(what), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	base := &s.served[0]
	base.ReadOnly, base.NoStreams, base.WithoutNotify, base.ShortNames, base.POSIX, base.Continuous = true, true, true, true, true, true
	base.TimeMachine, base.Compress, base.KeepACLFlags, base.HideFiles = true, true, true, []string{".*"}
	base.Snapshots, base.SnapshotInside = filepath.Join(dir, "base/a/.kept"), "old"
	want := *base
	want.Name, want.Comment, want.Folder = "new", "a comment", []string{"a"}
	made, err := s.Add(context.Background(), "base", "new", "a comment", vfs.Path{Names: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Shares[1]; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if got := contents(t, made.Volume, "file"); got != "as it is" {
		t.Errorf("the file: %q", got)
	}
	past, done, err := made.Volume.(vfs.Snapshots).At(context.Background(), time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if got := contents(t, past, "file"); got != "as it was" {
		t.Errorf("its previous version: %q", got)
	}
	if got := contents(t, made.Volume, ".kept", "2026-01-31_12-00-00", "old", "a", "file"); got == "as it was" {
		t.Error("the folder of versions is to be seen")
	}
}

// contents is what a file of a volume holds, or why it cannot be had.
func contents(t *testing.T, v vfs.Volume, names ...string) string {
	t.Helper()
	f, _, err := v.Open(context.Background(), vfs.Path{Names: names}, vfs.How{Access: dtyp.FileRead})
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	b := make([]byte, 100)
	n, _ := f.ReadAt(b, 0)
	return string(b[:n])
}

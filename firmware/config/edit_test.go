package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// editable is a file as an owner keeps it, with a comment in every place.
const editable = `# My box.
version = 1
name = "nas.test" # the name

# Pictures of all of us.
[[share]]
name = "Photos"   # capital P
path = "photos"
comment = "Old # and new" # for everybody
write = [
  "alice", # me
]
# that was Photos

[log]
level = "warn"

# Bob's.
[[share]]
name = "bob"
path = "bob"
# the end
`

func editDir(t *testing.T, doc string) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"photos/sub", "bob"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(doc), 0o640); err != nil {
		t.Fatal(err)
	}
	return dir
}

func content(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEdit(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(dir string, cfg *Config) error
		want   string // of the file; $DIR is the folder
	}{
		{
			"comment", func(dir string, _ *Config) error { return SetShareComment(dir, "PHOTOS", `Say "cheese"`) },
			strings.Replace(editable, `"Old # and new" # for`, `"Say \"cheese\"" # for`, 1),
		},
		{
			"new comment", func(dir string, _ *Config) error { return SetShareComment(dir, "bob", "ß") },
			strings.Replace(editable, "[[share]]\nname = \"bob\"", "[[share]]\ncomment = \"ß\"\nname = \"bob\"", 1),
		},
		{
			"remove first", func(dir string, _ *Config) error { return RemoveShare(dir, "photos") },
			editable[:strings.Index(editable, "[[share]]")] + editable[strings.Index(editable, "# that was"):],
		},
		{
			"remove last", func(dir string, _ *Config) error { return RemoveShare(dir, "BOB") },
			strings.Replace(editable, "[[share]]\nname = \"bob\"\npath = \"bob\"\n", "", 1),
		},
		{"add", func(dir string, cfg *Config) error {
			s := cfg.Shares[0]
			s.Name, s.Comment, s.Path = "Sub", "", filepath.Join(dir, "photos/sub")
			return AddShare(dir, s)
		}, editable + "\n[[share]]\nname = \"Sub\"\npath = \"$DIR/photos/sub\"\ncomment = \"\"\nwrite = [\"alice\"]\n"},
		{"add with all there is", func(dir string, cfg *Config) error {
			s := cfg.Shares[0]
			s.Name, s.Comment, s.Folder = "Sub", "", []string{"a", "\u00fc\uf03a"}
			s.ReadOnly, s.Encrypt, s.Hidden, s.HideUnreadable, s.ShortNames, s.Continuous = true, true, true, true, true, true
			s.NoStreams, s.WithoutNotify, s.KeepACLFlags, s.POSIX, s.Compress, s.TimeMachine = true, true, true, true, true, true
			s.HideFiles, s.Snapshots, s.SnapshotInside = []string{".*"}, filepath.Join(dir, "bob"), "x/y"
			return AddShare(dir, s)
		}, editable + "\n[[share]]\nname = \"Sub\"\npath = \"$DIR/photos\"\ncomment = \"\"\nfolder = \"a/\u00fc\\uf03a\"\n" +
			"snapshots = \"$DIR/bob/*/x/y\"\nread_only = true\nencrypt = true\nhidden = true\nhide_unreadable = true\nshort_names = true\n" +
			"continuous = true\nstreams = false\nnotify = false\nkeep_acl_flags = true\nposix = true\ncompress = true\ntime_machine = true\n" +
			"hide_files = [\".*\"]\nwrite = [\"alice\"]\n"},
	} {
		dir := editDir(t, editable)
		cfg, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.change(dir, cfg); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got, want := content(t, dir), strings.ReplaceAll(c.want, "$DIR", dir); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, want)
		}
		if st, err := os.Stat(filepath.Join(dir, FileName)); err != nil || st.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v, %v", c.name, st.Mode(), err)
		}
	}
}

// What an edit cannot do right it does not do: the file stays as it is, byte by byte.
func TestEditRefused(t *testing.T) {
	add := func(name, path string) func(string) error {
		return func(dir string) error { return AddShare(dir, Share{Name: name, Path: filepath.Join(dir, path)}) }
	}
	inline := "version = 1\nshare = [{name = \"a\", path = \"photos\"}]\n"
	for _, c := range []struct {
		name, doc string
		change    func(dir string) error
	}{
		{"no such share", editable, func(dir string) error { return RemoveShare(dir, "nothing") }},
		{"comment of no share", editable, func(dir string) error { return SetShareComment(dir, "", "x") }},
		{"taken", editable, add("PHOTOS", "bob")},
		{"no folder", editable, add("new", "nothing")},
		{"the state folder", editable, add("new", ".")},
		{"no name", editable, add("", "bob")},
		{"a line in the name", editable, add("a\"\n[quic]\nlisten = \":1\"\nx = \"", "bob")},
		{"a line in the comment", editable, func(dir string) error { return SetShareComment(dir, "bob", "a\nread_only = true") }},
		{"not UTF-8", editable, func(dir string) error { return SetShareComment(dir, "bob", "\xff") }},
		{"too long", editable, func(dir string) error { return SetShareComment(dir, "bob", strings.Repeat("x", 257)) }},
		{"a mistake elsewhere", strings.Replace(editable, `"warn"`, `"loud"`, 1), func(dir string) error { return RemoveShare(dir, "bob") }},
		{"inline", inline, func(dir string) error { return RemoveShare(dir, "a") }},
		{"beside inline", inline, add("new", "bob")},
		{"over lines", strings.Replace(editable, `"Old # and new"`, "\"\"\"Old\n  new\"\"\"", 1), func(dir string) error { return SetShareComment(dir, "photos", "x") }},
	} {
		dir := editDir(t, c.doc)
		if err := c.change(dir); err == nil {
			t.Errorf("%s: done", c.name)
		}
		if got := content(t, dir); got != c.doc {
			t.Errorf("%s: the file became\n%s", c.name, got)
		}
	}
	if err := RemoveShare(t.TempDir(), "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// The form in which the first run writes the file can be changed, also to nothing and back.
func TestEditDefault(t *testing.T) {
	dir := editDir(t, DefaultFile)
	if err := os.Mkdir(filepath.Join(dir, "disk"), 0o755); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := RemoveShare(dir, "disk"); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(dir); err != nil || len(c.Shares) != 0 {
		t.Fatalf("%v, %v", c, err)
	}
	if err := AddShare(dir, cfg.Shares[0]); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(dir); err != nil || len(c.Shares) != 1 || c.Shares[0].Path != filepath.Join(dir, "disk") {
		t.Fatalf("%v, %v", c, err)
	}
	if !strings.Contains(content(t, dir), "# Who may read, and who may read and write.") {
		t.Error("a comment is gone")
	}
}

// A link to the file stays one; an editor's line ends stay, too.
func TestEditLink(t *testing.T) {
	dir := editDir(t, strings.ReplaceAll(editable, "\n", "\r\n"))
	real := filepath.Join(dir, "real.toml")
	if err := os.Rename(filepath.Join(dir, FileName), real); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.toml", filepath.Join(dir, FileName)); err != nil {
		t.Fatal(err)
	}
	if err := SetShareComment(dir, "bob", "his"); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(filepath.Join(dir, FileName)); err != nil || st.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link: %v, %v", st.Mode(), err)
	}
	if s := content(t, dir); strings.Count(s, "\n") != strings.Count(s, "\r\n") || !strings.Contains(s, "comment = \"his\"\r\n") {
		t.Errorf("%q", s)
	}
}

package osfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

var (
	_ vfs.Streams  = (*File)(nil)
	_ vfs.EAs      = (*File)(nil)
	_ vfs.File     = (*StreamFile)(nil)
	_ vfs.Stream   = (*StreamFile)(nil)
	_ vfs.Streams  = (*StreamFile)(nil)
	_ vfs.Security = (*StreamFile)(nil)
	_ vfs.EAs      = (*StreamFile)(nil)

	_ vfs.Allocator = (*StreamFile)(nil)
	_ vfs.Cloner    = (*StreamFile)(nil)
	_ vfs.Sharer    = (*StreamFile)(nil)
)

// A shed is a Volume over a directory that can be looked at and opened anew.
type shed struct {
	*testing.T
	dir string
	v   *Volume
}

func newShed(t *testing.T) *shed {
	return newShedIn(t, t.TempDir())
}

func newShedIn(t *testing.T, dir string) *shed {
	s := &shed{T: t, dir: dir}
	if err := unix.Setxattr(s.dir, "user.probe", []byte("x"), 0); err != nil {
		t.Skip("no xattrs here: ", err)
	}
	s.reopen()
	t.Cleanup(func() { s.v.Close() })
	return s
}

// reopen is a restart. It returns when the search for orphans is over.
func (s *shed) reopen(opts ...Option) {
	s.Helper()
	if s.v != nil {
		s.v.Close()
	}
	v, err := New(s.dir, opts...)
	if err != nil {
		s.Fatal(err)
	}
	s.v = v
	v.sides.swept.Wait()
}

func (s *shed) path(name string) string { return filepath.Join(s.dir, name) }

func (s *shed) file(name string) {
	s.Helper()
	if err := os.WriteFile(s.path(name), []byte("main"), 0o644); err != nil {
		s.Fatal(err)
	}
}

func (s *shed) open(name, stream string, d vfs.Disposition) (vfs.File, error) {
	f, _, err := s.v.Open(context.Background(), vfs.Path{Names: strings.Split(name, "/"), Stream: stream}, vfs.How{Disposition: d, Access: dtyp.FileAll})
	return f, err
}

// put writes a stream.
func (s *shed) put(name, stream string, b []byte) {
	s.Helper()
	f, err := s.open(name, stream, vfs.OpenIf)
	if err != nil {
		s.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil {
		s.Fatal(err)
	}
}

// get reads a stream.
func (s *shed) get(name, stream string) []byte {
	s.Helper()
	f, err := s.open(name, stream, vfs.Open)
	if err != nil {
		s.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil {
		s.Fatal(err)
	}
	return b
}

func (s *shed) xattr(name, xattr string) []byte {
	s.Helper()
	b, err := readXattr(at(s.path(name)), xattr)
	if err != nil && err != unix.ENODATA {
		s.Fatal(err)
	}
	return b
}

// sides lists the files of long streams.
func (s *shed) sides() []os.DirEntry {
	list, _ := os.ReadDir(s.path(sideDir))
	return list
}

func (s *shed) wantSides(n int) {
	s.Helper()
	if got := len(s.sides()); got != n {
		s.Fatalf("%d files of streams; want %d", got, n)
	}
}

var long = bytes.Repeat([]byte("long contents "), 20_000)

// What Samba writes we read, and the reverse: the xattr, its last byte, its type, more xattrs.
func TestStreamFormat(t *testing.T) {
	s := newShed(t)
	s.file("f")
	s.put("f", "Zone.Identifier", []byte("[ZoneTransfer]"))
	if got := s.xattr("f", "user.DosStream.Zone.Identifier:$DATA"); string(got) != "[ZoneTransfer]\x00" {
		t.Errorf("stored as %q", got)
	}
	s.put("f", "empty", nil)
	if got := s.xattr("f", "user.DosStream.empty:$DATA"); string(got) != "\x00" {
		t.Errorf("an empty stream is stored as %q", got)
	}
	for xattr, value := range map[string]string{
		"user.DosStream.theirs:$DATA": "abc\x00", "user.DosStream.untyped": "xyz\x00", "user.DosStream.bare:$DATA": "",
		"user.DosStream.parts:$DATA": "one\x02", "user.DosStreamExt.1.parts:$DATA": "two", "user.DosStreamExt.2.parts:$DATA": "three",
		"user.DosStream.cut:$DATA": "one\x0f", "user.DosStreamExt.1.cut:$DATA": "two", "user.DosStream.a/b:$DATA": "no name\x00",
	} {
		if err := unix.Setxattr(s.path("f"), xattr, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	for stream, want := range map[string]string{"THEIRS": "abc", "untyped": "xyz", "bare": "", "parts": "onetwothree", "cut": "onetwo"} {
		if got := s.get("f", stream); string(got) != want {
			t.Errorf("%s: %q, want %q", stream, got, want)
		}
	}
	s.put("f", "parts", []byte("ONE")) // one again
	if got, rest := s.xattr("f", "user.DosStream.parts:$DATA"), s.xattr("f", "user.DosStreamExt.1.parts:$DATA"); string(got) != "ONEtwothree\x00" || rest != nil {
		t.Errorf("stored as %q and %q", got, rest)
	}
	s.put("f", "untyped", []byte("X"))
	if got := s.xattr("f", "user.DosStream.untyped"); string(got) != "Xyz\x00" {
		t.Errorf("stored as %q", got)
	}
	f, err := s.open("f", "", vfs.Open)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := f.(vfs.Streams).Streams(context.Background())
	if err != nil || len(list) != 8 {
		t.Errorf("listed %+v, %v", list, err)
	}
	eas, err := f.(vfs.EAs).EAs(context.Background())
	if err != nil || len(eas) != 0 {
		t.Errorf("streams are shown as attributes: %+v, %v", eas, err)
	}
}

// Attributes are user xattrs, as Samba has them.
func TestEAFormat(t *testing.T) {
	s := newShed(t)
	s.file("f")
	f, err := s.open("f", "", vfs.Open)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Setxattr(s.path("f"), "user.Theirs", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(s.path("f"), "user.not:one", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	k := f.(vfs.EAs)
	if err := k.SetEAs(t.Context(), []fscc.EA{{Name: "THEIRS", Value: []byte("2")}, {Name: "Ours", Value: []byte("3")}}); err != nil {
		t.Fatal(err)
	}
	if a, b := s.xattr("f", "user.Theirs"), s.xattr("f", "user.Ours"); string(a) != "2" || string(b) != "3" {
		t.Errorf("stored as %q and %q", a, b)
	}
	list, err := k.EAs(t.Context())
	if err != nil || len(list) != 2 {
		t.Errorf("%+v, %v", list, err)
	}
}

// A long stream is a file that no name and no link leads to.
func TestStreamHidden(t *testing.T) {
	s := newShed(t)
	s.file("f")
	s.put("f", "s", long)
	s.wantSides(1)
	side := filepath.Join(sideDir, s.sides()[0].Name())
	for link, to := range map[string]string{"dirlink": sideDir, "filelink": side} {
		if err := os.Symlink(to, s.path(link)); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	for _, name := range []string{
		sideDir, strings.ToUpper(sideDir), side, "dirlink", "filelink", "dirlink/" + filepath.Base(side),
	} {
		for _, d := range []vfs.Disposition{vfs.Open, vfs.OpenIf, vfs.Create} {
			for _, dir := range []bool{false, true} {
				f, _, err := s.v.Open(ctx, vfs.Path{Names: strings.Split(name, "/")}, vfs.How{Disposition: d, Access: dtyp.FileAll, Directory: dir})
				if err == nil {
					f.Close()
					t.Errorf("%s can be opened (disposition %d)", name, d)
				}
			}
		}
	}
	f, err := s.open("f", "", vfs.Open)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Rename(ctx, vfs.Path{Names: []string{sideDir, "x"}}, false); !errors.Is(err, nt.ObjectNameInvalid) {
		t.Errorf("renamed into it: %v", err)
	}
	root, _, err := s.v.Open(ctx, vfs.Path{}, vfs.How{Access: dtyp.FileRead})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = root.ReadDir(ctx, 0, nil, vfs.WantAll, func(_ uint64, e vfs.Entry) bool {
		if hidden(e.Name) {
			t.Errorf("%q is listed", e.Name)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	// What the xattr says never becomes a path.
	for _, name := range []string{"../f", "f", "", "../../etc/passwd", strings.Repeat("A", 25) + "/"} {
		if err := unix.Setxattr(s.path("f"), sidePrefix+"s", []byte(name), 0); err != nil {
			t.Fatal(err)
		}
		g, err := s.open("f", "s", vfs.Open)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := g.ReadAt(make([]byte, 4), 0); n != 0 || !errors.Is(err, errLost) {
			t.Errorf("%q: read %d bytes, %v", name, n, err)
		}
		g.Close()
	}
}

// The file goes with its object, however that goes.
func TestStreamFilesGo(t *testing.T) {
	s := newShed(t)
	ctx := t.Context()
	gone := map[string]func(vfs.File) error{
		"unlink":    func(f vfs.File) error { return f.Unlink(ctx) },
		"overwrite": func(f vfs.File) error { return f.Overwrite(ctx, 0) },
		"replaced": func(vfs.File) error {
			s.file("other")
			g, err := s.open("other", "", vfs.Open)
			if err != nil {
				return err
			}
			defer g.Close()
			return g.Rename(ctx, vfs.Path{Names: []string{"f"}}, true)
		},
		"linked over": func(vfs.File) error {
			s.file("another")
			g, err := s.open("another", "", vfs.Open)
			if err != nil {
				return err
			}
			defer g.Close()
			return g.(vfs.Linker).Link(ctx, vfs.Path{Names: []string{"F"}}, true)
		},
	}
	for what, do := range gone {
		os.RemoveAll(s.path("f"))
		s.file("f")
		s.put("f", "s", long)
		s.wantSides(1)
		f, err := s.open("f", "", vfs.Open)
		if err != nil {
			t.Fatal(err)
		}
		if err := do(f); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		f.Close()
		if n := len(s.sides()); n != 0 {
			t.Errorf("%s: %d files are left", what, n)
		}
	}
	// Not while there is another name.
	s.file("g")
	s.put("g", "s", long)
	if err := os.Link(s.path("g"), s.path("h")); err != nil {
		t.Fatal(err)
	}
	g, err := s.open("g", "", vfs.Open)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Unlink(ctx); err != nil {
		t.Fatal(err)
	}
	g.Close()
	if got := s.get("h", "s"); !bytes.Equal(got, long) {
		t.Errorf("%d bytes left", len(got))
	}
}

// Whoever copies an object with its xattrs has two that name one file: each gets its own before it is used.
func TestStreamCopied(t *testing.T) {
	s := newShed(t)
	s.file("f")
	s.put("f", "s", long)
	s.file("copy")
	if err := unix.Setxattr(s.path("copy"), sidePrefix+"s", s.xattr("f", sidePrefix+"s"), 0); err != nil {
		t.Fatal(err)
	}
	s.put("copy", "s", []byte("COPY"))
	if got := s.get("f", "s"); !bytes.Equal(got, long) {
		t.Error("a write to the copy has changed the original")
	}
	if got := s.get("copy", "s"); !bytes.HasPrefix(got, []byte("COPY contents")) || len(got) != len(long) {
		t.Errorf("the copy has %d bytes, %.20q", len(got), got)
	}
	s.wantSides(2)
	// A copy that was never used takes nothing with it.
	s.file("third")
	if err := unix.Setxattr(s.path("third"), sidePrefix+"s", s.xattr("f", sidePrefix+"s"), 0); err != nil {
		t.Fatal(err)
	}
	f, err := s.open("third", "", vfs.Open)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Unlink(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got := s.get("f", "s"); !bytes.Equal(got, long) {
		t.Error("deleting a copy has taken the original's stream")
	}
}

// Files that nothing names are removed at the second start that finds them so; others never.
func TestStreamOrphans(t *testing.T) {
	s := newShed(t)
	if err := os.MkdirAll(s.path("deep/er"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f", "deep/er/g"} {
		s.file(name)
		s.put(name, "s", long)
	}
	s.put("deep", "of the directory", long)
	s.file("h")
	s.put("h", "s", long)
	s.wantSides(4)
	os.Remove(s.path("h")) // on the NAS itself
	if err := os.Rename(s.path("deep"), s.path("elsewhere")); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	s.wantSides(4)
	s.reopen()
	s.wantSides(3)
	s.reopen()
	for name, stream := range map[string]string{"f": "s", "elsewhere/er/g": "s", "elsewhere": "of the directory"} {
		if got := s.get(name, stream); !bytes.Equal(got, long) {
			t.Errorf("%s:%s has %d bytes", name, stream, len(got))
		}
	}
	// A suspicion ends when the name turns up again.
	held := s.xattr("f", sidePrefix+"s")
	if err := unix.Removexattr(s.path("f"), sidePrefix+"s"); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	if err := unix.Setxattr(s.path("f"), sidePrefix+"s", held, 0); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	s.reopen()
	s.reopen()
	s.wantSides(3)
	if got := s.get("f", "s"); !bytes.Equal(got, long) {
		t.Errorf("f:s has %d bytes", len(got))
	}
}

// What cannot be walked whole removes nothing.
func TestStreamSweepBounds(t *testing.T) {
	s := newShed(t)
	s.file("f")
	s.put("f", "s", long)
	named := map[string]bool{string(s.xattr("f", sidePrefix+"s")): false}
	for _, w := range []*sweeper{{v: s.v, named: named, left: 0}, {v: s.v, named: named, left: maxSweep}} {
		root, err := s.v.openat(s.v.root, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		whole := w.walk(root, maxSweepDepth)
		deep := w.walk(root, 0)
		unix.Close(root)
		if whole != (w.left > 0) || deep {
			t.Errorf("whole %t with %d left, %t without depth", whole, w.left, deep)
		}
	}
}

// Without xattrs there are no streams, and a name with one is never its file.
func TestStreamsNone(t *testing.T) {
	s := newShed(t)
	s.reopen(func(c *config) { c.noXattr = true })
	s.file("f")
	for _, d := range []vfs.Disposition{vfs.Open, vfs.OpenIf, vfs.Create} {
		if f, err := s.open("f", "s", d); !errors.Is(err, nt.ObjectNameInvalid) {
			t.Errorf("%v, %v", f, err)
		}
	}
	f, err := s.open("f", "", vfs.Open)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.(vfs.Streams).Streams(t.Context()); !errors.Is(err, nt.NotSupported) {
		t.Error(err)
	}
	if _, err := f.(vfs.EAs).EAs(t.Context()); !errors.Is(err, nt.NotSupported) {
		t.Error(err)
	}
	if err := f.Overwrite(t.Context(), 0); err != nil {
		t.Error(err)
	}
}

// Streams leave room for what the object needs itself: where all xattrs lie in one block, long ones move out of it.
func TestStreamsMakeRoom(t *testing.T) {
	s := newShed(t)
	s.file("f")
	for i, name := range []string{"a", "b", "c", "d"} {
		s.put("f", name, bytes.Repeat([]byte(name), 900+i))
	}
	f, err := s.open("f", "", vfs.Open)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	open, err := s.open("f", "d", vfs.Open)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	sd := &dtyp.SecurityDescriptor{Owner: dtyp.Administrators, Group: dtyp.BuiltinUsers, DACL: &dtyp.ACL{Revision: 2}}
	for range 60 {
		sd.DACL.ACEs = append(sd.DACL.ACEs, dtyp.ACE{Mask: dtyp.FileAll, SID: dtyp.Everyone})
	}
	b, err := sd.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.(vfs.Security).SetSecurityDescriptor(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := f.SetAttr(t.Context(), vfs.Attr{Attributes: vfs.AttrHidden}, vfs.WantAttributes); err != nil {
		t.Fatal(err)
	}
	if err := f.(vfs.EAs).SetEAs(t.Context(), []fscc.EA{{Name: "EA", Value: make([]byte, 900)}}); err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(s.dir, &fs); err == nil && fs.Type == unix.EXT4_SUPER_MAGIC && fs.Bsize == 4096 && len(s.sides()) == 0 {
		t.Error("nothing had to move, so the test shows nothing")
	}
	for i, name := range []string{"a", "b", "c", "d"} {
		if got := s.get("f", name); string(got) != strings.Repeat(name, 900+i) {
			t.Errorf("%s has %d bytes, %.20q", name, len(got), got)
		}
	}
	if _, err := open.WriteAt([]byte("D"), 0); err != nil {
		t.Fatal(err)
	}
	if got := s.get("f", "d"); got[0] != 'D' || len(got) != 903 {
		t.Errorf("written through an open of before: %d bytes, %.20q", len(got), got)
	}
}

package osfs

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs"
)

// TestNotes: what was read of an object's xattrs long after it was written is remembered, and what anybody does to them
// after that, here or beside Postern, is seen at once: by who has the object open and in listings.
func TestNotes(t *testing.T) {
	dir := t.TempDir()
	v := volume(t, dir)
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(path, dosAttrib, encodeDOS(dosInfo{attributes: vfs.AttrHidden, birth: 1e17}, false), 0); err != nil {
		t.Skip(err)
	}
	f := mustOpen(t, v, "file", vfs.How{Access: dtyp.FileAll})
	defer f.Close()
	room := dirBufs.Get().(*dirBuf)
	defer dirBufs.Put(room)
	looks := func(what string, attributes uint32, birth dtyp.Filetime, eas bool) {
		t.Helper()
		open, err := f.Attr(t.Context(), vfs.WantAll|vfs.WantEA)
		if err != nil {
			t.Fatal(err)
		}
		listed, err := v.attrAt(v.root, "file", vfs.WantAll|vfs.WantEA, room)
		if err != nil {
			t.Fatal(err)
		}
		for how, a := range map[string]vfs.Attr{"open": open, "listed": listed} {
			if a.Attributes != attributes || birth != 0 && a.Birth != birth || (a.EASize > 0) != eas {
				t.Errorf("%s, %s: attributes %#x of %v, extended ones of %d bytes", what, how, a.Attributes, a.Birth, a.EASize)
			}
		}
	}
	noted := func(want uint8) {
		t.Helper()
		var st unix.Statx_t
		if err := statxAt(v.root, "file", &st); err != nil {
			t.Fatal(err)
		}
		if n := v.noted(&st); n.has != want {
			t.Fatalf("noted: %b, want %b", n.has, want)
		}
	}
	settle := func() { time.Sleep(distinct + 50*time.Millisecond) }
	looks("fresh", vfs.AttrHidden, 1e17, false)
	noted(0) // it may change within the clock's tick
	settle()
	looks("settled", vfs.AttrHidden, 1e17, false)
	noted(noteDOS | noteNoEAs)
	looks("noted", vfs.AttrHidden, 1e17, false)

	if err := unix.Setxattr(path, dosAttrib, encodeDOS(dosInfo{attributes: vfs.AttrSystem, birth: 1.1e17}, false), 0); err != nil {
		t.Fatal(err)
	}
	looks("changed by somebody else", vfs.AttrSystem, 1.1e17, false)
	settle()
	looks("settled again", vfs.AttrSystem, 1.1e17, false)
	if err := f.SetAttr(t.Context(), vfs.Attr{Attributes: vfs.AttrReadOnly}, vfs.WantAttributes); err != nil {
		t.Fatal(err)
	}
	looks("changed by us", vfs.AttrReadOnly, 1.1e17, false)
	settle()
	looks("settled again", vfs.AttrReadOnly, 1.1e17, false)
	if err := unix.Setxattr(path, "user.colour", []byte("red"), 0); err != nil {
		t.Fatal(err)
	}
	looks("with an extended attribute", vfs.AttrReadOnly, 1.1e17, true)
	settle()
	looks("settled again", vfs.AttrReadOnly, 1.1e17, true)
	noted(noteDOS)
	if err := unix.Removexattr(path, dosAttrib); err != nil {
		t.Fatal(err)
	}
	looks("without attributes", vfs.AttrArchive, 0, true)
	settle()
	looks("settled again", vfs.AttrArchive, 0, true)
	noted(noteDOS) // that there are none

	// A time of change that a client has set ends by itself, and is read each time.
	if err := f.SetAttr(t.Context(), vfs.Attr{Change: 1.2e17}, vfs.SetChange); err != nil {
		t.Fatal(err)
	}
	settle()
	for range 2 {
		if a, err := f.Attr(t.Context(), vfs.WantAll); err != nil || a.Change != 1.2e17 {
			t.Errorf("time of change %v, %v", a.Change, err)
		}
	}
	noted(0)
}

// TestNotesBound: objects that meet in one place of the table take it from each other, and are not taken for each other.
func TestNotesBound(t *testing.T) {
	var n notebook
	st := func(ino uint64) *unix.Statx_t { return &unix.Statx_t{Ino: ino, Ctime: unix.StatxTimestamp{Sec: 1}} }
	for i := range uint64(3 * notebookSize) {
		n.put(st(i), note{attributes: uint32(i), has: noteDOS})
	}
	if len(n.notes) != notebookSize {
		t.Errorf("%d places", len(n.notes))
	}
	kept := 0
	for i := range uint64(3 * notebookSize) {
		if found := n.get(st(i)); found.has != 0 {
			kept++
			if found.attributes != uint32(i) {
				t.Fatalf("%d is taken for %d", i, found.attributes)
			}
		}
	}
	if kept != notebookSize {
		t.Errorf("%d are kept", kept)
	}
}

// TestProtection: the nearest descriptor above a name, and only what is remembered and where no link leads.
func TestProtection(t *testing.T) {
	dir := t.TempDir()
	v := volume(t, dir)
	v.unprivileged.Store(true)
	if err := os.MkdirAll(filepath.Join(dir, "a", "b", "c"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	sd := make([]byte, descriptorHead)
	if err := unix.Setxattr(filepath.Join(dir, "a"), ownNTACL, encodeNTACL(sd, [32]byte{}), 0); err != nil {
		t.Skip(err)
	}
	time.Sleep(distinct + 50*time.Millisecond)
	if _, _, ok := v.Protection([]string{"a", "b"}); ok {
		t.Error("nobody has looked, and it is known")
	}
	for _, name := range []string{"", "a", "a/b", "a/b/c"} { // as the server does when it is not known
		fd, err := v.open(name, unix.O_PATH, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.descriptor(fd, at(proc(fd))); err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	}
	for _, c := range []struct {
		names []string
		has   bool
		depth int
		ok    bool
	}{
		{nil, false, 0, true},
		{[]string{"a"}, true, 1, true},
		{[]string{"a", "b"}, true, 1, true},
		{[]string{"a", "b", "c"}, true, 1, true},
		{[]string{"A"}, false, 0, false},
		{[]string{"link"}, false, 0, false},
		{[]string{"link", "b"}, false, 0, false},
		{[]string{"file"}, false, 0, false},
		{[]string{"nothing"}, false, 0, false},
		{[]string{"..", "a"}, false, 0, false},
		{[]string{sideDir}, false, 0, false},
	} {
		b, depth, ok := v.Protection(c.names)
		if (b != nil) != c.has || ok && depth != c.depth || ok != c.ok {
			t.Errorf("%q: %x, %d, %t", c.names, b, depth, ok)
		}
	}
	if err := unix.Removexattr(filepath.Join(dir, "a"), ownNTACL); err != nil {
		t.Fatal(err)
	}
	if b, _, ok := v.Protection([]string{"a"}); ok {
		t.Errorf("after it was taken away: %x", b)
	}
}

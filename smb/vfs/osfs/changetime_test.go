package osfs

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs"
)

// A time of change that is set is shown, to everyone and in listings, until something changes; and to whoever set it beyond
// what it changes itself.
func TestChangeTime(t *testing.T) {
	dir := t.TempDir()
	v := volume(t, dir)
	old := dtyp.FiletimeOf(time.Date(1988, 8, 8, 8, 8, 8, 0, time.UTC))
	f, _, err := v.Open(t.Context(), vfs.Path{Names: []string{"f"}}, vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	shown := func() dtyp.Filetime {
		t.Helper()
		g := mustOpen(t, v, "f", vfs.How{Access: dtyp.ReadAttributes})
		defer g.Close()
		a, err := g.Attr(t.Context(), vfs.WantAll)
		if err != nil {
			t.Fatal(err)
		}
		root, _, err := v.Open(t.Context(), vfs.Path{}, vfs.How{Access: dtyp.ReadData, Directory: true})
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		err = root.ReadDir(t.Context(), 0, nil, vfs.WantAll, func(_ uint64, e vfs.Entry) bool {
			if e.Name == "f" && e.Attr.Change != a.Change {
				t.Errorf("a listing says %v, the file itself %v", e.Attr.Change.Time(), a.Change.Time())
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return a.Change
	}
	set := func(f vfs.File, a vfs.Attr, mask vfs.Mask) {
		t.Helper()
		if err := f.SetAttr(t.Context(), a, mask); err != nil {
			t.Fatal(err)
		}
	}
	set(f, vfs.Attr{Write: old, Change: old}, vfs.SetWrite|vfs.SetChange)
	if shown() != old {
		t.Skip("the filesystem has no user xattrs")
	}
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	set(f, vfs.Attr{Attributes: vfs.AttrHidden, Size: 10}, vfs.WantAttributes|vfs.WantSize)
	if got := shown(); got != old {
		t.Errorf("after changes of who set it: %v", got.Time())
	}
	// Another open's changes are changes.
	g := mustOpen(t, v, "f", vfs.How{Access: dtyp.FileAll})
	defer g.Close()
	set(g, vfs.Attr{Attributes: vfs.AttrArchive}, vfs.WantAttributes)
	if got := shown(); time.Since(got.Time()).Abs() > time.Hour {
		t.Errorf("after a change of another open: %v", got.Time())
	}
	// So are those behind our back, and what lets go of it.
	set(f, vfs.Attr{Change: old}, vfs.SetChange)
	set(f, vfs.Attr{Change: vfs.HoldTime}, vfs.SetChange)
	if got := shown(); got != old {
		t.Errorf("set again and held: %v", got.Time())
	}
	for deadline := time.Now().Add(10 * time.Second); ; { // the clock must leave behind what it showed
		if err := os.Chmod(filepath.Join(dir, "f"), 0o600); err != nil {
			t.Fatal(err)
		}
		if shown() != old {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a change behind our back does not show")
		}
	}
	set(f, vfs.Attr{Change: vfs.FreeTime}, vfs.SetChange)
	set(f, vfs.Attr{Attributes: vfs.AttrArchive}, vfs.WantAttributes)
	if got := shown(); got == old {
		t.Error("let go and still shown")
	}
}

package osfs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs"
)

// TestSEC27Folder: a folder that becomes a Volume's root is found beneath a root, and through no link.
func TestSEC27Folder(t *testing.T) {
	base := t.TempDir()
	share := filepath.Join(base, "share")
	makeTree(t, base, map[string]string{"share/d/sub:x/file": "", "outside/file": "", "share/.postern-streams/f": ""})
	for link, to := range map[string]string{"share/in": "d", "share/out": "../outside", "share/d/abs": "/etc", "link": "share"} {
		check(t, os.Symlink(to, filepath.Join(base, link)))
	}
	for _, names := range [][]string{
		{"in"},
		{"in", "sub\uf03ax"},
		{"out"},
		{"d", "abs"},
		{".."},
		{"d", ".."},
		{"d", "..", ".."},
		{"d/sub:x"},
		{"/"},
		{""},
		{"D"},
		{"nothing"},
		{".postern-streams"},
		{".POSTERN-Streams"},
		{"d", "sub\uf03ax", "file"},
	} {
		if v, err := New(share, WithFolder(names...)); err == nil {
			t.Errorf("%q is a root", names)
			v.Close()
		}
	}
	for _, root := range []string{share, filepath.Join(base, "link")} { // the root itself is the owner's to say
		v, err := New(root, WithFolder("d", "sub\uf03ax"))
		check(t, err)
		f, _, err := v.Open(context.Background(), wire("file"), vfs.How{})
		check(t, err)
		f.Close()
		v.Close()
	}
}

// TestSEC27LinkToStreams: a link to where streams are kept lets nobody make anything there.
func TestSEC27LinkToStreams(t *testing.T) {
	dir := t.TempDir()
	v := volume(t, dir)
	if _, err := v.sideDir(true); err != nil {
		t.Skip(err)
	}
	check(t, os.Symlink(sideDir, filepath.Join(dir, "link")))
	ctx := context.Background()
	makeTree(t, dir, map[string]string{"file": "x"})
	for _, how := range []vfs.How{{Disposition: vfs.Create}, {Disposition: vfs.OpenIf, Directory: true}, {Disposition: vfs.Create, POSIX: true}} {
		if f, _, err := v.Open(ctx, wire(`link\new`), how); err == nil {
			t.Errorf("made with %+v", how)
			f.Close()
		}
	}
	f, _, err := v.Open(ctx, wire("file"), vfs.How{Access: dtyp.FileAll})
	check(t, err)
	defer f.Close()
	if f.Rename(ctx, wire(`link\file`), false) == nil || f.(vfs.Linker).Link(ctx, wire(`link\other`), false) == nil {
		t.Error("a file was put there")
	}
	entries, err := os.ReadDir(filepath.Join(dir, sideDir))
	check(t, err)
	if len(entries) != 0 {
		t.Errorf("there is %v", entries)
	}
}

// TestSEC37HiddenFolders: who watches a tree is told nothing of what nobody is shown in it: the folder of snapshots, and
// that of streams.
func TestSEC37HiddenFolders(t *testing.T) {
	for _, late := range []bool{false, true} {
		dir := t.TempDir()
		check(t, os.MkdirAll(filepath.Join(dir, "sub/.kept/2025-05-06_07-08-09"), 0o755))
		h := &hide{T: t, dir: dir}
		h.v = volume(t, dir, WithSnapshots(filepath.Join(dir, "sub/.kept"), ""))
		if late { // it appears within the tree that is watched
			h.ok(os.Rename(h.at("sub"), filepath.Join(dir, "..", filepath.Base(dir)+"away")))
		}
		_, err := h.v.sideDir(true)
		h.ok(err)
		h.watch("", true)
		if late {
			h.ok(os.Rename(filepath.Join(dir, "..", filepath.Base(dir)+"away"), h.at("sub")))
			h.tells("+d:sub")
			func() { // what told is not over before it is watched as well
				h.v.watches.mu.Lock()
				defer h.v.watches.mu.Unlock()
			}()
		}
		for _, hidden := range []string{"sub/.kept", "sub/.kept/2025-05-06_07-08-09", sideDir} {
			h.ok(os.WriteFile(h.at(hidden+"/file"), []byte("secret"), 0o600))
			h.ok(os.Mkdir(h.at(hidden+"/dir"), 0o700))
			h.ok(os.WriteFile(h.at(hidden+"/dir/file"), []byte("secret"), 0o600))
			h.ok(os.Rename(h.at(hidden+"/file"), h.at(hidden+"/other")))
			h.ok(os.Chmod(h.at(hidden), 0o750))
		}
		h.ok(os.Remove(h.at("sub/.kept/other")))
		h.ok(os.Mkdir(h.at("sub/end"), 0o755))
		h.tells("+d:sub/end")
	}
}

// What is moved out of a hidden folder appears, and what is moved into one is gone.
func TestHiddenFolderBorder(t *testing.T) {
	dir := t.TempDir()
	check(t, os.MkdirAll(filepath.Join(dir, ".kept"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, ".kept/f"), nil, 0o600))
	h := &hide{T: t, dir: dir}
	h.v = volume(t, dir, WithSnapshots(filepath.Join(dir, ".kept"), ""))
	h.watch("", true)
	h.ok(os.Rename(h.at(".kept/f"), h.at("g")))
	h.tells("+g")
	h.ok(os.Rename(h.at("g"), h.at(".kept/f")))
	h.tells("-g")
	if strings.Contains(strings.Join(h.diary.Read(), " "), "kept") {
		t.Error("the folder was told of")
	}
}

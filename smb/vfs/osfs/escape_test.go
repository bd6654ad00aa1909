package osfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// TestSEC27SymlinkRace: someone on the NAS swaps a directory for a link out of the share, as fast as they can,
// while every operation that takes a name is tried through it. The control, which looks first and opens then, shows
// that the attack is one.
func TestSEC27SymlinkRace(t *testing.T) {
	base := memory(t)
	share, outside := filepath.Join(base, "share"), filepath.Join(base, "outside")
	for _, d := range []string{share, outside, filepath.Join(share, "d")} {
		check(t, os.Mkdir(d, 0o755))
	}
	for _, n := range []string{"secret", "victim", "victim dir"} {
		if strings.HasSuffix(n, "dir") {
			check(t, os.Mkdir(filepath.Join(outside, n), 0o755))
			continue
		}
		check(t, os.WriteFile(filepath.Join(outside, n), []byte("outside"), 0o644))
	}
	check(t, os.WriteFile(filepath.Join(share, "d", "secret"), []byte("inside"), 0o644))
	check(t, os.Symlink(outside, filepath.Join(share, "evil")))
	check(t, os.Symlink("../outside", filepath.Join(share, "evil2")))
	state := func() string {
		var b strings.Builder
		check(t, filepath.Walk(outside, func(path string, info os.FileInfo, err error) error {
			check(t, err)
			xattr := make([]byte, 256)
			n, _ := unix.Listxattr(path, xattr)
			fmt.Fprintln(&b, path, info.Size(), info.Mode(), info.ModTime().UnixNano(), n)
			return nil
		}))
		return b.String()
	}
	before := state()

	stop := make(chan struct{})
	var attacker sync.WaitGroup
	attacker.Go(func() {
		d, e := filepath.Join(share, "d"), [2]string{filepath.Join(share, "evil"), filepath.Join(share, "evil2")}
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			evil := e[i/2%2]
			unix.Renameat2(unix.AT_FDCWD, d, unix.AT_FDCWD, evil, unix.RENAME_EXCHANGE)
			unix.Renameat2(unix.AT_FDCWD, d, unix.AT_FDCWD, evil, unix.RENAME_EXCHANGE)
		}
	})

	v := volume(t, share)
	ctx := context.Background()
	all := dtyp.FileAll
	var tries, worked, escapes atomic.Int64
	path := func(n string) vfs.Path { return vfs.Path{Names: []string{"d", n}} }
	leaks := func(f vfs.File) {
		b := make([]byte, 16)
		if n, _ := f.ReadAt(b, 0); string(b[:n]) == "outside" {
			escapes.Add(1)
		}
	}
	open := func(p vfs.Path, how vfs.How) vfs.File {
		tries.Add(1)
		f, _, err := v.Open(ctx, p, how)
		if err != nil {
			return nil
		}
		worked.Add(1)
		return f
	}
	ops := []func(i int){
		func(int) { // open and stat
			if f := open(path("SECRET"), vfs.How{Access: all}); f != nil {
				leaks(f)
				if a, err := f.Attr(ctx, vfs.WantAll); err == nil && a.Size == int64(len("outside")) {
					escapes.Add(1)
				}
				f.Close()
			}
		},
		func(i int) { // create, write, unlink
			if f := open(path(fmt.Sprint("new", i)), vfs.How{Disposition: vfs.Create, Access: all, Attributes: vfs.AttrHidden}); f != nil {
				f.WriteAt([]byte("x"), 0)
				f.Unlink(ctx)
				f.Close()
			}
		},
		func(i int) { // mkdir, rmdir
			if f := open(path(fmt.Sprint("dir", i)), vfs.How{Disposition: vfs.Create, Directory: true, Access: all}); f != nil {
				f.Unlink(ctx)
				f.Close()
			}
		},
		func(i int) { // rename in, over, and away; link in
			if f := open(vfs.Path{Names: []string{fmt.Sprint("mine", i)}}, vfs.How{Disposition: vfs.OpenIf, Access: all}); f != nil {
				tries.Add(3)
				f.Rename(ctx, path("victim"), true)
				f.(vfs.Linker).Link(ctx, path(fmt.Sprint("link", i)), true)
				f.Rename(ctx, path(fmt.Sprint("mine", i)), true)
				f.Unlink(ctx)
				f.Close()
			}
		},
		func(int) { // delete what is there under both names
			for _, n := range []string{"victim", "victim dir"} {
				if f := open(path(n), vfs.How{Access: all}); f != nil {
					leaks(f)
					f.Unlink(ctx)
					f.Close()
				}
			}
		},
		func(int) { // list
			if f := open(vfs.Path{Names: []string{"D"}}, vfs.How{Access: all, Directory: true}); f != nil {
				f.ReadDir(ctx, 0, nil, vfs.WantAll, func(_ uint64, e vfs.Entry) bool {
					if e.Name == "victim dir" || e.Name == "secret" && e.Attr.Size == int64(len("outside")) {
						escapes.Add(1)
					}
					return true
				})
				f.Close()
			}
		},
		func(int) { // change through the link
			if f := open(path("secret"), vfs.How{Access: dtyp.WriteAttributes}); f != nil {
				f.SetAttr(ctx, vfs.Attr{Attributes: vfs.AttrSystem}, vfs.WantAttributes)
				f.Close()
			}
		},
	}
	until := time.Now().Add(2 * time.Second)
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := 0; time.Now().Before(until); i++ {
				ops[(i+w)%len(ops)](i*3 + w)
			}
		})
	}
	wg.Wait()

	control, looks := 0, 0
	for until := time.Now().Add(time.Second); time.Now().Before(until) && control < 10; looks++ {
		d := filepath.Join(share, "d")
		if st, err := os.Lstat(d); err != nil || !st.IsDir() {
			continue
		}
		if b, err := os.ReadFile(filepath.Join(d, "secret")); err == nil && string(b) == "outside" {
			control++
		}
	}
	close(stop)
	attacker.Wait()
	t.Logf("%d tries, %d worked, %d escapes; looking first and opening then: %d escapes of %d", tries.Load(), worked.Load(), escapes.Load(), control, looks)
	if n := escapes.Load(); n != 0 {
		t.Errorf("%d escapes", n)
	}
	if after := state(); after != before {
		t.Errorf("outside was\n%sand is\n%s", before, after)
	}
	if worked.Load() == 0 {
		t.Error("nothing ever worked: the test shows nothing")
	}
}

// TestSymlinks: links within the share lead on, links out of it lead nowhere, and what is done to a name is done to
// the link.
func TestSymlinks(t *testing.T) {
	base := t.TempDir()
	share := filepath.Join(base, "share")
	check(t, os.MkdirAll(filepath.Join(share, "dir"), 0o755))
	check(t, os.WriteFile(filepath.Join(base, "outside"), []byte("outside"), 0o644))
	check(t, os.WriteFile(filepath.Join(share, "dir", "file"), []byte("inside"), 0o644))
	for name, to := range map[string]string{
		"in": "dir/file", "indir": "dir", "dir/up": "../in", "out": "../outside", "abs": filepath.Join(base, "outside"),
		"absin": filepath.Join(share, "dir"), "nowhere": "nothing", "loop": "loop", "proc": "/proc/self/root", "magic": "/proc/self/cwd",
	} {
		check(t, os.Symlink(to, filepath.Join(share, name)))
	}
	ctx := context.Background()
	v := volume(t, share)
	path := func(n string) vfs.Path { return vfs.Path{Names: strings.Split(n, `\`)} }
	for _, n := range []string{"in", "IN", `indir\file`, `INDIR\FILE`, `dir\up`, `indir\UP`} {
		f := mustOpen(t, v, n, vfs.How{Access: dtyp.FileRead})
		b := make([]byte, 6)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "inside" {
			t.Errorf("%s: %q, %v", n, b, err)
		}
		if a, err := f.Attr(ctx, vfs.WantAll); err != nil || a.ReparseTag != 0 || a.Size != 6 {
			t.Errorf("%s: %+v, %v", n, a, err)
		}
		check(t, f.Close())
	}
	for n, want := range map[string]nt.Status{
		"out": nt.AccessDenied, "OUT": nt.AccessDenied, "abs": nt.AccessDenied, "absin": nt.AccessDenied, `absin\file`: nt.AccessDenied,
		"nowhere": nt.ObjectNameNotFound, "loop": nt.AccessDenied, "proc": nt.AccessDenied, `proc\etc\passwd`: nt.AccessDenied, `magic\x`: nt.AccessDenied,
	} {
		for _, acc := range []dtyp.Access{dtyp.FileRead, dtyp.FileAll, dtyp.ReadAttributes} {
			if _, _, err := v.Open(ctx, path(n), vfs.How{Access: acc}); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", n, err, want)
			}
		}
	}
	for _, n := range []string{"nowhere", "out"} {
		if _, _, err := v.Open(ctx, path(n), vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll}); !errors.Is(err, nt.ObjectNameCollision) {
			t.Errorf("made %s: %v", n, err)
		}
		if _, _, err := v.Open(ctx, path(n), vfs.How{Disposition: vfs.OpenIf, Access: dtyp.FileAll}); !errors.Is(err, nt.AccessDenied) {
			t.Errorf("opened or made %s: %v", n, err)
		}
	}
	// A listing shows what opening would give.
	root, _, err := v.Open(ctx, vfs.Path{}, vfs.How{Access: dtyp.FileRead})
	check(t, err)
	defer root.Close()
	seen := map[string]vfs.Attr{}
	check(t, root.ReadDir(ctx, 0, nil, vfs.WantAll, func(_ uint64, e vfs.Entry) bool { seen[e.Name] = e.Attr; return true }))
	if a := seen["in"]; a.Size != 6 || a.ReparseTag != 0 || a.ID == seen["nowhere"].ID {
		t.Errorf("in: %+v", a)
	}
	if a := seen["indir"]; !a.Dir() || a.ID != seen["dir"].ID {
		t.Errorf("indir: %+v", a)
	}
	for _, n := range []string{"out", "abs", "nowhere", "loop", "proc"} {
		if a := seen[n]; a.ReparseTag != vfs.TagSymlink || a.Attributes != vfs.AttrReparsePoint || a.Size != 0 {
			t.Errorf("%s: %+v", n, a)
		}
	}
	// The name is the link's.
	f := mustOpen(t, v, "in", vfs.How{Access: dtyp.FileAll})
	if p, err := f.Path(ctx); err != nil || p.String() != "in" {
		t.Errorf("path %q, %v", p, err)
	}
	check(t, f.Rename(ctx, path("In2"), false))
	check(t, f.Unlink(ctx))
	check(t, f.Close())
	if _, err := os.Lstat(filepath.Join(share, "In2")); !os.IsNotExist(err) {
		t.Errorf("the link is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(share, "dir", "file")); err != nil {
		t.Errorf("removing the link removed what it led to: %v", err)
	}
	d := mustOpen(t, v, "indir", vfs.How{Access: dtyp.FileAll, Directory: true})
	check(t, d.Unlink(ctx)) // not empty, but only the link goes
	check(t, d.Close())
	for _, n := range []string{"out", "nowhere", "loop"} {
		l := mustOpen(t, v, n, vfs.How{Access: dtyp.FileAll, Reparse: true})
		if a, err := l.Attr(ctx, vfs.WantAll); err != nil || a.ReparseTag != vfs.TagSymlink {
			t.Errorf("%s itself: %+v, %v", n, a, err)
		}
		if _, err := l.ReadAt(make([]byte, 1), 0); err == nil {
			t.Errorf("read %s itself", n)
		}
		check(t, l.SetAttr(ctx, vfs.Attr{Attributes: vfs.AttrHidden}, vfs.WantAttributes))
		check(t, l.Unlink(ctx))
		check(t, l.Close())
	}
	if b, err := os.ReadFile(filepath.Join(base, "outside")); err != nil || string(b) != "outside" {
		t.Errorf("outside: %q, %v", b, err)
	}

	strict := volume(t, share, WithoutSymlinks())
	check(t, os.Symlink("dir", filepath.Join(share, "again")))
	for _, n := range []string{"again", `again\file`, `AGAIN\file`} {
		if _, _, err := strict.Open(ctx, path(n), vfs.How{Access: dtyp.FileRead}); !errors.Is(err, nt.AccessDenied) {
			t.Errorf("without links, %s: %v", n, err)
		}
	}
}

// TestSpecialFiles: pipes, sockets and devices are seen and can be removed, but never waited on or read.
func TestSpecialFiles(t *testing.T) {
	dir := t.TempDir()
	check(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	names := []string{"pipe"}
	if unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) == nil {
		names = append(names, "null")
	}
	if unix.Mknod(filepath.Join(dir, "socket"), unix.S_IFSOCK|0o666, 0) == nil {
		names = append(names, "socket")
	}
	v := volume(t, dir)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, n := range names {
		for _, acc := range []dtyp.Access{dtyp.FileRead, dtyp.WriteData, dtyp.FileAll} {
			if _, _, err := v.Open(ctx, vfs.Path{Names: []string{n}}, vfs.How{Access: acc}); !errors.Is(err, nt.AccessDenied) {
				t.Errorf("%s opened for %#x: %v", n, uint32(acc), err)
			}
		}
		f := mustOpen(t, v, n, vfs.How{Access: dtyp.ReadAttributes | dtyp.Delete})
		if a, err := f.Attr(ctx, vfs.WantAll); err != nil || a.Size != 0 || a.Dir() {
			t.Errorf("%s: %+v, %v", n, a, err)
		}
		if _, err := f.ReadAt(make([]byte, 1), 0); err == nil {
			t.Errorf("read %s", n)
		}
		if err := f.SetAttr(ctx, vfs.Attr{}, vfs.WantSize); err == nil {
			t.Errorf("truncated %s", n)
		}
		if err := f.Overwrite(ctx, 0); err == nil {
			t.Errorf("overwrote %s", n)
		}
		if f.OSFile() != nil {
			t.Errorf("%s gives its descriptor away", n)
		}
		check(t, f.Sync(ctx))
		check(t, f.Unlink(ctx))
		check(t, f.Close())
	}
}

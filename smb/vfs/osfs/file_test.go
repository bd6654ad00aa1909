package osfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(all)
}

// TestLeaks: no way through the Volume, also none that ends in an error, keeps a descriptor.
func TestLeaks(t *testing.T) {
	dir := t.TempDir()
	check(t, os.MkdirAll(filepath.Join(dir, "dir", "sub"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o644))
	check(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	for name, to := range map[string]string{"in": "file", "out": "/", "nowhere": "nothing", "indir": "dir"} {
		check(t, os.Symlink(to, filepath.Join(dir, name)))
	}
	long := strings.Repeat("n", 255)
	round := func() {
		v, err := New(dir)
		check(t, err)
		ctx := context.Background()
		for _, name := range []string{
			"", "file", "FILE", `dir\sub`, `DIR\SUB`, "pipe", "in", "out", "nowhere", "indir", `indir\sub`, `file\x`, "missing", `no\path`,
			`dir\new`, `DIR\new`, "a:b", "new", "NEW", strings.Repeat(long+`\`, 40) + "x", strings.Repeat("\u4e2d", 255), `DIR\` + strings.Repeat("\u4e2d", 255),
		} {
			var p vfs.Path
			if name != "" {
				p.Names = strings.Split(name, `\`)
			}
			for how := range 3 * 2 * 2 * 2 * 3 {
				h := vfs.How{Disposition: vfs.Disposition(how % 3), Directory: how/3%2 == 1, NonDirectory: how/6%2 == 1, Reparse: how/12%2 == 1}
				h.Access = [...]dtyp.Access{dtyp.FileRead, dtyp.FileAll, dtyp.ReadAttributes}[how/24%3]
				f, action, err := v.Open(ctx, p, h)
				if err != nil {
					continue
				}
				f.ReadDir(ctx, 0, nil, vfs.WantAll, func(uint64, vfs.Entry) bool { return false })
				f.ReadDir(ctx, 1<<62, nil, vfs.WantAll, func(uint64, vfs.Entry) bool { return true })
				f.Path(ctx)
				f.Sync(ctx)
				f.SetAttr(ctx, vfs.Attr{Size: 1}, vfs.WantSize|vfs.WantAlloc)
				f.Rename(ctx, vfs.Path{Names: []string{"file"}}, false)
				f.Rename(ctx, vfs.Path{Names: []string{"no", "path"}}, false)
				f.(vfs.Linker).Link(ctx, vfs.Path{Names: []string{"file"}}, false)
				f.(vfs.Linker).Link(ctx, vfs.Path{Names: []string{"dir"}}, true)
				f.(vfs.OSFile).OSFile()
				if action == vfs.Created {
					f.Unlink(ctx)
				}
				f.Close()
			}
		}
		check(t, v.Close())
	}
	round()
	before := descriptors(t)
	round()
	if after := descriptors(t); after != before {
		t.Fatalf("%d descriptors before, %d after", before, after)
	}
	if _, err := New(filepath.Join(dir, "missing")); err == nil {
		t.Fatal("a Volume over nothing")
	}
	if _, err := New(filepath.Join(dir, "file")); err == nil {
		t.Fatal("a Volume over a file")
	}
}

// TestSyncFailure: after one fsync has failed, the next one's success means nothing.
func TestSyncFailure(t *testing.T) {
	v := volume(t, t.TempDir())
	ctx := context.Background()
	f := mustOpen(t, v, "f", vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll})
	defer f.Close()
	fd := f.fd
	f.fd = 1 << 20 // no descriptor: fsync fails
	if err := f.Sync(ctx); !errors.Is(err, unix.EBADF) {
		t.Fatal(err)
	}
	f.fd = fd
	if err := f.Sync(ctx); !errors.Is(err, unix.EBADF) {
		t.Fatalf("the failure is forgotten: %v", err)
	}
	g := mustOpen(t, v, "f", vfs.How{Access: dtyp.FileAll})
	defer g.Close()
	check(t, g.Sync(ctx))
}

// TestSyncName: a new name is made durable by the next Sync, or write-through, and then no more.
func TestSyncName(t *testing.T) {
	v := volume(t, t.TempDir())
	ctx := context.Background()
	f := mustOpen(t, v, "f", vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll})
	defer f.Close()
	steps := []struct {
		what string
		do   func() error
		due  bool
	}{
		{"creating", func() error { return nil }, true},
		{"writing", func() error { _, err := f.WriteAt([]byte("x"), 0); return err }, true},
		{"Sync", func() error { return f.Sync(ctx) }, false},
		{"writing again", func() error { _, err := f.WriteAt([]byte("x"), 0); return err }, false},
		{"renaming", func() error { return f.Rename(ctx, vfs.Path{Names: []string{"g"}}, false) }, true},
		{"Sync again", func() error { return f.Sync(ctx) }, false},
	}
	for _, s := range steps {
		check(t, s.do())
		if f.nameless.Load() != s.due {
			t.Errorf("after %s: name due for fsync: %v", s.what, !s.due)
		}
	}
	g := mustOpen(t, v, "through", vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll, WriteThrough: true})
	defer g.Close()
	if flags, err := unix.FcntlInt(uintptr(g.fd), unix.F_GETFL, 0); err != nil || flags&unix.O_DSYNC == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	if _, err := g.WriteAt([]byte("x"), 0); err != nil || g.nameless.Load() {
		t.Errorf("the name of what was written through is not durable (%v)", err)
	}
}

// TestOthersRename: the Volume's Files follow what is renamed beneath it, and leave alone what took a name.
func TestOthersRename(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "share")
	check(t, os.Mkdir(dir, 0o755))
	v := volume(t, dir)
	ctx := context.Background()
	at := func(n string) string { return filepath.Join(dir, n) }
	check(t, os.WriteFile(at("x"), []byte("mine"), 0o644))
	f := mustOpen(t, v, "x", vfs.How{Access: dtyp.FileAll})
	defer f.Close()
	check(t, os.Mkdir(at("d"), 0o755))
	check(t, os.Rename(at("x"), at("d/y")))
	check(t, os.WriteFile(at("x"), []byte("theirs"), 0o644))
	if p, err := f.Path(ctx); err != nil || p.String() != `d\y` {
		t.Fatalf("is at %q, %v", p, err)
	}
	check(t, os.Rename(at("d"), at("e")))
	check(t, f.Rename(ctx, vfs.Path{Names: []string{"z"}}, false))
	check(t, f.Unlink(ctx))
	if b, err := os.ReadFile(at("x")); err != nil || string(b) != "theirs" {
		t.Fatalf("%q, %v", b, err)
	}

	// Out of the share is out of reach.
	g := mustOpen(t, v, "x", vfs.How{Access: dtyp.FileAll})
	defer g.Close()
	check(t, os.Rename(at("x"), filepath.Join(base, "away")))
	check(t, os.WriteFile(at("x"), []byte("new"), 0o644))
	for what, err := range map[string]error{
		"unlink": g.Unlink(ctx), "rename": g.Rename(ctx, vfs.Path{Names: []string{"back"}}, true),
	} {
		if !errors.Is(err, nt.FileDeleted) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := os.Stat(filepath.Join(base, "away")); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(at("x")); err != nil || string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
	// The share itself may be renamed.
	h := mustOpen(t, v, "x", vfs.How{Access: dtyp.FileAll})
	defer h.Close()
	check(t, os.Rename(dir, filepath.Join(base, "moved")))
	check(t, h.Rename(ctx, vfs.Path{Names: []string{"y"}}, false))
	if _, err := os.Stat(filepath.Join(base, "moved", "y")); err != nil {
		t.Error(err)
	}
}

// TestListingReads: a listing taken one entry at a time asks the kernel no more often than one taken at once.
func TestListingReads(t *testing.T) {
	const n = 20_000
	dir := memory(t)
	fill(t, dir, n)
	v := volume(t, dir)
	f, _, err := v.Open(context.Background(), vfs.Path{}, vfs.How{Access: dtyp.FileRead})
	check(t, err)
	defer f.Close()
	count, cookie := 0, uint64(0)
	for more := true; more; {
		more = false
		check(t, f.ReadDir(context.Background(), cookie, nil, 0, func(next uint64, e vfs.Entry) bool {
			if more {
				return false
			}
			more, cookie = true, next
			count++
			return true
		}))
	}
	if s := v.Stats(); count != n+2 || s.DirReads > 40 {
		t.Fatalf("%d entries, %+v", count, s)
	}
}

func TestOSFile(t *testing.T) {
	v := volume(t, t.TempDir())
	f := mustOpen(t, v, "f", vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll})
	if _, err := f.WriteAt([]byte("contents"), 0); err != nil {
		t.Fatal(err)
	}
	o := f.OSFile()
	if b, err := io.ReadAll(io.NewSectionReader(o, 0, 100)); err != nil || string(b) != "contents" || f.OSFile() != o {
		t.Fatalf("%q, %v", b, err)
	}
	check(t, f.Close())
	if _, err := o.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("outlives its File: %v", err)
	}
	if f.OSFile() != nil {
		t.Fatal("given away after Close")
	}
}

func TestIOAllocations(t *testing.T) {
	v := volume(t, t.TempDir())
	f := mustOpen(t, v, "f", vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll})
	defer f.Close()
	b := make([]byte, 4096)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a write and a read", n)
	}
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	v := volume(t, dir, WithLabel("Disk"))
	var st unix.Statfs_t
	check(t, unix.Statfs(dir, &st))
	total, free, err := v.Usage(context.Background())
	if err != nil || total != int64(st.Blocks)*st.Bsize || free > int64(st.Bfree)*st.Bsize {
		t.Fatalf("%d, %d, %v; %+v", total, free, err, st)
	}
	label, serial := v.Label()
	if label != "Disk" || serial == 0 {
		t.Fatalf("%q %08x", label, serial)
	}
	if _, again := volume(t, dir).Label(); again != serial {
		t.Fatalf("serial %08x, then %08x", serial, again)
	}
}

func TestDirent(t *testing.T) {
	good := []byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x18\x00\x08abc\x00\x00")
	e, rest, err := nextDirent(good)
	if err != nil || e.off != 2 || e.kind != 8 || string(e.name) != "abc" || len(rest) != 0 {
		t.Fatalf("%+v, %d left, %v", e, len(rest), err)
	}
	for n := range good {
		if _, _, err := nextDirent(good[:n]); err == nil {
			t.Errorf("cut at %d: no error", n)
		}
	}
}

func FuzzDirent(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x18\x00\x08abc\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			e, rest, err := nextDirent(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) || len(e.name) > len(b) {
				t.Fatal("no progress")
			}
			b = rest
		}
	})
}

// TestTimes converts at the ends of what the two sides can say.
func TestTimes(t *testing.T) {
	for _, c := range []struct {
		unix unix.StatxTimestamp
		want dtyp.Filetime
	}{
		{unix.StatxTimestamp{}, 116444736000000000},
		{unix.StatxTimestamp{Sec: 1, Nsec: 199}, 116444736010000001},
		{unix.StatxTimestamp{Sec: -1, Nsec: 999_999_900}, 116444735999999999},
		{unix.StatxTimestamp{Sec: -epochDelta}, 0},
		{unix.StatxTimestamp{Sec: -epochDelta - 1}, 0},
		{unix.StatxTimestamp{Sec: -1 << 63}, 0},
		{unix.StatxTimestamp{Sec: 1<<63 - 1}, 1<<63 - 1},
	} {
		if got := filetime(c.unix); got != c.want {
			t.Errorf("%+v: %d, want %d", c.unix, got, c.want)
		}
	}
	for _, n := range []dtyp.Filetime{1, 7, 116444735999999999, 116444736000000000, 133444736001234567, 1<<63 - 1} {
		ts := timespec(n)
		if got := filetime(unix.StatxTimestamp{Sec: ts.Sec, Nsec: uint32(ts.Nsec)}); got != n {
			t.Errorf("%d came back as %d by %+v", n, got, ts)
		}
	}
}

// A file takes on disk what was written to it and reserved for it, whatever the filesystem keeps its xattrs in.
func TestAllocationWithoutXattrs(t *testing.T) {
	v := volume(t, t.TempDir())
	for _, c := range []struct{ reserved, written, want int64 }{{0, 0, 0}, {1 << 20, 0, 1 << 20}, {0, 4096, 4096}, {4096, 4097, 8192}} {
		f, _, err := v.Open(t.Context(), vfs.Path{Names: []string{fmt.Sprint(c)}}, vfs.How{
			Disposition: vfs.Create, Access: dtyp.FileAll, Attributes: vfs.AttrArchive,
			Admit: func([]byte) ([]byte, error) { return hextext.Bytes(sdPlain), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if c.reserved > 0 {
			if err := f.SetAttr(t.Context(), vfs.Attr{Alloc: c.reserved}, vfs.WantAlloc); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.WriteAt(make([]byte, c.written), 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(t.Context()); err != nil { // until then some filesystems do not know
			t.Fatal(err)
		}
		a, err := f.Attr(t.Context(), vfs.WantAll)
		if err != nil || a.Alloc != c.want {
			t.Errorf("%+v: %d, %v", c, a.Alloc, err)
		}
	}
}

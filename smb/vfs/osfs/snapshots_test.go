package osfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// tree makes files, and directories for names that end with a slash.
func makeTree(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, contents := range files {
		path := filepath.Join(root, name)
		if strings.HasSuffix(name, "/") {
			path = filepath.Join(path, "x")
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			continue
		}
		if err := os.WriteFile(path, []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func wire(s string) vfs.Path {
	if s == "" {
		return vfs.Path{}
	}
	return vfs.Path{Names: strings.Split(s, `\`)}
}

func TestSnapshotTime(t *testing.T) {
	want := time.Date(2026, 1, 31, 12, 30, 59, 0, time.UTC).Unix()
	for _, name := range []string{
		"@GMT-2026.01.31-12.30.59", "2026-01-31T12:30:59Z", "2026-01-31T12-30-59Z", "2026-01-31_12-30-59", "2026-01-31-12-30-59",
		"2026-01-31-123059", "20260131T123059Z", "20260131-123059",
	} {
		if at, ok := snapshotTime(name); !ok || at != want {
			t.Errorf("%s: %d, %v; want %d", name, at, ok, want)
		}
	}
	for _, name := range []string{
		"", "@GMT-2026.01.31", "@GMT-2026.13.31-12.30.59", "2026-02-30_12-30-59", "@GMT-2026.01.31-12.30.59x", "x@GMT-2026.01.31-12.30.59",
		"@GMT-1601.01.01-00.00.00", "latest",
	} {
		if at, ok := snapshotTime(name); ok {
			t.Errorf("%s: %d", name, at)
		}
	}
}

func TestSnapshots(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, map[string]string{
		"kept/@GMT-2024.05.06-07.08.09/photos/f": "old", "kept/2025-05-06_07-08-09/photos/f": "newer", "kept/2023-01-01_00-00-00/": "",
		"kept/latest/photos/f": "no", "kept/2022-01-01_00-00-00": "a file", "photos/f": "now", "photos/sub/": "",
	})
	v := volume(t, filepath.Join(dir, "photos"), WithSnapshots(filepath.Join(dir, "kept"), "photos"))
	ctx := context.Background()
	times, err := v.Snapshots(ctx)
	if err != nil {
		t.Fatal(err)
	}
	old, newer := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC), time.Date(2025, 5, 6, 7, 8, 9, 0, time.UTC)
	first := time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)
	if !slices.Equal(times, []time.Time{newer, old, first}) {
		t.Fatal(times)
	}
	for _, at := range []time.Time{first, old.Add(time.Second), {}} {
		if _, _, err := v.At(ctx, at); !errors.Is(err, nt.ObjectNameNotFound) {
			t.Errorf("%v: %v", at, err)
		}
	}
	contents := func(v vfs.Volume) (string, vfs.ID) {
		t.Helper()
		f, _, err := v.Open(ctx, wire("F"), vfs.How{Access: dtyp.FileRead | dtyp.FileWrite, NonDirectory: true})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var b [10]byte
		n, _ := f.ReadAt(b[:], 0)
		a, err := f.Attr(ctx, vfs.WantID)
		if err != nil || a.ID != f.ID() {
			t.Errorf("%v, %v is not %v", err, a.ID, f.ID())
		}
		return string(b[:n]), f.ID()
	}
	seen := map[vfs.ID]bool{}
	for at, want := range map[time.Time]string{old: "old", newer.Add(time.Millisecond): "newer"} {
		past, done, err := v.At(ctx, at)
		if err != nil {
			t.Fatal(err)
		}
		got, id := contents(past)
		if got != want || seen[id] {
			t.Errorf("%v: %q, id %v", at, got, id)
		}
		seen[id] = true
		done()
	}
	// A hard link to the present is another object there.
	os.Remove(filepath.Join(dir, "kept/@GMT-2024.05.06-07.08.09/photos/f"))
	if err := os.Link(filepath.Join(dir, "photos/f"), filepath.Join(dir, "kept/@GMT-2024.05.06-07.08.09/photos/f")); err != nil {
		t.Fatal(err)
	}
	past, done, err := v.At(ctx, old)
	if err != nil {
		t.Fatal(err)
	}
	_, is := contents(v)
	_, was := contents(past)
	if is == was || is.Object == was.Object {
		t.Errorf("%v now and then", is)
	}
	root, _, err := past.Open(ctx, vfs.Path{}, vfs.How{Access: dtyp.FileRead, Directory: true})
	if err != nil {
		t.Fatal(err)
	}
	root.ReadDir(ctx, 0, func(s string) bool { return s == "f" }, vfs.WantAll, func(_ uint64, e vfs.Entry) bool {
		if e.Attr.ID != was {
			t.Errorf("listed as %v, opened as %v", e.Attr.ID, was)
		}
		return true
	})
	root.Close()
	done()
	// What is deleted is gone at once, also if it was open.
	if err := os.RemoveAll(filepath.Join(dir, "kept/@GMT-2024.05.06-07.08.09")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.At(ctx, old); !errors.Is(err, nt.ObjectNameNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

// Nothing changes the past, whatever it was opened for.
func TestSnapshotReadOnly(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, map[string]string{"kept/2025-05-06_07-08-09/f": "contents", "kept/2025-05-06_07-08-09/sub/": "", "now/f": "x"})
	v := volume(t, filepath.Join(dir, "now"), WithSnapshots(filepath.Join(dir, "kept"), ""))
	ctx := context.Background()
	past, done, err := v.At(ctx, time.Date(2025, 5, 6, 7, 8, 9, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	open := func(v vfs.Volume, name string, how vfs.How) (*File, error) {
		f, _, err := v.Open(ctx, wire(name), how)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { f.Close() })
		return f.(*File), nil
	}
	everything := vfs.How{Access: dtyp.FileAll, WriteThrough: true}
	f, err := open(past, "f", everything)
	if err != nil {
		t.Fatal(err)
	}
	live, err := open(v, "f", everything)
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"write":      func() error { _, err := f.WriteAt([]byte("y"), 0); return err },
		"size":       func() error { return f.SetAttr(ctx, vfs.Attr{Size: 1}, vfs.WantSize) },
		"attributes": func() error { return f.SetAttr(ctx, vfs.Attr{Attributes: vfs.AttrHidden}, vfs.WantAttributes) },
		"overwrite":  func() error { return f.Overwrite(ctx, 0) },
		"rename":     func() error { return f.Rename(ctx, wire("g"), true) },
		"link":       func() error { return f.Link(ctx, wire("g"), false) },
		"unlink":     func() error { return f.Unlink(ctx) },
		"copy":       func() error { _, err := live.CopyRange(ctx, f, 0, 0, 1); return err },
		"share":      func() error { return f.ShareRange(ctx, f, 0, 0, 1) },
		"zero":       func() error { return f.Zero(ctx, 0, 1) },
		"sparse":     func() error { return f.SetSparse(ctx, true) },
		"security":   func() error { return f.SetSecurityDescriptor(ctx, []byte{1}) },
		"create":     func() error { _, err := open(past, "new", vfs.How{Disposition: vfs.Create}); return err },
		"open if":    func() error { _, err := open(past, "new", vfs.How{Disposition: vfs.OpenIf}); return err },
		"mkdir": func() error {
			_, err := open(past, "new", vfs.How{Disposition: vfs.Create, Directory: true})
			return err
		},
	} {
		if err := do(); !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := open(past, "f", vfs.How{Disposition: vfs.Create}); !errors.Is(err, nt.ObjectNameCollision) {
		t.Errorf("create what is there: %v", err)
	}
	if _, err := open(past, "f", vfs.How{Disposition: vfs.OpenIf, Access: dtyp.FileAll}); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "kept/2025-05-06_07-08-09/f")); string(b) != "contents" {
		t.Errorf("%q, %v", b, err)
	}
	if err := f.Sync(ctx); err != nil {
		t.Errorf("flush: %v", err)
	}
	// It can be copied from, into the present.
	if n, err := f.CopyRange(ctx, live, 0, 0, 8); n != 8 && !errors.Is(err, nt.NotSupported) {
		t.Errorf("copied %d: %v", n, err)
	}
}

// SEC-27: the folder of snapshots beneath a share is not there, by whatever way.
func TestSEC27SnapshotsHidden(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, map[string]string{"sub/.snapshots/2025-05-06_07-08-09/f": "secret", "f": "x", "sub/g": ""})
	for link, to := range map[string]string{"a": "sub/.snapshots", "b": "sub/.snapshots/2025-05-06_07-08-09/f", "c": "sub", "sub/e": ".snapshots/2025-05-06_07-08-09"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	v := volume(t, dir, WithSnapshots(filepath.Join(dir, "sub/.snapshots"), "sub"))
	ctx := context.Background()
	const snap = `\2025-05-06_07-08-09`
	for _, name := range []string{
		`sub\.snapshots`, `SUB\.Snapshots`, `sub\.snapshots` + snap, `sub\.snapshots` + snap + `\f`, "a", `a` + snap + `\f`, "b", `c\.snapshots`,
		`c\.SNAPSHOTS` + snap, `sub\e`, `sub\e\f`, `c\e\f`, `sub\.snapshots\new`, `a\new`,
	} {
		for _, how := range []vfs.How{{}, {Access: dtyp.FileAll, Disposition: vfs.OpenIf}, {Disposition: vfs.OpenIf, Directory: true}, {Disposition: vfs.Create}} {
			if f, _, err := v.Open(ctx, wire(name), how); err == nil {
				t.Errorf("%s: opened with %+v", name, how)
				f.Close()
			}
		}
		f, _, err := v.Open(ctx, wire("f"), vfs.How{Access: dtyp.FileAll})
		if err != nil {
			t.Fatal(err)
		}
		if name != "a" && name != "b" && name != `sub\e` { // these are links: their names may be had
			if f.Rename(ctx, wire(name), true) == nil || f.(vfs.Linker).Link(ctx, wire(name), true) == nil {
				t.Errorf("%s: a file was given that name", name)
			}
		}
		f.Close()
	}
	if _, err := os.Stat(filepath.Join(dir, "sub/.snapshots/2025-05-06_07-08-09/f")); err != nil {
		t.Error(err)
	}
	sub, _, err := v.Open(ctx, wire("sub"), vfs.How{Access: dtyp.FileRead, Directory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	var names []string
	sub.ReadDir(ctx, 0, nil, vfs.WantAll, func(_ uint64, e vfs.Entry) bool { names = append(names, e.Name); return true })
	if slices.Sort(names); !slices.Equal(names, []string{".", "..", "e", "g"}) {
		t.Errorf("listed: %q", names)
	}
	if _, err := New(dir, WithSnapshots(dir, "")); err == nil {
		t.Error("a share that is its own snapshots")
	}
}

// Snapshots that nobody uses are closed but for a few.
func TestIdleSnapshots(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"now/": ""}
	var times []time.Time
	for i := range 3 * maxIdlePasts {
		at := time.Date(2025, 1, 1+i, 0, 0, 0, 0, time.UTC)
		files["kept/"+at.Format(snapshotNames[0])+"/f"] = fmt.Sprint(i)
		times = append(times, at)
	}
	makeTree(t, dir, files)
	v := volume(t, filepath.Join(dir, "now"), WithSnapshots(filepath.Join(dir, "kept"), ""))
	ctx := context.Background()
	var give []func()
	for _, at := range append(times, times...) {
		_, done, err := v.At(ctx, at)
		if err != nil {
			t.Fatal(err)
		}
		give = append(give, done)
	}
	if n := len(v.pasts.open); n != len(times) {
		t.Errorf("%d of %d are open", n, len(times))
	}
	for _, done := range give {
		done()
	}
	if n := len(v.pasts.open); n != maxIdlePasts {
		t.Errorf("%d stay open; want %d", n, maxIdlePasts)
	}
}

// A read-only btrfs snapshot is known by when it was made; a writable one is a folder like others.
func TestBtrfsSnapshots(t *testing.T) {
	base, err := os.MkdirTemp(btrfs(t), "snap")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	// struct btrfs_ioctl_vol_args and btrfs_ioctl_vol_args_v2 of linux/btrfs.h, 4096 bytes each.
	control := func(code uintptr, fd int, flags uint64, nameAt int, name string) {
		t.Helper()
		var args [4096]byte
		*(*int64)(unsafe.Pointer(&args[0])) = int64(fd)
		if nameAt > 8 {
			*(*uint64)(unsafe.Pointer(&args[16])) = flags
		}
		copy(args[nameAt:], name)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), code, uintptr(unsafe.Pointer(&args))); errno != 0 {
			t.Skipf("btrfs ioctl %#x: %v", code, errno)
		}
	}
	const subvolCreate, snapCreate, subvolDestroy, readOnly = 0x5000940E, 0x50009417, 0x5000940F, 1 << 1
	before := time.Now().Add(-time.Second)
	control(subvolCreate, 0, 0, 8, "data")
	defer func() {
		for _, name := range []string{"any name", "writable", "data"} {
			control(subvolDestroy, 0, 0, 8, name)
		}
		os.Remove(base)
	}()
	makeTree(t, base, map[string]string{"data/f": "then"})
	data, err := os.Open(filepath.Join(base, "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	control(snapCreate, int(data.Fd()), readOnly, 56, "any name")
	control(snapCreate, int(data.Fd()), 0, 56, "writable")
	makeTree(t, base, map[string]string{"data/f": "now"})
	v := volume(t, filepath.Join(base, "data"), WithSnapshots(base, ""))
	ctx := context.Background()
	times, err := v.Snapshots(ctx)
	if err != nil || len(times) != 1 || times[0].Before(before) || times[0].After(time.Now()) {
		t.Fatalf("%v, %v", times, err)
	}
	past, done, err := v.At(ctx, times[0])
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	read := func(v vfs.Volume) (string, vfs.ID) {
		f, _, err := v.Open(ctx, wire("f"), vfs.How{Access: dtyp.FileRead})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var b [10]byte
		n, _ := f.ReadAt(b[:], 0)
		return string(b[:n]), f.ID()
	}
	then, wasID := read(past)
	now, isID := read(v)
	if then != "then" || now != "now" || wasID.Object == isID.Object {
		t.Errorf("%q %v then, %q %v now", then, wasID, now, isID)
	}
}

package osfs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// memory is a directory for tests about many names: on a tmpfs where there is one, because it is not the disk that
// they are about.
func memory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "osfs")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// stored returns the name on disk of what a client calls name, or "".
func stored(t testing.TB, v *Volume, name string) string {
	t.Helper()
	f, _, err := v.Open(context.Background(), vfs.Path{Names: strings.Split(name, `\`)}, vfs.How{Access: dtyp.ReadAttributes})
	if errors.Is(err, nt.ObjectNameNotFound) {
		return ""
	}
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	defer f.Close()
	p, err := f.Path(context.Background())
	if err != nil {
		t.Fatalf("path of %s: %v", name, err)
	}
	return p.Base()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestIndexScans: a directory of 100,000 is read once, whatever is then asked, made, renamed and removed in it.
func TestIndexScans(t *testing.T) {
	dir := memory(t)
	fill(t, dir, 100_000)
	v := volume(t, dir)
	if v.index.tap == nil { // without, each new name costs a scan: hours
		t.Skip("skipped: no inotify instance to be had; a user has fs.inotify.max_user_instances of them, for all processes together")
	}
	ctx := context.Background()
	for i := range 10_000 {
		if got, want := stored(t, v, fmt.Sprintf("FILE NUMBER %d", i*7)), fmt.Sprintf("File number %d", i*7); got != want {
			t.Fatalf("found %q, want %q", got, want)
		}
	}
	for i := range 10_000 {
		f := mustOpen(t, v, fmt.Sprintf("New %d", i), vfs.How{Disposition: vfs.Create, Access: dtyp.FileWrite})
		switch i % 3 {
		case 0:
			check(t, f.Rename(ctx, vfs.Path{Names: []string{fmt.Sprintf("Moved %d", i)}}, false))
		case 1:
			check(t, f.Unlink(ctx))
		}
		check(t, f.Close())
	}
	for i := range 3000 {
		want := [...]string{fmt.Sprintf("Moved %d", i), "", fmt.Sprintf("New %d", i)}[i%3]
		got := stored(t, v, fmt.Sprintf("NEW %d", i))
		if i%3 == 0 {
			got = stored(t, v, fmt.Sprintf("MOVED %d", i))
		}
		if got != want {
			t.Fatalf("%d is %q, want %q", i, got, want)
		}
	}
	s := v.Stats()
	t.Logf("%+v", s)
	if s.IndexScans != 1 || s.Names != 100_000+6_667 || s.Dirs != 1 {
		t.Errorf("%+v; want one scan", s)
	}
}

// TestIndexOthers: what others do beneath the Volume is seen at once.
func TestIndexOthers(t *testing.T) {
	for name, opts := range map[string][]Option{
		"inotify": nil,
		"stamps":  {func(c *config) { c.noInotify = true }},
		"tiny":    {WithIndex(1, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			v := volume(t, dir, opts...)
			at := func(n string) string { return filepath.Join(dir, n) }
			for i := range 20 {
				if got := stored(t, v, "NAME"); got != "" {
					t.Fatalf("round %d: %q is there before it is made", i, got)
				}
				check(t, os.WriteFile(at("name"), nil, 0o644))
				if got := stored(t, v, "NAME"); got != "name" {
					t.Fatalf("round %d: a new file is not found", i)
				}
				check(t, os.Rename(at("name"), at("Other")))
				if a, b := stored(t, v, "NAME"), stored(t, v, "OTHER"); a != "" || b != "Other" {
					t.Fatalf("round %d: after a rename %q and %q", i, a, b)
				}
				check(t, os.Mkdir(at("Sub"), 0o755))
				check(t, os.Rename(at("Other"), at("Sub/Inner")))
				if a, b := stored(t, v, "OTHER"), stored(t, v, `SUB\INNER`); a != "" || b != "Inner" {
					t.Fatalf("round %d: moved between directories: %q and %q", i, a, b)
				}
				check(t, os.Rename(at("Sub"), at("sUB")))
				if got := stored(t, v, `SUB\INNER`); got != "Inner" {
					t.Fatalf("round %d: in a renamed directory %q", i, got)
				}
				check(t, os.RemoveAll(at("sUB")))
				_, _, err := v.Open(context.Background(), vfs.Path{Names: []string{"SUB", "INNER"}}, vfs.How{})
				if !errors.Is(err, nt.ObjectPathNotFound) {
					t.Fatalf("round %d: in a removed directory: %v", i, err)
				}
			}
		})
	}
}

// TestIndexMeanwhile changes a directory after it was read and before the reading counts.
func TestIndexMeanwhile(t *testing.T) {
	dir := t.TempDir()
	at := func(n string) string { return filepath.Join(dir, n) }
	for _, n := range []string{"Removed", "Before"} {
		check(t, os.WriteFile(at(n), nil, 0o644))
	}
	once := sync.OnceFunc(func() {
		check(t, os.WriteFile(at("Made"), nil, 0o644))
		check(t, os.WriteFile(at("Passing"), nil, 0o644))
		check(t, os.Remove(at("Passing")))
		check(t, os.Remove(at("Removed")))
		check(t, os.Rename(at("Before"), at("After")))
	})
	v := volume(t, dir, func(c *config) { c.afterScan = once })
	for ask, want := range map[string]string{"MADE": "Made", "PASSING": "", "REMOVED": "", "BEFORE": "", "AFTER": "After"} {
		if got := stored(t, v, ask); got != want {
			t.Errorf("%s is %q, want %q", ask, got, want)
		}
	}
	if s := v.Stats(); s.IndexScans != 1 || s.Names != 2 {
		t.Errorf("%+v", s)
	}
	f := mustOpen(t, v, "BEFORE", vfs.How{Disposition: vfs.Create})
	check(t, f.Close())
}

// TestIndexOverflow loses events and must notice.
func TestIndexOverflow(t *testing.T) {
	limit := 0
	if b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events"); err == nil {
		fmt.Sscan(string(b), &limit)
	}
	if limit == 0 || limit > 100_000 {
		t.Skipf("the kernel queues %d events", limit)
	}
	dir := memory(t)
	v := volume(t, dir)
	if got := stored(t, v, "LAST"); got != "" {
		t.Fatal(got)
	}
	for i := range limit/2 + 10 { // each makes two events
		name := filepath.Join(dir, fmt.Sprint(i))
		check(t, os.WriteFile(name, nil, 0o644))
		check(t, os.Remove(name))
	}
	check(t, os.WriteFile(filepath.Join(dir, "Last"), nil, 0o644))
	if got := stored(t, v, "LAST"); got != "Last" {
		t.Fatalf("found %q", got)
	}
	if s := v.Stats(); s.IndexResets == 0 || s.Names != 1 {
		t.Fatalf("%+v", s)
	}
}

// TestIndexBounds: neither directories nor names outgrow their bounds, and answers stay right.
func TestIndexBounds(t *testing.T) {
	dir := memory(t)
	for d := range 20 {
		sub := filepath.Join(dir, fmt.Sprint("Dir", d))
		check(t, os.Mkdir(sub, 0o755))
		for i := range 20 {
			check(t, os.WriteFile(filepath.Join(sub, fmt.Sprint("File", i)), nil, 0o644))
		}
	}
	v := volume(t, dir, WithIndex(5, 70))
	for range 2 {
		for d := range 20 {
			for i := range 20 {
				if got := stored(t, v, fmt.Sprintf(`Dir%d\FILE%d`, d, i)); got != fmt.Sprint("File", i) {
					t.Fatalf("found %q", got)
				}
			}
			if s := v.Stats(); s.Dirs > 5 || s.Names > 70 {
				t.Fatalf("%+v", s)
			}
		}
	}
	if s := v.Stats(); s.IndexScans != 40 {
		t.Fatalf("%+v; want each directory read once a round", s)
	}
	small := volume(t, dir, WithIndex(5, 4))
	for range 3 {
		if got := stored(t, small, `Dir1\FILE1`); got != "File1" {
			t.Fatalf("found %q", got)
		}
	}
	if s := small.Stats(); s.Names != 0 || s.IndexScans != 3 {
		t.Fatalf("%+v; a directory beyond all bounds is not kept", s)
	}
}

// TestIndexConcurrent asks, loads, evicts and changes at once.
func TestIndexConcurrent(t *testing.T) {
	dir := memory(t)
	for d := range 6 {
		sub := filepath.Join(dir, fmt.Sprint("Dir", d))
		check(t, os.Mkdir(sub, 0o755))
		fill(t, sub, 500)
	}
	v := volume(t, dir, WithIndex(3, 2000))
	stop := time.Now().Add(500 * time.Millisecond)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			mine := fmt.Sprintf("Worker %d", w)
			for time.Now().Before(stop) {
				d := rand.IntN(6)
				if got := stored(t, v, fmt.Sprintf(`DIR%d\FILE NUMBER %d`, d, rand.IntN(500))); got == "" {
					t.Error("a file that always was there is not found")
					return
				}
				path := filepath.Join(dir, fmt.Sprint("Dir", d), mine)
				if err := os.WriteFile(path, nil, 0o644); err != nil {
					t.Error(err)
				}
				if got := stored(t, v, fmt.Sprintf(`dir%d\%s`, d, strings.ToUpper(mine))); got != mine {
					t.Errorf("found %q, want %q", got, mine)
				}
				if err := os.Remove(path); err != nil {
					t.Error(err)
				}
				if got := stored(t, v, fmt.Sprintf(`dir%d\%s`, d, strings.ToUpper(mine))); got != "" {
					t.Errorf("found %q after it was removed", got)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%+v", v.Stats())
}

// TestSEC29CaseFolding: two names on disk that fold to the same.
func TestSEC29CaseFolding(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"name", "NAME", "Name"} {
		check(t, os.WriteFile(filepath.Join(dir, n), []byte(n), 0o644))
	}
	ctx := context.Background()
	for round := range 3 {
		v := volume(t, dir)
		for ask, want := range map[string]string{"name": "name", "NAME": "NAME", "Name": "Name", "nAME": "NAME", "naMe": "NAME"} {
			if got := stored(t, v, ask); got != want {
				t.Fatalf("round %d: %q opens %q, want %q", round, ask, got, want)
			}
		}
		for _, n := range []string{"name", "nAme"} {
			if _, _, err := v.Open(ctx, vfs.Path{Names: []string{n}}, vfs.How{Disposition: vfs.Create}); !errors.Is(err, nt.ObjectNameCollision) {
				t.Fatalf("made %q: %v", n, err)
			}
		}
	}
	v := volume(t, dir)
	// Removing one leaves the others.
	f := mustOpen(t, v, "naME", vfs.How{Access: dtyp.FileAll}) // NAME
	defer f.Close()
	check(t, f.Unlink(ctx))
	for _, n := range []string{"name", "Name"} {
		if b, err := os.ReadFile(filepath.Join(dir, n)); err != nil || string(b) != n {
			t.Fatalf("%s: %q, %v", n, b, err)
		}
	}
	if got := stored(t, v, "NAME"); got != "Name" {
		t.Fatalf("then NAME opens %q", got)
	}
	// Renaming one to another's case does not overwrite that unasked.
	g := mustOpen(t, v, "name", vfs.How{Access: dtyp.FileAll})
	defer g.Close()
	if err := g.Rename(ctx, vfs.Path{Names: []string{"Name"}}, false); !errors.Is(err, nt.ObjectNameCollision) {
		t.Fatalf("renamed over its twin: %v", err)
	}
	check(t, g.Rename(ctx, vfs.Path{Names: []string{"other"}}, false))
	if b, err := os.ReadFile(filepath.Join(dir, "Name")); err != nil || string(b) != "Name" {
		t.Fatalf("%q, %v", b, err)
	}
	// Only Windows' folding makes names equal: Go's and Unicode's lower case would.
	for _, n := range []string{"straße", "STRASSE", "\u017f", "s", "\u212a", "k", "\u0130", "i", "\u13a0", "\uab70"} {
		h := mustOpen(t, v, n, vfs.How{Disposition: vfs.Create})
		check(t, h.Close())
	}
}

// TestMappedNames: what only Linux calls a name can be listed, opened in any case, renamed and removed.
func TestMappedNames(t *testing.T) {
	dir := t.TempDir()
	v := volume(t, dir)
	ctx := context.Background()
	for _, disk := range []string{"A:b", "caf\xe9", "dots...", "\uf03a", "tab\t", "back\\slash"} {
		check(t, os.WriteFile(filepath.Join(dir, disk), nil, 0o644))
		root, _, err := v.Open(ctx, vfs.Path{}, vfs.How{Access: dtyp.FileRead})
		check(t, err)
		var seen string
		check(t, root.ReadDir(ctx, 0, nil, vfs.WantAll, func(_ uint64, e vfs.Entry) bool {
			if e.Name != "." && e.Name != ".." {
				seen = e.Name
			}
			return true
		}))
		check(t, root.Close())
		if seen != toWire(disk) {
			t.Fatalf("%q is listed as %q", disk, seen)
		}
		f := mustOpen(t, v, strings.ToUpper(seen), vfs.How{Access: dtyp.FileAll})
		p, err := f.Path(ctx)
		if err != nil || p.Base() != seen {
			t.Fatalf("%q is at %q, %v", disk, p, err)
		}
		check(t, f.Rename(ctx, vfs.Path{Names: []string{"x" + seen}}, false))
		if _, err := os.Stat(filepath.Join(dir, "x"+disk)); err != nil {
			t.Fatal(err)
		}
		check(t, f.Unlink(ctx))
		check(t, f.Close())
	}
}

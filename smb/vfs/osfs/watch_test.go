package osfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/vfstest"
)

var _ vfs.Watcher = (*File)(nil)

// A hide is a directory that a test changes behind the Volume's back, and what a watch of it told.
type hide struct {
	*testing.T
	dir   string
	v     *Volume
	diary vfstest.Diary
	seen  []string
	stop  func()
}

func watchHide(t *testing.T, tree bool, opts ...Option) *hide {
	t.Helper()
	h := &hide{T: t, dir: t.TempDir()}
	h.v = volume(t, h.dir, opts...)
	return h.watch("", tree)
}

func (h *hide) watch(name string, tree bool) *hide {
	h.Helper()
	f := h.open(name, vfs.How{Access: dtyp.FileRead})
	var err error
	if h.stop, err = f.(vfs.Watcher).Watch(tree, h.diary.Tell); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { h.stop() })
	return h
}

func (h *hide) open(name string, how vfs.How) vfs.File {
	h.Helper()
	var p vfs.Path
	if name != "" {
		p.Names = strings.Split(name, "/")
	}
	f, _, err := h.v.Open(context.Background(), p, how)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { f.Close() })
	return f
}

// at is a path for the operating system.
func (h *hide) at(name string) string { return filepath.Join(h.dir, name) }

func (h *hide) ok(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// tells waits until want was told, in this order, and nothing else.
func (h *hide) tells(want ...string) {
	h.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for len(h.seen) < len(want) && time.Now().Before(deadline) {
		h.seen = append(h.seen, h.diary.Read()...)
		time.Sleep(time.Millisecond)
	}
	if !slices.Equal(h.seen, want) {
		h.Fatalf("told %q, want %q", h.seen, want)
	}
	h.seen = nil
}

// TestWatchOutside: what other processes do is told, too.
func TestWatchOutside(t *testing.T) {
	h := watchHide(t, true)
	h.ok(os.Mkdir(h.at("d"), 0o755))
	h.tells("+d:d")
	h.ok(os.WriteFile(h.at("d/f"), []byte("12345"), 0o644))
	h.tells("+d/f", "*18:d/f")
	h.ok(os.Chmod(h.at("d/f"), 0o600))
	h.tells("*1f4:d/f")
	h.ok(os.Rename(h.at("d/f"), h.at("d/g")))
	h.tells("[<d/f >d/g]")
	h.ok(os.Rename(h.at("d/g"), h.at("g")))
	h.tells("[-d/g +g]")
	h.ok(os.Rename(h.at("d"), h.at("e")))
	h.tells("[<d:d >d:e]")
	h.ok(os.WriteFile(h.at("e/f"), nil, 0o644))
	h.tells("+e/f")
	h.ok(os.Remove(h.at("e/f")))
	h.ok(os.Remove(h.at("e")))
	h.tells("-e/f", "-d:e")
	// What leaves the tree is removed, what comes into it is added: as a whole, and watched from then on.
	out := t.TempDir()
	h.ok(os.Rename(h.at("g"), filepath.Join(out, "g")))
	h.tells("-g")
	h.ok(os.MkdirAll(filepath.Join(out, "x/y/z"), 0o755))
	h.ok(os.Rename(filepath.Join(out, "x"), h.at("x")))
	h.tells("+d:x")
	for tries := 0; ; tries++ { // what is beneath is walked in its own time
		name := fmt.Sprint("x/y/z/", tries)
		h.ok(os.WriteFile(h.at(name), nil, 0o644))
		time.Sleep(5 * time.Millisecond)
		if got := h.diary.Read(); slices.Equal(got, []string{"+" + name}) {
			break
		} else if tries > 500 || len(got) > 0 {
			t.Fatalf("told %q", got)
		}
	}
	// A name that the wire cannot have is told as the wire calls it.
	h.ok(os.WriteFile(h.at("a:b"), nil, 0o644))
	h.tells("+" + toWire("a:b"))
}

// TestWatchAppears: whatever is made in a directory that has only just appeared is told, once.
func TestWatchAppears(t *testing.T) {
	h := watchHide(t, true)
	var want []string
	for i := range 50 {
		path := fmt.Sprintf("%d/a/b/c", i)
		h.ok(os.MkdirAll(h.at(path), 0o755))
		for j := range 5 {
			h.ok(os.WriteFile(h.at(fmt.Sprintf("%s/%d", path, j)), nil, 0o644))
			want = append(want, fmt.Sprintf("+%s/%d", path, j))
		}
		for parts := strings.Split(path, "/"); len(parts) > 0; parts = parts[:len(parts)-1] {
			want = append(want, "+d:"+strings.Join(parts, "/"))
		}
	}
	slices.Sort(want)
	var got []string
	for deadline := time.Now().Add(5 * time.Second); len(got) < len(want) && time.Now().Before(deadline); {
		got = append(got, h.diary.Read()...)
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	got = append(got, h.diary.Read()...)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("told %d changes, want %d: %q", len(got), len(want), got)
	}
}

// TestWatchMixed: changes of our own and others' changes in one directory, at once: each is told exactly once.
func TestWatchMixed(t *testing.T) {
	h := watchHide(t, false)
	const n = 200
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			os.WriteFile(h.at(fmt.Sprint("theirs", i)), nil, 0o644)
		}
	})
	for w := range 2 {
		wg.Go(func() {
			for i := range n {
				p := vfs.Path{Names: []string{fmt.Sprint("ours", w, "-", i)}}
				f, _, err := h.v.Open(context.Background(), p, vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll})
				if err != nil {
					t.Error(err)
					return
				}
				f.WriteAt([]byte("x"), 0)
				f.Close()
			}
		})
	}
	wg.Wait()
	count := map[string]int{}
	for deadline, told := time.Now().Add(5*time.Second), 0; told < 5*n && time.Now().Before(deadline); {
		for _, line := range h.diary.Read() {
			count[line]++
			told++
		}
		time.Sleep(time.Millisecond)
	}
	for line, n := range count {
		if n != 1 {
			t.Errorf("%s was told %d times", line, n)
		}
	}
	if len(count) != 5*n {
		t.Errorf("told %d changes, want %d", len(count), 5*n)
	}
}

// TestWatchNotOurs: a second Volume over the same folder is another process as far as this one is concerned.
func TestWatchNotOurs(t *testing.T) {
	h := watchHide(t, true)
	other := &hide{T: t, dir: h.dir, v: volume(t, h.dir)}
	f := other.open("new", vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll, Directory: true})
	h.ok(f.Unlink(context.Background()))
	deadline := time.Now().Add(5 * time.Second)
	var got []string
	for !slices.Contains(got, "-d:new") && time.Now().Before(deadline) {
		got = append(got, h.diary.Read()...)
		time.Sleep(time.Millisecond)
	}
	if !slices.Contains(got, "+d:new") || !slices.Contains(got, "-d:new") {
		t.Fatalf("told %q", got)
	}
}

// TestWatchOverflow: when the kernel has lost count, watchers are told to look anew, and then told on.
func TestWatchOverflow(t *testing.T) {
	h := watchHide(t, true)
	h.ok(os.MkdirAll(h.at("d/e"), 0o755))
	h.tells("+d:d", "+d:d/e")
	// While the queue is not read, more than max_queued_events come.
	w := h.v.watches
	limit := 16384
	if b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events"); err == nil {
		fmt.Sscan(string(b), &limit)
	}
	if limit > 100_000 {
		t.Skip("the queue is too long to fill")
	}
	w.mu.Lock()
	for i := range limit/2 + 10 {
		name := h.at(fmt.Sprint("d/", i))
		os.WriteFile(name, nil, 0o644)
		os.Remove(name)
	}
	os.Remove(h.at("d/e"))
	os.Mkdir(h.at("d/f"), 0o755)
	w.mu.Unlock()
	deadline := time.Now().Add(10 * time.Second)
	for !slices.Contains(h.diary.Read(), "?") {
		if time.Now().After(deadline) {
			t.Fatal("nobody was told to look anew")
		}
		time.Sleep(time.Millisecond)
	}
	for tries := 0; ; tries++ { // the tree is walked again
		name := fmt.Sprint("d/f/", tries)
		h.ok(os.WriteFile(h.at(name), nil, 0o644))
		time.Sleep(5 * time.Millisecond)
		if slices.Contains(h.diary.Read(), "+"+name) {
			break
		}
		if tries > 500 {
			t.Fatal("the tree is not watched any more")
		}
	}
}

// TestWatchBounds: a tree that is too deep to be watched makes who watches look anew for changes of our own there.
func TestWatchBounds(t *testing.T) {
	h := &hide{T: t, dir: t.TempDir()}
	h.v = volume(t, h.dir)
	deep := strings.TrimSuffix(strings.Repeat("d/", maxWatchedDepth+2), "/")
	h.ok(os.MkdirAll(h.at(deep), 0o755))
	h.watch("", true)
	h.open(deep+"/f", vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll})
	h.tells("?")
	h.open("d/f", vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll})
	h.tells("+d/f")
	h.stop()
	h.stop = func() {}
	w := h.v.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.dirs)+len(w.byID)+len(w.partial)+len(w.ours) != 0 {
		t.Errorf("left behind: %d directories, %d watches, %d partial trees", len(w.dirs), len(w.byID), len(w.partial))
	}
}

// TestWatchWithoutInotify: changes of our own are told all the same.
func TestWatchWithoutInotify(t *testing.T) {
	h := &hide{T: t, dir: t.TempDir()}
	h.v = volume(t, h.dir)
	h.v.cfg.noInotify = true
	h.watch("", true)
	h.open("d", vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll, Directory: true})
	h.open("d/e", vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll, Directory: true})
	f := h.open("d/e/f", vfs.How{Disposition: vfs.Create, Access: dtyp.FileAll})
	h.tells("+d:d", "+d:d/e", "+d/e/f")
	f.WriteAt([]byte("x"), 0)
	h.tells("*18:d/e/f")
	h.ok(f.Unlink(context.Background()))
	h.tells("-d/e/f")
}

// TestWatchRaces starts and ends watches while names change within and without.
func TestWatchRaces(t *testing.T) {
	h := &hide{T: t, dir: t.TempDir()}
	h.v = volume(t, h.dir)
	for _, d := range []string{"a", "a/b", "a/b/c", "x"} {
		h.ok(os.Mkdir(h.at(d), 0o755))
	}
	stop := make(chan struct{})
	var churn, watchers sync.WaitGroup
	until := func(do func(i int)) {
		churn.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					do(i)
				}
			}
		})
	}
	until(func(i int) { os.Rename(h.at("a/b"), h.at("x/b")); os.Rename(h.at("x/b"), h.at("a/b")) })
	until(func(i int) { os.MkdirAll(h.at("a/n/m"), 0o755); os.RemoveAll(h.at("a/n")) })
	until(func(i int) {
		p := vfs.Path{Names: []string{"a", fmt.Sprint("f", i%3)}}
		f, _, err := h.v.Open(context.Background(), p, vfs.How{Disposition: vfs.OpenIf, Access: dtyp.FileAll})
		if err != nil {
			return
		}
		f.WriteAt([]byte("x"), 0)
		f.Rename(context.Background(), vfs.Path{Names: []string{"x", fmt.Sprint("g", i%3)}}, true)
		f.Unlink(context.Background())
		f.Close()
	})
	for w := range 3 {
		watchers.Go(func() {
			for i := range 100 {
				name := []string{"", "a", "x"}[(w+i)%3]
				var p vfs.Path
				if name != "" {
					p.Names = []string{name}
				}
				f, _, err := h.v.Open(context.Background(), p, vfs.How{Access: dtyp.FileRead})
				if err != nil {
					t.Error(err)
					return
				}
				d := &vfstest.Diary{}
				end, err := f.(vfs.Watcher).Watch(i%4 != 0, d.Tell)
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Millisecond)
				end()
				d.Read()
				time.Sleep(time.Millisecond)
				if late := d.Read(); len(late) > 0 {
					t.Errorf("told after stop: %q", late)
				}
				f.Close()
			}
		})
	}
	watchers.Wait()
	close(stop)
	churn.Wait()
	w := h.v.watches
	for tries := 0; ; tries++ { // the walker may be about to end
		w.mu.Lock()
		left := len(w.dirs) + len(w.byID) + len(w.ours) + len(w.partial)
		w.mu.Unlock()
		if left == 0 {
			break
		}
		if tries > 1000 {
			t.Fatalf("left behind: %d", left)
		}
		time.Sleep(time.Millisecond)
	}
}

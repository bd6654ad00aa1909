package osfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/vfstest"
)

// instances counts the inotify instances of the process, and their watches.
func instances(t *testing.T) (n, watches int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	for _, e := range list {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); !strings.Contains(to, "inotify") {
			continue
		}
		n++
		b, _ := os.ReadFile("/proc/self/fdinfo/" + e.Name())
		watches += strings.Count(string(b), "inotify wd:")
	}
	return n, watches
}

func openTop(t *testing.T, v *Volume) *File {
	t.Helper()
	f, _, err := v.Open(t.Context(), vfs.Path{}, vfs.How{Access: dtyp.FileRead})
	check(t, err)
	return f.(*File)
}

// TestNotifierInstances: however many Volumes there are, and however they overlap, they take two instances of inotify, and
// none when they are closed.
func TestNotifierInstances(t *testing.T) {
	if n, _ := instances(t); n != 0 {
		t.Fatalf("%d instances to begin with", n)
	}
	dir := t.TempDir()
	check(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	var volumes []*Volume
	var stops []func()
	var diaries []*vfstest.Diary
	for range 200 { // more than Linux gives a user instances
		v, err := New(dir)
		check(t, err)
		volumes = append(volumes, v)
		stored(t, v, `SUB\nothing`)
		f := openTop(t, v)
		d := &vfstest.Diary{}
		stop, err := f.Watch(true, d.Tell)
		check(t, err)
		stops, diaries = append(stops, func() { stop(); f.Close() }), append(diaries, d)
	}
	if n, watches := instances(t); n != 2 || watches != 4 { // of each the root and sub
		t.Errorf("%d instances with %d watches", n, watches)
	}
	check(t, os.WriteFile(filepath.Join(dir, "sub", "Made"), nil, 0o644))
	for i, d := range diaries {
		deadline := time.Now().Add(20 * time.Second)
		for told := ""; told == ""; time.Sleep(time.Millisecond) {
			if told = strings.Join(d.Read(), " "); told != "" && !strings.HasPrefix(told, "+sub/Made") || time.Now().After(deadline) {
				t.Fatalf("volume %d: told %q", i, told)
			}
		}
		if got := stored(t, volumes[i], `SUB\MADE`); got != "Made" {
			t.Fatalf("volume %d: %q", i, got)
		}
	}
	for i, v := range volumes {
		stops[i]()
		check(t, v.Close())
	}
	if n, _ := instances(t); n != 0 {
		t.Errorf("%d instances are left", n)
	}
}

// TestNotifierKeepsApart: two that watch one directory are told of it independently: one that stops, or is closed, or does
// not keep up, takes nothing from the other.
func TestNotifierKeepsApart(t *testing.T) {
	dir := t.TempDir()
	n := &notifier{mask: watched}
	a, b := n.tap(false), n.tap(false)
	if a == nil || b == nil {
		t.Skip("no inotify")
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	check(t, err)
	change := func(name string) {
		t.Helper()
		check(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	told := func(p *tap) (s string) {
		for _, e := range p.take() {
			s += fmt.Sprintf("%d:%#x:%s ", e.id, e.mask, e.name)
		}
		return s
	}
	wants := func(what string, p *tap, want string) {
		t.Helper()
		if got := told(p); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	add := func(p *tap) watchID {
		t.Helper()
		id, err := p.add(fd)
		check(t, err)
		return id
	}
	one := add(a)
	change("first")
	two := add(b)
	change("second")
	wants("a", a, "1:0x100:first 1:0x100:second ")
	wants("b, since it watches", b, "1:0x100:second ")
	if n, watches := instances(t); n != 1 || watches != 1 {
		t.Errorf("%d instances with %d watches", n, watches)
	}
	a.remove(one)
	a.remove(one)
	change("third")
	wants("a, no longer", a, "")
	wants("b", b, "1:0x100:third ")
	// What was queued for a watch is not the next one's, though both are the same to the kernel.
	one = add(a)
	change("fourth")
	a.remove(one)
	again := add(a)
	if again == one {
		t.Error("an ID is used twice")
	}
	change("fifth")
	wants("a", a, fmt.Sprintf("%d:0x100:fifth ", again))
	wants("b", b, "1:0x100:fourth 1:0x100:fifth ")
	// One that does not take what there is loses it, and is told so; the other does not.
	total := 0
	for i := range maxQueued + 100 {
		change(fmt.Sprint(i))
		if i%1000 == 0 {
			total += len(b.take())
		}
	}
	total += len(b.take())
	if total != maxQueued+100 {
		t.Errorf("b got %d of %d", total, maxQueued+100)
	}
	if list := a.take(); len(list) == 0 || list[0].mask != unix.IN_Q_OVERFLOW || len(list) > 1000 {
		t.Errorf("a got %d, beginning with %+v", len(list), list[0])
	}
	// A directory that goes takes its watches along, and that is told each.
	for i := range maxQueued + 100 {
		check(t, os.Remove(filepath.Join(dir, fmt.Sprint(i))))
		if i%1000 == 0 { // or the kernel's own queue overflows
			a.take()
		}
	}
	check(t, os.RemoveAll(dir))
	unix.Close(fd)
	for what, p := range map[string]*tap{"a": a, "b": b} {
		p.take()
		if len(p.marks) != 0 {
			t.Errorf("%s still has %d watches", what, len(p.marks))
		}
	}
	b.remove(two)
	a.close()
	a.close()
	if _, err := a.add(0); err == nil || a.take() != nil {
		t.Error("a closed one can be used")
	}
	b.close()
	if n, _ := instances(t); n != 0 {
		t.Errorf("%d instances are left", n)
	}
}

// TestNotifierOverflow: when the kernel loses count, everyone is told.
func TestNotifierOverflow(t *testing.T) {
	n := &notifier{}
	var taps []*tap
	for range 3 {
		p := n.tap(true)
		if p == nil {
			t.Skip("no inotify")
		}
		defer p.close()
		taps = append(taps, p)
	}
	n.mu.Lock()
	n.deal(-1, notice{mask: unix.IN_Q_OVERFLOW}, taps[0])
	n.mu.Unlock()
	for i, p := range taps {
		if list := p.take(); len(list) != 1 || list[0].mask != unix.IN_Q_OVERFLOW {
			t.Errorf("%d: %+v", i, list)
		}
		select {
		case <-p.wake:
			if i == 0 {
				t.Error("who takes is woken, too")
			}
		default:
			if i != 0 {
				t.Errorf("%d is not woken", i)
			}
		}
	}
}

// TestNotifierRaces: Volumes come and go over one folder while it changes; the index is right and watchers are told, each of
// what it watches.
func TestNotifierRaces(t *testing.T) {
	dir := memory(t)
	for i := range 4 {
		check(t, os.Mkdir(filepath.Join(dir, fmt.Sprint("D", i)), 0o755))
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for round := range 15 {
				v, err := New(dir)
				if err != nil {
					t.Error(err)
					return
				}
				f := openTop(t, v)
				d := &vfstest.Diary{}
				stop, err := f.Watch(round%2 == 0, d.Tell)
				if err != nil {
					t.Error(err)
					return
				}
				name := fmt.Sprintf("Name %d %d", i, round)
				sub := fmt.Sprint("D", (i+round)%4)
				if err := os.WriteFile(filepath.Join(dir, sub, name), nil, 0o644); err != nil {
					t.Error(err)
				}
				if got := stored(t, v, strings.ToLower(sub)+`\`+strings.ToUpper(name)); got != name {
					t.Errorf("%s is %q", name, got)
				}
				if err := os.Remove(filepath.Join(dir, sub, name)); err != nil {
					t.Error(err)
				}
				if got := stored(t, v, sub+`\`+strings.ToUpper(name)); got != "" {
					t.Errorf("%s is there still", name)
				}
				top := fmt.Sprintf("top %d %d", i, round)
				if err := os.WriteFile(filepath.Join(dir, top), nil, 0o644); err != nil {
					t.Error(err)
				}
				found := false
				for end := time.Now().Add(20 * time.Second); !found && time.Now().Before(end); time.Sleep(time.Millisecond) {
					for _, line := range d.Read() {
						found = found || line == "+"+top || line == "?"
					}
				}
				if !found {
					t.Errorf("nobody was told of %s", top)
				}
				stop()
				f.Close()
				if err := v.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n, _ := instances(t); n != 0 {
		t.Errorf("%d instances are left", n)
	}
}

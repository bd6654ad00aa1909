package stick

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/storage"
	"github.com/postern-nas/postern/firmware/storage/disklab"
	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/firmware/update/slot"
	"github.com/postern-nas/postern/firmware/watch"
	"github.com/postern-nas/postern/images/bundle"
)

// TestParts: sticks are looked at, and neither the box's own disk, nor a pool's, nor what is fixed in the box.
func TestParts(t *testing.T) {
	many := make([]string, 20)
	for i := range many {
		many[i] = fmt.Sprint("sdz", i+1)
	}
	s := storage.State{
		Disks: []storage.Disk{
			{Name: "sda", Parts: []string{"sda1"}},
			{Name: "sdb", USB: true, Parts: []string{"sdb1", "sdb2"}},
			{Name: "sdc", Removable: true},
			{Name: "sdd", USB: true, System: true, Parts: []string{"sdd1"}},
			{Name: "sde", USB: true, Pool: "known", Parts: []string{"sde1"}},
			{Name: "sdf", USB: true, Pool: "listed", Parts: []string{"sdf1"}},
			{Name: "sdz", USB: true, Parts: many},
			{Name: "sdy", USB: true},
		},
		Pools: []storage.Pool{{UUID: "known", Known: true}, {UUID: "listed"}},
	}
	want := append([]string{"sdb1", "sdb2", "sdc", "sdf1"}, many[:maxParts]...)
	if got := parts(s); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A lab is a box with a slot to write to, and sticks that are loop devices.
type lab struct {
	*Watcher
	t     *testing.T
	dir   string
	key   minisign.PrivateKey
	disks watch.Value[storage.State]
	read  func(io.Reader) // called while a stick is mounted; nil: none
	up    *update.Updater
	ended chan struct{} // Run
}

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		disklab.Missing(t, "mounting needs root")
	}
	l := &lab{t: t, dir: t.TempDir(), ended: make(chan struct{})}
	public, private, err := minisign.GenerateKey(rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	l.key = private
	boot, vars := filepath.Join(l.dir, "boot"), filepath.Join(l.dir, "vars")
	for _, dir := range []string{boot, vars, filepath.Join(l.dir, "state")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(boot, "postern_1.efi"), []byte("image 5"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.up, err = update.Open(update.Options{
		Dir: filepath.Join(l.dir, "state"), Slots: slot.NewLoader(slot.Folder(boot), "/", slot.Variables(vars)),
		Trusted: []minisign.PublicKey{public}, Running: bundle.Release{Board: "qemu", Number: 5, Version: "v5"},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Watcher = New(Config{
		Board: "qemu", Disks: &l.disks, At: filepath.Join(l.dir, "stick"), Install: l.up.InstallExamined,
		Examine: func(r io.Reader) (bundle.Release, error) {
			if l.read != nil {
				l.read(r)
			}
			return l.up.Examine(r)
		},
	}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { defer close(l.ended); _ = l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-l.ended
		if mounts, _ := os.ReadFile("/proc/self/mounts"); bytes.Contains(mounts, []byte(l.cfg.At)) {
			t.Error("a stick is still mounted")
			_ = unix.Unmount(l.cfg.At, unix.MNT_DETACH)
		}
	})
	return l
}

// bundle is an update for a board.
func (l *lab) bundle(board string, number uint64, image []byte) []byte {
	var b bytes.Buffer
	m := bundle.Manifest{Release: bundle.Release{Board: board, Number: number, Version: fmt.Sprint("v", number)}}
	if err := bundle.Write(&b, m, image, l.key, nil); err != nil {
		l.t.Fatal(err)
	}
	return b.Bytes()
}

// stick makes one with an ext4 file system, which fill fills, and returns its device and the file behind it.
func (l *lab) stick(fill func(root string), options ...string) (device, backing string) {
	t := l.t
	t.Helper()
	root, err := os.MkdirTemp(l.dir, "root")
	if err != nil {
		t.Fatal(err)
	}
	fill(root)
	backing = root + ".img"
	args := slices.Concat([]string{"-q", "-F", "-t", "ext4", "-d", root}, options, []string{backing, "16M"})
	if out, err := exec.Command("mke2fs", args...).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	return disklab.Attach(t, backing), backing
}

// put tells of the sticks that are there, and waits until they were looked at.
func (l *lab) put(devices ...string) {
	var s storage.State
	for _, d := range devices {
		s.Disks = append(s.Disks, storage.Disk{Name: d, USB: true})
	}
	l.look(l.t.Context(), parts(s))
}

func (l *lab) now() State {
	s, _ := l.State.Get()
	return s
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestStick: an update is found as soon as it is plugged in, is not installed by that, and is when the owner says so.
func TestStick(t *testing.T) {
	l := newLab(t)
	image := bytes.Repeat([]byte("image 6"), 100_000)
	// The volume asks for a panic when it is damaged, as a hostile one would.
	device, _ := l.stick(func(root string) { write(t, filepath.Join(root, FileName("qemu")), l.bundle("qemu", 6, image)) }, "-e", "panic")
	if err := l.Install(t.Context()); !errors.Is(err, ErrNone) {
		t.Errorf("installed nothing: %v", err)
	}
	mounts := ""
	l.read = func(io.Reader) {
		text, _ := os.ReadFile("/proc/self/mounts")
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, l.cfg.At) {
				mounts = line
			}
		}
	}
	l.disks.Set(storage.State{Disks: []storage.Disk{{Name: "sda"}, {Name: device, USB: true}}})
	s, _, err := l.State.Wait(t.Context(), 0)
	if err != nil || s.Device != device || s.Release.Number != 6 || s.Problem != "" {
		t.Fatalf("%+v (%v)", s, err)
	}
	for _, want := range []string{" ext4 ro,", "nosuid", "nodev", "noexec", "noatime", "norecovery"} {
		if !strings.Contains(mounts, want) {
			t.Errorf("mounted with %q, and not with %s", mounts, want)
		}
	}
	if strings.Contains(mounts, "errors=panic") {
		t.Errorf("a damaged stick makes the kernel panic: %s", mounts)
	}
	if u, _ := l.up.Status.Get(); u.Phase != update.Idle {
		t.Fatalf("nobody has said yes: %+v", u)
	}
	if err := l.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if u, _ := l.up.Status.Get(); u.Phase != update.Ready || u.Next.Number != 6 {
		t.Errorf("%+v", u)
	}
	if got, err := os.ReadFile(filepath.Join(l.dir, "boot/postern_2+3.efi")); err != nil || !bytes.Equal(got, image) {
		t.Errorf("the slot has %d bytes (%v)", len(got), err)
	}
	l.disks.Set(storage.State{})
	for version := uint64(0); s.Device != ""; {
		if s, version, err = l.State.Wait(t.Context(), version); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Install(t.Context()); !errors.Is(err, ErrNone) {
		t.Errorf("installed from a stick that has gone: %v", err)
	}
}

// TestOtherSticks: what is no update for this box is named or left alone, and never harms.
func TestOtherSticks(t *testing.T) {
	l := newLab(t)
	name := FileName("qemu")
	good := l.bundle("qemu", 6, []byte("image 6"))
	_, other, err := minisign.GenerateKey(rand.NewChaCha8([32]byte{2}))
	if err != nil {
		t.Fatal(err)
	}
	var foreign bytes.Buffer
	m := bundle.Manifest{Release: bundle.Release{Board: "qemu", Number: 6, Version: "v6"}}
	if err := bundle.Write(&foreign, m, []byte("image"), other, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what    string
		fill    func(root string)
		problem string // "": nothing is said
	}{
		{"empty", func(string) {}, ""},
		{"another name", func(root string) { write(t, filepath.Join(root, FileName("rpi")), good) }, ""},
		{"in a folder", func(root string) {
			_ = os.Mkdir(filepath.Join(root, "updates"), 0o700)
			write(t, filepath.Join(root, "updates", name), good)
		}, ""},
		{"another board", func(root string) { write(t, filepath.Join(root, name), l.bundle("rpi", 6, []byte("x"))) }, "another kind of box"},
		{"not newer", func(root string) { write(t, filepath.Join(root, name), l.bundle("qemu", 5, []byte("x"))) }, "not newer"},
		{"a stranger's", func(root string) { write(t, filepath.Join(root, name), foreign.Bytes()) }, "signature"},
		{"nonsense", func(root string) { write(t, filepath.Join(root, name), bytes.Repeat([]byte("\x1b[2J"), 1000)) }, "no update of Postern"},
		{"cut", func(root string) { write(t, filepath.Join(root, name), good[:100]) }, "ends too early"},
		{"nothing in it", func(root string) { write(t, filepath.Join(root, name), nil) }, "ends too early"},
		{"a folder", func(root string) { _ = os.Mkdir(filepath.Join(root, name), 0o700) }, "is no file"},
		{"a link", func(root string) { _ = os.Symlink("/proc/kmsg", filepath.Join(root, name)) }, "is no file"},
		{"a link to a file", func(root string) {
			write(t, filepath.Join(root, "x"), good)
			_ = os.Symlink("x", filepath.Join(root, name))
		}, "is no file"},
		{"a pipe", func(root string) { _ = unix.Mkfifo(filepath.Join(root, name), 0o600) }, "is no file"},
		{"a device", func(root string) {
			_ = unix.Mknod(filepath.Join(root, name), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5)))
		}, "is no file"},
		{"a huge file", func(root string) {
			write(t, filepath.Join(root, name), nil)
			_ = os.Truncate(filepath.Join(root, name), 1<<40)
		}, "too large"},
	} {
		device, _ := l.stick(c.fill, "-O", "huge_file,64bit")
		before := l.now()
		l.put(device)
		if s := l.now(); s.Release.Number != 0 || !strings.Contains(s.Problem, c.problem) || c.problem == "" && s != before {
			t.Errorf("%s: %+v, want %q", c.what, s, c.problem)
		}
		if err := l.Install(t.Context()); !errors.Is(err, ErrNone) {
			t.Errorf("%s: installed: %v", c.what, err)
		}
		l.put()
		if s := l.now(); s != (State{}) {
			t.Errorf("%s: gone, and yet %+v", c.what, s)
		}
	}
	// No file system at all, and half of one.
	blank := filepath.Join(l.dir, "blank")
	write(t, blank, make([]byte, 1<<20))
	_, half := l.stick(func(root string) { write(t, filepath.Join(root, name), good) })
	if err := os.Truncate(half, 1<<20); err != nil {
		t.Fatal(err)
	}
	for _, backing := range []string{blank, half} {
		l.put(disklab.Attach(t, backing))
		if s := l.now(); s != (State{}) {
			t.Errorf("%s: %+v", backing, s)
		}
		l.put()
	}
	// Of two sticks the second has it; it is offered still when the first has gone.
	first, _ := l.stick(func(string) {})
	second, _ := l.stick(func(root string) { write(t, filepath.Join(root, name), good) })
	for _, there := range [][]string{{first, second}, {second}} {
		l.put(there...)
		if s := l.now(); s.Device != second || s.Release.Number != 6 {
			t.Errorf("of %v: %+v", there, s)
		}
	}
}

// TestTakenOut: the stick goes while it is read. Nothing is installed, the reason is told, and with the stick put in again
// all is as before.
func TestTakenOut(t *testing.T) {
	l := newLab(t)
	noise := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(noise)
	data := l.bundle("qemu", 6, noise)
	device, backing := l.stick(func(root string) { write(t, filepath.Join(root, FileName("qemu")), data) })
	l.put(device)
	if l.now().Release.Number != 6 {
		t.Fatalf("%+v", l.now())
	}
	install := l.cfg.Install
	l.cfg.Install = func(ctx context.Context, r io.Reader, release bundle.Release) error {
		return install(ctx, &pulled{r: r, after: 1 << 20, pull: func() {
			if err := os.Truncate(backing, 0); err != nil {
				t.Error(err)
			}
		}}, release)
	}
	if err := l.Install(t.Context()); err == nil || err.Error() != ErrGone.Error() {
		t.Errorf("installed from a stick that was taken out: %v", err)
	}
	if s := l.now(); s.Problem != ErrGone.Error() {
		t.Errorf("%+v", s)
	}
	if u, _ := l.up.Status.Get(); u.Phase != update.Idle {
		t.Errorf("%+v", u)
	}
	if left, _ := filepath.Glob(filepath.Join(l.dir, "boot/*")); len(left) != 1 {
		t.Errorf("left in the slots: %v", left)
	}
	l.put()
	l.cfg.Install = install
	device, _ = l.stick(func(root string) { write(t, filepath.Join(root, FileName("qemu")), data) })
	l.put(device)
	if err := l.Install(t.Context()); err != nil {
		t.Error(err)
	}
}

// pulled has the stick taken out after some bytes.
type pulled struct {
	r     io.Reader
	after int
	pull  func()
}

func (p *pulled) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if p.after -= n; p.after <= 0 && p.pull != nil {
		p.pull()
		p.pull = nil
	}
	return n, err
}

// TestSlow: a stick that does not answer holds nobody up, and what comes after it waits for its turn.
func TestSlow(t *testing.T) {
	l := newLab(t)
	hold := make(chan struct{})
	device, _ := l.stick(func(root string) { write(t, filepath.Join(root, FileName("qemu")), l.bundle("qemu", 6, []byte("x"))) })
	err := within(t.Context(), 50*time.Millisecond, func() error { return l.with(device, func(io.Reader) error { <-hold; return nil }) })
	if !errors.Is(err, ErrGone) {
		t.Error(err)
	}
	if err := l.with(device, nil); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	close(hold)
	for deadline := time.Now().Add(20 * time.Second); l.now().Release.Number == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not found: %+v", l.now())
		}
		l.put(device)
	}
}

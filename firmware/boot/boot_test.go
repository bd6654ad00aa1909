package boot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/storage/disklab"
	"github.com/postern-nas/postern/images"
)

func TestFlagged(t *testing.T) {
	for line, want := range map[string]bool{
		"quiet postern.demo\n": true, "postern.demo": true, "postern.demos": false, "xpostern.demo": false, "": false,
	} {
		if flagged(line, "postern.demo") != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
}

// TestShutOut: a box that may not set up its firewall says so.
func TestShutOut(t *testing.T) {
	done := make(chan string)
	go func() {
		runtime.LockOSThread()              // and never back: the thread ends with the goroutine
		_ = unix.Unshare(unix.CLONE_NEWNET) // whatever happens here, the host does not see it
		none := [2]unix.CapUserData{}
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			t.Error(err)
			close(done)
			return
		}
		done <- shutOut(slog.New(slog.NewTextHandler(t.Output(), nil)))
	}()
	if trouble := <-done; !strings.Contains(trouble, "firewall does not work") {
		t.Errorf("%q", trouble)
	}
}

// TestIsInit: a test is no box, and neither is a container's first process.
func TestIsInit(t *testing.T) {
	if IsInit() {
		t.Error("this is a box")
	}
}

func TestProcLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meminfo")
	if err := os.WriteFile(path, []byte("MemTotal:         479788 kB\nMemFree: 1 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"MemTotal": "479788 kB", "MemFree": "1 kB", "Mem": ""} {
		if got := procLine(path, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := procLine(path+"x", "MemTotal"); got != "" {
		t.Errorf("a file that is not there says %q", got)
	}
}

func TestFindPartition(t *testing.T) {
	uevent := func(name string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("MAJOR=254\nDEVTYPE=partition\nPARTNAME=" + name + "\n")}
	}
	sys := fstest.MapFS{
		"class/block/vda/uevent":  {Data: []byte("DEVTYPE=disk\n")},
		"class/block/vda1/uevent": uevent("postern-boot"),
		"class/block/vdb1/uevent": uevent("xpostern-state"),
	}
	if d, err := findPartition(sys, "postern-state"); d != "" || err != nil {
		t.Errorf("%q (%v) where there is none", d, err)
	}
	sys["class/block/vda2/uevent"] = uevent("postern-state")
	if d, err := findPartition(sys, "postern-state"); d != "vda2" || err != nil {
		t.Errorf("%q (%v)", d, err)
	}
	sys["class/block/sda2/uevent"] = uevent("postern-state")
	if d, err := findPartition(sys, "postern-state"); d != "" || err == nil {
		t.Errorf("%q (%v) where there are two", d, err)
	}
}

func TestProbe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device")
	device := make([]byte, 16<<20)
	for name, c := range map[string]struct {
		at   int
		data []byte
		want contents
	}{
		"nothing":         {0, nil, blank},
		"later bytes":     {5000, []byte("x"), blank},
		"another system":  {512, []byte("x"), foreign},
		"FAT":             {0, []byte("\xeb\x58\x90mkfs.fat"), foreign},
		"half a magic":    {1024 + 0x38, []byte{0x53}, foreign},
		"a file system":   {1024 + 0x38, []byte{0x53, 0xef}, ext4},
		"LUKS":            {0, []byte("LUKS\xba\xbe"), foreign},
		"last byte of it": {4095, []byte{1}, foreign},
	} {
		clear(device)
		copy(device[c.at:], c.data)
		if err := os.WriteFile(path, device, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := probe(path); err != nil || got != c.want {
			t.Errorf("%s: %v, want %v (%v)", name, got, c.want, err)
		}
	}
	if err := os.WriteFile(path, device[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := probe(path); err == nil || got == blank {
		t.Errorf("a tiny one: %v (%v)", got, err)
	}
	if got, err := probe(path + "x"); err == nil || got == blank {
		t.Errorf("none: %v (%v)", got, err)
	}

	mke2fs, err := exec.LookPath("mke2fs")
	if err != nil {
		disklab.Missing(t, "no mke2fs to compare with a real file system: apt-get install --no-install-recommends e2fsprogs")
	}
	if err := os.WriteFile(path, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mke2fs, "-q", "-F", "-t", "ext4", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, err := probe(path); err != nil || got != ext4 {
		t.Errorf("a real file system: %v (%v)", got, err)
	}
}

// pair is events whose other end the test holds.
func pair(t *testing.T) (*events, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	e, kernel := &events{os.NewFile(uintptr(fds[0]), "events")}, os.NewFile(uintptr(fds[1]), "kernel")
	t.Cleanup(func() { e.Close(); kernel.Close() })
	return e, kernel
}

func TestWait(t *testing.T) {
	e, kernel := pair(t)
	if err := e.wait(t.Context(), time.Hour, func() bool { return true }); err != nil {
		t.Errorf("what is there already: %v", err)
	}
	looks := 0
	there := func() bool { // each look but the last announces something
		if looks++; looks == 3 {
			return true
		}
		if _, err := kernel.WriteString("add@/devices/x"); err != nil {
			t.Error(err)
		}
		return false
	}
	if err := e.wait(t.Context(), time.Hour, there); err != nil || looks != 3 {
		t.Errorf("%d looks (%v)", looks, err)
	}
	// The bound of the one before does not hold for the next.
	if err := e.wait(t.Context(), time.Millisecond, func() bool { return false }); err == nil {
		t.Error("waited for what never comes")
	}
	looks = 0
	if err := e.wait(t.Context(), time.Hour, there); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	err := e.wait(ctx, time.Hour, func() bool { cancel(over); return false })
	if !errors.Is(err, over) {
		t.Errorf("canceled: %v", err)
	}
}

func TestPressed(t *testing.T) {
	event := func(kind, code uint16, value uint32) []byte {
		e := make([]byte, inputEvent)
		binary.LittleEndian.PutUint16(e[typeAt:], kind)
		binary.LittleEndian.PutUint16(e[typeAt+2:], code)
		binary.LittleEndian.PutUint32(e[typeAt+4:], value)
		return e
	}
	others := slices.Concat(event(0, 0, 0), event(1, 30, 1), event(1, keyPower, 0), event(2, keyPower, 1))
	if pressed(bytes.NewReader(others)) || pressed(bytes.NewReader(event(1, keyPower, 1)[:23])) {
		t.Error("pressed by another key")
	}
	if !pressed(bytes.NewReader(append(others, event(1, keyPower, 1)...))) {
		t.Error("not pressed")
	}
}

func TestLogPCRs(t *testing.T) {
	sys := fstest.MapFS{}
	for _, i := range []string{"4", "5", "7", "9", "11", "12"} {
		sys["class/tpm/tpm0/pcr-sha256/"+i] = &fstest.MapFile{Data: []byte("AB" + i + "\n")}
	}
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil))
	logPCRs(sys, log)
	if got := out.String(); !strings.Contains(got, "pcr4=ab4 ") || !strings.Contains(got, "pcr11=ab11 ") {
		t.Errorf("%s", got)
	}
	out.Reset()
	logPCRs(fstest.MapFS{}, log)
	if got := out.String(); !strings.Contains(got, "level=WARN") {
		t.Errorf("%s", got)
	}
}

// TestLoadModules: no list is no error; a driver that is not there is told and left; what only late drivers need is late.
func TestLoadModules(t *testing.T) {
	dir := t.TempDir()
	if first, late, err := moduleFiles(dir, nil); err != nil || len(first)+len(late) > 0 {
		t.Errorf("%v, %v, %v", first, late, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "order"), []byte("xor.ko\nlibcrc.ko\nbtrfs.ko\n../../climb.ko\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	depends := map[string][]string{"xor": nil, "libcrc": nil, "btrfs": {"xor", "libcrc"}, "climb": {"libcrc"}}
	for name, c := range map[string]struct {
		index       *images.AliasIndex
		first, late []string
	}{
		"no index": {nil, []string{"xor.ko", "libcrc.ko", "btrfs.ko", "climb.ko"}, nil},
		"index": {
			images.NewAliasIndex([]string{"btrfs", "climb"}, depends, nil),
			[]string{"libcrc.ko", "climb.ko"},
			[]string{"xor.ko", "btrfs.ko"},
		},
	} {
		first, late, err := moduleFiles(dir, c.index)
		if err != nil {
			t.Fatal(err)
		}
		in := func(names []string) (paths []string) {
			for _, n := range names {
				paths = append(paths, filepath.Join(dir, n))
			}
			return paths
		}
		if !slices.Equal(first, in(c.first)) || !slices.Equal(late, in(c.late)) {
			t.Errorf("%s: first %v, late %v", name, first, late)
		}
	}
	var out strings.Builder
	loadModules([]string{filepath.Join(dir, "gone.ko"), filepath.Join(dir, "climb.ko")}, slog.New(slog.NewTextHandler(&out, nil)))
	if got := out.String(); strings.Count(got, "level=WARN") != 2 {
		t.Errorf("%s", got)
	}
}

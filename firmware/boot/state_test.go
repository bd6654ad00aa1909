package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/storage/disklab"
)

// loop attaches a file of so many bytes as a block device.
func loop(t *testing.T, size int64) string {
	t.Helper()
	for _, p := range []string{makeFilesystem, checkFilesystem} {
		if !exists(p) {
			disklab.Missing(t, "no "+p+": apt-get install --no-install-recommends e2fsprogs")
		}
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return "/dev/" + disklab.Attach(t, path)
}

// on mounts the state, calls f with its folder, and puts it away.
func on(t *testing.T, device string, f func(dir, trouble string)) {
	t.Helper()
	p := &partition{device: device, dir: t.TempDir(), now: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	trouble, err := p.mount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(p.dir, 0); err != nil {
			t.Error(err)
		}
	}()
	f(p.dir, trouble)
}

// TestStandIn: where the state does not work, a box writes to memory that is bounded and its own, and says why; what is there
// is gone with it.
func TestStandIn(t *testing.T) {
	if os.Geteuid() != 0 {
		disklab.Missing(t, "mounting needs root")
	}
	dir := t.TempDir()
	trouble, err := standIn(dir, errors.New("no partition"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "identity.json")
	err = os.WriteFile(file, []byte("{}"), 0o600)
	st, statErr := os.Stat(dir)
	var fs unix.Statfs_t
	if err := errors.Join(err, statErr, unix.Statfs(dir, &fs), unix.Unmount(dir, 0)); err != nil {
		t.Fatal(err)
	}
	if bytes := int64(fs.Blocks) * fs.Bsize; fs.Type != unix.TMPFS_MAGIC || bytes != 64<<20 || st.Mode().Perm() != 0o700 {
		t.Errorf("%x, %d bytes, %v", fs.Type, bytes, st.Mode())
	}
	if exists(file) {
		t.Error("it was on the medium")
	}
	for _, want := range []string{"no partition", "lost with the next restart", "disks are untouched"} {
		if !strings.Contains(trouble, want) {
			t.Errorf("%q does not say %q", trouble, want)
		}
	}
	if _, err := standIn(filepath.Join(dir, "none"), errors.New("x")); err == nil {
		t.Error("mounted nowhere")
	}
}

// TestStatePartition: made at first, kept, repaired where it can be, made anew where not, and then with what could be saved.
func TestStatePartition(t *testing.T) {
	const size = 64 << 20
	note := bytes.Repeat([]byte("identity"), 4000)
	write := func(device string, at int64, data []byte) {
		t.Helper()
		f, err := os.OpenFile(device, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt(data, at)
		if err == nil {
			err = f.Sync()
		}
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	junk := bytes.Repeat([]byte("someone else's "), 10_000)
	for name, c := range map[string]struct {
		spoil   func(device string)
		same    bool
		trouble string
	}{
		"untouched":                {func(string) {}, true, ""},
		"superblock lost":          {func(d string) { write(d, 1024, make([]byte, 1024)) }, true, "repaired"},
		"beginning overwritten":    {func(d string) { write(d, 0, junk[:8000]) }, true, "repaired"},
		"beginning cleared":        {func(d string) { write(d, 0, make([]byte, 8000)) }, true, "repaired"},
		"all of it overwritten":    {func(d string) { write(d, 0, bytes.Repeat(junk, size/len(junk))) }, false, "begins anew"},
		"all metadata overwritten": {func(d string) { write(d, 0, bytes.Repeat(junk, 24<<20/len(junk))) }, false, "begins anew"},
	} {
		t.Run(name, func(t *testing.T) {
			device := loop(t, size)
			on(t, device, func(dir, trouble string) {
				if trouble != "" {
					t.Error(trouble)
				}
				if err := os.WriteFile(filepath.Join(dir, "note"), note, 0o600); err != nil {
					t.Fatal(err)
				}
			})
			c.spoil(device)
			on(t, device, func(dir, trouble string) {
				got, err := os.ReadFile(filepath.Join(dir, "note"))
				if lost, _ := filepath.Glob(filepath.Join(dir, "lost+found", "*")); err != nil {
					for _, l := range lost {
						if b, _ := os.ReadFile(l); bytes.Equal(b, note) {
							got, err = b, nil
						}
					}
				}
				if (err == nil && bytes.Equal(got, note)) != c.same {
					t.Errorf("%d bytes (%v)", len(got), err)
				}
				if (trouble == "") != (c.trouble == "") || !strings.Contains(trouble, c.trouble) {
					t.Errorf("says %q", trouble)
				}
				if c.same {
					return
				}
				b, err := os.ReadFile(filepath.Join(dir, "set-aside-20261123T000000Z", "first-mebibyte"))
				if err != nil || len(b) != rawBeginning || !bytes.HasPrefix(b, junk[:100]) {
					t.Errorf("set aside %d bytes (%v)", len(b), err)
				}
			})
			on(t, device, func(_, trouble string) { // and then all is well
				if trouble != "" {
					t.Error(trouble)
				}
			})
		})
	}
}

// TestRescue: of a file system that is still readable the files are set aside, within bounds.
func TestRescue(t *testing.T) {
	device := loop(t, 64<<20)
	p := &partition{device: device, dir: t.TempDir(), now: time.Now(), log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	on(t, device, func(dir, _ string) {
		if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if err := os.WriteFile(filepath.Join(dir, "sub", fmt.Sprint(i)), make([]byte, maxSavedFile), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for name, n := range map[string]int{"ca.key": 100, "large": maxSavedFile + 1} {
			if err := os.WriteFile(filepath.Join(dir, name), make([]byte, n), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	})
	saved := p.rescue()
	total := 0
	for _, b := range saved {
		total += len(b)
	}
	if len(saved["ca.key"]) != 100 || saved["large"] != nil || total > maxSaved || len(saved) < 5 {
		t.Errorf("%d files, %d bytes", len(saved), total)
	}
	to := &partition{dir: t.TempDir(), now: p.now, log: p.log}
	to.keep(saved)
	if b, err := os.ReadFile(filepath.Join(to.dir, to.aside(), "ca.key")); err != nil || len(b) != 100 {
		t.Errorf("%d bytes (%v)", len(b), err)
	}
}

// TestFull: a state that is full comes up with room to be set right, and says so until it is.
func TestFull(t *testing.T) {
	device := loop(t, 64<<20)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	on(t, device, func(dir, _ string) {
		if trouble := makeRoom(dir, log); trouble != "" || !exists(filepath.Join(dir, spareName)) {
			t.Error(trouble)
		}
		f, err := os.Create(filepath.Join(dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = f.Write(make([]byte, 1<<16))
		}
		f.Close()
		t.Log(err)
		if trouble := makeRoom(dir, log); trouble == "" {
			t.Error("is full and says nothing")
		}
		if err := os.WriteFile(filepath.Join(dir, "setting"), make([]byte, 1<<20), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Remove(filepath.Join(dir, "log")); err != nil {
			t.Fatal(err)
		}
		if trouble := makeRoom(dir, log); trouble != "" || !exists(filepath.Join(dir, spareName)) {
			t.Error(trouble)
		}
	})
}

// TestStateGone: a device that does not work is an error, and nothing is made on it.
func TestStateGone(t *testing.T) {
	p := &partition{device: filepath.Join(t.TempDir(), "none"), dir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
	if _, err := p.mount(t.Context()); err == nil {
		t.Error("mounted nothing")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if code, err := p.run(over, "/bin/sh", "-c", "exit 0"); code == 0 || err == nil {
		t.Errorf("ran: %d %v", code, err)
	}
}

func TestMixSeed(t *testing.T) {
	dir := t.TempDir()
	pool := filepath.Join(dir, "pool")
	if err := os.WriteFile(pool, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	seed := func() []byte {
		if err := mixSeed(dir, pool); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, seedName))
		if err != nil || len(b) != seedBytes {
			t.Fatalf("%d bytes (%v)", len(b), err)
		}
		return b
	}
	first := seed()
	second := seed()
	if bytes.Equal(first, second) {
		t.Error("the same seed twice")
	}
	if b, _ := os.ReadFile(pool); !bytes.Equal(b, first) {
		t.Errorf("stirred in %d bytes", len(b))
	}
}

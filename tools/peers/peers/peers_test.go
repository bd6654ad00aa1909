package peers

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDir(t *testing.T) {
	t.Setenv("POSTERN_PEERS", "/somewhere/else")
	if d, err := Dir(); err != nil || d != "/somewhere/else" {
		t.Errorf("Dir with POSTERN_PEERS: %q, %v", d, err)
	}
	t.Setenv("POSTERN_PEERS", "")
	t.Setenv("XDG_CACHE_HOME", "/cache")
	if d, err := Dir(); err != nil || d != "/cache/postern/peers" {
		t.Errorf("Dir without: %q, %v", d, err)
	}
}

// The lock must hold against another process's open file, and let go when its holder ends.
func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lockFile(t.Context(), path, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var log bytes.Buffer
	if _, err := lockFile(ctx, path, &log); err != context.DeadlineExceeded {
		t.Errorf("second lock: %v, want to wait until the deadline", err)
	}
	if !strings.Contains(log.String(), "waiting") {
		t.Errorf("the wait is silent: %q", &log)
	}
	first.Close()
	second, err := lockFile(t.Context(), path, &log)
	if err != nil {
		t.Fatalf("after the first is gone: %v", err)
	}
	second.Close()
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"old", "busy", "mine"} {
		if err := os.MkdirAll(filepath.Join(dir, name, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".use"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	busy, err := os.Open(filepath.Join(dir, "busy.use"))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if err := syscall.Flock(int(busy.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	sweep(dir, filepath.Join(dir, "mine"))
	for name, want := range map[string]bool{"old": false, "busy": true, "mine": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
}

func TestEmptyFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := emptyFolder(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := emptyFolder(filepath.Join(dir, "nothing")); err == nil {
		t.Error("a folder that is not there is empty")
	}
}

func TestWarm(t *testing.T) {
	Require(t)
	inUse.Lock()
	inUse.roots = nil // as another process would find it
	inUse.Unlock()
	start := time.Now()
	Require(t)
	if d := time.Since(start); d > time.Second {
		t.Errorf("with a finished cache Require took %v, want well under a second", d)
	}
}

func TestSMBD(t *testing.T) {
	p := Require(t)
	s, err := p.StartSMBD(t.Context(), SMBDOptions{Encrypt: "required", Shares: []string{"one", "two"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Shares["one"].Sub("hello.txt").Host, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	port := "--option=client smb transports=tcp:" + strings.TrimPrefix(s.Addr, "127.0.0.1:")
	out, err := p.Command(t.Context(), "smbclient", "//nas.test/one", "-Ualice%secret", port, "-c", "ls").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "hello.txt") {
		t.Errorf("ls: %v\n%s", err, out)
	}
	// Listing shares makes smbd start its RPC helpers, which must not outlive it.
	out, err = p.Command(t.Context(), "smbclient", "-L", "//nas.test", "-Ualice%secret", port).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "two") {
		t.Errorf("list shares: %v\n%s", err, out)
	}
	if out, err = p.Command(t.Context(), "smbclient", "//nas.test/one", "-Ualice%wrong", port, "-c", "ls").CombinedOutput(); err == nil {
		t.Errorf("a wrong password is taken:\n%s", out)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Without namespaces they are killed one by one, and take a moment to be gone.
	for deadline := time.Now().Add(5 * time.Second); len(s.stragglers()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("left behind: processes %d", s.stragglers())
		}
	}
	if _, err := os.Stat(s.dir.Host); !os.IsNotExist(err) {
		t.Errorf("folder left behind: %v", err)
	}
	if _, err := p.StartSMBD(t.Context(), SMBDOptions{Users: map[string]string{"mallory": "x"}}); err == nil {
		t.Error("a user who is not in the chroot is taken")
	}
	if _, err := p.StartSMBD(t.Context(), SMBDOptions{Global: []string{"server smb transports = nonsense"}}); err == nil {
		t.Error("an smbd that cannot listen is reported as running")
	}
}

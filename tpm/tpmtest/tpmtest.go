// Package tpmtest gives tests a TPM of their own: Debian's swtpm, fresh for each.
package tpmtest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A Chip is one swtpm. Its contents outlive Restart, as a real chip's do.
type Chip struct {
	Socket string // for tpm.Open

	dir string
	cmd *exec.Cmd
}

// New starts a chip that nobody has used, and ends it with the test. Without swtpm the test is skipped; in CI it fails.
func New(t testing.TB) *Chip {
	t.Helper()
	path, err := exec.LookPath("swtpm")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no swtpm: apt-get install swtpm")
		}
		t.Skip("no swtpm: apt-get install swtpm")
	}
	// Socket paths have a hundred characters at most: not all of t.TempDir's fit.
	dir, err := os.MkdirTemp("", "tpm")
	if err != nil {
		t.Fatal(err)
	}
	c := &Chip{Socket: filepath.Join(dir, "s"), dir: dir}
	t.Cleanup(func() {
		c.stop()
		os.RemoveAll(dir)
	})
	c.start(t, path)
	return c
}

func (c *Chip) start(t testing.TB, path string) {
	t.Helper()
	os.Remove(c.Socket)
	c.cmd = exec.Command(path, "socket", "--tpm2", "--tpmstate", "dir="+c.dir, "--server", "type=unixio,path="+c.Socket,
		"--flags", "not-need-init,startup-clear", "--log", "level=0")
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("unix", c.Socket); err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("swtpm does not listen")
		}
	}
}

func (c *Chip) stop() {
	if c.cmd != nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
		c.cmd = nil
	}
}

// Restart is what the next boot is to a chip: its PCRs begin anew. Who has it open must open it again.
func (c *Chip) Restart(t testing.TB) {
	t.Helper()
	path := c.cmd.Path
	c.stop()
	c.start(t, path)
}

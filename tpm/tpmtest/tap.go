package tpmtest

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// A Tap is somebody who listens to the bus of a chip.
type Tap struct {
	Socket string // for tpm.Open, instead of the chip's

	mu    sync.Mutex
	heard [][]byte
}

// Tap puts one between the chip and who opens Socket, until the test ends.
func (c *Chip) Tap(t testing.TB) *Tap {
	t.Helper()
	dir, err := os.MkdirTemp("", "tap")
	if err != nil {
		t.Fatal(err)
	}
	tap := &Tap{Socket: filepath.Join(dir, "s")}
	l, err := net.Listen("unix", tap.Socket)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		all.Wait()
		os.RemoveAll(dir)
	})
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { tap.pass(c.Socket, conn) })
		}
	})
	return tap
}

// pass carries what is said both ways, until either side has ended.
func (tap *Tap) pass(socket string, conn net.Conn) {
	defer conn.Close()
	chip, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer chip.Close()
	var both sync.WaitGroup
	both.Go(func() { tap.copy(chip, conn); chip.Close() })
	both.Go(func() { tap.copy(conn, chip); conn.Close() })
	both.Wait()
}

func (tap *Tap) copy(to io.Writer, from io.Reader) {
	b := make([]byte, 8<<10) // larger than a chip's buffer: a message comes in one piece
	for {
		n, err := from.Read(b)
		if n > 0 {
			tap.mu.Lock()
			tap.heard = append(tap.heard, slices.Clone(b[:n]))
			tap.mu.Unlock()
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Heard returns what was said so far, both ways, in the order it was heard.
func (tap *Tap) Heard() [][]byte {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	return slices.Clone(tap.heard)
}

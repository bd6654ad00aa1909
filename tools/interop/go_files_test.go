package interop

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/postern"
)

// TestGoSmallFiles makes, lists, stats and removes 10,000 small files, 8 requests in flight.
func TestGoSmallFiles(t *testing.T) {
	eachLink(t, func(t *testing.T, _ *postern.Server, tgt goTarget, l link) { goSmallFiles(t, tgt, l) })
}

func goSmallFiles(t *testing.T, tgt goTarget, l link) {
	n := 10_000
	if testing.Short() {
		n = 1_000
	}
	const dir = "many"
	share := tgt.mount(t, l)
	if err := share.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := func(i int) string { return fmt.Sprintf("file-%05d.txt", i) }
	path := func(i int) string { return dir + `\` + name(i) }
	size := func(i int) int { return i % 97 } // some are empty
	timed := func(what string, f func() error) {
		t.Helper()
		start := time.Now()
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		took := time.Since(start)
		t.Logf("%-6s %6.0f/s", what, float64(n)/took.Seconds())
	}

	timed("create", func() error {
		return inFlight(8, n, func(i int) error { return share.WriteFile(path(i), pattern(uint64(i), size(i)), 0o666) })
	})
	list := func() map[string]os.FileInfo {
		t.Helper()
		infos, err := share.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]os.FileInfo, len(infos))
		for _, fi := range infos {
			if seen[fi.Name()] != nil {
				t.Fatalf("%s is listed twice", fi.Name())
			}
			seen[fi.Name()] = fi
		}
		return seen
	}
	timed("list", func() error {
		seen := list()
		if len(seen) != n {
			return fmt.Errorf("%d entries, want %d", len(seen), n)
		}
		for i := range n {
			fi := seen[name(i)]
			if fi == nil {
				return fmt.Errorf("%s is missing", name(i))
			}
			if fi.IsDir() || fi.Size() != int64(size(i)) {
				return fmt.Errorf("%s: directory %t, size %d, want %d", name(i), fi.IsDir(), fi.Size(), size(i))
			}
		}
		return nil
	})
	timed("stat", func() error {
		return inFlight(8, n, func(i int) error {
			fi, err := share.Stat(path(i))
			if err != nil {
				return err
			}
			if fi.IsDir() || fi.Size() != int64(size(i)) {
				return fmt.Errorf("%s: directory %t, size %d, want %d", path(i), fi.IsDir(), fi.Size(), size(i))
			}
			if age := time.Since(fi.ModTime()); age < -time.Minute || age > 10*time.Minute {
				return fmt.Errorf("%s: written %v ago", path(i), age)
			}
			return nil
		})
	})
	for i := 0; i < n; i += n / 100 {
		if got := tgt.onDisk(t, dir, name(i)); !bytes.Equal(got, pattern(uint64(i), size(i))) {
			t.Fatalf("%s: contents on disk differ", name(i))
		}
	}
	timed("remove", func() error {
		return inFlight(8, n, func(i int) error { return share.Remove(path(i)) })
	})
	if seen := list(); len(seen) != 0 {
		t.Fatalf("%d entries are left", len(seen))
	}
	if err := share.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := share.Stat(dir); !os.IsNotExist(err) {
		t.Fatalf("stat of the removed folder: %v, want that it does not exist", err)
	}
}

// inFlight calls f(0) ... f(n-1), k at a time, and returns the first error.
func inFlight(k, n int, f func(i int) error) error {
	errs := make(chan error, k)
	var next atomic.Int64
	for range k {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					errs <- nil
					return
				}
				if err := f(i); err != nil {
					next.Store(int64(n))
					errs <- err
					return
				}
			}
		}()
	}
	var first error
	for range k {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

// TestGoServerSideCopy copies a file on the server (FSCTL_SRV_REQUEST_RESUME_KEY and FSCTL_SRV_COPYCHUNK): the
// copy is right, and its bytes did not travel.
func TestGoServerSideCopy(t *testing.T) {
	eachLink(t, func(t *testing.T, _ *postern.Server, tgt goTarget, l link) { goServerSideCopy(t, tgt, l) })
}

func goServerSideCopy(t *testing.T, tgt goTarget, l link) {
	// Below 16 MiB: the library asks for the first 16 MiB again and again when a copy takes more than one request.
	const size = 15<<20 + 12_345
	want := pattern(1, size)
	var traveled atomic.Int64
	dial := l.dial
	l.dial = func(ctx context.Context) (net.Conn, error) {
		c, err := dial(ctx)
		return &countingConn{c, &traveled}, err
	}
	share := tgt.mount(t, l)
	if err := share.WriteFile("from.bin", want, 0o666); err != nil {
		t.Fatal(err)
	}
	from, err := share.Open("from.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := share.Create("to.bin")
	if err != nil {
		t.Fatal(err)
	}
	before := traveled.Load()
	n, err := from.WriteTo(to)
	if err != nil || n != size {
		t.Fatalf("copied %d bytes (%v), want %d", n, err, size)
	}
	if b := traveled.Load() - before; b > 64<<10 {
		t.Errorf("%d bytes traveled for a server-side copy", b)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tgt.onDisk(t, "to.bin"), want) {
		t.Error("the copy on disk differs")
	}
	got, err := share.ReadFile("to.bin")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the copy read back differs")
	}
}

// A countingConn adds up the bytes of both directions.
type countingConn struct {
	net.Conn
	n *atomic.Int64
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.n.Add(int64(n))
	return n, err
}

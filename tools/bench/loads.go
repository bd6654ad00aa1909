package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/tools/bench/client"
)

// inFlight is how many requests a load has under way at a time.
const inFlight = 8

// block is the size of a sequential request: the library splits larger ones.
const block = 1 << 20

// A load is one kind of work. run and bare return how much was done, in the unit without its "/s", and the bytes
// moved where CPU per byte is a question.
type load struct {
	name string
	unit string
	cpu  string // the row of its CPU: seconds for a GB, or microseconds for one of what it counts; if any
	run  func(ctx context.Context, s *session, size sizes) (work float64, bytes int64, err error)
	bare func(ctx context.Context, s *session, size sizes) (work float64, bytes int64, err error)
}

// loads are in the order they run: the first makes the file that others read.
var loads = []load{
	{name: "sequential write", unit: "MB/s", cpu: "server CPU, write", run: write, bare: bareWrite},
	{name: "sequential read", unit: "MB/s", cpu: "server CPU, read", run: read, bare: bareRead},
	{name: "4 KiB random read", unit: "/s", cpu: "server CPU, 4 KiB random read", run: randomRead},
	{name: "stat", unit: "/s", cpu: "server CPU, stat", run: stat},
	{name: "create+write+close+delete", unit: "/s", cpu: "server CPU, create+write+close+delete", run: smallFiles},
	{name: "rename", unit: "/s", cpu: "server CPU, rename", run: rename},
	{name: "list a big directory", unit: "entries/s", run: list},
}

const (
	bigFile   = "bench.bin"
	statFiles = 1_000
)

// furnish makes, through the file system, what the loads only look at.
func (t *target) furnish(size sizes) error {
	for dir, n := range map[string]int{"stat": statFiles, "big": size.entries, "small": 0} {
		path := filepath.Join(t.dir, dir)
		if err := os.Mkdir(path, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o777); err != nil { // whatever the umask: smbd works as its user
			return err
		}
		for i := range n {
			if err := os.WriteFile(filepath.Join(path, fmt.Sprintf("entry-%06d.txt", i)), nil, 0o666); err != nil {
				return err
			}
		}
	}
	return nil
}

func write(_ context.Context, s *session, size sizes) (float64, int64, error) {
	f, err := s.share.Open(bigFile, client.ForWriting)
	if err != nil {
		return 0, 0, err
	}
	data := make([]byte, block)
	fillRandom(data)
	err = blocks(size.file, func(off int64) error { return f.Write(off, data) })
	return float64(size.file) / 1e6, size.file, errors.Join(err, f.Close())
}

func read(_ context.Context, s *session, size sizes) (float64, int64, error) {
	f, err := s.share.Open(bigFile, client.ForReading)
	if err != nil {
		return 0, 0, err
	}
	err = blocks(size.file, func(off int64) error { return f.Read(off, block) })
	return float64(size.file) / 1e6, size.file, errors.Join(err, f.Close())
}

// blocks calls f for each block of a file, in order, inFlight at a time.
func blocks(size int64, f func(off int64) error) error {
	var next atomic.Int64
	return workers(func(int) error {
		for {
			off := next.Add(block) - block
			if off >= size {
				return nil
			}
			if err := f(off); err != nil {
				return err
			}
		}
	})
}

func randomRead(_ context.Context, s *session, size sizes) (float64, int64, error) {
	f, err := s.share.Open(bigFile, client.ForReading)
	if err != nil {
		return 0, 0, err
	}
	n, err := forSpan(size.span, func(_, _ int) error { return f.Read(rand.Int64N(size.file>>12)<<12, 4<<10) })
	return n, 0, errors.Join(err, f.Close())
}

func stat(_ context.Context, s *session, size sizes) (float64, int64, error) {
	n, err := forSpan(size.span, func(_, _ int) error {
		f, err := s.share.Open(fmt.Sprintf(`stat\entry-%06d.txt`, rand.IntN(statFiles)), client.ForStat)
		if err != nil {
			return err
		}
		return f.Close()
	})
	return n, 0, err
}

func smallFiles(_ context.Context, s *session, size sizes) (float64, int64, error) {
	data := make([]byte, 4<<10)
	fillRandom(data)
	n, err := forSpan(size.span, func(worker, i int) error {
		name := fmt.Sprintf(`small\%d-%d.txt`, worker, i)
		f, err := s.share.Open(name, client.ForWriting)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Write(0, data), f.Close()); err != nil {
			return err
		}
		if f, err = s.share.Open(name, client.ForDelete); err != nil {
			return err
		}
		return f.Close()
	})
	return n, 0, err
}

func rename(_ context.Context, s *session, size sizes) (float64, int64, error) {
	names := make([][2]string, inFlight)
	for w := range names {
		id := rand.Uint64() // an earlier round's are there still
		names[w] = [2]string{fmt.Sprintf(`small\from-%x`, id), fmt.Sprintf(`small\to-%x`, id)}
		f, err := s.share.Open(names[w][0], client.ForWriting)
		if err != nil {
			return 0, 0, err
		}
		if err := f.Close(); err != nil {
			return 0, 0, err
		}
	}
	n, err := forSpan(size.span, func(worker, i int) error {
		f, err := s.share.Open(names[worker][i%2], client.ForRename)
		if err != nil {
			return err
		}
		return errors.Join(f.Rename(names[worker][(i+1)%2]), f.Close())
	})
	return n, 0, err
}

func list(_ context.Context, s *session, size sizes) (float64, int64, error) {
	d, err := s.share.Open("big", client.ForListing)
	if err != nil {
		return 0, 0, err
	}
	n, err := d.List()
	if err == nil && n != size.entries+2 {
		err = fmt.Errorf("%d entries, want %d and two for the folders", n, size.entries)
	}
	return float64(n), 0, errors.Join(err, d.Close())
}

// forSpan calls f again and again, inFlight at a time, and returns how often. f gets the number of its worker and of
// its call.
func forSpan(span time.Duration, f func(worker, i int) error) (float64, error) {
	var n atomic.Int64
	end := time.Now().Add(span)
	err := workers(func(worker int) error {
		for i := 0; time.Now().Before(end); i++ {
			if err := f(worker, i); err != nil {
				return err
			}
			n.Add(1)
		}
		return nil
	})
	return float64(n.Load()), err
}

// workers runs f inFlight times at once.
func workers(f func(worker int) error) error {
	errs := make([]error, inFlight)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// fillRandom fills b with what no file system or protocol can compress.
func fillRandom(b []byte) {
	src := rand.NewChaCha8([32]byte{})
	src.Read(b) // never fails
}

// A session is one logon of one target, or the bare stream.
type session struct {
	client *client.Client
	share  *client.Share
	bare   io.ReadWriteCloser
}

func (s *session) close() error {
	if s.bare != nil {
		return s.bare.Close()
	}
	return s.client.Close()
}

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

	smb2 "github.com/cloudsoda/go-smb2"
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
	cpu  string // the row of its CPU seconds per GB, if any
	run  func(ctx context.Context, s *session, size sizes) (work float64, bytes int64, err error)
	bare func(ctx context.Context, s *session, size sizes) (work float64, bytes int64, err error)
}

// loads are in the order they run: the first makes the file that others read.
var loads = []load{
	{name: "sequential write", unit: "MB/s", cpu: "server CPU, write", run: write, bare: bareWrite},
	{name: "sequential read", unit: "MB/s", cpu: "server CPU, read", run: read, bare: bareRead},
	{name: "4 KiB random read", unit: "/s", run: randomRead},
	{name: "stat", unit: "/s", run: stat},
	{name: "create+write+close+delete", unit: "/s", run: smallFiles},
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

func write(ctx context.Context, s *session, size sizes) (float64, int64, error) {
	f, err := s.share.WithContext(ctx).Create(bigFile)
	if err != nil {
		return 0, 0, err
	}
	data := make([]byte, block)
	fillRandom(data)
	err = blocks(size.file, func(off int64, _ []byte) error {
		_, err := f.WriteAt(data, off)
		return err
	})
	return float64(size.file) / 1e6, size.file, errors.Join(err, f.Close())
}

func read(ctx context.Context, s *session, size sizes) (float64, int64, error) {
	f, err := s.share.WithContext(ctx).Open(bigFile)
	if err != nil {
		return 0, 0, err
	}
	err = blocks(size.file, func(off int64, buf []byte) error {
		n, err := f.ReadAt(buf, off)
		if err == nil && n != len(buf) {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
	return float64(size.file) / 1e6, size.file, errors.Join(err, f.Close())
}

// blocks calls f for each block of a file, in order, inFlight at a time, with a buffer of the caller's own.
func blocks(size int64, f func(off int64, buf []byte) error) error {
	var next atomic.Int64
	return workers(func(int) error {
		buf := make([]byte, block)
		for {
			off := next.Add(block) - block
			if off >= size {
				return nil
			}
			if err := f(off, buf); err != nil {
				return err
			}
		}
	})
}

func randomRead(ctx context.Context, s *session, size sizes) (float64, int64, error) {
	f, err := s.share.WithContext(ctx).Open(bigFile)
	if err != nil {
		return 0, 0, err
	}
	n, err := forSpan(size.span, func(_, _ int, buf []byte) error {
		n, err := f.ReadAt(buf[:4<<10], rand.Int64N(size.file>>12)<<12)
		if err == nil && n != 4<<10 {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
	return n, 0, errors.Join(err, f.Close())
}

func stat(ctx context.Context, s *session, size sizes) (float64, int64, error) {
	share := s.share.WithContext(ctx)
	n, err := forSpan(size.span, func(_, _ int, _ []byte) error {
		_, err := share.Stat(fmt.Sprintf(`stat\entry-%06d.txt`, rand.IntN(statFiles)))
		return err
	})
	return n, 0, err
}

func smallFiles(ctx context.Context, s *session, size sizes) (float64, int64, error) {
	share := s.share.WithContext(ctx)
	n, err := forSpan(size.span, func(worker, i int, buf []byte) error {
		name := fmt.Sprintf(`small\%d-%d.txt`, worker, i)
		if err := share.WriteFile(name, buf[:4<<10], 0o666); err != nil {
			return err
		}
		return share.Remove(name)
	})
	return n, 0, err
}

func list(ctx context.Context, s *session, size sizes) (float64, int64, error) {
	d, err := s.share.WithContext(ctx).Open("big")
	if err != nil {
		return 0, 0, err
	}
	infos, err := d.Readdir(-1)
	if err == nil && len(infos) != size.entries {
		err = fmt.Errorf("%d entries, want %d", len(infos), size.entries)
	}
	return float64(len(infos)), 0, errors.Join(err, d.Close())
}

// forSpan calls f again and again, inFlight at a time, and returns how often. f gets the number of its worker, of
// its call, and a buffer.
func forSpan(span time.Duration, f func(worker, i int, buf []byte) error) (float64, error) {
	var n atomic.Int64
	end := time.Now().Add(span)
	err := workers(func(worker int) error {
		buf := make([]byte, 64<<10)
		for i := 0; time.Now().Before(end); i++ {
			if err := f(worker, i, buf); err != nil {
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
	sess  *smb2.Session
	share *smb2.Share
	bare  io.ReadWriteCloser
}

func (s *session) close() error {
	if s.bare != nil {
		return s.bare.Close()
	}
	return errors.Join(s.share.Umount(), s.sess.Logoff())
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/tools/bench/client"
)

// inFlight is how many requests a load has under way at a time.
const inFlight = 8

// block is the size of a sequential request: the library splits larger ones.
const block = 1 << 20

// A load is one kind of work. What prepare does is not measured; it is done again before each run.
type load struct {
	name    string
	unit    string
	cpu     string   // what its CPU is for; "": nobody asks
	on      []string // the targets it runs on; nil: those on loopback
	prepare func(t *target, size sizes) error
	run     func(ctx context.Context, s *session, size sizes) (done, error)
	bare    func(ctx context.Context, s *session, size sizes) (done, error)
	manual  bool // memory is not looked at meanwhile, or only by the load itself
	single  bool // in the first round only
}

func (l load) runsOn(name string) bool {
	if l.on == nil {
		return slices.Contains(localTargets, name)
	}
	return slices.Contains(l.on, name)
}

// done is what a load has done.
type done struct {
	work  float64            // in the load's unit, without its "/s"
	bytes int64              // moved, where CPU for each byte is a question
	took  time.Duration      // 0: as long as the load ran
	more  map[string]float64 // values of other rows
}

func moved(bytes int64) done { return done{work: float64(bytes) / 1e6, bytes: bytes} }

// loads are in the order they run.
var loads = slices.Concat([]load{
	{name: "sequential write", unit: "MB/s", cpu: "write", prepare: removeFile, run: write, bare: bareWrite},
	{name: "sequential read", unit: "MB/s", cpu: "read", prepare: makeFile, run: read, bare: bareRead},
	{name: "4 KiB random read", unit: "/s", cpu: "4 KiB random read", prepare: makeFile, run: randomRead},
	{name: "stat", unit: "/s", cpu: "stat", prepare: makeStat, run: openClose("stat", client.ForStat)},
	{name: "open+close", unit: "/s", cpu: "open+close", prepare: makeStat, run: openClose("stat", client.ForReading)},
	{name: "create+write+close", unit: "/s", cpu: "create+write+close", prepare: makeEmpty("small"), run: smallFiles},
	{name: "rename", unit: "/s", cpu: "rename", prepare: makeEmpty("small"), run: rename},
	{name: "delete", unit: "/s", cpu: "delete", prepare: makeDoomed, run: deleteFiles},
	{name: "list a big directory", unit: "entries/s", cpu: "listed entry", prepare: makeBig, run: list},
	{name: "write over the wire", unit: "MB/s", cpu: "write over the wire", on: wireTargets, prepare: removeFile, run: write, bare: bareWrite},
	{name: "read over the wire", unit: "MB/s", cpu: "read over the wire", on: wireTargets, prepare: makeFile, run: read, bare: bareRead},
	{name: "write, 50 ms, 1 %", unit: "MB/s", on: lossyTargets, prepare: makeFile, run: lossyWrite, bare: lossyBareWrite},
	{name: "read, 50 ms, 1 %", unit: "MB/s", on: lossyTargets, prepare: makeFile, run: lossyRead, bare: lossyBareRead},
}, growth(), []load{
	{name: rowIdleEach, unit: "KiB", on: idleTargets, run: idle, manual: true, single: true},
})

const (
	bigFile   = "bench.bin"
	statFiles = 1_000
)

func write(_ context.Context, s *session, size sizes) (done, error) {
	f, err := s.share.Open(bigFile, client.ForWriting)
	if err != nil {
		return done{}, err
	}
	data := make([]byte, block)
	fillRandom(data)
	err = blocks(size.file, func(off int64) error { return f.Write(off, data) })
	return moved(size.file), errors.Join(err, f.Close())
}

func read(_ context.Context, s *session, size sizes) (done, error) {
	f, err := s.share.Open(bigFile, client.ForReading)
	if err != nil {
		return done{}, err
	}
	err = blocks(size.file, func(off int64) error { return f.Read(off, block) })
	return moved(size.file), errors.Join(err, f.Close())
}

// blocks calls f for each block of a file, in order, inFlight at a time.
func blocks(size int64, f func(off int64) error) error {
	var next atomic.Int64
	return workers(inFlight, func(int) error {
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

func randomRead(_ context.Context, s *session, size sizes) (done, error) {
	f, err := s.share.Open(bigFile, client.ForReading)
	if err != nil {
		return done{}, err
	}
	d, err := forSpan(size.span, func(_, _ int) error { return f.Read(rand.Int64N(size.file>>12)<<12, 4<<10) })
	return d, errors.Join(err, f.Close())
}

// openClose opens files of a folder, one after the other, and closes them again.
func openClose(dir string, how client.How) func(context.Context, *session, sizes) (done, error) {
	return func(_ context.Context, s *session, size sizes) (done, error) {
		return forSpan(size.span, func(_, _ int) error {
			f, err := s.share.Open(dir+`\`+entry(rand.IntN(statFiles)), how)
			if err != nil {
				return err
			}
			return f.Close()
		})
	}
}

func smallFiles(_ context.Context, s *session, size sizes) (done, error) {
	data := make([]byte, 4<<10)
	fillRandom(data)
	return forSpan(size.span, func(worker, i int) error {
		f, err := s.share.Open(fmt.Sprintf(`small\%d-%d.txt`, worker, i), client.ForWriting)
		if err != nil {
			return err
		}
		return errors.Join(f.Write(0, data), f.Close())
	})
}

func rename(_ context.Context, s *session, size sizes) (done, error) {
	names := make([][2]string, inFlight)
	for w := range names {
		names[w] = [2]string{fmt.Sprintf(`small\from-%d`, w), fmt.Sprintf(`small\to-%d`, w)}
		f, err := s.share.Open(names[w][0], client.ForWriting)
		if err != nil {
			return done{}, err
		}
		if err := f.Close(); err != nil {
			return done{}, err
		}
	}
	return forSpan(size.span, func(worker, i int) error {
		f, err := s.share.Open(names[worker][i%2], client.ForRename)
		if err != nil {
			return err
		}
		return errors.Join(f.Rename(names[worker][(i+1)%2]), f.Close())
	})
}

func deleteFiles(_ context.Context, s *session, size sizes) (done, error) {
	var next atomic.Int64
	err := workers(inFlight, func(int) error {
		for {
			i := int(next.Add(1) - 1)
			if i >= size.doomed {
				return nil
			}
			f, err := s.share.Open(`doomed\`+entry(i), client.ForDelete)
			if err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
	})
	return done{work: float64(size.doomed)}, err
}

func list(_ context.Context, s *session, size sizes) (done, error) {
	d, err := s.share.Open("big", client.ForListing)
	if err != nil {
		return done{}, err
	}
	n, err := d.List()
	if err == nil && n != size.entries+2 {
		err = fmt.Errorf("%d entries, want %d and two for the folders", n, size.entries)
	}
	return done{work: float64(n)}, errors.Join(err, d.Close())
}

// forSpan calls f again and again, inFlight at a time, and returns how often. f gets the number of its worker and of
// its call.
func forSpan(span time.Duration, f func(worker, i int) error) (done, error) {
	var n atomic.Int64
	end := time.Now().Add(span)
	err := workers(inFlight, func(worker int) error {
		for i := 0; time.Now().Before(end); i++ {
			if err := f(worker, i); err != nil {
				return err
			}
			n.Add(1)
		}
		return nil
	})
	return done{work: float64(n.Load())}, err
}

// workers runs f n times at once.
func workers(n int, f func(worker int) error) error {
	errs := make([]error, n)
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

// A session is one logon of one target, or the bare stream. close may be called more than once.
type session struct {
	target *target
	client *client.Client
	share  *client.Share
	bare   io.ReadWriter
	close  func() error
}

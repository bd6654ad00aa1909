package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/tools/bench/client"
)

// Loads of the lossy way run for a time, because nobody knows how slow they are: as much is under way as would keep
// 1 Gbit/s busy over 50 ms, in pieces so small that what is not finished in the end hardly counts.
const (
	lossyBlock    = 64 << 10
	lossyInFlight = 100
)

func lossyWrite(_ context.Context, s *session, size sizes) (done, error) {
	data := make([]byte, lossyBlock)
	fillRandom(data)
	return s.forSpan(client.ForUpdate, size, func(f client.File, off int64) error { return f.Write(off, data) })
}

func lossyRead(_ context.Context, s *session, size sizes) (done, error) {
	return s.forSpan(client.ForReading, size, func(f client.File, off int64) error { return f.Read(off, lossyBlock) })
}

// forSpan does one piece of the large file after the other until the time is over, and hangs up.
func (s *session) forSpan(how client.How, size sizes, do func(client.File, int64) error) (done, error) {
	f, err := s.share.Open(bigFile, how)
	if err != nil {
		return done{}, err
	}
	var next, finished atomic.Int64
	over, hangUp := s.after(size.lossy)
	err = workers(lossyInFlight, func(int) error {
		for {
			err := do(f, (next.Add(lossyBlock)-lossyBlock)%size.file)
			if over() {
				return nil
			}
			if err != nil {
				return err
			}
			finished.Add(lossyBlock)
		}
	})
	d := moved(finished.Load())
	d.took = size.lossy
	return d, errors.Join(err, hangUp())
}

// after closes the session when a time is over. over says whether it is; hangUp closes it if it was not.
func (s *session) after(span time.Duration) (over func() bool, hangUp func() error) {
	var ended atomic.Bool
	t := time.AfterFunc(span, func() {
		ended.Store(true)
		_ = s.close() // what it says is of no use: requests are under way
	})
	return ended.Load, func() error {
		if t.Stop() {
			return s.close()
		}
		return nil
	}
}

func lossyBareWrite(_ context.Context, s *session, size sizes) (done, error) {
	return s.bareForSpan('W', size, s.bare.Write)
}

func lossyBareRead(_ context.Context, s *session, size sizes) (done, error) {
	return s.bareForSpan('R', size, s.bare.Read)
}

func (s *session) bareForSpan(kind byte, size sizes, do func([]byte) (int, error)) (done, error) {
	over, hangUp := s.after(size.lossy)
	if err := bareRequest(s.bare, kind, 1<<40); err != nil {
		return done{}, errors.Join(err, hangUp())
	}
	data := make([]byte, lossyBlock)
	fillRandom(data)
	var sum int64
	for {
		n, err := do(data)
		if over() {
			break
		}
		if err != nil {
			return done{}, errors.Join(err, hangUp())
		}
		sum += int64(n)
	}
	d := moved(sum)
	d.took = size.lossy
	return d, nil
}

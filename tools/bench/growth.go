package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/tools/bench/client"
)

var (
	growthTargets = []string{posternQUIC, posternTCP, sambaTCP}
	idleTargets   = []string{posternQUIC, posternTCP}
)

// crowds are how many clients read at a time; memory is looked at with watchedCrowd.
var crowds = []int{1, 8, 64, 512}

const watchedCrowd = 64

func crowdRow(n int) string { return fmt.Sprintf("mixed reads, %d clients", n) }

// growth is a load for each crowd.
func growth() (all []load) {
	for _, n := range crowds {
		all = append(all, load{
			name: crowdRow(n), unit: "MB/s", on: growthTargets, prepare: makeFile, manual: true,
			run: func(ctx context.Context, s *session, size sizes) (done, error) { return crowd(ctx, s, size, n) },
		})
	}
	return all
}

// gathering is how long a crowd may take to log on.
const gathering = time.Minute

// fleet opens n sessions, each from an address of its own, as different machines are.
func (t *target) fleet(ctx context.Context, n int) (*ships, error) {
	ctx, cancel := context.WithTimeout(ctx, gathering)
	defer cancel()
	f := &ships{all: make([]*session, n)}
	var next atomic.Int64
	err := workers(min(n, 16), func(int) error {
		for {
			i := int(next.Add(1) - 1)
			if i >= n {
				return nil
			}
			from := netip.AddrFrom4([4]byte{127, 2, byte(i >> 8), byte(i)})
			var err error
			for range 5 { // a server may refuse who comes when it has many handshakes under way
				if f.all[i], err = t.open(ctx, from); err == nil || ctx.Err() != nil {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			if err != nil {
				return fmt.Errorf("client %d of %d: %w", i+1, n, err)
			}
		}
	})
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

type ships struct{ all []*session }

func (f *ships) close() error {
	return workers(min(len(f.all), 64), func(worker int) error {
		var err error
		for i := worker; i < len(f.all); i += 64 {
			if f.all[i] != nil {
				err = errors.Join(err, f.all[i].close())
			}
		}
		return err
	})
}

// crowd has n clients read here and there in the large file, four requests each in flight: 64 KiB, and each eighth 1 MiB.
func crowd(ctx context.Context, s *session, size sizes, n int) (d done, err error) {
	f, err := s.target.fleet(ctx, n)
	if err != nil {
		return d, err
	}
	hangUp := context.AfterFunc(ctx, func() { _ = f.close() }) // what waits for an answer hears of the end
	defer func() { hangUp(); err = errors.Join(err, f.close()) }()
	files := make([]client.File, n)
	for i, s := range f.all {
		if files[i], err = s.share.Open(bigFile, client.ForReading); err != nil {
			return d, err
		}
	}
	var held memory
	if n <= watchedCrowd {
		defer held.watch(s.target.pid)()
	}
	var sum atomic.Int64
	began := time.Now()
	end := began.Add(size.span)
	err = workers(4*n, func(worker int) error {
		for i := worker; time.Now().Before(end); i++ {
			length := 64 << 10
			if i%8 == 0 {
				length = 1 << 20
			}
			if err := files[worker%n].Read(rand.Int64N((size.file-1<<20)>>16)<<16, length); err != nil {
				return err
			}
			sum.Add(int64(length))
		}
		return nil
	})
	d = done{work: float64(sum.Load()) / 1e6, took: time.Since(began)}
	if n == watchedCrowd {
		d.more = map[string]float64{rowCrowd: float64(held.peak()) / (1 << 20)}
	}
	return d, err
}

// idleClients is how many have logged on and do nothing.
const idleClients = 2_000

// idle measures a server of its own: what it holds with one client, and with idleClients more that each have a share and
// an open folder. Nothing makes it collect garbage but itself.
func idle(ctx context.Context, s *session, _ sizes) (d done, err error) {
	t, stop, err := s.target.fresh(ctx)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	first, err := t.fleet(ctx, 1)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, first.close()) }()
	time.Sleep(time.Second)
	before, err := pss(t.pid)
	if err != nil {
		return d, err
	}
	f, err := t.fleet(ctx, idleClients)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	for _, s := range f.all {
		if _, err := s.share.Open("", client.ForListing); err != nil {
			return d, err
		}
	}
	time.Sleep(5 * time.Second) // the scavenger gives back what logging on took
	after, err := pss(t.pid)
	if err != nil {
		return d, err
	}
	return done{
		work: float64(after-before) / 1024 / idleClients, took: time.Second, // so that the rate is the number itself
		more: map[string]float64{rowIdle: float64(after) / (1 << 20)},
	}, nil
}

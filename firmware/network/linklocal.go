package network

import (
	"context"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"time"
)

// RFC 3927 section 9, in its names.
const (
	probeWait         = time.Second
	probeNum          = 3
	probeMin          = time.Second
	probeMax          = 2 * time.Second
	announceWait      = 2 * time.Second
	announceNum       = 2
	announceInterval  = 2 * time.Second
	maxConflicts      = 10
	rateLimitInterval = time.Minute
	defendInterval    = 10 * time.Second
)

var errConflict = errors.New("another machine has the address")

// choose draws from 169.254.1.0 to 169.254.254.255 (RFC 3927 2.1).
func choose(r *rand.Rand) netip.Addr {
	n := 0x0100 + r.IntN(0xff00-0x0100)
	return netip.AddrFrom4([4]byte{169, 254, byte(n >> 8), byte(n)})
}

// dice are a port's own: the same port begins with the same address after each start.
func dice(mac [6]byte) *rand.Rand {
	h := fnv.New64a()
	h.Write(mac[:])
	return rand.New(rand.NewPCG(h.Sum64(), 3927))
}

// claim looks for a link-local address that nobody has, beginning with first if it is one (RFC 3927 2.2). conflicts is
// how many there were before on this port.
func claim(ctx context.Context, e ether, r *rand.Rand, first netip.Addr, conflicts *int) (netip.Addr, error) {
	for addr := first; ; addr = choose(r) {
		if !addr.IsValid() {
			addr = choose(r)
		}
		if *conflicts >= maxConflicts {
			if err := listen(ctx, e, rateLimitInterval, nil); err != nil {
				return addr, err
			}
		}
		err := free(ctx, e, addr, r)
		if !errors.Is(err, errConflict) {
			return addr, err
		}
		*conflicts++
	}
}

// free probes for addr: errConflict if another has it or probes for it.
func free(ctx context.Context, e ether, addr netip.Addr, r *rand.Rand) error {
	taken := func(a arp) error {
		if a.taken(e.mac, addr) {
			return errConflict
		}
		return nil
	}
	if err := listen(ctx, e, time.Duration(r.Int64N(int64(probeWait))), taken); err != nil {
		return err
	}
	for i := range probeNum {
		if err := e.send(probe(e.mac, addr)); err != nil {
			return err
		}
		pause := probeMin + time.Duration(r.Int64N(int64(probeMax-probeMin)))
		if i == probeNum-1 {
			pause = announceWait
		}
		if err := listen(ctx, e, pause, taken); err != nil {
			return err
		}
	}
	return nil
}

// defend announces addr and holds it until another machine has taken it away, or ctx is done (RFC 3927 2.4, 2.5).
func defend(ctx context.Context, e ether, addr netip.Addr) error {
	var last time.Time // of a conflict
	against := func(a arp) error {
		if a.senderMAC == e.mac || a.sender != addr {
			return nil // a mere probe is answered by the kernel
		}
		if now := time.Now(); !last.IsZero() && now.Sub(last) < defendInterval {
			return errConflict
		}
		last = time.Now()
		return e.send(announce(e.mac, addr))
	}
	for range announceNum {
		if err := e.send(announce(e.mac, addr)); err != nil {
			return err
		}
		if err := listen(ctx, e, announceInterval, against); err != nil {
			return err
		}
	}
	return listen(ctx, e, 0, against)
}

// listen hands what comes in to heard for a time, or until ctx is done if that is zero. It ends with heard's first error.
func listen(ctx context.Context, e ether, limit time.Duration, heard func(arp) error) error {
	var over <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		over = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-over:
			return nil
		case a, ok := <-e.in:
			if !ok {
				return errors.New("the port has gone")
			}
			if heard == nil {
				continue
			}
			if err := heard(a); err != nil {
				return err
			}
		}
	}
}

// How addresses that somebody else gave us are looked at: quicker than link-local ones, for a box that is waited for.
const (
	checkProbes = 2
	checkPause  = 200 * time.Millisecond
)

// check asks twice whether another machine has addr.
func check(ctx context.Context, e ether, addr netip.Addr) error {
	for range checkProbes {
		if err := e.send(probe(e.mac, addr)); err != nil {
			return err
		}
		err := listen(ctx, e, checkPause, func(a arp) error {
			if a.senderMAC != e.mac && a.sender == addr {
				return errConflict
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

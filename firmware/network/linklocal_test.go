package network

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// A segment is an Ethernet in memory: what one sends all others hear.
type segment struct{ ends []chan arp }

func (s *segment) join(last byte) ether {
	in := make(chan arp, 64)
	s.ends = append(s.ends, in)
	me := len(s.ends) - 1
	return ether{mac: [6]byte{2, 0, 0, 0, 0, last}, in: in, send: func(a arp) error {
		for i, e := range s.ends {
			if i != me {
				e <- a
			}
		}
		return nil
	}}
}

func TestChoose(t *testing.T) {
	r, again := dice([6]byte{1}), dice([6]byte{1})
	reserved := []netip.Prefix{netip.MustParsePrefix("169.254.0.0/24"), netip.MustParsePrefix("169.254.255.0/24")}
	for range 100_000 {
		a := choose(r)
		if a != choose(again) {
			t.Fatal("the same port draws other addresses")
		}
		if !a.IsLinkLocalUnicast() || reserved[0].Contains(a) || reserved[1].Contains(a) {
			t.Fatal(a)
		}
	}
}

func TestClaimFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s segment
		e, other := s.join(1), s.join(2)
		begin, conflicts := time.Now(), 0
		addr, err := claim(t.Context(), e, dice(e.mac), netip.Addr{}, &conflicts)
		if err != nil || conflicts != 0 {
			t.Fatal(err)
		}
		// PROBE_WAIT, two pauses and ANNOUNCE_WAIT.
		if took := time.Since(begin); took < 4*time.Second || took > 7*time.Second {
			t.Errorf("took %v", took)
		}
		for range probeNum {
			if a := <-other.in; a != probe(e.mac, addr) {
				t.Errorf("%+v", a)
			}
		}
	})
}

// TestClaimTaken: whoever has the address, or probes for it at the same time, keeps it; after ten conflicts a minute
// passes before the next.
func TestClaimTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s segment
		e, other := s.join(1), s.join(2)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		refused, limit := map[netip.Addr]bool{}, 12
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case a := <-other.in:
					if len(refused) == limit && !refused[a.target] {
						continue
					}
					refused[a.target] = true
					answer := arp{op: arpReply, senderMAC: other.mac, sender: a.target, target: a.target}
					if len(refused)%2 == 0 {
						answer = probe(other.mac, a.target)
					}
					_ = other.send(answer)
				}
			}
		}()
		begin, conflicts := time.Now(), 0
		first := netip.MustParseAddr("169.254.7.7")
		addr, err := claim(ctx, e, dice(e.mac), first, &conflicts)
		if err != nil || conflicts != limit || refused[addr] || !refused[first] {
			t.Errorf("%v after %d conflicts (%v)", addr, conflicts, err)
		}
		if took := time.Since(begin); took < 3*rateLimitInterval {
			t.Errorf("%v, for three tries after the tenth", took)
		}
	})
}

func TestDefend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s segment
		e, other := s.join(1), s.join(2)
		addr := netip.MustParseAddr("169.254.7.7")
		done := make(chan error, 1)
		go func() { done <- defend(t.Context(), e, addr) }()
		for range announceNum {
			if a := <-other.in; a != announce(e.mac, addr) {
				t.Errorf("%+v", a)
			}
		}
		_ = other.send(probe(other.mac, addr)) // no conflict
		time.Sleep(time.Minute)
		for range 2 { // once in a while is defended against
			_ = other.send(announce(other.mac, addr))
			if a := <-other.in; a != announce(e.mac, addr) {
				t.Errorf("%+v", a)
			}
			time.Sleep(defendInterval + time.Second)
		}
		select {
		case err := <-done:
			t.Fatal(err)
		default:
		}
		_ = other.send(announce(other.mac, addr))
		<-other.in
		_ = other.send(announce(other.mac, addr)) // and again: it wants it more
		if err := <-done; !errors.Is(err, errConflict) {
			t.Error(err)
		}
	})
}

func TestDefendEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s segment
		e := s.join(1)
		ctx, cancel := context.WithCancelCause(t.Context())
		over := errors.New("over")
		go func() { time.Sleep(time.Hour); cancel(over) }()
		if err := defend(ctx, e, netip.MustParseAddr("169.254.7.7")); !errors.Is(err, over) {
			t.Error(err)
		}
	})
}

package vm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/postern-nas/postern/images/bundle"
)

// TestPowerCuts takes the power away at random moments of an update: while it is received and written, read back, made the
// next to boot, and while it starts on trial. Whatever the moment, the box boots, has its keys and its users, and can be
// updated again.
func TestPowerCuts(t *testing.T) {
	needsVM(t)
	n := *cuts
	if *soak {
		n *= 5
	}
	const lanes = 2
	for lane := range lanes {
		t.Run(fmt.Sprint("lane ", lane), func(t *testing.T) {
			t.Parallel()
			cutLane(t, (n+lane)/lanes, uint64(time.Now().UnixNano()))
		})
	}
}

func cutLane(t *testing.T, cuts int, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("%d cuts, seed %d", cuts, seed)
	a := image(t)
	b := variant(t, a, 2, nil)
	f := newFeed(t, a.Key())
	m := machine(t, a, f.lines(time.Hour, 3)) // no trial ends in this test
	m.Resets = true
	var password, authority string
	span := 30 * time.Second // of an update until the restart; learned
	seen := map[string]int{}
	for i := range cuts + 1 {
		begin := time.Now()
		if err := m.Start(t.Output()); err != nil {
			t.Fatal(err)
		}
		hear(t, m, boot, "msg=listening transport=quic")
		p, s := hear(t, m, boot, `^  password +(\S+)`), hear(t, m, boot, authorityLine)
		if i > 0 && (p != password || s != authority) {
			t.Fatalf("cut %d: another server: %s %s, before %s %s", i, p, s, password, authority)
		}
		password, authority = p, s
		t.Logf("cut %d: up after %.0f s", i, time.Since(begin).Seconds())
		if i == cuts {
			break
		}
		// A number of its own for each, or the box remembers that this one failed.
		offer := bundle.Release{Board: a.Board, Number: uint64(2 + i), Version: fmt.Sprint("cut ", i)}
		f.set(offer, sign(t, b, offer, a.Key()))
		wait := time.Duration(random.Float64() * 1.7 * float64(span))
		state := hear(t, m, boot, `msg="(installing an update|this version is on trial)"`)
		if state == "installing an update" {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			begin := time.Now()
			if _, err := m.Wait(ctx, `msg="the update is ready`); err == nil {
				span = time.Since(begin)
				state = "the restart or the new system's start"
				<-ctx.Done()
			}
			cancel()
		} else {
			time.Sleep(wait / 4)
		}
		m.Cut()
		seen[state]++
	}
	t.Logf("cut while: %v", seen)
	m.Cut()
}

package smb

import (
	"math"
	"math/rand/v2"
	"testing"
)

// "The server MUST verify that the MessageId is within the window, and that it has not been used", [MS-SMB2] 3.3.5.2.3.
func TestSEC41Window(t *testing.T) {
	w := newWindow()
	const over = overdraft
	if w.take(1+over, 1) {
		t.Error("an id past the overdraft before it was granted")
	}
	if !w.take(0, 0) {
		t.Error("id 0 refused; a charge of 0 uses one")
	}
	if w.take(0, 1) {
		t.Error("id 0 twice")
	}
	if !w.spent() {
		t.Error("the client knows of one credit, and used it")
	}
	if got := w.grant(10); got != 10 {
		t.Fatalf("granted %d", got)
	}
	for _, bad := range []struct {
		id     uint64
		charge int
	}{{0, 1}, {11 + over, 1}, {1, 11 + over}, {10 + over, 2}, {math.MaxUint64, 1}, {math.MaxUint64, 2}, {5, 65535}} {
		if w.take(bad.id, bad.charge) {
			t.Errorf("id %d charge %d accepted", bad.id, bad.charge)
		}
	}
	if !w.take(5, 3) || w.take(7, 1) || w.take(4, 2) || !w.take(4, 1) || !w.take(1, 3) || !w.take(8, 3) {
		t.Error("out of order use")
	}
	if !w.spent() || !w.take(11, over) || w.take(11+over, 1) {
		t.Error("the overdraft")
	}
	if w.credits != 0 || w.span != 0 || w.low != 11+over {
		t.Errorf("left %d credits, span %d, low %d", w.credits, w.span, w.low)
	}
}

// A client that skips one id and uses all others stops getting credits when the ring is full.
func TestWindowSkippedID(t *testing.T) {
	w := newWindow()
	w.take(0, 1)
	w.grant(maxCredits)
	next := uint64(2) // 1 is never used
	for {
		if !w.take(next, 1) {
			break
		}
		next++
		w.grant(1)
	}
	if w.span != 2*maxCredits {
		t.Errorf("span %d", w.span)
	}
	if !w.take(1, 1) || w.grant(1) != 1 {
		t.Error("using the skipped id does not help")
	}
}

// Against a plain set, with random ids and charges.
func TestWindowModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	w, open := newWindow(), map[uint64]bool{}
	high := uint64(0)
	for ; high < 1+overdraft; high++ {
		open[high] = true
	}
	for range 200_000 {
		if rng.IntN(3) == 0 {
			for range w.grant(rng.IntN(300)) {
				open[high] = true
				high++
			}
			continue
		}
		id := high - uint64(rng.IntN(400)) - 1
		charge := 1 + rng.IntN(8)
		want := true
		for i := range charge {
			want = want && open[id+uint64(i)]
		}
		if got := w.take(id, charge); got != want {
			t.Fatalf("take(%d, %d) = %t with high %d", id, charge, got, high)
		}
		if want {
			for i := range charge {
				delete(open, id+uint64(i))
			}
		}
		if len(open) != w.credits || len(open) > maxCredits+overdraft {
			t.Fatalf("%d open, %d credits", len(open), w.credits)
		}
	}
}

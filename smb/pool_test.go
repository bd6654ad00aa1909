package smb

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPoolClasses(t *testing.T) {
	p := newPool(1 << 20)
	for _, c := range []struct{ n, class int }{
		{0, 1 << minClass},
		{1, 1 << minClass},
		{4096, 4096},
		{4097, 8192},
		{65536, 65536},
		{65537, 131072},
		{1 << maxClass, 1 << maxClass},
		{1<<maxClass + 1, 1<<maxClass + 1},
	} {
		b := p.get(c.n)
		if len(b.b) != c.n || cap(b.b) < c.class || c.n <= 1<<maxClass && cap(b.b) != c.class {
			t.Errorf("%d bytes: length %d, capacity %d", c.n, len(b.b), cap(b.b))
		}
		b.release()
	}
	(*buffer)(nil).release()
	// A buffer whose memory was replaced by an append is not taken back into a class that it does not fit.
	b := p.get(100)
	b.b = append(b.b[:cap(b.b)], 1)
	b.release()
	if b := p.get(4096); cap(b.b) != 4096 {
		t.Errorf("capacity %d", cap(b.b))
	}
}

// Who wants more than there is waits, gets it when others give back, and leaves when told.
func TestSEC41PoolBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const k = 1 << minClass // the least that is counted
		p := newPool(200 * k)   // half of it for requests
		ctx := context.Background()
		must := func(n int) *buffer {
			b, err := p.wait(ctx, n)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		a, b := must(60*k), must(40*k)
		got := make(chan *buffer)
		go func() { got <- must(50 * k) }()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("lent beyond the budget")
		default:
		}
		b.release()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("40 pages are not 50")
		default:
		}
		a.release()
		c := <-got
		c.release()
		soon, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		a = must(100 * k)
		if b, err := p.wait(soon, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", b, err)
		}
		p.get(1 << 20).release() // replies are not counted here
		a.release()
		// More than the whole budget takes all of it instead of waiting for ever; what grows takes its share along.
		a = must(1000 * k)
		if a.held != p.half {
			t.Errorf("held %d", a.held)
		}
		a = a.grow(10_000 * k)
		a.release()
		if !p.budget.TryAcquire(p.half) {
			t.Error("the budget did not come back whole")
		}
	})
}

func TestPoolGrow(t *testing.T) {
	p := newPool(1 << 20)
	b := p.get(4096)
	b.b = append(b.b[:0], "these bytes stay"...)
	same := b.grow(4096)
	if same != b {
		t.Error("moved without need")
	}
	for _, n := range []int{4097, 70_000, 1<<maxClass + 5} {
		b = b.grow(n)
		if string(b.b) != "these bytes stay" || cap(b.b) < n {
			t.Fatalf("grown to %d: %q, capacity %d", n, b.b, cap(b.b))
		}
	}
	b.release()
}

// Memory that was given back shows what it is to who still looks at it: in test builds.
func TestSEC12Poison(t *testing.T) {
	probe := []byte{1}
	if poison(probe); probe[0] == 1 {
		t.Skip("only with -race")
	}
	p := newPool(1 << 20)
	b := p.get(1 << 17)
	stale := b.b
	clear(stale)
	b.release()
	if !bytes.Equal(stale[:1<<16], bytes.Repeat([]byte{0xA5}, 1<<16)) {
		t.Error("given back as it was")
	}
}

// Lending costs no allocation once there is something to lend.
func TestPoolAllocations(t *testing.T) {
	if probe := []byte{1}; true {
		if poison(probe); probe[0] != 1 {
			t.Skip("sync.Pool forgets at random under -race")
		}
	}
	p := newPool(1 << 30)
	ctx := context.Background()
	for _, n := range []int{100, 65536, 1 << 20, maxFrame} {
		p.get(n).release()
		if got := testing.AllocsPerRun(200, func() { p.get(n).release() }); got >= 1 {
			t.Errorf("get of %d bytes: %v allocations", n, got)
		}
		if got := testing.AllocsPerRun(200, func() {
			b, err := p.wait(ctx, n)
			if err != nil {
				t.Fatal(err)
			}
			b.release()
		}); got >= 1 {
			t.Errorf("wait for %d bytes: %v allocations", n, got)
		}
	}
}

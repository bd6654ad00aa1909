package smb

import (
	"context"
	"math/bits"
	"sync"

	"golang.org/x/sync/semaphore"
)

// headroom is kept free in front of every message that is built: the frame's length prefix and, when the message
// is sealed, its TRANSFORM_HEADER. So a reply goes out in one write from the memory it was built in.
const (
	prefixSize    = 4
	transformSize = 52
	headroom      = prefixSize + transformSize
)

// Buffers come in powers of two. The smallest holds any reply without bulk data; the largest the largest frame.
const (
	minClass = 12 // 4 KiB
	maxClass = 24 // 16 MiB
)

// A buffer is memory from the pool. Its owner hands it back once with release; nobody keeps slices of it beyond that.
type buffer struct {
	b    []byte // as long as was asked for; its capacity is the whole class
	pool *pool
	held int64 // of the part of the pool's budget that it is from
	from *semaphore.Weighted
}

// A pool lends the memory that requests and replies live in. One half of its budget bounds what frames being received
// hold together, the other what replies being made hold; who finds his half spent waits, and with him the peer. They
// are two because a request waits for room for its reply: were both of one kind, requests could wait for each other.
//
// What compressed requests are made into is of the requests' half, but apart: who waits for it holds the request that
// came. Were it of the same kind, those could wait for each other, too.
type pool struct {
	budget, inflated, replies *semaphore.Weighted
	most, mostInflated        int64 // that one may hold of the first two
	half                      int64
	free                      [maxClass - minClass + 1]sync.Pool
}

// inflatedShare is the part of the requests' half that is set aside for what they are decompressed to: 16 MiB of the
// default, two of the largest.
const inflatedShare = 4

func newPool(budget int64) *pool {
	half := max(budget/2, 1)
	return &pool{budget: semaphore.NewWeighted(half), replies: semaphore.NewWeighted(half), half: half, most: half}
}

// setAside makes room for inflate. It comes before all use.
func (p *pool) setAside() {
	p.mostInflated = max(p.half/inflatedShare, 1)
	p.most = max(p.half-p.mostInflated, 1)
	p.budget, p.inflated = semaphore.NewWeighted(p.most), semaphore.NewWeighted(p.mostInflated)
}

// wait lends n bytes within the requests' half of the budget, waiting for others to give theirs back.
func (p *pool) wait(ctx context.Context, n int) (*buffer, error) {
	return p.lend(ctx, n, p.budget, p.most)
}

// inflate lends n bytes for what a request that is held already is decompressed to.
func (p *pool) inflate(ctx context.Context, n int) (*buffer, error) {
	return p.lend(ctx, n, p.inflated, p.mostInflated)
}

func (p *pool) lend(ctx context.Context, n int, from *semaphore.Weighted, most int64) (*buffer, error) {
	held := min(int64(max(n, 1<<minClass)), most)
	if err := from.Acquire(ctx, held); err != nil {
		return nil, err
	}
	b := p.get(n)
	b.held, b.from = held, from
	return b, nil
}

// get lends n bytes outside the budget.
func (p *pool) get(n int) *buffer {
	class := max(bits.Len(uint(max(n, 1)-1)), minClass)
	if class > maxClass {
		return &buffer{b: make([]byte, n), pool: p}
	}
	if b, ok := p.free[class-minClass].Get().(*buffer); ok {
		b.b = b.b[:n]
		return b
	}
	return &buffer{b: make([]byte, n, 1<<class), pool: p}
}

// release gives the memory back.
func (b *buffer) release() {
	if b == nil {
		return
	}
	p := b.pool
	if b.held > 0 {
		b.from.Release(b.held)
		b.held, b.from = 0, nil
	}
	poison(b.b[:cap(b.b)])
	if class := bits.Len(uint(cap(b.b) - 1)); class >= minClass && class <= maxClass && cap(b.b) == 1<<class {
		p.free[class-minClass].Put(b)
	}
}

// grow makes b at least n bytes of capacity, keeping its first bytes, and returns the buffer to use from now on.
func (b *buffer) grow(n int) *buffer {
	if n <= cap(b.b) {
		return b
	}
	bigger := b.pool.get(n)
	bigger.b = bigger.b[:copy(bigger.b, b.b)]
	bigger.held, bigger.from, b.held = b.held, b.from, 0
	b.release()
	return bigger
}

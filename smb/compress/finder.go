package compress

import (
	"encoding/binary"
	"math"
	"math/bits"
	"sync"
)

// minMatch is the shortest repetition that is looked for. The formats could say 3, but four bytes are one load.
const minMatch = 4

const hashBits = 14

// A hashTable has, by the hash of four bytes, one more than where they were last seen.
type hashTable [1 << hashBits]int32

var tables = sync.Pool{New: func() any { return new(hashTable) }}

// A finder finds repetitions in src, the greedy way: the last place with the same hash or none. Where it finds nothing
// it goes on in longer and longer steps, so that what has no repetitions costs little.
type finder struct {
	src    []byte
	at     int // what is before has been looked at
	window int // how far back a repetition may be
	table  *hashTable
}

// newFinder returns a finder that has to be closed; false if src is longer than it can count.
func newFinder(src []byte, window int) (*finder, bool) {
	if len(src) >= math.MaxInt32 {
		return nil, false
	}
	t := tables.Get().(*hashTable)
	clear(t[:])
	return &finder{src: src, window: window, table: t}, true
}

func (f *finder) close() { tables.Put(f.table) }

// next returns where the next repetition starts, how long it is and how far back it is repeated from. It starts before
// stop and ends at end at most. Without one n is 0 and at is stop.
func (f *finder) next(stop, end int) (at, n, distance int) {
	src := f.src[:end]
	last := min(stop, end-minMatch+1)
	i := f.at
	for steps := 1 << 6; i < last; i += steps >> 6 {
		steps++
		v := binary.LittleEndian.Uint32(src[i:])
		slot := &f.table[v*2654435761>>(32-hashBits)]
		seen := int(*slot) - 1
		*slot = int32(i) + 1
		if seen >= 0 && i-seen <= f.window && binary.LittleEndian.Uint32(src[seen:]) == v {
			n := minMatch + common(src[seen+minMatch:], src[i+minMatch:])
			f.at = i + n
			if j := f.at - 2; j+minMatch <= end { // one place inside: what follows it is often repeated, too
				v := binary.LittleEndian.Uint32(src[j:])
				f.table[v*2654435761>>(32-hashBits)] = int32(j) + 1
			}
			return i, n, i - seen
		}
	}
	f.at = stop
	return stop, 0, 0
}

// common returns how many bytes a and b begin with alike. b is the shorter one.
func common(a, b []byte) (n int) {
	for len(b)-n >= 8 {
		if diff := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); diff != 0 {
			return n + bits.TrailingZeros64(diff)/8
		}
		n += 8
	}
	for n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// Package work is the same for a virtual machine and for its host: how long each takes for it is how much slower the one is
// than the other.
package work

// Do computes for as long as n says, and returns what of, so that it is not left out.
func Do(n int) uint64 {
	// Of everything a little that programs do: arithmetic, memory that is read and written, branches that depend on it.
	table := make([]uint32, 1<<12)
	x := uint64(88172645463325252)
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17 // xorshift64, Marsaglia 2003
		i := x & uint64(len(table)-1)
		table[i] += uint32(x >> 32)
		if table[i]&1 != 0 {
			x += uint64(table[i]) * 3
		}
	}
	return x
}

// Standard is as much as takes a machine some tenths of a second.
const Standard = 30_000_000

package fscc

import (
	"encoding/binary"
	"iter"

	"github.com/postern-nas/postern/smb/nt"
)

// A chain writes a list whose entries begin with the 32-bit distance to the next, 0 in the last.
type chain struct {
	b     []byte
	start int // where the list begins in b
	limit int // how long it may become
	align int // what distances are multiples of
	last  int // where the last entry begins
	n     int
}

// begin makes room for an entry of size bytes and links it, or reports that it does not fit. The caller appends
// exactly size bytes to b, beginning with 4 zeros.
func (c *chain) begin(size int) bool {
	used := len(c.b) - c.start
	pad := -used & (c.align - 1)
	if c.n == 0 {
		pad = 0
	}
	if size > c.limit-used-pad {
		return false
	}
	c.b = append(c.b, zeros[:pad]...)
	if c.n > 0 {
		binary.LittleEndian.PutUint32(c.b[c.last:], uint32(len(c.b)-c.last))
	}
	c.last = len(c.b)
	c.n++
	return true
}

var zeros [64]byte

// links walks over a list written as chain does and yields the bytes of each entry, up to the next or the end. A
// distance that is less than fixed, no multiple of align or past the end yields nt.InvalidParameter and ends the
// walk: so a list takes at most len(b)/fixed steps.
func links(b []byte, fixed, align int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			if len(b) < fixed {
				yield(nil, nt.InvalidParameter)
				return
			}
			next := uint64(binary.LittleEndian.Uint32(b))
			if next == 0 {
				yield(b, nil)
				return
			}
			if next < uint64(fixed) || next%uint64(align) != 0 || next > uint64(len(b)) {
				yield(nil, nt.InvalidParameter)
				return
			}
			if !yield(b[:next:next], nil) {
				return
			}
			b = b[next:]
		}
	}
}

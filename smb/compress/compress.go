// Package compress has the codecs that SMB2 messages are compressed with: Plain LZ77, LZ77+Huffman and LZNT1 of
// [MS-XCA], and the LZ4 block format. LZNT1 is decoded only: nobody asks for it who could not have a better one.
//
// A Decode fills the whole of dst or fails: what the peer has announced is what it has to send. It reads nothing
// outside of src, writes nothing outside of dst, allocates nothing, and takes time linear in both lengths. After an
// error dst holds nothing of use.
//
// An Encode writes into dst and returns how many bytes that are, or false when dst is too short. That is also how a
// caller says how much it wants to save.
package compress

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// ErrCorrupt says that the bytes are not what an encoder makes, or not as long as announced.
var ErrCorrupt = errors.New("corrupt compressed data")

// repeat copies n bytes from distance bytes before at to at, within dst. The two may overlap: then what has just been
// copied is copied on. The caller has checked distance <= at and n <= len(dst)-at.
func repeat(dst []byte, at, distance, n int) {
	from, end := at-distance, at+n
	for at < end {
		at += copy(dst[at:end], dst[from:at]) // twice as much each time
	}
}

// Leading returns how many bytes at the start of b are equal.
func Leading(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	all, n := uint64(b[0])*0x0101010101010101, 0
	for ; len(b)-n >= 8; n += 8 {
		if diff := binary.LittleEndian.Uint64(b[n:]) ^ all; diff != 0 {
			return n + bits.TrailingZeros64(diff)/8
		}
	}
	for n < len(b) && b[n] == b[0] {
		n++
	}
	return n
}

// Trailing returns how many bytes at the end of b are equal.
func Trailing(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	last := b[len(b)-1]
	all, n := uint64(last)*0x0101010101010101, len(b)
	for ; n >= 8; n -= 8 {
		if diff := binary.LittleEndian.Uint64(b[n-8:]) ^ all; diff != 0 {
			return len(b) - n + bits.LeadingZeros64(diff)/8
		}
	}
	for n > 0 && b[n-1] == last {
		n--
	}
	return len(b) - n
}

// The sample that Worthwhile looks at.
const (
	samplePieces = 16
	samplePiece  = 256
	sample       = samplePieces * samplePiece
	// flat is the sum of squares of how often each byte value comes in a sample, for bytes at random: what a sample
	// has a quarter above is no chance.
	flat = sample + sample*(sample-1)/256
)

// Worthwhile guesses from a sample of a few KiB whether b can be compressed. It costs a thousandth of trying, and is
// wrong about what repeats as a whole and looks random otherwise.
func Worthwhile(b []byte) bool {
	if len(b) < sample {
		return true // trying costs little
	}
	var counts [256]uint32
	stride := (len(b) - samplePiece) / (samplePieces - 1)
	for i := range samplePieces {
		for _, v := range b[i*stride:][:samplePiece] {
			counts[v]++
		}
	}
	sum := uint32(0)
	for _, n := range counts {
		sum += n * n
	}
	return sum > flat+flat/4
}

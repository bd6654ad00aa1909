package compress

import (
	"encoding/binary"
	"math/bits"
)

// LZNT1, [MS-XCA] 2.5: chunks that stand for 4 KiB each (the last for what is left), with a 16-bit header: the chunk's
// length less 3, the number 3 in bits 12 to 14, and in bit 15 whether it is compressed.
const (
	lznt1Chunk     = 4096
	lznt1Signature = 3
)

// DecodeLZNT1 decodes LZNT1 that fills dst.
func DecodeLZNT1(dst, src []byte) error {
	for len(dst) > 0 {
		if len(src) < 2 {
			return ErrCorrupt
		}
		head := binary.LittleEndian.Uint16(src)
		n := int(head&0x0FFF) + 1
		if head>>12&7 != lznt1Signature || n > len(src)-2 {
			return ErrCorrupt
		}
		data, chunk := src[2:2+n], dst[:min(lznt1Chunk, len(dst))]
		src, dst = src[2+n:], dst[len(chunk):]
		if head>>15 == 0 {
			if n != len(chunk) {
				return ErrCorrupt
			}
			copy(chunk, data)
		} else if !lznt1Inflate(chunk, data) {
			return ErrCorrupt
		}
	}
	// A header of zero may end the chunks.
	if len(src) == 0 || len(src) == 2 && src[0] == 0 && src[1] == 0 {
		return nil
	}
	return ErrCorrupt
}

// lznt1Inflate decodes one chunk: a byte of flags, from the lowest bit on, and what they tell apart: 0 a literal, 1 a
// match. Of a match's 16 bits the distance has as many as it takes to reach back to the chunk's start, but at least 4.
func lznt1Inflate(dst, src []byte) bool {
	in, out := 0, 0
	for in < len(src) {
		flags := src[in]
		in++
		for range 8 {
			if in == len(src) {
				break
			}
			match := flags&1 != 0
			flags >>= 1
			if !match {
				if out == len(dst) {
					return false
				}
				dst[out] = src[in]
				in, out = in+1, out+1
				continue
			}
			if len(src)-in < 2 || out == 0 {
				return false
			}
			v := int(binary.LittleEndian.Uint16(src[in:]))
			in += 2
			lengthBits := 16 - max(4, bits.Len(uint(out-1)))
			distance, n := v>>lengthBits+1, v&(1<<lengthBits-1)+3
			if distance > out || n > len(dst)-out {
				return false
			}
			repeat(dst, out, distance, n)
			out += n
		}
	}
	return out == len(dst)
}

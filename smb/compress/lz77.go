package compress

import (
	"encoding/binary"
	"math/bits"
)

// Plain LZ77, [MS-XCA] 2.3 and 2.4: 32 flags, from the top bit on, and what they tell apart: 0 a literal, 1 a match of
// 13 bits of distance and 3 of length. A longer length takes half a byte, which two such matches share; then a byte;
// then two; then four.
const lz77Window = 1 << 13

// DecodeLZ77 decodes Plain LZ77 that fills dst.
func DecodeLZ77(dst, src []byte) error {
	var flags uint32
	in, out, left := 0, 0, 0
	half := -1 // where the half byte is that the next long match takes
	for out < len(dst) {
		if left == 0 {
			if len(src)-in < 4 {
				return ErrCorrupt
			}
			flags, left = binary.LittleEndian.Uint32(src[in:]), 32
			in += 4
		}
		if n := min(bits.LeadingZeros32(flags), left, len(dst)-out); n > 0 {
			if n > len(src)-in {
				return ErrCorrupt
			}
			copy(dst[out:out+n], src[in:])
			in, out, left, flags = in+n, out+n, left-n, flags<<n
			continue
		}
		flags <<= 1
		left--
		if len(src)-in < 2 {
			return ErrCorrupt
		}
		v := int(binary.LittleEndian.Uint16(src[in:]))
		in += 2
		distance, n := v>>3+1, uint64(v&7)
		if n == 7 {
			if half >= 0 {
				n = uint64(src[half] >> 4)
				half = -1
			} else {
				if in == len(src) {
					return ErrCorrupt
				}
				half = in
				n = uint64(src[in] & 15)
				in++
			}
			if n == 15 {
				var ok bool
				if n, in, ok = longLength(src, in, 15+7); !ok {
					return ErrCorrupt
				}
				n += 15
			}
			n += 7
		}
		if n += 3; distance > out || n > uint64(len(dst)-out) {
			return ErrCorrupt
		}
		repeat(dst, out, distance, int(n))
		out += int(n)
	}
	// An encoder makes room for the next flags before it knows that there is nothing to flag.
	if rest := len(src) - in; rest == 0 || rest == 4 && left == 0 {
		return nil
	}
	return ErrCorrupt
}

// longLength reads a length that did not fit into bits: one byte, or two behind 255, or four behind those if they are
// zero. The wider ones count less from 0 on, the single byte from less.
func longLength(src []byte, in int, less uint64) (n uint64, next int, ok bool) {
	rest := src[in:]
	switch {
	case len(rest) < 1:
		return 0, in, false
	case rest[0] < 255:
		return uint64(rest[0]), in + 1, true
	case len(rest) < 3:
		return 0, in, false
	}
	n, next = uint64(binary.LittleEndian.Uint16(rest[1:])), in+3
	if n == 0 {
		if len(rest) < 7 {
			return 0, in, false
		}
		n, next = uint64(binary.LittleEndian.Uint32(rest[3:])), in+7
	}
	return n - less, next, n >= less
}

// putLongLength is the reverse; n counts from less on.
func putLongLength(dst []byte, out, n, less int) int {
	if n < 255 {
		dst[out] = byte(n)
		return out + 1
	}
	dst[out] = 255
	out++
	if n += less; n < 1<<16 {
		binary.LittleEndian.PutUint16(dst[out:], uint16(n))
		return out + 2
	}
	binary.LittleEndian.PutUint16(dst[out:], 0)
	binary.LittleEndian.PutUint32(dst[out+2:], uint32(n))
	return out + 6
}

// EncodeLZ77 encodes src as Plain LZ77.
func EncodeLZ77(dst, src []byte) (int, bool) {
	f, ok := newFinder(src, lz77Window)
	if !ok || len(dst) < 4 {
		return 0, false
	}
	defer f.close()
	var flags uint32
	place, out, used := 0, 4, 0 // of the flags; of what comes next; of the flags' bits
	half := -1
	flag := func() {
		binary.LittleEndian.PutUint32(dst[place:], flags)
		place, out, used, flags = out, out+4, 0, 0
	}
	for start := 0; start < len(src); {
		at, n, distance := f.next(len(src), len(src))
		if literals := at - start; len(dst)-out < literals+literals/8+8+2+1+7+4 {
			return 0, false
		}
		for start < at {
			k := min(at-start, 32-used)
			out += copy(dst[out:], src[start:start+k])
			start += k
			flags <<= k
			if used += k; used == 32 {
				flag()
			}
		}
		if n == 0 {
			break
		}
		length := n - 3
		binary.LittleEndian.PutUint16(dst[out:], uint16(distance-1)<<3|uint16(min(length, 7)))
		out += 2
		if length >= 7 {
			length -= 7
			if half >= 0 {
				dst[half] |= byte(min(length, 15)) << 4
				half = -1
			} else {
				half = out
				dst[out] = byte(min(length, 15))
				out++
			}
			if length >= 15 {
				out = putLongLength(dst, out, length-15, 15+7)
			}
		}
		start = at + n
		flags = flags<<1 | 1
		if used++; used == 32 {
			flag()
		}
	}
	// What is left of the flags says "match", and where a match would be is the end.
	flags = flags<<(32-used) | uint32(1<<(32-used)-1)
	binary.LittleEndian.PutUint32(dst[place:], flags)
	return out, true
}

package compress

import "encoding/binary"

// The LZ4 block format: sequences of a token (four bits each for how many literals and how long a match), further
// length bytes, literals, a 16-bit distance, further length bytes. The last sequence ends behind its literals.
const (
	lz4Window   = 1<<16 - 1
	lz4Tail     = 5  // bytes at the end that are literals always
	lz4LastFrom = 12 // no match starts closer to the end
)

// DecodeLZ4 decodes one block that fills dst.
func DecodeLZ4(dst, src []byte) error {
	in, out := 0, 0
	for in < len(src) {
		token := src[in]
		in++
		n, ok := int(token>>4), true
		if n == 15 {
			if n, in, ok = lz4Length(n, src, in, len(dst)-out); !ok {
				return ErrCorrupt
			}
		}
		if n > len(src)-in || n > len(dst)-out {
			return ErrCorrupt
		}
		copy(dst[out:out+n], src[in:])
		in, out = in+n, out+n
		if in == len(src) {
			break
		}
		if len(src)-in < 2 {
			return ErrCorrupt
		}
		distance := int(binary.LittleEndian.Uint16(src[in:]))
		in += 2
		if distance == 0 || distance > out {
			return ErrCorrupt
		}
		if n = int(token & 15); n == 15 {
			if n, in, ok = lz4Length(n, src, in, len(dst)-out); !ok {
				return ErrCorrupt
			}
		}
		if n += minMatch; n > len(dst)-out {
			return ErrCorrupt
		}
		repeat(dst, out, distance, n)
		out += n
		if in == len(src) {
			return ErrCorrupt // ends with a match
		}
	}
	if out != len(dst) || len(src) == 0 {
		return ErrCorrupt
	}
	return nil
}

// lz4Length adds the length bytes at in to n, which may become most.
func lz4Length(n int, src []byte, in, most int) (_, next int, ok bool) {
	for in < len(src) && n <= most {
		v := src[in]
		in++
		n += int(v)
		if v != 255 {
			return n, in, true
		}
	}
	return 0, in, false
}

// EncodeLZ4 encodes src as one block.
func EncodeLZ4(dst, src []byte) (int, bool) {
	f, ok := newFinder(src, lz4Window)
	if !ok {
		return 0, false
	}
	defer f.close()
	out := 0
	for start := 0; ; {
		at, n, distance := f.next(len(src)-lz4LastFrom+1, max(len(src)-lz4Tail, 0))
		if n == 0 {
			at = len(src)
		}
		literals := at - start
		if len(dst)-out < 1+literals+literals/255+1+2+n/255+1 {
			return 0, false
		}
		token := out
		out++
		dst[token] = byte(min(literals, 15) << 4)
		out = lz4PutLength(dst, out, literals)
		out += copy(dst[out:], src[start:at])
		if n == 0 {
			return out, true
		}
		binary.LittleEndian.PutUint16(dst[out:], uint16(distance))
		out += 2
		dst[token] |= byte(min(n-minMatch, 15))
		out = lz4PutLength(dst, out, n-minMatch)
		start = at + n
	}
}

// lz4PutLength puts what of n is not in the token.
func lz4PutLength(dst []byte, out, n int) int {
	if n < 15 {
		return out
	}
	for n -= 15; n >= 255; n -= 255 {
		dst[out] = 255
		out++
	}
	dst[out] = byte(n)
	return out + 1
}

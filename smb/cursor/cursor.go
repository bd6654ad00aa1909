// Package cursor reads little-endian structures from untrusted bytes.
//
// A Reader fails once and stays failed: a decoder is a list of reads in the order of the specification's table
// and one check of Err at the end. It never allocates from a length it has not checked, and it never panics.
package cursor

import (
	"encoding/binary"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrShort says that a structure promised more bytes than there are.
var ErrShort = errors.New("structure runs past the end of its buffer")

// A Reader walks over b. The zero Reader has no bytes.
type Reader struct {
	b   []byte
	off int
	err error
}

// New returns a Reader at the start of b. Slices that it hands out alias b.
func New(b []byte) *Reader { return &Reader{b: b} }

// Err returns the first failure, or nil.
func (r *Reader) Err() error { return r.err }

// Fail records err unless an earlier failure is recorded already.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// Offset returns how many bytes have been read.
func (r *Reader) Offset() int { return r.off }

// Len returns how many bytes are left; none once the Reader has failed.
func (r *Reader) Len() int {
	if r.err != nil {
		return 0
	}
	return len(r.b) - r.off
}

// Bytes returns the next n bytes, aliasing the buffer, or nil.
func (r *Reader) Bytes(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b)-r.off {
		r.Fail(ErrShort)
		return nil
	}
	b := r.b[r.off : r.off+n : r.off+n]
	r.off += n
	return b
}

// Rest returns all bytes that are left.
func (r *Reader) Rest() []byte { return r.Bytes(r.Len()) }

// Skip passes over n bytes.
func (r *Reader) Skip(n int) { r.Bytes(n) }

// Seek moves to an absolute offset from the start of the buffer.
func (r *Reader) Seek(off uint64) {
	if r.err != nil || off > uint64(len(r.b)) {
		r.Fail(ErrShort)
		return
	}
	r.off = int(off)
}

// Align skips to the next multiple of n from the start of the buffer.
func (r *Reader) Align(n int) {
	if over := r.off % n; over != 0 {
		r.Skip(n - over)
	}
}

// U8 reads one byte.
func (r *Reader) U8() uint8 {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads two bytes.
func (r *Reader) U16() uint16 {
	if b := r.Bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// U32 reads four bytes.
func (r *Reader) U32() uint32 {
	if b := r.Bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// U64 reads eight bytes.
func (r *Reader) U64() uint64 {
	if b := r.Bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// At returns n bytes at off of the whole buffer, wherever the Reader stands. It is the one place where an
// (offset, length) pair from the wire becomes a slice: both are widened to 64 bits, so nothing wraps. An empty
// range is nil whatever its offset says.
func (r *Reader) At(off, n uint64) []byte {
	if r.err != nil || n == 0 {
		return nil
	}
	b, ok := Slice(r.b, off, n)
	if !ok {
		r.Fail(ErrShort)
		return nil
	}
	return b
}

// Slice returns b[off:off+n] if all of it lies within b.
func Slice(b []byte, off, n uint64) ([]byte, bool) {
	size := uint64(len(b))
	if off > size || n > size-off {
		return nil, false
	}
	return b[off : off+n : off+n], true
}

// ErrUTF16 says that bytes are not well-formed UTF-16.
var ErrUTF16 = errors.New("malformed UTF-16")

// UTF16 decodes little-endian UTF-16. An odd length or a lone surrogate is ErrUTF16: such a name has no UTF-8
// form that would come back as it was.
func UTF16(b []byte) (string, error) {
	if len(b)%2 != 0 {
		return "", ErrUTF16
	}
	out := make([]byte, 0, len(b)/2+8)
	for i := 0; i < len(b); i += 2 {
		u := rune(binary.LittleEndian.Uint16(b[i:]))
		if u < utf8.RuneSelf {
			out = append(out, byte(u))
			continue
		}
		if utf16.IsSurrogate(u) {
			if i+4 > len(b) {
				return "", ErrUTF16
			}
			u = utf16.DecodeRune(u, rune(binary.LittleEndian.Uint16(b[i+2:])))
			if u == utf8.RuneError {
				return "", ErrUTF16
			}
			i += 2
		}
		out = utf8.AppendRune(out, u)
	}
	return string(out), nil
}

// AppendUTF16 appends s as little-endian UTF-16. Bytes that are not UTF-8 become U+FFFD.
func AppendUTF16(b []byte, s string) []byte {
	for _, r := range s {
		if r >= 0x10000 {
			hi, lo := utf16.EncodeRune(r)
			b = binary.LittleEndian.AppendUint16(b, uint16(hi))
			b = binary.LittleEndian.AppendUint16(b, uint16(lo))
			continue
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(r))
	}
	return b
}

// UTF16Len returns how many bytes AppendUTF16 would append.
func UTF16Len(s string) int {
	n := 0
	for _, r := range s {
		n += 2
		if r >= 0x10000 {
			n += 2
		}
	}
	return n
}

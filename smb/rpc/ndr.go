package rpc

import (
	"encoding/binary"
	"strings"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
)

// A Reader reads NDR (C706 chapter 14) with 32-bit pointers. Like the cursor beneath it fails once and stays failed.
type Reader struct{ r *cursor.Reader }

// NewReader returns a Reader at the start of a stub, which alignment counts from.
func NewReader(stub []byte) *Reader { return &Reader{cursor.New(stub)} }

// Err is nil, or FaultBadStub.
func (r *Reader) Err() error {
	if r.r.Err() != nil {
		return FaultBadStub
	}
	return nil
}

// U16 reads an aligned unsigned short.
func (r *Reader) U16() uint16 {
	r.r.Align(2)
	return r.r.U16()
}

// U32 reads an aligned unsigned long.
func (r *Reader) U32() uint32 {
	r.r.Align(4)
	return r.r.U32()
}

// Pointer reads a unique pointer and reports whether it is not null.
func (r *Reader) Pointer() bool { return r.U32() != 0 }

// maxString bounds strings that are read, in UTF-16 code units: no argument of ours is a text.
const maxString = 32767

// String reads a conformant and varying string of WCHAR with its terminator, C706 14.3.4. The text ends at the first
// NUL.
func (r *Reader) String() string {
	size, offset, count := r.U32(), r.U32(), r.U32()
	if offset != 0 || count > size || count > maxString {
		r.r.Fail(cursor.ErrShort)
		return ""
	}
	b := r.r.Bytes(2 * int(count))
	s, err := cursor.UTF16(b)
	if err != nil {
		r.r.Fail(err)
		return ""
	}
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

// UniqueString reads a unique pointer to a string at a place where the string follows at once, such as an argument.
// ok is false for null.
func (r *Reader) UniqueString() (s string, ok bool) {
	if !r.Pointer() {
		return "", false
	}
	return r.String(), true
}

// U8 reads an unsigned small.
func (r *Reader) U8() uint8 { return r.r.U8() }

// Counted reads a conformant array of bytes; they alias the stub.
func (r *Reader) Counted() []byte { return r.r.Bytes(int(r.U32())) }

// Bytes reads n bytes as they are, a handle for example; they alias the stub.
func (r *Reader) Bytes(n int) []byte { return r.r.Bytes(n) }

// Text reads the head of an RPC_UNICODE_STRING, [MS-DTYP] 2.3.10, and reports whether its text follows, as a String,
// where C706 14.3.12.3 wants it.
func (r *Reader) Text() bool {
	r.r.Align(4)
	length, size := r.U16(), r.U16()
	if length > size || length%2 != 0 {
		r.Fail()
	}
	return r.Pointer()
}

// SID reads an RPC_SID, [MS-DTYP] 2.4.2.3.
func (r *Reader) SID() dtyp.SID {
	n := r.U32()
	if n > dtyp.MaxSubAuthorities {
		r.Fail()
		return ""
	}
	sid, size, err := dtyp.DecodeSID(r.r.Bytes(8 + 4*int(n)))
	if err != nil || size != 8+4*int(n) {
		r.Fail()
		return ""
	}
	return sid
}

// SIDs reads a list of SIDs, at most limit of them, as a count and a unique pointer to as many pointers, as samr and
// lsarpc send them (SAMPR_PSID_ARRAY, LSAPR_SID_ENUM_BUFFER). None may be missing.
func (r *Reader) SIDs(limit uint32) []dtyp.SID {
	n := r.U32()
	if !r.Pointer() {
		return nil
	}
	if r.U32() != n || n > limit {
		r.Fail()
		return nil
	}
	for range n {
		if !r.Pointer() {
			r.Fail()
		}
	}
	var sids []dtyp.SID
	for range n {
		if sids = append(sids, r.SID()); r.Err() != nil {
			return nil
		}
	}
	return sids
}

// Fail makes the Reader fail, for what is well-formed NDR but cannot be.
func (r *Reader) Fail() { r.r.Fail(cursor.ErrShort) }

// A Writer writes NDR with 32-bit pointers. The zero Writer is ready.
type Writer struct {
	b    []byte
	refs uint32
}

// Bytes returns what was written.
func (w *Writer) Bytes() []byte { return w.b }

// Len returns how much was written.
func (w *Writer) Len() int { return len(w.b) }

func (w *Writer) align(n int) {
	for len(w.b)%n != 0 {
		w.b = append(w.b, 0)
	}
}

// Align pads to a multiple of n, 2, 4 or 8: where a structure begins that holds something as long as that.
func (w *Writer) Align(n int) { w.align(n) }

// U8 writes an unsigned small.
func (w *Writer) U8(v uint8) { w.b = append(w.b, v) }

// U64 writes an unsigned hyper, aligned as such.
func (w *Writer) U64(v uint64) {
	w.align(8)
	w.b = binary.LittleEndian.AppendUint64(w.b, v)
}

// Time writes an OLD_LARGE_INTEGER, [MS-SAMR] 2.2.2.2: two longs, and aligned as such.
func (w *Writer) Time(v uint64) {
	w.U32(uint32(v))
	w.U32(uint32(v >> 32))
}

// U16 writes an aligned unsigned short.
func (w *Writer) U16(v uint16) {
	w.align(2)
	w.b = binary.LittleEndian.AppendUint16(w.b, v)
}

// U32 writes an aligned unsigned long.
func (w *Writer) U32(v uint32) {
	w.align(4)
	w.b = binary.LittleEndian.AppendUint32(w.b, v)
}

// Pointer writes a unique pointer: a referent of its own, or null. What it points to follows where C706 14.3.12.3
// wants it.
func (w *Writer) Pointer(present bool) {
	if !present {
		w.U32(0)
		return
	}
	w.U32(0x00020000 + 4*w.refs)
	w.refs++
}

// Text writes the head of an RPC_UNICODE_STRING. An empty one has no text; else TextBody follows where C706 14.3.12.3
// wants it.
func (w *Writer) Text(s string) {
	n := uint16(cursor.UTF16Len(s))
	w.align(4)
	w.U16(n)
	w.U16(n)
	w.Pointer(s != "")
}

// TextBody writes what Text points to.
func (w *Writer) TextBody(s string) {
	if s != "" {
		w.NameBody(s)
	}
}

// Name writes the head of an RPC_UNICODE_STRING that has a text even when that is empty, and NameBody what it points to:
// where clients show a null text otherwise than an empty one, as "(null)".
func (w *Writer) Name(s string) {
	n := uint16(cursor.UTF16Len(s))
	w.align(4)
	w.U16(n)
	w.U16(n)
	w.Pointer(true)
}

// NameBody writes what Name points to.
func (w *Writer) NameBody(s string) {
	n := uint32(cursor.UTF16Len(s) / 2)
	w.U32(n)
	w.U32(0)
	w.U32(n)
	w.b = cursor.AppendUTF16(w.b, s)
}

// SID writes an RPC_SID, which is not the zero SID.
func (w *Writer) SID(s dtyp.SID) {
	w.U32(uint32(s[1]))
	w.b = append(w.b, s...)
}

// Raw writes bytes as they are.
func (w *Writer) Raw(b []byte) { w.b = append(w.b, b...) }

// String writes a conformant and varying string of WCHAR with its terminator.
func (w *Writer) String(s string) {
	n := uint32(cursor.UTF16Len(s)/2) + 1
	w.U32(n)
	w.U32(0)
	w.U32(n)
	w.b = append(cursor.AppendUTF16(w.b, s), 0, 0)
}

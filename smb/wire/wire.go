// Package wire encodes and decodes the messages of [MS-SMB2] section 2.2: one file a command, no state.
//
// A Decode takes one whole message that starts at its 64-byte header and ends where the message ends (Cut divides
// a compound), because offsets on the wire count from the header. Slices in the decoded value alias the message.
// Bytes after the last field are ignored: compounds pad their elements. After an error the value is not to be used.
//
// An Append takes a buffer that ends with exactly the header of the message and appends the body. It trusts its
// caller: what is longer than its length field can say does not come out right.
package wire

import (
	"encoding/binary"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/nt"
)

// An Error says which field of a structure cannot be right. All of them are STATUS_INVALID_PARAMETER to the peer.
type Error struct {
	Struct string // such as "CREATE request"
	Field  string // as the specification names it; empty when no one field is to blame
	Reason string
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Struct + ": " + e.Reason
	}
	return e.Struct + ": " + e.Field + ": " + e.Reason
}

// Unwrap gives the status that the peer is told.
func (e *Error) Unwrap() error { return nt.InvalidParameter }

const (
	reasonShort   = "runs past the end"
	reasonOverlap = "points into the fixed part"
	reasonCount   = "more elements than bytes for them"
	reasonEmpty   = "empty"
)

// A FileID names an open on the wire, [MS-SMB2] 2.2.14.1.
type FileID struct{ Persistent, Volatile uint64 }

// NoFileID stands for "the open of the request before" in a related compound, and for "no open" in FSCTLs that
// need none.
var NoFileID = FileID{^uint64(0), ^uint64(0)}

// A body reads a structure in the order of its table. It fails once and stays failed.
type body struct {
	cursor.Reader
	buf   []byte // what offsets count in
	name  string
	fixed int // where variable parts may start
}

// open starts reading the body of msg. An odd size promises at least a byte of variable part; peers leave that
// byte out, so it is not asked for.
func open(msg []byte, name string, size int) body {
	d := nested(msg, name, HeaderSize+size&^1)
	d.Skip(HeaderSize)
	if got := d.U16(); d.Err() == nil && int(got) != size {
		d.refuse("StructureSize", "wrong")
	}
	return d
}

// nested starts reading a structure inside a message whose fixed part is that long.
func nested(b []byte, name string, fixed int) body {
	d := body{Reader: *cursor.New(b), buf: b, name: name, fixed: fixed}
	if len(b) < fixed {
		d.refuse("", "shorter than its fixed part")
	}
	return d
}

func (d *body) refuse(field, reason string) { d.Fail(&Error{d.name, field, reason}) }

// done returns the first failure as an *Error.
func (d *body) done() error {
	err := d.Err()
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		return e
	}
	return &Error{d.name, "", err.Error()}
}

// at returns the variable part of n bytes at off. An empty part is nil, whatever its offset says.
func (d *body) at(field string, off, n uint32) []byte {
	if n == 0 || d.Err() != nil {
		return nil
	}
	if off < uint32(d.fixed) {
		d.refuse(field, reasonOverlap)
		return nil
	}
	b, ok := cursor.Slice(d.buf, uint64(off), uint64(n))
	if !ok {
		d.refuse(field, reasonShort)
	}
	return b
}

// text decodes the UTF-16 variable part of n bytes at off.
func (d *body) text(field string, off, n uint32) string {
	s, err := cursor.UTF16(d.at(field, off, n))
	if err != nil {
		d.refuse(field, err.Error())
	}
	return s
}

// u16s reads a list of n numbers.
func (d *body) u16s(field string, n int) []uint16 {
	if n == 0 || d.Err() != nil {
		return nil
	}
	if n > d.Len()/2 {
		d.refuse(field, reasonCount)
		return nil
	}
	list := make([]uint16, n)
	for i := range list {
		list[i] = d.U16()
	}
	return list
}

func (d *body) fileID() FileID { return FileID{d.U64(), d.U64()} }

// data returns the next n bytes, nil if n is 0.
func (d *body) data(n int) []byte {
	if n == 0 {
		return nil
	}
	return d.Bytes(n)
}

func (d *body) bytes16() (a [16]byte) {
	copy(a[:], d.Bytes(16))
	return a
}

var le = binary.LittleEndian

func u16(b []byte, v uint16) []byte { return le.AppendUint16(b, v) }
func u32(b []byte, v uint32) []byte { return le.AppendUint32(b, v) }
func u64(b []byte, v uint64) []byte { return le.AppendUint64(b, v) }

func u16s(b []byte, list []uint16) []byte {
	for _, v := range list {
		b = u16(b, v)
	}
	return b
}

func fileID(b []byte, id FileID) []byte { return u64(u64(b, id.Persistent), id.Volatile) }

// pad8 pads b so that what follows is 8-byte aligned as counted from base.
func pad8(b []byte, base int) []byte {
	for (len(b)-base)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// variable appends the variable part of a request whose StructureSize is odd. The odd byte is there even when
// nothing else is: servers may count on it.
func variable(b, data []byte) []byte {
	if len(data) == 0 {
		return append(b, 0)
	}
	return append(b, data...)
}

// A bare body is StructureSize 4 and two reserved bytes, as seven messages have it.
func decodeBare(msg []byte, name string) error {
	d := open(msg, name, 4)
	return d.done()
}

func appendBare(b []byte) []byte { return append(b, 4, 0, 0, 0) }

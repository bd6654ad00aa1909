package fscc

import (
	"encoding/binary"
	"math"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/nt"
)

// A Stream is one FILE_STREAM_INFORMATION, [MS-FSCC] 2.4. Name is as on the wire: "::$DATA", ":name:$DATA".
type Stream struct {
	Name                 string
	Size, AllocationSize int64
}

// AppendStreams encodes the list as far as whole entries fit into limit bytes; all is false when some did not.
func AppendStreams(b []byte, limit int, list []Stream) (out []byte, all bool) {
	c := chain{b: b, start: len(b), limit: limit, align: 8}
	for _, s := range list {
		n := cursor.UTF16Len(s.Name)
		if !c.begin(24 + n) {
			return c.b, false
		}
		c.b = append(c.b, 0, 0, 0, 0)
		c.b = binary.LittleEndian.AppendUint32(c.b, uint32(n))
		c.b = binary.LittleEndian.AppendUint64(c.b, uint64(s.Size))
		c.b = binary.LittleEndian.AppendUint64(c.b, uint64(s.AllocationSize))
		c.b = cursor.AppendUTF16(c.b, s.Name)
	}
	return c.b, true
}

// DecodeStreams reads a list of streams; no bytes are no streams.
func DecodeStreams(b []byte) (list []Stream, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	for e, err := range links(b, 24, 8) {
		if err != nil {
			return nil, err
		}
		s := Stream{Size: int64(binary.LittleEndian.Uint64(e[8:])), AllocationSize: int64(binary.LittleEndian.Uint64(e[16:]))}
		if s.Name, err = name(e, 24, binary.LittleEndian.Uint32(e[4:])); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// MaxEATotal bounds all extended attributes of a file, as NTFS does.
const MaxEATotal = 64 << 10

// NeedEA in an EA's Flags says that who does not understand EAs must not open the file (FILE_NEED_EA).
const NeedEA uint8 = 0x80

// An EA is one FILE_FULL_EA_INFORMATION, [MS-FSCC] 2.4: name and value are bytes, the name ASCII.
type EA struct {
	Flags uint8
	Name  string // at most 255 bytes
	Value []byte // at most 65535 bytes; empty when set: remove the attribute
}

// AppendEAs encodes the list as far as whole entries fit into limit bytes; all is false when some did not. An EA
// whose parts are too long for their fields ends the list as well.
func AppendEAs(b []byte, limit int, list []EA) (out []byte, all bool) {
	c := chain{b: b, start: len(b), limit: limit, align: 4}
	for _, e := range list {
		if len(e.Name) > 0xFF || len(e.Value) > 0xFFFF || !c.begin(9+len(e.Name)+len(e.Value)) {
			return c.b, false
		}
		c.b = append(c.b, 0, 0, 0, 0, e.Flags, byte(len(e.Name)))
		c.b = binary.LittleEndian.AppendUint16(c.b, uint16(len(e.Value)))
		c.b = append(append(append(c.b, e.Name...), 0), e.Value...)
	}
	return c.b, true
}

// EASize returns how long the whole list is, encoded: what FILE_EA_INFORMATION and the directory classes tell.
func EASize(list []EA) uint32 {
	n := uint64(0)
	for _, e := range list {
		n = (n+3)&^3 + uint64(9+len(e.Name)+len(e.Value))
	}
	return uint32(min(n, math.MaxUint32))
}

// DecodeEAs reads a list of EAs, as a client sets it or a CREATE carries it. A list that is broken is
// nt.EAListInconsistent, one above MaxEATotal nt.EATooLarge, a name that cannot be one nt.InvalidEAName; no bytes are
// no EAs.
func DecodeEAs(b []byte) (list []EA, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) > MaxEATotal {
		return nil, nt.EATooLarge
	}
	for e, err := range links(b, 9, 4) {
		if err != nil {
			return nil, nt.EAListInconsistent
		}
		nameLen, valueLen := uint64(e[5]), uint64(binary.LittleEndian.Uint16(e[6:]))
		n, _ := cursor.Slice(e, 8, nameLen)
		end, ok := cursor.Slice(e, 8+nameLen, 1)
		v, okValue := cursor.Slice(e, 9+nameLen, valueLen)
		if !ok || !okValue || end[0] != 0 {
			return nil, nt.EAListInconsistent
		}
		if e[4]&^NeedEA != 0 || !validEAName(n) {
			return nil, nt.InvalidEAName
		}
		list = append(list, EA{Flags: e[4], Name: string(n), Value: append([]byte(nil), v...)})
	}
	return list, nil
}

// AppendEANames encodes the FILE_GET_EA_INFORMATION list, [MS-FSCC] 2.4, that asks for these EAs.
func AppendEANames(b []byte, names []string) []byte {
	c := chain{b: b, start: len(b), limit: MaxEATotal, align: 4}
	for _, n := range names {
		if len(n) > 0xFF || !c.begin(6+len(n)) {
			break
		}
		c.b = append(c.b, 0, 0, 0, 0, byte(len(n)))
		c.b = append(append(c.b, n...), 0)
	}
	return c.b
}

// DecodeEANames reads the list of EAs that a query asks for. Its errors are those of DecodeEAs.
func DecodeEANames(b []byte) (names []string, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) > MaxEATotal {
		return nil, nt.EAListInconsistent
	}
	for e, err := range links(b, 6, 4) {
		if err != nil {
			return nil, nt.EAListInconsistent
		}
		n, ok := cursor.Slice(e, 5, uint64(e[4]))
		if _, end := cursor.Slice(e, 5+uint64(e[4]), 1); !ok || !end || e[5+len(n)] != 0 {
			return nil, nt.EAListInconsistent
		}
		if !validEAName(n) {
			return nil, nt.InvalidEAName
		}
		names = append(names, string(n))
	}
	return names, nil
}

// ValidEAName reports whether name may name an extended attribute, [MS-FSCC] 2.4: none of the characters in
// the list there.
func ValidEAName(name string) bool { return len(name) <= 0xFF && validEAName([]byte(name)) }

// validEAName applies [MS-FSCC] 2.4: not empty, no control characters, none of the characters in the list there.
func validEAName(n []byte) bool {
	for _, c := range n {
		switch {
		case c < 0x20, c == '"', c == '*', c == '+', c == ',', c == '/', c == ':', c == ';', c == '<', c == '=',
			c == '>', c == '?', c == '[', c == '\\', c == ']', c == '|':
			return false
		}
	}
	return len(n) > 0
}

// An Action of a change, [MS-FSCC] 2.7.1.
type Action uint32

// Actions.
const (
	ActionAdded           Action = 1
	ActionRemoved         Action = 2
	ActionModified        Action = 3
	ActionRenamedOld      Action = 4
	ActionRenamedNew      Action = 5
	ActionAddedStream     Action = 6
	ActionRemovedStream   Action = 7
	ActionModifiedStream  Action = 8
	ActionRemovedByDelete Action = 9
	ActionIDNotTunnelled  Action = 10
	ActionTunnelledID     Action = 11
)

// A Change is one FILE_NOTIFY_INFORMATION, [MS-FSCC] 2.7.1. Name is a path from the watched directory.
type Change struct {
	Action Action
	Name   string
}

// AppendChanges encodes the list; all is false when it does not fit into limit bytes, and then the answer is
// nt.NotifyEnumDir and none of it.
func AppendChanges(b []byte, limit int, list []Change) (out []byte, all bool) {
	c := chain{b: b, start: len(b), limit: limit, align: 4}
	for _, ch := range list {
		n := cursor.UTF16Len(ch.Name)
		if !c.begin(12 + n) {
			return b, false
		}
		c.b = append(c.b, 0, 0, 0, 0)
		c.b = binary.LittleEndian.AppendUint32(c.b, uint32(ch.Action))
		c.b = binary.LittleEndian.AppendUint32(c.b, uint32(n))
		c.b = cursor.AppendUTF16(c.b, ch.Name)
	}
	return c.b, true
}

// DecodeChanges reads a list of changes; no bytes are no changes.
func DecodeChanges(b []byte) (list []Change, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	for e, err := range links(b, 12, 4) {
		if err != nil {
			return nil, err
		}
		c := Change{Action: Action(binary.LittleEndian.Uint32(e[4:]))}
		if c.Name, err = name(e, 12, binary.LittleEndian.Uint32(e[8:])); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

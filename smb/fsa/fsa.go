// Package fsa is the pure engine of [MS-FSA]: which opens of one file may stand beside each other, what each may cache
// and has to give back, and when the file goes. It has no mutex, clock, connection or SMB in it: the caller guards each File and does what the
// answers say. (The losing design kept this inside the server's CREATE and CLOSE, where a script cannot drive it.)
package fsa

import (
	"iter"
	"maps"

	"github.com/postern-nas/postern/smb/nt"
)

// Bits of access and share masks that this package judges by, [MS-SMB2] 2.2.13 and 2.2.13.1.
const (
	ReadData   uint32 = 0x00000001
	WriteData  uint32 = 0x00000002
	AppendData uint32 = 0x00000004
	Execute    uint32 = 0x00000020
	Delete     uint32 = 0x00010000

	ReadAttributes  uint32 = 0x00000080
	WriteAttributes uint32 = 0x00000100
	ReadControl     uint32 = 0x00020000
	Synchronize     uint32 = 0x00100000

	ShareRead   uint32 = 1
	ShareWrite  uint32 = 2
	ShareDelete uint32 = 4
)

const (
	reads  = ReadData | Execute
	writes = WriteData | AppendData
	shared = reads | writes | Delete // an open with none of these takes no part in sharing
)

// A Mode is what one open asks of a file and leaves to others.
type Mode struct {
	Access uint32 // granted rights
	Share  uint32
	// DeleteOnClose marks the file for deletion when this open is closed.
	DeleteOnClose bool
	// Replace empties the file as it is opened.
	Replace bool
	Key     Key
}

// A File holds the opens of one object. O tells opens apart. The zero File has none.
type File[O comparable] struct {
	opens map[O]Mode
	// holders are the leases and oplocks in the order they were granted; caches finds an open's.
	holders []*holder[O]
	caches  map[O]*holder[O]
	breaks  uint64 // how many were to be acknowledged: their IDs
	// deletePending: no new opens; the object goes with the last one. [MS-FSA] 2.1.1.4 Link.IsDeleted.
	deletePending bool
	locks         []held[O] // byte ranges, in the order they were granted
}

// Open adds an open. It fails with nt.DeletePending or nt.SharingViolation and then changes nothing, or with ErrWait.
// Whatever it says, the breaks are to be told. [MS-FSA] 2.1.5.1.2.
func (f *File[O]) Open(o O, m Mode) ([]Break[O], error) {
	if f.deletePending {
		return nil, nt.DeletePending
	}
	if breaks, err := f.shared(m); err != nil {
		return breaks, err
	}
	breaks, err := f.opening(m)
	if err != nil {
		return breaks, err
	}
	if f.opens == nil {
		f.opens = make(map[O]Mode)
	}
	f.opens[o] = m
	return breaks, nil
}

// Narrow leaves an open with access: what it needed only to be opened is done. Others are judged by the rest.
func (f *File[O]) Narrow(o O, access uint32) {
	if m, ok := f.opens[o]; ok {
		m.Access = access
		f.opens[o] = m
	}
}

// conflict compares both ways: what each open does with what the other one shares.
func conflict(a, b Mode) bool {
	if a.Access&shared == 0 || b.Access&shared == 0 {
		return false
	}
	return refuses(a, b) || refuses(b, a)
}

// refuses reports whether holder's share mode excludes what the other open does.
func refuses(holder, other Mode) bool {
	return other.Access&reads != 0 && holder.Share&ShareRead == 0 ||
		other.Access&writes != 0 && holder.Share&ShareWrite == 0 ||
		other.Access&Delete != 0 && holder.Share&ShareDelete == 0
}

// Close removes an open with what it caches, and reports whether it was the last one and whether the object is to be
// deleted now. After it said so no open succeeds; forget the File once the object is gone. [MS-FSA] 2.1.5.5.
func (f *File[O]) Close(o O) (last, remove bool, breaks []Break[O]) {
	m, ok := f.opens[o]
	if !ok {
		return false, false, nil
	}
	delete(f.opens, o)
	f.drop(o)
	f.dropLocks(func(i int) bool { return f.locks[i].owner == o })
	if m.DeleteOnClose {
		f.deletePending = true
		breaks, _ = f.takeHandles(nil, m.Key) // who keeps it open for its own sake keeps it from going; a close waits for nobody
	}
	last = len(f.opens) == 0
	return last, last && f.deletePending, breaks
}

// SetDelete marks the file for deletion with its last open, or takes that back. [MS-FSA] 2.1.5.15.3. Whether the
// object may be deleted at all (read-only, not empty) is the caller's to judge before.
func (f *File[O]) SetDelete(on bool) { f.deletePending = on }

// SetDeleteOnClose makes closing o mark the file for deletion, or not.
func (f *File[O]) SetDeleteOnClose(o O, on bool) {
	if m, ok := f.opens[o]; ok {
		m.DeleteOnClose = on
		f.opens[o] = m
	}
}

// DeletesOnClose reports whether closing o marks the file for deletion.
func (f *File[O]) DeletesOnClose(o O) bool { return f.opens[o].DeleteOnClose }

// DeletePending reports whether the object goes with its last open.
func (f *File[O]) DeletePending() bool { return f.deletePending }

// MayRename reports whether o's object may get another name while others have it open: each must share delete.
// [MS-FSA] 2.1.5.15.11.
func (f *File[O]) MayRename(o O) bool {
	for other, m := range f.opens {
		if other != o && m.Access&shared != 0 && m.Share&ShareDelete == 0 {
			return false
		}
	}
	return true
}

// Any returns one of the opens, if there are any.
func (f *File[O]) Any() (o O, ok bool) {
	for o = range f.opens {
		return o, true
	}
	return o, false
}

// All yields the opens, in any order.
func (f *File[O]) All() iter.Seq[O] { return maps.Keys(f.opens) }

// Len returns how many opens there are.
func (f *File[O]) Len() int { return len(f.opens) }

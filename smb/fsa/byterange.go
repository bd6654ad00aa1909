package fsa

import "github.com/postern-nas/postern/smb/nt"

// Bounds of byte-range locks. Windows states none; programs that lock records hold hundreds. Locks are a plain list
// that each READ, WRITE and LOCK walks: at MaxFileRanges that takes some 20 microseconds.
const (
	MaxRanges     = 10_000 // of one open
	MaxFileRanges = 16_384 // of one file
)

// A Range is bytes of a file. It may lie beyond the end of file, and may be empty: an empty range stands between two
// bytes, and overlaps what has both.
type Range struct{ Offset, Length uint64 }

// valid says that the last byte has an offset, [MS-FSA] 2.1.5.8.
func (r Range) valid() bool { return r.Length == 0 || r.Offset+(r.Length-1) >= r.Offset }

func (r Range) last() uint64 { return r.Offset + (r.Length - 1) }

// end is the last byte, or for an empty range its offset: ranges that do not overlap even with that are told apart
// in two comparisons.
func (r Range) end() uint64 {
	if r.Length == 0 {
		return r.Offset
	}
	return r.last()
}

// overlaps is [MS-FSA] 2.1.4.10's comparison. Both ranges are valid. Two empty ranges never overlap.
func (r Range) overlaps(s Range) bool {
	switch {
	case r.Length == 0 && s.Length == 0:
		return false
	case r.Length == 0:
		return s.Offset < r.Offset && r.Offset <= s.last()
	case s.Length == 0:
		return r.Offset < s.Offset && s.Offset <= r.last()
	}
	return r.Offset <= s.last() && s.Offset <= r.last()
}

// A Lock is a range and how it is, or is to be, held.
type Lock struct {
	Range
	Exclusive bool
}

// A held is a lock that was granted. Equal locks of one open stack: each is one more.
type held[O comparable] struct {
	Lock
	end   uint64
	owner O
}

// Lock gives o all of the locks, or none. LockNotGranted says that others must unlock first: ask again then.
// InvalidLockRange is a range that wraps; RangeNotLocked an o that has no open (any more), InsufficientResources
// more locks than MaxRanges and MaxFileRanges allow. [MS-FSA] 2.1.5.8.
//
// An exclusive lock stands beside no other that it overlaps, not even one of the same open. A shared lock stands
// beside other shared locks and on top of the same open's exclusive ones.
func (f *File[O]) Lock(o O, locks ...Lock) error {
	if _, ok := f.opens[o]; !ok {
		return nt.RangeNotLocked
	}
	before := len(f.locks)
	err := f.lock(o, locks)
	if err != nil {
		clear(f.locks[before:])
		f.locks = f.locks[:before]
	}
	return err
}

func (f *File[O]) lock(o O, locks []Lock) error {
	mine := f.Locks(o)
	for _, w := range locks {
		switch {
		case !w.valid():
			return nt.InvalidLockRange
		case mine >= MaxRanges || len(f.locks) >= MaxFileRanges:
			return nt.InsufficientResources
		}
		if f.meets(w.Range, func(l *held[O]) bool { return w.Exclusive || l.Exclusive && l.owner != o }) {
			return nt.LockNotGranted
		}
		f.locks = append(f.locks, held[O]{w, w.end(), o})
		mine++
	}
	return nil
}

// Unlock gives up one lock of o on exactly this range, an exclusive one before a shared one. It fails with
// RangeNotLocked, or InvalidLockRange for a range that wraps. [MS-FSA] 2.1.5.9.
func (f *File[O]) Unlock(o O, r Range) error {
	if !r.valid() {
		return nt.InvalidLockRange
	}
	found := -1
	for i := range f.locks {
		if l := &f.locks[i]; l.owner == o && l.Range == r && (found < 0 || l.Exclusive) {
			found = i
			if l.Exclusive {
				break
			}
		}
	}
	if found < 0 {
		return nt.RangeNotLocked
	}
	f.dropLocks(func(i int) bool { return i == found })
	return nil
}

// MayRead fails with FileLockConflict if another open holds part of the range exclusively, MayWrite if anyone has
// locked part of it but o exclusively: a shared lock keeps even its owner from writing. No bytes conflict with
// nothing. [MS-FSA] 2.1.4.10, 2.1.5.3, 2.1.5.4.
func (f *File[O]) MayRead(o O, r Range) error { return f.may(o, r, false) }

// MayWrite is described at MayRead.
func (f *File[O]) MayWrite(o O, r Range) error { return f.may(o, r, true) }

func (f *File[O]) may(o O, r Range, write bool) error {
	if len(f.locks) == 0 || r.Length == 0 {
		return nil
	}
	if !r.valid() {
		r.Length = -r.Offset // up to the last byte there is
	}
	if f.meets(r, func(l *held[O]) bool { return (l.owner != o || !l.Exclusive) && (write || l.Exclusive) }) {
		return nt.FileLockConflict
	}
	return nil
}

// meets reports whether r overlaps a lock that counts.
func (f *File[O]) meets(r Range, counts func(*held[O]) bool) bool {
	end := r.end()
	for i := range f.locks {
		if l := &f.locks[i]; r.Offset <= l.end && l.Offset <= end && r.overlaps(l.Range) && counts(l) {
			return true
		}
	}
	return false
}

// Locks returns how many locks o holds.
func (f *File[O]) Locks(o O) (n int) {
	for i := range f.locks {
		if f.locks[i].owner == o {
			n++
		}
	}
	return n
}

// dropLocks removes those that gone says, by index, and keeps the order of the rest.
func (f *File[O]) dropLocks(gone func(i int) bool) {
	kept := f.locks[:0]
	for i, l := range f.locks {
		if !gone(i) {
			kept = append(kept, l)
		}
	}
	clear(f.locks[len(kept):])
	f.locks = kept
	if len(kept) == 0 {
		f.locks = nil
	}
}

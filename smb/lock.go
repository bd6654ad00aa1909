package smb

import (
	"errors"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fsa"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// maxSessionLocks bounds what one session's locks take, at 56 bytes each, over all of its files: 7 MiB.
const maxSessionLocks = 128 << 10

// lock is [MS-SMB2] 3.3.5.14. The first element says whether ranges are locked or unlocked.
func (r *request) lock() (response, error) {
	var req wire.LockRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	o, err := r.findFile(req.FileID)
	if err != nil {
		return nil, err
	}
	if o.isDir {
		return nil, because(nt.InvalidParameter, "a directory has no bytes to lock")
	}
	if err := o.need(dtyp.ReadData | dtyp.WriteData); err != nil {
		return nil, err
	}
	if o.replayed(req.Sequence) {
		return &wire.LockResponse{}, nil
	}
	if req.Locks[0].Flags&wire.LockUnlock != 0 {
		err = r.unlockRanges(o, req.Locks)
	} else {
		if err := r.session.current(); err != nil {
			return nil, err
		}
		err = r.lockRanges(o, req.Locks)
	}
	if err != nil {
		return nil, err
	}
	if req.Locks[0].Flags&wire.LockUnlock == 0 {
		o.modified() // nobody else may read or write without asking
	}
	o.done(req.Sequence)
	o.changed(r.ctx, false)
	return &wire.LockResponse{}, nil
}

// unlockRanges unlocks one element after the other, [MS-SMB2] 3.3.5.14.1. What it unlocked before an element that
// fails stays unlocked.
func (r *request) unlockRanges(o *open, elements []wire.LockElement) (err error) {
	f := o.object
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := o.lockedBy(r); err != nil {
		return err
	}
	for _, e := range elements {
		if e.Flags != wire.LockUnlock {
			return because(nt.InvalidParameter, "flags %#x among ranges to unlock", e.Flags)
		}
		if err := f.fsa.Unlock(o, fsa.Range{Offset: e.Offset, Length: e.Length}); err != nil {
			return err
		}
		o.session().locks.Add(-1)
		f.unlocked.wake()
	}
	return nil
}

// lockRanges locks all elements or none, [MS-SMB2] 3.3.5.14.2. A single one may wait until others unlock.
func (r *request) lockRanges(o *open, elements []wire.LockElement) error {
	now := elements[0].Flags&wire.LockFailImmediately != 0
	locks := make([]fsa.Lock, len(elements))
	for i, e := range elements {
		kind := e.Flags &^ wire.LockFailImmediately
		if kind != wire.LockShared && kind != wire.LockExclusive {
			return because(nt.InvalidParameter, "flags %#x of a range to lock", e.Flags)
		}
		if len(elements) > 1 && e.Flags&wire.LockFailImmediately == 0 {
			return because(nt.InvalidParameter, "several ranges, and one of them would wait")
		}
		locks[i] = fsa.Lock{Range: fsa.Range{Offset: e.Offset, Length: e.Length}, Exclusive: kind == wire.LockExclusive}
	}
	f := o.object
	for {
		f.mu.Lock()
		err := o.tryLock(r, locks)
		wait := !now && errors.Is(err, nt.LockNotGranted)
		var unlocked <-chan struct{}
		if wait {
			unlocked = f.unlocked.wait()
		}
		f.mu.Unlock()
		if !wait {
			return err
		}
		// All that wait for the file ask again when anything of it is unlocked; who comes first is the scheduler's
		// choice. CLOSE unlocks, too, and finds those that wait on the closed open itself: RANGE_NOT_LOCKED.
		if err := r.pend(); err != nil {
			return err
		}
		select {
		case <-unlocked:
		case <-r.ctx.Done():
			return nt.Cancelled
		}
	}
}

// lockedBy refuses what a session asks for that has lost the open. The object's mutex is held.
func (o *open) lockedBy(r *request) error {
	if o.parked.Load() || o.session() != r.session {
		return because(nt.RangeNotLocked, "the session of the request is over")
	}
	return nil
}

// tryLock asks the engine. The object's mutex is held.
func (o *open) tryLock(r *request, locks []fsa.Lock) error {
	if err := o.lockedBy(r); err != nil {
		return err
	}
	n := int64(len(locks))
	if o.session().locks.Add(n) > maxSessionLocks {
		o.session().locks.Add(-n)
		return because(nt.InsufficientResources, "more than %d locks in the session", maxSessionLocks)
	}
	err := o.object.fsa.Lock(o, locks...)
	if err != nil {
		o.session().locks.Add(-n)
	}
	return err
}

// unlockAll forgets the locks of an open that leaves. The object's mutex is held; the engine drops the locks itself.
func (o *open) unlockAll() {
	o.session().locks.Add(-int64(o.object.fsa.Locks(o)))
	o.object.unlocked.wake()
}

// mayRead and mayWrite judge by the locks on the file, [MS-FSA] 2.1.4.10.
func (o *open) mayRead(off, n uint64) error {
	o.object.mu.Lock()
	defer o.object.mu.Unlock()
	if err := o.object.fsa.MayRead(o, fsa.Range{Offset: off, Length: n}); err != nil {
		return because(nt.FileLockConflict, "reading %d bytes at %d", n, off)
	}
	return nil
}

func (o *open) mayWrite(off, n uint64) error {
	o.object.mu.Lock()
	defer o.object.mu.Unlock()
	if err := o.object.fsa.MayWrite(o, fsa.Range{Offset: off, Length: n}); err != nil {
		return because(nt.FileLockConflict, "writing %d bytes at %d", n, off)
	}
	return nil
}

// lockSequences is Open.LockSequenceArray, [MS-SMB2] 3.3.1.10: for each index the number of the last LOCK that
// succeeded, plus 1; 0 is an entry that is not valid.
type lockSequences [64]uint8

// sequence takes a LOCK's sequence apart. Index 0 and those past the array ask for no verification, [MS-SMB2] 2.2.26.
func (o *open) sequence(s uint32) (entry *uint8, number uint8) {
	index := s >> 4
	if index == 0 || index > uint32(len(lockSequences{})) || o.session().terms.dialect == wire.Dialect202 {
		return nil, 0
	}
	if o.lockSeq == nil {
		o.lockSeq = new(lockSequences)
	}
	return &o.lockSeq[index-1], uint8(s&0xF) + 1
}

// replayed reports whether this LOCK was done before: a client that lost the answer sends it once more, [MS-SMB2]
// 3.3.5.14. The specification verifies only where an open can survive its connection. We do for all: clients that have
// no such open send index 0.
func (o *open) replayed(sequence uint32) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	entry, number := o.sequence(sequence)
	if entry == nil {
		return false
	}
	if *entry == number {
		return true
	}
	*entry = 0
	return false
}

// done notes a LOCK that succeeded.
func (o *open) done(sequence uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if entry, number := o.sequence(sequence); entry != nil {
		*entry = number
	}
}

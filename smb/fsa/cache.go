package fsa

import (
	"errors"
	"slices"

	"github.com/postern-nas/postern/smb/nt"
)

// A Cache says what a client may keep of a file by itself. The bits are those of lease states, [MS-SMB2] 2.2.13.2.8;
// an oplock is level II, exclusive or batch: Read, Read|Write, or all three.
type Cache uint8

// What may be kept: contents, the open after its program has closed it, and contents not yet written.
const (
	Read   Cache = 1
	Handle Cache = 2
	Write  Cache = 4
)

// A Key says whose an open is: opens of one lease never break each other, [MS-FSA] 2.1.1.6 Open.TargetOplockKey. The
// zero Key is of no lease; every such open stands for itself.
type Key struct {
	Leased bool
	Client [16]byte
	Lease  [16]byte
}

// ErrWait says that breaks are under way: nothing was done, the caller waits until the File has changed and asks again.
var ErrWait = errors.New("fsa: breaks are under way")

// A Break is to be told to a client, or to its end: see Expire.
type Break[O comparable] struct {
	Opens    []O // of a lease all, the oldest first; of an oplock the one
	Key      Key
	From, To Cache
	Epoch    uint16 // of a lease of version 2
	Ack      bool   // the client must acknowledge
	ID       uint64 // if it must
}

// A holder is a lease, or an open's oplock, [MS-FSA] 2.1.1.10.
type holder[O comparable] struct {
	key   Key
	opens []O
	state Cache // stays what it was until a break is acknowledged
	v2    bool
	epoch uint16

	breaking bool   // an acknowledgment is due
	id       uint64 // of the break
	to       Cache  // as the client was told
	need     Cache  // what others have come to need meanwhile; lower than to, further breaks follow
	step     bool   // one of those further breaks
}

// owned reports whether what an open of that key does leaves the holder alone.
func (h *holder[O]) owned(key Key) bool { return key.Leased && h.key == key }

// lower has a holder keep no more than keep. It returns what to tell, if there is something new.
func (f *File[O]) lower(h *holder[O], keep Cache, breaks []Break[O]) []Break[O] {
	if h.state&^keep == 0 {
		return breaks
	}
	if !h.key.Leased {
		keep &= Read // an oplock falls to level II or to none
	}
	if h.breaking {
		h.need &= keep
		return breaks
	}
	h.epoch++
	return append(breaks, f.start(h, h.state&keep, h.state&keep))
}

// start begins a break, or takes a further step of one. Who only reads has nothing to give back and is not waited for.
func (f *File[O]) start(h *holder[O], to, need Cache) Break[O] {
	b := Break[O]{Opens: slices.Clone(h.opens), Key: h.key, From: h.state, To: to}
	if h.v2 {
		b.Epoch = h.epoch
	}
	if h.state&(Write|Handle) == 0 {
		h.state, h.step = to, false
		return b
	}
	f.breaks++
	h.breaking, h.id, h.to, h.need = true, f.breaks, to, need
	b.Ack, b.ID = true, h.id
	return b
}

// shared judges what share modes allow, [MS-FSA] 2.1.5.1.2.2. Before it says no, all that keep a file open only for
// its own sake are asked to close it.
func (f *File[O]) shared(m Mode) ([]Break[O], error) { return f.judge(m, conflict) }

func (f *File[O]) judge(m Mode, conflict func(m, other Mode) bool) ([]Break[O], error) {
	var asked map[*holder[O]]bool
	for other, om := range f.opens {
		if !conflict(m, om) {
			continue
		}
		h := f.caches[other]
		if h == nil || h.owned(m.Key) || h.state&Handle == 0 {
			return nil, nt.SharingViolation
		}
		if asked == nil {
			asked = make(map[*holder[O]]bool)
		}
		asked[h] = true
	}
	if asked == nil {
		return nil, nil
	}
	var breaks []Break[O]
	for _, h := range f.holders { // in an order that can be repeated
		if asked[h] {
			breaks = f.lower(h, Read|Write, breaks)
		}
	}
	return breaks, ErrWait
}

// opening breaks what cannot stay beside a new open, [MS-FSA] 2.1.4.12 case OPEN: nobody writes behind its back, and
// when it empties the file nobody goes on reading what was there.
func (f *File[O]) opening(m Mode) (breaks []Break[O], err error) {
	keep := Read | Handle
	if m.Replace {
		keep = 0
	}
	for _, h := range f.holders {
		if h.owned(m.Key) || m.looks(h.key.Leased) && !m.Replace {
			continue
		}
		if h.state&Write != 0 || h.breaking && h.step {
			err = ErrWait
		}
		breaks = f.lower(h, keep, breaks)
	}
	return breaks, err
}

// looks reports whether an open only looks at attributes, which disturbs nobody. For oplocks the right to read the
// security descriptor is more than that.
func (m Mode) looks(leases bool) bool {
	more := m.Access &^ (ReadAttributes | WriteAttributes | Synchronize)
	if leases {
		more &^= ReadControl
	}
	return more == 0
}

// Beside judges whether an open of that mode could stand beside those there are, as the one of a directory that a
// rename adds a name to. It is not added.
func (f *File[O]) Beside(m Mode) ([]Break[O], error) { return f.shared(m) }

// TakeHandles asks all but o, which may be no open of this file, to close what they keep open for its own sake: the
// object is about to get another name or none. [MS-FSA] 2.1.4.12 case SET_INFORMATION.
func (f *File[O]) TakeHandles(o O) ([]Break[O], error) {
	return f.takeHandles(f.caches[o], f.opens[o].Key)
}

func (f *File[O]) takeHandles(mine *holder[O], key Key) (breaks []Break[O], err error) {
	for _, h := range f.holders {
		if h == mine || h.owned(key) || h.state&Handle == 0 {
			continue
		}
		breaks, err = f.lower(h, Read|Write, breaks), ErrWait
	}
	return breaks, err
}

// Modified is to be asked when o has changed the contents, or locked a part of them: nobody else may keep them, nor
// may o itself at level II. Nothing is waited for, because nobody keeps unwritten contents beside another one who
// writes. [MS-FSA] 2.1.4.12 cases WRITE, LOCK_CONTROL, FileEndOfFileInformation, ...
func (f *File[O]) Modified(o O) (breaks []Break[O]) {
	mine, key := f.caches[o], f.opens[o].Key
	for _, h := range f.holders {
		if h.owned(key) || h == mine && h.state&Write != 0 {
			continue
		}
		breaks = f.lower(h, 0, breaks)
	}
	return breaks
}

// Listed is to be asked when an entry of the directory has changed: nobody may keep its listing but under the lease
// that the change named as its parent's. [MS-FSA] 2.1.4.12 flag PARENT_OBJECT, 2.1.1.6 Open.ParentOplockKey.
func (f *File[O]) Listed(parent *[16]byte) (breaks []Break[O]) {
	for _, h := range f.holders {
		if parent == nil || h.key.Lease != *parent {
			breaks = f.lower(h, 0, breaks)
		}
	}
	return breaks
}

// A Want is what an open asks to cache.
type Want struct {
	Cache Cache
	V2    bool // of a lease: version, and the epoch the client is at
	Epoch uint16
	Size  int64 // of the file: a byte-range lock below it has to be heeded by every read, which then cannot be kept
}

// A Grant is what it got. Of a lease it is what all its opens have.
type Grant struct {
	Cache    Cache
	Breaking bool
	V2       bool
	Epoch    uint16
}

// Grant lets o, which is open, cache as much of what it wants as can stand beside others: as a lease if it was opened
// with the key of one, else as an oplock. Nobody is broken for it. [MS-FSA] 2.1.5.18.1, 2.1.5.18.2.
func (f *File[O]) Grant(o O, w Want) Grant {
	m, ok := f.opens[o]
	if !ok {
		return Grant{}
	}
	key := m.Key
	if !key.Leased {
		got := f.oplock(o, w)
		if got != 0 {
			f.hold(o, &holder[O]{state: got})
		}
		return Grant{Cache: got}
	}
	for _, h := range f.holders {
		if h.key != key {
			continue
		}
		f.hold(o, h)
		// More is granted whole or not at all, and nothing is given back this way.
		if !h.breaking && w.Cache&^h.state != 0 && h.state&^w.Cache == 0 && f.lease(o, w) == w.Cache {
			h.state = w.Cache
			h.epoch++
		}
		return Grant{Cache: h.state, Breaking: h.breaking, V2: h.v2, Epoch: h.epoch}
	}
	h := &holder[O]{key: key, state: f.lease(o, w), v2: w.V2, epoch: w.Epoch}
	if h.state != 0 {
		h.epoch++
	}
	f.hold(o, h)
	return Grant{Cache: h.state, V2: h.v2, Epoch: h.epoch}
}

func (f *File[O]) hold(o O, h *holder[O]) {
	if f.caches == nil {
		f.caches = make(map[O]*holder[O])
	}
	if len(h.opens) == 0 {
		f.holders = append(f.holders, h)
	}
	if f.caches[o] == nil {
		h.opens = append(h.opens, o)
		f.caches[o] = h
	}
}

// oplock says which oplock can stand beside what there is: the one that was asked for, level II, or none.
func (f *File[O]) oplock(o O, w Want) Cache {
	switch {
	case w.Cache&Read == 0:
		return 0
	case w.Cache&Write != 0 && f.alone(o):
		return w.Cache
	case f.locked(w):
		return 0
	}
	for _, h := range f.holders {
		if h.state&(Write|Handle) != 0 {
			return 0
		}
	}
	return Read
}

// lease says which part of a lease can stand beside what there is.
func (f *File[O]) lease(o O, w Want) Cache {
	want, key := w.Cache, f.opens[o].Key
	if want&Read == 0 {
		return 0
	}
	if want&Write != 0 && !f.alone(o) {
		want &^= Write
	}
	for _, h := range f.holders {
		switch {
		case h.key == key:
		case h.state&Write != 0:
			return 0
		case !h.key.Leased && h.state != 0:
			want &^= Handle
		}
	}
	if want&Write == 0 && f.locked(w) {
		return 0
	}
	return want
}

// locked reports whether bytes of the file are locked, [MS-FSA] 2.1.5.18.1.
func (f *File[O]) locked(w Want) bool {
	return slices.ContainsFunc(f.locks, func(l held[O]) bool { return l.Offset < uint64(w.Size) })
}

// alone reports whether nobody but o, or o's lease, has the file open for more than a look, or caches it. Reading the
// security descriptor is more here, for leases as for oplocks: it breaks no lease, but Windows grants none beside it.
func (f *File[O]) alone(o O) bool {
	key := f.opens[o].Key
	for other, m := range f.opens {
		if other != o && !(key.Leased && m.Key == key) && !m.looks(false) {
			return false
		}
	}
	for _, h := range f.holders {
		if !h.owned(key) && h.state != 0 {
			return false
		}
	}
	return true
}

// AckLease takes the acknowledgment of a break, [MS-SMB2] 3.3.5.22.2. The client may give back more than it was asked
// for. Breaks that others have come to need meanwhile follow.
func (f *File[O]) AckLease(key Key, keep Cache) ([]Break[O], error) {
	for _, h := range f.holders {
		switch {
		case !h.owned(key):
			continue
		case !h.breaking:
			return nil, nt.Unsuccessful
		case keep&^h.to != 0:
			return nil, nt.RequestNotAccepted
		}
		return f.settle(h, keep), nil
	}
	return nil, nt.ObjectNameNotFound
}

// AckOplock is AckLease for an oplock, [MS-SMB2] 3.3.5.22.1.
func (f *File[O]) AckOplock(o O, keep Cache) ([]Break[O], error) {
	h := f.caches[o]
	if h == nil || h.key.Leased || !h.breaking {
		return nil, nt.InvalidOplockProtocol
	}
	if keep&^h.to != 0 {
		return f.settle(h, 0), nt.InvalidOplockProtocol
	}
	return f.settle(h, keep), nil
}

// settle ends a break, or goes on to the next step of it: handles and unwritten contents first, as Windows does.
func (f *File[O]) settle(h *holder[O], keep Cache) []Break[O] {
	h.breaking, h.state = false, keep
	if keep&^h.need == 0 {
		h.step = false
		return nil
	}
	to := h.need
	if keep&(Write|Handle) != 0 {
		to |= keep & Read
	}
	h.step = true
	return []Break[O]{f.start(h, to, h.need)}
}

// Expire ends a break that was not acknowledged in time, or cannot be told to anyone: all that was granted is gone. It
// reports whether the break was still on.
func (f *File[O]) Expire(id uint64) bool {
	for _, h := range f.holders {
		if h.breaking && h.id == id {
			h.breaking, h.step, h.state = false, false, 0
			return true
		}
	}
	return false
}

// Breaking reports whether a break still waits for its acknowledgment.
func (f *File[O]) Breaking(id uint64) bool {
	return slices.ContainsFunc(f.holders, func(h *holder[O]) bool { return h.breaking && h.id == id })
}

// drop gives up what o caches.
func (f *File[O]) drop(o O) {
	h := f.caches[o]
	if h == nil {
		return
	}
	delete(f.caches, o)
	h.opens = slices.DeleteFunc(h.opens, func(other O) bool { return other == o })
	if len(h.opens) == 0 {
		f.holders = slices.DeleteFunc(f.holders, func(other *holder[O]) bool { return other == h })
	}
}

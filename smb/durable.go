package smb

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fsa"
)

// Durable opens outlive their connection for a while, so that a client whose network failed takes up its work where it
// was: [MS-SMB2] 3.3.1.10 Open.IsDurable, 3.3.2.2.

const (
	// durableV1 is how long an open of version 1 waits for its client: 2 minutes, as Windows has it since version 8
	// ([MS-SMB2] <335>). Earlier versions waited 16.
	durableV1 = 2 * time.Minute
	// durableV2 is for a client of version 2 that leaves the time to us: 180 s is what Windows Server has
	// (DurableHandleV2TimeoutInSeconds). durableMost, 300 s, is for one that asks for more, [MS-SMB2] 3.3.5.9.10.
	durableV2   = 180 * time.Second
	durableMost = 300 * time.Second
	// maxParked bounds the opens that wait for their clients, which nobody pays for with a connection: each holds a file
	// descriptor and some 2 KiB. maxParkedUser is one user's part of it, so that a user who lets connections die over and
	// over does not keep others from being waited for; maxParkedLocks that user's byte ranges. What is over it is closed.
	maxParked      = 4096
	maxParkedUser  = 1024
	maxParkedLocks = maxSessionLocks
	// maxDurable bounds the durable opens of one session, persistent ones aside, so that one lost connection leaves no more
	// behind (row 33). Clients are told that an open over it is not durable, as of any that [MS-SMB2] 3.3.5.9.6 and
	// 3.3.5.9.10 do not grant: there is no status for it.
	maxDurable = 128
)

// A durable is what a client asked for with a durable context of either version, and what it got. It is constant but
// for what stands last.
type durable struct {
	granted    bool // Open.IsDurable; without it the open is known to replays only
	v2         bool
	persistent bool
	guid       dtyp.GUID // Open.CreateGuid; zero in version 1
	client     dtyp.GUID // Open.ClientGuid
	owner      auth.Identity
	timeout    time.Duration

	// Guarded by durables.mu.
	timer *time.Timer // while it is parked
	locks int64       // byte ranges it had when it was parked last

	writing   sync.Mutex // one writes it down at a time; no other lock is taken by who waits for it
	unwritten bool       // its record is gone, or not this process's any more
}

// made is what the answer to a CREATE said, for the answer to its replay.
type made struct {
	action  uint32
	maximal dtyp.Access
}

// A createKey names a CREATE: a client makes up a GUID for each, [MS-SMB2] 3.2.4.3.
type createKey struct{ client, guid dtyp.GUID }

// durables are the opens without a connection, and the CREATEs that may be replayed.
type durables struct {
	mu     sync.Mutex
	closed bool             // the server is being shut down
	parked map[uint64]*open // by persistent id
	users  map[dtyp.SID]*parkedOf
	asked  map[createKey]*open // nil: being worked on

	lasting atomic.Int64 // persistent opens
}

// parkedOf counts what is parked of one user's.
type parkedOf struct {
	opens int
	locks int64
}

// park keeps a durable open whose session has gone. It must be out of the session's table. False leaves it to the caller
// to end it: nobody would be told that others want it, or there are too many already.
func (o *open) park() bool {
	d := o.durable.Load()
	if d == nil || !d.granted {
		return false
	}
	obj, from := o.object, o.session()
	obj.mu.Lock()
	locks := int64(obj.fsa.Locks(o))
	obj.mu.Unlock()
	t := &o.srv.durables
	if !t.add(o, d, locks) {
		return false
	}
	obj.mu.Lock()
	held, fit := obj.fsa.Held(o), true
	switch {
	case int64(obj.fsa.Locks(o)) != locks: // some are being taken or given back this moment
		fit = false
	case d.persistent:
		if b, ok := obj.fsa.Pending(o); ok && unreachable(b.Opens) { // told again when its client is back
			if a := obj.awaited[b.ID]; a != nil {
				a.timer.Stop()
				delete(obj.awaited, b.ID)
			}
		}
	default: // from here on tell finds it parked; before, nobody was told
		fit = held.Cache&fsa.Handle != 0 && !held.Breaking
		if locks > 0 && held.Cache&fsa.Write == 0 {
			fit = false // others work with the file already, and could not get at those bytes
		}
	}
	if from.barred() { // EndBarred looks at those that are in the table after it is so
		fit = false
	}
	obj.unlocked.wake()
	obj.mu.Unlock()
	if fit || !t.take(o, nil) {
		return true
	}
	from.locks.Add(locks)
	return false
}

// add puts the open into the table and starts its timer. From then on the table counts its locks, and its session does not.
func (t *durables) add(o *open, d *durable, locks int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.users[d.owner.SID]
	if of == nil {
		of = new(parkedOf)
	}
	many := len(t.parked) >= maxParked || of.opens >= maxParkedUser
	if o.tree.share.gone.Load() { // RemoveShare looks for those that are here after it has said so
		return false
	}
	if (t.closed || many) && !d.persistent || of.locks+locks > maxParkedLocks { // of persistent ones there are maxPersistent
		return false
	}
	if t.parked == nil {
		t.parked, t.users = make(map[uint64]*open), make(map[dtyp.SID]*parkedOf)
	}
	of.opens, of.locks = of.opens+1, of.locks+locks
	t.users[d.owner.SID], t.parked[o.id.Persistent] = of, o
	d.locks = locks
	o.session().locks.Add(-locks)
	o.parked.Store(true)
	var timer *time.Timer
	timer = time.AfterFunc(d.timeout, func() { // the scavenger, [MS-SMB2] 3.3.6.2
		t.mu.Lock()
		mine := timer
		t.mu.Unlock()
		if t.take(o, mine) {
			o.srv.log.Info("durable open closed: its client did not come back", "user", d.owner.User, "within", d.timeout)
			o.endParked()
		}
	})
	d.timer = timer
	return true
}

// take takes an open out of the table; false if someone did already, or if timer is not nil and not its timer any more.
func (t *durables) take(o *open, timer *time.Timer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := o.durable.Load()
	if d == nil || t.parked[o.id.Persistent] != o || timer != nil && timer != d.timer {
		return false
	}
	delete(t.parked, o.id.Persistent)
	of := t.users[d.owner.SID]
	of.opens, of.locks = of.opens-1, of.locks-d.locks
	if of.opens == 0 {
		delete(t.users, d.owner.SID)
	}
	d.timer.Stop()
	return true
}

// find returns a parked open with a reference, or nil.
func (t *durables) find(persistent uint64) *open {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.parked[persistent]
	if o == nil || !o.acquire() {
		return nil
	}
	return o
}

// findNamed is find for a persistent open, by the name of its CREATE.
func (t *durables) findNamed(key createKey) *open {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.asked[key]
	if o == nil || t.parked[o.id.Persistent] != o || !o.durable.Load().persistent || !o.acquire() {
		return nil
	}
	return o
}

// forget takes an open that ends out of the CREATEs that may be replayed, and its record away.
func (t *durables) forget(o *open) {
	t.mu.Lock()
	o.ended = true
	d := o.durable.Load()
	if d != nil {
		if key := (createKey{d.client, d.guid}); t.asked[key] == o {
			delete(t.asked, key)
		}
	}
	t.mu.Unlock()
	if d == nil {
		return
	}
	if d.granted && !d.persistent {
		o.session().durables.Add(-1)
	}
	if d.persistent {
		o.unpersist(d)
	}
}

// reserve counts one more persistent open if there may be one.
func (t *durables) reserve() bool {
	if t.lasting.Add(1) <= maxPersistent {
		return true
	}
	t.lasting.Add(-1)
	return false
}

// grant makes the open durable, or known to replays only; false if it has ended meanwhile.
func (t *durables) grant(o *open, d *durable) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.ended {
		return false
	}
	o.durable.Store(d)
	return true
}

// endParked ends an open that was taken out of the table. Its locks are in no session's count any more.
func (o *open) endParked() {
	if d := o.durable.Load(); d != nil {
		o.session().locks.Add(d.locks)
	}
	if err := o.end(); err != nil {
		o.srv.log.Warn("deleting a file failed, with its durable open", "why", err)
	}
}

// endParked ends those for which which holds, for good or until the server is back.
func (s *Server) endParked(which func(*open) bool, shutdown bool) {
	t := &s.durables
	t.mu.Lock()
	t.closed = t.closed || shutdown
	var list []*open
	for _, o := range t.parked {
		if which(o) {
			list = append(list, o)
		}
	}
	t.mu.Unlock()
	for _, o := range list {
		if !t.take(o, nil) {
			continue
		}
		if shutdown && o.durable.Load().persistent {
			o.abandon()
		} else {
			o.endParked()
		}
	}
}

// purge ends those opens of a holder that nobody takes a break for: what they cache is wanted by others, [MS-SMB2]
// 3.3.4.6 and 3.3.4.7.
func (s *Server) purge(opens []*open) {
	for _, o := range opens {
		if d := o.durable.Load(); o.parked.Load() && !d.persistent && s.durables.take(o, nil) {
			s.log.Info("durable open closed: others want the file", "user", d.owner.User)
			o.endParked()
		}
	}
}

// purgeUncached ends parked opens that have lost, with the lease that they share with others, what made them durable.
func (s *Server) purgeUncached(ob *object) {
	s.durables.mu.Lock()
	none := len(s.durables.parked) == 0
	s.durables.mu.Unlock()
	if none {
		return
	}
	var list []*open
	ob.mu.Lock()
	for o := range ob.fsa.All() {
		if o.parked.Load() && ob.fsa.Held(o).Cache&fsa.Handle == 0 {
			list = append(list, o)
		}
	}
	ob.mu.Unlock()
	s.purge(list)
}

// reserved reports whether one of the opens is kept for its client whatever others want.
func (s *Server) reserved(opens []*open) bool {
	for _, o := range opens {
		if d := o.durable.Load(); d != nil && d.persistent && o.parked.Load() {
			return true
		}
	}
	return false
}

// isReserved reports whether a break waits for a client that is away, and so for as long as that takes.
func (ob *object) isReserved() bool {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	for o := range ob.fsa.All() {
		if d := o.durable.Load(); d != nil && d.persistent && o.parked.Load() {
			if b, ok := ob.fsa.Pending(o); ok && unreachable(b.Opens) {
				return true
			}
		}
	}
	return false
}

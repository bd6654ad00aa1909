package smb

import (
	"errors"
	"time"

	"github.com/postern-nas/postern/smb/fsa"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// Oplocks and leases: package fsa says what must be broken; here it is told, waited for and acknowledged.

const (
	// ackWithin is how long a client has to acknowledge a break, [MS-SMB2] 3.3.2.1 and 3.3.2.5: as long as Windows
	// gives it (<245>), because clients write back what they hold meanwhile.
	ackWithin = 35 * time.Second
	// breaksWithin bounds how long a request waits for breaks altogether: one may bring about a second one, and more
	// only among clients that work against each other.
	breaksWithin = 3 * ackWithin
	// tellWithin is how long an answer is held back so that the breaks it caused go out before it: clients like to see
	// cause before effect, but a holder that does not read must not hold up others.
	tellWithin = 50 * time.Millisecond
	// waitQuietly is how long a request waits for a break before it says so: many breaks are acknowledged sooner, and who
	// is broken should not hear later of it than who waits. Their connections may be two.
	waitQuietly = 5 * time.Millisecond
)

// A question asks the engine for something that others may have to be broken for.
type question func(*fsa.File[*open]) ([]fsa.Break[*open], error)

// ask puts q to ob's engine until it has an answer. It waits for breaks as long as the request lives.
func (r *request) ask(ob *object, q question) error {
	srv := r.conn.srv
	var timeout, quiet <-chan time.Time
	for {
		ob.mu.Lock()
		breaks, err := q(&ob.fsa)
		wait := errors.Is(err, fsa.ErrWait)
		var changed <-chan struct{}
		if wait {
			changed = ob.changes()
		}
		ob.mu.Unlock()
		srv.tell(ob, breaks)
		if !wait {
			return err
		}
		if timeout == nil {
			timer := time.NewTimer(breaksWithin)
			defer timer.Stop()
			moment := time.NewTimer(waitQuietly)
			defer moment.Stop()
			timeout, quiet = timer.C, moment.C
			r.endTurn()
		}
		select {
		case <-changed:
		case <-quiet:
			if err := r.standAside(); err != nil {
				return err
			}
		case <-r.ctx.Done():
			return r.ctx.Err()
		case <-timeout:
			return because(nt.SharingViolation, "others keep caching the file")
		}
	}
}

// standAside gives the worker's place to others: among them may be who is waited for. A CREATE says that it waits; of
// others that wait for breaks, such as a rename, Windows does not say so, and clients do not expect it.
func (r *request) standAside() error {
	if r.hdr.Command == wire.CmdCreate {
		return r.detach()
	}
	r.frame.unhold()
	return nil
}

// changes returns a channel that is closed when an answer of the engine may have changed. Guarded by mu.
func (ob *object) changes() <-chan struct{} {
	if ob.changed == nil {
		ob.changed = make(chan struct{})
	}
	return ob.changed
}

// wake tells those who wait that it has. Guarded by mu.
func (ob *object) wake() {
	if ob.changed != nil {
		close(ob.changed)
		ob.changed = nil
	}
	for id, t := range ob.timers {
		if !ob.fsa.Breaking(id) {
			t.Stop()
			delete(ob.timers, id)
		}
	}
}

// tell notifies the holders of their breaks, [MS-SMB2] 3.3.4.6 and 3.3.4.7. It waits for no acknowledgment.
func (s *Server) tell(ob *object, breaks []fsa.Break[*open]) {
	var sent []<-chan struct{}
	for _, b := range breaks {
		o := reachable(b.Opens)
		switch {
		case !b.Ack:
		case o == nil || o.session.conn.deaf.Load(): // nobody who would answer
			s.expire(ob, b.ID)
		default:
			s.arm(ob, b.ID, o.session.conn)
		}
		if o != nil {
			sent = append(sent, o.session.conn.notify(newNotice(b, o)))
		}
	}
	if len(sent) == 0 {
		return
	}
	timer := time.NewTimer(tellWithin)
	defer timer.Stop()
	for _, done := range sent {
		select {
		case <-done:
		case <-timer.C:
			return
		}
	}
}

// reachable picks whose connection to tell: of a lease's opens the oldest that has one.
func reachable(opens []*open) *open {
	for _, o := range opens {
		if o.session.conn.ctx.Err() == nil {
			return o
		}
	}
	return nil
}

// arm starts the timer of a break.
func (s *Server) arm(ob *object, id uint64, c *conn) {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	if !ob.fsa.Breaking(id) {
		return
	}
	if ob.timers == nil {
		ob.timers = make(map[uint64]*time.Timer)
	}
	ob.timers[id] = time.AfterFunc(ackWithin, func() {
		if s.expire(ob, id) {
			c.log.Warn("break not acknowledged", "within", ackWithin)
			c.deaf.Store(true)
		}
	})
}

// expire takes from a holder what it does not give back, [MS-SMB2] 3.3.6.1 and 3.3.6.5.
func (s *Server) expire(ob *object, id uint64) bool {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	was := ob.fsa.Expire(id)
	if was {
		ob.wake()
	}
	return was
}

// modified breaks what others cache of an open's contents. It is called when they have changed and before the client
// knows: who was let in meanwhile hears of it too.
func (o *open) modified() {
	o.object.mu.Lock()
	breaks := o.object.fsa.Modified(o)
	o.object.mu.Unlock()
	o.srv.tell(o.object, breaks)
}

// takeHandles asks all but o to close what they keep open for its own sake, and waits until they have, or said that
// they will not.
func (r *request) takeHandles(ob *object, o *open) error {
	return r.ask(ob, func(f *fsa.File[*open]) ([]fsa.Break[*open], error) { return f.TakeHandles(o) })
}

// oplockCaches are the oplocks as the engine knows them.
var oplockCaches = map[uint8]fsa.Cache{
	wire.OplockLevel2: fsa.Read, wire.OplockExclusive: fsa.Read | fsa.Write, wire.OplockBatch: fsa.Read | fsa.Write | fsa.Handle,
}

func oplockLevel(c fsa.Cache) uint8 {
	for level, cache := range oplockCaches {
		if cache == c {
			return level
		}
	}
	return wire.OplockNone
}

// oplockBreak is [MS-SMB2] 3.3.5.22.
func (r *request) oplockBreak() (response, error) {
	if wire.IsLeaseBreak(r.msg) {
		return r.leaseBreak()
	}
	var req wire.OplockBreak
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	o, err := r.findFile(req.FileID)
	if err != nil {
		return nil, err
	}
	keep, known := oplockCaches[req.OplockLevel]
	if !known && req.OplockLevel != wire.OplockNone {
		return nil, because(nt.InvalidParameter, "oplock level %#x", req.OplockLevel)
	}
	err = r.acknowledge(o.object, func(f *fsa.File[*open]) ([]fsa.Break[*open], error) { return f.AckOplock(o, keep) })
	if err != nil {
		return nil, err
	}
	return &req, nil
}

// acknowledge settles a break. Whoever answers, if late, will answer again.
func (r *request) acknowledge(ob *object, q question) error {
	r.conn.deaf.Store(false)
	ob.mu.Lock()
	breaks, err := q(&ob.fsa)
	ob.wake()
	ob.mu.Unlock()
	r.conn.srv.tell(ob, breaks)
	return err
}

// A notice is a break as it is told.
type notice struct {
	body  response
	opens []*open // must be known to the client first
	from  *open   // whose session it goes to
	lease bool
	sent  chan struct{}
}

func newNotice(b fsa.Break[*open], o *open) notice {
	n := notice{opens: b.Opens, from: o, lease: b.Key.Leased, sent: make(chan struct{})}
	if !n.lease {
		n.body = &wire.OplockBreak{OplockLevel: oplockLevel(b.To), FileID: o.id}
		return n
	}
	body := &wire.LeaseBreakNotification{Key: b.Key.Lease, CurrentState: uint32(b.From), NewState: uint32(b.To), NewEpoch: b.Epoch}
	if b.Ack {
		body.Flags = wire.LeaseAckRequired
	}
	n.body = body
	return n
}

// notify has a notice sent. There are never more of them than the connection's clients have leases and oplocks. The
// channel is closed when it is on its way, or has to wait for others.
func (c *conn) notify(n notice) <-chan struct{} {
	c.mu.Lock()
	busy := c.telling
	c.telling = true
	c.notices = append(c.notices, n)
	c.mu.Unlock()
	select {
	case c.noticed <- struct{}{}:
	default:
	}
	if busy {
		return closedChan
	}
	return n.sent
}

var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// sendNotices sends what notify was given, in that order, until the connection ends. No request waits for the client to
// read what it is told.
func (c *conn) sendNotices() {
	for {
		select {
		case <-c.noticed:
		case <-c.ctx.Done():
			return
		}
		for {
			c.mu.Lock()
			list := c.notices
			c.notices, c.telling = nil, len(list) > 0
			c.mu.Unlock()
			if len(list) == 0 {
				break
			}
			for _, n := range list {
				err := c.sendNotice(n)
				close(n.sent)
				if err != nil {
					c.stop(err)
					return
				}
			}
		}
	}
}

// sendNotice sends one, unsigned, and sealed if the open was made so. [MS-SMB2] 3.3.4.6 has an oplock's notice name the
// session, 3.3.4.7 leaves it out of a lease's.
func (c *conn) sendNotice(n notice) error {
	for _, o := range n.opens { // a client passes over what is about an open or lease it does not know yet
		if o.session.conn != c {
			continue
		}
		select {
		case <-o.told:
		case <-c.ctx.Done():
			return nil
		}
	}
	s := n.from.session
	h := wire.Header{Command: wire.CmdOplockBreak, MessageID: wire.BreakMessageID, Flags: wire.FlagServerToRedir}
	if !n.lease || n.from.sealed {
		h.SessionID = s.id
	}
	out := c.srv.pool.get(1 << minClass)
	out.b = n.body.Append(h.Append(out.b[:headroom]))
	if !n.from.sealed {
		s = nil
	}
	return c.send(out, s)
}

// cache gives the open as much of what its client wants to cache as can be had, [MS-SMB2] 3.3.5.9 and 3.3.5.9.8. The
// open is in its session's table already: from here on others may break it.
func (c *creation) cache() error {
	o := c.o
	want := fsa.Want{Cache: oplockCaches[c.req.OplockLevel]}
	if l := c.ctx.lease; l != nil {
		want = fsa.Want{Cache: fsa.Cache(l.State) & (fsa.Read | fsa.Handle | fsa.Write), V2: l.V2, Epoch: l.Epoch}
	}
	switch {
	case o.isDir && c.ctx.lease == nil: // a directory has no oplocks
		return nil
	case o.isDir:
		want.Cache &^= fsa.Write
	}
	want.Size = c.attr.Size
	if c.conn.deaf.Load() { // it might not hear that it must write back
		want.Cache &^= fsa.Write
	}
	o.object.mu.Lock()
	defer o.object.mu.Unlock()
	c.grant = o.object.fsa.Grant(o, want)
	return nil
}

// afterSent has work done when the reply that is being built is on its way, or never will be.
func (r *request) afterSent(work func()) {
	r.frame.after = append(r.frame.after, work)
}

func (f *frame) sent() {
	for _, work := range f.after {
		work()
	}
	f.after = nil
}

package smb

import (
	"context"
	"errors"
	"maps"
	"slices"
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
		if ob.isReserved() {
			return because(nt.FileNotAvailable, "it is kept for a client that is away")
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
			if !r.stray() {
				return r.ctx.Err()
			}
		case <-timeout:
			return because(nt.SharingViolation, "others keep caching the file")
		}
	}
}

// standAside gives the worker's place to others: among them may be who is waited for. A CREATE says that it waits; of
// others that wait for breaks, such as a rename, Windows does not say so, and clients do not expect it.
func (r *request) standAside() error {
	if r.hdr.Command == wire.CmdCreate && !r.frame.stray {
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
	for id, a := range ob.awaited {
		if !ob.fsa.Breaking(id) {
			a.timer.Stop()
			a.listenBy(nil)
			delete(ob.awaited, id)
		}
	}
}

// tell notifies the holders of their breaks, [MS-SMB2] 3.3.4.6 and 3.3.4.7. It waits for no acknowledgment.
func (s *Server) tell(ob *object, breaks []fsa.Break[*open]) {
	var sent []<-chan struct{}
	for _, b := range breaks {
		o, c := reachable(b.Opens)
		answers := c != nil && !c.deaf.Load()
		switch {
		case !b.Ack || answers:
		case c == nil && s.reserved(b.Opens): // told when its client is back
		default: // nobody who would answer
			s.purge(b.Opens)
			s.expire(ob, b.ID)
		}
		if c == nil {
			continue
		}
		n := newNotice(ob, b, o)
		if b.Ack && answers {
			s.arm(n, c)
		}
		if done := n.deliver(); done != nil {
			sent = append(sent, done)
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

// reachable picks whose connection to tell, if one lives: of a lease's opens the oldest that has one, and rather one that
// answers.
func reachable(opens []*open) (deaf *open, by *conn) {
	for _, o := range opens {
		if o.parked.Load() {
			continue
		}
		c := o.session().conn()
		switch {
		case c == nil:
		case !c.deaf.Load():
			return o, c
		case deaf == nil:
			deaf, by = o, c
		}
	}
	return deaf, by
}

func unreachable(opens []*open) bool {
	_, c := reachable(opens)
	return c == nil
}

// An awaited is a break that the holder must acknowledge.
type awaited struct {
	timer  *time.Timer
	notice notice
	by     *conn       // that it went by last
	look   *time.Timer // looks whether the client is there; see silence.go
}

// arm starts the timer of a break.
func (s *Server) arm(n notice, c *conn) {
	ob, id := n.object, n.id
	ob.mu.Lock()
	defer ob.mu.Unlock()
	if !ob.fsa.Breaking(id) {
		return
	}
	if ob.awaited == nil {
		ob.awaited = make(map[uint64]*awaited)
	}
	a := &awaited{notice: n, by: c}
	a.timer = time.AfterFunc(ackWithin, func() {
		ob.mu.Lock()
		by, late := a.by, ob.fsa.Breaking(id)
		ob.mu.Unlock()
		if late {
			by.deaf.Store(true) // before anyone goes on: it may ask for the next break
			by.log.Warn("break not acknowledged", "within", ackWithin)
			s.expire(ob, id)
		}
	})
	ob.awaited[id] = a
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
	ob.mu.Unlock()
	r.afterSent(func() { // who waited for it is not to be answered before who gave it
		ob.mu.Lock()
		ob.wake()
		ob.mu.Unlock()
	})
	r.conn.srv.tell(ob, breaks)
	r.conn.srv.purgeUncached(ob)
	return err
}

// A notice is what a client is told unasked: a break, or that a session was closed.
type notice struct {
	body   response
	object *object // that something is broken of
	id     uint64  // the break's number
	ack    bool    // it is to be acknowledged
	opens  []*open // must be known to the client first; it goes to one of their sessions
	from   *open   // whose
	lease  bool
	closed *channel // of the session that was closed; there is no break then
	sent   chan struct{}
}

func newNotice(ob *object, b fsa.Break[*open], o *open) notice {
	n := notice{object: ob, id: b.ID, ack: b.Ack, opens: b.Opens, lease: b.Key.Leased}
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

// deliver has a break sent by any channel of who holds it. nil: there is none. Otherwise what it returns is closed when it
// is on its way, or has to wait for others.
func (n notice) deliver() <-chan struct{} {
	for {
		o, c := reachable(n.opens)
		if c == nil {
			return nil
		}
		n.from = o
		if n.ack {
			n.object.mu.Lock()
			if a := n.object.awaited[n.id]; a != nil {
				a.by = c
			}
			n.object.mu.Unlock()
			c.srv.listen(n.object, n.id, c)
		}
		if done := c.notify(n); done != nil {
			return done
		}
	}
}

// retell has the breaks sent anew that went by a channel which the session has lost, [MS-SMB2] 3.3.4.6: whether they
// came to the client, nobody can say.
func (s *session) retell(by *conn) {
	s.mu.Lock()
	opens := slices.Collect(maps.Values(s.opens))
	s.mu.Unlock()
	told := make(map[*object]bool)
	for _, o := range opens {
		ob := o.object
		if ob == nil || told[ob] {
			continue
		}
		told[ob] = true
		var again []notice
		ob.mu.Lock()
		for _, a := range ob.awaited {
			if a.by == by {
				again = append(again, a.notice)
			}
		}
		ob.mu.Unlock()
		for _, n := range again {
			n.deliver()
		}
	}
}

// passOn sends by other channels what a connection that has ended did not get to send. What is to be acknowledged,
// retell has seen to.
func (c *conn) passOn() {
	c.mu.Lock()
	list := c.notices
	c.notices, c.silent = nil, true
	c.mu.Unlock()
	for _, n := range list {
		if !n.ack && n.closed == nil {
			n.deliver()
		}
	}
}

// notify has a notice sent. There are never more of them than the connection's clients have sessions, leases and
// oplocks. The channel is closed when it is on its way, or has to wait for others; nil says that the connection sends
// nothing any more.
func (c *conn) notify(n notice) <-chan struct{} {
	n.sent = make(chan struct{})
	c.mu.Lock()
	if c.silent {
		c.mu.Unlock()
		return nil
	}
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
			for i, n := range list {
				err := c.sendNotice(n)
				close(n.sent)
				if err != nil {
					c.mu.Lock()
					c.notices = append(list[i:], c.notices...)
					c.mu.Unlock()
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
	if n.closed != nil {
		return n.closed.sendClosed()
	}
	for _, o := range n.opens { // a client passes over what is about an open or lease it does not know yet
		at := o.at.Load()
		this, others := at.session.uses(c)
		if !this {
			continue
		}
		var patience <-chan time.Time
		if others { // it may learn of the open by another channel, and that may be slow
			patience = time.After(tellWithin)
		}
		select {
		case <-at.told:
		case <-patience:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
	at := n.from.at.Load()
	s := at.session
	if this, _ := s.uses(c); !this {
		return nil // taken up elsewhere meanwhile, and told there
	}
	h := wire.Header{Command: wire.CmdOplockBreak, MessageID: wire.BreakMessageID, Flags: wire.FlagServerToRedir}
	if !n.lease || at.sealed {
		h.SessionID = s.id
	}
	out := c.srv.pool.get(1 << minClass)
	out.b = n.body.Append(h.Append(out.b[:headroom]))
	if !at.sealed {
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

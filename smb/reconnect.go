package smb

import (
	"time"

	"github.com/postern-nas/postern/smb/fsa"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// A durability is what a CREATE says of durable opens, [MS-SMB2] 3.3.5.9.6, .7, .10, .12 and .13.
type durability struct {
	request   bool // version 1
	requestV2 *wire.DurableV2Request
	again     *wire.DurableReconnect
	againV2   *wire.DurableV2Reconnect
	app       *wire.AppInstanceID
	version   *wire.AppInstanceVersion
	lease     *wire.Lease // whatever the oplock level says

	key     createKey
	claimed bool // key is ours until the CREATE is answered
	told    bool // the answer says that the open is durable
	taken   bool // the open was taken up
}

// parseDurable reads the contexts. Those of version 2 mean nothing before 3.0.
func (c *creation) parseDurable() error {
	d := &c.last
	v3 := uint16(c.conn.dialect.Load()) >= wire.Dialect300
	for _, ctx := range c.req.Contexts {
		var err error
		switch name := ctx.Name; {
		case name == wire.CreateDurable:
			d.request = true
			err = new(wire.DurableRequest).Decode(ctx.Data)
		case name == wire.CreateDurableReconnect:
			d.again = new(wire.DurableReconnect)
			err = d.again.Decode(ctx.Data)
		case name == wire.CreateLease:
			d.lease = new(wire.Lease)
			err = d.lease.Decode(ctx.Data)
		case !v3:
		case name == wire.CreateDurableV2:
			d.requestV2 = new(wire.DurableV2Request)
			err = d.requestV2.Decode(ctx.Data)
		case name == wire.CreateDurableV2Reconnect:
			d.againV2 = new(wire.DurableV2Reconnect)
			err = d.againV2.Decode(ctx.Data)
		case name == wire.CreateAppInstanceID:
			d.app = new(wire.AppInstanceID)
			err = d.app.Decode(ctx.Data)
		case name == wire.CreateAppInstanceVersion:
			d.version = new(wire.AppInstanceVersion)
			err = d.version.Decode(ctx.Data)
		}
		if err != nil {
			return malformed(err)
		}
	}
	switch {
	case d.againV2 != nil && (d.request || d.requestV2 != nil || d.again != nil),
		d.requestV2 != nil && (d.request || d.again != nil):
		return because(nt.InvalidParameter, "durable contexts of both versions, or of both kinds")
	}
	return nil
}

// resume answers a CREATE that asks for no new open: it takes up one that lost its connection, or is a replay. Of such
// a CREATE nothing counts but its contexts.
func (c *creation) resume() (resp response, done bool, err error) {
	if err := c.parseDurable(); err != nil {
		return nil, true, err
	}
	d := &c.last
	switch {
	case d.again != nil || d.againV2 != nil:
		resp, err = c.reconnect()
		return resp, true, err
	case d.requestV2 != nil:
		return c.replay()
	}
	return nil, false, nil
}

// reconnect is [MS-SMB2] 3.3.5.9.7 and 3.3.5.9.12.
func (c *creation) reconnect() (response, error) {
	d := &c.last
	var id uint64
	if d.againV2 != nil {
		id = d.againV2.FileID.Persistent
	} else {
		id = d.again.FileID.Persistent
	}
	t := &c.conn.srv.durables
	o := t.find(id)
	if o == nil && d.againV2 != nil && d.againV2.Flags&wire.DurablePersistent != 0 {
		o = t.findNamed(createKey{c.conn.clientID, d.againV2.CreateGUID}) // who never had the answer does not know the id
	}
	if o == nil {
		return nil, because(nt.ObjectNameNotFound, "no such durable open")
	}
	defer o.release()
	if err := c.mayTakeUp(o); err != nil {
		return nil, err
	}
	if err := c.takeUp(o); err != nil {
		return nil, err
	}
	return c.answerAgain(o, wire.FileOpened)
}

// mayTakeUp judges whether this client may have the open back (SEC-33).
func (c *creation) mayTakeUp(o *open) error {
	d, l := o.durable.Load(), c.last.lease
	refuse := func(why string) error { return because(nt.ObjectNameNotFound, "durable open: %s", why) }
	switch again := c.last.againV2; {
	case again == nil:
	case again.CreateGUID != d.guid:
		return refuse("wrong create GUID")
	case again.Flags&wire.DurablePersistent != 0 != d.persistent:
		return refuse("persistent or not")
	}
	switch {
	case o.tree.share != c.tree.share:
		return refuse("of another share")
	case o.lease.Leased && d.client != c.conn.clientID:
		return refuse("leased by another client")
	case o.lease.Leased != (l != nil):
		return refuse("lease or no lease")
	case l != nil && o.lease != c.conn.leaseKey(l.Key):
		return refuse("of another lease")
	}
	if d.owner.SID != c.session.identity.Load().SID {
		return because(nt.AccessDenied, "durable open of another user")
	}
	if over := o.access &^ c.tree.rights; over != 0 {
		return because(nt.AccessDenied, "the share does not grant the user %#x any more", uint32(over))
	}
	if l == nil {
		return nil
	}
	c.ctx.lease = l
	p, err := o.file.Path(c.request.ctx)
	if err != nil || !fscc.EqualFold(p.String(), c.req.Name) {
		return because(nt.InvalidParameter, "the lease is of another name")
	}
	return nil
}

// takeUp makes a parked open this session's.
func (c *creation) takeUp(o *open) error {
	if !c.conn.srv.durables.take(o, nil) {
		return because(nt.ObjectNameNotFound, "the durable open is gone")
	}
	d, before := o.durable.Load(), o.at.Load()
	o.at.Store(&place{session: c.session, tree: c.tree, told: make(chan struct{}), sealed: c.frame.sealed != nil})
	o.object.mu.Lock()
	locks := int64(o.object.fsa.Locks(o))
	over := c.session.locks.Add(locks) > maxSessionLocks
	o.object.mu.Unlock()
	err := because(nt.InsufficientResources, "more than %d locks in the session", maxSessionLocks)
	if !over {
		o.mu.Lock()
		o.channel.next(c.hdr.ChannelSequence())
		o.mu.Unlock()
		o.parked.Store(false)
		err = c.session.adopt(o)
	}
	if err != nil {
		o.parked.Store(true)
		o.at.Store(before)
		c.session.locks.Add(-locks)
		before.session.locks.Add(locks)
		if !o.park() {
			o.end()
		}
		return err
	}
	if !d.persistent {
		before.session.durables.Add(-1)
		c.session.durables.Add(1)
	}
	c.last.taken = true
	if d.persistent && before.session.peer != c.session.peer { // another device of the user's
		if err := o.persist(c.request.ctx); err != nil {
			c.conn.log.Error("a persistent open is not written down as it is now", "why", err)
		}
	}
	c.conn.log.Info("durable open taken up", "session", sessionTag(c.session.id), "user", d.owner.User)
	return nil
}

// adopt puts an open that has its id into the session's table.
func (s *session) adopt(o *open) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch t := o.at.Load().tree; {
	case s.ended || s.trees[t.id] != t:
		return because(nt.NetworkNameDeleted, "session or tree connect ended meanwhile")
	case len(s.opens) >= maxOpens:
		return because(nt.InsufficientResources, "%d opens", len(s.opens))
	case s.opens[o.id.Volatile] != nil:
		return because(nt.ObjectNameNotFound, "the id is taken")
	}
	s.opens[o.id.Volatile] = o
	return nil
}

// replay finds out whether the CREATE was received before, [MS-SMB2] 3.3.5.9.10. An open that has been used since shows
// that the client had its answer, so that this is no replay but a CREATE of its own, as Windows has it.
func (c *creation) replay() (resp response, done bool, err error) {
	d, t := &c.last, &c.conn.srv.durables
	d.key = createKey{c.conn.clientID, d.requestV2.CreateGUID}
	again := c.hdr.Flags&wire.FlagReplay != 0
	t.mu.Lock()
	o, known := t.asked[d.key]
	switch {
	case !known, again && o != nil && o.used.Load():
		if t.asked == nil {
			t.asked = make(map[createKey]*open)
		}
		t.asked[d.key] = nil
		d.claimed, c.named = true, true
		t.mu.Unlock()
		return nil, false, nil
	case o == nil && again:
		err = because(nt.FileNotAvailable, "replay of a CREATE that is being worked on")
	case !again || !o.acquire():
		err = because(nt.DuplicateObjectID, "the create GUID is in use")
	}
	t.mu.Unlock()
	if err != nil {
		return nil, true, err
	}
	defer o.release()
	resp, err = c.answerReplay(o)
	return resp, true, err
}

func (c *creation) answerReplay(o *open) (response, error) {
	switch l := c.last.lease; {
	case o.durable.Load().owner.SID != c.session.identity.Load().SID:
		return nil, because(nt.AccessDenied, "replay by another user")
	case o.lease.Leased != (c.req.OplockLevel == wire.OplockLease), o.lease.Leased && (l == nil || o.lease != c.conn.leaseKey(l.Key)):
		return nil, because(nt.AccessDenied, "replay with another lease")
	case o.lease.Leased:
		c.ctx.lease = l
	}
	if o.parked.Load() {
		if o.tree.share != c.tree.share {
			return nil, because(nt.DuplicateObjectID, "the open is in another share")
		}
		if err := c.takeUp(o); err != nil {
			return nil, err
		}
	}
	if at := o.at.Load(); at.session != c.session || at.tree != c.tree {
		return nil, because(nt.DuplicateObjectID, "the open is another session's")
	}
	return c.answerAgain(o, o.made.action)
}

// answerAgain answers with an open that is there.
func (c *creation) answerAgain(o *open, action uint32) (response, error) {
	var err error
	if c.attr, err = o.file.Attr(c.request.ctx, vfs.WantAll); err != nil {
		return nil, err
	}
	o.show(c.request.ctx, &c.attr)
	c.o, c.maximal = o, o.made.maximal
	for _, ctx := range c.req.Contexts {
		switch ctx.Name {
		case wire.CreateMaximalAccess:
			c.ctx.maximal = true
		case wire.CreateDiskID:
			c.ctx.diskID = true
		}
	}
	o.object.mu.Lock()
	c.grant = o.object.fsa.Held(o)
	pending, breaking := o.object.fsa.Pending(o)
	at := o.at.Load()
	o.object.mu.Unlock()
	level := oplockLevel(c.grant.Cache)
	if c.last.requestV2 != nil { // a replay
		level = c.req.OplockLevel
		d := o.durable.Load()
		c.last.told = d.granted && (o.lease.Leased || level == wire.OplockBatch || d.persistent)
	}
	if o.lease.Leased {
		level = wire.OplockLease
	}
	a := &c.attr
	resp := &wire.CreateResponse{
		Action: action, CreationTime: a.Birth, LastAccessTime: a.Access, LastWriteTime: a.Write, ChangeTime: a.Change,
		AllocationSize: uint64(a.Alloc), EndOfFile: uint64(a.Size), FileAttributes: wireAttributes(a.Attributes), FileID: o.id,
		OplockLevel: level, Contexts: c.answerContexts(),
	}
	c.fileID = o.id
	c.afterSent(func() {
		at.known()
		if breaking && c.last.taken { // nobody heard of it
			c.conn.srv.tell(o.object, []fsa.Break[*open]{pending})
		}
	})
	return resp, nil
}

// endure makes the open durable if it was asked for and what it caches would tell it of others: [MS-SMB2] 3.3.5.9.6 and
// 3.3.5.9.10. Without that nobody could say whether its client still needs it.
func (c *creation) endure() error {
	q, o := &c.last, c.o
	if !q.request && q.requestV2 == nil {
		return nil
	}
	d := &durable{client: c.conn.clientID, owner: *c.session.identity.Load(), timeout: durableV1}
	d.granted = c.grant.Cache&fsa.Handle != 0 && !o.isDir
	if v2 := q.requestV2; v2 != nil {
		d.v2, d.guid, d.timeout = true, v2.CreateGUID, durableV2
		if v2.Timeout != 0 {
			d.timeout = min(time.Duration(v2.Timeout)*time.Millisecond, durableMost)
		}
	}
	t, s := &c.conn.srv.durables, o.session()
	switch {
	case c.lasting() && t.reserve():
		d.granted, d.persistent = true, true
	case d.granted && s.durables.Add(1) > maxDurable:
		s.durables.Add(-1)
		d.granted = false
	}
	q.told = d.granted
	o.made = made{c.createAction(), c.maximal}
	if !t.grant(o, d) {
		if d.persistent {
			t.lasting.Add(-1)
		} else if d.granted {
			s.durables.Add(-1)
		}
		return because(nt.FileClosed, "the open has ended meanwhile")
	}
	if !d.persistent {
		return nil
	}
	err := o.persist(c.request.ctx)
	if err != nil { // nobody knows of it yet
		if o.remove() {
			o.end()
		}
		return because(nt.InsufficientResources, "a persistent open cannot be written down: %v", err)
	}
	return nil
}

// answerDurable tells of it.
func (c *creation) answerDurable(list []wire.CreateContext) []wire.CreateContext {
	if !c.last.told {
		return list
	}
	d := c.o.durable.Load()
	if !d.v2 {
		return append(list, wire.CreateContext{Name: wire.CreateDurable, Data: new(wire.DurableResponse).Append(nil)})
	}
	resp := wire.DurableV2Response{Timeout: uint32(d.timeout.Milliseconds())}
	if d.persistent {
		resp.Flags = wire.DurablePersistent
	}
	return append(list, wire.CreateContext{Name: wire.CreateDurableV2, Data: resp.Append(nil)})
}

// created has replays of the CREATE find its open.
func (c *creation) created() {
	q, t := &c.last, &c.conn.srv.durables
	if !q.claimed {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if q.claimed = false; c.o.ended {
		delete(t.asked, q.key)
	} else {
		t.asked[q.key] = c.o
	}
}

// unclaim forgets a CREATE that failed: its replay is a new attempt.
func (c *creation) unclaim() {
	q, t := &c.last, &c.conn.srv.durables
	if !q.claimed {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.asked, q.key)
}

package smb

import (
	"slices"

	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// A frame is one message from the peer and the reply that is built for it: usually one request, sometimes a compound
// of several ([MS-SMB2] 3.3.5.2.7), which are worked on in order and answered together.
type frame struct {
	conn     *conn
	in       *buffer
	sealed   *session // whose key sealed the message, and will seal the reply; nil if it came plain
	requests []*request
	out      *buffer // the reply: headroom, then elements
	elements []element
	extent   extent // what follows out, if its n is not 0
	held     int64  // of conn.work
	share    int64  // of pool.replies
	slot     bool   // holds one of conn.slots
	own      bool   // is worked on by a goroutine of its own
	stray    bool   // has lost its connection: see request.stray
	waited   bool   // has gone async, or is about to; guarded by conn.mu until it is released
	ended    bool   // its work came to its end

	// What a related element takes over from the one before it.
	prev *request
	owed int // credits granted but not told: the last response of a compound carries them all

	after []func() // see afterSent

	// Room for what most frames have one of.
	one      request
	oneOf    [1]*request
	answered [1]element
}

// An element is one response within a reply.
type element struct {
	start  int // of its header in out.b
	signer *crypt.Signer
	req    *request
}

// split cuts the message into requests and lets them into the window, [MS-SMB2] 3.3.5.2.3 and 3.3.5.2.7.
func (f *frame) split(msg []byte) error {
	c := f.conn
	f.requests, f.elements = f.oneOf[:0], f.answered[:0]
	for rest := msg; len(rest) > 0; {
		if len(f.requests) == maxCompound {
			return drop("more than %d requests in one message", maxCompound)
		}
		one, more, err := wire.Cut(rest)
		if err != nil {
			return errPeer{err}
		}
		rest = more
		r := &f.one
		if len(f.requests) > 0 {
			r = new(request)
		}
		r.conn, r.frame, r.msg = c, f, one
		if err := r.hdr.Decode(one); err != nil {
			return errPeer{err}
		}
		if r.hdr.Flags&wire.FlagServerToRedir != 0 {
			return drop("a response came in place of a request")
		}
		if f.sealed != nil && r.hdr.Flags&wire.FlagRelated == 0 && r.hdr.SessionID != f.sealed.id {
			return drop("session id inside of the seal is not the seal's") // [MS-SMB2] 3.3.5.2.1.1
		}
		if r.hdr.Command == wire.CmdCancel {
			c.cancelRequest(r)
			if r == &f.one { // it has no answer, and its place is free
				f.one = request{}
			}
			continue
		}
		r.owner = r.hdr.SessionID
		if n := len(f.requests); n > 0 && r.hdr.Flags&wire.FlagRelated != 0 {
			r.owner = f.requests[n-1].owner
		}
		f.requests = append(f.requests, r)
	}
	if len(f.requests) > 1 && slices.ContainsFunc(f.requests, inTurn) {
		return drop("NEGOTIATE or SESSION_SETUP within a compound")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range f.requests {
		if !c.window.take(r.hdr.MessageID, int(r.hdr.CreditCharge)) {
			return drop("message id %d with charge %d is outside of the window: %d credits, ids below %d",
				r.hdr.MessageID, r.hdr.CreditCharge, c.window.credits, c.window.low+c.window.span)
		}
		r.live()
		c.pending[r.hdr.MessageID] = r
		r.takeTurn()
	}
	if len(f.requests) > 0 {
		c.attend()
	}
	return nil
}

// cost is how long the reply may become: no longer than the request's credits allow.
func (r *request) cost() int64 { return int64(max(r.hdr.CreditCharge, 1)) << 16 }

// smallReply is what a connection may always have while it has nothing larger under way: so those who do not read what
// they asked for cannot keep others from being answered at all.
const smallReply = 64 << 10

// hold takes the reply's share of memory, of the connection's and of the server's.
func (f *frame) hold() error {
	c, n := f.conn, int64(0)
	for _, r := range f.requests {
		n += r.cost()
	}
	n = min(n, workBytes)
	if err := c.work.Acquire(c.ctx, n); err != nil {
		return err
	}
	f.held = n
	modest := n <= smallReply && c.large.Load() == 0
	if n > smallReply {
		c.large.Add(1)
	}
	f.share = min(n, c.srv.pool.half)
	if c.srv.pool.replies.TryAcquire(f.share) {
		return nil
	}
	if modest {
		f.share = 0
		return nil
	}
	if err := c.srv.pool.replies.Acquire(c.ctx, f.share); err != nil {
		f.share = 0
		return err
	}
	return nil
}

// run works on the requests and sends the reply.
func (f *frame) run() {
	c := f.conn
	defer f.release()
	defer c.contain()
	for i, r := range f.requests {
		// Replies that would not fit into one frame, or into what the frame may hold, go out as several.
		if f.out != nil && len(f.out.b)+int(r.cost()) > workBytes {
			if err := f.flush(); err != nil {
				c.stop(err)
				return
			}
		}
		resp, err := f.serve(r, i == len(f.requests)-1)
		if r.fatal != nil {
			c.stop(r.fatal)
			return
		}
		f.reply(r, resp, err)
		r.endTurn() // the next element may be one that comes after it
		f.prev = r
	}
	if err := f.flush(); err != nil {
		c.stop(err)
		return
	}
	f.ended = true
}

// serve checks one request and runs its handler.
func (f *frame) serve(r *request, last bool) (response, error) {
	r.last = last
	if len(f.requests) == 1 {
		r.watched()
	}
	if r.hdr.Flags&wire.FlagRelated != 0 {
		if f.prev == nil || f.prev.astray {
			r.astray = true
			return nil, because(nt.InvalidParameter, "related to no request that has a session")
		}
		r.inherit(f.prev)
		if f.sealed != nil && r.hdr.SessionID != f.sealed.id {
			r.fatal = drop("session id inside of the seal is not the seal's")
			return nil, nil
		}
	}
	return r.dispatch()
}

// release gives back all that the frame holds.
func (f *frame) release() {
	c := f.conn
	for _, r := range f.requests {
		r.settle() // from here on no interim reply touches the frame
	}
	f.sent()
	c.mu.Lock()
	for _, r := range f.requests {
		delete(c.pending, r.hdr.MessageID)
		if r.asyncID != 0 {
			delete(c.async, r.asyncID)
		}
	}
	c.mu.Unlock()
	for _, r := range f.requests {
		r.finish()
	}
	f.in.release()
	f.out.release()
	f.in, f.out = nil, nil
	f.unhold()
}

// unhold gives back the frame's share of the connection's worker slots and reply memory, early if it has to wait.
func (f *frame) unhold() {
	if f.slot {
		f.slot = false
		<-f.conn.slots
	}
	if f.held > 0 {
		if f.held > smallReply {
			f.conn.large.Add(-1)
		}
		f.conn.work.Release(f.held)
		f.conn.srv.pool.replies.Release(f.share)
		f.held, f.share = 0, 0
	}
}

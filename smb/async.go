package smb

import (
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// pend tells the client that the request must wait ([MS-SMB2] 3.3.4.2) and gives its worker's place to others. A
// handler calls it before it waits for something that may take any time, and then simply waits for that or r.ctx.
func (r *request) pend() error {
	if !r.last {
		return because(nt.InternalError, "%v would wait in the middle of a compound", r.hdr.Command) // as Windows says
	}
	return r.detach()
}

// detach is pend wherever the request stands. What follows it in its compound waits for it.
func (r *request) detach() error {
	if len(r.frame.elements) > 0 { // what is answered already must not wait with it
		if err := r.frame.flush(); err != nil {
			return err
		}
	}
	if err := r.interim(); err != nil {
		return err
	}
	r.frame.unhold()
	return nil
}

// interim sends the interim reply once, unless the request is answered already.
func (r *request) interim() error {
	c := r.conn
	r.amu.Lock()
	defer r.amu.Unlock()
	if r.asyncID != 0 || r.answered {
		return nil
	}
	c.mu.Lock()
	if len(c.async) >= maxAsync {
		c.mu.Unlock()
		return because(nt.InsufficientResources, "%d requests wait already", maxAsync)
	}
	c.asyncIDs++
	r.asyncID = c.asyncIDs
	c.async[r.asyncID] = r
	r.frame.waited = true
	c.mu.Unlock()
	h := r.header(nt.Pending)
	h.Credits = c.grant(r, nt.Pending)
	r.granted = true
	out := c.srv.pool.get(1 << minClass)
	out.b = h.Append(out.b[:headroom])
	out.b = wire.AppendErrorResponse(out.b, 0, nil)
	// An interim reply is not signed: with AES-GMAC it would share its nonce with the final one.
	if err := c.send(out, r.frame.sealed); err != nil {
		c.stop(err)
		return err
	}
	return nil
}

// header starts the reply's header. Its Credits are the caller's.
func (r *request) header(status nt.Status) wire.Header {
	h := wire.Header{
		CreditCharge: r.hdr.CreditCharge, Status: status, Command: r.hdr.Command, MessageID: r.hdr.MessageID,
		TreeID: r.hdr.TreeID, SessionID: r.hdr.SessionID,
		Flags: wire.FlagServerToRedir | r.hdr.Flags&(wire.FlagRelated|wire.FlagPriorityMask),
	}
	if r.asyncID != 0 {
		h.Flags |= wire.FlagAsync
		h.AsyncID = r.asyncID
	}
	return h
}

// cancelRequest ends the wait of another request, [MS-SMB2] 3.3.5.16. CANCEL is never answered; one that finds nothing,
// or is not signed as it must be, does nothing.
func (c *conn) cancelRequest(r *request) {
	if ch := c.channel(r.hdr.SessionID); ch != nil {
		r.channel, r.session = ch, ch.session
		if err := r.verify(); err != nil {
			c.log.Debug("CANCEL ignored", "why", err)
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock() // as long as the target is found, its frame is not another message's
	var target *request
	if r.hdr.Flags&wire.FlagAsync != 0 {
		target = c.async[r.hdr.AsyncID]
	} else {
		target = c.pending[r.hdr.MessageID]
	}
	if target != nil && target.owner == r.hdr.SessionID {
		target.life.cancel()
	}
}

// grant decides how many credits a reply carries, [MS-SMB2] 3.3.1.2: what the request used and what it asks for on
// top, but nothing on top before a logon has succeeded.
func (c *conn) grant(r *request, status nt.Status) uint16 {
	charge, asked := int(max(r.hdr.CreditCharge, 1)), int(r.hdr.Credits)
	n := charge + max(asked-1, 0)
	if asked == 0 {
		n = 0
	}
	if r.hdr.Command == wire.CmdNegotiate || r.hdr.Command == wire.CmdSessionSetup && status != nt.Success {
		n = charge
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.window.spent() {
		n = max(n, 1) // a client without credits could never speak again
	}
	return uint16(min(c.window.grant(n), 0xFFFF))
}

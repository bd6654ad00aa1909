package smb

import (
	"time"

	"github.com/postern-nas/postern/smb/wire"
)

// Workers are goroutines of a connection that work on its frames, one after the other. A goroutine for each frame would
// do, but costs more than what it works on: its stack grows anew each time. A connection makes workers as it needs them,
// no more than it has requests under way, and has none left a second after its client has become silent.
//
// Frames are used again, too, with the request that lies in them: see reusable.

// slowAfter is how long a request may take before the client is told that it is being worked on.
const slowAfter = time.Second

// newFrame takes a frame for a message that came.
func (c *conn) newFrame(in *buffer) *frame {
	f, ok := c.srv.frames.Get().(*frame)
	if !ok {
		f = new(frame)
	}
	f.conn, f.in = c, in
	return f
}

// employ has a frame worked on: by a worker who waits for one, or else by a new one.
func (c *conn) employ(f *frame) {
	f.own = true
	c.workers.Add(1)
	select {
	case c.jobs <- f:
	default:
		go c.workOn(f)
	}
}

// workOn is a worker's life. It ends when there is nothing more to do, or when others have taken the worker's place.
func (c *conn) workOn(f *frame) {
	for f != nil && f.work() {
		f = <-c.jobs // nil when the connection is over, and from dismiss
	}
}

// work works on a frame and reports whether its worker has kept its place among those of the connection.
func (f *frame) work() (kept bool) {
	c := f.conn
	defer func() {
		if f.stray {
			c.strays.Done()
		} else {
			c.workers.Done()
		}
		if kept = f.reusable(); kept {
			*f = frame{}
			c.srv.frames.Put(f)
		}
	}()
	defer c.contain()
	f.run()
	return false
}

// reusable reports whether nobody can hold on to the frame any more, now that it is released: those that have waited, or
// been looked at because they were slow, are not used again, nor are those that ended in a panic.
func (f *frame) reusable() bool {
	if !f.ended || f.waited || f.stray || len(f.requests) != 1 {
		return false
	}
	return !f.one.life.waitedFor()
}

// attend sees to it that the connection's requests are looked after while there are any. One timer does for all of
// them, and is set once in its time, not at each request. The connection's mutex is held.
func (c *conn) attend() {
	if c.attending {
		return
	}
	c.attending = true
	if c.slow == nil {
		c.slow = time.AfterFunc(slowAfter, c.look)
		return
	}
	c.slow.Reset(slowAfter)
}

// look has interim replies sent for what has been worked on for slowAfter: a disk that spins up must not look like a
// server that is gone.
func (c *conn) look() {
	defer c.contain()
	for _, r := range c.slowOnes() {
		_ = r.interim() // it has ended the connection if it failed
	}
}

// slowOnes returns the requests that have just become slow, and says when to look for the next.
func (c *conn) slowOnes() (slow []*request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.channels == nil { // the connection is over
		return nil
	}
	now := time.Since(c.started)
	next, busy := slowAfter, false
	for _, r := range c.pending {
		if r.frame.waited {
			continue
		}
		due := slowAfter
		if began := r.began.Load(); began != 0 {
			due = time.Duration(began-1) + slowAfter - now
		}
		if due <= 0 {
			r.frame.waited = true
			slow = append(slow, r)
			continue
		}
		next, busy = min(next, due), true
	}
	if busy {
		c.slow.Reset(next)
		return slow
	}
	c.attending = false
	c.dismiss()
	return slow
}

// dismiss ends the workers that have nothing to do. The connection's mutex is held.
func (c *conn) dismiss() {
	for {
		select {
		case c.jobs <- nil:
		default:
			return
		}
	}
}

// watched notes when a request's work begins, for look. Of some, clients do not expect that they go async.
func (r *request) watched() {
	switch r.hdr.Command {
	case wire.CmdNegotiate, wire.CmdSessionSetup, wire.CmdLogoff, wire.CmdTreeConnect, wire.CmdTreeDisconnect, wire.CmdEcho, wire.CmdSetInfo:
		return
	}
	r.began.Store(int64(time.Since(r.conn.started)) + 1)
}

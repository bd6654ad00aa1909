package smb

// maxStrays bounds, for a session, the requests that go on although their connections have ended: as many as one
// connection may have worked on at once. maxStrayFrame bounds what each of them keeps in memory: CREATEs are shorter.
const (
	maxStrays     = maxWorkers
	maxStrayFrame = 64 << 10
)

// stray says whether a request that waits may go on although its context has ended. It is to be a CREATE that its client
// replays by another channel of the session, [MS-SMB2] 3.2.7.1. If it ended with its channel, it would be the replay
// that waits, and end with the next channel; so it takes effect once, when it can, and a replay finds it being worked on
// or its open, as in 3.3.5.9.10. Nothing is sent to its connection any more. It ends with the session at the latest.
func (r *request) stray() bool {
	c, f, s := r.conn, r.frame, r.session
	switch {
	case !r.named, !f.own, f.stray: // f.stray: its session has ended by now
		return false
	case c.ctx.Err() == nil: // a CANCEL
		return false
	case s.life.Err() != nil || s.conn() == nil: // the last channel: its client cannot hear of it
		return false
	case len(f.in.b) > maxStrayFrame:
		return false
	case s.strays.Add(1) > maxStrays:
		s.strays.Add(-1)
		return false
	}
	c.log.Debug("CREATE goes on without its channel", "session", sessionTag(s.id))
	r.ctx, f.stray = s.life, true
	f.unhold()
	c.strays.Add(1) // the connection's end takes the session's channel away, and waits for this one after that
	c.workers.Done()
	return true
}

package smb

import (
	"github.com/postern-nas/postern/smb/wire"
)

// What clients are told unasked beside breaks: SERVER_TO_CLIENT_NOTIFICATION, [MS-SMB2] 2.2.44.

// tellClosed tells a client that wants to know, on each of its channels, that we end its session. It need not find out by
// asking for something then.
func (s *session) tellClosed() {
	for _, ch := range s.ways() {
		if ch.conn.capsGiven&wire.CapNotifications != 0 {
			ch.conn.notify(notice{closed: ch})
		}
	}
}

// sendClosed sends that, sealed or signed as the session's messages are.
func (ch *channel) sendClosed() error {
	c, s := ch.conn, ch.session
	h := wire.Header{
		Command: wire.CmdServerNotification, MessageID: wire.BreakMessageID, SessionID: s.id, Flags: wire.FlagServerToRedir,
	}
	body := &wire.ServerNotification{Type: wire.NotifySessionClosed}
	sealed := s
	if !s.encrypt.Load() {
		h.Flags |= wire.FlagSigned
		sealed = nil
	}
	out := c.srv.pool.get(1 << minClass)
	out.b = body.Append(h.Append(out.b[:headroom]))
	if sealed == nil {
		ch.signer.Load().Sign(out.b[headroom:])
	}
	return c.send(out, sealed)
}

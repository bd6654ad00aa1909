package smb

import (
	"slices"
	"sync/atomic"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// maxChannels bounds the connections that one session may use at a time: as many as Windows Server allows.
const maxChannels = 32

// A channel is a Channel, [MS-SMB2] 3.3.1.14: what a session has of one connection. A session has one from the start, and
// one more for each connection that its client binds it to.
//
//	in progress --exchange done--> in the connection's table and the session's list --connection or session ends--> gone
//
// The connection's table is what its requests find; the session's list is for what has to reach the client by any way.
type channel struct {
	conn    *conn
	session *session

	// The connection's own, in turn: the exchange that is under way, for a logon, a reauthentication or a binding.
	acceptor auth.Acceptor
	preauth  crypt.Preauth // PreauthIntegrityHashValue of [MS-SMB2] 3.3.1.8 and 3.3.1.13

	signer atomic.Pointer[crypt.Signer] // Channel.SigningKey; nil until the exchange is done
}

// channel returns what a session has of this connection, or nil.
func (c *conn) channel(id uint64) *channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.channels[id]
}

// ways are the session's channels. It takes no lock: who holds a file's may ask.
func (s *session) ways() []*channel {
	if p := s.channels.Load(); p != nil {
		return *p
	}
	return nil
}

// conn returns a connection that reaches the session's client, or nil. It is the oldest that lives, and rather one that
// has answered what it was asked.
func (s *session) conn() *conn {
	var deaf *conn
	for _, ch := range s.ways() {
		switch {
		case ch.conn.ctx.Err() != nil:
		case !ch.conn.deaf.Load():
			return ch.conn
		case deaf == nil:
			deaf = ch.conn
		}
	}
	return deaf
}

// uses says whether the session has a channel over c, and whether it has others.
func (s *session) uses(c *conn) (this, others bool) {
	ways := s.ways()
	return slices.ContainsFunc(ways, func(ch *channel) bool { return ch.conn == c }), len(ways) > 1
}

// join gives the session a channel. A session that has lost its last one is over, even if it does not know yet.
func (ch *channel) join() error {
	s := ch.session
	s.mu.Lock()
	defer s.mu.Unlock()
	ways := s.ways()
	switch {
	case s.ended || len(ways) == 0:
		return because(nt.UserSessionDeleted, "the session ended meanwhile")
	case len(ways) >= maxChannels:
		return because(nt.InsufficientResources, "%d channels", maxChannels)
	}
	ways = append(slices.Clone(ways), ch)
	s.channels.Store(&ways)
	return nil
}

// lost takes the channel away when its connection has ended, [MS-SMB2] 3.3.7.1. The session lives as long as another one
// does.
func (ch *channel) lost() {
	s := ch.session
	s.mu.Lock()
	ways := slices.DeleteFunc(slices.Clone(s.ways()), func(other *channel) bool { return other == ch })
	s.channels.Store(&ways)
	s.mu.Unlock()
	last := len(ways) == 0
	if last {
		s.lose()
		return
	}
	ch.conn.log.Info("channel lost", "session", sessionTag(s.id))
	s.retell(ch.conn)
}

// Terms are what all channels of a session have in common.
type terms struct {
	dialect   uint16
	cipher    crypt.Cipher // the session's sealing keys are made for it
	client    dtyp.GUID    // leases belong to it
	transport string
	sealed    bool // the transport's encryption stands in for ours, on all channels or none
}

func (c *conn) terms() terms {
	return terms{uint16(c.dialect.Load()), c.cipher, c.clientID, c.info.Transport, c.sealedEnough()}
}

// findBinding finds the session that a connection is to become a channel of, [MS-SMB2] 3.3.5.5 step 4, and judges
// whether it may. Nothing that goes wrong here or later touches the session (SEC-22).
func (s *setup) findBinding() error {
	c := s.conn
	if !c.info.Multichannel {
		return because(nt.RequestNotAccepted, "session binding is not offered")
	}
	if s.session != nil { // the request was signed with the channel's key, or it would not have come here
		return because(nt.RequestNotAccepted, "the session is on this connection already")
	}
	id := s.hdr.SessionID
	c.srv.mu.Lock()
	ses := c.srv.sessions[id]
	c.srv.mu.Unlock()
	if ses == nil {
		return because(nt.UserSessionDeleted, "no session %#x to bind to", id)
	}
	s.s = ses
	if err := s.mayBind(); err != nil {
		delete(c.binding, id)
		return err
	}
	if ch := c.binding[id]; ch != nil && ch.session == ses {
		s.ch = ch
		return nil
	}
	for id, ch := range c.binding { // what was begun with sessions that are gone
		if ch.session.over() {
			delete(c.binding, id)
		}
	}
	if len(c.binding) >= maxPendingSessions {
		return because(nt.InsufficientResources, "%d bindings in progress", len(c.binding))
	}
	s.ch = &channel{conn: c, session: ses, preauth: c.preauth}
	if c.binding == nil {
		c.binding = make(map[uint64]*channel)
	}
	c.binding[id] = s.ch
	return nil
}

// mayBind holds one request of a binding against the session. From when its signature is found right, the answers are
// signed with the session's key: the channel has none yet.
func (s *setup) mayBind() error {
	c, ses := s.conn, s.s
	keys := ses.keys.Load()
	switch {
	case s.hdr.Flags&wire.FlagSigned == 0:
		return because(nt.InvalidParameter, "a binding that is not signed")
	// AES-GMAC mixes with nothing else, and clients know the refusal by two statuses of its own.
	case c.signing != ses.signing && ses.signing == crypt.AESGMAC:
		return because(nt.RequestOutOfSequence, "the session signs with %v, the connection with %v", ses.signing, c.signing)
	case c.signing != ses.signing && c.signing == crypt.AESGMAC:
		return because(nt.NotSupported, "the session signs with %v, the connection with %v", ses.signing, c.signing)
	case !keys.signer.Verify(s.msg):
		return because(nt.AccessDenied, "wrong signature on a binding")
	}
	s.signWith = keys.signer
	ours, theirs := c.terms(), ses.terms
	switch {
	case ours.dialect < wire.Dialect300:
		return because(nt.RequestNotAccepted, "dialect %#04x knows no binding", ours.dialect)
	case ours.dialect != theirs.dialect, ours.cipher != theirs.cipher:
		return because(nt.InvalidParameter, "dialect %#04x and %v, not %#04x and %v", ours.dialect, ours.cipher, theirs.dialect, theirs.cipher)
	case ours.client != theirs.client:
		return because(nt.UserSessionDeleted, "the session is another client's")
	case ours != theirs:
		return because(nt.RequestNotAccepted, "the session came by another kind of transport")
	case ses.identity.Load().Anonymous():
		return because(nt.NotSupported, "an anonymous session has one channel")
	case ses.expired():
		return because(nt.NetworkSessionExpired, "the session has expired")
	}
	return nil
}

// bind makes the channel one of the session's, [MS-SMB2] 3.3.5.5.3: the exchange has shown the same user once more.
func (s *setup) bind() error {
	c, ses, ch := s.conn, s.s, s.ch
	delete(c.binding, ses.id)
	if s.id.SID != ses.owner.SID {
		return because(nt.AccessDenied, "%s binds to a session of %s", s.id.User, ses.owner.User)
	}
	keys, err := c.deriveKeys(s.id.SessionKey, ch.preauth)
	if err != nil {
		return err
	}
	ch.signer.Store(keys.signer) // the sealing keys are the session's, and its counter of nonces with them (SEC-11)
	if err := c.list(ch); err != nil {
		return err
	}
	if err := ch.join(); err != nil {
		c.forget(ch)
		return err
	}
	c.known.Store(true)
	s.session, s.channel, s.signWith = ses, ch, keys.signer
	c.log.Info("channel bound", "session", sessionTag(ses.id), "user", s.id.User)
	return nil
}

// signedForSession reports whether a SESSION_SETUP was signed with the session's key instead of the channel's:
// [MS-SMB2] 3.2.4.1.1 has clients do so, and they do not all. The answers are signed with the channel's: under AES-GMAC
// they would share nonces with those of the first channel.
func (r *request) signedForSession() bool {
	s := r.session
	return r.hdr.Command == wire.CmdSessionSetup && r.conn.signing == s.signing && s.keys.Load().signer.Verify(r.msg)
}

// list puts a channel into its connection's table, for requests to find.
func (c *conn) list(ch *channel) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.channels == nil {
		return because(nt.UserSessionDeleted, "the connection has ended")
	}
	if len(c.channels) >= maxSessions+maxPendingSessions {
		return because(nt.InsufficientResources, "%d sessions on one connection", len(c.channels))
	}
	c.channels[ch.session.id] = ch
	return nil
}

// forget takes a channel out of its connection's table.
func (c *conn) forget(ch *channel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.channels[ch.session.id] == ch {
		delete(c.channels, ch.session.id)
	}
}

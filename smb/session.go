package smb

import (
	"context"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// Bounds of one session.
const (
	maxTrees = 1024
	maxOpens = 128 << 10 // more than any client has; at 1.4 KB each they hold 180 MB
)

// A session is a Session, [MS-SMB2] 3.3.1.8.
//
//	in progress --exchange done--> valid --LOGOFF, PreviousSessionId, last connection lost--> ended
//	     |                          |  ^
//	     +--refused--> ended        +--+ reauthenticated, bound to further connections
//
// In progress: known to its connection only; keys is nil; nothing but SESSION_SETUP uses it. Valid: in the server's
// table; keys is set for good (a reauthentication does not change them); while its identity has expired little is done
// for it. Ended: in no table; trees and opens are gone; a request that still holds it finds nothing in it.
type session struct {
	srv     *Server
	id      uint64
	terms   terms
	signing crypt.SigningAlg // of the channel that it was made by
	remote  string           // the address that it was made from
	peer    [32]byte         // SHA-256 of the certificate that it was made with; zero: none
	since   time.Time
	used    atomic.Int64 // when its last request came: since, in nanoseconds

	keys            atomic.Pointer[sessionKeys]
	owner           *auth.Identity // who made it; constant once keys is set
	identity        atomic.Pointer[auth.Identity]
	signingRequired atomic.Bool
	locks           atomic.Int64               // byte ranges, over all opens
	watches         atomic.Int64               // directories
	durables        atomic.Int64               // opens that are durable and not persistent
	encrypt         atomic.Bool                // Session.EncryptData, and the transport does not make up for it
	channels        atomic.Pointer[[]*channel] // in the order of their binding; never changed but replaced, under mu
	strays          atomic.Int32               // see request.stray

	life  context.Context // until it has ended
	cease context.CancelFunc

	leaving  sync.Mutex // outside of all others
	mu       sync.Mutex // guards what follows; taken before a file's, never while a server table is wanted
	ended    bool
	trees    map[uint32]*tree
	nextTree uint32
	opens    map[uint64]*open // by volatile id
}

type sessionKeys struct {
	signer     *crypt.Signer // Session.SigningKey: the first channel's, and what a binding is signed with
	open, seal *crypt.Sealer // nil where the dialect or the client knows no encryption
}

// session returns a session of this connection, or nil.
func (c *conn) session(id uint64) *session {
	if ch := c.channel(id); ch != nil {
		return ch.session
	}
	return nil
}

// newSession makes a session that is in progress.
func (c *conn) newSession() (*channel, error) {
	s := &session{
		srv: c.srv, terms: c.terms(), signing: c.signing, remote: c.nc.RemoteAddr().String(), since: time.Now(), trees: make(map[uint32]*tree), opens: make(map[uint64]*open),
	}
	if c.info.Peer != nil {
		s.peer = sha256.Sum256(c.info.Peer.Raw)
	}
	s.life, s.cease = context.WithCancel(context.Background())
	ch := &channel{conn: c, session: s, preauth: c.preauth}
	s.channels.Store(&[]*channel{ch})
	c.mu.Lock()
	pending := 0
	for _, other := range c.channels {
		if other.signer.Load() == nil {
			pending++
		}
	}
	c.mu.Unlock()
	if pending >= maxPendingSessions {
		return nil, because(nt.InsufficientResources, "%d sessions in progress", pending)
	}
	c.srv.name(s)
	if err := c.list(ch); err != nil {
		s.end()
		return nil, err
	}
	return ch, nil
}

// name gives the session an id that no other one has, in progress or not. It is 32 random bits: the protocol has room for
// 64, but there are clients that keep no more, and nothing rests on an id being secret. It travels in the clear, and
// whoever names a session has to have a channel of it, or its key.
func (s *Server) name(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		id := randomID() >> 32
		if _, taken := s.sessionIDs[id]; !taken && id != 0 && id != 0xFFFFFFFF { // the wire gives both a meaning
			ses.id, s.sessionIDs[id] = id, struct{}{}
			return
		}
	}
}

// usable says whether a request other than SESSION_SETUP may use the session now, [MS-SMB2] 3.3.5.2.9. What only gives
// back may be done after it has expired; of LOCK that is unlocking, see there.
func (s *session) usable(cmd wire.Command) error {
	if s.keys.Load() == nil {
		return because(nt.UserSessionDeleted, "session %#x is not established", s.id)
	}
	switch cmd {
	case wire.CmdLogoff, wire.CmdClose, wire.CmdLock:
		return nil
	}
	return s.current()
}

// current refuses what may not be done once the session has expired.
func (s *session) current() error {
	if s.expired() {
		return because(nt.NetworkSessionExpired, "%s must authenticate again", s.user())
	}
	return nil
}

// expired reports whether what the user proved holds no longer, [MS-SMB2] 3.3.1.8 Session.ExpirationTime.
func (s *session) expired() bool {
	id := s.identity.Load()
	return id != nil && !id.Expires.IsZero() && !time.Now().Before(id.Expires)
}

// over reports whether the session has ended.
func (s *session) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// end takes the session out of all tables and closes what it has open, [MS-SMB2] 3.3.4.12.
func (s *session) end() { s.leave(false) }

// lose is end when the client may come back: its durable opens are kept for it, [MS-SMB2] 3.3.7.1.
func (s *session) lose() { s.leave(true) }

func (s *session) leave(keep bool) {
	s.leaving.Lock() // a client that replaces its session finds its durable opens parked, whoever ends the session first
	defer s.leaving.Unlock()
	s.mu.Lock()
	opens, channels, again := s.opens, s.ways(), s.ended
	s.opens, s.trees, s.ended = nil, nil, true
	s.channels.Store(nil)
	s.mu.Unlock()
	if again {
		return
	}
	s.cease()
	for _, ch := range channels {
		ch.conn.forget(ch)
	}
	s.srv.mu.Lock()
	delete(s.srv.sessions, s.id)
	delete(s.srv.sessionIDs, s.id)
	s.srv.mu.Unlock()
	for _, o := range opens {
		if !keep || !o.park() {
			o.end()
		}
	}
}

// logoff ends the session, [MS-SMB2] 3.3.5.6. Its durable opens stay: a client that logs on anew may want them.
func (r *request) logoff() (response, error) {
	var req wire.LogoffRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	r.session.lose()
	r.conn.log.Info("logoff", "session", sessionTag(r.session.id), "user", r.session.user())
	r.conn.audit(LoggedOff, r.session.identity.Load(), "", nil)
	return &wire.LogoffResponse{}, nil
}

// barred reports whether the client that made the session gets in no more.
func (s *session) barred() bool {
	return s.peer != [32]byte{} && s.srv.cfg.Barred != nil && s.srv.cfg.Barred(s.peer)
}

func (s *session) user() string {
	if id := s.identity.Load(); id != nil {
		return id.User
	}
	return ""
}

// echo answers, [MS-SMB2] 3.3.5.17.
func (r *request) echo() (response, error) {
	var req wire.EchoRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	return &wire.EchoResponse{}, nil
}

package smb

import (
	"sync"
	"sync/atomic"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// Bounds of one session.
const (
	maxTrees = 1024
	maxOpens = 65536
)

// A session is a Session, [MS-SMB2] 3.3.1.8.
//
//	in progress --exchange done--> valid --LOGOFF, PreviousSessionId, connection lost--> ended
//	     |                          |  ^
//	     +--refused--> ended        +--+ reauthenticated
//
// In progress: known to its connection only; keys is nil; nothing but SESSION_SETUP uses it. Valid: in the server's
// table; keys is set for good (a reauthentication does not change them). Ended: in no table; trees and opens are gone;
// a request that still holds it finds nothing in it.
type session struct {
	conn *conn
	id   uint64

	// The reader's own: the exchange that is under way.
	acceptor auth.Acceptor
	preauth  crypt.Preauth // Session.PreauthIntegrityHashValue

	keys            atomic.Pointer[sessionKeys]
	identity        atomic.Pointer[auth.Identity]
	signingRequired atomic.Bool
	locks           atomic.Int64 // byte ranges, over all opens
	watches         atomic.Int64 // directories
	encrypt         atomic.Bool  // Session.EncryptData, and the transport does not make up for it

	leaving  sync.Mutex // outside of all others
	mu       sync.Mutex // guards what follows; taken before a file's, never while a server table is wanted
	ended    bool
	trees    map[uint32]*tree
	nextTree uint32
	opens    map[uint64]*open // by volatile id
}

type sessionKeys struct {
	signer     *crypt.Signer
	open, seal *crypt.Sealer // nil where the dialect or the client knows no encryption
}

// session returns a session of this connection, or nil.
func (c *conn) session(id uint64) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions[id]
}

// newSession makes a session that is in progress.
func (c *conn) newSession() (*session, error) {
	s := &session{conn: c, preauth: c.preauth, trees: make(map[uint32]*tree), opens: make(map[uint64]*open)}
	c.mu.Lock()
	defer c.mu.Unlock()
	pending := 0
	for _, other := range c.sessions {
		if other.keys.Load() == nil {
			pending++
		}
	}
	if pending >= maxPendingSessions || len(c.sessions) >= maxSessions+maxPendingSessions {
		return nil, because(nt.InsufficientResources, "%d sessions, %d of them in progress", len(c.sessions), pending)
	}
	for s.id == 0 || c.sessions[s.id] != nil {
		s.id = randomID()
	}
	c.sessions[s.id] = s
	return s, nil
}

// usable says whether a request other than SESSION_SETUP may use the session now, [MS-SMB2] 3.3.5.2.9.
func (s *session) usable(wire.Command) error {
	if s.keys.Load() == nil {
		return because(nt.UserSessionDeleted, "session %#x is not established", s.id)
	}
	return nil
}

// end takes the session out of all tables and closes what it has open, [MS-SMB2] 3.3.4.12.
func (s *session) end() { s.leave(false) }

// lose is end when the client may come back: its durable opens are kept for it, [MS-SMB2] 3.3.7.1.
func (s *session) lose() { s.leave(true) }

func (s *session) leave(keep bool) {
	s.leaving.Lock() // a client that replaces its session finds its durable opens parked, whoever ends the session first
	defer s.leaving.Unlock()
	c := s.conn
	c.mu.Lock()
	delete(c.sessions, s.id)
	c.mu.Unlock()
	c.srv.mu.Lock()
	if c.srv.sessions[s.id] == s {
		delete(c.srv.sessions, s.id)
	}
	c.srv.mu.Unlock()
	s.mu.Lock()
	opens := s.opens
	s.opens, s.trees, s.ended = nil, nil, true
	s.mu.Unlock()
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
	return &wire.LogoffResponse{}, nil
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

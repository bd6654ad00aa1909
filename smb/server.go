package smb

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/rpc/lsarpc"
	"github.com/postern-nas/postern/smb/rpc/samr"
)

// A Config is what a Server is made from. It is not changed afterwards.
type Config struct {
	Name       string // as clients are told, for example by srvsvc
	Comment    string
	GUID       dtyp.GUID
	Mechanisms []auth.Mechanism
	Shares     []Share
	// Handles keeps persistent opens over restarts, for shares that are continuously available; nil has none.
	Handles HandleStore
	// Names turns SIDs into names and back for clients that show them; nil offers no lsarpc.
	Names lsarpc.Source
	// Interfaces returns the addresses at which clients may open further channels, on connections that are Multichannel.
	// nil: clients are told the address that they came by, and no other.
	Interfaces func() []Interface
	// Accounts shows clients the users and groups; nil offers no samr.
	Accounts samr.Source
	// Sharing keeps what administrators change of the shares over the network; nil lets nobody change anything.
	Sharing Sharing
	// RequireEncryption refuses what is not sealed, on connections that are not Secure.
	RequireEncryption bool
	// SigningOptional lets a client that does not insist on signing go without, on connections that are not Secure.
	// Without signatures whoever can reach into a connection can take its session over: for networks with nobody else.
	SigningOptional bool
	// Compression lets clients agree on compressed messages: what they send then costs memory that they need not send,
	// and processor time.
	Compression bool
	// MemoryBudget bounds what requests and replies of all connections hold together, in bytes: half of it each. 0 means
	// DefaultMemoryBudget.
	MemoryBudget int64
	// MaxOpens bounds what all sessions together have open. 0 is no bound but that of each session.
	MaxOpens int
	// FailedLogonDelay is how long a refused logon is left without an answer. 2 s is what Windows Server does: guessing
	// takes long, and a person who mistypes hardly notices.
	FailedLogonDelay time.Duration
	// Audit hears of logons, tree connects, and what administrators change of the shares. It must not wait. nil: nobody hears.
	Audit func(Audit)
	// Barred reports whether the client with a certificate of this SHA-256 gets in no more: what it has open does not wait
	// for it. It must not wait. nil: nobody is barred.
	Barred func(certificate [sha256.Size]byte) bool
	Log    *slog.Logger
}

// DefaultMemoryBudget serves 8 clients that each write 8 MiB at a time, and reads of 64 MiB beside them.
const DefaultMemoryBudget = 128 << 20

// A ConnInfo is what the transport knows of a connection.
type ConnInfo struct {
	ID        string // for logs
	Transport string // "quic" or "tcp"
	// Secure says that the transport encrypts and that the peer proved its name to the client: SMB's own encryption
	// may be left out if the client agrees ([MS-SMB2] 2.2.3.1.5).
	Secure bool
	// Pipes says what IPC$ has for this connection now. Any goroutine may call it, and it does not wait. nil: NoPipes.
	Pipes func() Pipes
	// Multichannel lets sessions of other connections be bound to this one, and tells clients so.
	Multichannel bool
	// Anonymous lets in who proves nothing, if a Mechanism does: to IPC$, and no share with files.
	Anonymous  bool
	Peer       *x509.Certificate
	ServerName string
	Bindings   [][]byte // acceptable channel bindings, see auth.Channel
	// Heard tells how many packets have come from the client's machine, acknowledgments of the transport included, and
	// whether it owes one. Any goroutine may call it, and it does not wait. nil: nobody knows.
	Heard func() (packets uint64, owes bool)
}

// A Server serves shares to any number of connections.
type Server struct {
	cfg        Config
	log        *slog.Logger
	pool       *pool
	frames     sync.Pool // of *frame
	shares     shareTable
	namespaces atomic.Bool // some of them are made of links
	posix      atomic.Bool // some of them have the POSIX extensions
	changing   sync.Mutex  // changes of shares take turns: nothing else waits for it
	files      fileTable
	leases     leaseTable // GlobalLeaseTableList, [MS-SMB2] 3.3.1.5
	durables   durables
	hint       []byte // the SPNEGO token of the NEGOTIATE response

	started time.Time
	numbers atomic.Uint32 // of opens, see open.number

	mu       sync.Mutex
	conns    map[*conn]struct{}
	sessions map[uint64]*session // Server.GlobalSessionTable, [MS-SMB2] 3.3.1.5
	closing  bool

	sessionIDs map[uint64]struct{} // of sessions in progress, too

	stats counters
}

type counters struct {
	connections, requests, logons, logonsFailed, panics, dropped atomic.Uint64
	opens                                                        atomic.Int64
	saved                                                        atomic.Uint64
	read, written                                                atomic.Uint64
}

// Stats is what a Server counts.
type Stats struct {
	Connections, Sessions int   // now
	Opens                 int64 // now
	Accepted              uint64
	Requests              uint64
	Logons, LogonsFailed  uint64
	Panics                uint64 // in handlers; each ended one connection
	Dropped               uint64 // connections that we ended for what they sent
	Saved                 uint64 // bytes of replies that compression has spared
	Read, Written         uint64 // bytes of files, by READ and WRITE
}

// NewServer checks cfg and makes a Server.
func NewServer(cfg Config) (*Server, error) {
	if len(cfg.Mechanisms) == 0 {
		return nil, errors.New("smb: no mechanism to authenticate with")
	}
	if cfg.MemoryBudget == 0 {
		cfg.MemoryBudget = DefaultMemoryBudget
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, pool: newPool(cfg.MemoryBudget),
		conns: make(map[*conn]struct{}), sessions: make(map[uint64]*session), sessionIDs: make(map[uint64]struct{}),
		hint: auth.Hint(cfg.Mechanisms), started: time.Now(),
	}
	if cfg.Compression {
		s.pool.setAside()
	}
	if err := s.addShare(ipcShare, true); err != nil {
		return nil, fmt.Errorf("smb: %w", err)
	}
	for _, sh := range cfg.Shares {
		if err := s.addShare(sh, false); err != nil {
			return nil, fmt.Errorf("smb: %w", err)
		}
	}
	if err := s.restore(); err != nil {
		return nil, fmt.Errorf("smb: persistent opens: %w", err)
	}
	return s, nil
}

// errShutdown ends connections when the server stops.
var errShutdown = errors.New("server is shutting down")

// ServeConn speaks SMB2 on nc until the peer leaves, breaks the protocol, or ctx ends, and closes nc. The error says
// why; nil is an orderly end.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn, info ConnInfo) error {
	c := newConn(ctx, s, nc, info)
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		nc.Close()
		return errShutdown
	}
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.stats.connections.Add(1)
	err := c.serve()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	close(c.done)
	return err
}

// Shutdown ends all connections and waits until their handlers have left, or until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.stop(errShutdown)
	}
	defer s.endParked(func(*open) bool { return true }, true)
	for _, c := range conns {
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// EndSessions ends the sessions of those for whom gone holds, with all they have open, and returns how many. Their
// connections stay, and may try to log on again.
func (s *Server) EndSessions(gone func(*auth.Identity) bool) (n int) {
	s.mu.Lock()
	var ending []*session
	for _, ses := range s.sessions {
		if gone(ses.owner) {
			ending = append(ending, ses)
		}
	}
	s.mu.Unlock()
	for _, ses := range ending {
		s.log.Info("session ended by us", "session", sessionTag(ses.id), "user", ses.owner.User)
		ses.tellClosed()
		ses.end()
	}
	s.endParked(func(o *open) bool { return gone(&o.durable.Load().owner) }, false)
	return len(ending)
}

// EndBarred ends the sessions that were made with the certificate of a client that is barred now, and closes what such
// clients have left open to come back to. It returns how many sessions there were.
func (s *Server) EndBarred() int {
	s.mu.Lock()
	var ending []*session
	for _, ses := range s.sessions {
		if ses.barred() {
			ending = append(ending, ses)
		}
	}
	s.mu.Unlock()
	for _, ses := range ending {
		s.log.Info("session ended: its client's certificate is barred", "session", sessionTag(ses.id), "user", ses.user())
		ses.end()
	}
	s.endParked(func(o *open) bool { return o.session().barred() }, false)
	return len(ending)
}

// Stats returns the counts now.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	conns, sessions := len(s.conns), len(s.sessions)
	s.mu.Unlock()
	return Stats{
		Connections: conns, Sessions: sessions, Opens: s.stats.opens.Load(),
		Accepted: s.stats.connections.Load(), Requests: s.stats.requests.Load(),
		Logons: s.stats.logons.Load(), LogonsFailed: s.stats.logonsFailed.Load(),
		Panics: s.stats.panics.Load(), Dropped: s.stats.dropped.Load(), Saved: s.stats.saved.Load(),
		Read: s.stats.read.Load(), Written: s.stats.written.Load(),
	}
}

// randomID returns an identifier that cannot be guessed and is neither 0 nor all ones, which the wire gives meanings.
func randomID() uint64 {
	for {
		var b [8]byte
		rand.Read(b[:]) // never fails: it aborts the program instead
		if id := binary.LittleEndian.Uint64(b[:]); id+1 > 1 {
			return id
		}
	}
}

package smb

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/wire"
)

// Bounds of one connection. Each is there so that one peer cannot use up the server.
const (
	maxWorkers         = 64    // requests being worked on at once; those that went async do not count
	maxAsync           = 511   // requests waiting for something; Windows has 512 credits for it, and lets so many wait
	workBytes          = maxIO // replies being made and not yet taken by the transport: one of the largest (SEC-41)
	maxSessions        = 64    // sessions that are valid
	maxPendingSessions = 16    // sessions whose exchange is not over (C-05)
	maxCompound        = 64    // elements in one frame (SEC-03)
	readAhead          = 1024  // of the stream, with a frame's length: some eight small requests; what is longer goes to its own buffer
)

// A conn is a Connection, [MS-SMB2] 3.3.1.7. One goroutine reads its frames and keeps their order: it checks
// MessageIds, opens seals, and runs NEGOTIATE and SESSION_SETUP itself, because the preauthentication hash needs
// them one after the other. Everything else runs on workers, which verify, work, sign and write; a worker that
// waits is just a goroutine that waits.
//
// The first plan had a loop goroutine own this state and a writer goroutine send. Both cost a hand-over for each
// message and own nothing that a short critical section does not guard as well.
type conn struct {
	srv       *Server
	nc        net.Conn
	raw       syscall.RawConn // of nc, if sendfile can send to it
	info      ConnInfo
	log       *slog.Logger
	started   time.Time
	work      *semaphore.Weighted
	slots     chan struct{}
	inflating chan struct{}
	pipes     atomic.Int32   // that are open: while there are any, READs take turns
	large     atomic.Int32   // frames that hold more than smallReply
	mac       atomic.Bool    // the client has said that it is a Mac
	macDirs   atomic.Bool    // and that it wants fscc.MacInfo in listings
	workers   sync.WaitGroup // frames being worked on, and what start began
	jobs      chan *frame    // for a worker who has none
	strays    sync.WaitGroup // workers that go on when the connection is over
	ctx       context.Context
	cancel    context.CancelCauseFunc
	done      chan struct{}

	// The reader's own.
	br        *bufio.Reader
	prefix    [prefixSize]byte
	comesBy   time.Time     // the deadline that is set for reading
	multi     bool          // an SMB1 opener was answered with "2.???"
	preauth   crypt.Preauth // Connection.PreauthIntegrityHashValue
	first     bool          // nothing came yet
	capsAsked uint32        // what NEGOTIATE said, for VALIDATE_NEGOTIATE_INFO
	modeAsked uint16
	capsGiven uint32

	// turn lets NEGOTIATE and SESSION_SETUP go one after the other, wherever they stand in a compound: it guards what
	// the reader's own of a session is, too.
	turn    sync.Mutex
	binding map[uint64]*channel // by SessionId: bindings whose exchange is not over

	// Constant once dialect is set, by the reader, before any worker starts.
	dialect     atomic.Uint32
	clientID    dtyp.GUID
	cipher      crypt.Cipher
	signing     crypt.SigningAlg
	compression compression
	transportOK bool // both sides take the transport's encryption for enough
	posix       bool // both sides know the POSIX extensions

	known atomic.Bool // a session is or was valid
	deaf  atomic.Bool // let a break go unacknowledged: not waited for, until it acknowledges one (row 34)

	wmu     sync.Mutex // what is written goes out in one piece
	takenBy time.Time  // the deadline for that, guarded by wmu
	lmu     sync.Mutex
	left    *buffer // small frames that wait to be written, one behind the other; guarded by lmu

	mu        sync.Mutex // guards what follows; nothing is sent, waited for or closed under it
	window    *window
	channels  map[uint64]*channel // by SessionId: Connection.SessionTable
	pending   map[uint64]*request // by MessageId: what CANCEL may find
	async     map[uint64]*request // by AsyncId
	asyncIDs  uint64
	lastTurn  <-chan struct{} // of the CHANGE_NOTIFY that came last
	lastMove  <-chan struct{} // of the rename that did
	slow      *time.Timer     // of look
	attending bool            // it is set
	notices   []notice
	telling   bool // notices are being sent
	silent    bool // and none will be any more

	noticed chan struct{} // there are notices
}

func newConn(ctx context.Context, s *Server, nc net.Conn, info ConnInfo) *conn {
	c := &conn{
		srv: s, nc: nc, raw: socket(nc), info: info, started: time.Now(), first: true,
		work: semaphore.NewWeighted(workBytes), slots: make(chan struct{}, maxWorkers), jobs: make(chan *frame), inflating: make(chan struct{}, maxInflating),
		br: bufio.NewReaderSize(nc, readAhead), window: newWindow(), channels: make(map[uint64]*channel), done: make(chan struct{}),
		pending: make(map[uint64]*request), async: make(map[uint64]*request),
		noticed: make(chan struct{}, 1),
	}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.log = s.log.With("conn", info.ID, "remote", nc.RemoteAddr().String(), "transport", info.Transport)
	return c
}

// stop ends the connection from outside of its reader.
func (c *conn) stop(why error) {
	c.cancel(why)
	c.nc.Close()
}

// errPeer wraps what a peer did that ends its connection.
type errPeer struct{ err error }

func (e errPeer) Error() string { return e.err.Error() }
func (e errPeer) Unwrap() error { return e.err }

func drop(format string, args ...any) error { return errPeer{fmt.Errorf(format, args...)} }

// serve runs until the connection is over and leaves nothing behind, [MS-SMB2] 3.3.7.1.
func (c *conn) serve() error {
	unwatch := context.AfterFunc(c.ctx, func() { c.nc.Close() })
	c.log.Info("connection opened", "server_name", c.info.ServerName)
	c.start(c.sendNotices)
	err := c.read()
	if cause := context.Cause(c.ctx); cause != nil { // someone ended it: that is the reason, not the read it broke
		err = cause
	}
	unwatch()
	c.cancel(err)
	c.nc.Close()
	c.workers.Wait()
	c.mu.Lock()
	channels := c.channels
	c.channels = nil
	if c.slow != nil {
		c.slow.Stop()
	}
	close(c.jobs)
	c.mu.Unlock()
	for _, ch := range channels {
		ch.lost()
	}
	c.passOn()
	c.strays.Wait()
	took := time.Since(c.started).Round(time.Millisecond)
	var peer errPeer
	switch {
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
		c.log.Info("connection closed", "after", took)
		return nil
	case errors.As(err, &peer) || errors.Is(err, errFrame) || errors.Is(err, os.ErrDeadlineExceeded):
		c.srv.stats.dropped.Add(1)
		c.log.Warn("connection dropped", "why", err, "after", took)
	default:
		c.log.Info("connection ended", "why", err, "after", took)
	}
	return err
}

// read takes frames until there are no more.
func (c *conn) read() error {
	defer c.contain()
	for {
		buf, err := c.readFrame(c.ctx)
		if err != nil {
			return err
		}
		if err := c.receive(buf); err != nil {
			return err
		}
		c.first = false
	}
}

// Protocol identifiers: the first four bytes of a message.
const (
	protocolSMB1       = 0x424D53FF
	protocolSMB2       = 0x424D53FE
	protocolTransform  = 0x424D53FD
	protocolCompressed = 0x424D53FC
)

// smallSeal is how long a sealed message may be to be opened by the reader at once. That keeps CANCEL behind the
// request it is for; longer ones carry data, and are opened by a worker so that several can be at a time.
const smallSeal = 64 << 10

// receive takes one message, [MS-SMB2] 3.3.5.1. It takes over buf.
func (c *conn) receive(buf *buffer) error {
	c.srv.stats.requests.Add(1)
	f := c.newFrame(buf)
	switch id := binary.LittleEndian.Uint32(buf.b); id {
	case protocolSMB2:
		return c.accept(f, buf.b)
	case protocolTransform:
		s, err := c.sealer(buf.b)
		if err != nil {
			buf.release()
			return err
		}
		f.sealed = s
		if len(buf.b) <= smallSeal {
			return c.unseal(f)
		}
		c.start(func() {
			if err := c.unseal(f); err != nil {
				c.stop(err)
			}
		})
		return nil
	case protocolSMB1:
		defer buf.release()
		return c.multiProtocol(buf.b)
	case protocolCompressed:
		if len(buf.b) <= smallSeal && wire.CompressedSize(buf.b) <= smallSeal { // as with seals
			return f.decompress(buf.b)
		}
		select {
		case c.inflating <- struct{}{}:
		case <-c.ctx.Done():
			f.release()
			return context.Cause(c.ctx)
		}
		c.start(func() {
			defer func() { <-c.inflating }()
			if err := f.decompress(f.in.b); err != nil {
				c.stop(err)
			}
		})
		return nil
	default:
		buf.release()
		return drop("unknown protocol identifier %#08x", id)
	}
}

// start runs work on a goroutine that the connection's end waits for.
func (c *conn) start(work func()) {
	c.workers.Add(1)
	go func() {
		defer c.workers.Done()
		defer c.contain()
		work()
	}()
}

// contain is deferred wherever bytes from the peer are worked on. A panic is a bug: it costs its connection, and nobody
// else's (C-20).
func (c *conn) contain() {
	if p := recover(); p != nil {
		c.srv.stats.panics.Add(1)
		c.log.Error("panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		c.stop(fmt.Errorf("internal error: %v", p))
	}
}

// accept checks the order of a plain (or opened) message's elements and has them worked on.
func (c *conn) accept(f *frame, msg []byte) error {
	if err := f.split(msg); err != nil {
		f.release()
		return err
	}
	if len(f.requests) == 0 { // a CANCEL: it has no answer
		f.release()
		return nil
	}
	if inTurn(f.requests[0]) {
		c.turn.Lock()
		defer c.turn.Unlock()
		f.run()
		return context.Cause(c.ctx)
	}
	if err := f.hold(); err != nil {
		f.release()
		return context.Cause(c.ctx)
	}
	select {
	case c.slots <- struct{}{}:
		f.slot = true
	case <-c.ctx.Done():
		f.release()
		return context.Cause(c.ctx)
	}
	c.employ(f)
	return nil
}

// inTurn reports whether a request may not run beside others of its kind: the preauthentication hash is over their
// order.
func inTurn(r *request) bool {
	return r.hdr.Command == wire.CmdNegotiate || r.hdr.Command == wire.CmdSessionSetup
}

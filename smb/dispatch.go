package smb

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// A response is a body that can be appended behind its header.
type response interface{ Append(b []byte) []byte }

// A handler does what a request asks. An error is the answer's status; of warning severity, or
// MoreProcessingRequired, it may come with a response.
type handler func(r *request) (response, error)

type command struct {
	session, tree bool
	run           handler
}

// commands says what each command needs before its handler is called, [MS-SMB2] 3.3.5.2.6-11. CANCEL is not here: it
// is not answered, and the reader sees to it.
var commands = [...]command{
	wire.CmdNegotiate:      {false, false, (*request).negotiate},
	wire.CmdSessionSetup:   {false, false, (*request).sessionSetup},
	wire.CmdLogoff:         {true, false, (*request).logoff},
	wire.CmdTreeConnect:    {true, false, (*request).treeConnect},
	wire.CmdTreeDisconnect: {true, true, (*request).treeDisconnect},
	wire.CmdCreate:         {true, true, (*request).create},
	wire.CmdClose:          {true, true, (*request).close},
	wire.CmdFlush:          {true, true, (*request).flush},
	wire.CmdRead:           {true, true, (*request).read},
	wire.CmdWrite:          {true, true, (*request).write},
	wire.CmdLock:           {true, true, (*request).lock},
	wire.CmdIoctl:          {true, true, (*request).ioctl},
	wire.CmdEcho:           {false, false, (*request).echo},
	wire.CmdQueryDirectory: {true, true, (*request).queryDirectory},
	wire.CmdChangeNotify:   {true, true, (*request).changeNotify},
	wire.CmdQueryInfo:      {true, true, (*request).queryInfo},
	wire.CmdSetInfo:        {true, true, (*request).setInfo},
	wire.CmdOplockBreak:    {true, true, (*request).oplockBreak},
}

// A request is one element of a message, [MS-SMB2] 3.3.1.12.
type request struct {
	conn  *conn
	frame *frame
	hdr   wire.Header
	msg   []byte // from its header on, bounded to it
	last  bool   // of its compound
	owner uint64 // the session it belongs to, also if it is related; constant

	ctx   context.Context // life, as a rule: see stray
	life  lifetime
	began atomic.Int64 // when its work did, nanoseconds from the connection's start plus 1; 0: see watched

	session *session
	channel *channel // of the session, over conn
	tree    *tree
	open    *open  // the one it named; a reference that finish gives back
	uses    *share // the tree's, likewise
	counted uint64 // see channelState
	past    *past  // where its names are, if it is not the share's volume
	named   bool   // a CREATE that its client will replay by its name if it hears no answer

	before <-chan struct{} // closed when the request that this one comes after has taken its place
	turn   chan struct{}   // closed when this one has

	// What the next, related, element inherits.
	fileID wire.FileID
	status nt.Status
	failed bool // a CREATE, or what depended on one
	astray bool // it had no session: nothing can be related to it

	fatal    error // drop the connection instead of answering
	preauth  func(reply []byte)
	verified bool          // its signature was right
	signWith *crypt.Signer // what signs the answer all the same, where the session or channel is not there yet
	compress bool          // the client would like the data compressed

	reply bodies // room for its answer

	amu      sync.Mutex // guards what follows: an interim reply may be sent from a timer
	asyncID  uint64
	granted  bool // credits went out with the interim reply
	answered bool
}

// bodies has room for the answer to what there is most of: an answer that lies in its request is not allocated.
type bodies struct {
	read   readReply
	extent extentReply
	output outputReply
	write  wire.WriteResponse
	close  wire.CloseResponse
}

// live begins the request's life.
func (r *request) live() {
	r.life.parent = r.conn.ctx
	r.ctx = &r.life
}

// inherit takes over what a related request leaves out, [MS-SMB2] 3.3.5.2.7.2.
func (r *request) inherit(prev *request) {
	r.hdr.SessionID, r.hdr.TreeID = prev.hdr.SessionID, prev.hdr.TreeID
	r.fileID, r.failed, r.status = prev.fileID, prev.failed, prev.status
}

// dispatch checks in the specification's order and calls the handler, [MS-SMB2] 3.3.5.2.
func (r *request) dispatch() (response, error) {
	c := r.conn
	known := int(r.hdr.Command) < len(commands) && commands[r.hdr.Command].run != nil
	cmd := command{session: true}
	if known {
		cmd = commands[r.hdr.Command]
	}
	if c.dialect.Load() == 0 && r.hdr.Command != wire.CmdNegotiate {
		r.fatal = drop("%v before NEGOTIATE", r.hdr.Command)
		return nil, nil
	}
	if err := r.findSession(cmd.session); err != nil {
		return nil, err
	}
	if err := r.verify(); err != nil {
		return nil, err
	}
	if r.session != nil && cmd.session {
		if err := r.session.usable(r.hdr.Command); err != nil {
			return nil, err
		}
		r.session.used.Store(int64(time.Since(r.session.since)))
	}
	if !known {
		return nil, because(nt.InvalidParameter, "unknown command %d", r.hdr.Command)
	}
	if cmd.tree {
		if err := r.findTree(); err != nil {
			return nil, err
		}
	}
	r.waitTurn()
	defer r.outOfSequence() // before the client hears of it, and goes on
	return cmd.run(r)
}

// findSession looks the session up, [MS-SMB2] 3.3.5.2.9. SESSION_SETUP, NEGOTIATE and ECHO may come without one.
func (r *request) findSession(needed bool) error {
	if r.hdr.SessionID != 0 {
		if r.channel = r.conn.channel(r.hdr.SessionID); r.channel != nil {
			r.session = r.channel.session
		}
	}
	if r.session == nil && needed {
		r.astray = true
		return because(nt.UserSessionDeleted, "no session %#x", r.hdr.SessionID)
	}
	return nil
}

// verify judges the request's signature, [MS-SMB2] 3.3.5.2.4. What came sealed has proved more already.
func (r *request) verify() error {
	s := r.session
	if s == nil || r.frame.sealed != nil {
		return nil
	}
	if s.keys.Load() == nil {
		return nil // not established: nothing but SESSION_SETUP gets further
	}
	if s.encrypt.Load() && r.hdr.Command != wire.CmdSessionSetup {
		return because(nt.AccessDenied, "%v is not sealed", r.hdr.Command)
	}
	if r.hdr.Flags&wire.FlagSigned != 0 {
		if !r.channel.signer.Load().Verify(r.msg) && !r.signedForSession() {
			return because(nt.AccessDenied, "wrong signature on %v", r.hdr.Command)
		}
		r.verified = true
		return nil
	}
	if s.signingRequired.Load() && r.hdr.Command != wire.CmdNegotiate {
		return because(nt.AccessDenied, "%v is not signed", r.hdr.Command)
	}
	return nil
}

// findTree looks the tree connect up, [MS-SMB2] 3.3.5.2.11, and insists on a seal where its share does.
func (r *request) findTree() error {
	t := r.session.tree(r.hdr.TreeID)
	if t == nil || !t.share.acquire() {
		return because(nt.NetworkNameDeleted, "no tree connect %#x", r.hdr.TreeID)
	}
	r.tree, r.uses = t, t.share
	if r.hdr.Command == wire.CmdCreate && r.tree.stale.Load() {
		return because(nt.NetworkNameDeleted, "the user's rights in share %s have changed: connect again", r.tree.share.Name)
	}
	if r.tree.encrypt && r.frame.sealed == nil {
		return because(nt.AccessDenied, "share %s wants sealed requests", r.tree.share.Name)
	}
	return nil
}

// payload checks that the request's credits pay for n bytes of input or output, [MS-SMB2] 3.3.5.2.5.
func (r *request) payload(n int) error {
	paid := int(max(r.hdr.CreditCharge, 1)) << 16
	if n > paid {
		return because(nt.InvalidParameter, "%d bytes with a credit charge of %d", n, r.hdr.CreditCharge)
	}
	return nil
}

// finish gives back what the request holds.
func (r *request) finish() {
	if r.ctx != nil {
		r.life.cancel()
	}
	r.endTurn()
	if r.open != nil {
		r.open.release()
		r.open = nil
	}
	if r.uses != nil {
		r.uses.release(r.conn.log)
		r.uses = nil
	}
}

// settle bars interim replies, and reports the AsyncId if one was sent.
func (r *request) settle() (asyncID uint64) {
	r.amu.Lock()
	defer r.amu.Unlock()
	r.answered = true
	return r.asyncID
}

package smb

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/rpc"
	"github.com/postern-nas/postern/smb/wire"
)

// Pipes is what a connection is offered of IPC$, the most last.
type Pipes int32

// What there is of IPC$.
const (
	NoPipes  Pipes = iota
	SeePipes       // the list of shares and what else srvsvc tells; nobody changes anything there
	AllPipes
)

// Always is a ConnInfo.Pipes that never changes.
func (p Pipes) Always() Pipes { return p }

// offered is what c is offered of IPC$ now.
func (c *conn) offered() Pipes {
	if c.info.Pipes == nil {
		return NoPipes
	}
	return c.info.Pipes()
}

// pipeState lets readers wait for what a writer's call answers. Its mutex is not held during a call: a call may end the
// very open that it came by.
type pipeState struct {
	mu      sync.Mutex
	changed chan struct{} // closed, and replaced, when there may be more to read
	closed  bool
}

// wait returns what is closed at the next change. mu must be held.
func (p *pipeState) wait() <-chan struct{} {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

// wake tells all that wait. mu must be held.
func (p *pipeState) wake() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

func (p *pipeState) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.wake()
}

// namedPipe opens a pipe of those that are offered, [MS-SMB2] 3.3.5.9: nil if there is none of that name.
func (c *conn) namedPipe(offered Pipes, name string, id *auth.Identity) (*rpc.Pipe, error) {
	switch {
	case offered < SeePipes:
		return nil, because(nt.AccessDenied, "no named pipes on this connection")
	case offered < AllPipes && !strings.EqualFold(name, "srvsvc"):
		return nil, because(nt.AccessDenied, "no named pipe but srvsvc on this connection")
	case offered < AllPipes:
		id = ordinary(id)
	}
	return c.pipe(name, id), nil
}

// ordinary is a user as one who is no administrator: whose calls change nothing.
func ordinary(id *auth.Identity) *auth.Identity {
	plain := *id
	plain.Groups = slices.DeleteFunc(slices.Clone(id.Groups), func(g dtyp.SID) bool { return g == dtyp.Administrators })
	return &plain
}

// openPipe is CREATE on IPC$, [MS-SMB2] 3.3.5.9 with [MS-RPCE] 2.1.1.2.
func (c *creation) openPipe() (response, error) {
	offered := c.conn.offered()
	pipe, err := c.conn.namedPipe(offered, c.req.Name, c.session.identity.Load())
	if err != nil {
		return nil, err
	}
	if pipe == nil {
		return nil, because(nt.ObjectNameNotFound, "no pipe %q", c.req.Name)
	}
	if _, err := c.privileged(); err != nil {
		return nil, err
	}
	want := c.req.DesiredAccess
	granted := want.Expand() &^ dtyp.MaximumAllowed
	if want&dtyp.MaximumAllowed != 0 {
		granted |= c.tree.rights
	}
	c.o = newOpen(c.session, c.tree)
	c.o.pipe, c.o.name, c.o.access = pipe, strings.ToLower(c.req.Name), granted
	c.o.piped, c.o.offered = c.conn, offered
	c.conn.pipes.Add(1)
	if err := c.register(); err != nil {
		c.conn.pipes.Add(-1)
		return nil, err
	}
	return &wire.CreateResponse{Action: wire.FileOpened, FileAttributes: 0x80, AllocationSize: 4096, FileID: c.o.id}, nil
}

// needPipe is need for a pipe, which has to be offered as it was when it was opened: what is taken back from a server name
// is taken back from the connections that stand.
func (o *open) needPipe(access dtyp.Access) error {
	if o.piped.offered() < o.offered {
		return because(nt.AccessDenied, "the pipe is not offered on this connection any more")
	}
	return o.need(access)
}

// writePipe hands over a message, or part of one.
func (r *request) writePipe(o *open, data []byte) (response, error) {
	if err := o.needPipe(writeAccess); err != nil {
		return nil, err
	}
	err := o.pipe.Write(r.ctx, data)
	o.pipes.mu.Lock()
	o.pipes.wake() // also if that broke the pipe
	o.pipes.mu.Unlock()
	if err != nil {
		return nil, err
	}
	r.reply.write.Count = uint32(len(data))
	return &r.reply.write, nil
}

// readPipe waits until there is something to read.
func (r *request) readPipe(o *open, size int) (response, error) {
	if err := o.needPipe(dtyp.ReadData); err != nil {
		return nil, err
	}
	p := &o.pipes
	for {
		p.mu.Lock()
		changed, closed := p.wait(), p.closed // before looking: what comes after is a change
		p.mu.Unlock()
		if closed {
			return nil, because(nt.PipeBroken, "the pipe was closed")
		}
		b, more, err := o.pipe.Read(size)
		if !errors.Is(err, nt.PipeEmpty) {
			if err != nil {
				return nil, err
			}
			n := copy(r.room(wire.ReadResponseHead, len(b)), b)
			if more {
				return r.readReply(n), nt.BufferOverflow
			}
			return r.readReply(n), nil
		}
		if err := r.pend(); err != nil {
			return nil, err
		}
		select {
		case <-changed:
		case <-r.ctx.Done():
			return nil, nt.Cancelled
		}
	}
}

// transceive writes a message and reads the answer, [MS-SMB2] 3.3.5.15.10.
func (r *request) transceive(o *open, in []byte, size int) ([]byte, error) {
	if o.pipe == nil {
		return nil, because(nt.InvalidDeviceRequest, "not a pipe")
	}
	if err := o.needPipe(dtyp.ReadData); err != nil {
		return nil, err
	}
	if err := o.need(writeAccess); err != nil {
		return nil, err
	}
	out, more, err := o.pipe.Transact(r.ctx, in, size)
	if err != nil {
		return nil, err
	}
	if more {
		return out, nt.BufferOverflow
	}
	return out, nil
}

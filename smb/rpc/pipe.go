// Package rpc is the part of [MS-RPCE] that a file server needs: connection-oriented PDUs over a named pipe, and
// enough NDR (C706 chapter 14) to read and write the calls that clients make.
package rpc

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
)

// An Interface is one RPC interface, such as srvsvc.
type Interface struct {
	UUID         dtyp.GUID
	Major, Minor uint16
	// Endpoint is the secondary address of the BIND_ACK, such as `\PIPE\srvsvc`.
	Endpoint string
	// Call runs one operation. stub is NDR, bounded by the Pipe. A Fault as the error becomes a fault PDU with its
	// code; any other error the fault nca_s_fault_unspec.
	Call func(ctx context.Context, opnum uint16, stub []byte) (reply []byte, err error)
}

// Bounds of a Pipe.
const (
	maxRequest  = 1 << 20 // a request put together, and what is written ahead of a reader
	maxReply    = 4 << 20
	maxContexts = 64
)

// A Pipe is one open of a named pipe whose other end is RPC: PDUs written to it are answered by PDUs to be read from
// it. It is in message mode, and a fragment is a message, as Windows has it. Its methods may be called by any number
// of goroutines; calls run one after the other, and Read waits for the one that is running.
type Pipe struct {
	ifaces []Interface

	mu       sync.Mutex
	broken   bool
	in       []byte                // less than a PDU
	bound    bool                  // a BIND was accepted
	maxXmit  int                   // largest fragment the client takes
	group    uint32                // association group
	contexts map[uint16]*Interface // by presentation context
	request  *call                 // until its last fragment
	out      [][]byte              // fragments to be read
	pending  int                   // their length
}

// A call is a request that is being put together.
type call struct {
	id      uint32
	context uint16
	opnum   uint16
	stub    []byte
}

// NewPipe returns a Pipe that offers ifaces.
func NewPipe(ifaces []Interface) *Pipe {
	return &Pipe{ifaces: ifaces, contexts: make(map[uint16]*Interface)}
}

// Write takes bytes of PDUs and runs the calls that they complete. Bytes that are no RPC break the pipe:
// nt.PipeDisconnected, now and from then on; so do calls without end whose answers are not read.
func (p *Pipe) Write(ctx context.Context, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.write(ctx, b)
}

// Read returns up to n bytes of the fragment that is next; more says that it has more, and the answer is
// nt.BufferOverflow. When nothing is there to be read it is nt.PipeEmpty.
func (p *Pipe) Read(n int) (b []byte, more bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.read(n)
}

// Transact is Write and Read in one, for FSCTL_PIPE_TRANSCEIVE. With answers still to be read it is nt.PipeBusy.
func (p *Pipe) Transact(ctx context.Context, in []byte, n int) (out []byte, more bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending > 0 {
		return nil, false, nt.PipeBusy
	}
	if err := p.write(ctx, in); err != nil {
		return nil, false, err
	}
	return p.read(n)
}

// Pending returns how many bytes wait to be read.
func (p *Pipe) Pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pending
}

// Peek returns up to n bytes of the fragment that is next without taking them, and how long what is left of it is.
func (p *Pipe) Peek(n int) (b []byte, message int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.out) == 0 {
		return nil, 0
	}
	return bytes.Clone(p.out[0][:min(max(n, 0), len(p.out[0]))]), len(p.out[0])
}

func (p *Pipe) read(n int) ([]byte, bool, error) {
	if len(p.out) == 0 {
		if p.broken {
			return nil, false, nt.PipeDisconnected
		}
		return nil, false, nt.PipeEmpty
	}
	f := p.out[0]
	if n = max(n, 0); n < len(f) {
		p.out[0] = f[n:]
		p.pending -= n
		return f[:n:n], true, nil
	}
	p.out[0] = nil
	p.out = p.out[1:]
	p.pending -= len(f)
	return f, false, nil
}

func (p *Pipe) write(ctx context.Context, b []byte) error {
	if p.broken {
		return nt.PipeDisconnected
	}
	for {
		// Whole PDUs are taken from where they lie; only what is left is kept, and it is less than a PDU.
		if len(p.in) > 0 {
			want := headerSize
			if len(p.in) >= headerSize {
				want = int(decodeHeader(p.in).length)
			}
			n := min(want-len(p.in), len(b))
			p.in, b = append(p.in, b[:n]...), b[n:]
			if len(p.in) < want {
				return nil
			}
		} else if len(b) < headerSize {
			p.in = append(p.in, b...)
			return nil
		}
		pdu := p.in
		if len(pdu) == 0 {
			pdu = b
		}
		h := decodeHeader(pdu)
		if h.length < headerSize || h.length > maxFragment {
			return p.breakUp()
		}
		if len(pdu) < int(h.length) {
			if len(p.in) == 0 {
				p.in = append(p.in, b...)
				return nil
			}
			continue
		}
		if p.pending > maxRequest {
			return p.breakUp() // calls and calls, and their answers never read
		}
		if len(p.in) == 0 {
			pdu, b = b[:h.length], b[h.length:]
		}
		ok := p.pdu(ctx, h, pdu[headerSize:])
		p.in = p.in[:0]
		if !ok {
			return p.breakUp()
		}
		if len(b) == 0 {
			return nil
		}
	}
}

// breakUp ends the conversation. Answers already made can still be read.
func (p *Pipe) breakUp() error {
	p.broken = true
	p.in, p.request = nil, nil
	return nt.PipeDisconnected
}

// pdu handles one PDU. It returns false for what the protocol has no answer to.
func (p *Pipe) pdu(ctx context.Context, h header, body []byte) bool {
	if h.major != 5 || h.minor > 1 {
		p.nak(h, nakVersion)
		return h.ptype == ptBind
	}
	if !h.little {
		p.nak(h, nakNotSpecified)
		return h.ptype == ptBind
	}
	switch h.ptype {
	case ptBind, ptAlterContext:
		return p.bind(h, body)
	case ptRequest:
		return p.fragment(ctx, h, body)
	case ptOrphaned:
		if p.request != nil && p.request.id == h.call {
			p.request = nil
		}
		return true
	case ptCancel, ptAuth3:
		return true // calls run at once, so none is left to cancel; and authentication was refused
	}
	return false
}

// nak answers a BIND with BIND_NAK, C706 12.6.4.5; anything else not at all.
func (p *Pipe) nak(h header, reason uint16) {
	if h.ptype == ptBind {
		body := binary.LittleEndian.AppendUint16(nil, reason)
		p.send(ptBindNak, pfFirst|pfLast, h.call, append(body, 1, 5, 0, 0, 0, 0))
	}
}

// send queues a PDU to be read.
func (p *Pipe) send(ptype, flags uint8, call uint32, body []byte) {
	f := appendPDU(make([]byte, 0, headerSize+len(body)), ptype, flags, call, body)
	p.out = append(p.out, f)
	p.pending += len(f)
}

// bind handles BIND and ALTER_CONTEXT, [MS-RPCE] 3.3.1.5.1 and 3.3.1.5.4.
func (p *Pipe) bind(h header, body []byte) bool {
	again := h.ptype == ptAlterContext
	if p.bound != again {
		return false
	}
	if h.authed != 0 {
		if again {
			return false
		}
		p.nak(h, nakAuthType)
		return true
	}
	d, err := decodeBind(body)
	if err != nil || h.flags&(pfFirst|pfLast) != pfFirst|pfLast || len(d.proposals) == 0 {
		p.nak(h, nakNotSpecified)
		return !again
	}
	var results []result
	for _, c := range d.proposals {
		results = append(results, p.consider(c))
	}
	endpoint := ""
	if !again {
		p.bound = true
		p.maxXmit = int(min(max(d.maxRecv, minFragment), maxFragment))
		if p.group = d.group; p.group == 0 {
			var id [4]byte
			rand.Read(id[:]) // never fails
			p.group = binary.LittleEndian.Uint32(id[:]) | 1
		}
		if len(p.ifaces) > 0 {
			endpoint = p.ifaces[0].Endpoint
		}
	}
	ack := bind{maxXmit: uint16(p.maxXmit), maxRecv: min(max(d.maxXmit, minFragment), maxFragment), group: p.group}
	ptype := uint8(ptBindAck)
	if again {
		ptype = ptAlterResp
	}
	p.send(ptype, pfFirst|pfLast, h.call, appendBindAck(nil, ack, endpoint, results))
	return true
}

// consider decides on one presentation context.
func (p *Pipe) consider(c proposal) result {
	if len(c.transfers) == 1 && [8]byte(c.transfers[0].uuid[:8]) == [8]byte(features[:8]) {
		return result{result: resultNegotiateAck, reason: uint16(c.transfers[0].uuid[8]) & ourFeatures}
	}
	var iface *Interface
	for i := range p.ifaces {
		f := &p.ifaces[i]
		if f.UUID == c.abstract.uuid && f.Major == c.abstract.major && f.Minor >= c.abstract.minor {
			iface = f
		}
	}
	if iface == nil {
		return result{result: resultReject, reason: reasonAbstract}
	}
	for _, t := range c.transfers {
		if t != ndr {
			continue
		}
		if _, known := p.contexts[c.id]; !known && len(p.contexts) == maxContexts {
			return result{result: resultReject, reason: reasonLimit}
		}
		p.contexts[c.id] = iface
		return result{result: resultAccept, transfer: ndr}
	}
	return result{result: resultReject, reason: reasonTransfers}
}

// fragment takes one fragment of a request and runs the call with the last, [MS-RPCE] 3.3.1.5.2.
func (p *Pipe) fragment(ctx context.Context, h header, body []byte) bool {
	r := cursor.New(body)
	r.Skip(4) // allocation hint: nothing to believe
	c := call{id: h.call, context: r.U16(), opnum: r.U16()}
	if h.flags&pfObject != 0 {
		r.Skip(16)
	}
	stub := r.Rest()
	if r.Err() != nil || !p.bound || h.authed != 0 {
		return false
	}
	if h.flags&pfFirst != 0 {
		if p.request != nil {
			return false
		}
		p.request = &c
	} else if q := p.request; q == nil || q.id != c.id || q.context != c.context || q.opnum != c.opnum {
		return false
	}
	q := p.request
	if len(stub) > maxRequest-len(q.stub) {
		return false
	}
	if h.flags&pfLast == 0 {
		q.stub = append(q.stub, stub...)
		return true
	}
	p.request = nil
	if len(q.stub) > 0 {
		stub = append(q.stub, stub...)
	}
	p.reply(ctx, q, stub)
	return true
}

// reply runs a call and queues its answer.
func (p *Pipe) reply(ctx context.Context, c *call, stub []byte) {
	iface := p.contexts[c.context]
	if iface == nil {
		p.fault(c, FaultUnknownIf)
		return
	}
	out, err := iface.Call(ctx, c.opnum, stub)
	if err == nil && len(out) > maxReply {
		err = FaultUnspecified
	}
	if err != nil {
		f := FaultUnspecified
		errors.As(err, &f)
		p.fault(c, f)
		return
	}
	const fixed = 8
	room := (p.maxXmit - headerSize - fixed) &^ 7
	flags := uint8(pfFirst)
	for {
		n := min(room, len(out))
		if n == len(out) {
			flags |= pfLast
		}
		body := binary.LittleEndian.AppendUint32(make([]byte, 0, fixed+n), uint32(len(out)))
		body = binary.LittleEndian.AppendUint16(body, c.context)
		body = append(append(body, 0, 0), out[:n]...)
		p.send(ptResponse, flags, c.id, body)
		if out = out[n:]; flags&pfLast != 0 {
			return
		}
		flags = 0
	}
}

// fault queues a fault PDU, C706 12.6.4.7.
func (p *Pipe) fault(c *call, f Fault) {
	flags := uint8(pfFirst | pfLast)
	if !f.executed() {
		flags |= pfDidNotExecute
	}
	body := binary.LittleEndian.AppendUint32(nil, 0)
	body = binary.LittleEndian.AppendUint16(body, c.context)
	body = append(body, 0, 0)
	body = binary.LittleEndian.AppendUint32(body, uint32(f))
	p.send(ptFault, flags, c.id, append(body, 0, 0, 0, 0))
}

// Package client is an SMB 3.1.1 client that gets out of the way: what it costs itself is one pass over the data for
// what protects it, and no copy. A server that is measured with a slow client is measured as the client's speed.
//
// It signs with AES-GMAC as Windows 11 does, and serves any server of the protocol. It is for measuring: it trusts what
// it is told, knows no oplocks, and gives up at the first surprise.
package client

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// Protection is what a session's requests have around them.
type Protection int

const (
	Signed Protection = iota
	Plain
	Sealed
)

func (p Protection) String() string { return [...]string{"signed", "plain", "sealed"}[p] }

const (
	prefix   = 4
	ahead    = 16 << 10                          // what is read at once of small answers
	headroom = prefix + wire.TransformHeaderSize // in front of every request
	credits  = 512                               // asked for at each request until there are so many
	patience = time.Minute
)

// A Client is one connection with one session. Its methods may be called by any number of goroutines.
type Client struct {
	conn       net.Conn
	in         *bufio.Reader // from conn
	protection Protection
	session    uint64
	signer     *crypt.Signer
	sealer     *crypt.Sealer
	opener     *crypt.Sealer
	signing    crypt.SigningAlg
	MaxIO      int // of READ, WRITE and QUERY_DIRECTORY, as the server has it

	wmu sync.Mutex // one frame at a time goes out

	mu      sync.Mutex
	more    sync.Cond // credits came, or the end
	credits int
	next    uint64 // MessageId
	waiting map[uint64]chan *Frame
	err     error

	frames  sync.Pool
	answers sync.Pool    // of channels that nothing is in
	hangUp  func() error // closes conn, once
}

// A Frame holds one message. Release gives it back.
type Frame struct {
	wire.Header
	Msg []byte // from the header on
	b   []byte
	c   *Client
}

// Release gives the frame's memory back.
func (f *Frame) Release() { f.c.frames.Put(f) }

// Dial sets a session up on a connection, which it closes if that fails.
func Dial(conn net.Conn, user, password string, protection Protection) (*Client, error) {
	c := &Client{
		conn: conn, in: bufio.NewReaderSize(conn, ahead), protection: protection, credits: 1, waiting: make(map[uint64]chan *Frame), signing: crypt.AESGMAC,
	}
	c.more.L = &c.mu
	c.hangUp = sync.OnceValue(conn.Close)
	c.frames.New = func() any { return &Frame{c: c} }
	c.answers.New = func() any { return make(chan *Frame, 1) }
	if err := c.logon(user, password); err != nil {
		conn.Close()
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	go c.receive()
	return c, nil
}

// Signing is the algorithm that the server agreed to.
func (c *Client) Signing() crypt.SigningAlg { return c.signing }

// Close ends the connection.
func (c *Client) Close() error { return c.hangUp() }

// frame takes the next frame as it is.
func (c *Client) frame() (*Frame, error) {
	p, err := c.in.Peek(prefix)
	if err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(p))
	if n < wire.HeaderSize || n > 17<<20 {
		return nil, fmt.Errorf("frame of %d bytes", n)
	}
	if _, err := c.in.Discard(prefix); err != nil {
		return nil, err
	}
	f := c.get(n + crypt.TransformSpare)
	f.Msg = f.b[:n]
	_, err = io.ReadFull(c.in, f.Msg)
	return f, err
}

// get returns a frame with room for n bytes.
func (c *Client) get(n int) *Frame {
	f := c.frames.Get().(*Frame)
	if cap(f.b) < n {
		f.b = make([]byte, n)
	}
	f.b = f.b[:n]
	return f
}

// receive hands each answer to who waits for it.
func (c *Client) receive() {
	for {
		f, err := c.frame()
		if err == nil && wire.Protocol(f.Msg) == wire.ProtocolTransform {
			go func() { // large ones are worth a processor of their own
				msg, err := c.opener.Open(f.Msg)
				f.Msg = msg
				if err := c.deliver(f, err); err != nil {
					c.fail(err)
				}
			}()
			continue
		}
		if err := c.deliver(f, err); err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *Client) deliver(f *Frame, err error) error {
	if err != nil {
		return err
	}
	if err := f.Header.Decode(f.Msg); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.credits += int(f.Credits)
	c.more.Broadcast()
	if f.Status == nt.Pending {
		f.Release()
		return nil
	}
	w := c.waiting[f.MessageID]
	if w == nil {
		return fmt.Errorf("an answer to nothing: %v %d", f.Command, f.MessageID)
	}
	delete(c.waiting, f.MessageID)
	w <- f
	return nil
}

func (c *Client) fail(err error) {
	c.hangUp() // what it says is not why
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	for id, w := range c.waiting {
		close(w)
		delete(c.waiting, id)
	}
	c.more.Broadcast()
}

// do sends a request and returns its answer. size is how many bytes it carries or asks for, and body appends it.
func (c *Client) do(cmd wire.Command, tree uint32, size, room int, body func([]byte) []byte) (*Frame, error) {
	charge := 1 + max(size-1, 0)/65536
	w := c.answers.Get().(chan *Frame)
	c.mu.Lock()
	for c.credits < charge && c.err == nil {
		c.more.Wait()
	}
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	c.credits -= charge
	id := c.next
	c.next += uint64(charge)
	ask := charge
	if c.credits < credits {
		ask += 16
	}
	c.waiting[id] = w
	c.mu.Unlock()

	h := wire.Header{Command: cmd, MessageID: id, Credits: uint16(ask), CreditCharge: uint16(charge), SessionID: c.session, TreeID: tree}
	// TREE_CONNECT is signed always: it is what proves that nobody altered NEGOTIATE ([MS-SMB2] 3.2.4.1.1).
	sign := c.protection == Signed || c.protection == Plain && cmd == wire.CmdTreeConnect
	if sign {
		h.Flags |= wire.FlagSigned
	}
	f := c.get(headroom + wire.HeaderSize + 256 + room + crypt.TransformSpare)
	f.b = body(h.Append(f.b[:headroom]))
	start := headroom
	switch {
	case sign:
		c.signer.Sign(f.b[headroom:])
	case c.protection == Sealed:
		start = prefix
		if err := c.sealer.Seal(f.b[prefix:], c.session); err != nil {
			return nil, err
		}
	}
	start -= prefix
	binary.BigEndian.PutUint32(f.b[start:], uint32(len(f.b)-start-prefix))
	c.wmu.Lock()
	_, err := c.conn.Write(f.b[start:])
	c.wmu.Unlock()
	f.Release()
	if err != nil {
		c.fail(err)
	}

	f = <-w
	if f == nil { // and w is closed
		c.mu.Lock()
		defer c.mu.Unlock()
		return nil, c.err
	}
	c.answers.Put(w)
	if sign && !c.signer.Verify(f.Msg) {
		return nil, fmt.Errorf("%v: the answer's signature is wrong", cmd)
	}
	if f.Status != nt.Success {
		defer f.Release()
		return nil, f.Status
	}
	return f, nil
}

package smb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// Frames, [MS-SMB2] 2.1: a zero byte, three bytes of length (big-endian), a message.

// What a peer may send in one frame grows with what it has proved (SEC-02).
const (
	maxFrameNew     = 16 << 10 // before NEGOTIATE is answered
	maxFrameUnknown = 80 << 10 // before a session is valid: a security token of 64 KiB, and room around it
	maxIO           = 8 << 20  // MaxTransactSize, MaxReadSize, MaxWriteSize, as Windows has them
	maxFrame        = maxIO + 64<<10
	minFrame        = 4 // the protocol identifier
)

// Patience. An idle client with a session may stay as long as its transport does.
const (
	negotiateWithin = 10 * time.Second // from the connection's start
	sessionWithin   = 45 * time.Second // likewise; Windows scavenges then too ([MS-SMB2] <219>)
	chunkWithin     = 30 * time.Second // for each chunk of a frame that has begun
	chunk           = 64 << 10
	writeChunk      = 1 << 20 // likewise of our replies, for the peer to take
)

// errFrame says that what came is no frame that may come now.
var errFrame = errors.New("bad frame")

// readFrame reads the next message into a buffer of the pool. Nothing is allocated for a frame that is longer than the
// connection's state allows.
func (c *conn) readFrame(ctx context.Context) (*buffer, error) {
	limit := maxFrame
	var deadline time.Time
	switch {
	case c.dialect.Load() == 0:
		limit, deadline = maxFrameNew, c.started.Add(negotiateWithin)
	case !c.known.Load():
		limit, deadline = maxFrameUnknown, c.started.Add(sessionWithin)
	}
	if err := c.readBy(deadline); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c.br, c.prefix[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(c.prefix[:]))
	if n < minFrame || n > limit { // a first byte other than zero makes n larger than any limit
		return nil, fmt.Errorf("%w: length field %#x", errFrame, n)
	}
	var buf *buffer
	if limit < maxFrame {
		buf = c.srv.pool.get(n) // strangers' frames are short and no more than connections: they take no budget from others
	} else if b, err := c.srv.pool.wait(ctx, n); err != nil {
		return nil, err
	} else {
		buf = b
	}
	if err := c.fill(buf.b, deadline); err != nil {
		buf.release()
		return nil, err
	}
	return buf, nil
}

// fill reads all of rest, in pieces as large as the transport has. The peer has chunkWithin for each chunk of it, and all
// of it until deadline, if there is one.
func (c *conn) fill(rest []byte, deadline time.Time) error {
	for due := 0; len(rest) > 0; {
		if due <= 0 {
			due = min(chunk, len(rest))
			if c.br.Buffered() < due {
				soon := time.Now().Add(chunkWithin)
				if !deadline.IsZero() && deadline.Before(soon) {
					soon = deadline
				}
				if err := c.readBy(soon); err != nil {
					return err
				}
			}
		}
		n, err := c.br.Read(rest)
		rest, due = rest[n:], due-n
		switch {
		case err == nil || len(rest) == 0:
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
	return nil
}

// readBy sets the deadline of what is read next. To set one costs more than to see that it is set.
func (c *conn) readBy(deadline time.Time) error {
	if deadline.Equal(c.comesBy) {
		return nil
	}
	c.comesBy = deadline
	return c.nc.SetReadDeadline(deadline)
}

// Small frames that are ready at the same time go out together: a system call for each would cost more than what they
// say. Whoever comes first lets the others who are being worked on go before it, and then writes what they have left.
const (
	smallFrame = 1 << 10  // up to here: nothing with file data, which is not copied
	leftMost   = 16 << 10 // of them together
)

// writeFrame sends buf, whose message starts at headroom (or, sealed, at its transform header), as one frame. It releases
// buf. Frames go out in the order in which they were given here. One that is left to another goroutine to be written has
// no error: that ends the connection.
func (c *conn) writeFrame(buf *buffer, sealed bool) error {
	defer buf.release()
	start := headroom
	if sealed {
		start -= transformSize
	}
	start -= prefixSize
	binary.BigEndian.PutUint32(buf.b[start:], uint32(len(buf.b)-start-prefixSize))
	out := buf.b[start:]
	left, first := c.leave(out)
	switch {
	case left && !first:
		return nil
	case left:
		out = nil
		if len(c.slots) > 1 {
			runtime.Gosched()
		}
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if err := c.writeLeft(); err != nil {
		return err
	}
	return c.write(out)
}

// leave puts a small frame where the next who writes finds it. first says that nobody else has promised to do so.
func (c *conn) leave(out []byte) (left, first bool) {
	if len(out) > smallFrame {
		return false, false
	}
	c.lmu.Lock()
	defer c.lmu.Unlock()
	first = c.left == nil
	if first {
		c.left = c.srv.pool.get(1 << minClass)
		c.left.b = c.left.b[:0]
	}
	n := len(c.left.b)
	if n+len(out) > leftMost {
		return false, false
	}
	c.left = c.left.grow(n + len(out))
	c.left.b = append(c.left.b, out...)
	return true, first
}

// writeLeft writes what has been left. The caller holds wmu.
func (c *conn) writeLeft() error {
	c.lmu.Lock()
	left := c.left
	c.left = nil
	c.lmu.Unlock()
	if left == nil {
		return nil
	}
	defer left.release()
	return c.write(left.b)
}

// write gives bytes to the transport. The caller holds wmu.
func (c *conn) write(out []byte) error {
	for len(out) > 0 {
		part := out[:min(writeChunk, len(out))]
		out = out[len(part):]
		if err := c.writeSoon(); err != nil {
			return err
		}
		if _, err := c.nc.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// writeSoon gives the peer at least chunkWithin from now, and little more, to take what is written next.
func (c *conn) writeSoon() error {
	now := time.Now()
	if c.takenBy.Sub(now) >= chunkWithin {
		return nil
	}
	c.takenBy = now.Add(chunkWithin + chunkWithin/32)
	return c.nc.SetWriteDeadline(c.takenBy)
}

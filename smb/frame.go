package smb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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
	if err := c.nc.SetReadDeadline(deadline); err != nil {
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
	for rest := buf.b; len(rest) > 0; {
		part := rest[:min(chunk, len(rest))]
		rest = rest[len(part):]
		if c.br.Buffered() < len(part) {
			soon := time.Now().Add(chunkWithin)
			if !deadline.IsZero() && deadline.Before(soon) {
				soon = deadline
			}
			if err := c.nc.SetReadDeadline(soon); err != nil {
				buf.release()
				return nil, err
			}
		}
		if _, err := io.ReadFull(c.br, part); err != nil {
			buf.release()
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}

// writeFrame sends buf, whose message starts at headroom (or, sealed, at its transform header), as one frame. It releases buf.
func (c *conn) writeFrame(buf *buffer, sealed bool) error {
	defer buf.release()
	start := headroom
	if sealed {
		start -= transformSize
	}
	start -= prefixSize
	binary.BigEndian.PutUint32(buf.b[start:], uint32(len(buf.b)-start-prefixSize))
	out := buf.b[start:]
	c.wmu.Lock()
	defer c.wmu.Unlock()
	for len(out) > 0 {
		part := out[:min(writeChunk, len(out))]
		out = out[len(part):]
		if err := c.nc.SetWriteDeadline(time.Now().Add(chunkWithin)); err != nil {
			return err
		}
		if _, err := c.nc.Write(part); err != nil {
			return err
		}
	}
	return nil
}

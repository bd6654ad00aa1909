package smb

import (
	"errors"
	"io"
	"math"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// read is [MS-SMB2] 3.3.5.12. File data goes from the page cache to where it is sent from: that is its one copy.
func (r *request) read() (response, error) {
	defer r.endTurn()
	var req wire.ReadRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	o, err := r.find(req.FileID)
	r.endTurn()
	if err != nil {
		return nil, err
	}
	if err := r.payload(int(req.Length)); err != nil {
		return nil, err
	}
	switch {
	case req.Length > r.conn.maxIO():
		return nil, because(nt.InvalidParameter, "read of %d bytes", req.Length)
	case req.Channel != wire.ChannelNone:
		return nil, because(nt.InvalidParameter, "no such channel")
	case o.pipe != nil:
		return r.readPipe(o, int(req.Length))
	case o.isDir:
		return nil, because(nt.InvalidDeviceRequest, "read of a directory")
	}
	if err := o.need(dtyp.ReadData | dtyp.Execute); err != nil {
		return nil, err
	}
	if req.Offset > math.MaxInt64 || req.Offset+uint64(req.Length) > math.MaxInt64 {
		return nil, because(nt.InvalidParameter, "read of %d bytes at %d", req.Length, req.Offset)
	}
	if err := o.mayRead(req.Offset, uint64(req.Length)); err != nil {
		return nil, err
	}
	r.compress = req.Flags&wire.ReadRequestCompressed != 0
	if e, ok := r.extent(o, int64(req.Offset), int(req.Length)); ok && e.n >= int(req.MinimumCount) {
		o.setPosition(req.Offset + uint64(e.n))
		r.conn.srv.stats.read.Add(uint64(e.n))
		r.frame.extent = e
		r.reply.extent = extentReply(e.n)
		return &r.reply.extent, nil
	}
	n, err := o.file.ReadAt(r.room(wire.ReadResponseHead, int(req.Length)), int64(req.Offset))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < int(req.MinimumCount) || n == 0 && req.Length > 0 {
		return nil, because(nt.EndOfFile, "%d bytes at %d", n, req.Offset)
	}
	o.setPosition(req.Offset + uint64(n))
	r.conn.srv.stats.read.Add(uint64(n))
	return r.readReply(n), nil
}

// setPosition keeps FilePositionInformation as a local file would.
func (o *open) setPosition(off uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.position = off
}

// maxIO is the MaxReadSize and MaxWriteSize that were agreed on.
func (c *conn) maxIO() uint32 {
	if uint16(c.dialect.Load()) == wire.Dialect202 {
		return 64 << 10
	}
	return maxIO
}

// A readReply is a READ response whose data room has put in place already.
type readReply int

func (r *request) readReply(n int) response {
	r.reply.read = readReply(n)
	return &r.reply.read
}

func (n readReply) Append(b []byte) []byte {
	var resp wire.ReadResponse
	b = resp.AppendHead(b, uint32(n))
	return b[:len(b)+int(n)]
}

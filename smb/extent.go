package smb

import (
	"encoding/binary"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// A READ whose answer is neither signed nor sealed, on a transport that is a socket, sends file data from the page cache
// to the socket without a copy of ours: sendfile(2). Whoever signs has to look at the bytes, and so needs them in memory.

// minExtent is the length from which that pays: below it, two system calls cost more than the copy.
const minExtent = 64 << 10

// An extent is file data that follows what a frame has in memory.
type extent struct {
	file *os.File // of an open that the frame holds
	off  int64
	n    int
}

// socket returns what sendfile can send to, or nil.
func socket(nc net.Conn) syscall.RawConn {
	c, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// extent says whether a READ of n bytes can be answered by sending a part of the file, and by which.
func (r *request) extent(o *open, off int64, n int) (e extent, ok bool) {
	f := r.frame
	if r.conn.raw == nil || n < minExtent || len(f.requests) != 1 || f.sealed != nil || r.signer() != nil {
		return e, false
	}
	if len(r.conn.compression.ids) > 0 && r.compressReply() {
		return e, false
	}
	of, ok := o.file.(vfs.OSFile)
	if !ok {
		return e, false
	}
	e = extent{file: of.OSFile(), off: off}
	if e.file == nil {
		return e, false
	}
	info, err := e.file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return e, false
	}
	e.n = int(min(int64(n), info.Size()-off))
	return e, e.n >= minExtent
}

// An extentReply is a READ response whose data the frame sends behind it.
type extentReply int

func (n extentReply) Append(b []byte) []byte {
	var resp wire.ReadResponse
	return resp.AppendHead(b, uint32(n))
}

// writeExtent sends buf, whose message starts at headroom, and the extent as one frame. It releases buf. A file that
// became shorter meanwhile ends in zeros: its length has been told already.
func (c *conn) writeExtent(buf *buffer, e extent) error {
	defer buf.release()
	head := buf.b[headroom-prefixSize:]
	binary.BigEndian.PutUint32(head, uint32(len(head)-prefixSize+e.n))
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if err := c.writeLeft(); err != nil {
		return err
	}
	if err := c.writeSoon(); err != nil {
		return err
	}
	if err := c.push(func(fd int) (int, error) {
		return unix.SendmsgN(fd, head, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
	}, func(n int) bool { head = head[n:]; return len(head) == 0 }); err != nil {
		return err
	}
	short := false
	for !short && e.n > 0 {
		part := min(e.n, writeChunk)
		if err := c.writeSoon(); err != nil {
			return err
		}
		err := c.push(func(fd int) (int, error) { return e.sendTo(fd, part) }, func(n int) bool {
			short = n == 0
			e.n -= n
			part -= n
			return short || part == 0
		})
		if err != nil {
			return err
		}
	}
	for e.n > 0 {
		n, err := c.nc.Write(make([]byte, min(e.n, minExtent)))
		if err != nil {
			return err
		}
		e.n -= n
	}
	return nil
}

// sendTo is one sendfile. It moves off itself: the file's own position is everybody's.
func (e *extent) sendTo(fd, n int) (int, error) {
	control, err := e.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	sent, failed := 0, error(nil)
	err = control.Control(func(from uintptr) { sent, failed = unix.Sendfile(fd, int(from), &e.off, n) })
	if err != nil {
		return 0, err
	}
	return sent, failed
}

// push sends with send until done has heard enough, waiting whenever the socket is full.
func (c *conn) push(send func(fd int) (int, error), done func(n int) bool) error {
	var failed error
	err := c.raw.Write(func(fd uintptr) bool {
		for {
			n, err := send(int(fd))
			switch {
			case err == unix.EAGAIN:
				return false
			case err == unix.EINTR:
				continue
			case err != nil:
				failed = err
				return true
			case done(n):
				return true
			}
		}
	})
	if err != nil {
		return err
	}
	if failed != nil {
		return &net.OpError{Op: "sendfile", Net: "tcp", Err: os.NewSyscallError("sendfile", failed)}
	}
	return nil
}

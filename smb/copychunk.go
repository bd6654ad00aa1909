package smb

import (
	"encoding/binary"
	"errors"
	"io"
	"math"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Server-side copy, [MS-SMB2] 3.3.5.15.5 and 3.3.5.15.6. The limits are those of Windows ([MS-SMB2] <222> to <224>):
// clients rely on them.
const (
	maxChunks     = 256
	maxChunk      = 1 << 20
	maxChunkBytes = 16 << 20
)

// resumeKey names an open as a source. It holds the open's own id, which only its session can use.
func resumeKey(id wire.FileID) (key wire.ResumeKey) {
	binary.LittleEndian.PutUint64(key[0:], id.Persistent)
	binary.LittleEndian.PutUint64(key[8:], id.Volatile)
	return key
}

func (c *control) requestResumeKey() ([]byte, error) {
	if c.o.file == nil || c.o.isDir {
		return nil, because(nt.InvalidDeviceRequest, "only files are copied from")
	}
	resp := wire.ResumeKeyResponse{Key: c.o.key}
	return resp.Append(nil), nil
}

// source finds the open that a key names: one of the same session.
func (c *control) source(key wire.ResumeKey) (*open, error) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.opens[binary.LittleEndian.Uint64(key[8:])]
	if o == nil || o.key != key || o.file == nil || !o.acquire() {
		return nil, because(nt.ObjectNameNotFound, "no source of that key")
	}
	return o, nil
}

func (c *control) copyChunk() ([]byte, error) {
	dst := c.o
	if dst.file == nil || dst.isDir {
		return nil, because(nt.InvalidDeviceRequest, "only files are copied to")
	}
	if c.req.CtlCode == wire.FsctlSrvCopychunk && dst.access&dtyp.ReadData == 0 {
		return nil, because(nt.AccessDenied, "this form of copy wants the right to read the target")
	}
	var in wire.CopyChunkRequest
	if err := in.Decode(c.req.Input); err != nil {
		return nil, malformed(err)
	}
	if int(c.req.MaxOutputResponse) < 12 {
		return nil, because(nt.InvalidParameter, "no room for the answer")
	}
	src, err := c.source(in.Source)
	if err != nil {
		return nil, err
	}
	defer src.release()
	if src.access&(dtyp.ReadData|dtyp.Execute) == 0 || src.isDir {
		return nil, because(nt.AccessDenied, "the source may not be read")
	}
	total := 0
	for _, k := range in.Chunks {
		total += int(k.Length)
		if k.Length == 0 || k.Length > maxChunk || total > maxChunkBytes || len(in.Chunks) > maxChunks {
			limits := wire.CopyChunkResponse{ChunksWritten: maxChunks, ChunkBytesWritten: maxChunk, TotalBytesWritten: maxChunkBytes}
			return limits.Append(nil), because(nt.InvalidParameter, "more than may be copied at once")
		}
	}
	defer dst.modified()
	return c.copyAll(src, dst, in.Chunks)
}

func (c *control) copyAll(src, dst *open, chunks []wire.CopyChunk) ([]byte, error) {
	attr, err := src.file.Attr(c.ctx, vfs.WantSize)
	if err != nil {
		return nil, err
	}
	var done wire.CopyChunkResponse
	for _, k := range chunks {
		n := uint64(k.Length)
		if k.SrcOffset > math.MaxInt64-n || k.DstOffset > math.MaxInt64-n {
			return done.Append(nil), because(nt.InvalidParameter, "offset out of range")
		}
		if k.SrcOffset+n > uint64(attr.Size) {
			return done.Append(nil), because(nt.InvalidViewSize, "the source ends at %d", attr.Size)
		}
		if err := src.mayRead(k.SrcOffset, n); err != nil {
			return done.Append(nil), err
		}
		if err := dst.mayWrite(k.DstOffset, n); err != nil {
			return done.Append(nil), err
		}
		if err := c.copyOne(src.file, dst.file, int64(k.SrcOffset), int64(k.DstOffset), int64(n)); err != nil {
			return done.Append(nil), err
		}
		done.ChunksWritten++
		done.TotalBytesWritten += k.Length
	}
	return done.Append(nil), nil
}

// copyOne copies one chunk within the kernel where the volume can, and else through memory. Overlapping ranges of one
// file go through memory as a whole: the source is what was there before.
func (c *control) copyOne(src, dst vfs.File, from, to, n int64) error {
	overlap := src.ID() == dst.ID() && from < to+n && to < from+n
	if cloner, ok := src.(vfs.Cloner); ok && !overlap {
		for n > 0 {
			did, err := cloner.CopyRange(c.ctx, dst, from, to, n)
			if err != nil && did == 0 {
				break
			}
			if did <= 0 {
				break
			}
			from, to, n = from+did, to+did, n-did
		}
		if n == 0 {
			return nil
		}
	}
	buf := c.conn.srv.pool.get(int(n))
	defer buf.release()
	if m, err := src.ReadAt(buf.b, from); m < len(buf.b) {
		if err == nil || errors.Is(err, io.EOF) {
			return because(nt.EndOfFile, "the source became shorter")
		}
		return err
	}
	_, err := dst.WriteAt(buf.b, to)
	return err
}

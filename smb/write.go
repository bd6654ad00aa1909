package smb

import (
	"context"
	"math"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// maxFileSize is where NTFS with its usual clusters ends, in bytes: what Windows programs are prepared for.
const maxFileSize = 0xFFF_FFFF_0000

// write is [MS-SMB2] 3.3.5.13. File data goes to storage from the memory it was received in.
func (r *request) write() (response, error) {
	var req wire.WriteRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	o, err := r.find(req.FileID)
	if err != nil {
		return nil, err
	}
	if err := r.payload(len(req.Data)); err != nil {
		return nil, err
	}
	switch {
	case uint64(len(req.Data)) > uint64(r.conn.maxIO()):
		return nil, because(nt.InvalidParameter, "write of %d bytes", len(req.Data))
	case req.Channel != wire.ChannelNone:
		return nil, because(nt.InvalidParameter, "no such channel")
	case o.pipe != nil:
		return r.writePipe(o, req.Data)
	case o.isDir:
		return nil, because(nt.InvalidDeviceRequest, "write to a directory")
	}
	if err := o.need(writeAccess); err != nil {
		return nil, err
	}
	if err := o.unchangeable(); err != nil {
		return nil, err
	}
	if req.Offset > math.MaxInt64 || len(req.Data) > 0 && req.Offset+uint64(len(req.Data)) > maxFileSize {
		return nil, because(nt.InvalidParameter, "write at %d", req.Offset)
	}
	if err := o.mayWrite(req.Offset, uint64(len(req.Data))); err != nil {
		return nil, err
	}
	if err := r.writeAFPInfo(o, req.Offset, req.Data); err != nil {
		return nil, err
	}
	n, err := o.file.WriteAt(req.Data, int64(req.Offset))
	o.modified()
	o.mu.Lock()
	o.wrote = true
	o.mu.Unlock()
	if err != nil {
		return nil, err
	}
	// Unbuffered and write-through writes are made durable before they are answered; a handle that was opened
	// write-through is so already.
	if req.Flags&wire.WriteThrough != 0 && o.options&wire.FileWriteThrough == 0 {
		if err := o.file.Sync(r.ctx); err != nil {
			return nil, err
		}
	}
	o.setPosition(req.Offset + uint64(n))
	r.conn.srv.stats.written.Add(uint64(n))
	if n > 0 && !o.archive.Swap(true) {
		o.markChanged(r.ctx)
	}
	r.reply.write.Count = uint32(n)
	return &r.reply.write, nil
}

// markChanged sets the archive attribute, which tells backup programs that there is something new: [MS-FSA] 2.1.5.4. A
// write does not fail for it.
func (o *open) markChanged(ctx context.Context) {
	a, err := o.file.Attr(ctx, vfs.WantAttributes)
	if err == nil && a.Attributes&vfs.AttrArchive == 0 {
		err = o.file.SetAttr(ctx, vfs.Attr{Attributes: a.Attributes&attributesSettable | vfs.AttrArchive}, vfs.WantAttributes)
	}
	if err != nil {
		o.srv.log.Debug("the archive attribute was not set", "why", err)
	}
}

package smb

import (
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// close is [MS-SMB2] 3.3.5.10.
func (r *request) close() (response, error) {
	var req wire.CloseRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	o, err := r.find(req.FileID)
	if err != nil {
		return nil, err
	}
	resp := &r.reply.close
	if req.Flags&wire.ClosePostQueryAttrib != 0 && o.file != nil {
		a, err := o.file.Attr(r.ctx, vfs.WantAll)
		if err == nil { // the close itself does not fail for it
			o.show(r.ctx, &a)
			*resp = wire.CloseResponse{
				Flags: wire.ClosePostQueryAttrib, CreationTime: a.Birth, LastAccessTime: a.Access, LastWriteTime: a.Write,
				ChangeTime: a.Change, AllocationSize: uint64(a.Alloc), EndOfFile: uint64(a.Size), FileAttributes: wireAttributes(a.Attributes),
			}
		}
	}
	if !o.remove() {
		return nil, because(nt.FileClosed, "closed meanwhile")
	}
	if o.object != nil && o.options&wire.FileDeleteOnClose != 0 {
		// Who keeps the file open for its own sake closes it first: then it is gone when the client hears so. A holder
		// that will not, or a client that cannot wait, changes nothing about the close.
		if err := r.takeHandles(o.object, o); err != nil {
			r.conn.log.Debug("deleting on close while others hold the file", "why", err)
		}
	}
	o.closing = r
	if err := o.end(); err != nil {
		// The handle is gone either way; what could not be deleted is for the log and the client.
		r.conn.log.Warn("deleting on close failed", "why", err)
		return nil, err
	}
	return resp, nil
}

// flush makes all that was written durable, [MS-SMB2] 3.3.5.11.
func (r *request) flush() (response, error) {
	var req wire.FlushRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	o, err := r.find(req.FileID)
	if err != nil {
		return nil, err
	}
	if o.file == nil {
		return &wire.FlushResponse{}, nil // a pipe holds nothing back
	}
	if err := o.need(writeAccess); err != nil {
		return nil, err
	}
	if err := o.file.Sync(r.ctx); err != nil {
		return nil, err
	}
	return &wire.FlushResponse{}, nil
}

package memfs

import (
	"bytes"
	"context"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Features implements vfs.Featured.
func (v *Volume) Features() vfs.Feature { return vfs.BlockSharing | vfs.Compression }

// ShareRange implements vfs.Sharer. In memory nobody can tell a shared page from a copy, so it is a copy.
func (f *File) ShareRange(ctx context.Context, dst vfs.File, srcOff, dstOff, n int64) error {
	d, ok := dst.(*File)
	if !ok || d.v != f.v {
		return nt.NotSupported
	}
	if srcOff < 0 || dstOff < 0 || n < 0 || srcOff+n < srcOff || dstOff+n < dstOff {
		return nt.InvalidParameter
	}
	from, err := f.Attr(ctx, vfs.WantSize)
	if err != nil {
		return err
	}
	to, err := d.Attr(ctx, vfs.WantSize)
	if err != nil {
		return err
	}
	switch {
	case srcOff+n > from.Size, dstOff+n > to.Size:
		return nt.NotSupported
	case f.data() == d.data() && srcOff-dstOff < n && dstOff-srcOff < n:
		return nt.NotSupported
	case srcOff%pageSize != 0, dstOff%pageSize != 0, n%pageSize != 0 && srcOff+n != from.Size:
		return nt.InvalidParameter
	}
	var b bytes.Buffer
	for b.Len() < int(n) {
		piece := make([]byte, min(n-int64(b.Len()), 1<<20))
		if _, err := f.ReadAt(piece, srcOff+int64(b.Len())); err != nil {
			return err
		}
		b.Write(piece)
	}
	_, err = d.WriteAt(b.Bytes(), dstOff)
	return err
}

// SetCompressed implements vfs.Compressor. Nothing is compressed; it is the mark that counts.
func (f *File) SetCompressed(ctx context.Context, on bool) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if err := f.guard(ctx); err != nil {
		return err
	}
	f.n.attr.Attributes &^= vfs.AttrCompressed
	if on {
		f.n.attr.Attributes |= vfs.AttrCompressed
	}
	f.touch(vfs.SetChange)
	f.modified(vfs.ChangeAttributes)
	return nil
}

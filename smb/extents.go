package smb

import (
	"context"
	"encoding/binary"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// What clients ask of the blocks under a file: to share them, to compress them, to give them up.

// features is what of FileFsAttributeInformation depends on the filesystem.
func features(v vfs.Volume) (attributes uint32) {
	f, ok := v.(vfs.Featured)
	if !ok {
		return 0
	}
	can := f.Features()
	if can&vfs.BlockSharing != 0 {
		attributes |= fscc.FSBlockRefcounting
	}
	if can&vfs.Compression != 0 {
		attributes |= fscc.FSFileCompression
	}
	if can&vfs.SymbolicLinks != 0 {
		attributes |= fscc.FSReparsePoints
	}
	return attributes
}

// handle finds the open that a FileId within an IOCTL's data names: one of the same session.
func (c *control) handle(b [16]byte) (*open, error) {
	var id wire.FileID
	id.Persistent, id.Volatile = binary.LittleEndian.Uint64(b[:8]), binary.LittleEndian.Uint64(b[8:])
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.opens[id.Volatile]
	if o == nil || o.id != id || o.file == nil || !o.acquire() {
		return nil, because(nt.InvalidHandle, "no open %x", id)
	}
	return o, nil
}

// duplicateExtents shares blocks, [MS-FSA] 2.1.5.9.4. Locks do not matter to it: Windows asks for none.
func (c *control) duplicateExtents() ([]byte, error) {
	var in fscc.DuplicateExtents
	decode := in.Decode
	if c.req.CtlCode == uint32(fscc.FsctlDuplicateExtentsEx) {
		decode = in.DecodeEx // all or nothing is what it always is
	}
	if err := decode(c.req.Input); err != nil {
		return nil, err
	}
	dst := c.o
	if dst.file == nil || dst.isDir {
		return nil, because(nt.InvalidDeviceRequest, "only files share blocks")
	}
	src, err := c.handle(in.SourceID)
	if err != nil {
		return nil, err
	}
	defer src.release()
	if src.isDir {
		return nil, because(nt.InvalidParameter, "only files share blocks")
	}
	if err := src.need(dtyp.ReadData); err != nil {
		return nil, err
	}
	sharer, ok := src.file.(vfs.Sharer)
	if !ok {
		return nil, because(nt.NotSupported, "the volume shares no blocks")
	}
	from, err := src.file.Attr(c.ctx, vfs.WantAttributes|vfs.WantSize)
	if err != nil {
		return nil, err
	}
	to, err := dst.file.Attr(c.ctx, vfs.WantAttributes|vfs.WantSize)
	if err != nil {
		return nil, err
	}
	if from.Attributes&^to.Attributes&vfs.AttrSparse != 0 {
		return nil, because(nt.NotSupported, "holes do not go into a file that is not sparse")
	}
	if in.SourceOffset+in.Count > from.Size {
		return nil, because(nt.NotSupported, "the source ends at %d", from.Size)
	}
	// The target does not grow, and what would lie past its end goes nowhere: Windows calls that a success.
	n := min(in.Count, to.Size-in.TargetOffset)
	if n <= 0 {
		return nil, nil
	}
	defer dst.modified()
	return nil, sharer.ShareRange(c.ctx, dst.file, in.SourceOffset, in.TargetOffset, n)
}

// maxTrimRanges bounds what one trim works on: a message of 8 MiB could name half a million ranges, each a system call.
const maxTrimRanges = 4096

// trim gives up ranges whose contents the client needs no longer, [MS-FSA] 2.1.5.9.7: a virtual disk in a sparse file
// gets smaller with what is deleted in it. Other files keep the space they have.
func (c *control) trim() ([]byte, error) {
	a, err := c.allocator()
	if err != nil {
		return nil, err
	}
	var in fscc.Trim
	if err := in.Decode(c.req.Input); err != nil {
		return nil, err
	}
	if in.Key != 0 || len(in.Ranges) > maxTrimRanges {
		return nil, because(nt.InvalidParameter, "trim of %d ranges by lock key %d", len(in.Ranges), in.Key)
	}
	attr, err := c.o.file.Attr(c.ctx, vfs.WantSize|vfs.WantAttributes)
	if err != nil {
		return nil, err
	}
	defer c.o.modified()
	for i, r := range in.Ranges {
		if err := c.o.mayWrite(uint64(r.Offset), uint64(r.Length)); err != nil {
			return fscc.AppendTrimResult(nil, uint32(i)), err
		}
		n := min(r.Offset+r.Length, attr.Size) - r.Offset
		if attr.Attributes&vfs.AttrSparse == 0 || n <= 0 {
			continue
		}
		if err := a.Zero(c.ctx, r.Offset, n); err != nil {
			return fscc.AppendTrimResult(nil, uint32(i)), err
		}
	}
	return fscc.AppendTrimResult(nil, uint32(len(in.Ranges))), nil
}

// compressionFormat is how clients are told that a file is compressed: by the one format they know.
func compressionFormat(a vfs.Attr) uint16 {
	if a.Attributes&vfs.AttrCompressed != 0 {
		return fscc.CompressionLZNT1
	}
	return fscc.CompressionNone
}

func compressionInfo(a vfs.Attr) fscc.CompressionInfo {
	size := a.Size
	if a.Attributes&vfs.AttrCompressed != 0 {
		size = min(size, a.Alloc)
	}
	return fscc.CompressionInfo{CompressedSize: size, Format: compressionFormat(a)}
}

func (c *control) getCompression() ([]byte, error) {
	if c.o.file == nil {
		return nil, because(nt.InvalidDeviceRequest, "compression of a pipe")
	}
	a, err := c.o.file.Attr(c.ctx, vfs.WantAttributes)
	if err != nil {
		return nil, err
	}
	return fscc.AppendCompression(nil, compressionFormat(a)), nil
}

// setCompression says whether the filesystem is to compress a file, [MS-FSA] 2.1.5.9.33. Which way is its own affair.
func (c *control) setCompression() ([]byte, error) {
	if c.o.file == nil {
		return nil, because(nt.InvalidDeviceRequest, "compression of a pipe")
	}
	format, err := fscc.DecodeCompression(c.req.Input)
	if err != nil {
		return nil, err
	}
	a, err := c.o.file.Attr(c.ctx, vfs.WantAttributes)
	if err != nil {
		return nil, err
	}
	on := format != fscc.CompressionNone
	if on == (a.Attributes&vfs.AttrCompressed != 0) {
		return nil, nil
	}
	z, ok := c.o.file.(vfs.Compressor)
	if !ok {
		return nil, because(nt.NotSupported, "the volume does not compress")
	}
	if err := z.SetCompressed(c.ctx, on); err != nil {
		return nil, err
	}
	c.ownEntryChanged(c.o)
	return nil, nil
}

// notCompressed keeps a new object from being compressed because its directory is: FILE_NO_COMPRESSION.
func (o *open) notCompressed(ctx context.Context) error {
	a, err := o.file.Attr(ctx, vfs.WantAttributes)
	if err != nil || a.Attributes&vfs.AttrCompressed == 0 {
		return err
	}
	if z, ok := o.file.(vfs.Compressor); ok {
		return z.SetCompressed(ctx, false)
	}
	return nil
}

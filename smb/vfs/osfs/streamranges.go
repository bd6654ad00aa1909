package osfs

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Holes and shared blocks of streams. Only those have them that are files: an xattr is data from its first byte to its
// last. A stream that is to have holes becomes a file.

// sideSparse marks the file of a stream that its client made sparse, [MS-FSA] 2.1.1.5 Stream.IsSparse.
const sideSparse = "user.postern.sparse"

// descriptor returns that of the stream's file, -1 for what lies in an xattr. It stays the same, and open, for as long
// as the StreamFile is.
func (f *StreamFile) descriptor() (fd int, err error) {
	err = f.looking(func(_ []byte, side int) error {
		fd = side
		return nil
	})
	return fd, err
}

// sparse reports whether the stream is marked so.
func (f *StreamFile) sparse() bool {
	f.s.mu.RLock()
	side := f.s.side
	f.s.mu.RUnlock()
	return side >= 0 && sparseSide(side)
}

func sparseSide(fd int) bool {
	_, err := unix.Fgetxattr(fd, sideSparse, nil)
	return err == nil
}

func (f *StreamFile) volume() *Volume { return f.base.v }

// ranged returns the descriptor of a stream that is a file of its own, if it was opened for what is to be done.
func (f *StreamFile) ranged(opened bool, off int64) (int, error) {
	switch {
	case !opened:
		return -1, nt.AccessDenied
	case off < 0:
		return -1, nt.InvalidParameter
	}
	fd, err := f.descriptor()
	if err == nil && fd < 0 {
		err = nt.NotSupported
	}
	return fd, err
}

func (f *StreamFile) from(ctx context.Context, off int64, do func(fd int) error) error {
	if err := f.base.use(ctx); err != nil {
		return err
	}
	defer f.base.done()
	fd, err := f.ranged(f.read, off)
	if err != nil {
		return err
	}
	return do(fd)
}

func (f *StreamFile) into(ctx context.Context, off int64, _ uint32, do func(fd int) error) error {
	if err := f.base.useToChange(ctx); err != nil {
		return err
	}
	defer f.base.done()
	// Refused for what it was opened for or for the range, nothing was to be made durable.
	if _, err := f.ranged(f.write, off); err != nil {
		return err
	}
	return f.settled(f.change(do, 0, nil)) // what is a file stays one
}

// settled makes a change durable if every write is to be.
func (f *StreamFile) settled(err error) error {
	if err != nil || !f.through {
		return err
	}
	return f.sync()
}

// CopyRange implements vfs.Cloner.
func (f *StreamFile) CopyRange(ctx context.Context, dst vfs.File, srcOff, dstOff, n int64) (int64, error) {
	return copyBetween(ctx, f, dst, srcOff, dstOff, n)
}

// ShareRange implements vfs.Sharer.
func (f *StreamFile) ShareRange(ctx context.Context, dst vfs.File, srcOff, dstOff, n int64) error {
	return shareBetween(ctx, f, dst, srcOff, dstOff, n)
}

// Zero implements vfs.Allocator.
func (f *StreamFile) Zero(ctx context.Context, off, n int64) error {
	if err := f.base.useToChange(ctx); err != nil {
		return err
	}
	defer f.base.done()
	switch {
	case off < 0 || n < 0 || off+n < off:
		return nt.InvalidParameter
	case !f.write:
		return nt.AccessDenied
	case n == 0:
		return nil
	}
	return f.settled(f.change(func(side int) error { return punch(ctx, side, off, n) }, 0, func(small []byte) []byte {
		if off < int64(len(small)) {
			clear(small[off:min(off+n, int64(len(small)))])
		}
		return small
	}))
}

// Ranges implements vfs.Allocator.
func (f *StreamFile) Ranges(ctx context.Context, off, n int64, emit func(off, n int64) bool) error {
	if err := f.base.use(ctx); err != nil {
		return err
	}
	defer f.base.done()
	if off < 0 || n < 0 || off+n < off {
		return nt.InvalidParameter
	}
	length, fd := int64(0), -1
	err := f.looking(func(small []byte, side int) error {
		length, fd = int64(len(small)), side
		return nil
	})
	switch {
	case err != nil:
		return err
	case fd >= 0:
		return dataRanges(ctx, fd, off, n, emit)
	}
	if end := min(off+n, length); off < end {
		emit(off, end-off)
	}
	return nil
}

// SetSparse implements vfs.Allocator.
func (f *StreamFile) SetSparse(ctx context.Context, on bool) error {
	if err := f.base.useToChange(ctx); err != nil {
		return err
	}
	defer f.base.done()
	if !on {
		fd, err := f.descriptor()
		if err != nil || fd < 0 {
			return err
		}
		if err := unix.Fremovexattr(fd, sideSparse); err != nil && err != unix.ENODATA {
			return err
		}
		return nil
	}
	return f.edit(func(side int) error { return unix.Fsetxattr(side, sideSparse, []byte{1}, 0) }, maxXattrStream+1, nil)
}

package osfs

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// copyPiece is how much one system call copies, so that a call can be cancelled.
const copyPiece = 16 << 20

// CopyRange implements vfs.Cloner: shared extents where the filesystem has them, else a copy inside the kernel.
func (f *File) CopyRange(ctx context.Context, dst vfs.File, srcOff, dstOff, n int64) (done int64, err error) {
	return copyBetween(ctx, f, dst, srcOff, dstOff, n)
}

// A holder has contents behind a descriptor of its own: a file, or a stream that is one.
type holder interface {
	vfs.File
	volume() *Volume
	// from calls do with the descriptor if it may be read at off; into if it may be changed. What has none is NotSupported.
	from(ctx context.Context, off int64, do func(fd int) error) error
	into(ctx context.Context, off int64, kind uint32, do func(fd int) error) error
}

func (f *File) volume() *Volume { return f.v }

func (f *File) from(ctx context.Context, off int64, do func(fd int) error) error {
	if err := f.use(ctx); err != nil {
		return err
	}
	defer f.done()
	if err := f.may(f.read, off); err != nil {
		return err
	}
	return do(f.fd)
}

func (f *File) into(ctx context.Context, off int64, kind uint32, do func(fd int) error) error {
	if err := f.useToChange(ctx); err != nil {
		return err
	}
	defer f.done()
	if err := f.may(f.write, off); err != nil {
		return err
	}
	end := f.modifying()
	defer end(kind)
	written := f.writing()
	err := do(f.fd)
	written()
	if err != nil {
		return err
	}
	return f.copied()
}

func copyBetween(ctx context.Context, src holder, to vfs.File, srcOff, dstOff, n int64) (done int64, err error) {
	dst, ok := to.(holder)
	switch {
	case !ok:
		return 0, nt.NotSameDevice
	case n < 0 || srcOff+n < srcOff || dstOff+n < dstOff:
		return 0, nt.InvalidParameter
	}
	err = src.from(ctx, srcOff, func(from int) error {
		if src.ID() == dst.ID() && srcOff-dstOff < n && dstOff-srcOff < n {
			return nt.NotSupported
		}
		return dst.into(ctx, dstOff, vfs.ChangeSize|vfs.ChangeLastWrite, func(to int) error {
			done, err = copyWithin(ctx, from, to, srcOff, dstOff, n)
			return err
		})
	})
	return done, err
}

// copyWithin copies between descriptors. It may do less than asked, and returns how much it did.
func copyWithin(ctx context.Context, src, dst int, srcOff, dstOff, n int64) (done int64, err error) {
	if n > 0 && unix.IoctlFileCloneRange(dst, &unix.FileCloneRange{
		Src_fd: int64(src), Src_offset: uint64(srcOff), Src_length: uint64(n), Dest_offset: uint64(dstOff),
	}) == nil {
		return n, nil
	}
	for done < n {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		from, to := srcOff+done, dstOff+done
		m, err := unix.CopyFileRange(src, &from, dst, &to, int(min(n-done, copyPiece)), 0)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil && done > 0:
			return done, err
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EXDEV), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return 0, &statusError{nt.NotSupported, err}
		case err != nil:
			return 0, err
		case m == 0:
			return done, nil
		}
		done += int64(m)
	}
	return done, nil
}

// copied makes a copy durable if every write is to be.
func (f *File) copied() error {
	if !f.through {
		return nil
	}
	if err := fsync(f.fd); err != nil {
		return err
	}
	return f.syncName()
}

// Zero implements vfs.Allocator.
func (f *File) Zero(ctx context.Context, off, n int64) error {
	if err := f.useToChange(ctx); err != nil {
		return err
	}
	defer f.done()
	if n < 0 || off+n < off {
		return nt.InvalidParameter
	}
	if err := f.may(f.write, off); err != nil || n == 0 {
		return err
	}
	end := f.modifying()
	defer end(vfs.ChangeLastWrite)
	defer f.writing()()
	err := punch(ctx, f.fd, off, n)
	if err == nil {
		err = f.copied()
	}
	return err
}

// punch makes a hole, or writes zeros where none can be made.
func punch(ctx context.Context, fd int, off, n int64) error {
	err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = fillZeros(ctx, fd, off, n)
	}
	return err
}

// fillZeros writes zeros where no hole can be made, up to the end of file.
func fillZeros(ctx context.Context, fd int, off, n int64) error {
	var st unix.Statx_t
	if err := statx(fd, &st); err != nil {
		return err
	}
	zeros := make([]byte, 64<<10)
	for end := min(off+n, int64(st.Size)); off < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := unix.Pwrite(fd, zeros[:min(int64(len(zeros)), end-off)], off)
		if err != nil && err != unix.EINTR {
			return err
		}
		off += int64(max(m, 0))
	}
	return nil
}

// Ranges implements vfs.Allocator.
func (f *File) Ranges(ctx context.Context, off, n int64, emit func(off, n int64) bool) error {
	if err := f.use(ctx); err != nil {
		return err
	}
	defer f.done()
	if n < 0 || off+n < off {
		return nt.InvalidParameter
	}
	if err := f.may(true, off); err != nil {
		return err
	}
	return f.with(!f.opath, unix.O_RDONLY, func(fd int) error { return dataRanges(ctx, fd, off, n, emit) })
}

func dataRanges(ctx context.Context, fd int, off, n int64, emit func(off, n int64) bool) error {
	for end := off + n; off < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if err == unix.ENXIO || err == nil && from >= end {
			return nil
		}
		if err != nil {
			return err
		}
		to, err := unix.Seek(fd, from, unix.SEEK_HOLE)
		if err == unix.ENXIO { // cut off meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		if to = min(to, end); to > from && !emit(from, to-from) {
			return nil
		}
		off = max(to, from+1)
	}
	return nil
}

// SetSparse implements vfs.Allocator. Linux makes holes in any file; the mark is for clients.
func (f *File) SetSparse(ctx context.Context, on bool) error {
	if err := f.useToChange(ctx); err != nil {
		return err
	}
	defer f.done()
	if err := f.may(true, 0); err != nil {
		return err
	}
	end := f.modifying()
	defer end(vfs.ChangeAttributes)
	return f.describe(func(i *dosInfo) {
		i.attributes &^= vfs.AttrSparse
		if on {
			i.attributes |= vfs.AttrSparse
		}
	})
}

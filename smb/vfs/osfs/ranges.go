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
	d, ok := dst.(*File)
	if !ok {
		return 0, nt.NotSameDevice
	}
	if err := f.use(ctx); err != nil {
		return 0, err
	}
	defer f.done()
	if err := d.useToChange(ctx); err != nil {
		return 0, err
	}
	defer d.done()
	if n < 0 || srcOff+n < srcOff || dstOff+n < dstOff {
		return 0, nt.InvalidParameter
	}
	if err := f.may(f.read, srcOff); err != nil {
		return 0, err
	}
	if err := d.may(d.write, dstOff); err != nil {
		return 0, err
	}
	if f.id == d.id && srcOff-dstOff < n && dstOff-srcOff < n {
		return 0, nt.NotSupported
	}
	end := d.modifying()
	defer end(vfs.ChangeSize | vfs.ChangeLastWrite)
	defer d.writing()()
	if n > 0 && unix.IoctlFileCloneRange(d.fd, &unix.FileCloneRange{
		Src_fd: int64(f.fd), Src_offset: uint64(srcOff), Src_length: uint64(n), Dest_offset: uint64(dstOff),
	}) == nil {
		return n, d.copied()
	}
	for done < n {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		from, to := srcOff+done, dstOff+done
		m, err := unix.CopyFileRange(f.fd, &from, d.fd, &to, int(min(n-done, copyPiece)), 0)
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
			return done, d.copied()
		}
		done += int64(m)
	}
	return done, d.copied()
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
	err := unix.Fallocate(f.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = f.fill(ctx, off, n)
	}
	if err == nil {
		err = f.copied()
	}
	return err
}

// fill writes zeros where no hole can be made, up to the end of file.
func (f *File) fill(ctx context.Context, off, n int64) error {
	var st unix.Statx_t
	if err := statx(f.fd, &st); err != nil {
		return err
	}
	zeros := make([]byte, 64<<10)
	for end := min(off+n, int64(st.Size)); off < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := unix.Pwrite(f.fd, zeros[:min(int64(len(zeros)), end-off)], off)
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
	return f.with(!f.opath, unix.O_RDONLY, func(fd int) error {
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
	})
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

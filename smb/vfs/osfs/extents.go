package osfs

import (
	"context"
	"errors"
	"math"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Features implements vfs.Featured.
func (v *Volume) Features() vfs.Feature { return v.features() }

// probe finds out what the filesystem can.
func (v *Volume) probe() (can vfs.Feature) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(v.root, &st); err == nil && st.Type == unix.BTRFS_SUPER_MAGIC {
		can |= vfs.Compression // others take the flag and leave it at that
	}
	if !v.cfg.noSymlinks {
		can |= vfs.SymbolicLinks
	}
	if v.canShare() {
		can |= vfs.BlockSharing
	}
	return can
}

// canShare has one nameless file share all of its no bytes with another: filesystems that know how do nothing, others
// say that they do not. XFS knows or does not by how it was made, so its name alone says nothing.
func (v *Volume) canShare() bool {
	var fds [2]int
	for i := range fds {
		fd, err := v.openat(v.root, ".", unix.O_TMPFILE|unix.O_RDWR, 0o600, 0)
		if err != nil {
			return false
		}
		defer unix.Close(fd)
		fds[i] = fd
	}
	return unix.IoctlFileCloneRange(fds[1], &unix.FileCloneRange{Src_fd: int64(fds[0])}) == nil
}

// ShareRange implements vfs.Sharer.
func (f *File) ShareRange(ctx context.Context, dst vfs.File, srcOff, dstOff, n int64) error {
	return shareBetween(ctx, f, dst, srcOff, dstOff, n)
}

func shareBetween(ctx context.Context, src holder, to vfs.File, srcOff, dstOff, n int64) error {
	dst, ok := to.(holder)
	switch {
	case !ok || dst.volume() != src.volume():
		return nt.NotSupported
	case n < 0 || srcOff > math.MaxInt64-n || dstOff > math.MaxInt64-n:
		return nt.InvalidParameter
	}
	return src.from(ctx, srcOff, func(from int) error {
		return dst.into(ctx, dstOff, vfs.ChangeLastWrite, func(to int) error {
			if src.ID() == dst.ID() && srcOff-dstOff < n && dstOff-srcOff < n {
				return nt.NotSupported
			}
			return shareWithin(from, to, srcOff, dstOff, n)
		})
	})
}

// shareWithin shares blocks between descriptors.
func shareWithin(src, dst int, srcOff, dstOff, n int64) error {
	var from, to unix.Statx_t
	if err := statx(src, &from); err != nil {
		return err
	}
	if err := statx(dst, &to); err != nil {
		return err
	}
	switch {
	case uint64(srcOff+n) > from.Size, uint64(dstOff+n) > to.Size:
		return nt.NotSupported
	case n == 0: // to the kernel that would be all
		return nil
	}
	err := unix.IoctlFileCloneRange(dst, &unix.FileCloneRange{
		Src_fd: int64(src), Src_offset: uint64(srcOff), Src_length: uint64(n), Dest_offset: uint64(dstOff),
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EXDEV) {
		return &statusError{nt.NotSupported, err}
	}
	return err
}

// Flags of FS_IOC_SETFLAGS, linux/fs.h: compress, and do not compress whatever the filesystem's mount says.
const (
	flagCompress   = 0x00000004
	flagNoCompress = 0x00000400
)

// SetCompressed implements vfs.Compressor.
func (f *File) SetCompressed(ctx context.Context, on bool) error {
	if f.v.features()&vfs.Compression == 0 {
		return nt.NotSupported
	}
	if err := f.useToChange(ctx); err != nil {
		return err
	}
	defer f.done()
	if f.kind != unix.S_IFREG && f.kind != unix.S_IFDIR {
		return nt.NotSupported
	}
	end := f.modifying()
	defer end(vfs.ChangeAttributes)
	return f.with(!f.opath, unix.O_RDONLY, func(fd int) error {
		flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
		if err != nil {
			return err
		}
		flags &^= flagCompress | flagNoCompress
		if on {
			flags |= flagCompress
		}
		return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags))
	})
}

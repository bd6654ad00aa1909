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
	d, ok := dst.(*File)
	if !ok || d.v != f.v {
		return nt.NotSupported
	}
	if err := f.use(ctx); err != nil {
		return err
	}
	defer f.done()
	if err := d.useToChange(ctx); err != nil {
		return err
	}
	defer d.done()
	if n < 0 || srcOff > math.MaxInt64-n || dstOff > math.MaxInt64-n {
		return nt.InvalidParameter
	}
	if err := f.may(f.read, srcOff); err != nil {
		return err
	}
	if err := d.may(d.write, dstOff); err != nil {
		return err
	}
	var from, to unix.Statx_t
	if err := statx(f.fd, &from); err != nil {
		return err
	}
	if err := statx(d.fd, &to); err != nil {
		return err
	}
	switch {
	case uint64(srcOff+n) > from.Size, uint64(dstOff+n) > to.Size:
		return nt.NotSupported
	case f.id == d.id && srcOff-dstOff < n && dstOff-srcOff < n:
		return nt.NotSupported
	case n == 0: // to the kernel that would be all
		return nil
	}
	end := d.modifying()
	defer end(vfs.ChangeLastWrite)
	defer d.writing()()
	err := unix.IoctlFileCloneRange(d.fd, &unix.FileCloneRange{
		Src_fd: int64(f.fd), Src_offset: uint64(srcOff), Src_length: uint64(n), Dest_offset: uint64(dstOff),
	})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EXDEV):
		return &statusError{nt.NotSupported, err}
	case err != nil:
		return err
	}
	return d.copied()
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

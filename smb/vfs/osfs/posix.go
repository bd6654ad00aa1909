package osfs

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// find returns what the entry is called on disk that a name stands for, "" if there is none: in this very case if
// exact, else in any.
func (v *Volume) find(ctx context.Context, at *place, exact bool) (string, error) {
	if !exact {
		return v.index.find(ctx, v, at.dir, at.id, at.disk, at.wire)
	}
	var st unix.Statx_t
	switch err := statxAt(at.dir, at.disk, &st); err {
	case nil:
		return at.disk, nil
	case unix.ENOENT:
		return "", nil
	default:
		return "", refusal(err)
	}
}

// chmod sets the permission bits. What the descriptor's xattr says of them is brought up to date, or Samba would take
// the descriptor for void: see ntacl.go.
func (f *File) chmod(mode uint32) error {
	if f.kind == unix.S_IFLNK {
		return nt.NotSupported
	}
	if err := f.setMode(mode); err != nil {
		return err
	}
	b, err := f.v.stored(at(proc(f.fd)))
	if err != nil || len(b) == 0 || !describable(f.kind) {
		return nil
	}
	return f.protect(b)
}

// setMode is chmod for an object that has no descriptor yet. The umask has no say in it.
func (f *File) setMode(mode uint32) error {
	return unix.Fchmodat(unix.AT_FDCWD, proc(f.fd), mode&vfs.ModeBits, 0)
}

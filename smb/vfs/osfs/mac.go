package osfs

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/vfs"
)

// entryMac reads what Macs keep with an entry of a directory. Most have nothing: one system call says so. What cannot be
// read is nothing, too: it costs an icon. list is room for names, as with entryEASize.
func (v *Volume) entryMac(dir int, name string, list *[xattrList]byte) (finder []byte, fork int64) {
	if v.cfg.noXattr {
		return nil, 0
	}
	n, err := listxattrat(dir, name, list)
	if err == unix.ENOSYS {
		n, err = unix.Llistxattr(proc(dir)+"/"+name, list[:]) // follows proc's link and no other
	}
	if err == nil {
		has := false
		for _, x := range userNames(list[:n]) {
			has = has || strings.HasPrefix(x, streamPrefix) || strings.HasPrefix(x, sidePrefix)
		}
		if !has {
			return nil, 0
		}
	} else if err != unix.ERANGE {
		return nil, 0
	}
	fd, err := v.openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return nil, 0
	}
	defer unix.Close(fd)
	path := proc(fd)
	kept, err := keptStreams(path)
	if err != nil {
		return nil, 0
	}
	for _, k := range kept {
		switch {
		case fscc.EqualFold(k.name, vfs.ForkStream):
			if size, _, err := v.streamSize(path, k); err == nil {
				fork = size
			}
		case fscc.EqualFold(k.name, vfs.FinderStream) && !k.side:
			if b, err := readSmall(path, k.xattr); err == nil && len(b) <= vfs.FinderMax {
				finder = b
			}
		}
	}
	return finder, fork
}

package osfs

import (
	"context"
	"crypto/rand"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Target implements vfs.Symlinker.
func (f *File) Target(ctx context.Context) (string, error) {
	if err := f.use(ctx); err != nil {
		return "", err
	}
	defer f.done()
	if f.kind != unix.S_IFLNK {
		return "", nt.NotAReparsePoint
	}
	var b [pathMax]byte
	n, err := unix.Readlinkat(f.fd, "", b[:])
	if err != nil {
		return "", err
	}
	target := string(b[:n])
	if strings.HasPrefix(target, "/") {
		return "", nt.AccessDenied // a place on the NAS, not in the share
	}
	names := strings.Split(target, "/")
	for i, name := range names {
		if name != "." && name != ".." {
			names[i] = toWire(name)
		}
	}
	return strings.Join(names, `\`), nil
}

// ByLink implements vfs.Linked.
func (f *File) ByLink() bool { return f.byLink }

// Place implements vfs.Linked.
func (f *File) Place(ctx context.Context) (vfs.Path, error) {
	if err := f.use(ctx); err != nil {
		return vfs.Path{}, err
	}
	defer f.done()
	if f.id == f.v.rootID {
		return vfs.Path{}, nil
	}
	root, err := os.Readlink(proc(f.v.root))
	if err != nil {
		return vfs.Path{}, err
	}
	now, err := os.Readlink(proc(f.fd)) // one longer than a page cannot be read
	rel, ok := strings.CutPrefix(now, strings.TrimSuffix(root, "/")+"/")
	if err != nil || !ok {
		return vfs.Path{}, nt.AccessDenied
	}
	names := strings.Split(rel, "/")
	for i, n := range names {
		names[i] = toWire(n)
	}
	return vfs.Path{Names: names}, nil
}

// ByLink implements vfs.Linked.
func (f *StreamFile) ByLink() bool { return f.base.byLink }

// Place implements vfs.Linked: it is the object's.
func (f *StreamFile) Place(ctx context.Context) (vfs.Path, error) { return f.base.Place(ctx) }

// diskTarget returns the target of a link that lies depth directories beneath the root. It says no to one that leads out,
// for the sake of who makes it: what keeps links in is the kernel, when they are followed.
func diskTarget(target string, depth int) (string, error) {
	names := strings.Split(target, `\`)
	for i, name := range names {
		switch name {
		case ".":
		case "..":
			if depth--; depth < 0 {
				return "", nt.AccessDenied
			}
		default:
			disk, _, err := toDisk(name)
			if err != nil {
				return "", err
			}
			names[i] = disk
			depth++
		}
	}
	disk := strings.Join(names, "/")
	if len(disk) >= pathMax {
		return "", nt.NameTooLong
	}
	return disk, nil
}

// SetTarget implements vfs.Symlinker.
func (f *File) SetTarget(ctx context.Context, target string) error {
	return f.replace(ctx, func(h *home, temp string) error {
		depth := 0
		if h.rel != "" {
			depth = 1 + strings.Count(h.rel, "/")
		}
		disk, err := diskTarget(target, depth)
		if err != nil {
			return err
		}
		return unix.Symlinkat(disk, h.dir, temp)
	})
}

// ClearTarget implements vfs.Symlinker.
func (f *File) ClearTarget(ctx context.Context) error {
	if f.kind != unix.S_IFLNK {
		return nt.NotAReparsePoint
	}
	return f.replace(ctx, func(h *home, temp string) error {
		fd, err := f.v.openat(h.dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, f.v.cfg.fileMode, unix.RESOLVE_NO_SYMLINKS)
		if err != nil {
			return refusal(err)
		}
		return unix.Close(fd)
	})
}

// replace has put make something under a name that no one can guess, and then that in the place of the object.
func (f *File) replace(ctx context.Context, put func(h *home, temp string) error) error {
	if f.v.cfg.noSymlinks {
		return nt.NotSupported
	}
	if err := f.useToChange(ctx); err != nil {
		return err
	}
	defer f.done()
	f.v.naming.Lock()
	defer f.v.naming.Unlock()
	var st unix.Statx_t
	if err := statx(f.fd, &st); err != nil {
		return err
	}
	switch {
	case f.link >= 0, f.kind == unix.S_IFREG && st.Size > 0, f.kind != unix.S_IFDIR && st.Nlink > 1:
		return nt.NotSupported // a name that led here, or contents or other names that would be lost
	case f.kind != unix.S_IFREG && f.kind != unix.S_IFDIR && f.kind != unix.S_IFLNK:
		return nt.NotSupported
	}
	h, err := f.home()
	if err != nil {
		return err
	}
	defer h.close()
	temp := ".postern-" + rand.Text()
	a := f.v.watches.begin(announced{h.id, temp, true}, announced{h.id, h.disk, true})
	if err := put(h, temp); err != nil {
		a.end()
		return err
	}
	if err := f.exchange(h, temp); err != nil {
		unix.Unlinkat(h.dir, temp, 0)
		a.end()
		return naming(err)
	}
	a.end(told{h.id, h.disk, fscc.ActionModified, vfs.ChangeAttributes})
	return nil
}

// exchange gives the File's name to temp. Of a directory only the kernel can tell whether it is empty, by removing it;
// until temp has the name, nobody here can take it.
func (f *File) exchange(h *home, temp string) error {
	if f.kind != unix.S_IFDIR {
		return unix.Renameat(h.dir, temp, h.dir, h.disk)
	}
	mu := lock(&f.v.making, h.id)
	mu.Lock()
	defer mu.Unlock()
	if err := unix.Unlinkat(h.dir, h.disk, unix.AT_REMOVEDIR); err != nil {
		return err
	}
	err := renameNew(h.dir, temp, h.dir, h.disk)
	if err != nil {
		unix.Mkdirat(h.dir, h.disk, f.v.cfg.dirMode) // as it was, but for its own descriptor
	}
	return err
}

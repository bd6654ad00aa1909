package osfs

import (
	"context"
	"errors"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// pathMax is how long a path one system call takes, with its NUL: PATH_MAX.
const pathMax = 4096

// openat is the one way to a descriptor by name. openat2 asks to be called again when a rename elsewhere has kept it
// from deciding whether ".." in a link leaves the root; someone may be renaming without end.
func (v *Volume) openat(dir int, path string, flags int, mode uint32, resolve uint64) (int, error) {
	flags |= unix.O_CLOEXEC
	if flags&unix.O_PATH == 0 {
		flags |= unix.O_LARGEFILE | unix.O_NOCTTY
	}
	how := unix.OpenHow{Flags: uint64(flags), Mode: uint64(mode), Resolve: v.resolve | resolve}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(dir, path, &how)
		if (err == unix.EAGAIN || err == unix.EINTR) && tries < 128 {
			runtime.Gosched()
			continue
		}
		return fd, err
	}
}

// open opens rel, a path on disk relative to the root; "" is the root itself.
func (v *Volume) open(rel string, flags int, resolve uint64) (int, error) {
	if rel == "" {
		rel = "."
	}
	dir := v.root
	defer func() {
		if dir != v.root {
			unix.Close(dir)
		}
	}()
	for len(rel) >= pathMax {
		cut := strings.LastIndexByte(rel[:pathMax-1], '/')
		next, err := v.openat(dir, rel[:cut], unix.O_PATH|unix.O_DIRECTORY, 0, resolve)
		if err != nil {
			return -1, err
		}
		if dir != v.root {
			unix.Close(dir)
		}
		dir, rel = next, rel[cut+1:]
	}
	fd, err := v.openat(dir, rel, flags, 0, resolve)
	if err == nil && v.pasts.hides(fd) {
		unix.Close(fd)
		return -1, unix.ENOENT
	}
	return fd, err
}

// join appends a component to a relative path.
func join(rel, name string) string {
	if rel == "" {
		return name
	}
	return rel + "/" + name
}

// components returns the names of a path as they are on disk, and as the wire should call them.
func components(path vfs.Path) (disk, wire []string, err error) {
	if len(path.Names) > vfs.MaxDepth {
		return nil, nil, nt.NameTooLong
	}
	both := make([]string, 2*len(path.Names))
	disk, wire = both[:len(path.Names)], both[len(path.Names):]
	for i, n := range path.Names {
		if disk[i], wire[i], err = toDisk(n); err != nil {
			return nil, nil, err
		}
		if hidden(disk[i]) {
			return nil, nil, nt.ObjectNameInvalid
		}
	}
	return disk, wire, nil
}

// A place is a directory and a name that may stand in it.
type place struct {
	dir  int    // descriptor, O_PATH
	rel  string // the directory's path on disk, relative to the root, as it was found
	id   vfs.ID // the directory's
	disk string
	wire string
}

func (p *place) close() { unix.Close(p.dir) }

// remove takes back what was just made there.
func (p *place) remove(dir bool) {
	flags := 0
	if dir {
		flags = unix.AT_REMOVEDIR
	}
	unix.Unlinkat(p.dir, p.disk, flags)
}

// place finds the directory that path, which is not the root's, lies in: in this very case if exact, else in any. What
// lacks on the way there is ObjectPathNotFound.
func (v *Volume) place(ctx context.Context, path vfs.Path, exact bool) (*place, error) {
	disk, wire, err := components(path)
	if err != nil {
		return nil, err
	}
	last := len(disk) - 1
	p := &place{dir: -1, disk: disk[last], wire: wire[last], rel: strings.Join(disk[:last], "/")}
	if p.dir, err = v.open(p.rel, unix.O_PATH|unix.O_DIRECTORY, 0); err == unix.ENOENT && !exact {
		p.rel = ""
		for i := range last {
			if p.rel, err = v.step(ctx, p.rel, disk[i], wire[i]); err != nil {
				break
			}
		}
		if err == nil {
			p.dir, err = v.open(p.rel, unix.O_PATH|unix.O_DIRECTORY, 0)
		}
	}
	if err != nil {
		if err == unix.ENOENT || err == unix.ENOTDIR {
			return nil, nt.ObjectPathNotFound
		}
		return nil, refusal(err)
	}
	var st unix.Statx_t
	if err := statx(p.dir, &st); err != nil {
		p.close()
		return nil, err
	}
	if marked(p.dir, &st) { // a link has led to where streams are kept
		p.close()
		return nil, nt.ObjectPathNotFound
	}
	p.id = idOf(&st)
	return p, nil
}

// step returns rel with the entry of it that is called name, in any case.
func (v *Volume) step(ctx context.Context, rel, disk, wire string) (string, error) {
	exact := join(rel, disk)
	fd, err := v.open(exact, unix.O_PATH, 0)
	if err == nil {
		unix.Close(fd)
		return exact, nil
	}
	if err != unix.ENOENT {
		return "", err
	}
	dir, err := v.open(rel, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	var st unix.Statx_t
	if err := statx(dir, &st); err != nil {
		return "", err
	}
	found, err := v.index.find(ctx, v, dir, idOf(&st), disk, wire)
	if err == nil && found == "" {
		err = unix.ENOENT
	}
	return join(rel, found), err
}

// refusal names what Linux says when a path may not be followed or cannot be a name.
func refusal(err error) error {
	switch {
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENXIO):
		return &statusError{nt.AccessDenied, err} // out of the root, out of the filesystem, or nothing to be opened
	case errors.Is(err, unix.ENAMETOOLONG):
		return nt.ObjectNameInvalid
	}
	return err
}

// A statusError is a status and the errno that was its cause.
type statusError struct {
	nt.Status
	cause error
}

func (e *statusError) Error() string   { return e.Status.Error() + ": " + e.cause.Error() }
func (e *statusError) Unwrap() []error { return []error{e.Status, e.cause} }

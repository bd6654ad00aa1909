package osfs

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Rights that need the contents opened for reading and for writing.
const (
	readsData  = dtyp.ReadData | dtyp.Execute
	writesData = dtyp.WriteData | dtyp.AppendData
)

// Open implements vfs.Volume.
func (v *Volume) Open(ctx context.Context, p vfs.Path, how vfs.How) (vfs.File, vfs.Action, error) {
	if v.cfg.past != 0 { // who asks for more than to read finds out when using it
		how.Access, how.WriteThrough = how.Access&^writesData, false
	}
	if p.Stream != "" {
		return v.openStream(ctx, p, how)
	}
	f, action, err := v.openPath(ctx, p, how)
	if errors.Is(err, unix.EAGAIN) && v.awaitLease(ctx, p, how) {
		f, action, err = v.openPath(ctx, p, how)
	}
	if err != nil {
		return nil, 0, err // not a File that is nil
	}
	v.count.opens.Add(1)
	return f, action, nil
}

func (v *Volume) openPath(ctx context.Context, p vfs.Path, how vfs.How) (*File, vfs.Action, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if how.Directory && how.NonDirectory {
		return nil, 0, nt.InvalidParameter
	}
	if len(p.Names) == 0 {
		if how.Disposition == vfs.Create {
			return nil, 0, nt.ObjectNameCollision
		}
		f, err := v.object("", how)
		return f, vfs.Opened, err
	}
	if how.Disposition != vfs.Create {
		// The usual case: it is there, by the very name that was asked for.
		rel, err := exact(p)
		if err != nil {
			return nil, 0, err
		}
		f, err := v.object(rel, how)
		if err != unix.ENOENT && err != unix.ENOTDIR {
			return f, vfs.Opened, err
		}
	}
	// What is found and what is made are two system calls; who comes between makes us look again.
	for tries := 0; ; tries++ {
		f, action, err := v.openOrMake(ctx, p, how)
		if err == unix.ENOENT || err == unix.EEXIST {
			if tries < 16 {
				continue
			}
			err = nt.AccessDenied // a link to nowhere is there and cannot be opened
			if how.Disposition == vfs.Open {
				err = nt.ObjectNameNotFound
			}
		}
		return f, action, err
	}
}

// exact returns p as a path on disk.
func exact(p vfs.Path) (rel string, err error) {
	disk, _, err := components(p)
	return strings.Join(disk, "/"), err
}

// openOrMake does what how says about a path that may be there in another case. ENOENT and EEXIST say that what it
// saw has changed meanwhile.
func (v *Volume) openOrMake(ctx context.Context, p vfs.Path, how vfs.How) (*File, vfs.Action, error) {
	at, err := v.place(ctx, p, how.POSIX)
	if err != nil {
		return nil, 0, err
	}
	defer at.close()
	if how.Disposition != vfs.Open {
		mu := lock(&v.making, at.id)
		mu.Lock()
		defer mu.Unlock()
	}
	there, err := v.find(ctx, at, how.POSIX)
	switch {
	case err != nil:
		return nil, 0, err
	case there != "" && how.Disposition == vfs.Create:
		return nil, 0, nt.ObjectNameCollision
	case there != "":
		f, err := v.object(join(at.rel, there), how)
		return f, vfs.Opened, err
	case how.Disposition == vfs.Open:
		return nil, 0, nt.ObjectNameNotFound
	}
	if v.cfg.past != 0 {
		return nil, 0, unix.EROFS
	}
	own, err := v.admit(at, how)
	if err != nil {
		return nil, 0, err
	}
	v.births.RLock()
	v.bearing.Add(1)
	a := v.watches.begin(announced{at.id, at.disk, true})
	f, err := v.create(at, how, own)
	v.bearing.Add(-1)
	v.births.RUnlock()
	if err == nil {
		a.end(told{at.id, at.disk, fscc.ActionAdded, nameKind(how.Directory)})
	} else {
		a.end()
	}
	switch {
	case err == unix.EEXIST && how.Disposition == vfs.Create:
		err = nt.ObjectNameCollision
	case err == unix.ENOENT: // the directory was removed
		err = nt.ObjectPathNotFound
	}
	return f, vfs.Created, err
}

// flags returns how to open contents, or O_PATH if they are not wanted: such an open has no effect on what it opens.
// Others must not wait for a pipe's other end.
func flags(how vfs.How) int {
	n := unix.O_NONBLOCK
	switch read, write := how.Access&readsData != 0, how.Access&writesData != 0; {
	case how.Directory || !read && !write:
		return unix.O_PATH
	case read && write:
		n |= unix.O_RDWR
	case write:
		n |= unix.O_WRONLY
	}
	if how.WriteThrough {
		n |= unix.O_DSYNC
	}
	return n
}

// create makes an object at a free place, with own as its security descriptor.
func (v *Volume) create(at *place, how vfs.How, own []byte) (*File, error) {
	if how.Directory {
		if err := unix.Mkdirat(at.dir, at.disk, v.cfg.dirMode); err != nil {
			return nil, refusal(err)
		}
		fd, err := v.openat(at.dir, at.disk, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS)
		if err != nil {
			return nil, refusal(err)
		}
		return v.created(fd, unix.O_PATH, at, how, own)
	}
	n := flags(how)
	if n&unix.O_PATH != 0 {
		n = unix.O_RDONLY // O_PATH cannot create
	}
	fd, err := v.openat(at.dir, at.disk, n|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, v.cfg.fileMode, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return nil, refusal(err)
	}
	return v.created(fd, n, at, how, own)
}

func (v *Volume) created(fd, n int, at *place, how vfs.How, own []byte) (*File, error) {
	var st unix.Statx_t
	if err := statx(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f, err := v.file(fd, -1, n, &st, join(at.rel, at.disk), how)
	if err != nil {
		return nil, err
	}
	f.nameless.Store(true)
	if how.POSIX {
		if err := f.setMode(how.Mode); err != nil {
			f.Close()
			return nil, err
		}
	}
	err = f.describe(func(i *dosInfo) { i.attributes = how.Attributes & vfs.AttrSettable })
	if err == nil && own != nil {
		if err = f.protect(own); err == nt.NotSupported {
			err = nil
		} else if err != nil {
			at.remove(how.Directory) // it must not stand there open to others
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// object opens what stands at rel, in this very case. ENOENT and ENOTDIR are the caller's to interpret.
func (v *Volume) object(rel string, how vfs.How) (*File, error) {
	n, byLink := flags(how), false
	fd, err := v.open(rel, n|unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS) // most paths have none
	if err == unix.ELOOP {
		byLink = true
		fd, err = v.open(rel, n|unix.O_NOFOLLOW, 0)
	}
	if err == unix.EISDIR || err == unix.ELOOP {
		// A directory, and what was to be written are its entries; or a link; or a link on the way where none may be.
		n = unix.O_PATH
		fd, err = v.open(rel, n|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, refusal(err)
	}
	var st unix.Statx_t
	if err := statx(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if kindOf(&st) != unix.S_IFLNK || how.Reparse {
		f, err := v.file(fd, -1, n, &st, rel, how)
		if err == nil {
			f.byLink = byLink
		}
		return f, err
	}
	// The link is followed by the kernel, beneath the root. Its own descriptor stays: it is what the File is named by.
	link, linkID := fd, idOf(&st)
	n = flags(how)
	if fd, err = v.open(rel, n, 0); err == unix.EISDIR {
		n = unix.O_PATH
		fd, err = v.open(rel, n, 0)
	}
	if err == nil {
		if err = statx(fd, &st); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		unix.Close(link)
		return nil, refusal(err)
	}
	f, err := v.file(fd, link, n, &st, rel, how)
	if err == nil {
		f.nameID, f.byLink = linkID, true
	}
	return f, err
}

// file makes a File of a descriptor that was opened with the flags n and is what st says, and of the descriptor of
// the link it was reached by, or -1. It owns both from here on. What how insists on and is not so is an error.
func (v *Volume) file(fd, link, n int, st *unix.Statx_t, rel string, how vfs.How) (*File, error) {
	f := &File{v: v, fd: fd, link: link, last: rel, id: idOf(st), nameID: idOf(st), kind: kindOf(st), opath: n&unix.O_PATH != 0}
	f.read = !f.opath && how.Access&readsData != 0
	f.write = !f.opath && how.Access&writesData != 0
	f.through = how.WriteThrough && f.write
	f.posix = how.POSIX
	f.refs.Store(1)
	var err error
	switch {
	case how.Directory && f.kind != unix.S_IFDIR:
		err = nt.NotADirectory
	case how.NonDirectory && f.kind == unix.S_IFDIR:
		err = nt.FileIsADirectory
	case marked(fd, st):
		err = nt.AccessDenied
	case f.kind != unix.S_IFREG && f.kind != unix.S_IFDIR && !f.opath:
		err = nt.AccessDenied // pipes, sockets and devices have no contents for the wire
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

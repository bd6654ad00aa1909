package osfs

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// named is the descriptor of what stands under the File's name.
func (f *File) named() int {
	if f.link >= 0 {
		return f.link
	}
	return f.fd
}

// around returns the path, relative to the root, where the kernel says that the File is now. It is a hint, to be
// resolved and verified: between two calls everything may be renamed.
func (f *File) around() string {
	f.mu.Lock()
	rel := f.last
	f.mu.Unlock()
	root, err := os.Readlink(proc(f.v.root))
	if err != nil {
		return rel
	}
	// A path longer than a page cannot be read; then the last one known must do.
	if now, err := os.Readlink(proc(f.named())); err == nil {
		if now == root {
			return ""
		}
		if inside, ok := strings.CutPrefix(now, strings.TrimSuffix(root, "/")+"/"); ok {
			return inside
		}
	}
	return rel
}

// A home is where a File's name stands: a directory, found beneath the root anew, and the name, found to be the
// File's.
type home struct {
	dir  int // descriptor, O_PATH
	id   vfs.ID
	rel  string // the directory's path
	disk string
}

func (h *home) close() { unix.Close(h.dir) }

// home finds the File's name. It is FileDeleted if the File has none any more beneath the root.
func (f *File) home() (*home, error) {
	if f.nameID == f.v.rootID {
		return nil, nt.AccessDenied
	}
	for tries := 0; ; tries++ {
		h, err := f.homeAt(f.around())
		if err == nil || tries == 8 || !errors.Is(err, nt.FileDeleted) {
			return h, err
		}
		var st unix.Statx_t
		if err := statx(f.named(), &st); err != nil {
			return nil, err
		}
		if st.Nlink == 0 {
			return nil, nt.FileDeleted
		}
	}
}

func (f *File) homeAt(rel string) (*home, error) {
	h := &home{disk: rel}
	if cut := strings.LastIndexByte(rel, '/'); cut >= 0 {
		h.rel, h.disk = rel[:cut], rel[cut+1:]
	}
	if h.disk == "" {
		return nil, nt.FileDeleted
	}
	var err error
	// What the kernel gave has no links in it; what the client gave, kept for long paths, may.
	if h.dir, err = f.v.open(h.rel, unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ENAMETOOLONG {
			return nil, nt.FileDeleted
		}
		return nil, refusal(err)
	}
	var st unix.Statx_t
	err = statxAt(h.dir, h.disk, &st)
	if err == nil && idOf(&st) == f.nameID {
		if err = statx(h.dir, &st); err == nil {
			h.id = idOf(&st)
			return h, nil
		}
	} else if err == nil || err == unix.ENOENT || err == unix.ENAMETOOLONG {
		err = nt.FileDeleted
	}
	h.close()
	return nil, err
}

// Path implements vfs.File.
func (f *File) Path(ctx context.Context) (vfs.Path, error) {
	if err := f.use(ctx); err != nil {
		return vfs.Path{}, err
	}
	defer f.done()
	if f.nameID == f.v.rootID {
		return vfs.Path{}, nil
	}
	h, err := f.home()
	if err != nil {
		return vfs.Path{}, err
	}
	h.close()
	names := strings.Split(join(h.rel, h.disk), "/")
	for i, n := range names {
		names[i] = toWire(n)
	}
	return vfs.Path{Names: names}, nil
}

// Unlink implements vfs.File. Between finding the name to be this File's and removing it no one here can give the
// name away, because that too takes v.naming. (Linux has no call that does both; a process on the NAS itself that
// renames in that moment is not seen.)
func (f *File) Unlink(ctx context.Context) error {
	if err := f.useToChange(ctx); err != nil {
		return err
	}
	defer f.done()
	f.v.naming.Lock()
	defer f.v.naming.Unlock()
	h, err := f.home()
	if err != nil {
		return err
	}
	defer h.close()
	flags := 0
	if f.kind == unix.S_IFDIR && f.link < 0 {
		flags = unix.AT_REMOVEDIR
	}
	var sides []string
	var st unix.Statx_t
	if f.link < 0 && statx(f.fd, &st) == nil && lastName(&st) {
		sides = f.v.sidesAt(proc(f.fd), f.id)
	}
	a := f.v.watches.begin(announced{h.id, h.disk, true})
	if err = unix.Unlinkat(h.dir, h.disk, flags); err == nil {
		f.v.dropSides(f.id, sides)
		f.spot.Store(&spot{dir: h.id, disk: h.disk})
		a.end(told{h.id, h.disk, fscc.ActionRemoved, f.nameKind()})
		return nil
	}
	a.end()
	if err == unix.ENOENT {
		return nt.FileDeleted
	}
	return naming(err)
}

// naming says what Linux's refusal to change a name is in the contract.
func naming(err error) error {
	switch err {
	case unix.EEXIST:
		return nt.ObjectNameCollision
	case unix.ENOENT: // the directory was removed
		return nt.ObjectPathNotFound
	case unix.ENOTEMPTY:
		return nt.DirectoryNotEmpty
	case unix.EXDEV:
		return &statusError{nt.NotSameDevice, err}
	case unix.EMLINK:
		return nt.TooManyLinks
	case unix.EINVAL, unix.EISDIR, unix.ENOTDIR, unix.EBUSY:
		return &statusError{nt.AccessDenied, err} // into itself, file over directory or the reverse, a mount point
	case unix.ENAMETOOLONG:
		return nt.ObjectNameInvalid
	}
	return err
}

// A target is a place for a new name, and what stands there.
type target struct {
	*place
	there string // the entry's name on disk, "" if there is none
	st    unix.Statx_t
}

// target finds the place. The caller holds v.naming, and gets the directory's making lock.
func (f *File) target(ctx context.Context, to vfs.Path) (*target, func(), error) {
	switch {
	case len(to.Names) == 0:
		return nil, nil, nt.ObjectNameCollision
	case to.Stream != "":
		return nil, nil, nt.NotSupported
	}
	at, err := f.v.place(ctx, to, f.posix)
	if err != nil {
		return nil, nil, err
	}
	mu := lock(&f.v.making, at.id)
	mu.Lock()
	t := &target{place: at}
	release := func() { mu.Unlock(); at.close() }
	t.there, err = f.v.find(ctx, at, f.posix)
	if err == nil && t.there != "" {
		if err = statxAt(at.dir, t.there, &t.st); err == unix.ENOENT {
			t.there, err = "", nil
		}
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return t, release, nil
}

// Rename implements vfs.File.
func (f *File) Rename(ctx context.Context, to vfs.Path, replace bool) error {
	if err := f.useToChange(ctx); err != nil {
		return err
	}
	defer f.done()
	f.v.naming.Lock()
	defer f.v.naming.Unlock()
	h, err := f.home()
	if err != nil {
		return err
	}
	defer h.close()
	t, release, err := f.target(ctx, to)
	if err != nil {
		return err
	}
	defer release()
	a := f.v.watches.begin(announced{h.id, h.disk, true}, announced{t.id, t.disk, true}, announced{t.id, t.there, true})
	if err := f.rename(h, t, replace); err != nil {
		a.end()
		return naming(err)
	}
	a.end(f.renamed(h, t)...)
	f.nameless.Store(true)
	f.mu.Lock()
	f.last = join(t.rel, t.disk)
	f.mu.Unlock()
	return nil
}

// nameKind is what kind of change one of the File's name is.
func (f *File) nameKind() uint32 { return nameKind(f.kind == unix.S_IFDIR && f.link < 0) }

// renamed is what a rename that succeeded has to tell.
func (f *File) renamed(h *home, t *target) (group []told) {
	same := t.id == h.id
	if same && h.disk == t.disk {
		return nil
	}
	kind := f.nameKind()
	if t.there != "" && !(same && t.there == h.disk) {
		group = append(group, told{t.id, t.there, fscc.ActionRemoved, kind})
	}
	if same {
		return append(group, told{h.id, h.disk, fscc.ActionRenamedOld, kind}, told{t.id, t.disk, fscc.ActionRenamedNew, kind})
	}
	return append(group, told{h.id, h.disk, fscc.ActionRemoved, kind}, told{t.id, t.disk, fscc.ActionAdded, kind})
}

func (f *File) rename(h *home, t *target, replace bool) error {
	if t.there == "" {
		return renameNew(h.dir, h.disk, t.dir, t.disk)
	}
	if t.there == h.disk && t.id == h.id { // its own name, perhaps in another case
		if t.disk == h.disk {
			return nil
		}
		return renameNew(h.dir, h.disk, t.dir, t.disk)
	}
	switch {
	case !replace:
		return nt.ObjectNameCollision
	case f.kind == unix.S_IFDIR && f.link < 0, kindOf(&t.st) == unix.S_IFDIR:
		return nt.AccessDenied
	}
	if idOf(&t.st) == f.nameID {
		// Two names of one object: rename(2) would leave both. The other goes, so that this File keeps having one.
		if err := unix.Unlinkat(t.dir, t.there, 0); err != nil {
			return err
		}
		return renameNew(h.dir, h.disk, t.dir, t.disk)
	}
	sides := f.v.replacedSides(t)
	err := unix.Renameat(h.dir, h.disk, t.dir, t.there)
	if err == nil {
		f.v.dropSides(idOf(&t.st), sides)
	}
	if err == nil && t.there != t.disk {
		// It stands in the case of what it replaced. Should this fail it is in place all the same.
		if renameNew(t.dir, t.there, t.dir, t.disk) != nil {
			t.disk = t.there
		}
	}
	return err
}

// renameNew renames to a name that is free.
func renameNew(fromDir int, from string, toDir int, to string) error {
	err := unix.Renameat2(fromDir, from, toDir, to, unix.RENAME_NOREPLACE)
	if err != unix.EINVAL && err != unix.ENOSYS {
		return err
	}
	// A filesystem without RENAME_NOREPLACE, or a directory into itself, which fails again below.
	var st unix.Statx_t
	if err := statxAt(toDir, to, &st); err != unix.ENOENT {
		if err == nil {
			err = unix.EEXIST
		}
		return err
	}
	return unix.Renameat(fromDir, from, toDir, to)
}

// Link implements vfs.Linker.
func (f *File) Link(ctx context.Context, to vfs.Path, replace bool) error {
	if err := f.useToChange(ctx); err != nil {
		return err
	}
	defer f.done()
	if f.kind == unix.S_IFDIR {
		return nt.FileIsADirectory
	}
	f.v.naming.Lock()
	defer f.v.naming.Unlock()
	var st unix.Statx_t
	if err := statx(f.fd, &st); err != nil {
		return err
	}
	if st.Nlink == 0 {
		return nt.FileDeleted
	}
	t, release, err := f.target(ctx, to)
	if err != nil {
		return err
	}
	defer release()
	if t.there == "" {
		a := f.v.watches.begin(announced{t.id, t.disk, true})
		if err := f.linkAs(t.dir, t.disk); err != nil {
			a.end()
			return naming(err)
		}
		a.end(told{t.id, t.disk, fscc.ActionAdded, vfs.ChangeFileName})
		return nil
	}
	switch {
	case !replace:
		return nt.ObjectNameCollision
	case kindOf(&t.st) == unix.S_IFDIR:
		return nt.AccessDenied
	case idOf(&t.st) == f.id:
		return nil
	}
	// link(2) does not replace, rename(2) does: by way of a name that no one can guess.
	temp := ".postern-" + rand.Text()
	a := f.v.watches.begin(announced{t.id, temp, true}, announced{t.id, t.there, true}, announced{t.id, t.disk, true})
	var group []told
	defer func() { a.end(group...) }()
	if err := f.linkAs(t.dir, temp); err != nil {
		return naming(err)
	}
	sides := f.v.replacedSides(t)
	if err := unix.Renameat(t.dir, temp, t.dir, t.there); err != nil {
		unix.Unlinkat(t.dir, temp, 0)
		return naming(err)
	}
	f.v.dropSides(idOf(&t.st), sides)
	is := t.there
	if t.there != t.disk && renameNew(t.dir, t.there, t.dir, t.disk) == nil { // as in rename
		is = t.disk
	}
	group = []told{
		{t.id, t.there, fscc.ActionRemoved, vfs.ChangeFileName}, {t.id, is, fscc.ActionAdded, vfs.ChangeFileName},
	}
	return nil
}

func (f *File) linkAs(dir int, name string) error {
	return unix.Linkat(unix.AT_FDCWD, proc(f.fd), dir, name, unix.AT_SYMLINK_FOLLOW)
}

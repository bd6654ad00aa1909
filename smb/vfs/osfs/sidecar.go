package osfs

import (
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/vfs"
)

// A stream that no xattr holds is a file in a directory beside all others, under a random name that the object keeps in
// an xattr: so it goes with the object wherever that goes. The wire sees neither: no name leads to the directory, and
// what lies in it is marked, so that a symbolic link does not either.
//
// Each such file knows the object that it belongs to. Who copies a tree with its xattrs has two objects with one file:
// the one that it does not belong to gets its own when it is next used, and does not take the file with it.
const (
	sideDir    = ".postern-streams"
	sidePrefix = "user.postern.stream."
	sideMark   = "user.postern.side"   // on the directory, and on the files: the object's inode number
	sideOrphan = "user.postern.orphan" // on a file that nothing was found to name
	sideMode   = 0o1600                // the sticky bit means nothing on files, and says where to look for the mark
)

// Bounds of the search for files that belong to nothing.
const (
	maxSides      = 1 << 16 // files; a name and a map entry each, some 8 MiB together
	maxSweep      = 1 << 20 // entries of the tree that are looked at: a minute or so on a slow disk
	maxSweepDepth = 128     // each level holds a descriptor
)

// errLost is what reading a stream says whose file is not there: someone has taken it away, or copied only a part.
var errLost error = unix.EIO

type sides struct {
	mu    sync.Mutex
	fd    int // of the directory, or -1
	stop  chan struct{}
	swept sync.WaitGroup
}

// hidden reports whether a name on disk is none on the wire.
func hidden(disk string) bool { return strings.EqualFold(disk, sideDir) }

// marked reports whether an object is one of ours.
func marked(fd int, st *unix.Statx_t) bool {
	if st.Mode&unix.S_ISVTX == 0 || !describable(kindOf(st)) {
		return false
	}
	_, err := unix.Getxattr(proc(fd), sideMark, nil)
	return err == nil
}

// sideDir returns the descriptor of the directory, which is made if it is not there and make says so.
func (v *Volume) sideDir(make bool) (int, error) {
	v.sides.mu.Lock()
	defer v.sides.mu.Unlock()
	if v.sides.fd >= 0 {
		return v.sides.fd, nil
	}
	if make {
		if err := unix.Mkdirat(v.root, sideDir, 0o700); err != nil && err != unix.EEXIST {
			return -1, err
		}
	}
	fd, err := v.openat(v.root, sideDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return -1, err
	}
	if make {
		err = unix.Fsetxattr(fd, sideMark, []byte{0}, 0)
		if err == nil {
			err = unix.Fchmod(fd, 0o1700)
		}
		if err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	v.sides.fd = fd
	return fd, nil
}

// sideName reads which file a stream of the object at path is.
func sideName(path string, k keptStream) (string, error) {
	b, err := readXattr(at(path), k.xattr)
	if err != nil {
		return "", err
	}
	if isMark(b) && strings.HasPrefix(k.xattr, streamPrefix) {
		b = b[:len(b)-1]
	}
	if len(b) != len(rand.Text()) || strings.Trim(string(b), "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return "", errLost // whoever wrote this, it is no name of ours and must not become a path
	}
	return string(b), nil
}

// Where an object has no room for one more xattr, the file's name stands in the xattr that the contents had, with
// sideHere as its last byte: setxattr replaces a value at once, so that there is always the one or the other. Samba never
// writes that byte, which counts further xattrs to it (maxExtents).
const sideHere = 0xFF

// isMark reports whether the xattr of a small stream says that it is a file.
func isMark(b []byte) bool {
	const nameLen = 26 // of rand.Text
	return len(b) == nameLen+1 && b[nameLen] == sideHere
}

// markedAt reads only as much of an xattr as a mark is long.
func markedAt(path, xattr string) bool {
	var b [27]byte
	n, err := unix.Getxattr(path, xattr, b[:])
	return err == nil && isMark(b[:n])
}

// openSide opens the file of a stream of the object at path.
func (v *Volume) openSide(path string, k keptStream, flags int) (int, error) {
	name, err := sideName(path, k)
	if err != nil {
		return -1, err
	}
	dir, err := v.sideDir(false)
	if err == nil {
		var fd int
		if fd, err = v.openat(dir, name, flags|unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS); err == nil {
			return fd, nil
		}
	}
	if errors.Is(err, unix.ENOENT) {
		err = errLost
	}
	return -1, err
}

// ownSide opens the file of a stream for all that may be done with it, and makes it the object's own before.
func (v *Volume) ownSide(path string, object vfs.ID, k keptStream) (int, error) {
	fd, err := v.openSide(path, k, unix.O_RDWR)
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) {
		return v.openSide(path, k, unix.O_RDONLY)
	}
	if err != nil || ownerOf(fd) == object.Object {
		return fd, err
	}
	defer unix.Close(fd)
	if err := v.makeSide(path, object, k.name, nil, fd); err != nil {
		return -1, err
	}
	return v.openSide(path, k, unix.O_RDWR)
}

// ownerOf returns the inode number of the object that a file is of, 0 if it cannot be told.
func ownerOf(fd int) uint64 {
	var b [20]byte
	n, err := unix.Getxattr(proc(fd), sideMark, b[:])
	if err != nil {
		return 0
	}
	owner, _ := strconv.ParseUint(string(b[:n]), 10, 64)
	return owner
}

// makeSide makes the stream called name of the object at path a file that holds contents, or what the descriptor from
// does. It is on disk before the object names it, and the xattr that it was goes after, or becomes that name. The object's lock is held.
func (v *Volume) makeSide(path string, object vfs.ID, name string, contents []byte, from ...int) error {
	dir, err := v.sideDir(true)
	if err != nil {
		return err
	}
	side := rand.Text()
	if err = v.writeSide(dir, side, object, contents, from...); err == nil {
		err = pointTo(path, name, side)
	}
	if err != nil {
		unix.Unlinkat(dir, side, 0)
	}
	return err
}

// writeSide makes the file, and returns when it is on disk.
func (v *Volume) writeSide(dir int, side string, object vfs.ID, contents []byte, from ...int) error {
	fd, err := v.openat(dir, side, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fsetxattr(fd, sideMark, strconv.AppendUint(nil, object.Object, 10), 0); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, sideMode); err != nil {
		return err
	}
	if _, err := pwriteFull(fd, contents, 0); err != nil {
		return err
	}
	for _, src := range from {
		if err := copyAll(fd, src); err != nil {
			return err
		}
		if sparseSide(src) {
			if err := unix.Fsetxattr(fd, sideSparse, []byte{1}, 0); err != nil {
				return err
			}
		}
	}
	if err := fsync(fd); err != nil {
		return err
	}
	return fsync(dir)
}

// setXattr sets an xattr of the object. Where its streams leave no room for it (ext4 has a block for all of them), the
// longest become files until there is.
func (f *File) setXattr(name string, value []byte) error {
	for {
		var err error
		if f.opath {
			err = unix.Setxattr(proc(f.fd), name, value, 0)
		} else {
			err = unix.Fsetxattr(f.fd, name, value, 0)
		}
		if err != unix.ENOSPC || !f.evict() {
			return err
		}
	}
}

// worthMoving is how long a stream must be that is moved to make room: the name of its file takes some of it.
const worthMoving = 100

// evict makes the longest stream that is kept in an xattr a file. It reports whether it did.
func (f *File) evict() bool {
	mu := lock(&openStreams.locks, f.id)
	mu.Lock()
	defer mu.Unlock()
	return f.evictOne()
}

// evictOne is evict for who holds the object's lock.
func (f *File) evictOne() bool {
	path := proc(f.fd)
	list, err := keptStreams(path)
	if err != nil {
		return false
	}
	var longest keptStream
	size := worthMoving
	for _, k := range list {
		if b, err := readSmall(path, k.xattr); !k.side && err == nil && len(b) > size {
			longest, size = k, len(b)
		}
	}
	if longest.xattr == "" {
		return false
	}
	if s := openStreams.find(f.id, longest.name); s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	b, err := readSmall(path, longest.xattr)
	return err == nil && f.v.makeSide(path, f.id, longest.name, b) == nil
}

// copyAll copies a file, sharing extents where the filesystem can.
func copyAll(dst, src int) error {
	if unix.IoctlFileClone(dst, src) == nil {
		return nil
	}
	buf := make([]byte, 1<<20)
	for off := int64(0); ; {
		n, err := unix.Pread(src, buf, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		if _, err := pwriteFull(dst, buf[:n], off); err != nil {
			return err
		}
		off += int64(n)
	}
}

// pointTo has the object at path name the file of a stream, instead of what it had. At no time does it name neither:
// a power cut between the system calls leaves what was, what is, or both.
func pointTo(path, name, side string) error {
	k, found, err := findStream(path, name)
	if err != nil {
		return err
	}
	if found {
		name = k.name
	}
	to := sidePrefix + name
	err = unix.Setxattr(path, to, []byte(side), 0)
	instead := found && k.xattr != to
	if full(err) && instead {
		if err := unix.Setxattr(path, k.xattr, append([]byte(side), sideHere), unix.XATTR_REPLACE); err != nil {
			return err
		}
		return removeExtents(path, k.xattr)
	}
	if err != nil || !instead {
		return err
	}
	if err := unix.Removexattr(path, k.xattr); err != nil && err != unix.ENODATA {
		return err
	}
	return removeExtents(path, k.xattr)
}

// removeSide deletes a stream that is a file. The object's lock is held.
func (v *Volume) removeSide(path string, object vfs.ID, k keptStream) error {
	name, err := sideName(path, k)
	if err != nil && err != errLost {
		return err
	}
	if err := unix.Removexattr(path, k.xattr); err != nil {
		return err
	}
	if name != "" {
		v.dropSides(object, []string{name})
	}
	return nil
}

// dropSides deletes files that belong to the object. What fails is an orphan, which is found at the next start.
func (v *Volume) dropSides(object vfs.ID, names []string) {
	dir, err := v.sideDir(false)
	if err != nil {
		return
	}
	for _, name := range names {
		fd, err := v.openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS)
		if err != nil {
			continue
		}
		if ownerOf(fd) == object.Object {
			unix.Unlinkat(dir, name, 0)
		}
		unix.Close(fd)
	}
}

// sidesAt lists the files of the object at path, which is about to lose its last name.
func (v *Volume) sidesAt(path string, object vfs.ID) (names []string) {
	if _, err := v.sideDir(false); err != nil {
		return nil // as on nearly all disks
	}
	list, err := keptStreams(path)
	if err != nil {
		return nil
	}
	for _, k := range list {
		if !k.side {
			continue
		}
		if s := openStreams.find(object, k.name); s != nil { // it stays usable
			s.mu.Lock()
			if s.side < 0 && !s.gone {
				s.side, _ = v.ownSide(path, object, k)
			}
			s.mu.Unlock()
		}
		if name, err := sideName(path, k); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// replacedSides lists the files of what a rename or a link is about to replace.
func (v *Volume) replacedSides(t *target) []string {
	if kindOf(&t.st) != unix.S_IFREG || !lastName(&t.st) {
		return nil
	}
	if _, err := v.sideDir(false); err != nil {
		return nil
	}
	fd, err := v.openat(t.dir, t.there, unix.O_PATH|unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	return v.sidesAt(proc(fd), idOf(&t.st))
}

// lastName reports whether an object goes with one of its names.
func lastName(st *unix.Statx_t) bool { return kindOf(st) == unix.S_IFDIR || st.Nlink <= 1 }

// startSweep looks for files that belong to nothing, beside what else goes on.
func (v *Volume) startSweep() {
	v.sides.stop = make(chan struct{})
	if v.cfg.past != 0 { // what was cannot be tidied up
		return
	}
	if _, err := v.sideDir(false); err != nil {
		return
	}
	v.sides.swept.Add(1)
	go func() {
		defer v.sides.swept.Done()
		v.sweep()
	}()
}

func (v *Volume) closeSides() {
	close(v.sides.stop)
	v.sides.swept.Wait()
	if v.sides.fd >= 0 {
		unix.Close(v.sides.fd)
	}
}

// sweep removes the files that no object names, and that none named the last time: what is moved while the tree is
// walked may be missed once.
func (v *Volume) sweep() {
	dir, err := v.openat(v.root, sideDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	named := map[string]bool{}
	err = eachDirent(dir, func(e dirent) {
		if len(named) <= maxSides {
			named[string(e.name)] = false
		}
	})
	if err != nil || len(named) == 0 || len(named) > maxSides {
		return
	}
	root, err := v.openat(v.root, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0, 0)
	if err != nil {
		return
	}
	w := &sweeper{v: v, named: named, left: maxSweep}
	w.look(proc(root))
	whole := w.walk(root, maxSweepDepth)
	unix.Close(root)
	if !whole {
		return
	}
	for name, found := range named {
		fd, err := v.openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS)
		if err != nil {
			continue
		}
		_, err = unix.Getxattr(proc(fd), sideOrphan, nil)
		switch suspect := err == nil; {
		case found && suspect:
			unix.Removexattr(proc(fd), sideOrphan)
		case !found && suspect:
			unix.Unlinkat(dir, name, 0)
		case !found:
			unix.Setxattr(proc(fd), sideOrphan, []byte{1}, 0)
		}
		unix.Close(fd)
	}
}

// A sweeper walks a tree and notes which files are named.
type sweeper struct {
	v     *Volume
	named map[string]bool
	left  int
	list  [xattrList]byte
}

// look notes what the object at path names.
func (w *sweeper) look(path string) {
	list, err := keptStreams(path)
	if err != nil {
		return
	}
	for _, k := range list {
		if !k.side {
			continue
		}
		if name, err := sideName(path, k); err == nil {
			if _, ok := w.named[name]; ok {
				w.named[name] = true
			}
		}
	}
}

// walk looks at everything beneath a directory. It reports whether it saw all of it.
func (w *sweeper) walk(dir, depth int) bool {
	whole := depth > 0
	var below []string
	err := eachDirent(dir, func(e dirent) {
		select {
		case <-w.v.sides.stop:
			whole = false
		default:
		}
		if w.left--; w.left < 0 || !whole {
			whole = false
			return
		}
		name := string(e.name)
		if e.kind == unix.DT_DIR || e.kind == unix.DT_UNKNOWN {
			below = append(below, name)
		}
		if e.kind == unix.DT_LNK {
			return
		}
		// One call tells that an object has no xattr of ours, as nearly all.
		n, err := listxattrat(dir, name, &w.list)
		if names := string(w.list[:max(n, 0)]); err == nil && !strings.Contains(names, sidePrefix) && !strings.Contains(names, streamPrefix) {
			return
		}
		if fd, err := w.v.openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS); err == nil {
			w.look(proc(fd))
			unix.Close(fd)
		}
	})
	for _, name := range below {
		if err != nil || !whole {
			return false
		}
		fd, err := w.v.openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS)
		switch err {
		case nil:
			whole = w.walk(fd, depth-1)
			unix.Close(fd)
		case unix.ENOENT, unix.ENOTDIR, unix.EXDEV: // gone, no directory, or another disk with files of its own
		default:
			return false
		}
	}
	return err == nil && whole
}

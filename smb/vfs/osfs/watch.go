package osfs

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Bounds of what a Volume watches.
const (
	maxWatchedDirs  = 16_384 // each takes an inotify watch, about 1 KiB of the kernel's memory
	maxWatchedDepth = 128    // levels beneath a watched tree: each holds a descriptor while it is walked
	maxWalks        = 1024   // directories that have appeared and not been walked yet; each holds a descriptor
)

// watching are the changes that Watch tells of. Files that have lost their name are of no interest.
const watching = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_MODIFY |
	unix.IN_ATTRIB | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

// pairing is how long the second half of a rename may take after the first. The kernel queues them one after the
// other; only what was moved out of everything watched has no second half.
const pairing = 10 * time.Millisecond

// watches are all watches of a Volume, on one inotify descriptor.
//
// What this Volume does itself it tells itself, exactly and in time: an operation announces which names it is going to
// change (begin), and what inotify says of those names until it is over (end) is dropped. The kernel queues events
// before the system call that causes them returns, so that draining the queue at the end finds all of them. What
// another process does to the same name in that very moment is dropped, too: one change is told for both.
type watches struct {
	v      *Volume
	active atomic.Int32 // watches; while there are none, operations have nothing to announce

	mu      sync.Mutex // guards what follows, and is held while changes are told: that keeps their order
	fd      int        // inotify, or -1: then only changes of our own are told
	file    *os.File   // owns fd, for the reader
	dirs    map[vfs.ID]*watchedDir
	byWd    map[int32]*watchedDir
	ours    map[announced]int
	moved   *moved          // the first half of a rename whose second did not come yet
	partial map[*watch]bool // trees of which not every directory could be watched
	walked  []*watchedDir   // whose listing is over, and whose known is to be forgotten
	walks   []walk          // to be done by walker
	walker  bool            // runs
	buf     [32 << 10]byte

	moves atomic.Uint64 // counts what may have made a File's spot wrong
}

// A watchedDir is a directory that is watched for itself, or as part of a tree. parent, name and kids are known within
// watched trees only.
type watchedDir struct {
	id      vfs.ID
	wd      int32 // -1 without inotify
	parent  *watchedDir
	name    string // on disk
	kids    map[string]*watchedDir
	watches []*watch
	known   map[string]bool // while it is listed for the first time: entries that were told of
}

// A walk is a directory that has appeared in a watched tree and is to be walked for what is beneath it.
type walk struct {
	dir   *watchedDir
	fd    int // its own
	depth int
	tell  bool // what is there is new
}

// A watch is one call of Watch.
type watch struct {
	dir  *watchedDir
	fd   int // the directory, O_PATH
	tree bool
	emit func([]vfs.Change)
}

// announced is a name that an operation of ours is changing: the name itself, or else what it names.
type announced struct {
	dir   vfs.ID
	name  string
	names bool
}

// A moved is what went away under one name, and may come back under another.
type moved struct {
	dir    *watchedDir
	name   string
	kid    *watchedDir
	cookie uint32
	ours   bool
	isDir  bool
}

// A told is one change of a name in a directory.
type told struct {
	dir    vfs.ID
	name   string // on disk
	action fscc.Action
	kind   uint32
}

func newWatches(v *Volume) *watches {
	return &watches{
		v: v, fd: -1, dirs: map[vfs.ID]*watchedDir{}, byWd: map[int32]*watchedDir{}, ours: map[announced]int{},
		partial: map[*watch]bool{},
	}
}

// start opens the inotify descriptor when it is first wanted, and reads it from then on.
func (w *watches) start() {
	if w.file != nil || w.v.cfg.noInotify {
		return
	}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return
	}
	w.fd, w.file = fd, os.NewFile(uintptr(fd), "inotify")
	conn, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	go conn.Read(func(uintptr) bool { // until close; each return of false waits for more
		w.mu.Lock()
		defer w.mu.Unlock()
		w.drain()
		return w.fd < 0
	})
}

func (w *watches) close() {
	w.mu.Lock()
	file := w.file
	w.fd = -1
	w.mu.Unlock()
	if file != nil {
		file.Close()
	}
}

// Watch implements vfs.Watcher. Changes behind the Volume's back are seen by inotify, as far as its limits allow: of a
// tree with more directories than can be watched, changes of our own make watchers look anew, and others go unseen.
func (f *File) Watch(tree bool, emit func([]vfs.Change)) (stop func(), err error) {
	if err := f.begin(); err != nil {
		return nil, err
	}
	defer f.done()
	if f.kind != unix.S_IFDIR {
		return nil, nt.NotADirectory
	}
	fd, err := f.v.openat(f.fd, ".", unix.O_PATH|unix.O_DIRECTORY, 0, 0)
	if err != nil {
		return nil, refusal(err)
	}
	w := f.v.watches
	x := &watch{fd: fd, tree: tree, emit: emit}
	incomplete, err := w.add(x, f.id)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	if incomplete && !w.walk(x.dir, fd, 0, false) {
		w.mu.Lock()
		if slices.Contains(x.dir.watches, x) {
			w.partial[x] = true
		}
		w.mu.Unlock()
	}
	return func() { w.stop(x) }, nil
}

// add makes x one of the watches; incomplete says that what is beneath its tree must still be walked.
func (w *watches) add(x *watch, id vfs.ID) (incomplete bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start()
	w.drain() // what happened before is not this watch's
	w.moves.Add(1)
	if x.dir, err = w.dir(id, x.fd); err != nil {
		return false, err
	}
	incomplete = x.tree && (!x.dir.covered() || len(w.partial) > 0)
	x.dir.watches = append(x.dir.watches, x)
	w.active.Add(1)
	return incomplete, nil
}

func (w *watches) stop(x *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x.dir.watches = slices.DeleteFunc(x.dir.watches, func(other *watch) bool { return other == x })
	delete(w.partial, x)
	w.active.Add(-1)
	unix.Close(x.fd)
	w.prune(x.dir)
}

var errTooMany = errors.New("too many directories watched")

// dir returns the watchedDir of an open directory.
func (w *watches) dir(id vfs.ID, fd int) (*watchedDir, error) {
	if d := w.dirs[id]; d != nil {
		return d, nil
	}
	if len(w.dirs) >= maxWatchedDirs {
		return nil, &statusError{nt.InsufficientResources, errTooMany}
	}
	d := &watchedDir{id: id, wd: -1, kids: map[string]*watchedDir{}}
	if w.fd >= 0 {
		wd, err := unix.InotifyAddWatch(w.fd, proc(fd), watching)
		if err != nil {
			return nil, &statusError{nt.InsufficientResources, err}
		}
		d.wd = int32(wd)
		w.byWd[d.wd] = d
	}
	w.dirs[id] = d
	return d, nil
}

// covered reports whether the directory is part of a watched tree.
func (d *watchedDir) covered() bool {
	for ; d != nil; d = d.parent {
		if slices.ContainsFunc(d.watches, func(x *watch) bool { return x.tree }) {
			return true
		}
	}
	return false
}

// walk watches everything beneath d, of which fd is a descriptor, and reports whether that succeeded. With tell, what is
// there is new, and told as such. It is called without mu: disks may be slow.
func (w *watches) walk(d *watchedDir, fd, depth int, tell bool) (all bool) {
	w.mu.Lock()
	covered := d.covered()
	w.mu.Unlock()
	if !covered { // no longer wanted
		return true
	}
	dirs, all := w.list(d, fd, tell)
	for _, name := range dirs {
		kid, kidFd, ok := w.peek(fd, name, depth)
		if kidFd < 0 {
			all = all && ok
			continue
		}
		w.mu.Lock()
		at, err := w.adopt(d, name, kid, kidFd, tell)
		if err == nil && at != nil {
			// It may have gone between our look and now, and its event been before; from now on events tell.
			var st unix.Statx_t
			if statxAt(fd, name, &st) != nil || idOf(&st) != kid {
				w.lost(d, at)
				at = nil
			}
		}
		w.mu.Unlock()
		if err != nil || at != nil && !w.walk(at, kidFd, depth+1, tell) {
			all = false
		}
		unix.Close(kidFd)
	}
	return all
}

// list returns the names of d's directories, as many as can be watched, and tells what is new.
func (w *watches) list(d *watchedDir, fd int, tell bool) (dirs []string, all bool) {
	list, err := w.v.openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0, 0)
	if err != nil {
		return nil, err == unix.ENOENT
	}
	defer unix.Close(list)
	all = true
	err = eachDirent(list, func(e dirent) {
		name, isDir := string(e.name), e.kind == unix.DT_DIR
		if e.kind == unix.DT_UNKNOWN {
			var st unix.Statx_t
			isDir = statxAt(fd, name, &st) == nil && kindOf(&st) == unix.S_IFDIR
		}
		if tell {
			w.mu.Lock()
			if d.known != nil && !d.known[name] && w.ours[announced{d.id, name, true}] == 0 {
				d.known[name] = true
				w.tell(told{d.id, name, fscc.ActionAdded, nameKind(isDir)})
			}
			w.mu.Unlock()
		}
		switch {
		case isDir && len(dirs) < maxWatchedDirs:
			dirs = append(dirs, name)
		case isDir:
			all = false
		}
	})
	if tell {
		w.mu.Lock()
		w.walked = append(w.walked, d)
		w.mu.Unlock()
	}
	return dirs, all && err == nil
}

func nameKind(isDir bool) uint32 {
	if isDir {
		return vfs.ChangeDirName
	}
	return vfs.ChangeFileName
}

// peek opens the directory name in another. Without a descriptor, ok says that nothing is missing for it.
func (w *watches) peek(fd int, name string, depth int) (id vfs.ID, kidFd int, ok bool) {
	kidFd, err := w.v.openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		// Gone meanwhile, or a filesystem mounted there that paths do not enter.
		return id, -1, err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP || err == unix.EXDEV
	}
	var st unix.Statx_t
	if err := statx(kidFd, &st); err != nil || depth >= maxWatchedDepth {
		unix.Close(kidFd)
		return id, -1, false
	}
	return idOf(&st), kidFd, true
}

// adopt makes a directory that stands in d part of d's trees. It is nil if it stands above d, too: mounted into itself.
// With tell, it is new, and what it holds will be told of.
func (w *watches) adopt(d *watchedDir, name string, id vfs.ID, fd int, tell bool) (*watchedDir, error) {
	fresh := w.dirs[id] == nil
	kid, err := w.dir(id, fd)
	if err != nil {
		return nil, err
	}
	if fresh && tell {
		kid.known = map[string]bool{}
	}
	for up := d; up != nil; up = up.parent {
		if up == kid {
			return nil, nil
		}
	}
	if !d.covered() {
		w.prune(kid)
		return nil, nil
	}
	w.attach(d, name, kid)
	return kid, nil
}

func (w *watches) attach(d *watchedDir, name string, kid *watchedDir) {
	if old := d.kids[name]; old != nil && old != kid {
		w.detach(old)
		w.prune(old)
	}
	w.detach(kid)
	kid.parent, kid.name = d, name
	d.kids[name] = kid
}

func (w *watches) detach(kid *watchedDir) {
	if kid.parent != nil {
		delete(kid.parent.kids, kid.name)
		kid.parent = nil
	}
}

// prune forgets what no watch needs any more.
func (w *watches) prune(d *watchedDir) {
	if d.covered() {
		return
	}
	for _, kid := range d.kids {
		w.detach(kid)
		w.prune(kid)
	}
	if len(d.watches) == 0 {
		w.detach(d)
		w.drop(d)
		if d.wd >= 0 && w.fd >= 0 {
			unix.InotifyRmWatch(w.fd, uint32(d.wd)) // fails if the directory is gone, and the watch with it
		}
	}
}

func (w *watches) drop(d *watchedDir) {
	if w.byWd[d.wd] == d {
		delete(w.byWd, d.wd)
	}
	if w.dirs[d.id] == d {
		delete(w.dirs, d.id)
	}
}

// tell hands a group of changes to all watches that see some of it. mu is held.
func (w *watches) tell(group ...told) {
	var order []*watch
	seen := map[*watch][]vfs.Change{}
	for _, t := range group {
		d := w.dirs[t.dir]
		if d == nil {
			w.lose(w.partial)
			continue
		}
		names := []string{toWire(t.name)}
		for up := d; up != nil; up = up.parent {
			for _, x := range up.watches {
				if up != d && !x.tree {
					continue
				}
				if seen[x] == nil {
					order = append(order, x)
				}
				seen[x] = append(seen[x], vfs.Change{Action: t.action, Kind: t.kind, Names: names})
			}
			names = append([]string{toWire(up.name)}, names...)
		}
	}
	for _, x := range order {
		x.emit(seen[x])
	}
}

// lose makes watchers look anew.
func (w *watches) lose(of map[*watch]bool) {
	for x := range of {
		x.emit([]vfs.Change{{Action: vfs.ChangesLost}})
	}
}

// An act is an operation of ours while it is under way. A nil act is one that no one watches.
type act struct {
	w     *watches
	names []announced
}

// begin announces what an operation is going to change.
func (w *watches) begin(names ...announced) *act {
	if w.active.Load() == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range names {
		w.ours[n]++
	}
	return &act{w, names}
}

// end tells what the operation has changed.
func (a *act) end(group ...told) {
	if a == nil {
		return
	}
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drain()
	for _, n := range a.names {
		if w.ours[n]--; w.ours[n] == 0 {
			delete(w.ours, n)
		}
		if n.names {
			w.moves.Add(1)
		}
	}
	if len(group) == 0 {
		return
	}
	w.tell(group...)
	if w.fd >= 0 {
		return
	}
	// No events: what they would do to the trees is done here.
	for _, t := range group {
		switch d := w.dirs[t.dir]; {
		case d == nil || t.kind != vfs.ChangeDirName:
		case t.action == fscc.ActionRemoved || t.action == fscc.ActionRenamedOld:
			w.lost(d, d.kids[t.name])
		default:
			w.extend(d, t.name, false)
		}
	}
}

// A spot is where a File's name stood when moves was what it says. As long as it is that, the name stands there still,
// or stands nowhere that is watched. moves is 0 for the name that was taken away.
type spot struct {
	moves uint64
	dir   vfs.ID
	disk  string
}

// modifying announces a change of the File's contents or attributes. The function it returns ends it, and tells kind
// unless that is 0.
func (f *File) modifying() (end func(kind uint32)) {
	w := f.v.watches
	if w.active.Load() == 0 {
		return func(uint32) {}
	}
	moves := w.moves.Load()
	at := f.spot.Load()
	named := at != nil && at.moves == moves
	if !named {
		if h, err := f.home(); err == nil {
			h.close()
			at, named = &spot{moves, h.id, h.disk}, true
			f.spot.Store(at)
		} else if at == nil { // the root, or it lost its name before it was ever watched
			return func(uint32) {}
		}
	}
	// What has lost its name is not told of, but inotify may: under the name that it had.
	a := w.begin(announced{at.dir, at.disk, false})
	return func(kind uint32) {
		if kind == 0 || !named {
			a.end()
			return
		}
		a.end(told{at.dir, at.disk, fscc.ActionModified, kind})
	}
}

// kindIf is what a modification that may have failed has to tell.
func kindIf(done bool, kind uint32) uint32 {
	if done {
		return kind
	}
	return 0
}

// drain takes in all that the kernel has queued.
func (w *watches) drain() {
	if w.fd < 0 {
		return
	}
	for {
		n, err := unix.Read(w.fd, w.buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		for b := w.buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
			cookie, size := binary.NativeEndian.Uint32(b[8:]), binary.NativeEndian.Uint32(b[12:])
			b = b[unix.SizeofInotifyEvent:]
			if uint64(size) > uint64(len(b)) {
				break
			}
			w.event(wd, mask, cookie, unix.ByteSliceToString(b[:size]))
			b = b[size:]
		}
	}
	// What was queued when these were listed has been seen.
	for _, d := range w.walked {
		d.known = nil
	}
	w.walked = nil
	if m := w.moved; m != nil {
		time.AfterFunc(pairing, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.moved == m {
				w.drain()
			}
			if w.moved == m {
				w.settle()
			}
		})
	}
}

// What another process can have done to a file that changed.
const (
	byModify = vfs.ChangeSize | vfs.ChangeLastWrite
	byAttrib = vfs.ChangeAttributes | vfs.ChangeLastWrite | vfs.ChangeLastAccess | vfs.ChangeCreation | vfs.ChangeEA | vfs.ChangeSecurity
)

func (w *watches) event(wd int32, mask, cookie uint32, name string) {
	if mask&unix.IN_Q_OVERFLOW != 0 {
		w.overflow()
		return
	}
	d := w.byWd[wd]
	if w.moved != nil && (mask&unix.IN_MOVED_TO == 0 || cookie != w.moved.cookie) {
		w.settle()
	}
	if mask&(unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVE) != 0 {
		w.moves.Add(1)
	}
	switch {
	case d == nil: // dropped; this was queued before
	case mask&unix.IN_IGNORED != 0:
		w.detach(d)
		w.drop(d)
	case name == "": // of the directory itself
	case mask&unix.IN_CREATE != 0:
		w.created(d, name, mask&unix.IN_ISDIR != 0)
	case mask&unix.IN_DELETE != 0:
		w.lost(d, d.kids[name])
		delete(d.known, name)
		w.outside(told{d.id, name, fscc.ActionRemoved, nameKind(mask&unix.IN_ISDIR != 0)})
	case mask&unix.IN_MOVED_FROM != 0:
		w.moved = &moved{d, name, d.kids[name], cookie, w.ours[announced{d.id, name, true}] > 0, mask&unix.IN_ISDIR != 0}
	case mask&unix.IN_MOVED_TO != 0:
		w.arrived(d, name, mask&unix.IN_ISDIR != 0)
	case mask&unix.IN_MODIFY != 0:
		w.outside(told{d.id, name, fscc.ActionModified, byModify})
	case mask&unix.IN_ATTRIB != 0:
		w.outside(told{d.id, name, fscc.ActionModified, byAttrib})
	}
}

// outside tells what was not announced.
func (w *watches) outside(t told) {
	byName := w.ours[announced{t.dir, t.name, true}] > 0
	if byName || t.action == fscc.ActionModified && w.ours[announced{t.dir, t.name, false}] > 0 {
		return
	}
	w.tell(t)
}

func (w *watches) created(d *watchedDir, name string, isDir bool) {
	if !d.known[name] {
		w.outside(told{d.id, name, fscc.ActionAdded, nameKind(isDir)})
	}
	if d.known != nil {
		d.known[name] = true
	}
	if isDir {
		w.extend(d, name, true)
	}
}

// extend makes a directory that has appeared in d part of d's trees: itself at once, what is beneath it soon.
func (w *watches) extend(d *watchedDir, name string, tell bool) {
	if !d.covered() {
		return
	}
	path := "."
	depth, top := 0, d
	for ; len(top.watches) == 0; top = top.parent { // a tree's watch is at the latest at its top
		path, depth = join(top.name, path), depth+1
	}
	fd, err := w.v.openat(top.watches[0].fd, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0, unix.RESOLVE_NO_SYMLINKS)
	if err == unix.ENOENT { // gone meanwhile
		return
	}
	if err != nil {
		w.incomplete(d)
		return
	}
	id, kidFd, ok := w.peek(fd, name, depth)
	unix.Close(fd)
	if kidFd < 0 {
		if !ok {
			w.incomplete(d)
		}
		return
	}
	if there := w.dirs[id]; there != nil && there.parent == d && there.name == name { // a walk has found it
		unix.Close(kidFd)
		return
	}
	kid, err := w.adopt(d, name, id, kidFd, tell)
	if err != nil || len(w.walks) >= maxWalks {
		w.incomplete(d)
	}
	if kid == nil || len(w.walks) >= maxWalks {
		unix.Close(kidFd)
		return
	}
	w.walks = append(w.walks, walk{kid, kidFd, depth + 1, tell})
	if !w.walker {
		w.walker = true
		go w.walkAll()
	}
}

// walkAll walks what has appeared, until there is no more.
func (w *watches) walkAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.walks) > 0 {
		next := w.walks[0]
		w.walks = w.walks[1:]
		w.mu.Unlock()
		all := w.walk(next.dir, next.fd, next.depth, next.tell)
		unix.Close(next.fd)
		w.mu.Lock()
		if !all {
			w.incomplete(next.dir)
		}
	}
	w.walker = false
}

// incomplete notes that not everything beneath d is watched. Who watches looks anew, now and whenever something changes
// that no one watches.
func (w *watches) incomplete(d *watchedDir) {
	missing := map[*watch]bool{}
	for up := d; up != nil; up = up.parent {
		for _, x := range up.watches {
			if x.tree {
				w.partial[x], missing[x] = true, true
			}
		}
	}
	w.lose(missing)
}

// lost is a directory that stands in d no more.
func (w *watches) lost(d, kid *watchedDir) {
	if kid != nil && kid.parent == d {
		w.detach(kid)
		w.prune(kid)
	}
}

// arrived is the second half of a rename, or what came from where nothing is watched.
func (w *watches) arrived(d *watchedDir, name string, isDir bool) {
	m := w.moved
	w.moved = nil
	to := told{d.id, name, fscc.ActionAdded, nameKind(isDir)}
	switch {
	case m == nil:
		w.outside(to)
	case m.ours || w.ours[announced{d.id, name, true}] > 0: // told by the operation
	default:
		from := told{m.dir.id, m.name, fscc.ActionRemoved, to.kind}
		if m.dir == d {
			from.action, to.action = fscc.ActionRenamedOld, fscc.ActionRenamedNew
		}
		w.tell(from, to)
	}
	if !isDir {
		return
	}
	if m != nil && m.kid != nil && m.kid.parent == m.dir && d.covered() {
		w.attach(d, name, m.kid) // all beneath it is watched already
		return
	}
	if m != nil {
		w.lost(m.dir, m.kid)
	}
	w.extend(d, name, false)
}

// settle takes the first half of a rename for all there is.
func (w *watches) settle() {
	m := w.moved
	w.moved = nil
	if !m.ours {
		w.tell(told{m.dir.id, m.name, fscc.ActionRemoved, nameKind(m.isDir)})
	}
	w.lost(m.dir, m.kid)
}

// overflow begins anew after the kernel has lost count.
func (w *watches) overflow() {
	w.moved = nil
	w.moves.Add(1)
	everyone, trees := map[*watch]bool{}, []*watch{}
	for _, d := range w.dirs {
		for _, x := range d.watches {
			everyone[x] = true
			if x.tree {
				trees = append(trees, x)
			}
		}
	}
	for _, x := range trees {
		x.tree = false
	}
	for _, x := range trees {
		w.prune(x.dir)
	}
	for _, x := range trees {
		x.tree = true
	}
	clear(w.partial)
	for _, x := range trees {
		fd, err := unix.FcntlInt(uintptr(x.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			w.partial[x] = true
			continue
		}
		w.walks = append(w.walks, walk{dir: x.dir, fd: fd})
	}
	if len(w.walks) > 0 && !w.walker {
		w.walker = true
		go w.walkAll()
	}
	w.lose(everyone)
}

package osfs

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

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

// watches are all watches of a Volume.
//
// What this Volume does itself it tells itself, exactly and in time: an operation announces which names it is going to
// change (begin), and what inotify says of those names until it is over (end) is dropped. The kernel queues events
// before the system call that causes them returns, so that draining the queue at the end finds all of them. What
// another process does to the same name in that very moment is dropped, too: one change is told for both.
type watches struct {
	v      *Volume
	active atomic.Int32 // watches; while there are none, operations have nothing to announce

	mu      sync.Mutex // guards what follows, and is held while changes are told: that keeps their order
	tap     *tap       // nil without inotify: then only changes of our own are told
	dirs    map[vfs.ID]*watchedDir
	byID    map[watchID]*watchedDir
	ours    map[announced]int
	moved   *moved          // the first half of a rename whose second did not come yet
	partial map[*watch]bool // trees of which not every directory could be watched
	walked  []*watchedDir   // whose listing is over, and whose known is to be forgotten
	walks   []walk          // to be done by walker
	walker  bool            // runs
	closed  bool

	moves atomic.Uint64 // counts what may have made a File's spot wrong
}

// A watchedDir is a directory that is watched for itself, or as part of a tree. parent, name and kids are known within
// watched trees only.
type watchedDir struct {
	id      vfs.ID
	wd      watchID // 0 without inotify
	parent  *watchedDir
	name    string // on disk
	kids    map[string]*watchedDir
	watches []*watch
	known   map[string]bool // while it is listed for the first time: entries that were told of
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

// A told is one change of a name in a directory.
type told struct {
	dir    vfs.ID
	name   string // on disk
	action fscc.Action
	kind   uint32
}

func newWatches(v *Volume) *watches {
	return &watches{
		v: v, dirs: map[vfs.ID]*watchedDir{}, byID: map[watchID]*watchedDir{}, ours: map[announced]int{},
		partial: map[*watch]bool{},
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

func nameKind(isDir bool) uint32 {
	if isDir {
		return vfs.ChangeDirName
	}
	return vfs.ChangeFileName
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
		names := []string{shown(t.name)}
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

// streamMark stands between a name and that of a stream in a told: no name on disk has it.
const streamMark = "\x00"

// shown is how watchers see a name.
func shown(name string) string {
	disk, stream, ok := strings.Cut(name, streamMark)
	if !ok {
		return toWire(disk)
	}
	return toWire(disk) + ":" + stream
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
	if w.tap != nil {
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

// announce tells the watches that the File's object is about to change, and returns where its name is: named says
// whether it is to be told of.
func (f *File) announce() (at *spot, named bool, a *act) {
	w := f.v.watches
	if w.active.Load() == 0 {
		return nil, false, nil
	}
	moves := w.moves.Load()
	at = f.spot.Load()
	named = at != nil && at.moves == moves
	if !named {
		if h, err := f.home(); err == nil {
			h.close()
			at, named = &spot{moves, h.id, h.disk}, true
			f.spot.Store(at)
		} else if at == nil { // the root, or it lost its name before it was ever watched
			return nil, false, nil
		}
	}
	// What has lost its name is not told of, but inotify may: under the name that it had.
	return at, named, w.begin(announced{at.dir, at.disk, false})
}

// modifying announces a change of the File's contents or attributes. The function it returns ends it, and tells kind
// unless that is 0.
func (f *File) modifying() (end func(kind uint32)) {
	if f.v.watches.active.Load() == 0 {
		return func(uint32) {} // nothing is allocated
	}
	at, named, a := f.announce()
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

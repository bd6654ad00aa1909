package osfs

import (
	"container/list"
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/vfs"
)

// An index answers "what is this name called on disk, in whatever case?" without reading the directory each time.
//
// A directory is read once, when a name is first missed in it, after an inotify watch is set on it. The kernel
// queues what changes before the system call that changes it returns; draining the queue before each answer makes
// the answer as good as a fresh reading, whoever made the change. Directories that cannot be watched are believed
// for as long as their time of change stays, and only if that is old enough to show another change.
type index struct {
	cfg   *config
	count *counters
	seed  maphash.Seed

	mu     sync.Mutex // guards what follows; not held while a directory is read
	tap    *tap       // nil without inotify
	dirs   map[vfs.ID]*names
	byID   map[watchID]*names
	recent *list.List // of *names, the one used last in front
	total  int        // names in all dirs
}

// names is what the index knows of one directory.
type names struct {
	id   vfs.ID
	wd   watchID // 0: none
	at   *list.Element
	set  nameSet
	read time.Time // without a watch: when reading began,
	mark [2]unix.StatxTimestamp

	loading chan struct{} // not nil while a caller reads the directory; closed after
	pending []change      // what happened meanwhile
	lost    bool          // changes were lost: what was read is worthless
}

type change struct {
	name  string
	there bool
}

// watched are the changes of a directory's names.
const watched = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_ONLYDIR

// settled is how old a time of change must be to be believed: beyond the tick of the filesystem's clock.
const settled = 50 * time.Millisecond

func newIndex(cfg *config, count *counters) *index {
	x := &index{
		cfg: cfg, count: count, seed: maphash.MakeSeed(),
		dirs: map[vfs.ID]*names{}, byID: map[watchID]*names{}, recent: list.New(),
	}
	if !cfg.noInotify {
		x.tap = indexNotifier.tap(false)
	}
	return x
}

func (x *index) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tap.close()
	x.tap = nil
}

func (x *index) size() (dirs, names int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.dirs), x.total
}

// find returns the name on disk of the entry that is called wire: disk itself if it is there, else the first by
// byte order of those that fold to the same, or "". dir is a descriptor of the directory id.
func (x *index) find(ctx context.Context, v *Volume, dir int, id vfs.ID, disk, wire string) (string, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		x.drain()
		d := x.dirs[id]
		if d != nil && d.loading != nil {
			wait := d.loading
			x.mu.Unlock()
			select {
			case <-wait:
			case <-ctx.Done():
			}
			x.mu.Lock()
			continue
		}
		if d != nil && (d.wd != 0 || d.fresh(dir)) {
			x.count.hits.Add(1)
			x.recent.MoveToFront(d.at)
			return d.set.pick(x.seed, disk, fscc.Fold(wire)), nil
		}
		d, err := x.load(v, dir, id)
		if err != nil {
			return "", err
		}
		if d.lost {
			continue
		}
		found := d.set.pick(x.seed, disk, fscc.Fold(wire))
		x.shrink(d)
		return found, nil
	}
}

// fresh reports whether an unwatched directory is as it was when it was read.
func (d *names) fresh(dir int) bool {
	mark, err := stampOf(dir)
	return err == nil && mark == d.mark && d.read.Sub(time.Unix(mark[0].Sec, int64(mark[0].Nsec))) > settled
}

func stampOf(dir int) ([2]unix.StatxTimestamp, error) {
	var st unix.Statx_t
	err := statx(dir, &st)
	return [2]unix.StatxTimestamp{st.Ctime, st.Mtime}, err
}

// load reads a directory into the index. x.mu is let go while it does; if changes were lost meanwhile the result
// says so, and is not in the index.
func (x *index) load(v *Volume, dir int, id vfs.ID) (*names, error) {
	if old := x.dirs[id]; old != nil {
		x.drop(old)
	}
	d := &names{id: id, loading: make(chan struct{}), read: time.Now()}
	if x.tap != nil {
		if wd, err := x.tap.add(dir); err == nil {
			d.wd = wd
			x.byID[wd] = d
		}
	}
	d.at = x.recent.PushFront(d)
	x.dirs[id] = d
	x.mu.Unlock()

	mark, err := stampOf(dir)
	var set nameSet
	if err == nil {
		set, err = x.scan(v, dir)
	}
	if x.cfg.afterScan != nil {
		x.cfg.afterScan()
	}

	x.mu.Lock()
	close(d.loading)
	d.loading, d.set, d.mark = nil, set, mark
	x.total += d.set.n
	x.drain()
	if d.lost {
		x.total -= d.set.n // it was dropped while it had none
		return d, err
	}
	for _, c := range d.pending {
		x.apply(d, c)
	}
	d.pending = nil
	if err != nil {
		x.drop(d)
	}
	return d, err
}

// scan reads all names of a directory.
func (x *index) scan(v *Volume, dir int) (set nameSet, err error) {
	x.count.scans.Add(1)
	fd, err := v.openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0, 0)
	if err != nil {
		return set, err
	}
	defer unix.Close(fd)
	err = eachDirent(fd, func(e dirent) { set.add(x.seed, string(e.name)) })
	return set, err
}

// shrink drops what was used longest ago until the index is within its bounds. keep, used just now, goes only when
// it alone is too much.
func (x *index) shrink(keep *names) {
	for e := x.recent.Back(); e != nil && (len(x.dirs) > x.cfg.maxDirs || x.total > x.cfg.maxNames); {
		d := e.Value.(*names)
		e = e.Prev()
		if d != keep && d.loading == nil {
			x.drop(d)
		}
	}
	if keep.set.n > 4*x.cfg.maxNames && x.dirs[keep.id] == keep {
		x.drop(keep)
	}
}

// drop forgets a directory.
func (x *index) drop(d *names) {
	if x.dirs[d.id] != d {
		return
	}
	d.lost = true
	delete(x.dirs, d.id)
	x.recent.Remove(d.at)
	x.total -= d.set.n
	if d.wd != 0 {
		delete(x.byID, d.wd)
		x.tap.remove(d.wd)
	}
}

// drain takes in all changes that the kernel has queued.
func (x *index) drain() {
	for _, e := range x.tap.take() {
		x.event(e)
	}
}

func (x *index) event(e notice) {
	if e.mask&unix.IN_Q_OVERFLOW != 0 {
		x.count.resets.Add(1)
		for _, d := range x.dirs {
			if d.wd != 0 {
				x.drop(d)
			}
		}
		return
	}
	d := x.byID[e.id]
	switch {
	case d == nil: // dropped; this was queued before
	case e.mask&(unix.IN_IGNORED|unix.IN_DELETE_SELF|unix.IN_UNMOUNT) != 0:
		x.drop(d)
	case e.mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
		x.happened(d, change{e.name, true})
	case e.mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0:
		x.happened(d, change{e.name, false})
	}
}

func (x *index) happened(d *names, c change) {
	if d.loading != nil {
		d.pending = append(d.pending, c)
		return
	}
	x.apply(d, c)
}

func (x *index) apply(d *names, c change) {
	before := d.set.n
	if c.there {
		d.set.add(x.seed, c.name)
	} else {
		d.set.remove(x.seed, c.name)
	}
	x.total += d.set.n - before
}

// A nameSet holds names on disk by the hash of what they fold to on the wire.
type nameSet struct {
	n    int
	one  map[uint64]string
	more map[uint64][]string // further names of a hash; they are rare
}

func hashOf(seed maphash.Seed, disk string) uint64 {
	return maphash.String(seed, fscc.Fold(toWire(disk)))
}

func (s *nameSet) add(seed maphash.Seed, disk string) {
	h := hashOf(seed, disk)
	if s.one == nil {
		s.one = map[uint64]string{}
	}
	switch first, ok := s.one[h]; {
	case !ok:
		s.one[h] = disk
	case first == disk || slices.Contains(s.more[h], disk):
		return
	default:
		if s.more == nil {
			s.more = map[uint64][]string{}
		}
		s.more[h] = append(s.more[h], disk)
	}
	s.n++
}

func (s *nameSet) remove(seed maphash.Seed, disk string) {
	h := hashOf(seed, disk)
	all := s.all(h)
	i := slices.Index(all, disk)
	if i < 0 {
		return
	}
	s.n--
	delete(s.one, h)
	delete(s.more, h)
	if all = slices.Delete(all, i, i+1); len(all) > 0 {
		s.one[h] = all[0]
	}
	if len(all) > 1 {
		s.more[h] = all[1:]
	}
}

// all returns the names of a hash.
func (s *nameSet) all(h uint64) []string {
	first, ok := s.one[h]
	if !ok {
		return nil
	}
	return append([]string{first}, s.more[h]...)
}

// pick returns the name for find.
func (s *nameSet) pick(seed maphash.Seed, disk, folded string) (found string) {
	for _, n := range s.all(maphash.String(seed, folded)) {
		if n == disk {
			return n
		}
		if fscc.Fold(toWire(n)) == folded && (found == "" || n < found) {
			found = n
		}
	}
	return found
}

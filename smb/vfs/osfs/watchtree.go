package osfs

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// A walk is a directory that has appeared in a watched tree and is to be walked for what is beneath it.
type walk struct {
	dir   *watchedDir
	fd    int // its own
	depth int
	tell  bool // what is there is new
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
	d := &watchedDir{id: id, kids: map[string]*watchedDir{}}
	if w.tap != nil {
		wd, err := w.tap.add(fd)
		if err != nil {
			return nil, &statusError{nt.InsufficientResources, err}
		}
		d.wd = wd
		w.byID[wd] = d
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

// unseen reports whether an entry of d is one that nobody is shown, and so nobody is told of, or of what is in it.
func (w *watches) unseen(d *watchedDir, name string) bool {
	return hidden(name) || w.v.pasts.hidesName(d.id, name)
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
		if w.unseen(d, name) {
			return
		}
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
		if d.wd != 0 && w.tap != nil {
			w.tap.remove(d.wd)
		}
	}
}

func (w *watches) drop(d *watchedDir) {
	if w.byID[d.wd] == d {
		delete(w.byID, d.wd)
	}
	if w.dirs[d.id] == d {
		delete(w.dirs, d.id)
	}
}

// lose makes watchers look anew.
func (w *watches) lose(of map[*watch]bool) {
	for x := range of {
		x.emit([]vfs.Change{{Action: vfs.ChangesLost}})
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

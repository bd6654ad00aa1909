package osfs

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/vfs"
)

// pairing is how long the second half of a rename may take after the first. The kernel queues them one after the
// other; only what was moved out of everything watched has no second half.
const pairing = 10 * time.Millisecond

// A moved is what went away under one name, and may come back under another.
type moved struct {
	dir    *watchedDir
	name   string
	kid    *watchedDir
	cookie uint32
	ours   bool
	isDir  bool
}

// start opens a part of the inotify instance when it is first wanted, and takes in what comes there from then on.
func (w *watches) start() {
	if w.tap != nil || w.closed || w.v.cfg.noInotify {
		return
	}
	if w.tap = watchNotifier.tap(true); w.tap == nil {
		return
	}
	wake := w.tap.wake
	go func() {
		for range wake { // until close
			w.mu.Lock()
			w.drain()
			w.mu.Unlock()
		}
	}()
}

func (w *watches) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tap.close()
	w.tap, w.closed = nil, true
}

// drain takes in all that has happened.
func (w *watches) drain() {
	if w.tap == nil {
		return
	}
	for _, e := range w.tap.take() {
		w.event(e.id, e.mask, e.cookie, e.name)
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

func (w *watches) event(wd watchID, mask, cookie uint32, name string) {
	if mask&unix.IN_Q_OVERFLOW != 0 {
		w.overflow()
		return
	}
	d := w.byID[wd]
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
	case name == "", w.unseen(d, name): // of the directory itself; or no one's business
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

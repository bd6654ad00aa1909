package smb

import (
	"slices"
	"strings"
	"sync"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Bounds of CHANGE_NOTIFY. How many requests may wait is maxAsync.
const (
	maxNotifyBuffer = 64 << 10 // bytes of changes kept for an open between two requests; Windows' own bound on networks
	maxWatches      = 1024     // of one session: with full buffers they hold some 160 MiB
)

// A notifier is what an open directory knows of changes: Open's part of [MS-FSA] 2.1.1.6's ChangeNotifyList. The first
// CHANGE_NOTIFY starts it; from then on changes are kept, also while no request waits, until the open ends.
type notifier struct {
	mu      sync.Mutex // the Volume tells under its own lock; so nothing is asked of the Volume under this one
	started bool
	stop    func() // ends the watch
	filter  uint32 // of the first request, as is limit: later ones change neither
	limit   int
	changes []fscc.Change
	size    int // of changes, encoded
	lost    bool
	waiting []*notifyWait
	over    bool // the open has ended
}

// A notifyWait is a request that waits. Whoever takes it out of the queue fills in what it gets and closes done.
type notifyWait struct {
	done    chan struct{}
	changes []fscc.Change
	status  nt.Status
}

// changeNotify is [MS-SMB2] 3.3.5.19 with [MS-FSA] 2.1.5.11.
func (r *request) changeNotify() (response, error) {
	defer r.endTurn()
	var req wire.ChangeNotifyRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	o, err := r.find(req.FileID)
	if err != nil {
		return nil, err
	}
	if err := r.payload(int(req.OutputBufferLength)); err != nil {
		return nil, err
	}
	switch {
	case req.OutputBufferLength > r.conn.maxIO():
		return nil, because(nt.InvalidParameter, "buffer of %d bytes", req.OutputBufferLength)
	case !o.isDir:
		return nil, because(nt.InvalidParameter, "only directories tell what changes")
	}
	if err := o.need(dtyp.ReadData); err != nil {
		return nil, err
	}
	if o.deletePending() {
		return nil, because(nt.DeletePending, "the directory is to be deleted")
	}
	if r.tree.share.WithoutNotify {
		return nil, because(nt.NotImplemented, "the share tells of no changes")
	}
	n := &o.notify
	if err := o.startWatch(&req); err != nil {
		return nil, err
	}
	for {
		w := n.enqueue()
		r.endTurn()
		if err := r.awaitChange(n, w); err != nil {
			return nil, err
		}
		if w.status == nt.Success && r.tree.share.AccessBasedEnumeration {
			var anew bool
			if w.changes, anew = r.listed(o, w.changes); anew {
				w.status = nt.NotifyEnumDir
			} else if len(w.changes) == 0 {
				continue
			}
		}
		return w.answer(int(req.OutputBufferLength))
	}
}

// awaitChange waits until w is answered with changes, or that there are too many.
func (r *request) awaitChange(n *notifier, w *notifyWait) error {
	select {
	case <-w.done:
	default:
		if err := r.pend(); err != nil {
			n.leave(w)
			return err
		}
		select {
		case <-w.done:
		case <-r.ctx.Done():
			if n.leave(w) {
				return nt.Cancelled
			}
		}
	}
	if w.status != nt.Success && w.status != nt.NotifyEnumDir {
		return w.status
	}
	return nil
}

// answer encodes the changes. Those that do not fit into the client's buffer are gone; it has to list the directory.
func (w *notifyWait) answer(size int) (response, error) {
	b, all := fscc.AppendChanges(nil, size, w.changes)
	if !all || w.status != nt.Success {
		return &wire.ChangeNotifyResponse{}, nt.NotifyEnumDir
	}
	return &wire.ChangeNotifyResponse{Buffer: b}, nil
}

// startWatch has the Volume tell about the directory, unless it does already. What the first request asks for holds
// for as long as the open does.
func (o *open) startWatch(req *wire.ChangeNotifyRequest) error {
	n := &o.notify
	n.mu.Lock()
	if n.started {
		n.mu.Unlock()
		return nil
	}
	n.started = true
	n.filter, n.limit = req.CompletionFilter, int(min(req.OutputBufferLength, maxNotifyBuffer))
	n.mu.Unlock()

	watcher, ok := o.file.(vfs.Watcher)
	err := because(nt.NotSupported, "the volume tells of no changes")
	if ok {
		err = because(nt.InsufficientResources, "more than %d directories watched", maxWatches)
		if o.session().watches.Add(1) <= maxWatches {
			var stop func()
			if stop, err = watcher.Watch(req.Flags&wire.NotifyWatchTree != 0, n.tell); err == nil {
				return o.watching(stop)
			}
		}
		o.session().watches.Add(-1)
	}
	n.mu.Lock()
	n.started = false
	n.mu.Unlock()
	n.fail(statusOf(err))
	return err
}

// watching keeps how to end the watch. An open that ended meanwhile never will.
func (o *open) watching(stop func()) error {
	n := &o.notify
	n.mu.Lock()
	over := n.over
	if !over {
		n.stop = func() {
			stop()
			o.session().watches.Add(-1)
		}
	}
	n.mu.Unlock()
	if over {
		stop()
		o.session().watches.Add(-1)
	}
	return nil // enqueue says what became of it
}

// enqueue makes a request the last that waits. It gets what is there already, if anything is.
func (n *notifier) enqueue() *notifyWait {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := &notifyWait{done: make(chan struct{})}
	n.waiting = append(n.waiting, w)
	switch {
	case n.over:
		n.hand(nt.NotifyCleanup, nil)
	case n.lost:
		n.hand(nt.NotifyEnumDir, nil)
	case len(n.changes) > 0:
		n.hand(nt.Success, n.changes)
	default:
		return w
	}
	n.changes, n.size, n.lost = nil, 0, false
	return w
}

// hand gives the first that waits what it waited for. mu is held.
func (n *notifier) hand(status nt.Status, changes []fscc.Change) {
	w := n.waiting[0]
	n.waiting = slices.Delete(n.waiting, 0, 1)
	w.status, w.changes = status, changes
	close(w.done)
}

// leave takes a request out of the queue; false if it has got its answer.
func (n *notifier) leave(w *notifyWait) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.Index(n.waiting, w)
	if i >= 0 {
		n.waiting = slices.Delete(n.waiting, i, i+1)
	}
	return i >= 0
}

// fail answers all that wait.
func (n *notifier) fail(status nt.Status) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.waiting) > 0 {
		n.hand(status, nil)
	}
}

// end is for an open that ends: [MS-SMB2] 3.3.5.10 with [MS-FSA] 2.1.5.5.
func (n *notifier) end() {
	n.mu.Lock()
	stop := n.stop
	n.over, n.stop, n.changes = true, nil, nil
	n.mu.Unlock()
	n.fail(nt.NotifyCleanup)
	if stop != nil {
		stop()
	}
}

// tell is what the Volume calls. Changes that come together go to one request together: the first that waits gets
// them at once, so that it never answers with what came later.
func (n *notifier) tell(group []vfs.Change) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.over {
		return
	}
	changes, lost := n.translate(group)
	switch {
	case !lost && len(changes) == 0:
		return
	case len(n.waiting) > 0 && (lost || sizeOf(changes) > n.limit):
		n.hand(nt.NotifyEnumDir, nil)
		return
	case len(n.waiting) > 0:
		n.hand(nt.Success, changes)
		return
	case n.lost:
		return // the directory will be listed anyway
	}
	for _, c := range changes {
		// A file that is written to in many pieces is not many changes to whoever looks later.
		if last := len(n.changes) - 1; last >= 0 && c.Action == fscc.ActionModified && n.changes[last] == c {
			continue
		}
		n.changes = append(n.changes, c)
		n.size += sizeOf([]fscc.Change{c})
	}
	if lost || n.size > n.limit {
		n.changes, n.size, n.lost = nil, 0, true
	}
}

// translate picks what the filter asks for.
func (n *notifier) translate(group []vfs.Change) (changes []fscc.Change, lost bool) {
	for _, c := range group {
		if c.Action == vfs.ChangesLost {
			return nil, true
		}
		name := strings.Join(c.Names, `\`)
		if c.Kind&n.filter != 0 {
			changes = append(changes, fscc.Change{Action: c.Action, Name: name})
		}
		// Windows tells who does not ask for names that a file which got another one has new attributes and another
		// time of creation: it may have replaced a file.
		moved := c.Action == fscc.ActionRenamedNew || c.Action == fscc.ActionAdded && len(group) > 1
		if moved && c.Kind&^n.filter == vfs.ChangeFileName && n.filter&(vfs.ChangeAttributes|vfs.ChangeCreation) != 0 {
			changes = append(changes, fscc.Change{Action: fscc.ActionModified, Name: name})
		}
	}
	return changes, false
}

// sizeOf is how long the changes are, encoded.
func sizeOf(changes []fscc.Change) (n int) {
	for _, c := range changes {
		n += (12 + cursor.UTF16Len(c.Name) + 3) &^ 3
	}
	return n
}

// dying collects the opens whose watchers must hear that the directory is to be deleted. The object's mutex is held;
// hear them out without it.
func (obj *object) dying() (opens []*open) {
	if obj.fsa.DeletePending() {
		for o := range obj.fsa.All() {
			if o.isDir {
				opens = append(opens, o)
			}
		}
	}
	return opens
}

// tellDying ends all waits for changes in a directory that is to be deleted.
func tellDying(opens []*open) {
	for _, o := range opens {
		o.notify.fail(nt.DeletePending)
	}
}

// takeTurn makes CHANGE_NOTIFYs of a connection take their places in the order in which they came: it decides which of
// them gets which change. What ends a handle comes after those that were sent before it, too: clients close a directory
// without waiting for anything. And a CREATE comes after the renames that were sent alone before it, until those are done
// or wait for others: who renames a file and goes on gets to see what came of it. The connection's mutex is held.
func (r *request) takeTurn() {
	c := r.conn
	switch cmd := r.hdr.Command; {
	case cmd == wire.CmdSetInfo:
		if len(r.frame.requests) == 1 && wire.IsRename(r.msg) {
			r.turn = make(chan struct{})
			r.before, c.lastMove = c.lastMove, r.turn
		}
	case cmd == wire.CmdCreate:
		r.before = c.lastMove
	case cmd == wire.CmdChangeNotify, cmd == wire.CmdRead && c.pipes.Load() > 0: // clients close a pipe that they wait on, too
		r.turn = make(chan struct{})
		r.before, c.lastTurn = c.lastTurn, r.turn
	case cmd == wire.CmdClose, cmd == wire.CmdTreeDisconnect, cmd == wire.CmdLogoff:
		r.before = c.lastTurn
	}
}

// waitTurn waits for those before it.
func (r *request) waitTurn() {
	if r.before != nil {
		select {
		case <-r.before:
		case <-r.conn.ctx.Done():
		}
	}
}

// endTurn lets the next ones go. It may be called more than once.
func (r *request) endTurn() {
	if r.turn != nil {
		close(r.turn)
		r.turn = nil
	}
}

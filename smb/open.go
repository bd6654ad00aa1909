package smb

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fsa"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/rpc"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// An open is an Open, [MS-SMB2] 3.3.1.10.
//
//	opening --CREATE answers--> in the session's table --CLOSE, TREE_DISCONNECT, LOGOFF, connection lost--> ended
//
// A durable open is not ended with its connection or by LOGOFF, but waits in the server's table: see parked. Whoever
// takes an open out of either table ends it, once: its share mode goes, and the object with it if it was to be deleted.
// Requests that were already using it hold references; the file itself is closed with the last one.
type open struct {
	// Constant.
	id      wire.FileID
	number  uint32 // for administrators, who have 32 bits to name it
	srv     *Server
	tree    *tree     // it was made in: the share and what it granted
	file    vfs.File  // nil for a pipe
	object  *object   // nil for a pipe
	pipe    *rpc.Pipe // nil for a file
	piped   *conn     // that a pipe was opened by, and is counted for
	offered Pipes     // when that was
	past    *past     // the volume as it was, for an open of a previous version
	name    string    // of a pipe
	isDir   bool
	posix   bool        // it was made the POSIX way
	afp     bool        // the stream AFP_AfpInfo
	access  dtyp.Access // Open.GrantedAccess
	options uint32
	key     wire.ResumeKey
	lease   fsa.Key   // of the lease it joined
	parent  *[16]byte // the lease of its directory that its changes leave alone
	closing *request  // the CLOSE that ends it, if one does
	listed  bool      // it got into the session's table

	refs    atomic.Int32
	archive atomic.Bool // the archive attribute is set, as far as we know
	at      atomic.Pointer[place]
	parked  atomic.Bool // without a connection, in the server's table
	used    atomic.Bool // a request has named it: its CREATE will not be replayed
	durable atomic.Pointer[durable]
	ended   bool // guarded by durables.mu
	made    made
	app     *appInstance // of the program that opened it, constant
	pipes   pipeState
	scan    scan

	mu       sync.Mutex // guards what follows
	wrote    bool       // its directory shows other sizes and times when it is closed
	position uint64     // FilePositionInformation: kept for the client, used by nothing
	mode     uint32     // FileModeInformation
	eaIndex  int        // of the next extended attribute to be listed
	quotaAt  dtyp.SID   // whose quota was listed last
	lockSeq  *lockSequences
	notify   notifier
	channel  channelState
}

// A place is where an open is used from. It changes when a client takes a durable open up again.
type place struct {
	session *session
	tree    *tree
	told    chan struct{} // closed when the client can know of it, by known
	once    sync.Once
	sealed  bool // what put it there was sealed: what is told of the open is sealed too
}

// known lets the client be told of the open: it has, or will have next, the answer that names it.
func (p *place) known() { p.once.Do(func() { close(p.told) }) }

// session returns the session that the open belongs to, or while it is parked the one that it belonged to.
func (o *open) session() *session { return o.at.Load().session }

// An object is what all opens of one file share: the share modes, leases, oplocks and locks that [MS-FSA] judges by.
type object struct {
	id   vfs.ID
	refs int // guarded by fileTable.mu

	base    *object     // of a named stream: the file or directory it is of; a reference
	mu      *sync.Mutex // innermost: nothing is sent, closed or waited for under it. A file shares it with its streams
	streams []*object   // those of its streams that are in use
	fsa     fsa.File[*open]
	doomed  *open               // while delete is pending: who marked it, and so which of its names goes; a reference
	gone    bool                // deleted
	changed chan struct{}       // see changes
	awaited map[uint64]*awaited // breaks that are to be acknowledged, by their number

	unlocked signal // tells those that wait for a byte range

	securing sync.Mutex // changes of the security descriptor take turns, and those of the object id
}

// A fileTable finds an object by its ID, so that two opens of one file meet whatever names or shares they came by.
type fileTable struct {
	mu      sync.Mutex
	objects map[vfs.ID]*object
}

func (t *fileTable) get(id vfs.ID) *object {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.take(id)
}

// take is get for who holds mu.
func (t *fileTable) take(id vfs.ID) *object {
	o := t.objects[id]
	if o == nil {
		if t.objects == nil {
			t.objects = make(map[vfs.ID]*object)
		}
		o = t.newObject(id)
		t.objects[id] = o
	}
	o.refs++
	return o
}

func (t *fileTable) put(o *object) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(o)
}

// drop is put for who holds mu.
func (t *fileTable) drop(o *object) {
	if o.refs--; o.refs > 0 {
		return
	}
	if t.objects[o.id] == o {
		delete(t.objects, o.id)
	}
	t.leaveFamily(o)
}

// find returns the object if anyone uses it, or nil. It must be put back.
func (t *fileTable) find(id vfs.ID) *object {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.objects[id]
	if o != nil {
		o.refs++
	}
	return o
}

// forget has the next open of the ID start afresh: the object is deleted, and the ID may be another's, or another name's.
func (t *fileTable) forget(o *object) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.objects[o.id] == o {
		delete(t.objects, o.id)
	}
}

// isGone reports whether the object was deleted.
func (o *object) isGone() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.gone || o.base != nil && o.base.gone
}

// isOpen reports whether anyone has the object open. Without opens it is being given up.
func (o *object) isOpen() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fsa.Len() > 0
}

// each calls visit with one open of each object until it returns false. No lock is held meanwhile; the open stays
// usable for as long.
func (t *fileTable) each(visit func(*open) bool) {
	t.mu.Lock()
	objects := make([]*object, 0, len(t.objects))
	for _, o := range t.objects {
		objects = append(objects, o)
	}
	t.mu.Unlock()
	for _, obj := range objects {
		obj.mu.Lock()
		o, ok := obj.fsa.Any()
		ok = ok && o.acquire()
		obj.mu.Unlock()
		if !ok {
			continue
		}
		more := visit(o)
		o.release()
		if !more {
			return
		}
	}
}

// acquire takes a reference unless the last one is gone.
func (o *open) acquire() bool {
	for {
		n := o.refs.Load()
		if n <= 0 {
			return false
		}
		if o.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// add puts o into the session's table under an id that cannot be guessed.
func (s *session) add(o *open) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := o.at.Load().tree; s.ended || s.trees[t.id] != t {
		return because(nt.NetworkNameDeleted, "session or tree connect ended meanwhile")
	}
	if len(s.opens) >= maxOpens {
		return because(nt.InsufficientResources, "%d opens", len(s.opens))
	}
	if most := int64(o.srv.cfg.MaxOpens); o.srv.stats.opens.Add(1) > most && most > 0 {
		o.srv.stats.opens.Add(-1)
		return because(nt.TooManyOpenedFiles, "%d opens of all sessions", most)
	}
	for o.id.Volatile == 0 || s.opens[o.id.Volatile] != nil {
		o.id.Volatile = randomID()
	}
	o.id.Persistent = randomID()
	o.number = o.srv.numbers.Add(1)
	s.opens[o.id.Volatile] = o
	o.listed = true
	return nil
}

// find returns the open that a request names and keeps it usable until the request is done. In a related compound the
// open may be left out, and an error of the CREATE that was to make it comes back here.
func (r *request) find(id wire.FileID) (*open, error) {
	if r.hdr.Flags&wire.FlagRelated != 0 {
		if r.failed {
			return nil, because(r.status, "the request before it failed")
		}
		if id.Persistent == wire.NoFileID.Persistent {
			id = r.fileID
		}
	}
	r.fileID = id
	s := r.session
	s.mu.Lock()
	o := s.opens[id.Volatile]
	if o != nil && (o.id != id || o.at.Load().tree != r.tree) {
		o = nil
	}
	if o != nil {
		o.refs.Add(1)
	}
	s.mu.Unlock()
	if o == nil {
		return nil, because(nt.FileClosed, "no open %x", id)
	}
	r.open, r.past = o, o.past
	o.used.Store(true)
	if err := r.inSequence(o); err != nil {
		return nil, err
	}
	return o, nil
}

// file is find for commands that mean nothing on a pipe.
func (r *request) findFile(id wire.FileID) (*open, error) {
	o, err := r.find(id)
	if err != nil {
		return nil, err
	}
	if o.file == nil {
		return nil, because(nt.InvalidDeviceRequest, "%v of a pipe", r.hdr.Command)
	}
	return o, nil
}

// answeredWith notes what a related request needs to know of this one.
func (r *request) answeredWith(status nt.Status) {
	if r.hdr.Command == wire.CmdCreate {
		r.failed = status.IsError()
	}
	r.status = status
}

// remove takes the open out of its session's table; false if someone did already.
func (o *open) remove() bool {
	s := o.session()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opens[o.id.Volatile] != o {
		return false
	}
	delete(s.opens, o.id.Volatile)
	return true
}

// end gives up the open's place beside others, and deletes the object if this was what it waited for. The open must be
// out of its session's table.
func (o *open) end() error {
	o.pipes.close()
	if o.piped != nil {
		o.piped.pipes.Add(-1)
	}
	o.notify.end()
	err := o.leave()
	o.srv.stats.opens.Add(-1)
	o.srv.durables.forget(o)
	o.release()
	return err
}

// leave is end without the table: for opens that never got there, too.
func (o *open) leave() error {
	obj := o.object
	if obj == nil {
		return nil
	}
	srv := o.srv
	o.spareFull()
	obj.mu.Lock()
	o.unlockAll()
	pending := obj.fsa.DeletePending()
	_, remove, breaks := obj.fsa.Close(o)
	if !pending && obj.fsa.DeletePending() {
		o.refs.Add(1) // cannot be the last one's: ours is still there
		obj.doomed = o
	}
	going := obj.going(remove)
	obj.wake()
	dying := obj.dying()
	obj.mu.Unlock()
	tellDying(dying)
	srv.tell(obj, breaks)
	if o.lease.Leased {
		srv.leases.release(o.lease)
	}
	if len(going) == 0 && o.changedFile() {
		o.entryChanged(context.Background(), o.closing)
	}
	var err error
	for _, by := range going {
		if failed := by.unlink(o); err == nil {
			err = failed
		}
		by.release()
	}
	return err
}

// spareFull has a directory with entries outlive the close of an open that was to delete it, and nobody is told of an
// error: [MS-FSA] 2.1.5.5 phase 1. Entries are those too that only wait for their last open to go.
func (o *open) spareFull() {
	obj := o.object
	if !o.isDir {
		return
	}
	obj.mu.Lock()
	deletes := obj.fsa.DeletesOnClose(o)
	obj.mu.Unlock()
	if !deletes {
		return
	}
	if empty, err := isEmpty(context.Background(), o.file); err != nil || empty {
		return // what cannot be listed may be deleted, or not
	}
	obj.mu.Lock()
	obj.fsa.SetDeleteOnClose(o, false)
	obj.mu.Unlock()
}

// isEmpty reports whether a directory has no entries.
func isEmpty(ctx context.Context, dir vfs.File) (bool, error) {
	empty := true
	err := dir.ReadDir(ctx, 0, nil, 0, func(_ uint64, e vfs.Entry) bool {
		empty = e.Name == "." || e.Name == ".."
		return empty
	})
	return empty, err
}

// unlink deletes the object by the name that o was opened by, for the last open to be closed. The object stays in the
// table, delete pending, until the name is gone: nobody opens what we delete.
func (o *open) unlink(last *open) error {
	srv, obj, ctx := o.srv, o.object, context.Background()
	dir := o.directory(ctx)
	var was vfs.Path
	if o.tree.share.ShortNames {
		was, _ = o.file.Path(ctx)
	}
	err := o.file.Unlink(ctx)
	obj.mu.Lock()
	obj.gone = err == nil
	if err != nil {
		obj.fsa.SetDelete(false) // it stays, for whoever opens it next
	}
	obj.wake()
	obj.mu.Unlock()
	if err == nil {
		srv.files.forget(obj)
		o.tree.share.keep(was)
	}
	if dir != nil {
		srv.relist(dir, o.sparing(last), last.closing)
		srv.files.put(dir)
	}
	return err
}

// doom marks the object for deletion by the name that o opened it by, or takes that back.
func (obj *object) doom(o *open, on bool) {
	obj.mu.Lock()
	before := obj.doomed
	obj.fsa.SetDelete(on)
	obj.doomed = nil
	if on {
		o.refs.Add(1) // a request is using it, so this is not the last
		obj.doomed = o
	}
	dying := obj.dying()
	obj.mu.Unlock()
	tellDying(dying)
	if before != nil {
		before.release()
	}
}

// changedFile reports whether the open wrote to its file.
func (o *open) changedFile() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.wrote
}

// release gives back one reference.
func (o *open) release() {
	if o.refs.Add(-1) > 0 {
		return
	}
	if o.file != nil {
		// First out of the table, then closed: a deleted file's ID is free for another the moment it is closed.
		o.srv.files.put(o.object)
		if err := o.file.Close(); err != nil {
			o.srv.log.Warn("closing a file failed", "why", err)
		}
	}
	o.past.release()
	o.tree.share.release(o.srv.log)
}

// need checks that the open was granted any of want.
func (o *open) need(want dtyp.Access) error {
	if o.access&want == 0 {
		return because(nt.AccessDenied, "handle has %#x, needs one of %#x", uint32(o.access), uint32(want))
	}
	return nil
}

// newOpen makes an open with one reference: the table's, once it is there. It uses the tree's share, as its maker does.
func newOpen(s *session, t *tree) *open {
	o := &open{srv: s.srv, tree: t}
	t.share.uses.Add(1)
	o.at.Store(&place{session: s, tree: t, told: make(chan struct{})})
	o.refs.Store(1)
	return o
}

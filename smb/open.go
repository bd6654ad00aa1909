package smb

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

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
// Whoever takes an open out of the session's table ends it, once: its share mode goes, and the object with it if it
// was to be deleted. Requests that were already using it hold references; the file itself is closed with the last one.
type open struct {
	// Constant.
	id      wire.FileID
	srv     *Server
	session *session
	tree    *tree
	file    vfs.File  // nil for a pipe
	object  *object   // nil for a pipe
	pipe    *rpc.Pipe // nil for a file
	name    string    // of a pipe
	isDir   bool
	afp     bool        // the stream AFP_AfpInfo
	access  dtyp.Access // Open.GrantedAccess
	options uint32
	key     wire.ResumeKey
	lease   fsa.Key       // of the lease it joined
	parent  *[16]byte     // the lease of its directory that its changes leave alone
	sealed  bool          // it was made by a sealed request: what is told of it is sealed too
	told    chan struct{} // closed when the client can know of it
	closing *request      // the CLOSE that ends it, if one does
	listed  bool          // it got into the session's table

	refs    atomic.Int32
	archive atomic.Bool // the archive attribute is set, as far as we know
	pipes   pipeState
	scan    scan

	mu       sync.Mutex // guards what follows
	wrote    bool       // its directory shows other sizes and times when it is closed
	position uint64     // FilePositionInformation: kept for the client, used by nothing
	mode     uint32     // FileModeInformation
	eaIndex  int        // of the next extended attribute to be listed
	lockSeq  *lockSequences
	notify   notifier
}

// An object is what all opens of one file share: the share modes, leases, oplocks and locks that [MS-FSA] judges by.
type object struct {
	id   vfs.ID
	refs int // guarded by fileTable.mu

	base    *object     // of a named stream: the file or directory it is of; a reference
	mu      *sync.Mutex // innermost: nothing is sent, closed or waited for under it. A file shares it with its streams
	streams []*object   // those of its streams that are in use
	fsa     fsa.File[*open]
	doomed  *open                  // while delete is pending: who marked it, and so which of its names goes; a reference
	gone    bool                   // deleted
	changed chan struct{}          // see changes
	timers  map[uint64]*time.Timer // of breaks that are to be acknowledged

	unlocked signal // tells those that wait for a byte range

	securing sync.Mutex // changes of the security descriptor take turns
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
	if s.ended || s.trees[o.tree.id] != o.tree {
		return because(nt.NetworkNameDeleted, "session or tree connect ended meanwhile")
	}
	if len(s.opens) >= maxOpens {
		return because(nt.InsufficientResources, "%d opens", len(s.opens))
	}
	for o.id.Volatile == 0 || s.opens[o.id.Volatile] != nil {
		o.id.Volatile = randomID()
	}
	o.id.Persistent = randomID()
	s.opens[o.id.Volatile] = o
	o.listed = true
	o.srv.stats.opens.Add(1)
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
	if o != nil && (o.id != id || o.tree != r.tree) {
		o = nil
	}
	if o != nil {
		o.refs.Add(1)
	}
	s.mu.Unlock()
	if o == nil {
		return nil, because(nt.FileClosed, "no open %x", id)
	}
	r.open = o
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
	s := o.session
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
	o.notify.end()
	err := o.leave()
	o.srv.stats.opens.Add(-1)
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

// unlink deletes the object by the name that o was opened by, for the last open to be closed. The object stays in the
// table, delete pending, until the name is gone: nobody opens what we delete.
func (o *open) unlink(last *open) error {
	srv, obj, ctx := o.srv, o.object, context.Background()
	dir := o.directory(ctx)
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
}

// need checks that the open was granted any of want.
func (o *open) need(want dtyp.Access) error {
	if o.access&want == 0 {
		return because(nt.AccessDenied, "handle has %#x, needs one of %#x", uint32(o.access), uint32(want))
	}
	return nil
}

// newOpen makes an open with one reference: the table's, once it is there.
func newOpen(s *session, t *tree) *open {
	o := &open{srv: s.conn.srv, session: s, tree: t, told: make(chan struct{})}
	o.refs.Store(1)
	return o
}

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
// Whoever takes an open out of the session's table ends it, once: its share mode goes, and the object with it if it
// was to be deleted. Requests that were already using it hold references; the file itself is closed with the last one.
type open struct {
	// Constant.
	id      wire.FileID
	session *session
	tree    *tree
	file    vfs.File  // nil for a pipe
	object  *object   // nil for a pipe
	pipe    *rpc.Pipe // nil for a file
	isDir   bool
	access  dtyp.Access // Open.GrantedAccess
	options uint32
	key     wire.ResumeKey

	refs  atomic.Int32
	pipes pipeState
	scan  scan

	mu       sync.Mutex // guards what follows
	position uint64     // FilePositionInformation: kept for the client, used by nothing
	mode     uint32     // FileModeInformation
	lockSeq  *lockSequences
	notify   notifier
}

// An object is what all opens of one file share: the share modes and locks that [MS-FSA] judges by.
type object struct {
	id   vfs.ID
	refs int // guarded by fileTable.mu

	mu  sync.Mutex // innermost: nothing is sent, closed or waited for under it
	fsa fsa.File[*open]
	// unlocked tells those that wait for a byte range.
	unlocked signal
}

// A fileTable finds an object by its ID, so that two opens of one file meet whatever names or shares they came by.
type fileTable struct {
	mu      sync.Mutex
	objects map[vfs.ID]*object
}

func (t *fileTable) get(id vfs.ID) *object {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.objects[id]
	if o == nil {
		if t.objects == nil {
			t.objects = make(map[vfs.ID]*object)
		}
		o = &object{id: id}
		t.objects[id] = o
	}
	o.refs++
	return o
}

func (t *fileTable) put(o *object) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o.refs--
	if o.refs == 0 {
		delete(t.objects, o.id)
	}
}

// isOpen reports whether anyone has the object open.
func (t *fileTable) isOpen(id vfs.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.objects[id] != nil
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
	o.refs.Store(1)
	s.opens[o.id.Volatile] = o
	s.conn.srv.stats.opens.Add(1)
	return nil
}

// find returns the open that a request names and keeps it usable until the request is done. In a related compound the
// open may be left out, and an error of the CREATE that was to make it comes back here.
func (r *request) find(id wire.FileID) (*open, error) {
	if r.hdr.Flags&wire.FlagRelated != 0 {
		if r.failed {
			return nil, because(r.status, "the request before it failed")
		}
		if id == wire.NoFileID {
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
	o.session.conn.srv.stats.opens.Add(-1)
	o.release()
	return err
}

// leave is end without the table: for opens that never got there, too.
func (o *open) leave() error {
	if o.object == nil {
		return nil
	}
	o.object.mu.Lock()
	o.unlockAll()
	_, remove := o.object.fsa.Close(o)
	dying := o.object.dying()
	o.object.mu.Unlock()
	tellDying(dying)
	var err error
	if remove {
		// The object stays in the table, delete pending, until its name is gone: nobody opens what we delete.
		err = o.file.Unlink(context.Background())
	}
	return err
}

// release gives back one reference.
func (o *open) release() {
	if o.refs.Add(-1) > 0 {
		return
	}
	if o.file != nil {
		// First out of the table, then closed: a deleted file's ID is free for another the moment it is closed.
		o.session.conn.srv.files.put(o.object)
		if err := o.file.Close(); err != nil {
			o.session.conn.log.Warn("closing a file failed", "why", err)
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

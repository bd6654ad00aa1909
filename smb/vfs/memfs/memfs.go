// Package memfs is a vfs.Volume in memory: for tests, and for reading what the contract of vfs asks.
//
// A node is an object, an entry one name of it in one directory. One lock guards the whole volume; it is held for
// moments and never while a caller's function runs.
package memfs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Capacity is the size in bytes that a Volume claims to have.
const Capacity = 1 << 40

var volumes atomic.Uint64

// A Volume is a tree in memory.
type Volume struct {
	id   uint64
	mu   sync.RWMutex
	last uint64 // the newest node's number
	used int64  // bytes of all pages
	root *entry

	watches []*watch
}

// An entry is a name. It stays with the Files opened by it when it moves, and after it is gone.
type entry struct {
	parent *node // nil for the root
	name   string
	seq    uint64 // place in its directory's order
	node   *node
	gone   bool
}

// A node is an object.
type node struct {
	id    uint64
	attr  vfs.Attr // times, attributes, links
	data  pages
	sd    []byte // security descriptor; replaced, never changed
	eas   []fscc.EA
	oid   *fscc.ObjectID // replaced, never changed
	dir   bool
	self  *entry            // a directory's one name
	names map[string]*entry // a directory's entries by folded name
	order []*entry          // and in the order they were made
	seq   uint64            // the newest entry's

	streams []*stream
}

// New returns an empty Volume.
func New() *Volume {
	v := &Volume{id: volumes.Add(1)}
	v.root = &entry{node: v.newNode(true, 0)}
	v.root.node.self = v.root
	return v
}

func now() dtyp.Filetime { return dtyp.FiletimeOf(time.Now()) }

// newNode returns an object without a name yet.
func (v *Volume) newNode(dir bool, attributes uint32) *node {
	v.last++
	t := now()
	mode := vfs.ModeRegular | 0o644
	if dir {
		mode = vfs.ModeDirectory | 0o755
	}
	n := &node{id: v.last, dir: dir, attr: vfs.Attr{Birth: t, Access: t, Write: t, Change: t, Attributes: attributes & vfs.AttrSettable, Mode: mode}}
	if dir {
		n.names = map[string]*entry{}
		n.seq = firstSeq - 1
	}
	return n
}

func (n *node) setMode(mode uint32) {
	n.attr.Mode = n.attr.Mode&vfs.ModeType | mode&vfs.ModeBits
}

// link gives n a name, which must be free, and returns it.
func (v *Volume) link(parent *node, name string, n *node) *entry {
	e := &entry{node: n}
	parent.add(e, name)
	n.attr.Links++
	if n.dir {
		n.self = e
	}
	return e
}

func (n *node) add(e *entry, name string) {
	n.seq++
	e.parent, e.name, e.seq = n, name, n.seq
	n.names[fscc.Fold(name)] = e
	n.order = append(n.order, e)
	n.attr.Write, n.attr.Change = now(), now()
}

func (n *node) remove(e *entry) {
	delete(n.names, fscc.Fold(e.name))
	i := n.find(e.seq)
	n.order = append(n.order[:i], n.order[i+1:]...)
	n.attr.Write, n.attr.Change = now(), now()
}

// find returns the place of the first entry in n.order whose seq is at least seq.
func (n *node) find(seq uint64) int {
	return sort.Search(len(n.order), func(i int) bool { return n.order[i].seq >= seq })
}

// unlink takes e away; its node lives on in the Files that have it open.
func (v *Volume) unlink(e *entry) {
	e.parent.remove(e)
	e.gone = true
	e.node.attr.Links--
	e.node.attr.Change = now()
}

// walk finds the directory that names lie in: in this very case if exact, else in any.
func (v *Volume) walk(names []string, exact bool) (*node, error) {
	at := v.root.node
	for _, name := range names {
		e := at.names[fscc.Fold(name)]
		if e == nil || !e.node.dir || exact && e.name != name {
			return nil, nt.ObjectPathNotFound
		}
		at = e.node
	}
	return at, nil
}

// parent checks to and finds the directory that it lies, or is to lie, in. The root lies in none.
func (v *Volume) parent(p vfs.Path, exact bool) (*node, error) {
	for _, name := range p.Names {
		if err := fscc.CheckName(name); err != nil {
			return nil, err
		}
	}
	return v.walk(p.Names[:len(p.Names)-1], exact)
}

// Open implements vfs.Volume.
func (v *Volume) Open(ctx context.Context, p vfs.Path, how vfs.How) (vfs.File, vfs.Action, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if how.Directory && how.NonDirectory {
		return nil, 0, nt.InvalidParameter
	}
	if p.Stream != "" {
		return v.openStream(ctx, p, how)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	e, action, err := v.open(p, how)
	for ask := (*question)(nil); errors.As(err, &ask); {
		// The answer may need the volume; what was asked about may have changed when it comes.
		v.mu.Unlock()
		ask.own, ask.err = how.Admit(ask.inside)
		v.mu.Lock()
		e, action, err = v.openAs(p, how, ask)
	}
	if err != nil {
		return nil, 0, err
	}
	switch {
	case how.Directory && !e.node.dir:
		return nil, 0, nt.NotADirectory
	case how.NonDirectory && e.node.dir:
		return nil, 0, nt.FileIsADirectory
	}
	return &File{v: v, e: e, n: e.node, access: how.Access, posix: how.POSIX}, action, nil
}

// A question is to be put to How.Admit without the lock.
type question struct {
	dir         *node
	inside, own []byte
	err         error // the answer's
}

func (*question) Error() string { return "memfs: not admitted yet" }

func (v *Volume) open(p vfs.Path, how vfs.How) (*entry, vfs.Action, error) {
	return v.openAs(p, how, nil)
}

// openAs opens, and makes if asked holds the answer for what is there now; else the error is the question.
func (v *Volume) openAs(p vfs.Path, how vfs.How, asked *question) (*entry, vfs.Action, error) {
	if len(p.Names) == 0 {
		if how.Disposition == vfs.Create {
			return nil, 0, nt.ObjectNameCollision
		}
		return v.root, vfs.Opened, nil
	}
	dir, err := v.parent(p, how.POSIX)
	if err != nil {
		return nil, 0, err
	}
	e := dir.names[fscc.Fold(p.Base())]
	switch {
	case how.POSIX && e != nil && e.name != p.Base():
		if how.Disposition == vfs.Open {
			return nil, 0, nt.ObjectNameNotFound
		}
		return nil, 0, nt.ObjectNameCollision
	case e != nil && how.Disposition == vfs.Create:
		return nil, 0, nt.ObjectNameCollision
	case e != nil:
		return e, vfs.Opened, nil
	case how.Disposition == vfs.Open:
		return nil, 0, nt.ObjectNameNotFound
	case dir != v.root.node && dir.self.gone:
		return nil, 0, nt.ObjectPathNotFound
	}
	var sd []byte
	if how.Admit != nil {
		if asked == nil || asked.dir != dir || !bytes.Equal(asked.inside, dir.sd) {
			return nil, 0, &question{dir: dir, inside: dir.sd}
		}
		if asked.err != nil {
			return nil, 0, asked.err
		}
		sd = bytes.Clone(asked.own)
	}
	n := v.newNode(how.Directory, how.Attributes)
	n.sd = sd
	n.attr.Attributes |= dir.attr.Attributes & vfs.AttrCompressed
	if how.POSIX {
		n.setMode(how.Mode)
	}
	e = v.link(dir, p.Base(), n)
	v.tell(named(e, fscc.ActionAdded))
	return e, vfs.Created, nil
}

// Usage implements vfs.Volume.
func (v *Volume) Usage(context.Context) (total, free int64, err error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return Capacity, Capacity - v.used, nil
}

// Label implements vfs.Labeled.
func (v *Volume) Label() (label string, serial uint32) { return "memfs", uint32(v.id) }

// A File is one open of a node by one of its names.
type File struct {
	v      *Volume
	e      *entry
	n      *node
	s      *stream // nil for the node itself
	access dtyp.Access
	posix  bool     // names are matched with regard to case
	held   vfs.Mask // the times that operations through this File leave alone
	closed bool
}

// guard says why an operation through f cannot be. The volume's lock is held.
func (f *File) guard(ctx context.Context) error {
	if f.closed {
		return os.ErrClosed
	}
	return ctx.Err()
}

// ID implements vfs.File.
func (f *File) ID() vfs.ID {
	id := vfs.ID{Volume: f.v.id, Object: f.n.id}
	if f.s != nil {
		id.Stream = f.s.id
	}
	return id
}

// Close implements vfs.File.
func (f *File) Close() error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if f.closed {
		return os.ErrClosed
	}
	f.closed = true
	return nil
}

// Sync implements vfs.File: memory is as durable as it gets.
func (f *File) Sync(ctx context.Context) error {
	f.v.mu.RLock()
	defer f.v.mu.RUnlock()
	return f.guard(ctx)
}

// Attr implements vfs.File.
func (f *File) Attr(ctx context.Context, _ vfs.Mask) (vfs.Attr, error) {
	f.v.mu.RLock()
	defer f.v.mu.RUnlock()
	a := f.v.attrOf(f.n)
	if f.s != nil {
		a.Size, a.Alloc = f.s.data.size, f.s.data.alloc()
		a.Attributes &^= vfs.AttrDirectory | vfs.AttrSparse
		if f.s.sparse {
			a.Attributes |= vfs.AttrSparse
		}
	}
	return a, f.guard(ctx)
}

func (v *Volume) attrOf(n *node) vfs.Attr {
	a := n.attr
	a.ID = vfs.ID{Volume: v.id, Object: n.id}
	a.Size, a.Alloc, a.EASize = n.data.size, n.data.alloc(), fscc.EASize(n.eas)
	if n.dir {
		a.Attributes |= vfs.AttrDirectory
	}
	return a
}

// SetAttr implements vfs.File.
func (f *File) SetAttr(ctx context.Context, a vfs.Attr, set vfs.Mask) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if err := f.guard(ctx); err != nil {
		return err
	}
	n := f.n
	switch {
	case set&(vfs.WantSize|vfs.WantAlloc) == 0:
	case f.isDir():
		return nt.FileIsADirectory
	case a.Size < 0, a.Size > Capacity, a.Alloc < 0, a.Alloc > Capacity:
		return nt.InvalidParameter
	}
	if set&vfs.WantSize != 0 {
		f.resize(a.Size)
	}
	if set&vfs.WantAlloc != 0 {
		if a.Alloc < f.data().size {
			f.resize(a.Alloc)
		}
		f.data().reserved = a.Alloc
	}
	if set&vfs.WantAttributes != 0 {
		n.attr.Attributes = n.attr.Attributes&^vfs.AttrSettable | a.Attributes&vfs.AttrSettable
	}
	if set&vfs.SetMode != 0 {
		n.setMode(a.Mode)
	}
	if set&vfs.SetChange == 0 {
		f.touch(vfs.SetChange)
	}
	f.setTime(&n.attr.Birth, a.Birth, set&vfs.SetBirth)
	f.setTime(&n.attr.Access, a.Access, set&vfs.SetAccess)
	f.setTime(&n.attr.Write, a.Write, set&vfs.SetWrite)
	f.setTime(&n.attr.Change, a.Change, set&vfs.SetChange)
	if sizes := set & (vfs.WantSize | vfs.WantAlloc); f.s != nil && sizes != 0 {
		f.rewritten(vfs.ChangedBy(sizes))
		set &^= sizes
	}
	f.modified(vfs.ChangedBy(set))
	return nil
}

func (f *File) setTime(t *dtyp.Filetime, to dtyp.Filetime, which vfs.Mask) {
	switch {
	case which == 0:
	case to == vfs.FreeTime:
		f.held &^= which
	default:
		f.held |= which
		if to != vfs.HoldTime {
			*t = to
		}
	}
}

// touch moves the times in which that the client does not hold.
func (f *File) touch(which vfs.Mask) {
	t := now()
	if which &^= f.held; which&vfs.SetWrite != 0 {
		f.n.attr.Write = t
	}
	if which&vfs.SetChange != 0 {
		f.n.attr.Change = t
	}
}

func (f *File) resize(size int64) {
	before := f.data().bytes()
	f.data().truncate(size)
	f.v.used += f.data().bytes() - before
	f.touch(vfs.SetWrite | vfs.SetChange)
}

// Overwrite implements vfs.File.
func (f *File) Overwrite(ctx context.Context, attributes uint32) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if err := f.guard(ctx); err != nil {
		return err
	}
	if f.isDir() {
		return nt.FileIsADirectory
	}
	f.data().reserved = 0
	f.resize(0)
	if f.s != nil {
		f.rewritten(vfs.ChangeSize | vfs.ChangeLastWrite)
		return nil
	}
	for _, s := range f.n.streams {
		f.streamChanged(fscc.ActionRemovedStream, s.name, vfs.ChangeStreamName)
	}
	f.n.eas, f.n.streams = nil, nil
	f.n.attr.Attributes = attributes&vfs.AttrSettable | vfs.AttrArchive | f.n.attr.Attributes&vfs.AttrCompressed
	f.modified(vfs.ChangeSize | vfs.ChangeLastWrite | vfs.ChangeAttributes)
	return nil
}

// Path implements vfs.File.
func (f *File) Path(ctx context.Context) (vfs.Path, error) {
	f.v.mu.RLock()
	defer f.v.mu.RUnlock()
	if err := f.guard(ctx); err != nil {
		return vfs.Path{}, err
	}
	var up []string
	for e := f.e; e.parent != nil; e = e.parent.self {
		if e.gone {
			return vfs.Path{}, nt.FileDeleted
		}
		up = append(up, e.name)
	}
	for i, j := 0, len(up)-1; i < j; i, j = i+1, j-1 {
		up[i], up[j] = up[j], up[i]
	}
	p := vfs.Path{Names: up}
	if f.s != nil {
		if !f.s.of(f.n) {
			return vfs.Path{}, nt.FileDeleted
		}
		p.Stream = f.s.name
	}
	return p, nil
}

// target finds where p is to be: its directory, and the entry there that must give way, if any.
func (f *File) target(ctx context.Context, p vfs.Path) (*node, *entry, error) {
	if err := f.guard(ctx); err != nil {
		return nil, nil, err
	}
	switch {
	case len(p.Names) == 0:
		return nil, nil, nt.ObjectNameCollision
	case f.e.gone:
		return nil, nil, nt.FileDeleted
	case f.s != nil, p.Stream != "":
		return nil, nil, nt.NotSupported
	}
	dir, err := f.v.parent(p, f.posix)
	if err != nil {
		return nil, nil, err
	}
	there := dir.names[fscc.Fold(p.Base())]
	if f.posix && there != nil && there != f.e && there.name != p.Base() {
		return nil, nil, nt.ObjectNameCollision
	}
	return dir, there, nil
}

// Rename implements vfs.File.
func (f *File) Rename(ctx context.Context, to vfs.Path, replace bool) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	dir, there, err := f.target(ctx, to)
	switch {
	case err != nil:
		return err
	case f.e.parent == nil:
		return nt.AccessDenied
	case there == nil || there == f.e:
	case !replace:
		return nt.ObjectNameCollision
	case there.node.dir || f.n.dir:
		return nt.AccessDenied
	}
	for at := dir; f.n.dir && at.self.parent != nil; at = at.self.parent {
		if at == f.n {
			return nt.AccessDenied // a directory cannot move into itself
		}
	}
	var told []event
	if there != nil && there != f.e {
		told = append(told, named(there, fscc.ActionRemoved))
		f.v.unlink(there)
	}
	from, was := f.e.parent, named(f.e, fscc.ActionRemoved)
	from.remove(f.e)
	dir.add(f.e, to.Base())
	f.touch(vfs.SetChange)
	is := named(f.e, fscc.ActionAdded)
	switch {
	case from == dir && was.name == is.name:
		return nil // nothing has changed
	case from == dir:
		was.action, is.action = fscc.ActionRenamedOld, fscc.ActionRenamedNew
	}
	f.v.tell(append(told, was, is)...)
	return nil
}

// Link implements vfs.Linker.
func (f *File) Link(ctx context.Context, to vfs.Path, replace bool) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	dir, there, err := f.target(ctx, to)
	switch {
	case err != nil:
		return err
	case f.n.dir:
		return nt.FileIsADirectory
	case there == nil:
	case !replace:
		return nt.ObjectNameCollision
	case there.node.dir:
		return nt.AccessDenied
	case there.node == f.n:
		return nil
	default:
		f.v.tell(named(there, fscc.ActionRemoved))
		f.v.unlink(there)
	}
	e := f.v.link(dir, to.Base(), f.n)
	f.touch(vfs.SetChange)
	f.v.tell(named(e, fscc.ActionAdded))
	return nil
}

// Unlink implements vfs.File.
func (f *File) Unlink(ctx context.Context) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	switch err := f.guard(ctx); {
	case err != nil:
		return err
	case f.s != nil:
		return f.unlinkStream()
	case f.e.parent == nil:
		return nt.AccessDenied
	case f.e.gone:
		return nt.FileDeleted
	case f.n.dir && len(f.n.names) > 0:
		return nt.DirectoryNotEmpty
	}
	f.v.unlink(f.e)
	f.v.tell(named(f.e, fscc.ActionRemoved))
	return nil
}

// SecurityDescriptor implements vfs.Security.
func (f *File) SecurityDescriptor(ctx context.Context) ([]byte, error) {
	f.v.mu.RLock()
	defer f.v.mu.RUnlock()
	return bytes.Clone(f.n.sd), f.guard(ctx)
}

// SetSecurityDescriptor implements vfs.Security.
func (f *File) SetSecurityDescriptor(ctx context.Context, b []byte) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if err := f.guard(ctx); err != nil {
		return err
	}
	f.n.sd = bytes.Clone(b)
	f.touch(vfs.SetChange)
	f.modified(vfs.ChangeSecurity)
	return nil
}

// ObjectID implements vfs.ObjectIDs.
func (f *File) ObjectID(ctx context.Context) (*fscc.ObjectID, error) {
	f.v.mu.RLock()
	defer f.v.mu.RUnlock()
	if f.n.oid == nil {
		return nil, f.guard(ctx)
	}
	id := *f.n.oid
	return &id, f.guard(ctx)
}

// SetObjectID implements vfs.ObjectIDs.
func (f *File) SetObjectID(ctx context.Context, id *fscc.ObjectID) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if err := f.guard(ctx); err != nil {
		return err
	}
	if f.n.oid = nil; id != nil {
		kept := *id
		f.n.oid = &kept
	}
	f.touch(vfs.SetChange)
	return nil
}

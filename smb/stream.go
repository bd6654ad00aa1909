package smb

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fsa"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Named streams, [MS-FSA] 2.1.1.5. Each is an object of its own, with share modes, oplocks and locks of its own. To its
// file it is tied by deletion: who may delete the file may delete its streams, a file that is to be deleted opens no
// more streams, and it goes with the last open of any of them.

// newObject makes an object, with that of its file if it is a stream. The table's mu is held.
func (t *fileTable) newObject(id vfs.ID) *object {
	o := &object{id: id}
	if id.Stream == 0 {
		o.mu = new(sync.Mutex)
		return o
	}
	o.base = t.take(id.File())
	o.mu = o.base.mu
	o.mu.Lock()
	defer o.mu.Unlock()
	o.base.streams = append(o.base.streams, o)
	return o
}

// leaveFamily takes a stream that nobody uses from its file. The table's mu is held.
func (t *fileTable) leaveFamily(o *object) {
	if o.base == nil {
		return
	}
	o.mu.Lock()
	o.base.streams = slices.DeleteFunc(o.base.streams, func(s *object) bool { return s == o })
	o.mu.Unlock()
	t.drop(o.base)
}

// whole is the object of the file that a stream is of, and of a file its own.
func (o *object) whole() *object {
	if o.base != nil {
		return o.base
	}
	return o
}

// used reports whether the object, or a stream of it, is open. mu is held.
func (o *object) used() bool {
	return o.fsa.Len() > 0 || slices.ContainsFunc(o.streams, func(s *object) bool { return s.fsa.Len() > 0 })
}

// going collects, when an open has left, those whose marks for deletion take effect now: remove says that the object's
// does, and its file's may, too. mu is held.
func (o *object) going(remove bool) (by []*open) {
	take := func(o *object) {
		if o.doomed != nil {
			by = append(by, o.doomed)
			o.doomed = nil
		}
	}
	if remove && !o.used() {
		take(o)
	}
	if b := o.base; b != nil && b.fsa.DeletePending() && !b.used() {
		take(b)
	}
	return by
}

// inUse lists the file's streams that are open.
func (o *object) inUse() (list []*object) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.streams {
		if s.fsa.Len() > 0 {
			list = append(list, s)
		}
	}
	return list
}

// ofDirectory reports whether what is open is a directory, or a stream of one.
func (o *open) ofDirectory() bool {
	s, ok := o.file.(vfs.Stream)
	return o.isDir || ok && s.OfDirectory()
}

// checkStream judges a name's stream and type.
func (c *creation) checkStream(kind vfs.StreamType) error {
	directory := c.req.Options&wire.FileDirectoryFile != 0
	switch {
	case c.tree.share.NoStreams && strings.Contains(c.req.Name, ":"):
		return because(nt.ObjectNameInvalid, "the share has no streams")
	case directory && (c.path.Stream != "" || kind == vfs.DataType):
		return because(nt.NotADirectory, "a stream is no directory")
	case kind == vfs.DataType && c.path.Stream == "":
		c.req.Options |= wire.FileNonDirectoryFile
	case kind == vfs.IndexType && c.req.Options&wire.FileNonDirectoryFile != 0:
		return because(nt.FileIsADirectory, "$INDEX_ALLOCATION of a directory")
	case kind == vfs.IndexType && c.replace:
		return because(nt.InvalidParameter, "a directory cannot be overwritten")
	case kind == vfs.IndexType:
		c.req.Options |= wire.FileDirectoryFile
	}
	return nil
}

// openPath opens what the path names. A stream is opened on its file, which is made if it is not there and the
// disposition allows it.
func (c *creation) openPath(how vfs.How) (vfs.File, vfs.Action, error) {
	volume, ctx := c.volume(), c.request.ctx
	if c.path.Stream == "" {
		return volume.Open(ctx, c.path, how)
	}
	whole := vfs.How{Access: dtyp.ReadAttributes, Attributes: how.Attributes, Admit: how.Admit, Reparse: how.Reparse}
	if how.Disposition != vfs.Open {
		whole.Disposition = vfs.OpenIf
	}
	base, made, err := volume.Open(ctx, vfs.Path{Names: c.path.Names}, whole)
	if err != nil {
		return nil, 0, err
	}
	defer base.Close()
	s, ok := base.(vfs.Streams)
	if !ok {
		return nil, 0, because(nt.ObjectNameInvalid, "the volume has no named streams")
	}
	how.NonDirectory, how.Admit = false, nil
	if made == vfs.Created {
		return s.OpenStream(ctx, c.path.Stream, how)
	}
	want := how
	want.Disposition = vfs.Open
	file, action, err := s.OpenStream(ctx, c.path.Stream, want)
	switch {
	case err == nil && how.Disposition == vfs.Create:
		file.Close()
		return nil, 0, nt.ObjectNameCollision
	case !errors.Is(err, nt.ObjectNameNotFound) || how.Disposition == vfs.Open:
		return file, action, err
	}
	if err := c.mayGrow(base); err != nil {
		return nil, 0, err
	}
	file, action, err = s.OpenStream(ctx, c.path.Stream, how)
	c.grown = action == vfs.Created
	return file, action, err
}

// mayGrow judges whether the user may add a stream to a file that is there: it changes the file, and nobody gets more
// rights through a new stream than through an old one.
func (c *creation) mayGrow(base vfs.File) error {
	a, err := base.Attr(c.request.ctx, vfs.WantAttributes)
	if err != nil {
		return err
	}
	if a.Attributes&vfs.AttrReadOnly != 0 && !a.Dir() {
		return because(nt.AccessDenied, "the file is read-only")
	}
	sd, err := c.descriptor(base, func() (vfs.Path, error) { return c.path, nil }, a.Dir())
	if err != nil {
		return err
	}
	have := allowed(sd, c.session.identity.Load()) & c.tree.rights
	want := (c.req.DesiredAccess &^ dtyp.MaximumAllowed).Expand() &^ parental
	if over := (want | dtyp.WriteData) &^ have; over != 0 {
		return because(nt.AccessDenied, "the file grants %#x, a new stream of it needs %#x besides", uint32(have), uint32(over))
	}
	return nil
}

// askFamily is ask for an open of that mode, which the file's streams have a say in, or a stream's file.
func (r *request) askFamily(ob *object, mode fsa.Mode, q question) error {
	inTheWay := errors.New("smb: a relative is in the way")
	for {
		var relative *object
		var breaks []fsa.Break[*open]
		var why error
		err := r.ask(ob, func(f *fsa.File[*open]) ([]fsa.Break[*open], error) {
			if relative, breaks, why = ob.relatives(mode); why != nil {
				return nil, inTheWay
			}
			return q(f)
		})
		if !errors.Is(err, inTheWay) {
			return err
		}
		r.conn.srv.tell(relative, breaks)
		if !errors.Is(why, fsa.ErrWait) {
			return why
		}
		err = r.ask(relative, func(*fsa.File[*open]) ([]fsa.Break[*open], error) { return ob.beside(relative, mode) })
		if err != nil {
			return err
		}
	}
}

// relatives asks the file's streams, or the stream's file, about an open of that mode. It returns the first that has
// something against it. mu is held.
func (o *object) relatives(mode fsa.Mode) (*object, []fsa.Break[*open], error) {
	relatives := o.streams
	if o.base != nil {
		relatives = []*object{o.base}
	}
	for _, r := range relatives {
		if breaks, err := o.beside(r, mode); err != nil {
			return r, breaks, err
		}
	}
	return nil, nil, nil
}

// beside asks one relative. mu is held.
func (o *object) beside(relative *object, mode fsa.Mode) ([]fsa.Break[*open], error) {
	switch {
	case o.base == nil:
		return relative.fsa.WholeBeside(mode)
	case relative.gone:
		return nil, nt.DeletePending
	case relative.fsa.DeletePending() && relative.used():
		return nil, nt.DeletePending
	case relative.fsa.DeletePending():
		return nil, fsa.ErrWait // it is being deleted this moment
	}
	return relative.fsa.StreamBeside(mode)
}

// takeStreamHandles is takeHandles for the streams of a file that is to be deleted.
func (r *request) takeStreamHandles(ob *object) error {
	for _, s := range ob.inUse() {
		if err := r.takeHandles(s, nil); err != nil {
			return err
		}
	}
	return nil
}

// streamsUnused refuses if a stream of the file is open, [MS-FSA] 2.1.5.15.11.
func (r *request) streamsUnused(ob *object) error {
	for _, s := range ob.inUse() {
		if err := r.unused(s.id, "a stream of the file is open"); err != nil {
			return err
		}
	}
	return nil
}

// renameStream gives a stream another name within its file, [MS-FSA] 2.1.5.15.11.
func (r *request) renameStream(o *open, in fscc.RenameInfo) error {
	s, ok := o.file.(vfs.Stream)
	if !ok || o.object.base == nil {
		return because(nt.InvalidParameter, "what has entries or contents of its own does not become a stream")
	}
	if !strings.HasPrefix(in.Name, ":") {
		return because(nt.SharingViolation, "a stream cannot move, and the file it is of is open: by the stream")
	}
	to, err := vfs.ParsePath(in.Name)
	if err != nil || to.Stream == "" {
		return because(nt.InvalidParameter, "no name of a stream: %v", err)
	}
	if err := r.mayMove(o); err != nil {
		return err
	}
	if err := r.streamReplaceable(o, to.Stream, in.Replace()); err != nil {
		return err
	}
	if err := s.RenameStream(r.ctx, to.Stream, in.Replace()); err != nil {
		return err
	}
	r.ownEntryChanged(o)
	return nil
}

// streamReplaceable refuses to replace a stream that is open. One that has contents the Volume refuses.
func (r *request) streamReplaceable(o *open, name string, replace bool) error {
	p, err := o.file.Path(r.ctx)
	if err != nil || !replace {
		return err
	}
	p.Stream = name
	there, _, err := r.volume().Open(r.ctx, p, vfs.How{Access: dtyp.ReadAttributes, Reparse: true})
	if errors.Is(err, nt.ObjectNameNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer there.Close()
	if there.ID() == o.object.id {
		return nil
	}
	ob := r.conn.srv.files.find(there.ID())
	if ob == nil {
		return nil
	}
	defer r.conn.srv.files.put(ob)
	if ob.isOpen() {
		return because(nt.InvalidParameter, "the stream that has the name is open")
	}
	return nil
}

// streams answers FileStreamInformation.
func (q *query) streams(a vfs.Attr) (response, error) {
	var list []fscc.Stream
	s, ok := q.o.file.(vfs.Streams)
	all, err := []vfs.StreamInfo(nil), error(nt.NotSupported)
	if ok && !q.o.tree.share.NoStreams {
		all, err = s.Streams(q.ctx)
	}
	switch {
	case errors.Is(err, nt.NotSupported):
		if !a.Dir() {
			list = []fscc.Stream{{Name: "::$DATA", Size: a.Size, AllocationSize: a.Alloc}}
		}
	case err != nil:
		return nil, err
	}
	for _, s := range all {
		list = append(list, fscc.Stream{Name: ":" + s.Name + ":$DATA", Size: s.Size, AllocationSize: s.Alloc})
	}
	b, whole := fscc.AppendStreams(nil, q.size, list)
	if !whole {
		return &wire.QueryInfoResponse{Buffer: b}, nt.BufferOverflow
	}
	return &wire.QueryInfoResponse{Buffer: b}, nil
}

// keepsStreams tells whether the volume behind an open keeps named streams.
func keepsStreams(ctx context.Context, o *open) bool {
	s, ok := o.file.(vfs.Streams)
	if !ok || o.tree.share.NoStreams {
		return false
	}
	_, err := s.Streams(ctx)
	return !errors.Is(err, nt.NotSupported)
}

package smb

import (
	"context"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs"
)

// Directory leases, [MS-SMB2] 3.3.5.9.11: a client keeps a listing until an entry changes. A change that it makes itself
// names the lease as its parent's and leaves it alone.

// entryChanged breaks what others cache of the directory that p is in, for a change through o. It is called when the
// change is done, so that who lists again sees it.
func (r *request) entryChanged(o *open, p vfs.Path) {
	s := r.conn.srv
	if dir := s.listedBy(r.ctx, o.volume(), p); dir != nil {
		defer s.files.put(dir)
		s.relist(dir, o.parent, r)
	}
}

// ownEntryChanged is entryChanged for where the open's object is now.
func (r *request) ownEntryChanged(o *open) { o.entryChanged(r.ctx, r) }

func (o *open) entryChanged(ctx context.Context, r *request) {
	s := o.srv
	if dir := o.directory(ctx); dir != nil {
		defer s.files.put(dir)
		s.relist(dir, o.parent, r)
	}
}

// relist breaks the leases of a directory, but for the one that is spared. They are told after the answer to r, if it is
// a request's doing: nobody waits for what they say to it.
func (s *Server) relist(dir *object, spared *[16]byte, r *request) {
	dir.mu.Lock()
	breaks := dir.fsa.Listed(spared)
	dir.mu.Unlock()
	switch {
	case len(breaks) == 0:
	case r == nil:
		s.tell(dir, breaks)
	default:
		r.afterSent(func() { s.tell(dir, breaks) })
	}
}

// listedBy finds the directory that p is in, if any directory is leased and this one is in use. It must be put back.
func (s *Server) listedBy(ctx context.Context, v vfs.Volume, p vfs.Path) *object {
	if s.leases.dirs.Load() == 0 || len(p.Names) == 0 {
		return nil
	}
	dir, err := s.directoryOf(ctx, v, p)
	if err != nil {
		s.log.Debug("finding a directory to break leases of", "path", p.String(), "why", err)
	}
	return dir
}

// directoryOf finds the object of the directory that p is in, nil if nobody uses it. It must be put back.
func (s *Server) directoryOf(ctx context.Context, v vfs.Volume, p vfs.Path) (*object, error) {
	up := vfs.Path{Names: p.Names[:len(p.Names)-1]}
	dir, _, err := v.Open(ctx, up, vfs.How{Access: dtyp.ReadAttributes, Directory: true})
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return s.files.find(dir.ID()), nil
}

// directory is listedBy of where the open's object is now.
func (o *open) directory(ctx context.Context) *object {
	s := o.srv
	if s.leases.dirs.Load() == 0 {
		return nil
	}
	p, err := o.file.Path(ctx)
	if err != nil {
		return nil // it has no name any more
	}
	return s.listedBy(ctx, o.volume(), p)
}

// sparing is the lease whose holder knows of the deletion: of who wanted it, if it is also who closes the object last.
func (o *open) sparing(last *open) *[16]byte {
	if last.parent == nil || o.parent == nil || *last.parent != *o.parent {
		return nil
	}
	return last.parent
}

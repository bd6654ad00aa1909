package smb

import (
	"context"
	"slices"

	"github.com/postern-nas/postern/smb/fsa"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// What a rename asks of others' opens, besides those of the object itself. Whoever keeps one open only for its own sake
// is asked to close it first.

// makeWay refuses to move the ground from under an open file, and to put a name where someone may delete it.
func (r *request) makeWay(o *open, from, to vfs.Path) error {
	if o.isDir {
		if err := r.emptied(o, from); err != nil {
			return err
		}
	}
	return r.enter(to)
}

// enter judges whether the directory of to may get another entry: as Windows does it, by an open that adds a file and
// lets nobody delete the directory.
func (r *request) enter(to vfs.Path) error {
	dir, err := r.conn.srv.directoryOf(r.ctx, r.volume(), to)
	if err != nil || dir == nil {
		return nil // nobody uses it; or it cannot be had, which the rename itself has the right words for
	}
	defer r.conn.srv.files.put(dir)
	mode := fsa.Mode{Access: fsa.WriteData, Share: fsa.ShareRead | fsa.ShareWrite}
	return r.ask(dir, func(f *fsa.File[*open]) ([]fsa.Break[*open], error) { return f.Beside(mode) })
}

// unused refuses if the object is open, after those were asked that need not have it so.
func (r *request) unused(id vfs.ID, why string) error {
	ob := r.conn.srv.files.find(id)
	if ob == nil {
		return nil
	}
	defer r.conn.srv.files.put(ob)
	if err := r.takeHandles(ob, nil); err != nil {
		return err
	}
	if ob.isOpen() {
		return because(nt.AccessDenied, "%s", why)
	}
	return nil
}

// emptied refuses if anything below the directory dir is open. Who opened something there after the rename was asked
// for is not asked to close it.
func (r *request) emptied(o *open, dir vfs.Path) error {
	inside := r.openInside(o, dir)
	if len(inside) == 0 {
		return nil // nobody was asked, so nothing took long: to look at all opens once more would bring nothing
	}
	for _, id := range inside {
		if err := r.unused(id, "a file below the directory is open"); err != nil {
			return err
		}
	}
	if len(r.openInside(o, dir)) > 0 {
		return because(nt.AccessDenied, "a file below the directory was opened")
	}
	return nil
}

// openInside lists what is open below the directory dir.
func (r *request) openInside(o *open, dir vfs.Path) (list []vfs.ID) {
	r.conn.srv.files.each(func(other *open) bool {
		if other.object == o.object || other.volume() != o.volume() {
			return true
		}
		p, err := other.file.Path(context.Background())
		if err == nil && len(p.Names) > len(dir.Names) && slices.EqualFunc(p.Names[:len(dir.Names)], dir.Names, fscc.EqualFold) {
			list = append(list, other.object.id)
		}
		return true
	})
	return list
}

// move renames, and has both directories listed anew.
func (r *request) move(o *open, from, to vfs.Path, replace bool) error {
	if err := o.file.Rename(r.ctx, to, replace); err != nil {
		return err
	}
	o.changed(r.ctx, true)
	o.tree.share.keep(from)
	up := len(from.Names) - 1
	if len(to.Names)-1 != up || !slices.EqualFunc(from.Names[:up], to.Names[:up], fscc.EqualFold) {
		r.entryChanged(o, from)
	}
	r.entryChanged(o, to)
	return nil
}

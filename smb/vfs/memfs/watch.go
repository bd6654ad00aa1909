package memfs

import (
	"context"
	"slices"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// A watch is one call of Watch.
type watch struct {
	dir  *node
	tree bool
	emit func([]vfs.Change)
}

// An event is a change of a name that stands, or stood, in dir.
type event struct {
	dir    *node
	name   string
	action fscc.Action
	kind   uint32
}

// named is an event that is about the name itself.
func named(e *entry, action fscc.Action) event {
	kind := vfs.ChangeFileName
	if e.node.dir {
		kind = vfs.ChangeDirName
	}
	return event{e.parent, e.name, action, kind}
}

// Watch implements vfs.Watcher.
func (f *File) Watch(tree bool, emit func([]vfs.Change)) (stop func(), err error) {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	switch err := f.guard(context.Background()); {
	case err != nil:
		return nil, err
	case !f.isDir():
		return nil, nt.NotADirectory
	}
	w := &watch{f.n, tree, emit}
	f.v.watches = append(f.v.watches, w)
	return func() {
		f.v.mu.Lock()
		defer f.v.mu.Unlock()
		f.v.watches = slices.DeleteFunc(f.v.watches, func(other *watch) bool { return other == w })
	}, nil
}

// modified tells that the object that f has open has changed.
func (f *File) modified(kind uint32) {
	if kind != 0 && f.e.parent != nil && !f.e.gone {
		f.v.tell(event{f.e.parent, f.e.name, fscc.ActionModified, kind})
	}
}

// tell hands events to all watches that see them. The volume is locked, and stays so: that keeps their order.
func (v *Volume) tell(events ...event) {
	for _, w := range v.watches {
		var seen []vfs.Change
		for _, e := range events {
			if names := w.path(e); names != nil {
				seen = append(seen, vfs.Change{Action: e.action, Kind: e.kind, Names: names})
			}
		}
		if len(seen) > 0 {
			w.emit(seen)
		}
	}
}

// path returns the event's name as w sees it, or nil.
func (w *watch) path(e event) []string {
	names := []string{e.name}
	for dir := e.dir; ; dir = dir.self.parent {
		switch {
		case dir == w.dir:
			slices.Reverse(names)
			return names
		case !w.tree || dir.self.parent == nil:
			return nil
		}
		names = append(names, dir.self.name)
	}
}

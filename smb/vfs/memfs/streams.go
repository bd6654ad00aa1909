package memfs

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// A stream is a named stream of a node. It lives on in the Files that have it open.
type stream struct {
	id   uint64
	name string
	data pages

	sparse bool
}

// of reports whether the stream is still the node's.
func (s *stream) of(n *node) bool { return slices.Contains(n.streams, s) }

func (n *node) stream(name string) *stream {
	for _, s := range n.streams {
		if fscc.EqualFold(s.name, name) {
			return s
		}
	}
	return nil
}

// data are the contents of what is open.
func (f *File) data() *pages {
	if f.s != nil {
		return &f.s.data
	}
	return &f.n.data
}

// isDir reports whether what is open has entries instead of contents.
func (f *File) isDir() bool { return f.n.dir && f.s == nil }

// openStream is Open for a path that names a stream.
func (v *Volume) openStream(ctx context.Context, p vfs.Path, how vfs.How) (vfs.File, vfs.Action, error) {
	base, _, err := v.Open(ctx, vfs.Path{Names: p.Names}, vfs.How{})
	if err != nil {
		return nil, 0, err
	}
	defer base.Close()
	return base.(*File).OpenStream(ctx, p.Stream, how)
}

// OpenStream implements vfs.Streams.
func (f *File) OpenStream(ctx context.Context, name string, how vfs.How) (vfs.File, vfs.Action, error) {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if err := f.guard(ctx); err != nil {
		return nil, 0, err
	}
	if err := fscc.CheckStream(name); err != nil {
		return nil, 0, err
	}
	action := vfs.Opened
	s := f.n.stream(name)
	switch {
	case how.Directory:
		return nil, 0, nt.NotADirectory
	case s != nil && how.Disposition == vfs.Create:
		return nil, 0, nt.ObjectNameCollision
	case s != nil:
	case how.Disposition == vfs.Open:
		return nil, 0, nt.ObjectNameNotFound
	default:
		f.v.last++
		s = &stream{id: f.v.last, name: name}
		f.n.streams = append(f.n.streams, s)
		action = vfs.Created
	}
	open := &File{v: f.v, e: f.e, n: f.n, s: s, access: how.Access}
	if action == vfs.Created {
		open.touch(vfs.SetChange)
		open.streamChanged(fscc.ActionAddedStream, s.name, vfs.ChangeStreamName)
	}
	return open, action, nil
}

// Streams implements vfs.Streams.
func (f *File) Streams(ctx context.Context) ([]vfs.StreamInfo, error) {
	f.v.mu.RLock()
	defer f.v.mu.RUnlock()
	var list []vfs.StreamInfo
	if !f.n.dir {
		list = append(list, vfs.StreamInfo{Size: f.n.data.size, Alloc: f.n.data.alloc()})
	}
	for _, s := range f.n.streams {
		list = append(list, vfs.StreamInfo{Name: s.name, Size: s.data.size, Alloc: s.data.alloc()})
	}
	return list, f.guard(ctx)
}

// OfDirectory implements vfs.Stream.
func (f *File) OfDirectory() bool { return f.s != nil && f.n.dir }

// RenameStream implements vfs.Stream.
func (f *File) RenameStream(ctx context.Context, name string, replace bool) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if err := f.guard(ctx); err != nil {
		return err
	}
	if err := fscc.CheckStream(name); err != nil {
		return err
	}
	if f.s == nil {
		return nt.InvalidParameter
	}
	switch there := f.n.stream(name); {
	case !f.s.of(f.n):
		return nt.FileDeleted
	case there == nil || there == f.s:
	case !replace:
		return nt.ObjectNameCollision
	case there.data.size > 0:
		return nt.InvalidParameter
	default:
		f.n.drop(there)
		f.streamChanged(fscc.ActionRemovedStream, there.name, vfs.ChangeStreamName)
	}
	f.streamChanged(fscc.ActionRemovedStream, f.s.name, vfs.ChangeStreamName)
	f.s.name = name
	f.touch(vfs.SetChange)
	f.streamChanged(fscc.ActionAddedStream, f.s.name, vfs.ChangeStreamName)
	return nil
}

func (n *node) drop(s *stream) {
	n.streams = slices.DeleteFunc(n.streams, func(other *stream) bool { return other == s })
}

// unlinkStream is Unlink of a stream.
func (f *File) unlinkStream() error {
	if !f.s.of(f.n) {
		return nt.FileDeleted
	}
	f.n.drop(f.s)
	f.touch(vfs.SetChange)
	f.streamChanged(fscc.ActionRemovedStream, f.s.name, vfs.ChangeStreamName)
	return nil
}

// streamChanged tells of a stream of the object that f has open.
func (f *File) streamChanged(action fscc.Action, name string, kind uint32) {
	if f.e.parent != nil && !f.e.gone {
		f.v.tell(event{f.e.parent, f.e.name + ":" + name, action, kind})
	}
}

// rewritten tells that the contents have changed through f.
func (f *File) rewritten(kind uint32) {
	if f.s != nil {
		f.streamChanged(fscc.ActionModifiedStream, f.s.name, vfs.ChangeStreamSize|vfs.ChangeStreamWrite)
		return
	}
	f.modified(kind)
}

// EAs implements vfs.EAs.
func (f *File) EAs(ctx context.Context) ([]fscc.EA, error) {
	f.v.mu.RLock()
	defer f.v.mu.RUnlock()
	list := make([]fscc.EA, 0, len(f.n.eas))
	for _, e := range f.n.eas {
		e.Value = bytes.Clone(e.Value)
		list = append(list, e)
	}
	return list, f.guard(ctx)
}

// SetEAs implements vfs.EAs.
func (f *File) SetEAs(ctx context.Context, list []fscc.EA) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if err := f.guard(ctx); err != nil {
		return err
	}
	eas := slices.Clone(f.n.eas)
	for _, e := range list {
		i := slices.IndexFunc(eas, func(other fscc.EA) bool { return strings.EqualFold(other.Name, e.Name) })
		e.Value = bytes.Clone(e.Value)
		switch {
		case len(e.Value) == 0 && i >= 0:
			eas = slices.Delete(eas, i, i+1)
		case len(e.Value) == 0:
		case i >= 0:
			eas[i].Value = e.Value
		default:
			eas = append(eas, e)
		}
	}
	if fscc.EASize(eas) > fscc.MaxEATotal {
		return nt.EATooLarge
	}
	f.n.eas = eas
	f.touch(vfs.SetChange)
	f.modified(vfs.ChangeEA)
	return nil
}

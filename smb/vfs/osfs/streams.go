package osfs

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Named streams live where Samba's streams_xattr keeps them, so that a disk can go from one to the other: each in an
// xattr of the object, its contents and one byte more. That byte is 0, or how many xattrs there are besides with what
// did not fit: Samba writes those if it is told to, we read them. What is more than an xattr holds lies in a file of its
// own, see sidecar.go.
const (
	streamPrefix = "user.DosStream."
	streamMore   = "user.DosStreamExt." // then "1.", "2." and so on, and the name
	streamType   = ":$DATA"
	xattrNameMax = 255 // XATTR_NAME_MAX of limits.h
	// maxXattrStream is where a stream becomes a file: an xattr's value less its last byte. Until then a write costs as
	// much as the stream is long.
	maxXattrStream = xattrMax - 1
	maxExtents     = 15 // Samba's own bound

	// maxXattrNames is how many bytes the names of an object's xattrs may take: the kernel lists no more than 64 KiB of
	// them (XATTR_LIST_MAX), and beyond that nothing at all, so that nobody would find a stream again. That is some 200
	// streams with the longest names. The rest is for what others keep there.
	maxXattrNames = 56 << 10
)

// openStreams are the streams that are open, of all Volumes: two may reach one file.
var openStreams = streamTable{open: map[streamKey]*stream{}}

type streamTable struct {
	locks [64]sync.Mutex // by object: held while one of its streams comes, goes, is renamed or moves to a file

	mu   sync.Mutex
	last uint64
	open map[streamKey]*stream
}

type streamKey struct {
	object vfs.ID
	name   string // folded
}

// A stream is what all opens of one share.
type stream struct {
	id vfs.ID

	// mu is held for writing while the contents of an xattr are read, changed and written back, or move.
	mu     sync.RWMutex
	name   string // as it is stored
	refs   int    // guarded by the table's mu
	gone   bool   // deleted: what was an xattr is in orphan
	orphan []byte
	side   int // descriptor of the file, once it was opened, or -1
}

func (t *streamTable) take(object vfs.ID, name string) *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := streamKey{object, fscc.Fold(name)}
	s := t.open[key]
	if s == nil {
		t.last++
		s = &stream{id: vfs.ID{Volume: object.Volume, Object: object.Object, Stream: t.last}, name: name, side: -1}
		t.open[key] = s
	}
	s.refs++
	return s
}

// find returns the stream if it is open.
func (t *streamTable) find(object vfs.ID, name string) *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[streamKey{object, fscc.Fold(name)}]
}

// forget has the next open of the name find another stream, or none.
func (t *streamTable) forget(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := streamKey{s.id.File(), fscc.Fold(s.name)}
	if t.open[key] == s {
		delete(t.open, key)
	}
}

func (t *streamTable) rename(s *stream, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, streamKey{s.id.File(), fscc.Fold(s.name)})
	s.name = name
	t.open[streamKey{s.id.File(), fscc.Fold(name)}] = s
}

func (t *streamTable) put(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.refs--; s.refs > 0 {
		return
	}
	key := streamKey{s.id.File(), fscc.Fold(s.name)}
	if t.open[key] == s {
		delete(t.open, key)
	}
	if s.side >= 0 {
		unix.Close(s.side)
	}
}

// A keptStream is a stream as an object's xattrs have it.
type keptStream struct {
	name  string
	xattr string
	side  bool // it holds the name of a file
}

// streamXattr returns the xattr of a small stream.
func streamXattr(name string) string { return streamPrefix + name + streamType }

// keptStreams lists the streams of the object at path.
func keptStreams(path string) (list []keptStream, err error) {
	names, err := xattrNames(path)
	if err != nil {
		return nil, err
	}
	place := map[string]int{}
	for _, x := range names {
		k := keptStream{xattr: x}
		switch {
		case strings.HasPrefix(x, sidePrefix):
			k.name, k.side = x[len(sidePrefix):], true
		case strings.HasPrefix(x, streamPrefix):
			k.name = x[len(streamPrefix):]
			if cut := len(k.name) - len(streamType); cut > 0 && strings.EqualFold(k.name[cut:], streamType) {
				k.name = k.name[:cut]
			}
			k.side = markedAt(path, x)
		default:
			continue
		}
		if fscc.CheckStream(k.name) != nil {
			continue // the wire has no name for it
		}
		// A power cut may leave both, with the same contents.
		if at, ok := place[fscc.Fold(k.name)]; ok {
			if strings.HasPrefix(x, sidePrefix) {
				list[at] = k
			}
			continue
		}
		place[fscc.Fold(k.name)] = len(list)
		list = append(list, k)
	}
	return list, nil
}

// xattrNames lists the user xattrs of the object at path. Those that are no UTF-8 are none of ours.
func xattrNames(path string) ([]string, error) {
	var small [1024]byte
	b := small[:]
	n, err := unix.Listxattr(path, b)
	if errors.Is(err, unix.ERANGE) {
		b = make([]byte, xattrMax) // XATTR_LIST_MAX
		n, err = unix.Listxattr(path, b)
	}
	if err != nil {
		return nil, err
	}
	return userNames(b[:n]), nil
}

func userNames(b []byte) (names []string) {
	for name := range bytes.SplitSeq(b, []byte{0}) {
		if bytes.HasPrefix(name, []byte("user.")) {
			names = append(names, string(name))
		}
	}
	return names
}

// find returns the stream of the object at path that is called name, in any case.
func findStream(path, name string) (k keptStream, found bool, err error) {
	list, err := keptStreams(path)
	for _, k := range list {
		if fscc.EqualFold(k.name, name) {
			return k, true, err
		}
	}
	return k, false, err
}

// readSmall returns the contents of a stream that is keptStream in xattrs.
func readSmall(path, xattr string) ([]byte, error) {
	b, err := readXattr(at(path), xattr)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	more := int(b[len(b)-1])
	b = b[:len(b)-1]
	for i := 1; i <= min(more, maxExtents); i++ {
		part, err := readXattr(at(path), streamMore+strconv.Itoa(i)+"."+xattr[len(streamPrefix):])
		if err == unix.ENODATA { // Samba could not write all of it
			break
		}
		if err != nil {
			return nil, err
		}
		b = append(b, part...)
	}
	return b, nil
}

// writeSmall stores contents that fit into an xattr.
func writeSmall(path, xattr string, b []byte) error {
	if err := unix.Setxattr(path, xattr, append(b[:len(b):len(b)], 0), 0); err != nil {
		return err
	}
	return removeExtents(path, xattr)
}

func removeExtents(path, xattr string) error {
	for i := 1; i <= maxExtents; i++ {
		err := unix.Removexattr(path, streamMore+strconv.Itoa(i)+"."+xattr[len(streamPrefix):])
		if err == unix.ENODATA {
			break
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// roomForName says DiskFull if the object at path has as many names of xattrs as it may.
func roomForName(path, name string) error {
	n, err := unix.Listxattr(path, nil)
	if errors.Is(err, unix.E2BIG) || err == nil && n+len(name)+1 > maxXattrNames {
		return nt.DiskFull
	}
	return nil // what else is wrong the next call says
}

// full reports whether an xattr was refused for its size. (ENOSPC may be the whole disk, which a file will meet, too.)
func full(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ERANGE)
}

// keepsStreams reports whether the File's object can have streams.
func (f *File) keepsStreams() bool { return !f.v.cfg.noXattr && describable(f.kind) }

// Streams implements vfs.Streams.
func (f *File) Streams(ctx context.Context) ([]vfs.StreamInfo, error) {
	if err := f.use(ctx); err != nil {
		return nil, err
	}
	defer f.done()
	if f.v.cfg.noXattr {
		return nil, nt.NotSupported
	}
	var list []vfs.StreamInfo
	if f.kind != unix.S_IFDIR {
		var st unix.Statx_t
		if err := statx(f.fd, &st); err != nil {
			return nil, err
		}
		a := f.v.attrOf(&st, dosInfo{})
		list = append(list, vfs.StreamInfo{Size: a.Size, Alloc: a.Alloc})
	}
	if !describable(f.kind) {
		return list, nil
	}
	all, err := keptStreams(proc(f.fd))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nt.NotSupported
	}
	for _, k := range all {
		size, alloc, err := f.v.streamSize(proc(f.fd), k)
		if err == unix.ENODATA { // gone meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, vfs.StreamInfo{Name: k.name, Size: size, Alloc: alloc})
	}
	return list, err
}

// streamSize returns how long a stream is, and what it takes on disk.
func (v *Volume) streamSize(path string, k keptStream) (size, alloc int64, err error) {
	if !k.side {
		b, err := readSmall(path, k.xattr)
		return int64(len(b)), smallAlloc(len(b)), err
	}
	fd, err := v.openSide(path, k, unix.O_PATH)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if err := statx(fd, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Size), int64(st.Blocks) * 512, nil
}

// smallAlloc is what a stream of n bytes takes beside its object's other xattrs.
func smallAlloc(n int) int64 { return int64(n+7) &^ 7 }

// OpenStream implements vfs.Streams.
func (f *File) OpenStream(ctx context.Context, name string, how vfs.How) (vfs.File, vfs.Action, error) {
	if err := f.use(ctx); err != nil {
		return nil, 0, err
	}
	defer f.done()
	switch {
	case how.Directory:
		return nil, 0, nt.NotADirectory
	case fscc.CheckStream(name) != nil, len(sidePrefix)+len(name) > xattrNameMax, len(streamXattr(name)) > xattrNameMax, !f.keepsStreams():
		return nil, 0, nt.ObjectNameInvalid
	}
	mu := lock(&openStreams.locks, f.id)
	mu.Lock()
	defer mu.Unlock()
	path := proc(f.fd)
	k, found, err := findStream(path, name)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil, 0, nt.ObjectNameInvalid
	case err != nil:
		return nil, 0, err
	case found && how.Disposition == vfs.Create:
		return nil, 0, nt.ObjectNameCollision
	case found:
		s, err := f.streamFile(k.name, how)
		return opened(s, vfs.Opened, err)
	case how.Disposition == vfs.Open:
		return nil, 0, nt.ObjectNameNotFound
	case f.v.cfg.past != 0:
		return nil, 0, unix.EROFS
	}
	if err := roomForName(path, streamXattr(name)); err != nil {
		return nil, 0, err
	}
	end := f.altering()
	err = writeSmall(path, streamXattr(name), nil)
	if full(err) {
		err = f.v.makeSide(path, f.id, name, nil)
	}
	if err != nil {
		end()
		return nil, 0, err
	}
	end(alteration{name, fscc.ActionAddedStream, vfs.ChangeStreamName})
	s, err := f.streamFile(name, how)
	return opened(s, vfs.Created, err)
}

// opened keeps a File that is nil from being returned as one that is not.
func opened(s *StreamFile, a vfs.Action, err error) (vfs.File, vfs.Action, error) {
	if err != nil {
		return nil, 0, err
	}
	return s, a, nil
}

// openStream is Open for a path that names a stream.
func (v *Volume) openStream(ctx context.Context, p vfs.Path, how vfs.How) (vfs.File, vfs.Action, error) {
	base, _, err := v.Open(ctx, vfs.Path{Names: p.Names}, vfs.How{Reparse: how.Reparse})
	if err != nil {
		return nil, 0, err
	}
	defer base.Close()
	return base.(*File).OpenStream(ctx, p.Stream, how)
}

// An alteration is a change of one stream, to be told.
type alteration struct {
	name   string
	action fscc.Action
	kind   uint32
}

// altering announces changes of the object's streams. The function it returns ends it, and tells what happened.
func (f *File) altering() (end func(...alteration)) {
	at, named, a := f.announce()
	return func(list ...alteration) {
		var group []told
		for _, c := range list {
			if named && c.kind != 0 {
				group = append(group, told{at.dir, at.disk + streamMark + c.name, c.action, c.kind})
			}
		}
		a.end(group...)
	}
}

// removeStreams deletes all named streams of an object that is overwritten. Who has one open keeps its contents.
func (f *File) removeStreams() error {
	if !f.keepsStreams() {
		return nil
	}
	mu := lock(&openStreams.locks, f.id)
	mu.Lock()
	defer mu.Unlock()
	path := proc(f.fd)
	list, err := keptStreams(path)
	if err != nil || len(list) == 0 {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		return err
	}
	end := f.altering()
	var told []alteration
	defer func() { end(told...) }()
	for _, k := range list {
		if err := f.removeStream(path, k); err != nil && err != unix.ENODATA {
			return err
		}
		told = append(told, alteration{k.name, fscc.ActionRemovedStream, vfs.ChangeStreamName})
	}
	return nil
}

// removeStream deletes one. The object's lock is held.
func (f *File) removeStream(path string, k keptStream) error {
	if s := openStreams.find(f.id, k.name); s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if k.side {
			if s.side < 0 {
				s.side, _ = f.v.openSide(path, k, unix.O_RDWR)
			}
		} else {
			b, err := readSmall(path, k.xattr)
			if err != nil {
				return err
			}
			s.orphan = b
		}
		s.gone = true
		openStreams.forget(s)
	}
	if k.side {
		return f.v.removeSide(path, f.id, k)
	}
	if err := unix.Removexattr(path, k.xattr); err != nil {
		return err
	}
	return removeExtents(path, k.xattr)
}

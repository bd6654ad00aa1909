package osfs

import (
	"context"
	"io"
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// A StreamFile is one open of a named stream. base is an open of its own of the object.
type StreamFile struct {
	base                 *File
	s                    *stream
	read, write, through bool
}

// streamFile makes one of a stream that is there. The object's lock is held.
func (f *File) streamFile(name string, how vfs.How) (*StreamFile, error) {
	base, err := f.again()
	if err != nil {
		return nil, err
	}
	base.side = openStreams.take(f.id, name)
	return &StreamFile{
		base: base, s: base.side, read: how.Access&readsData != 0, write: how.Access&writesData != 0, through: how.WriteThrough,
	}, nil
}

// again opens the File's object another time, not for its contents.
func (f *File) again() (*File, error) {
	fd, err := unix.Open(proc(f.fd), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	link := -1
	if f.link >= 0 {
		if link, err = unix.FcntlInt(uintptr(f.link), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	f.mu.Lock()
	last := f.last
	f.mu.Unlock()
	g := &File{v: f.v, fd: fd, link: link, last: last, id: f.id, nameID: f.nameID, kind: f.kind, opath: true, byLink: f.byLink}
	g.nameless.Store(f.nameless.Load())
	g.refs.Store(1)
	return g, nil
}

// ID implements vfs.File.
func (f *StreamFile) ID() vfs.ID { return f.base.v.outward(f.s.id) }

// OfDirectory implements vfs.Stream.
func (f *StreamFile) OfDirectory() bool { return f.base.kind == unix.S_IFDIR }

// Close implements vfs.File.
func (f *StreamFile) Close() error { return f.base.Close() }

func (f *StreamFile) path() string { return proc(f.base.fd) }

// where finds the stream, which is not gone. Its lock is held.
func (f *StreamFile) where() (keptStream, error) {
	k, found, err := findStream(f.path(), f.s.name)
	if err == nil && !found {
		err = nt.FileDeleted // by someone on the NAS itself
	}
	return k, err
}

// small returns the contents of a stream that lies in an xattr; side the descriptor of one that is a file. The lock is
// held, for writing if the file was not opened yet.
func (f *StreamFile) contents() (small []byte, k keptStream, side int, err error) {
	s := f.s
	switch {
	case s.side >= 0:
		return nil, keptStream{side: true}, s.side, nil
	case s.gone:
		return append([]byte(nil), s.orphan...), k, -1, nil
	}
	if k, err = f.where(); err != nil {
		return nil, k, -1, err
	}
	if k.side {
		s.side, err = f.base.v.ownSide(f.path(), f.base.id, k)
		return nil, k, s.side, err
	}
	small, err = readSmall(f.path(), k.xattr)
	return small, k, -1, err
}

// looking calls do with the stream's contents, or with the descriptor of its file.
func (f *StreamFile) looking(do func(small []byte, side int) error) error {
	f.s.mu.RLock()
	if f.s.side >= 0 {
		defer f.s.mu.RUnlock()
		return do(nil, f.s.side)
	}
	f.s.mu.RUnlock()
	f.s.mu.Lock()
	small, _, side, err := f.contents()
	f.s.mu.Unlock()
	if err != nil {
		return err
	}
	if side >= 0 { // it stays open, and the same, for as long as the stream is
		return do(nil, side)
	}
	return do(small, -1)
}

// ReadAt implements io.ReaderAt.
func (f *StreamFile) ReadAt(b []byte, off int64) (n int, err error) {
	if err := f.base.begin(); err != nil {
		return 0, err
	}
	defer f.base.done()
	switch {
	case !f.read:
		return 0, nt.AccessDenied
	case off < 0:
		return 0, nt.InvalidParameter
	}
	err = f.looking(func(small []byte, side int) (err error) {
		if side >= 0 {
			n, err = preadFull(side, b, off)
			return err
		}
		if off < int64(len(small)) {
			n = copy(b, small[off:])
		}
		if n < len(b) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

func preadFull(fd int, b []byte, off int64) (n int, err error) {
	for n < len(b) {
		if off+int64(n) > math.MaxInt64-int64(len(b)) {
			return n, io.EOF
		}
		m, err := unix.Pread(fd, b[n:], off+int64(n))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return n, err
		case m == 0:
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}

func pwriteFull(fd int, b []byte, off int64) (n int, err error) {
	for n < len(b) {
		m, err := unix.Pwrite(fd, b[n:], off+int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (f *StreamFile) WriteAt(b []byte, off int64) (n int, err error) {
	if err := f.base.begin(); err != nil {
		return 0, err
	}
	defer f.base.done()
	switch {
	case !f.write:
		return 0, nt.AccessDenied
	case off < 0 || off > math.MaxInt64-int64(len(b)):
		return 0, nt.InvalidParameter
	case len(b) == 0:
		return 0, nil
	}
	err = f.change(func(side int) error {
		n, err = pwriteFull(side, b, off)
		return err
	}, off+int64(len(b)), func(small []byte) []byte {
		if grow := int(off) + len(b) - len(small); grow > 0 {
			small = append(small, make([]byte, grow)...)
		}
		n = copy(small[off:], b)
		return small
	})
	if err == nil && f.through {
		err = f.sync()
	}
	if err != nil && n == len(b) {
		n = 0
	}
	return n, err
}

// change changes the contents, which then end at need or beyond: with large if they are, or have to become, a file, else
// with small, which gets and returns all of them.
func (f *StreamFile) change(large func(side int) error, need int64, small func([]byte) []byte) (err error) {
	end := f.base.altering()
	defer func() {
		if err != nil {
			end()
			return
		}
		f.touch()
		end(alteration{f.s.name, fscc.ActionModifiedStream, vfs.ChangeStreamSize | vfs.ChangeStreamWrite})
	}()
	return f.edit(large, need, small)
}

// edit is change without a word of it.
func (f *StreamFile) edit(large func(side int) error, need int64, small func([]byte) []byte) error {
	if f.base.v.cfg.past != 0 {
		return unix.EROFS
	}
	s := f.s
	s.mu.RLock()
	if side := s.side; side >= 0 {
		defer s.mu.RUnlock()
		return large(side)
	}
	s.mu.RUnlock()
	mu := lock(&openStreams.locks, f.base.id)
	mu.Lock()
	defer mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	old, k, side, err := f.contents()
	switch {
	case err != nil:
		return err
	case side >= 0:
		return large(side)
	case s.gone && need > maxXattrStream:
		return nt.FileDeleted // what nobody will read again does not become a file
	case s.gone:
		s.orphan = small(old)
		return nil
	}
	was := append([]byte(nil), old...)
	if need <= maxXattrStream {
		if b := small(old); len(b) <= maxXattrStream {
			if err := writeSmall(f.path(), k.xattr, b); !full(err) {
				return err
			}
		}
	}
	if err := f.base.v.makeSide(f.path(), f.base.id, k.name, was); err != nil {
		return err
	}
	if _, _, side, err = f.contents(); err != nil {
		return err
	}
	return large(side)
}

// touch moves the object's write time, unless the client holds it.
func (f *StreamFile) touch() {
	if vfs.Mask(f.base.held.Load())&vfs.SetWrite == 0 {
		now := unix.NsecToTimespec(time.Now().UnixNano())
		unix.UtimesNanoAt(f.base.fd, "", []unix.Timespec{{Nsec: unix.UTIME_OMIT}, now}, unix.AT_EMPTY_PATH)
	}
	f.base.keepChange()
}

// size returns how long the stream is and what it takes on disk.
func (f *StreamFile) size() (size, alloc int64, err error) {
	err = f.looking(func(small []byte, side int) error {
		if side < 0 {
			size, alloc = int64(len(small)), smallAlloc(len(small))
			return nil
		}
		var st unix.Statx_t
		err := statx(side, &st)
		size, alloc = int64(st.Size), int64(st.Blocks)*512
		return err
	})
	return size, alloc, err
}

// Attr implements vfs.File.
func (f *StreamFile) Attr(ctx context.Context, want vfs.Mask) (vfs.Attr, error) {
	a, err := f.base.Attr(ctx, want)
	if err != nil {
		return a, err
	}
	a.Attributes &^= vfs.AttrDirectory | vfs.AttrSparse // whether there are holes is each stream's own
	a.Size, a.Alloc, err = f.size()
	if err == nil && f.sparse() {
		a.Attributes |= vfs.AttrSparse
	}
	return a, err
}

// SetAttr implements vfs.File.
func (f *StreamFile) SetAttr(ctx context.Context, a vfs.Attr, set vfs.Mask) error {
	if err := f.base.use(ctx); err != nil {
		return err
	}
	defer f.base.done()
	if set&vfs.WantSize != 0 && a.Size < 0 || set&vfs.WantAlloc != 0 && a.Alloc < 0 {
		return nt.InvalidParameter
	}
	if set&vfs.WantSize != 0 {
		if err := f.truncate(a.Size); err != nil {
			return err
		}
	}
	if set&vfs.WantAlloc != 0 {
		size, _, err := f.size()
		if err == nil && a.Alloc < size {
			err = f.truncate(a.Alloc)
		}
		if err != nil {
			return err
		}
	}
	if set &^= vfs.WantSize | vfs.WantAlloc; set == 0 {
		return nil
	}
	return f.base.SetAttr(ctx, a, set)
}

func (f *StreamFile) truncate(size int64) error {
	return f.change(func(side int) error { return unix.Ftruncate(side, size) }, size, func(small []byte) []byte {
		if size <= int64(len(small)) {
			return small[:size]
		}
		return append(small, make([]byte, int(size)-len(small))...)
	})
}

// Overwrite implements vfs.File.
func (f *StreamFile) Overwrite(ctx context.Context, _ uint32) error {
	return f.SetAttr(ctx, vfs.Attr{}, vfs.WantSize)
}

// ReadDir implements vfs.File.
func (f *StreamFile) ReadDir(ctx context.Context, _ uint64, _ func(string) bool, _ vfs.Mask, _ func(uint64, vfs.Entry) bool) error {
	if err := f.base.use(ctx); err != nil {
		return err
	}
	f.base.done()
	return nt.InvalidParameter
}

// Path implements vfs.File.
func (f *StreamFile) Path(ctx context.Context) (vfs.Path, error) {
	p, err := f.base.Path(ctx)
	f.s.mu.RLock()
	defer f.s.mu.RUnlock()
	if err == nil && f.s.gone {
		err = nt.FileDeleted
	}
	if err != nil {
		return vfs.Path{}, err
	}
	p.Stream = f.s.name
	return p, nil
}

// Rename implements vfs.File.
func (f *StreamFile) Rename(context.Context, vfs.Path, bool) error { return nt.NotSupported }

// RenameStream implements vfs.Stream.
func (f *StreamFile) RenameStream(ctx context.Context, name string, replace bool) error {
	if err := f.base.use(ctx); err != nil {
		return err
	}
	defer f.base.done()
	if fscc.CheckStream(name) != nil || len(sidePrefix)+len(name) > xattrNameMax || len(streamXattr(name)) > xattrNameMax {
		return nt.ObjectNameInvalid
	}
	mu := lock(&openStreams.locks, f.base.id)
	mu.Lock()
	defer mu.Unlock()
	end := f.base.altering()
	var told []alteration
	defer func() { end(told...) }()
	there, found, err := findStream(f.path(), name)
	if err != nil {
		return err
	}
	f.s.mu.RLock()
	gone, was := f.s.gone, f.s.name
	f.s.mu.RUnlock()
	switch {
	case gone:
		return nt.FileDeleted
	case !found, fscc.EqualFold(there.name, was):
	case !replace:
		return nt.ObjectNameCollision
	default:
		size, _, err := f.base.v.streamSize(f.path(), there)
		if err == nil && size > 0 {
			err = nt.InvalidParameter
		}
		if err == nil {
			err = f.base.removeStream(f.path(), there)
		}
		if err != nil {
			return err
		}
		told = append(told, alteration{there.name, fscc.ActionRemovedStream, vfs.ChangeStreamName})
	}
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if err := f.moveXattr(name); err != nil {
		return err
	}
	openStreams.rename(f.s, name)
	told = append(told, alteration{was, fscc.ActionRemovedStream, vfs.ChangeStreamName}, alteration{name, fscc.ActionAddedStream, vfs.ChangeStreamName})
	return nil
}

// moveXattr gives the xattr another name. Between the two steps both are there. Where there is no room for that the
// contents become a file, of whose name there is; where even for that there is none, the stream keeps its name. The
// object's lock and the stream's are held.
func (f *StreamFile) moveXattr(name string) error {
	for {
		k, err := f.where()
		if err != nil {
			return err
		}
		to, value := streamXattr(name), []byte(nil)
		if k.side {
			to = sidePrefix + name
		}
		if to == k.xattr {
			return nil
		}
		if k.side {
			var side string
			side, err = sideName(f.path(), k)
			value = []byte(side)
		} else {
			value, err = readSmall(f.path(), k.xattr)
		}
		if err != nil {
			return err
		}
		if !k.side {
			value = append(value, 0)
		}
		if err := roomForName(f.path(), to); err != nil && len(to) > len(k.xattr) {
			return err
		}
		err = unix.E2BIG
		if k.side || len(value) <= xattrMax {
			err = unix.Setxattr(f.path(), to, value, unix.XATTR_CREATE)
		}
		switch {
		case err == nil:
			err := unix.Removexattr(f.path(), k.xattr)
			if err != nil || !strings.HasPrefix(k.xattr, streamPrefix) {
				return err
			}
			return removeExtents(f.path(), k.xattr)
		case !full(err):
			return err
		case !k.side:
			if err := f.base.v.makeSide(f.path(), f.base.id, k.name, value[:len(value)-1]); err != nil {
				return err
			}
		case !f.base.evictOne():
			return err
		}
	}
}

// Unlink implements vfs.File.
func (f *StreamFile) Unlink(ctx context.Context) error {
	if err := f.base.use(ctx); err != nil {
		return err
	}
	defer f.base.done()
	mu := lock(&openStreams.locks, f.base.id)
	mu.Lock()
	defer mu.Unlock()
	f.s.mu.RLock()
	gone := f.s.gone
	f.s.mu.RUnlock()
	if gone {
		return nt.FileDeleted
	}
	k, err := f.where()
	if err != nil {
		return err
	}
	end := f.base.altering()
	if err := f.base.removeStream(f.path(), k); err != nil {
		end()
		return err
	}
	end(alteration{k.name, fscc.ActionRemovedStream, vfs.ChangeStreamName})
	return nil
}

// Sync implements vfs.File.
func (f *StreamFile) Sync(ctx context.Context) error {
	if err := f.base.use(ctx); err != nil {
		return err
	}
	defer f.base.done()
	return f.sync()
}

func (f *StreamFile) sync() error {
	f.s.mu.RLock()
	side := f.s.side
	f.s.mu.RUnlock()
	if side >= 0 {
		if err := fsync(side); err != nil {
			return err
		}
	}
	return f.base.Sync(context.Background())
}

// SecurityDescriptor implements vfs.Security: it is the object's.
func (f *StreamFile) SecurityDescriptor(ctx context.Context) ([]byte, error) {
	return f.base.SecurityDescriptor(ctx)
}

// SetSecurityDescriptor implements vfs.Security.
func (f *StreamFile) SetSecurityDescriptor(ctx context.Context, b []byte) error {
	return f.base.SetSecurityDescriptor(ctx, b)
}

// ObjectID implements vfs.ObjectIDs: it is the object's.
func (f *StreamFile) ObjectID(ctx context.Context) (*fscc.ObjectID, error) {
	return f.base.ObjectID(ctx)
}

// SetObjectID implements vfs.ObjectIDs.
func (f *StreamFile) SetObjectID(ctx context.Context, id *fscc.ObjectID) error {
	return f.base.SetObjectID(ctx, id)
}

// Streams implements vfs.Streams.
func (f *StreamFile) Streams(ctx context.Context) ([]vfs.StreamInfo, error) {
	return f.base.Streams(ctx)
}

// OpenStream implements vfs.Streams.
func (f *StreamFile) OpenStream(ctx context.Context, name string, how vfs.How) (vfs.File, vfs.Action, error) {
	return f.base.OpenStream(ctx, name, how)
}

// EAs implements vfs.EAs.
func (f *StreamFile) EAs(ctx context.Context) ([]fscc.EA, error) { return f.base.EAs(ctx) }

// SetEAs implements vfs.EAs.
func (f *StreamFile) SetEAs(ctx context.Context, list []fscc.EA) error {
	return f.base.SetEAs(ctx, list)
}

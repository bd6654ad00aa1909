package osfs

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// A File is an open descriptor.
type File struct {
	v      *Volume
	fd     int    // the object
	link   int    // O_PATH descriptor of the symbolic link that led to it, or -1
	id     vfs.ID // of the object
	nameID vfs.ID // of what stands under its name: the object or the link
	kind   uint16 // S_IFMT bits of the object

	opath, read, write, through bool // how fd was opened
	posix                       bool // names are matched with regard to case
	byLink                      bool // a link led to it, or to where it is

	refs     atomic.Int64 // calls under way, and one until Close
	closed   atomic.Bool
	nameless atomic.Bool // the name it has now may not survive a power cut yet
	spot     atomic.Pointer[spot]
	held     atomic.Uint32 // vfs.Set bits of times that operations through this File leave alone

	heldChange atomic.Uint64 // the time of change that was set through this File, a Filetime; or 0

	pen sync.Mutex // held while contents are written: the kernel lets in one at a time, and has the others spin

	mu      sync.Mutex // guards what follows; held for moments
	last    string     // path on disk when it was last known
	syncErr error      // the first fsync that failed
	parked  *dirStream
	os      *os.File

	side *stream // that this is the open of an object for; a reference
}

// use lets a call begin; done ends it. Descriptors are numbers that the system gives out again at once, so a call
// that comes after Close must not reach one, and Close must wait for those under way.
func (f *File) use(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.begin()
}

// useToChange is use for what changes the object.
func (f *File) useToChange(ctx context.Context) error {
	if f.v.cfg.past != 0 {
		return unix.EROFS
	}
	return f.use(ctx)
}

func (f *File) begin() error {
	if f.closed.Load() {
		return os.ErrClosed
	}
	for {
		n := f.refs.Load()
		if n <= 0 {
			return os.ErrClosed
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (f *File) done() {
	if f.refs.Add(-1) == 0 {
		f.release()
	}
}

// Close implements vfs.File.
func (f *File) Close() error {
	if f.closed.Swap(true) {
		return os.ErrClosed
	}
	f.done()
	return nil
}

func (f *File) release() {
	if f.parked != nil {
		f.parked.close()
	}
	if f.link >= 0 {
		unix.Close(f.link)
	}
	if f.side != nil {
		openStreams.put(f.side)
	}
	if f.os != nil {
		f.os.Close() // it owns fd
		return
	}
	unix.Close(f.fd)
}

// ID implements vfs.File.
func (f *File) ID() vfs.ID { return f.v.outward(f.id) }

// OSFile implements vfs.OSFile. It is nil for a File whose contents were not opened.
func (f *File) OSFile() *os.File {
	if f.opath || f.kind != unix.S_IFREG || f.begin() != nil {
		return nil
	}
	defer f.done()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.os == nil {
		f.os = os.NewFile(uintptr(f.fd), "")
	}
	return f.os
}

// may says why contents cannot be read or written.
func (f *File) may(opened bool, off int64) error {
	switch {
	case f.kind == unix.S_IFDIR:
		return nt.FileIsADirectory
	case !opened || f.kind != unix.S_IFREG:
		return nt.AccessDenied
	case off < 0:
		return nt.InvalidParameter
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(b []byte, off int64) (n int, err error) {
	if err := f.begin(); err != nil {
		return 0, err
	}
	defer f.done()
	if err := f.may(f.read, off); err != nil {
		return 0, err
	}
	for n < len(b) {
		if off+int64(n) > math.MaxInt64-int64(len(b)) { // the kernel refuses such a range even past the end
			return n, io.EOF
		}
		m, err := unix.Pread(f.fd, b[n:], off+int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		if m == 0 {
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(b []byte, off int64) (n int, err error) {
	if err := f.begin(); err != nil {
		return 0, err
	}
	defer f.done()
	if f.v.cfg.past != 0 {
		return 0, unix.EROFS
	}
	if err := f.may(f.write, off); err != nil {
		return 0, err
	}
	end := f.modifying()
	defer func() { end(kindIf(n > 0, vfs.ChangeSize|vfs.ChangeLastWrite)) }()
	f.pen.Lock()
	defer f.pen.Unlock()
	written := f.writing()
	for n < len(b) {
		m, err := unix.Pwrite(f.fd, b[n:], off+int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		n += m
	}
	written()
	if f.through && f.nameless.Load() {
		return n, f.syncName()
	}
	return n, nil
}

// writing is called before contents change. The function it returns is called after that, and puts the write time back
// if the client holds it: to what it was before, which another open may have made it.
func (f *File) writing() (written func()) {
	keepWrite := vfs.Mask(f.held.Load())&vfs.SetWrite != 0
	if !keepWrite && f.heldChange.Load() == 0 {
		return func() {}
	}
	putBack := func() {}
	if keepWrite {
		putBack = f.keepWrite()
	}
	return func() {
		putBack()
		f.keepChange()
	}
}

// keepWrite is writing whoever holds the time.
func (f *File) keepWrite() (written func()) {
	var st unix.Statx_t
	if err := statx(f.fd, &st); err != nil {
		return func() {}
	}
	t := unix.Timespec{Sec: st.Mtime.Sec, Nsec: int64(st.Mtime.Nsec)}
	return func() { unix.UtimesNanoAt(f.fd, "", []unix.Timespec{{Nsec: unix.UTIME_OMIT}, t}, unix.AT_EMPTY_PATH) }
}

// with calls do with a descriptor opened with flag: the File's own if it serves, else one for the moment.
func (f *File) with(serves bool, flag int, do func(fd int) error) error {
	if serves {
		return do(f.fd)
	}
	fd, err := unix.Open(proc(f.fd), flag|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_LARGEFILE, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fd)
}

// Sync implements vfs.File. After a failed fsync the kernel may have dropped what it could not write and call the
// next one good; so a File that failed once stays failed.
func (f *File) Sync(ctx context.Context) error {
	if err := f.use(ctx); err != nil {
		return err
	}
	defer f.done()
	f.mu.Lock()
	err := f.syncErr
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if f.kind != unix.S_IFREG && f.kind != unix.S_IFDIR {
		return nil
	}
	err = f.with(!f.opath, unix.O_RDONLY, fsync)
	if err == nil {
		err = f.syncName()
	}
	if err != nil {
		f.mu.Lock()
		f.syncErr = err
		f.mu.Unlock()
	}
	return err
}

func fsync(fd int) error {
	for {
		err := unix.Fsync(fd)
		if err == unix.EINVAL || err == unix.EROFS { // nothing here that could be lost
			return nil
		}
		if err != unix.EINTR {
			return err
		}
	}
}

// syncName makes the name durable that the File was made by or renamed to, once. The directories above were made
// before, and filesystems with a journal or a log keep that order.
func (f *File) syncName() error {
	if !f.nameless.Swap(false) {
		return nil
	}
	err := f.syncParent()
	if errors.Is(err, nt.FileDeleted) {
		return nil
	}
	if err != nil {
		f.nameless.Store(true)
	}
	return err
}

func (f *File) syncParent() error {
	h, err := f.home()
	if err != nil {
		return err
	}
	defer h.close()
	fd, err := f.v.openat(h.dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fsync(fd)
}

package osfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// A dirBuf takes what one getdents64 gives, some 1,500 entries, and what one of their xattrs holds. It lies on the
// heap, where the kernel can be told its address.
type dirBuf struct {
	entries [64 << 10]byte
	xattr   [dosMax]byte
	list    [xattrList]byte
}

var dirBufs = sync.Pool{New: func() any { return new(dirBuf) }}

// A dirent is one linux_dirent64, getdents64(2). name aliases the buffer.
type dirent struct {
	off  int64
	kind uint8 // DT_
	name []byte
}

func (e *dirent) dots() bool { return string(e.name) == "." || string(e.name) == ".." }

// direntFixed is the size of d_ino, d_off, d_reclen and d_type.
const direntFixed = 19

// nextDirent takes one entry off b.
func nextDirent(b []byte) (e dirent, rest []byte, err error) {
	if len(b) < direntFixed {
		return e, nil, unix.EIO
	}
	size := int(binary.NativeEndian.Uint16(b[16:]))
	if size < direntFixed || size > len(b) {
		return e, nil, unix.EIO
	}
	e.off, e.kind, e.name = int64(binary.NativeEndian.Uint64(b[8:])), b[18], b[direntFixed:size]
	if end := bytes.IndexByte(e.name, 0); end >= 0 {
		e.name = e.name[:end]
	}
	return e, b[size:], nil
}

// eachDirent calls do for all entries of a directory opened for reading, but the dots and what is hidden.
func eachDirent(fd int, do func(dirent)) error {
	buf := dirBufs.Get().(*dirBuf)
	defer dirBufs.Put(buf)
	for {
		n, err := unix.Getdents(fd, buf.entries[:])
		if err == unix.ENOENT { // the directory itself was removed
			return nil
		}
		if err != nil || n == 0 {
			return err
		}
		for rest := buf.entries[:n]; len(rest) > 0; {
			var e dirent
			if e, rest, err = nextDirent(rest); err != nil {
				return err
			}
			if !e.dots() && !hidden(string(e.name)) {
				do(e)
			}
		}
	}
}

// Cookies: 0 is the start, 1 follows ".", 2 follows ".."; any other is the filesystem's own position (d_off), which
// stays good while others come and go, plus 3.
const (
	afterDot    = 1
	afterDotDot = 2
	positions   = 3
)

// A dirStream reads a directory from a descriptor of its own. It is parked in its File between calls, so that who
// goes on where the last call ended pays for nothing twice.
type dirStream struct {
	fd   int
	at   uint64 // cookie of where rest begins
	rest []byte
	buf  *dirBuf
}

func (s *dirStream) close() {
	unix.Close(s.fd)
	dirBufs.Put(s.buf)
}

// stream takes the parked stream or opens one; two calls at once get two.
func (f *File) stream() (*dirStream, error) {
	f.mu.Lock()
	s := f.parked
	f.parked = nil
	f.mu.Unlock()
	if s != nil {
		return s, nil
	}
	fd, err := f.v.openat(f.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0, 0)
	if err != nil {
		return nil, refusal(err)
	}
	return &dirStream{fd: fd, at: afterDotDot, buf: dirBufs.Get().(*dirBuf)}, nil
}

func (f *File) park(s *dirStream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.parked != nil {
		s.close()
		return
	}
	f.parked = s
}

// ReadDir implements vfs.File.
func (f *File) ReadDir(ctx context.Context, cookie uint64, match func(string) bool, want vfs.Mask, emit func(uint64, vfs.Entry) bool) error {
	if err := f.use(ctx); err != nil {
		return err
	}
	defer f.done()
	if f.kind != unix.S_IFDIR {
		return nt.InvalidParameter
	}
	s, err := f.stream()
	if err != nil {
		return err
	}
	l := &lister{ctx: ctx, f: f, s: s, match: match, want: want, emit: emit}
	end := false
	more, err := l.dots(cookie)
	if more && err == nil {
		end, err = l.entries(max(cookie, afterDotDot))
	}
	if err != nil || end {
		s.close()
		return err
	}
	f.park(s)
	return nil
}

// A lister is one call of ReadDir.
type lister struct {
	ctx   context.Context
	f     *File
	s     *dirStream
	match func(string) bool
	want  vfs.Mask
	emit  func(uint64, vfs.Entry) bool
	rel   string // the directory's path, once a link has made it needed
}

// dots gives "." and "..". It reports whether the listing goes on.
func (l *lister) dots(cookie uint64) (bool, error) {
	for _, d := range [...]struct {
		name  string
		after uint64
	}{{".", afterDot}, {"..", afterDotDot}} {
		if cookie >= d.after || l.match != nil && !l.match(d.name) {
			continue
		}
		e := vfs.Entry{Name: d.name, Attr: vfs.Attr{Attributes: vfs.AttrDirectory}}
		if l.want != 0 {
			name := d.name
			if l.f.id == l.f.v.rootID { // nothing lies above the root
				name = "."
			}
			var err error
			if e.Attr, err = l.f.v.attrAt(l.s.fd, name, l.want, l.s.buf); err != nil {
				return false, err
			}
		}
		if !l.emit(d.after, e) {
			return false, nil
		}
	}
	return true, nil
}

// entries goes on from cookie. It reports whether it came to the end.
func (l *lister) entries(cookie uint64) (end bool, err error) {
	s := l.s
	if cookie != s.at {
		s.rest = nil
		pos := int64(0)
		if cookie > afterDotDot {
			pos = int64(cookie - positions)
		}
		if _, err := unix.Seek(s.fd, pos, unix.SEEK_SET); err != nil {
			return false, nt.InvalidParameter // no cookie of ours
		}
		s.at = cookie
	}
	for {
		if len(s.rest) == 0 {
			if err := l.ctx.Err(); err != nil {
				return false, err
			}
			l.f.v.count.dirReads.Add(1)
			n, err := unix.Getdents(s.fd, s.buf.entries[:])
			if err == unix.ENOENT { // the directory was removed
				return true, nil
			}
			if err != nil || n <= 0 {
				return err == nil, err
			}
			s.rest = s.buf.entries[:n]
		}
		e, rest, err := nextDirent(s.rest)
		if err != nil {
			return false, err
		}
		next := uint64(e.off) + positions
		if more, err := l.entry(&e, next); err != nil || !more {
			return false, err
		}
		s.rest, s.at = rest, next
	}
}

// entry gives one entry, if it matches and is still there. It reports whether the listing goes on.
func (l *lister) entry(e *dirent, next uint64) (bool, error) {
	disk := string(e.name)
	if e.dots() || hidden(disk) {
		return true, nil
	}
	if l.f.v.pasts.hidesName(l.f.id, disk) {
		return true, nil
	}
	out := vfs.Entry{Name: toWire(disk)}
	if l.match != nil && !l.match(out.Name) {
		return true, nil
	}
	switch {
	case l.want == 0:
		if e.kind == unix.DT_DIR {
			out.Attr.Attributes = vfs.AttrDirectory
		}
	default:
		attr, err := l.describe(disk, e.kind)
		if err == unix.ENOENT { // removed since it was read
			return true, nil
		}
		if err != nil {
			return false, err
		}
		out.Attr = attr
	}
	if l.want&vfs.WantSecurity != 0 {
		out.Security = l.security(disk, e.kind == unix.DT_LNK)
	}
	if l.want&vfs.WantMac != 0 && e.kind != unix.DT_LNK {
		out.FinderInfo, out.Fork = l.f.v.entryMac(l.s.fd, disk, &l.s.buf.list)
	}
	return l.emit(next, out), nil
}

// describe describes an entry. Of a symbolic link it is what the link leads to, as with Open; a link that Open
// refuses is described itself.
func (l *lister) describe(disk string, kind uint8) (vfs.Attr, error) {
	v := l.f.v
	if kind == unix.DT_LNK && !v.cfg.noSymlinks {
		if l.rel == "" {
			l.rel = l.f.around()
		}
		if f, err := v.object(join(l.rel, disk), vfs.How{}); err == nil {
			defer f.Close()
			return f.Attr(l.ctx, l.want)
		}
	}
	return v.attrAt(l.s.fd, disk, l.want, l.s.buf)
}

// security returns the descriptor of an entry, of what it leads to if it is a link that may be followed.
func (l *lister) security(disk string, link bool) []byte {
	v := l.f.v
	dir, name, get := l.s.fd, disk, xattrReader(func(name string, b []byte) (int, error) { return unix.Lgetxattr(proc(l.s.fd)+"/"+disk, name, b) })
	if link {
		if v.cfg.noSymlinks {
			return nil
		}
		fd, err := v.open(join(l.rel, disk), unix.O_PATH, 0)
		if err != nil {
			return nil // a link to nowhere, and no one's secret
		}
		defer unix.Close(fd)
		dir, name, get = fd, "", at(proc(fd))
	}
	b, err := v.descriptorAt(dir, name, get)
	if err != nil && !errors.Is(err, nt.NotSupported) {
		return broken
	}
	return b
}

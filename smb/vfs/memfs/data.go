package memfs

import (
	"context"
	"io"
	"slices"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

const pageSize = 4096

// pages are a file's contents. A page that is not there is a hole.
type pages struct {
	size     int64
	reserved int64 // what SetAttr reserved
	p        map[int64]*[pageSize]byte
}

// bytes returns how much memory the contents take.
func (d *pages) bytes() int64 { return int64(len(d.p)) * pageSize }

func (d *pages) alloc() int64 {
	return max(d.bytes(), (min(d.reserved, Capacity)+pageSize-1)/pageSize*pageSize)
}

// each calls do for every page that [off, off+n) touches, with the part of the page that it touches.
func each(off, n int64, do func(page, from, to int64)) {
	for end := off + n; off < end; {
		page, from := off/pageSize, off%pageSize
		to := min(pageSize, from+end-off)
		do(page, from, to)
		off += to - from
	}
}

func (d *pages) read(b []byte, off int64) {
	each(off, int64(len(b)), func(page, from, to int64) {
		if p := d.p[page]; p != nil {
			copy(b, p[from:to])
		} else {
			clear(b[:to-from])
		}
		b = b[to-from:]
	})
}

func (d *pages) write(b []byte, off int64) {
	if d.p == nil {
		d.p = map[int64]*[pageSize]byte{}
	}
	d.size = max(d.size, off+int64(len(b)))
	each(off, int64(len(b)), func(page, from, to int64) {
		p := d.p[page]
		if p == nil {
			p = new([pageSize]byte)
			d.p[page] = p
		}
		copy(p[from:to], b)
		b = b[to-from:]
	})
}

// zero makes a hole. It walks what is there, not what is asked: a range may be vast.
func (d *pages) zero(off, n int64) {
	for page, p := range d.p {
		from, to := max(off-page*pageSize, 0), min(off+n-page*pageSize, pageSize)
		switch {
		case from >= to:
		case to-from == pageSize:
			delete(d.p, page)
		default:
			clear(p[from:to])
		}
	}
}

func (d *pages) truncate(size int64) {
	if size < d.size {
		d.zero(size, d.size-size+pageSize)
	}
	d.size = size
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	f.v.mu.RLock()
	defer f.v.mu.RUnlock()
	switch err := f.guard(context.Background()); {
	case err != nil:
		return 0, err
	case f.isDir():
		return 0, nt.FileIsADirectory
	case f.access&(dtyp.ReadData|dtyp.Execute) == 0:
		return 0, nt.AccessDenied
	case off < 0:
		return 0, nt.InvalidParameter
	case len(b) == 0:
		return 0, nil
	}
	n := min(int64(len(b)), max(f.data().size-off, 0))
	f.data().read(b[:n], off)
	if n < int64(len(b)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(b []byte, off int64) (int, error) {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if err := f.writable(context.Background()); err != nil {
		return 0, err
	}
	switch {
	case off < 0 || off > Capacity-int64(len(b)):
		return 0, nt.InvalidParameter
	case len(b) == 0:
		return 0, nil
	}
	if err := f.afford(off + int64(len(b))); err != nil {
		return 0, err
	}
	f.change(func(d *pages) { d.write(b, off) })
	return len(b), nil
}

func (f *File) writable(ctx context.Context) error {
	switch err := f.guard(ctx); {
	case err != nil:
		return err
	case f.isDir():
		return nt.FileIsADirectory
	case f.access&(dtyp.WriteData|dtyp.AppendData) == 0:
		return nt.AccessDenied
	}
	return nil
}

// change lets do change the contents and keeps count.
func (f *File) change(do func(*pages)) {
	before := f.data().bytes()
	do(f.data())
	f.v.used += f.data().bytes() - before
	f.touch(vfs.SetWrite | vfs.SetChange)
	f.rewritten(vfs.ChangeSize | vfs.ChangeLastWrite)
}

// CopyRange implements vfs.Cloner.
func (f *File) CopyRange(ctx context.Context, dst vfs.File, srcOff, dstOff, n int64) (int64, error) {
	d, ok := dst.(*File)
	if !ok || d.v != f.v {
		return 0, nt.NotSameDevice
	}
	switch {
	case srcOff < 0 || dstOff < 0 || n < 0:
		return 0, nt.InvalidParameter
	case f.data() == d.data() && srcOff-dstOff < n && dstOff-srcOff < n:
		return 0, nt.NotSupported
	}
	b := make([]byte, min(n, 1<<20))
	got, err := f.ReadAt(b, srcOff)
	if err != nil && err != io.EOF {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	put, err := d.WriteAt(b[:got], dstOff)
	return int64(put), err
}

// Zero implements vfs.Allocator.
func (f *File) Zero(ctx context.Context, off, n int64) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if err := f.writable(ctx); err != nil {
		return err
	}
	if off < 0 || n < 0 || off+n < off {
		return nt.InvalidParameter
	}
	f.change(func(d *pages) { d.zero(off, n) })
	return nil
}

// Ranges implements vfs.Allocator.
func (f *File) Ranges(ctx context.Context, off, n int64, emit func(off, n int64) bool) error {
	ranges, err := f.ranges(ctx, off, n)
	for _, r := range ranges {
		if !emit(r[0], r[1]) {
			break
		}
	}
	return err
}

func (f *File) ranges(ctx context.Context, off, n int64) (out [][2]int64, err error) {
	f.v.mu.RLock()
	defer f.v.mu.RUnlock()
	switch err := f.guard(ctx); {
	case err != nil:
		return nil, err
	case f.isDir():
		return nil, nt.FileIsADirectory
	case off < 0 || n < 0 || off+n < off:
		return nil, nt.InvalidParameter
	}
	end := min(off+n, f.data().size)
	have := make([]int64, 0, len(f.data().p))
	for page := range f.data().p {
		have = append(have, page)
	}
	slices.Sort(have)
	for _, page := range have {
		from, to := max(page*pageSize, off), min((page+1)*pageSize, end)
		if from >= to {
			continue
		}
		if last := len(out) - 1; last >= 0 && out[last][0]+out[last][1] == from {
			out[last][1] += to - from
			continue
		}
		out = append(out, [2]int64{from, to - from})
	}
	return out, nil
}

// SetSparse implements vfs.Allocator.
func (f *File) SetSparse(ctx context.Context, on bool) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if err := f.guard(ctx); err != nil {
		return err
	}
	if f.isDir() {
		return nt.FileIsADirectory
	}
	if f.s != nil {
		f.s.sparse = on
		return nil
	}
	f.n.attr.Attributes &^= vfs.AttrSparse
	if on {
		f.n.attr.Attributes |= vfs.AttrSparse
	}
	f.touch(vfs.SetChange)
	f.modified(vfs.ChangeAttributes)
	return nil
}

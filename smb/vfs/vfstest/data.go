package vfstest

import (
	"bytes"
	"io"
	"strings"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

func readWrite(p *paper) {
	f := p.make("f", "hello, world")
	b := make([]byte, 5)
	if n, err := f.ReadAt(b, 7); n != 5 || err != nil || string(b) != "world" {
		p.Fatalf("%d, %v, %q", n, err, b)
	}
	if n, err := f.ReadAt(b, 10); n != 2 || err != io.EOF || string(b[:n]) != "ld" {
		p.Fatalf("at the end: %d, %v", n, err)
	}
	for _, off := range []int64{12, 13, 1 << 40, 1<<63 - 1} {
		if n, err := f.ReadAt(b, off); n != 0 || err == nil {
			p.Fatalf("past the end: %d, %v", n, err)
		}
	}
	if n, err := f.ReadAt(nil, 0); n != 0 || err != nil {
		p.Fatalf("nothing read: %d, %v", n, err)
	}
	if n, err := f.WriteAt(nil, 100); n != 0 || err != nil || p.attr(f).Size != 12 {
		p.Fatalf("nothing written: %d, %v", n, err)
	}
	if _, err := f.ReadAt(b, -1); err == nil || err == io.EOF {
		p.Fatalf("read at -1: %v", err)
	}
	if _, err := f.WriteAt(b, -1); err == nil {
		p.Fatal("wrote at -1")
	}
	p.write(f, "W", 7)
	p.holds(f, "hello, World")
	p.holds(p.get("f"), "hello, World") // and another open sees it
	big := strings.Repeat("0123456789abcdef", 1<<16)
	p.write(f, big, 3)
	p.holds(f, "hel"+big)
}

func holes(p *paper) {
	f := p.make("f", "ab")
	p.write(f, "z", 100_000)
	p.holds(f, "ab"+strings.Repeat("\x00", 99_998)+"z")
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Size: 1}, vfs.WantSize))
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Size: 5}, vfs.WantSize))
	p.holds(f, "a\x00\x00\x00\x00") // what was cut off does not come back
}

func sixtyFour(p *paper) {
	f := p.make("f", "")
	const off = 5 << 30
	p.write(f, "end", off)
	if a := p.attr(f); a.Size != off+3 || a.Alloc > 1<<20 {
		p.Fatalf("size %d, allocated %d", a.Size, a.Alloc)
	}
	b := []byte("xxxxxx")
	if n, err := f.ReadAt(b, off-3); n != 6 || err != nil || string(b) != "\x00\x00\x00end" {
		p.Fatalf("%d, %v, %q", n, err, b)
	}
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Size: off + 1}, vfs.WantSize))
	if n, err := f.ReadAt(b, off); n != 1 || err != io.EOF || b[0] != 'e' {
		p.Fatalf("%d, %v", n, err)
	}
}

func size(p *paper) {
	f := p.make("f", "0123456789")
	for _, n := range []int64{4, 4, 20, 0, 1} {
		p.ok(f.SetAttr(p.ctx, vfs.Attr{Size: n}, vfs.WantSize))
		if a := p.attr(f); a.Size != n {
			p.Fatalf("size %d, want %d", a.Size, n)
		}
	}
	for _, n := range []int64{-1, -1 << 63} {
		p.refused(f.SetAttr(p.ctx, vfs.Attr{Size: n}, vfs.WantSize), nt.InvalidParameter)
		p.refused(f.SetAttr(p.ctx, vfs.Attr{Alloc: n}, vfs.WantAlloc), nt.InvalidParameter)
	}
	if err := f.SetAttr(p.ctx, vfs.Attr{Size: 1<<63 - 1}, vfs.WantSize); err == nil {
		p.Log("the volume takes files of 8 EiB")
		p.ok(f.SetAttr(p.ctx, vfs.Attr{Size: 1}, vfs.WantSize))
	}
	if a := p.attr(f); a.Size != 1 {
		p.Fatalf("a refused size changed it to %d", a.Size)
	}
	// Exactly what set names is set.
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Size: 9, Alloc: 9, Attributes: vfs.AttrHidden, Write: 1}, 0))
	if a := p.attr(f); a.Size != 1 || a.Attributes&vfs.AttrHidden != 0 || a.Write == 1 {
		p.Fatalf("set nothing, got %+v", a)
	}
}

func reserve(p *paper) {
	f := p.make("f", "0123456789")
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Alloc: 1 << 20}, vfs.WantAlloc))
	if a := p.attr(f); a.Size != 10 {
		p.Fatalf("reserving moved the end to %d", a.Size)
	}
	p.holds(f, "0123456789")
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Alloc: 4}, vfs.WantAlloc))
	p.holds(f, "0123")
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Alloc: 4096}, vfs.WantAlloc))
	p.holds(f, "0123")
}

func overwrite(p *paper) {
	f := p.make("f", "contents")
	before := f.ID()
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Attributes: vfs.AttrSystem}, vfs.WantAttributes))
	g, _ := p.open("f", vfs.How{Access: attribute}) // whatever the open was for
	p.ok(g.Overwrite(p.ctx, vfs.AttrHidden))
	a := p.attr(g)
	if a.Size != 0 || a.Attributes != vfs.AttrHidden|vfs.AttrArchive || a.ID != before {
		p.Fatalf("%+v", a)
	}
	p.holds(f, "")
}

func durable(p *paper) {
	d := p.mkdir("d")
	f, _ := p.open(`d\f`, vfs.How{Disposition: vfs.Create, Access: writing, WriteThrough: true})
	p.write(f, "through", 0)
	p.write(f, "-", 100)
	p.ok(f.Sync(p.ctx))
	p.ok(f.Rename(p.ctx, at("g"), false))
	p.ok(f.Sync(p.ctx))
	p.ok(d.Sync(p.ctx))
	p.ok(p.get("").Sync(p.ctx))
	p.ok(f.Unlink(p.ctx))
	p.ok(f.Sync(p.ctx)) // contents without a name are as durable as they will be
	if got := p.contents(f); !strings.HasPrefix(got, "through") || len(got) != 101 {
		p.Fatalf("%q", got)
	}
}

func copyRange(p *paper) {
	src := p.make("src", strings.Repeat("0123456789abcdef", 1<<14))
	c, ok := src.(vfs.Cloner)
	if !ok {
		p.Skip("no Cloner")
	}
	all := p.contents(src)
	dst := p.make("dst", "")
	// Aligned and not, in pieces as they come.
	for _, r := range []struct{ src, dst, n int64 }{{0, 0, 128 << 10}, {3, 5, 1000}, {4096, 8192, 65536}, {int64(len(all)) - 10, 0, 10}} {
		for done := int64(0); done < r.n; {
			n, err := c.CopyRange(p.ctx, dst, r.src+done, r.dst+done, r.n-done)
			if err != nil || n <= 0 || n > r.n-done {
				p.Fatalf("%+v: after %d: %d, %v", r, done, n, err)
			}
			done += n
		}
		b := make([]byte, r.n)
		if _, err := dst.ReadAt(b, r.dst); (err != nil && err != io.EOF) || string(b) != all[r.src:r.src+r.n] {
			p.Fatalf("%+v: not what was copied (%v)", r, err)
		}
	}
	if n, err := c.CopyRange(p.ctx, dst, int64(len(all)), 0, 100); n != 0 || err != nil {
		p.Fatalf("past the end: %d, %v", n, err)
	}
	_, err := c.CopyRange(p.ctx, src, 0, 100, 1000)
	p.refused(err, nt.NotSupported)
	_, err = c.CopyRange(p.ctx, src, 100, 0, 1000)
	p.refused(err, nt.NotSupported)
	_, err = c.CopyRange(p.ctx, dst, -1, 0, 1)
	p.refused(err, nt.InvalidParameter)
	_, err = c.CopyRange(p.ctx, dst, 0, 0, -1)
	p.refused(err, nt.InvalidParameter)
	p.holds(src, all)
}

func zero(p *paper) {
	const n = 1 << 20
	f := p.make("f", strings.Repeat("x", n))
	z, ok := f.(vfs.Allocator)
	if !ok {
		p.Skip("no Allocator")
	}
	want := bytes.Repeat([]byte("x"), n)
	for _, r := range []struct{ off, n int64 }{{100, 50}, {4000, 200}, {65536, 131072}, {n - 10, 10}, {n - 5, 1 << 30}, {1 << 40, 5}, {0, 0}} {
		p.ok(z.Zero(p.ctx, r.off, r.n))
		if r.off < n {
			clear(want[r.off:min(r.off+r.n, n)])
		}
	}
	p.holds(f, string(want)) // and the end of file has not moved
	p.refused(z.Zero(p.ctx, -1, 1), nt.InvalidParameter)
	p.refused(z.Zero(p.ctx, 1, -1), nt.InvalidParameter)
	p.refused(z.Zero(p.ctx, 1<<62, 1<<62+1<<61), nt.InvalidParameter)

	// Every range holds data, in order, within what was asked; what is outside of them reads as zeros.
	for _, q := range []struct{ off, n int64 }{{0, n}, {5000, 200_000}, {0, 1 << 40}, {n, 10}, {70000, 0}} {
		last, end := q.off, q.off+q.n
		check := func(from, to int64) {
			for i := from; i < min(to, n); i++ {
				if want[i] != 0 {
					p.Fatalf("range %+v: data at %d is in no range", q, i)
				}
			}
		}
		p.ok(z.Ranges(p.ctx, q.off, q.n, func(off, n int64) bool {
			if off < last || n <= 0 || off+n > end {
				p.Fatalf("range %+v: got %d+%d after %d", q, off, n, last)
			}
			check(last, off)
			last = off + n
			return true
		}))
		check(last, end)
	}
	calls := 0
	p.ok(z.Ranges(p.ctx, 0, n, func(int64, int64) bool { calls++; return false }))
	if calls != 1 {
		p.Fatalf("%d calls after the first said enough", calls)
	}
	for _, on := range []bool{true, false} {
		p.ok(z.SetSparse(p.ctx, on))
		if a := p.attr(f); (a.Attributes&vfs.AttrSparse != 0) != on {
			p.Fatalf("sparse %v: attributes %#x", on, a.Attributes)
		}
		p.ok(f.SetAttr(p.ctx, vfs.Attr{Attributes: vfs.AttrHidden}, vfs.WantAttributes))
		if a := p.attr(f); (a.Attributes&vfs.AttrSparse != 0) != on {
			p.Fatalf("SetAttr changed sparse %v: attributes %#x", on, a.Attributes)
		}
	}
}

package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// streamLengths are of streams that storages keep in different ways.
var streamLengths = []int{10, 3000, 1 << 20}

// streamHoles: streams are zeroed, listed and marked sparse as files are, each for itself.
func streamHoles(p *paper) {
	base := p.make("f", "main")
	for _, n := range streamLengths {
		f := p.attach("f", fmt.Sprint("s", n), strings.Repeat("x", n))
		z, ok := f.(vfs.Allocator)
		if !ok {
			p.Fatal("the stream is no Allocator, its file is one")
		}
		want := bytes.Repeat([]byte("x"), n)
		for _, r := range []struct{ off, n int64 }{{int64(n) / 4, int64(n) / 2}, {int64(n) - 1, 1 << 30}, {1 << 40, 5}, {0, 0}} {
			p.ok(z.Zero(p.ctx, r.off, r.n))
			if r.off < int64(n) {
				clear(want[r.off:min(r.off+r.n, int64(n))])
			}
		}
		p.holds(f, string(want))
		p.refused(z.Zero(p.ctx, -1, 1), nt.InvalidParameter)
		p.refused(z.Zero(p.ctx, 1, -1), nt.InvalidParameter)
		p.refused(z.Zero(p.ctx, 1<<62, 1<<62+1<<61), nt.InvalidParameter)

		covered := make([]bool, n)
		p.ok(z.Ranges(p.ctx, 0, 1<<40, func(off, length int64) bool {
			for i := off; i < off+length && i < int64(n); i++ {
				covered[i] = true
			}
			return true
		}))
		for i, c := range covered {
			if !c && want[i] != 0 {
				p.Fatalf("%d bytes: data at %d is in no range", n, i)
			}
		}
		p.ok(z.Ranges(p.ctx, int64(n), 10, func(off, length int64) bool {
			p.Errorf("%d bytes: data at %d, past the end", n, off)
			return true
		}))
		p.refused(z.Ranges(p.ctx, -1, 1, nil), nt.InvalidParameter)

		for _, on := range []bool{true, true, false, false} {
			p.ok(z.SetSparse(p.ctx, on))
			if a := p.attr(f); (a.Attributes&vfs.AttrSparse != 0) != on {
				p.Fatalf("%d bytes, sparse %v: attributes %#x", n, on, a.Attributes)
			}
			if a := p.attr(base); a.Attributes&vfs.AttrSparse != 0 {
				p.Fatalf("the file is sparse because its stream is: %#x", a.Attributes)
			}
			p.holds(f, string(want))
		}
		p.ok(z.SetSparse(p.ctx, true))
		again, _ := p.stream("f", fmt.Sprint("s", n), vfs.How{Access: writing})
		if a := p.attr(again); a.Attributes&vfs.AttrSparse == 0 {
			p.Errorf("%d bytes: another open does not see that it is sparse: %#x", n, a.Attributes)
		}
	}
	reader, _ := p.stream("f", "s10", vfs.How{Access: dtyp.FileRead})
	p.refused(reader.(vfs.Allocator).Zero(p.ctx, 0, 1), nt.AccessDenied)
}

// streamCopies: what is copied within the storage, or shared, is there as a whole; what cannot be is left alone.
func streamCopies(p *paper) {
	v, ok := p.v.(vfs.Featured)
	shares := ok && v.Features()&vfs.BlockSharing != 0
	text := func(n int) string { return strings.Repeat("0123456789abcdef", n/16+1)[:n] }
	kinds := []struct {
		name string
		make func(name, contents string) vfs.File
	}{
		{"file", p.make},
		{"stream", func(name, contents string) vfs.File {
			p.make(name, "main")
			return p.attach(name, "s", contents)
		}},
	}
	for _, from := range kinds {
		for _, to := range kinds {
			for _, size := range streamLengths {
				name := fmt.Sprint(from.name, to.name, size)
				src, was := from.make(name+"1", text(size)), strings.Repeat("-", size)
				dst := to.make(name+"2", was)
				whole := func(did bool, err error) {
					p.Helper()
					switch {
					case did:
						p.ok(err)
						p.holds(dst, text(size))
					case errors.Is(err, nt.NotSupported), errors.Is(err, nt.NotSameDevice):
						p.holds(dst, was)
					default:
						p.Fatalf("%s: %v", name, err)
					}
				}
				if c, ok := src.(vfs.Sharer); ok {
					err := c.ShareRange(p.ctx, dst, 0, 0, int64(size))
					if shares && size == 1<<20 {
						p.ok(err)
					}
					if err == nil {
						p.holds(dst, text(size))
						p.write(dst, was, 0)
					} else {
						p.holds(dst, was)
					}
				}
				if c, ok := src.(vfs.Cloner); ok {
					n, err := c.CopyRange(p.ctx, dst, 0, 0, int64(size))
					whole(n == int64(size), err)
				}
				p.holds(src, text(size))
			}
		}
	}
	long := p.attach("streamstream101", "long", text(1<<20))
	if c, ok := long.(vfs.Cloner); ok {
		_, err := c.CopyRange(p.ctx, long, 0, 100, 1000)
		p.refused(err, nt.NotSupported)
		_, err = c.CopyRange(p.ctx, long, -1, 0, 1)
		p.refused(err, nt.InvalidParameter)
		reader, _ := p.stream("streamstream101", "long", vfs.How{Access: dtyp.FileRead})
		_, err = c.CopyRange(p.ctx, reader, 0, 1<<20, 1000)
		p.refused(err, nt.AccessDenied)
	}
}

// streamMac: a listing tells what Macs keep, however that is kept, and nothing of what is not theirs.
func streamMac(p *paper) {
	p.make("none", "main")
	p.make("other", "main")
	p.attach("other", "Zone.Identifier", "x")
	p.make("both", "main")
	p.attach("both", "afp_afpinfo", strings.Repeat("i", vfs.FinderMax))
	p.attach("both", vfs.ForkStream, strings.Repeat("f", 1<<20))
	p.make("short", "main")
	p.attach("short", vfs.ForkStream, "fork")
	p.make("long", "main")
	p.attach("long", vfs.FinderStream, strings.Repeat("i", 100_000))
	p.mkdir("dir")
	p.attach("dir", vfs.FinderStream, "d")
	got := map[string]string{}
	p.ok(p.get("").ReadDir(p.ctx, 0, nil, vfs.WantAll|vfs.WantMac, func(_ uint64, e vfs.Entry) bool {
		got[e.Name] = fmt.Sprintf("%s %d", e.FinderInfo, e.Fork)
		return true
	}))
	for name, want := range map[string]string{
		"none": " 0", "other": " 0", "both": fmt.Sprintf("%s %d", strings.Repeat("i", vfs.FinderMax), 1<<20), "short": " 4", "long": " 0", "dir": "d 0",
	} {
		if got[name] != want {
			p.Errorf("%s: %.80q, want %.80q", name, got[name], want)
		}
	}
}

package memfs

import (
	"context"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Cookies: 0 is the start, 1 follows ".", 2 follows "..", and from there on n+1 follows the entry of number n.
const (
	afterDot = iota + 1
	afterDotDot
	firstSeq = afterDotDot
)

// batch is how many entries are collected under one hold of the lock.
const batch = 64

type listed struct {
	next uint64
	e    vfs.Entry
}

// ReadDir implements vfs.File.
func (f *File) ReadDir(ctx context.Context, cookie uint64, match func(string) bool, _ vfs.Mask, emit func(uint64, vfs.Entry) bool) error {
	if !f.isDir() {
		return nt.InvalidParameter
	}
	var buf [batch]listed
	for {
		got, err := f.list(ctx, cookie, buf[:0])
		if err != nil || len(got) == 0 {
			return err
		}
		for _, l := range got {
			if (match == nil || match(l.e.Name)) && !emit(l.next, l.e) {
				return nil
			}
			cookie = l.next
		}
	}
}

// list fills buf with what follows cookie.
func (f *File) list(ctx context.Context, cookie uint64, buf []listed) ([]listed, error) {
	f.v.mu.RLock()
	defer f.v.mu.RUnlock()
	if err := f.guard(ctx); err != nil {
		return nil, err
	}
	if cookie < afterDot {
		buf = append(buf, listed{afterDot, vfs.Entry{Name: ".", Attr: f.v.attrOf(f.n)}})
	}
	if cookie < afterDotDot {
		up := f.n.self.parent
		if up == nil {
			up = f.n
		}
		buf = append(buf, listed{afterDotDot, vfs.Entry{Name: "..", Attr: f.v.attrOf(up)}})
	}
	for i := f.n.find(cookie); i < len(f.n.order) && len(buf) < cap(buf); i++ {
		e := f.n.order[i]
		buf = append(buf, listed{e.seq + 1, e.node.entry(f.v.attrOf(e.node), e.name)})
	}
	return buf, nil
}

func (n *node) entry(a vfs.Attr, name string) vfs.Entry {
	e := vfs.Entry{Name: name, Attr: a, Security: n.sd}
	if s := n.stream(vfs.FinderStream); s != nil && s.data.size <= vfs.FinderMax {
		e.FinderInfo = make([]byte, s.data.size)
		s.data.read(e.FinderInfo, 0)
	}
	if s := n.stream(vfs.ForkStream); s != nil {
		e.Fork = s.data.size
	}
	return e
}

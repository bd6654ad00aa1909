package vfstest

import (
	"strings"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// can skips the question if the Volume lacks the feature.
func (p *paper) can(want vfs.Feature) {
	p.Helper()
	v, ok := p.v.(vfs.Featured)
	if !ok || v.Features()&want == 0 {
		p.Skip("the filesystem cannot")
	}
}

func share(p *paper) {
	p.can(vfs.BlockSharing)
	const block = 64 << 10 // a multiple of any filesystem's
	src := p.make("src", strings.Repeat("a", block)+strings.Repeat("b", block)+"end")
	dst := p.make("dst", strings.Repeat("x", 3*block))
	s := src.(vfs.Sharer)
	p.ok(s.ShareRange(p.ctx, dst, block, 0, block))
	p.holds(dst, strings.Repeat("b", block)+strings.Repeat("x", 2*block))
	p.ok(s.ShareRange(p.ctx, dst, 0, 0, 0))
	p.write(dst, "mine", 0) // and what is written to one is not in the other
	p.holds(src, strings.Repeat("a", block)+strings.Repeat("b", block)+"end")
	p.ok(s.ShareRange(p.ctx, src, 0, block, block))
	p.holds(src, strings.Repeat("a", 2*block)+"end")

	p.refused(s.ShareRange(p.ctx, dst, 2*block, 0, block), nt.NotSupported)    // past the source
	p.refused(s.ShareRange(p.ctx, dst, 0, 3*block, block), nt.NotSupported)    // past the target
	p.refused(s.ShareRange(p.ctx, src, 0, block/2, block), nt.NotSupported)    // over itself
	p.refused(s.ShareRange(p.ctx, dst, -block, 0, block), nt.InvalidParameter) // nowhere
	p.refused(s.ShareRange(p.ctx, dst, 0, 1<<62, 1<<62), nt.InvalidParameter, nt.NotSupported)
	p.refused(s.ShareRange(p.ctx, p.mkdir("dir"), 0, 0, block), nt.FileIsADirectory, nt.NotSupported)
	if a := p.attr(dst); a.Size != 3*block {
		p.Errorf("the target is %d bytes long now", a.Size)
	}
	if err := s.ShareRange(p.ctx, dst, 1, 0, block); err == nil {
		p.Error("a range was shared that begins within a block")
	}
}

func compress(p *paper) {
	p.can(vfs.Compression)
	compressed := func(f vfs.File) bool { return p.attr(f).Attributes&vfs.AttrCompressed != 0 }
	dir := p.mkdir("dir")
	p.ok(dir.(vfs.Compressor).SetCompressed(p.ctx, true))
	if !compressed(dir) {
		p.Error("the directory does not say that it is compressed")
	}
	f := p.make(`dir\f`, "")
	if !compressed(f) {
		p.Error("a new file does not inherit compression")
	}
	text := strings.Repeat("compress me ", 20_000)
	p.write(f, text, 0)
	p.holds(f, text)
	p.ok(f.Overwrite(p.ctx, 0))
	if !compressed(f) {
		p.Error("a file that was emptied is not compressed any more")
	}
	p.ok(f.(vfs.Compressor).SetCompressed(p.ctx, false))
	if compressed(f) || compressed(p.make("outside", "")) {
		p.Error("compressed without being asked to")
	}
}

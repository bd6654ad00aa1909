package vfstest

import (
	"errors"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// posixCase: names with regard to case, on the way and at the end. A volume may be unable to keep apart what differs in
// case alone, but never takes one for the other.
func posixCase(p *paper) {
	p.mkdir("Dir")
	p.make(`Dir\file`, "lower")
	p.ok(p.try(`Dir\file`, vfs.How{POSIX: true}))
	p.refused(p.try(`Dir\FILE`, vfs.How{POSIX: true}), nt.ObjectNameNotFound)
	p.refused(p.try(`dir\file`, vfs.How{POSIX: true}), nt.ObjectPathNotFound)
	p.refused(p.try(`dir\new`, vfs.How{POSIX: true, Disposition: vfs.Create}), nt.ObjectPathNotFound)
	p.refused(p.try(`Dir\file`, vfs.How{POSIX: true, Disposition: vfs.Create}), nt.ObjectNameCollision)
	p.ok(p.try(`dir\FILE`, vfs.How{}))

	how := vfs.How{POSIX: true, Disposition: vfs.OpenIf, Access: writing, NonDirectory: true, Mode: 0o600}
	upper, action, err := p.v.Open(p.ctx, at(`Dir\FILE`), how)
	if errors.Is(err, nt.ObjectNameCollision) {
		p.holds(p.get(`Dir\file`), "lower")
		return
	}
	p.ok(err)
	p.opens[upper] = true
	if action != vfs.Created {
		p.Fatalf("action %v", action)
	}
	p.write(upper, "UPPER", 0)
	p.holds(p.get(`Dir\file`), "lower")
	p.holds(p.get(`Dir\FILE`), "UPPER")

	// A rename takes the very name, and leaves its neighbor.
	p.ok(upper.Rename(p.ctx, at(`Dir\File`), true))
	p.holds(p.get(`Dir\file`), "lower")
	p.refused(upper.Rename(p.ctx, at(`Dir\file`), false), nt.ObjectNameCollision)
	p.refused(upper.Rename(p.ctx, at(`dir\x`), false), nt.ObjectPathNotFound)
	p.ok(upper.Rename(p.ctx, at(`Dir\file`), true))
	p.holds(p.get(`Dir\file`), "UPPER")
	if got := p.names("Dir"); len(got) != 1 {
		p.Fatalf("left: %q", got)
	}
}

func posixMode(p *paper) {
	f, _ := p.open("f", vfs.How{Disposition: vfs.Create, Access: writing, POSIX: true, Mode: 0o640})
	d, _ := p.open("d", vfs.How{Disposition: vfs.Create, Access: writing, Directory: true, POSIX: true, Mode: 0o1777})
	has := func(f vfs.File, mode uint32) {
		p.Helper()
		if a := p.attr(f); a.Mode != mode {
			p.Fatalf("mode %#o, want %#o", a.Mode, mode)
		}
	}
	if p.attr(f).Mode == 0 {
		p.Skip("no modes")
	}
	has(f, vfs.ModeRegular|0o640)
	has(d, vfs.ModeDirectory|0o1777)
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Mode: 0o6751}, vfs.SetMode)) // without set-user-ID and set-group-ID
	has(f, vfs.ModeRegular|0o751)
	// Nothing else sets it.
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Attributes: vfs.AttrHidden}, vfs.WantAttributes))
	has(f, vfs.ModeRegular|0o751)
	if s, ok := f.(vfs.Security); ok && s.SetSecurityDescriptor(p.ctx, someDescriptor) == nil {
		p.ok(f.SetAttr(p.ctx, vfs.Attr{Mode: 0o600}, vfs.SetMode))
		if b, err := s.SecurityDescriptor(p.ctx); err != nil || string(b) != string(someDescriptor) {
			p.Fatalf("the descriptor after a change of mode: % x, %v", b, err)
		}
	}
}

// someDescriptor is a header that says of everything that there is none.
var someDescriptor = []byte{1, 0, 0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

package vfstest

import (
	"slices"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

func (p *paper) isAt(f vfs.File, want string) {
	p.Helper()
	if where, err := f.Path(p.ctx); err != nil || where.String() != want {
		p.Fatalf("is at %q, %v; want %q", where, err, want)
	}
}

func renameFile(p *paper) {
	f := p.make("f", "x")
	p.mkdir("d")
	p.ok(f.Rename(p.ctx, at("g"), false))
	p.refused(p.try("f", vfs.How{}), nt.ObjectNameNotFound)
	p.holds(p.get("g"), "x")
	p.isAt(f, "g")
	p.ok(f.Rename(p.ctx, at(`D\H`), false)) // the directory keeps its case
	p.isAt(f, `d\H`)
	p.write(f, "y", 0) // the open is as good as before
	p.holds(p.get(`d\h`), "y")
	p.ok(f.Rename(p.ctx, at("back"), true)) // replace with nothing to replace
	p.isAt(f, "back")
	p.ok(f.Rename(p.ctx, at("back"), false)) // to where it is
	p.isAt(f, "back")
	p.make("back2", "") // an old name is free again
	p.make("f", "")
	// Opens by the same name follow.
	g := p.get("back")
	p.ok(f.Rename(p.ctx, at("again"), false))
	p.isAt(g, "again")
}

func renameCase(p *paper) {
	f := p.make("readme", "x")
	for _, replace := range []bool{false, true} {
		for _, name := range []string{"README", "ReadMe", "readme"} {
			p.ok(f.Rename(p.ctx, at(name), replace))
			p.isAt(f, name)
			if got := p.names(""); !slices.Equal(got, []string{name}) {
				p.Fatalf("listed %q", got)
			}
			p.holds(p.get("readme"), "x")
		}
	}
	d := p.mkdir("dir")
	p.make(`dir\in`, "")
	p.ok(d.Rename(p.ctx, at("DIR"), false))
	p.isAt(d, "DIR")
	p.ok(p.try(`dir\IN`, vfs.How{}))
}

func renameReplace(p *paper) {
	f, g := p.make("f", "new"), p.make("Target", "old")
	p.refused(f.Rename(p.ctx, at("target"), false), nt.ObjectNameCollision)
	p.holds(p.get("target"), "old")
	p.isAt(f, "f")
	p.ok(f.Rename(p.ctx, at("target"), true))
	p.holds(p.get("Target"), "new")
	p.holds(g, "old") // who had it open keeps it
	p.isAt(f, "target")
	if got := p.names(""); !slices.Equal(got, []string{"target"}) {
		p.Fatalf("listed %q", got)
	}
	if _, err := g.Path(p.ctx); err == nil {
		p.Fatal("what was replaced still has a path")
	}
	if p.attr(g).Links != 0 {
		p.Fatalf("what was replaced has %d links", p.attr(g).Links)
	}
}

func renameDirectory(p *paper) {
	d := p.mkdir("d")
	e := p.mkdir("e")
	sub := p.mkdir(`d\sub`)
	f := p.make(`d\sub\f`, "x")
	p.ok(d.Rename(p.ctx, at(`e\moved`), false))
	p.isAt(f, `e\moved\sub\f`)
	p.isAt(sub, `e\moved\sub`)
	p.refused(p.try(`d\sub\f`, vfs.How{}), nt.ObjectPathNotFound)
	p.holds(p.get(`E\Moved\Sub\F`), "x")
	// Handles within work where they are now.
	p.ok(f.Rename(p.ctx, at(`e\f`), false))
	p.ok(f.Unlink(p.ctx))
	p.ok(sub.Unlink(p.ctx))
	p.ok(d.Unlink(p.ctx))
	p.ok(e.Unlink(p.ctx))
	if got := p.names(""); len(got) != 0 {
		p.Fatalf("left %q", got)
	}
}

func renameRefused(p *paper) {
	f, d := p.make("f", "x"), p.mkdir("d")
	e := p.mkdir("e")
	p.mkdir(`e\sub`)
	p.refused(f.Rename(p.ctx, at(`no\f`), true), nt.ObjectPathNotFound)
	p.refused(f.Rename(p.ctx, at(`f\g`), true), nt.ObjectPathNotFound)
	p.refused(f.Rename(p.ctx, at(""), true), nt.ObjectNameCollision)
	for _, replace := range []bool{false, true} {
		want := nt.ObjectNameCollision
		if replace {
			want = nt.AccessDenied // only files are replaced, and only by files
		}
		p.refused(f.Rename(p.ctx, at("d"), replace), want)
		p.refused(d.Rename(p.ctx, at("f"), replace), want)
		p.refused(d.Rename(p.ctx, at("E"), replace), want)
		p.refused(e.Rename(p.ctx, at(`e\sub\e`), replace), nt.AccessDenied)
		p.refused(e.Rename(p.ctx, at(`e\e`), replace), nt.AccessDenied)
	}
	p.isAt(f, "f")
	p.isAt(d, "d")
	p.isAt(e, "e")
	p.holds(p.get("f"), "x")
	p.ok(f.Unlink(p.ctx))
	p.refused(f.Rename(p.ctx, at("g"), false), nt.FileDeleted)
}

func unlinkFile(p *paper) {
	f := p.make("f", "x")
	g := p.get("f")
	p.ok(f.Unlink(p.ctx))
	p.refused(p.try("f", vfs.How{}), nt.ObjectNameNotFound)
	if got := p.names(""); len(got) != 0 {
		p.Fatalf("listed %q", got)
	}
	p.write(f, "still", 0)
	p.holds(g, "still")
	if a := p.attr(f); a.Size != 5 || a.Links != 0 {
		p.Fatalf("%+v", a)
	}
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Size: 2, Attributes: vfs.AttrHidden}, vfs.WantSize|vfs.WantAttributes))
	p.refused(f.Unlink(p.ctx), nt.FileDeleted)
	p.refused(g.Unlink(p.ctx), nt.FileDeleted)
	_, err := f.Path(p.ctx)
	p.refused(err, nt.FileDeleted)
	// Any open may unlink.
	p.make("h", "")
	h, _ := p.open("H", vfs.How{Access: attribute})
	p.ok(h.Unlink(p.ctx))
	p.refused(p.try("h", vfs.How{}), nt.ObjectNameNotFound)
}

func unlinkDirectory(p *paper) {
	d := p.mkdir("d")
	f := p.make(`d\f`, "")
	p.refused(d.Unlink(p.ctx), nt.DirectoryNotEmpty)
	p.ok(f.Unlink(p.ctx))
	p.ok(d.Unlink(p.ctx))
	p.refused(p.try("d", vfs.How{}), nt.ObjectNameNotFound)
	p.refused(p.try(`d\f`, vfs.How{Disposition: vfs.Create}), nt.ObjectPathNotFound)
	p.ok(d.ReadDir(p.ctx, 0, nil, 0, func(_ uint64, e vfs.Entry) bool {
		if e.Name != "." && e.Name != ".." {
			p.Errorf("%q in a removed directory", e.Name)
		}
		return true
	}))
	p.refused(d.Unlink(p.ctx), nt.FileDeleted)
}

// unlinkTakenName is about names that others have taken: they are never touched.
func unlinkTakenName(p *paper) {
	f := p.make("f", "first")
	g := p.get("f")
	p.ok(f.Rename(p.ctx, at("g"), false))
	p.make("f", "second")
	p.ok(g.Unlink(p.ctx)) // opened as f, is at g
	p.holds(p.get("f"), "second")
	p.refused(p.try("g", vfs.How{}), nt.ObjectNameNotFound)

	h := p.get("f")
	p.ok(h.Unlink(p.ctx))
	p.make("f", "third")
	p.refused(h.Unlink(p.ctx), nt.FileDeleted)
	p.refused(h.Rename(p.ctx, at("x"), true), nt.FileDeleted)
	p.holds(p.get("f"), "third")

	d := p.mkdir("d")
	in := p.make(`d\in`, "mine")
	p.ok(d.Rename(p.ctx, at("moved"), false))
	p.mkdir("d")
	p.make(`d\in`, "theirs")
	p.ok(in.Unlink(p.ctx))
	p.holds(p.get(`d\in`), "theirs")
	p.refused(p.try(`moved\in`, vfs.How{}), nt.ObjectNameNotFound)
}

func path(p *paper) {
	p.mkdir("Über")
	f := p.make(`über\Ω`, "")
	p.isAt(f, `Über\Ω`)
	p.isAt(p.get(`ÜBER\ω`), `Über\Ω`)
	p.isAt(p.get("über"), "Über")
	deleted := p.make("f (deleted)", "")
	p.isAt(deleted, "f (deleted)")
	p.ok(deleted.Unlink(p.ctx))
	_, err := deleted.Path(p.ctx)
	p.refused(err, nt.FileDeleted)
}

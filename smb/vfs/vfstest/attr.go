package vfstest

import (
	"time"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

func id(p *paper) {
	f, g := p.make("f", ""), p.make("g", "")
	d := p.mkdir("d")
	if f.ID() == g.ID() || f.ID() == d.ID() {
		p.Fatal("two objects with one ID")
	}
	if p.get("F").ID() != f.ID() || p.attr(f).ID != f.ID() {
		p.Fatal("one object with two IDs")
	}
	p.ok(f.Rename(p.ctx, at(`d\h`), false))
	if p.get(`d\h`).ID() != f.ID() {
		p.Fatal("renaming changed the ID")
	}
	// An ID is nobody else's while an open of it lasts, though its name is gone.
	p.ok(g.Unlink(p.ctx))
	for range 100 {
		h := p.make("new", "")
		if h.ID() == g.ID() {
			p.Fatal("the ID of an open object was given to another")
		}
		p.ok(h.Unlink(p.ctx))
		p.close(h)
	}
}

func attributes(p *paper) {
	f, _ := p.open("f", vfs.How{Disposition: vfs.Create, Access: writing, Attributes: vfs.AttrHidden | vfs.AttrArchive | vfs.AttrDirectory | vfs.AttrNormal})
	if a := p.attr(f).Attributes; a != vfs.AttrHidden|vfs.AttrArchive {
		p.Fatalf("made hidden and archive, is %#x", a)
	}
	plain, _ := p.open("plain", vfs.How{Disposition: vfs.Create, Access: writing})
	if a := p.attr(plain).Attributes; a != 0 {
		p.Fatalf("made without attributes, is %#x", a)
	}
	// Those of an object that is there are left alone.
	p.open("f", vfs.How{Disposition: vfs.OpenIf, Access: writing, Attributes: vfs.AttrSystem})
	for _, want := range []uint32{0, vfs.AttrReadOnly, vfs.AttrSystem | vfs.AttrArchive, vfs.AttrSettable &^ vfs.AttrTemporary, vfs.AttrTemporary, vfs.AttrArchive} {
		p.ok(f.SetAttr(p.ctx, vfs.Attr{Attributes: want}, vfs.WantAttributes))
		if a := p.attr(p.get("f")).Attributes; a != want {
			p.Fatalf("set %#x, is %#x", want, a)
		}
	}
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Attributes: ^uint32(0)}, vfs.WantAttributes))
	if a := p.attr(f).Attributes; a != vfs.AttrSettable {
		p.Fatalf("set everything, is %#x", a)
	}
	d, _ := p.open("d", vfs.How{Disposition: vfs.Create, Directory: true, Access: writing, Attributes: vfs.AttrHidden})
	if a := p.attr(d).Attributes; a != vfs.AttrHidden|vfs.AttrDirectory {
		p.Fatalf("hidden directory is %#x", a)
	}
	p.ok(d.SetAttr(p.ctx, vfs.Attr{Attributes: vfs.AttrReadOnly}, vfs.WantAttributes))
	if a := p.attr(d); a.Attributes != vfs.AttrReadOnly|vfs.AttrDirectory || !a.Dir() || a.Size != 0 {
		p.Fatalf("%+v", a)
	}
	p.make(`d\in`, "") // AttrReadOnly of a directory says nothing about its entries
	// Attributes follow the object.
	p.ok(f.Rename(p.ctx, at(`d\f`), false))
	if a := p.attr(p.get(`d\f`)).Attributes; a != vfs.AttrSettable {
		p.Fatalf("renaming made %#x of them", a)
	}
	if a := p.attr(f); a.Links != 1 || a.ReparseTag != 0 {
		p.Fatalf("links %d, tag %#x", a.Links, a.ReparseTag)
	}
}

func near(t dtyp.Filetime) bool {
	since := time.Since(t.Time())
	return since > -2*time.Second && since < time.Minute
}

func times(p *paper) {
	for _, f := range []vfs.File{p.make("f", ""), p.mkdir("d")} {
		a := p.attr(f)
		for i, t := range []dtyp.Filetime{a.Birth, a.Access, a.Write, a.Change} {
			if !near(t) {
				p.Fatalf("new object's time %d is %v", i, t.Time())
			}
		}
		birth := dtyp.FiletimeOf(time.Date(1999, 12, 31, 23, 59, 59, 123_456_700, time.UTC))
		access := dtyp.FiletimeOf(time.Date(2001, 2, 3, 4, 5, 6, 700, time.UTC))
		write := dtyp.FiletimeOf(time.Date(2038, 1, 20, 0, 0, 0, 999_999_900, time.UTC)) // past 32 bits
		p.ok(f.SetAttr(p.ctx, vfs.Attr{Birth: birth}, vfs.SetBirth))
		if b := p.attr(f); b.Birth != birth || b.Access != a.Access || b.Write != a.Write {
			p.Fatalf("setting the birth: %+v", b)
		}
		p.ok(f.SetAttr(p.ctx, vfs.Attr{Access: access}, vfs.SetAccess))
		if b := p.attr(f); b.Access != access || b.Birth != birth || b.Write != a.Write {
			p.Fatalf("setting the access: %+v", b)
		}
		p.ok(f.SetAttr(p.ctx, vfs.Attr{Write: write}, vfs.SetWrite))
		if b := p.attr(f); b.Write != write || b.Birth != birth || b.Access != access {
			p.Fatalf("setting the write: %+v", b)
		}
		p.ok(f.SetAttr(p.ctx, vfs.Attr{Attributes: vfs.AttrHidden}, vfs.WantAttributes))
		if b := p.attr(f); b.Birth != birth || b.Write != write || b.Attributes&vfs.AttrHidden == 0 {
			p.Fatalf("setting attributes: %+v", b)
		}
	}
	g := p.get("f")
	old := dtyp.FiletimeOf(time.Date(1975, 1, 1, 0, 0, 0, 0, time.UTC))
	all := vfs.SetBirth | vfs.SetAccess | vfs.SetWrite | vfs.SetChange
	p.ok(g.SetAttr(p.ctx, vfs.Attr{Birth: old, Access: old, Write: old, Change: old}, all))
	if a := p.attr(g); a.Birth != old || a.Access != old || a.Write != old { // Change not every storage can set
		p.Fatalf("all at once: %+v", a)
	}
	// Writing moves the time of the file, making a file that of its directory.
	h := p.get("f")
	p.write(h, "x", 0)
	if a := p.attr(h); !near(a.Write) || a.Birth != old {
		p.Fatalf("after a write: written %v", a.Write.Time())
	}
	p.make(`d\in`, "")
	if a := p.attr(p.get("d")); !near(a.Write) {
		p.Fatalf("after making an entry: directory written %v", a.Write.Time())
	}
}

func stickyTimes(p *paper) {
	f := p.make("f", "0123456789")
	old := dtyp.FiletimeOf(time.Date(1988, 8, 8, 8, 8, 8, 0, time.UTC))
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Write: old}, vfs.SetWrite))
	stays := func(what string) {
		p.Helper()
		if a := p.attr(f); a.Write != old {
			p.Fatalf("%s moved the write time to %v", what, a.Write.Time())
		}
	}
	p.write(f, "x", 0)
	stays("a write")
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Size: 100}, vfs.WantSize))
	stays("a new size")
	if z, ok := f.(vfs.Allocator); ok {
		p.ok(z.Zero(p.ctx, 0, 50))
		stays("a hole")
	}
	src := p.make("src", "something")
	if c, ok := src.(vfs.Cloner); ok {
		if _, err := c.CopyRange(p.ctx, f, 0, 0, 9); err != nil {
			p.Fatal(err)
		}
		stays("a copy into it")
	}
	p.write(p.get("f"), "y", 0)
	moved := p.attr(f).Write
	if !near(moved) {
		p.Fatal("a write through another open did not move the time")
	}
	p.write(f, "z", 0)
	if a := p.attr(f); a.Write != moved {
		p.Fatalf("a write moved the time to %v, that of another open was %v", a.Write.Time(), moved.Time())
	}
	// -1: no new value, but what it is now stays.
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Write: old}, vfs.SetWrite))
	g := p.get("f")
	p.ok(g.SetAttr(p.ctx, vfs.Attr{Birth: vfs.HoldTime, Access: vfs.HoldTime, Write: vfs.HoldTime, Change: vfs.HoldTime},
		vfs.SetBirth|vfs.SetAccess|vfs.SetWrite|vfs.SetChange))
	stays("holding it")
	before := p.attr(g)
	p.write(g, "z", 0)
	stays("a write through an open that holds it")
	p.contents(g)
	if a := p.attr(g); a.Access != before.Access || a.Birth != before.Birth {
		p.Fatalf("held times moved: %+v, %+v", before, a)
	}
	// -2 lets go.
	p.ok(g.SetAttr(p.ctx, vfs.Attr{Write: vfs.FreeTime}, vfs.SetWrite))
	stays("letting go")
	p.write(g, "z", 0)
	if a := p.attr(f); !near(a.Write) {
		p.Fatalf("a write after letting go did not move the time: %v", a.Write.Time())
	}
}

// reserving says that space which is reserved is a change of the object, and none of its contents.
func reserving(p *paper) {
	f := p.make("f", "0123456789")
	old := dtyp.FiletimeOf(time.Date(1988, 8, 8, 8, 8, 8, 0, time.UTC))
	p.ok(p.get("f").SetAttr(p.ctx, vfs.Attr{Write: old}, vfs.SetWrite))
	for _, alloc := range []int64{8192, 8192, 10} {
		p.ok(f.SetAttr(p.ctx, vfs.Attr{Alloc: alloc}, vfs.WantAlloc))
		if a := p.attr(f); a.Write != old || !near(a.Change) {
			p.Fatalf("%d bytes reserved: written %v, changed %v", alloc, a.Write.Time(), a.Change.Time())
		}
	}
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Alloc: 5}, vfs.WantAlloc))
	if a := p.attr(f); !near(a.Write) || a.Size != 5 {
		p.Fatalf("cut to 5: written %v, %d bytes", a.Write.Time(), a.Size)
	}
}

func usage(p *paper) {
	total, free, err := p.v.Usage(p.ctx)
	if err != nil || total <= 0 || free < 0 || free > total {
		p.Fatalf("total %d, free %d, %v", total, free, err)
	}
	if l, ok := p.v.(vfs.Labeled); ok {
		label, serial := l.Label()
		again, serial2 := l.Label()
		if label != again || serial != serial2 || len(label) > 32 {
			p.Fatalf("label %q %08x, then %q %08x", label, serial, again, serial2)
		}
	}
}

func link(p *paper) {
	f := p.make("f", "shared")
	l, ok := f.(vfs.Linker)
	if !ok {
		p.Skip("no Linker")
	}
	d := p.mkdir("d")
	p.ok(l.Link(p.ctx, at(`d\g`), false))
	g := p.get(`D\G`)
	if g.ID() != f.ID() || p.attr(g).Links != 2 {
		p.Fatalf("%v and %v, %d links", f.ID(), g.ID(), p.attr(g).Links)
	}
	p.write(g, "S", 0)
	p.holds(f, "Shared")
	p.refused(l.Link(p.ctx, at(`D\G`), false), nt.ObjectNameCollision)
	p.refused(l.Link(p.ctx, at("F"), false), nt.ObjectNameCollision)
	p.refused(l.Link(p.ctx, at(`no\g`), false), nt.ObjectPathNotFound)
	p.refused(l.Link(p.ctx, at("d"), true), nt.AccessDenied)
	p.refused(d.(vfs.Linker).Link(p.ctx, at("e"), false), nt.FileIsADirectory)
	p.ok(l.Link(p.ctx, at(`d\g`), true)) // over itself: nothing to do
	if p.attr(f).Links != 2 {
		p.Fatalf("%d links", p.attr(f).Links)
	}
	other := p.make("other", "other")
	p.ok(l.Link(p.ctx, at("OTHER"), true))
	p.holds(p.get("other"), "Shared")
	p.holds(other, "other")
	if p.attr(f).Links != 3 || p.attr(other).Links != 0 {
		p.Fatalf("%d and %d links", p.attr(f).Links, p.attr(other).Links)
	}
	// Each open unlinks and moves the name that it was opened by.
	p.ok(g.Unlink(p.ctx))
	p.refused(p.try(`d\g`, vfs.How{}), nt.ObjectNameNotFound)
	p.holds(p.get("f"), "Shared")
	p.ok(f.Rename(p.ctx, at("moved"), false))
	p.holds(p.get("moved"), "Shared")
	p.holds(p.get("other"), "Shared")
	// Over another name of the same object, which then is gone.
	p.refused(f.Rename(p.ctx, at("other"), false), nt.ObjectNameCollision)
	p.ok(f.Rename(p.ctx, at("other"), true))
	p.refused(p.try("moved", vfs.How{}), nt.ObjectNameNotFound)
	if p.attr(p.get("other")).Links != 1 {
		p.Fatalf("%d links", p.attr(f).Links)
	}
	p.ok(f.Unlink(p.ctx))
	p.refused(l.Link(p.ctx, at("back"), false), nt.FileDeleted)
}

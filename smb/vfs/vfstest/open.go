package vfstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

func dispositions(p *paper) {
	p.refused(p.try("f", vfs.How{Disposition: vfs.Open, Access: reading}), nt.ObjectNameNotFound)
	f, a := p.open("f", vfs.How{Disposition: vfs.OpenIf, Access: writing})
	if a != vfs.Created {
		p.Fatal("OpenIf did not say that it created")
	}
	p.write(f, "kept", 0)
	p.refused(p.try("f", vfs.How{Disposition: vfs.Create, Access: writing}), nt.ObjectNameCollision)
	p.refused(p.try("F", vfs.How{Disposition: vfs.Create, Access: writing}), nt.ObjectNameCollision)
	p.refused(p.try("f", vfs.How{Disposition: vfs.Create, Directory: true}), nt.ObjectNameCollision)
	for _, d := range []vfs.Disposition{vfs.Open, vfs.OpenIf} {
		g, a := p.open("f", vfs.How{Disposition: d, Access: writing})
		if a != vfs.Opened {
			p.Fatalf("disposition %d says it did %d", d, a)
		}
		p.holds(g, "kept")
	}
	if _, a := p.open("g", vfs.How{Disposition: vfs.Create, Access: attribute}); a != vfs.Created {
		p.Fatal("Create did not say that it created")
	}
	if _, a := p.open("d", vfs.How{Disposition: vfs.OpenIf, Directory: true, Access: reading}); a != vfs.Created {
		p.Fatal("OpenIf did not make the directory")
	}
	if d, a := p.open("D", vfs.How{Disposition: vfs.OpenIf, Directory: true, Access: reading}); a != vfs.Opened || !p.attr(d).Dir() {
		p.Fatal("OpenIf did not open the directory")
	}
}

func missing(p *paper) {
	p.mkdir("dir")
	p.make("file", "")
	for _, d := range []vfs.Disposition{vfs.Open, vfs.Create, vfs.OpenIf} {
		for _, name := range []string{`no\f`, `dir\no\f`, `no\no\f`, `file\f`, `dir\no\no\f`} {
			p.refused(p.try(name, vfs.How{Disposition: d, Access: writing}), nt.ObjectPathNotFound)
		}
	}
	p.refused(p.try(`dir\f`, vfs.How{Access: reading}), nt.ObjectNameNotFound)
	p.refused(p.try(`dir\f`, vfs.How{Access: reading, Directory: true}), nt.ObjectNameNotFound)
	if got := p.names(""); len(got) != 2 {
		p.Fatalf("failed opens left %q", got)
	}
}

func root(p *paper) {
	for _, d := range []vfs.Disposition{vfs.Open, vfs.OpenIf} {
		f, a := p.open("", vfs.How{Disposition: d, Access: reading, Directory: true})
		if got := p.attr(f); a != vfs.Opened || !got.Dir() || got.Size != 0 {
			p.Fatalf("root: action %v, %+v", a, got)
		}
		if where, err := f.Path(p.ctx); err != nil || len(where.Names) != 0 {
			p.Fatalf("root is at %q, %v", where, err)
		}
	}
	p.refused(p.try("", vfs.How{Disposition: vfs.Create, Directory: true}), nt.ObjectNameCollision)
	p.refused(p.try("", vfs.How{NonDirectory: true}), nt.FileIsADirectory)
	f := p.get("")
	p.refused(f.Unlink(p.ctx), nt.AccessDenied)
	p.refused(f.Rename(p.ctx, at("x"), false), nt.AccessDenied)
}

func kind(p *paper) {
	p.make("file", "")
	p.mkdir("dir")
	for _, acc := range []dtyp.Access{reading, writing, attribute, dtyp.WriteData, dtyp.FileAll} {
		for _, d := range []vfs.Disposition{vfs.Open, vfs.OpenIf} {
			p.refused(p.try("file", vfs.How{Disposition: d, Access: acc, Directory: true}), nt.NotADirectory)
			p.refused(p.try("dir", vfs.How{Disposition: d, Access: acc, NonDirectory: true}), nt.FileIsADirectory)
			p.ok(p.try("file", vfs.How{Disposition: d, Access: acc, NonDirectory: true}))
			p.ok(p.try("file", vfs.How{Disposition: d, Access: acc}))
			p.ok(p.try("dir", vfs.How{Disposition: d, Access: acc, Directory: true}))
			p.ok(p.try("dir", vfs.How{Disposition: d, Access: acc}))
		}
	}
	p.refused(p.try("both", vfs.How{Disposition: vfs.OpenIf, Directory: true, NonDirectory: true}), nt.InvalidParameter)
	d := p.get("dir")
	if _, err := d.ReadAt(make([]byte, 1), 0); err == nil {
		p.Fatal("read the contents of a directory")
	}
	if _, err := d.WriteAt(make([]byte, 1), 0); err == nil {
		p.Fatal("wrote into a directory")
	}
	p.refused(d.SetAttr(p.ctx, vfs.Attr{Size: 1}, vfs.WantSize), nt.FileIsADirectory)
	p.refused(d.Overwrite(p.ctx, 0), nt.FileIsADirectory)
}

func access(p *paper) {
	p.make("f", "data")
	for _, c := range []struct {
		access      dtyp.Access
		read, write bool
	}{
		{dtyp.ReadData, true, false},
		{dtyp.Execute, true, false},
		{dtyp.WriteData, false, true},
		{dtyp.AppendData, false, true},
		{dtyp.ReadData | dtyp.AppendData, true, true},
		{attribute, false, false},
		{dtyp.Delete, false, false},
	} {
		f, _ := p.open("f", vfs.How{Access: c.access})
		if _, err := f.ReadAt(make([]byte, 4), 0); (err == nil) != c.read {
			p.Fatalf("opened for %#x: read: %v", uint32(c.access), err)
		}
		if _, err := f.WriteAt([]byte("data"), 0); (err == nil) != c.write {
			p.Fatalf("opened for %#x: write: %v", uint32(c.access), err)
		}
		// The server judges rights; what is not contents works through any open.
		if a := p.attr(f); a.Size != 4 {
			p.Fatalf("size %d", a.Size)
		}
		p.ok(f.SetAttr(p.ctx, vfs.Attr{Attributes: vfs.AttrHidden}, vfs.WantAttributes))
		p.ok(f.SetAttr(p.ctx, vfs.Attr{Size: 4}, vfs.WantSize))
		p.ok(f.Sync(p.ctx))
	}
}

func cancelled(p *paper) {
	f := p.make("f", "")
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	if _, _, err := p.v.Open(ctx, at("g"), vfs.How{Disposition: vfs.Create}); !errors.Is(err, context.Canceled) {
		p.Fatalf("Open: %v", err)
	}
	if err := f.Rename(ctx, at("g"), false); !errors.Is(err, context.Canceled) {
		p.Fatalf("Rename: %v", err)
	}
	if err := f.Unlink(ctx); !errors.Is(err, context.Canceled) {
		p.Fatalf("Unlink: %v", err)
	}
	if got := p.names(""); !slices.Equal(got, []string{"f"}) {
		p.Fatalf("cancelled calls left %q", got)
	}
}

func nameCase(p *paper) {
	p.mkdir("Dir")
	p.make(`dir\ReadMe.TXT`, "x")
	for _, name := range []string{`Dir\ReadMe.TXT`, `DIR\README.TXT`, `dir\readme.txt`} {
		f := p.get(name)
		p.holds(f, "x")
		if where, err := f.Path(p.ctx); err != nil || where.String() != `Dir\ReadMe.TXT` {
			p.Fatalf("%s is at %q, %v", name, where, err)
		}
		p.refused(p.try(name, vfs.How{Disposition: vfs.Create, Access: writing}), nt.ObjectNameCollision)
	}
	if got := p.names("DIR"); !slices.Equal(got, []string{"ReadMe.TXT"}) {
		p.Fatalf("listed %q", got)
	}
	f := p.get(`dir\README.txt`)
	p.ok(f.Unlink(p.ctx))
	p.close(f)
	p.refused(p.try(`Dir\ReadMe.TXT`, vfs.How{}), nt.ObjectNameNotFound)
	p.make(`dir\README.TXT`, "")
	if got := p.names("DIR"); !slices.Equal(got, []string{"README.TXT"}) {
		p.Fatalf("the new file took an old file's case: %q", got)
	}
}

// folding is Windows' upcase table, not Unicode's case folding: one code unit to one.
func folding(p *paper) {
	for i, c := range []struct {
		a, b string
		same bool
	}{
		{"straße", "STRASSE", false},
		{"straße", "STRAßE", true},
		{"\u0130", "i", false}, // İ
		{"\u0131", "I", false}, // ı
		{"\u017f", "s", false}, // ſ
		{"\u212a", "k", false}, // Kelvin sign
		{"\u212b", "å", false}, // Ångström sign
		{"éa", "ÉA", true},
		{"\u00e9", "e\u0301", false}, // NFC and NFD are different names
		{"жук", "ЖУК", true},
		{"σ", "Σ", true},
		{"中文", "中文", true},
		{"\U00010428", "\U00010400", false}, // beyond the BMP nothing folds
	} {
		dir := fmt.Sprint("d", i)
		p.mkdir(dir)
		p.make(dir+`\`+c.a, "")
		err := p.try(dir+`\`+c.b, vfs.How{Access: reading})
		if (err == nil) != c.same {
			p.Errorf("%q opened as %q: %v", c.a, c.b, err)
		}
		if !c.same {
			p.make(dir+`\`+c.b, "")
		}
	}
}

// forms are names that a lesser volume would confuse; each must come back as it went in.
func forms(p *paper) {
	var want []string
	for _, name := range []string{
		"a", "a.", "a ", " a", "...", ".hidden", "con", "x.con", "a~1", "%2e%2e", "~", "$Mft", "-rf", "a'b", "a;b&c",
		"\u00e9", "e\u0301", "\u202ecod.exe", "\ufeffbom", "\u200b", "\U0001F600", "\uf03a", "a\uf05cb", "\uf041", "\ufffd", "\x7f",
		"user.DOSATTRIB", " (deleted)", "f (deleted)",
	} {
		p.make(name, name)
		want = append(want, name)
	}
	for _, name := range want {
		p.holds(p.get(name), name)
	}
	got := p.names("")
	for _, name := range want {
		// A volume may show a name that Win32 cannot open in another form, which then must open it.
		if !slices.Contains(got, name) && !strings.HasSuffix(name, ".") && !strings.HasSuffix(name, " ") {
			p.Errorf("%q is not in the listing", name)
		}
	}
	for _, name := range got {
		p.ok(p.try(name, vfs.How{Access: reading}))
	}
	if len(got) != len(want) {
		p.Errorf("%d names made, %d listed: %q", len(want), len(got), got)
	}
}

func invalidNames(p *paper) {
	p.mkdir("d")
	f := p.make("f", "")
	for _, name := range []string{"", ".", "..", "a/b", "/", "a\x00b", "a:b", "a*", "a\x01", "\xff\xfe", `a"`, "../d", "\xed\xa0\x80"} {
		for _, names := range [][]string{{name}, {"d", name}, {name, "x"}, {"..", name}, {"d", "..", name}} {
			where := vfs.Path{Names: names}
			for _, d := range []vfs.Disposition{vfs.Open, vfs.Create, vfs.OpenIf} {
				g, _, err := p.v.Open(p.ctx, where, vfs.How{Disposition: d, Access: writing})
				if err == nil {
					p.close(g)
				}
				p.refused(err, nt.ObjectNameInvalid)
			}
			p.refused(f.Rename(p.ctx, where, true), nt.ObjectNameInvalid)
			if l, ok := f.(vfs.Linker); ok {
				p.refused(l.Link(p.ctx, where, true), nt.ObjectNameInvalid)
			}
		}
	}
	if got := p.names(""); len(got) != 2 {
		p.Fatalf("left %q", got)
	}
}

func longNames(p *paper) {
	p.make(strings.Repeat("n", 255), "long")
	p.holds(p.get(strings.Repeat("N", 255)), "long")
	for _, name := range []string{strings.Repeat("n", 256), strings.Repeat("\U0001F600", 128), strings.Repeat("n", 1<<16)} {
		p.refused(p.try(name, vfs.How{Disposition: vfs.Create}), nt.ObjectNameInvalid)
		p.refused(p.try(name+`\x`, vfs.How{}), nt.ObjectNameInvalid)
	}
	// 255 units may be 765 bytes: whether the storage can hold them is its affair, but it says so, always, and
	// says it as Windows does.
	cjk := strings.Repeat("\u4e2d", 255)
	err := p.try(cjk, vfs.How{Disposition: vfs.Create})
	if err != nil {
		p.refused(err, nt.ObjectNameInvalid)
		for _, d := range []vfs.Disposition{vfs.Open, vfs.Create, vfs.OpenIf} {
			p.refused(p.try(cjk, vfs.How{Disposition: d}), nt.ObjectNameInvalid)
		}
		p.refused(p.get(strings.Repeat("n", 255)).Rename(p.ctx, at(cjk), false), nt.ObjectNameInvalid)
		return
	}
	p.ok(p.try(cjk, vfs.How{}))
}

// deep is far beyond what one system call takes as a path.
func deep(p *paper) {
	name := strings.Repeat("d", 200)
	where := name
	for range 30 {
		p.ok(p.try(where, vfs.How{Disposition: vfs.Create, Directory: true}))
		where += `\` + name
	}
	f := p.make(where, "deep")
	p.holds(p.get(strings.ToUpper(where)), "deep")
	if got, err := f.Path(p.ctx); err != nil || got.String() != where {
		p.Fatalf("path of %d bytes: %d bytes, %v", len(where), len(got.String()), err)
	}
	up := where[:len(where)-201]
	p.ok(f.Rename(p.ctx, at(up+`\x`), false))
	p.holds(p.get(up+`\X`), "deep")
	p.ok(f.Unlink(p.ctx))
	p.refused(p.try(up+`\x`, vfs.How{}), nt.ObjectNameNotFound)
}

package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// of is the path of a stream.
func of(name, stream string) vfs.Path {
	p := at(name)
	p.Stream = stream
	return p
}

func (p *paper) tryStream(name, stream string, how vfs.How) error {
	f, _, err := p.v.Open(p.ctx, of(name, stream), how)
	if err == nil {
		err = f.Close()
	}
	return err
}

// stream opens or makes a stream, and skips the question where there are none.
func (p *paper) stream(name, stream string, how vfs.How) (vfs.File, vfs.Action) {
	p.Helper()
	f, a, err := p.v.Open(p.ctx, of(name, stream), how)
	if errors.Is(err, nt.ObjectNameInvalid) {
		base := p.get(name)
		s, ok := base.(vfs.Streams)
		if ok {
			_, err = s.Streams(p.ctx)
		}
		if !ok || errors.Is(err, nt.NotSupported) {
			p.Skip("the storage keeps no streams")
		}
	}
	p.ok(err)
	p.opens[f] = true
	return f, a
}

// attach makes a stream with contents and leaves it open.
func (p *paper) attach(name, stream, contents string) vfs.File {
	p.Helper()
	f, _ := p.stream(name, stream, vfs.How{Disposition: vfs.Create, Access: writing})
	p.write(f, contents, 0)
	return f
}

// streamsOf lists streams as name=size.
func (p *paper) streamsOf(f vfs.File) []string {
	p.Helper()
	list, err := f.(vfs.Streams).Streams(p.ctx)
	p.ok(err)
	out := []string{}
	for _, s := range list {
		out = append(out, fmt.Sprintf("%s=%d", s.Name, s.Size))
		if s.Size > 0 && s.Alloc < 0 {
			p.Errorf("stream %q takes %d bytes", s.Name, s.Alloc)
		}
	}
	slices.Sort(out)
	return out
}

func (p *paper) hasStreams(f vfs.File, want ...string) {
	p.Helper()
	if want == nil {
		want = []string{}
	}
	if got := p.streamsOf(f); !slices.Equal(got, want) {
		p.Fatalf("streams %q; want %q", got, want)
	}
}

// streamOpen: dispositions are the stream's; the object must be there.
func streamOpen(p *paper) {
	base := p.make("f", "main")
	f, action := p.stream("f", "s", vfs.How{Disposition: vfs.OpenIf, Access: writing})
	if action != vfs.Created {
		p.Fatalf("action %v", action)
	}
	p.hasStreams(base, "=4", "s=0")
	p.write(f, "side", 0)
	p.holds(base, "main")
	p.holds(f, "side")
	p.hasStreams(base, "=4", "s=4")
	p.hasStreams(f, "=4", "s=4")
	for _, name := range []string{"s", "S"} {
		p.refused(p.tryStream("f", name, vfs.How{Disposition: vfs.Create, Access: writing}), nt.ObjectNameCollision)
		if _, action := p.stream("F", name, vfs.How{Disposition: vfs.OpenIf, Access: writing}); action != vfs.Opened {
			p.Fatalf("%s: action %v", name, action)
		}
	}
	p.refused(p.tryStream("f", "t", vfs.How{}), nt.ObjectNameNotFound)
	p.refused(p.tryStream("none", "s", vfs.How{Disposition: vfs.OpenIf, Access: writing}), nt.ObjectNameNotFound)
	p.refused(p.tryStream(`none\f`, "s", vfs.How{Disposition: vfs.OpenIf, Access: writing}), nt.ObjectPathNotFound)
	p.refused(p.tryStream("f", "s", vfs.How{Directory: true}), nt.NotADirectory)
	p.refused(p.tryStream("f", "t", vfs.How{Disposition: vfs.Create, Directory: true}), nt.NotADirectory)
	p.hasStreams(base, "=4", "s=4")

	only, _ := p.stream("f", "s", vfs.How{Access: reading})
	if _, err := only.WriteAt([]byte("x"), 0); !errors.Is(err, nt.AccessDenied) {
		p.Errorf("wrote through an open for reading: %v", err)
	}
	look, _ := p.stream("f", "s", vfs.How{Access: attribute})
	if _, err := look.ReadAt(make([]byte, 1), 0); !errors.Is(err, nt.AccessDenied) {
		p.Errorf("read through an open for attributes: %v", err)
	}
	if err := f.ReadDir(p.ctx, 0, nil, 0, func(uint64, vfs.Entry) bool { return true }); !errors.Is(err, nt.InvalidParameter) {
		p.Errorf("listed a stream: %v", err)
	}
	p.refused(f.Rename(p.ctx, at("g"), false), nt.NotSupported)
}

// streamOwn: what is the stream's own, and what its object's.
func streamOwn(p *paper) {
	base := p.make("f", "main")
	one := p.attach("f", "one", "1")
	again, _ := p.stream("F", "ONE", vfs.How{Access: writing})
	two := p.attach("f", "two", "two")
	ids := []vfs.ID{base.ID(), one.ID(), two.ID()}
	for i, id := range ids {
		if slices.Contains(ids[:i], id) || id.File() != base.ID() || base.ID().Stream != 0 {
			p.Fatalf("IDs %v", ids)
		}
	}
	if again.ID() != one.ID() {
		p.Fatalf("one stream has IDs %v and %v", one.ID(), again.ID())
	}
	if s, ok := one.(vfs.Stream); !ok || s.OfDirectory() {
		p.Fatal("no stream, or one of a directory")
	}
	p.ok(two.SetAttr(p.ctx, vfs.Attr{Attributes: vfs.AttrHidden, Birth: 1 << 56, Write: 1 << 57}, vfs.WantAttributes|vfs.SetBirth|vfs.SetWrite))
	a, b := p.attr(base), p.attr(two)
	if b.Size != 3 || a.Size != 4 {
		p.Errorf("sizes %d and %d", a.Size, b.Size)
	}
	b.Size, b.Alloc = a.Size, a.Alloc
	if b.Access, b.Change = a.Access, a.Change; a != b {
		p.Errorf("the object is %+v, its stream %+v", a, b)
	}
	if a.Attributes != vfs.AttrHidden || a.Write != 1<<57 {
		p.Errorf("set through a stream: %+v", a)
	}
	p.write(two, "TWO", 0) // the time that was set stays
	if w := p.attr(base).Write; w != 1<<57 {
		p.Errorf("the write time that was set has moved to %v", w)
	}
	before := p.attr(base).Write
	p.write(one, "x", 0)
	if w := p.attr(base).Write; w == before {
		p.Error("a write to a stream leaves the object's write time")
	}
	where, err := again.Path(p.ctx)
	if err != nil || where.String() != "f:one" {
		p.Errorf("the stream is at %q, %v", where, err)
	}
	p.ok(base.Rename(p.ctx, at("g"), false))
	if where, err = again.Path(p.ctx); err != nil || where.String() != "g:one" {
		p.Errorf("after the object's rename the stream is at %q, %v", where, err)
	}
	p.holds(again, "x")
	if s, ok := base.(vfs.Security); ok {
		if _, err := s.SecurityDescriptor(p.ctx); err == nil {
			p.ok(one.(vfs.Security).SetSecurityDescriptor(p.ctx, p.descriptor(3)))
			p.protected(base, p.descriptor(3))
			p.protected(two, p.descriptor(3))
		}
	}
	p.ok(one.Sync(p.ctx))
}

// streamNames: any name that the wire can carry, or a refusal.
func streamNames(p *paper) {
	base := p.make("f", "")
	p.close(p.attach("f", "Zone.Identifier", "x"))
	for _, name := range []string{"\x05Stream\n One", "?Stream*", "..", ".", "$DATA", "a b", "grün", "😀", strings.Repeat("n", 200)} {
		p.close(p.attach("f", name, name))
		f, _ := p.stream("f", strings.ToUpper(name), vfs.How{Access: reading})
		p.holds(f, name)
		p.ok(f.Unlink(p.ctx))
		p.close(f)
	}
	p.hasStreams(base, "=0", "Zone.Identifier=1")
	how := vfs.How{Disposition: vfs.OpenIf, Access: writing}
	for _, name := range []string{"a/b", `a\b`, "a:b", "a\x00b", strings.Repeat("n", 256), "\xff"} {
		p.refused(p.tryStream("f", name, how), nt.ObjectNameInvalid)
		_, _, err := base.(vfs.Streams).OpenStream(p.ctx, name, how)
		p.refused(err, nt.ObjectNameInvalid)
	}
	// As long as the wire allows: it works, or is refused before there is anything.
	long := strings.Repeat("n", 255)
	if err := p.tryStream("f", long, how); err != nil {
		p.refused(err, nt.ObjectNameInvalid)
	}
}

// streamSizes: contents are right at every size, whatever the storage does with small and large ones.
func streamSizes(p *paper) {
	base := p.make("f", "")
	f := p.attach("f", "s", "")
	other, _ := p.stream("f", "s", vfs.How{Access: writing})
	var want []byte
	check := func(step string) {
		p.Helper()
		for _, open := range []vfs.File{f, other} {
			if got := p.contents(open); got != string(want) {
				p.Fatalf("%s: %d bytes %.40q; want %d bytes %.40q", step, len(got), got, len(want), want)
			}
		}
		if a := p.attr(other); a.Size != int64(len(want)) {
			p.Fatalf("%s: size %d; want %d", step, a.Size, len(want))
		}
		p.hasStreams(base, "=0", fmt.Sprintf("s=%d", len(want)))
	}
	put := func(off int, b []byte) {
		p.Helper()
		p.write(other, string(b), int64(off))
		if grow := off + len(b) - len(want); grow > 0 {
			want = append(want, make([]byte, grow)...)
		}
		copy(want[off:], b)
		check(fmt.Sprintf("%d bytes at %d", len(b), off))
	}
	cut := func(n int) {
		p.Helper()
		p.ok(f.SetAttr(p.ctx, vfs.Attr{Size: int64(n)}, vfs.WantSize))
		if n <= len(want) {
			want = want[:n:n]
		} else {
			want = append(want, make([]byte, n-len(want))...)
		}
		check(fmt.Sprintf("cut at %d", n))
	}
	check("nothing")
	put(0, []byte("abc"))
	put(1, []byte("XX"))
	put(10, []byte("gap"))
	cut(5)
	cut(20)
	cut(0)
	put(0, bytes.Repeat([]byte("0123456789"), 100))
	for _, n := range []int{3000, 4000, 5000, 16 << 10, 65534, 65535, 65536, 65537, 300_000} {
		put(n-5, []byte("edges"))
	}
	put(100, []byte("in the middle"))
	cut(70_000)
	cut(65_535)
	cut(10)
	put(8, []byte("after"))
	b := make([]byte, 4)
	if n, err := f.ReadAt(b, int64(len(want))-2); n != 2 || err != io.EOF {
		p.Errorf("read over the end: %d, %v", n, err)
	}
	if n, err := f.ReadAt(b, int64(len(want))+2); n != 0 || err != io.EOF {
		p.Errorf("read past the end: %d, %v", n, err)
	}
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Alloc: 1 << 20}, vfs.WantAlloc))
	check("reserved")
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Alloc: 4}, vfs.WantAlloc))
	want = want[:4]
	check("less reserved")
	p.refused(f.SetAttr(p.ctx, vfs.Attr{Size: -1}, vfs.WantSize), nt.InvalidParameter)
	p.ok(f.Overwrite(p.ctx, vfs.AttrHidden))
	want = nil
	check("overwritten")
	if a := p.attr(base); a.Attributes&vfs.AttrHidden != 0 {
		p.Error("overwriting a stream sets the object's attributes")
	}
	for _, n := range []int{0, 100_000} { // large from the start, too
		name := fmt.Sprint("large", n)
		g := p.attach("f", name, "")
		p.write(g, "end", int64(n))
		p.holds(g, string(make([]byte, n))+"end")
	}
}

// streamDirectory: directories have streams, the root too, and stay what they are.
func streamDirectory(p *paper) {
	dir := p.mkdir("dir")
	s := p.attach("dir", "s", "of a directory")
	if x, ok := s.(vfs.Stream); !ok || !x.OfDirectory() {
		p.Error("the stream does not know that it is of a directory")
	}
	if a := p.attr(s); a.Dir() || a.Size != 14 {
		p.Errorf("the stream is %+v", a)
	}
	p.hasStreams(dir, "s=14")
	if got := p.names(""); !slices.Equal(got, []string{"dir"}) {
		p.Errorf("the root lists %q", got)
	}
	if got := p.names("dir"); len(got) != 0 {
		p.Errorf("the directory lists %q", got)
	}
	root := p.attach("", "s", strings.Repeat("of the root", 10_000))
	where, err := root.Path(p.ctx)
	if err != nil || where.String() != ":s" {
		p.Errorf("the root's stream is at %q, %v", where, err)
	}
	if got := p.names(""); !slices.Equal(got, []string{"dir"}) {
		p.Errorf("the root lists %q", got)
	}
	p.ok(root.Unlink(p.ctx))
	p.write(s, strings.Repeat("long", 50_000), 0)
	p.close(s)
	p.ok(dir.Unlink(p.ctx))
	if got := p.names(""); len(got) != 0 {
		p.Errorf("the root lists %q", got)
	}
}

// streamUnlink: a stream goes alone, and stays usable until it is closed.
func streamUnlink(p *paper) {
	base := p.make("f", "main")
	for _, contents := range []string{"", "small", strings.Repeat("large", 40_000)} {
		f := p.attach("f", "s", contents)
		p.ok(f.Unlink(p.ctx))
		p.refused(f.Unlink(p.ctx), nt.FileDeleted)
		p.hasStreams(base, "=4")
		p.refused(p.tryStream("f", "s", vfs.How{}), nt.ObjectNameNotFound)
		p.holds(f, contents)
		_, err := f.Path(p.ctx)
		p.refused(err, nt.FileDeleted)
		again := p.attach("f", "s", "another")
		if again.ID() == f.ID() {
			p.Error("a new stream has the ID of one that is still open")
		}
		p.write(f, "GONE", 0)
		p.holds(again, "another")
		p.ok(again.Unlink(p.ctx))
	}
	p.holds(base, "main")
}

// streamRename: within the object, over what is empty only.
func streamRename(p *paper) {
	base := p.make("f", "")
	for _, contents := range []string{"small", strings.Repeat("large", 40_000)} {
		size := len(contents)
		f := p.attach("f", "old", contents)
		s := f.(vfs.Stream)
		id := f.ID()
		p.ok(s.RenameStream(p.ctx, "new", false))
		p.hasStreams(base, "=0", fmt.Sprintf("new=%d", size))
		p.ok(s.RenameStream(p.ctx, "NEW", false)) // its case
		p.hasStreams(base, "=0", fmt.Sprintf("NEW=%d", size))
		p.holds(f, contents)
		if where, err := f.Path(p.ctx); err != nil || where.String() != "f:NEW" || f.ID() != id {
			p.Errorf("at %q, %v", where, err)
		}
		p.close(p.attach("f", "full", "x"))
		p.close(p.attach("f", "empty", ""))
		p.refused(s.RenameStream(p.ctx, "empty", false), nt.ObjectNameCollision)
		p.refused(s.RenameStream(p.ctx, "FULL", true), nt.InvalidParameter)
		p.refused(s.RenameStream(p.ctx, "a:b", true), nt.ObjectNameInvalid)
		p.ok(s.RenameStream(p.ctx, "Empty", true))
		p.hasStreams(base, "=0", fmt.Sprintf("Empty=%d", size), "full=1")
		p.holds(f, contents)
		p.write(f, "more", 2)
		again, _ := p.stream("f", "empty", vfs.How{Access: reading})
		if again.ID() != id {
			p.Error("another ID after the rename")
		}
		p.ok(again.Unlink(p.ctx))
		p.refused(s.RenameStream(p.ctx, "back", false), nt.FileDeleted)
		full, _ := p.stream("f", "full", vfs.How{Access: writing})
		p.ok(full.Unlink(p.ctx))
	}
}

// streamObject: what becomes of the streams when their object is overwritten, linked, replaced or deleted.
func streamObject(p *paper) {
	large := strings.Repeat("large", 40_000)
	base := p.make("f", "main")
	p.close(p.attach("f", "small", "x"))
	p.close(p.attach("f", "large", large))
	if l, ok := base.(vfs.Linker); ok {
		p.ok(l.Link(p.ctx, at("link"), false))
		other := p.get("link")
		p.hasStreams(other, "=4", "large=200000", "small=1")
		p.ok(other.Unlink(p.ctx))
		p.hasStreams(base, "=4", "large=200000", "small=1")
	}
	p.ok(base.Rename(p.ctx, at("g"), false))
	s, _ := p.stream("g", "large", vfs.How{Access: writing})
	p.holds(s, large)
	p.ok(base.Overwrite(p.ctx, 0))
	p.hasStreams(base, "=0")
	p.holds(s, large) // it is still open
	p.close(s)

	p.close(p.attach("g", "large", large))
	over := p.make("h", "over")
	p.close(p.attach("h", "own", "1"))
	p.ok(over.Rename(p.ctx, at("g"), true))
	p.hasStreams(over, "=4", "own=1")

	p.close(p.attach("g", "large", large))
	open, _ := p.stream("g", "large", vfs.How{Access: reading})
	p.ok(over.Unlink(p.ctx))
	p.holds(open, large)
	p.refused(p.tryStream("g", "own", vfs.How{}), nt.ObjectNameNotFound)
	again := p.make("g", "")
	p.hasStreams(again, "=0")
	if got := p.names(""); !slices.Equal(got, []string{"g"}) {
		p.Errorf("the root lists %q", got)
	}
}

// streamWatch: what happens to streams is told as such.
func streamWatch(p *paper) {
	base := p.make("f", "")
	p.close(p.attach("f", "before", "x"))
	watcher, ok := p.get("").(vfs.Watcher)
	if !ok {
		p.Skip("not a Watcher")
	}
	var mu sync.Mutex
	var got []string
	stop, err := watcher.Watch(false, func(group []vfs.Change) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range group {
			if c.Kind&(vfs.ChangeStreamName|vfs.ChangeStreamSize|vfs.ChangeStreamWrite) != 0 {
				got = append(got, fmt.Sprintf("%d %s", c.Action, strings.Join(c.Names, `\`)))
			}
		}
	})
	p.ok(err)
	p.stops = append(p.stops, stop)
	s := p.attach("f", "s", "contents")
	p.ok(s.(vfs.Stream).RenameStream(p.ctx, "t", false))
	p.ok(s.Unlink(p.ctx))
	p.ok(base.Overwrite(p.ctx, 0))
	mu.Lock()
	defer mu.Unlock()
	want := []string{"6 f:s", "8 f:s", "7 f:s", "6 f:t", "7 f:t", "7 f:before"}
	if !slices.Equal(got, want) {
		p.Errorf("told %q; want %q", got, want)
	}
}

// streamConcurrent: writers of one stream do not lose each other's bytes.
func streamConcurrent(p *paper) {
	p.make("f", "")
	p.close(p.attach("f", "s", ""))
	const writers, each = 8, 40
	var wg sync.WaitGroup
	for i := range writers {
		f, _ := p.stream("f", "s", vfs.How{Access: writing})
		wg.Go(func() {
			for k := range each {
				if _, err := f.WriteAt([]byte{byte('a' + i)}, int64((k*writers+i)*40)); err != nil {
					p.Error(err)
				}
			}
		})
	}
	wg.Wait()
	f, _ := p.stream("f", "s", vfs.How{Access: reading})
	got := p.contents(f)
	for at := range writers * each {
		if want := byte('a' + at%writers); len(got) <= at*40 || got[at*40] != want {
			p.Fatalf("byte %d of %d is lost", at*40, len(got))
		}
	}
}

func (p *paper) eas(f vfs.File) map[string]string {
	p.Helper()
	k, ok := f.(vfs.EAs)
	if !ok {
		p.Skip("the volume keeps no extended attributes")
	}
	list, err := k.EAs(p.ctx)
	if errors.Is(err, nt.NotSupported) {
		p.refused(k.SetEAs(p.ctx, []fscc.EA{{Name: "A", Value: []byte("x")}}), nt.NotSupported)
		p.Skip("the storage keeps no extended attributes")
	}
	p.ok(err)
	out := map[string]string{}
	for _, e := range list {
		out[e.Name] = string(e.Value)
	}
	a, err := f.Attr(p.ctx, vfs.WantEA)
	p.ok(err)
	if a.EASize != fscc.EASize(list) {
		p.Errorf("attributes of %d bytes are said to take %d", fscc.EASize(list), a.EASize)
	}
	return out
}

func (p *paper) hasEAs(f vfs.File, want map[string]string) {
	p.Helper()
	if got := p.eas(f); fmt.Sprint(got) != fmt.Sprint(want) {
		p.Fatalf("attributes %v; want %v", got, want)
	}
}

func (p *paper) setEA(f vfs.File, name, value string) {
	p.Helper()
	p.ok(f.(vfs.EAs).SetEAs(p.ctx, []fscc.EA{{Name: name, Value: []byte(value)}}))
}

// keepEAs: set, changed in any case, removed; of files and directories; seen in listings and through streams.
func keepEAs(p *paper) {
	f := p.make("f", "")
	p.hasEAs(f, map[string]string{})
	p.setEA(f, "ONE", "1")
	p.setEA(f, "Two", "two")
	p.setEA(f, "one", "uno")
	p.hasEAs(f, map[string]string{"ONE": "uno", "Two": "two"})
	p.setEA(f, "NONE", "")
	p.setEA(f, "TWO", "")
	p.hasEAs(f, map[string]string{"ONE": "uno"})
	dir := p.mkdir("dir")
	p.setEA(dir, "OF.DIR", "x")
	p.hasEAs(dir, map[string]string{"OF.DIR": "x"})
	p.make("plain", "")
	sizes := map[string]uint32{}
	root := p.get("")
	p.ok(root.ReadDir(p.ctx, 0, nil, vfs.WantAll|vfs.WantEA, func(_ uint64, e vfs.Entry) bool {
		sizes[e.Name] = e.Attr.EASize
		return true
	}))
	want := map[string]uint32{".": 0, "..": 0, "f": 9 + 3 + 3, "dir": 9 + 6 + 1, "plain": 0}
	if fmt.Sprint(sizes) != fmt.Sprint(want) {
		p.Errorf("listed sizes %v; want %v", sizes, want)
	}
	if _, ok := f.(vfs.Streams); ok {
		s := p.attach("f", "s", "x")
		p.hasEAs(s, map[string]string{"ONE": "uno"})
	}
	p.ok(f.Rename(p.ctx, at("g"), false))
	p.hasEAs(f, map[string]string{"ONE": "uno"})
	p.ok(f.Overwrite(p.ctx, 0))
	p.hasEAs(f, map[string]string{})
}

// boundEAs: all of a list or nothing, and never more than 64 KiB.
func boundEAs(p *paper) {
	f := p.make("f", "")
	p.eas(f)
	p.setEA(f, "KEPT", "x")
	var list []fscc.EA
	for i := range 3 {
		list = append(list, fscc.EA{Name: fmt.Sprint("EA", i), Value: bytes.Repeat([]byte{'v'}, 30_000)})
	}
	p.refused(f.(vfs.EAs).SetEAs(p.ctx, list), nt.EATooLarge)
	p.hasEAs(f, map[string]string{"KEPT": "x"})
}

package vfstest

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// A Diary is what a watch told, one line a change: the action as + - * < >, the kind as a bit mask if it matters, the
// path; a group is in brackets.
type Diary struct {
	mu    sync.Mutex
	lines []string
}

// Tell is to be given to Watch.
func (d *Diary) Tell(group []vfs.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for _, c := range group {
		sign := map[fscc.Action]string{
			vfs.ChangesLost: "?", fscc.ActionAdded: "+", fscc.ActionRemoved: "-", fscc.ActionModified: "*",
			fscc.ActionRenamedOld: "<", fscc.ActionRenamedNew: ">",
		}[c.Action]
		kind := ""
		if c.Action == fscc.ActionModified {
			kind = fmt.Sprintf("%x:", c.Kind)
		} else if c.Kind == vfs.ChangeDirName {
			kind = "d:"
		}
		all = append(all, sign+kind+strings.Join(c.Names, "/"))
	}
	line := strings.Join(all, " ")
	if len(group) > 1 {
		line = "[" + line + "]"
	}
	d.lines = append(d.lines, line)
}

// Read returns what was told since it was last called.
func (d *Diary) Read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

// watching watches the directory name; the test wants its lines from the function that is returned.
func (p *paper) watching(name string, tree bool) (want func(lines ...string)) {
	p.Helper()
	dir := p.get(name)
	watcher, ok := dir.(vfs.Watcher)
	if !ok {
		p.Skip("not a Watcher")
	}
	d := &Diary{}
	stop, err := watcher.Watch(tree, d.Tell)
	p.ok(err)
	p.stops = append(p.stops, stop)
	return func(lines ...string) {
		p.Helper()
		if got := d.Read(); !slices.Equal(got, lines) {
			p.Errorf("watching %q (tree %t): told %q, want %q", name, tree, got, lines)
		}
	}
}

// watch: each operation through the Volume is told once, exactly, and by the time it returns.
func watch(p *paper) {
	p.mkdir("d")
	p.mkdir(`d\sub`)
	p.mkdir("other")
	flat, tree, sub, above := p.watching("d", false), p.watching("d", true), p.watching(`d\sub`, true), p.watching("", true)
	both := func(lines ...string) { // who stands at d and above
		p.Helper()
		flat(lines...)
		tree(lines...)
		sub()
		beneath := []string{}
		for _, line := range lines {
			words := strings.Fields(strings.Trim(line, "[]"))
			for i, w := range words {
				cut := strings.LastIndexAny(w, "+-*<>:") + 1
				words[i] = w[:cut] + "d/" + w[cut:]
			}
			if line = strings.Join(words, " "); len(words) > 1 {
				line = "[" + line + "]"
			}
			beneath = append(beneath, line)
		}
		above(beneath...)
	}
	f := p.make(`d\f`, "")
	both("+f")
	p.write(f, "12345", 0)
	both("*18:f")
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Size: 3}, vfs.WantSize))
	both("*8:f")
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Attributes: vfs.AttrHidden}, vfs.WantAttributes))
	both("*4:f")
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Write: 1 << 57}, vfs.SetWrite))
	both("*10:f")
	if s, ok := f.(vfs.Security); ok {
		if err := s.SetSecurityDescriptor(p.ctx, p.descriptor(1)); err == nil {
			both("*100:f")
		}
	}
	p.ok(f.Overwrite(p.ctx, 0))
	both("*1c:f")
	p.ok(f.Rename(p.ctx, at(`d\g`), false))
	both("[<f >g]")
	p.ok(f.Rename(p.ctx, at(`d\g`), false))
	both() // nothing has changed
	p.ok(f.Rename(p.ctx, at(`d\G`), false))
	both("[<g >G]")
	p.make(`d\h`, "")
	both("+h")
	p.ok(f.Rename(p.ctx, at(`d\h`), true))
	both("[-h <G >h]")
	p.ok(f.Unlink(p.ctx))
	both("-h")
	p.write(f, "nobody can see it", 0)
	both()
	n := p.mkdir(`d\new`)
	both("+d:new")
	p.ok(n.Unlink(p.ctx))
	both("-d:new")
	// Of directories beneath, a tree tells, whoever stands at its top.
	x := p.make(`d\sub\x`, "")
	flat()
	tree("+sub/x")
	sub("+x")
	above("+d/sub/x")
	// From one directory to another it is a removal and an addition.
	p.ok(x.Rename(p.ctx, at(`d\x`), false))
	flat("+x")
	tree("[-sub/x +x]")
	sub("-x")
	above("[-d/sub/x +d/x]")
	p.ok(x.Rename(p.ctx, at(`other\x`), false))
	flat("-x")
	tree("-x")
	sub()
	above("[-d/x +other/x]")
	// The directory itself is its parent's business.
	p.ok(p.get(`d\sub`).SetAttr(p.ctx, vfs.Attr{Attributes: vfs.AttrHidden}, vfs.WantAttributes))
	flat("*4:sub")
	tree("*4:sub")
	sub()
	above("*4:d/sub")
	if l, ok := x.(vfs.Linker); ok {
		p.ok(l.Link(p.ctx, at(`d\sub\l`), false))
		flat()
		tree("+sub/l")
		sub("+l")
		above("+d/sub/l")
	}
}

// watchMoves: a tree goes on telling of a directory that moves within it, and stops when it moves out.
func watchMoves(p *paper) {
	p.mkdir("d")
	p.mkdir(`d\a`)
	deep := p.mkdir(`d\a\deep`)
	p.mkdir("out")
	tree := p.watching("d", true)
	p.close(deep)
	a := p.get(`d\a`)
	p.ok(a.Rename(p.ctx, at(`d\b`), false))
	tree("[<d:a >d:b]")
	p.make(`d\b\deep\f`, "")
	tree("+b/deep/f")
	p.ok(a.Rename(p.ctx, at(`out\b`), false))
	tree("-d:b")
	p.make(`out\b\deep\g`, "")
	tree()
	p.ok(a.Rename(p.ctx, at(`d\c`), false))
	tree("+d:c")
	p.make(`d\c\h`, "")
	tree("+c/h")
	// New directories are part of the tree from the start.
	p.mkdir(`d\n`)
	p.mkdir(`d\n\m`)
	p.make(`d\n\m\f`, "")
	tree("+d:n", "+d:n/m", "+n/m/f")
}

// watchEnds: what is told ends with stop, and no watch disturbs another.
func watchEnds(p *paper) {
	f := p.make("file", "")
	if w, ok := f.(vfs.Watcher); ok {
		_, err := w.Watch(false, func([]vfs.Change) {})
		p.refused(err, nt.NotADirectory)
	}
	p.mkdir("d")
	p.mkdir(`d\sub`)
	first, second := p.watching("d", true), p.watching(`d\sub`, false)
	p.make(`d\sub\1`, "")
	first("+sub/1")
	second("+1")
	p.stops[0]()
	p.make(`d\sub\2`, "")
	first()
	second("+2")
	third := p.watching("d", true)
	p.make(`d\sub\3`, "")
	third("+sub/3")
	second("+3")
	p.stops[1]()
	p.make(`d\sub\4`, "")
	third("+sub/4")
	p.stops[2]()
	p.stops = nil
	p.make(`d\sub\5`, "")
	first()
	second()
	third()
	// A directory that is gone can still be watched, in silence.
	gone := p.mkdir("gone")
	p.ok(gone.Unlink(p.ctx))
	if stop, err := gone.(vfs.Watcher).Watch(true, func([]vfs.Change) {}); err == nil {
		stop()
	}
}

package vfstest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

func list(p *paper) {
	root := p.get("")
	var got []string
	collect := func(_ uint64, e vfs.Entry) bool { got = append(got, e.Name); return true }
	p.ok(root.ReadDir(p.ctx, 0, nil, 0, collect))
	if !slices.Equal(got, []string{".", ".."}) {
		p.Fatalf("an empty directory lists %q", got)
	}
	d := p.mkdir("d")
	f := p.make(`d\f`, "12345")
	p.mkdir(`d\sub`)
	p.make("next", "")
	entries := map[string]vfs.Attr{}
	order := []string{}
	p.ok(d.ReadDir(p.ctx, 0, nil, vfs.WantAll, func(_ uint64, e vfs.Entry) bool {
		entries[e.Name] = e.Attr
		order = append(order, e.Name)
		return true
	}))
	if len(order) != 4 || !slices.Equal(order[:2], []string{".", ".."}) {
		p.Fatalf("listed %q", order)
	}
	if entries["."].ID != d.ID() || entries[".."].ID != root.ID() || !entries["."].Dir() || !entries[".."].Dir() {
		p.Fatalf("dots: %+v %+v", entries["."], entries[".."])
	}
	if got, want := entries["f"], p.attr(f); got != want {
		p.Fatalf("listed %+v, is %+v", got, want)
	}
	if !entries["sub"].Dir() {
		p.Fatal("the subdirectory is none")
	}
	// Above the root there is only the root.
	p.ok(root.ReadDir(p.ctx, 0, nil, vfs.WantAll, func(_ uint64, e vfs.Entry) bool {
		if (e.Name == "." || e.Name == "..") && e.Attr.ID != root.ID() {
			p.Errorf("%s of the root is %v", e.Name, e.Attr.ID)
		}
		return true
	}))
	// A listing begun again sees what is new.
	p.make(`d\new`, "")
	got = nil
	p.ok(d.ReadDir(p.ctx, 0, nil, 0, collect))
	if !slices.Contains(got, "new") || len(got) != 5 {
		p.Fatalf("listed %q", got)
	}
}

func resume(p *paper) {
	d := p.mkdir("d")
	var want []string
	for i := range 300 {
		name := fmt.Sprintf("f%03d", i)
		p.close(p.make(`d\`+name, ""))
		want = append(want, name)
	}
	for _, step := range []int{1, 2, 7, 299, 1000} {
		var got []string
		cookie, cookies := uint64(0), map[uint64]bool{}
		for {
			n := 0
			p.ok(d.ReadDir(p.ctx, cookie, nil, vfs.WantSize, func(next uint64, e vfs.Entry) bool {
				if n == step {
					return false // this one comes again
				}
				n++
				if cookies[next] {
					p.Fatalf("cookie %d twice", next)
				}
				cookies[next] = true
				got = append(got, e.Name)
				cookie = next
				return true
			}))
			if n == 0 {
				break
			}
		}
		if len(got) < 2 || !slices.Equal(got[:2], []string{".", ".."}) {
			p.Fatalf("step %d: begins with %q", step, got[:min(2, len(got))])
		}
		slices.Sort(got)
		if !slices.Equal(got[2:], want) {
			p.Fatalf("step %d: %d entries", step, len(got))
		}
	}
	// Any cookie works at any time, also backwards.
	var cookies []uint64
	var order []string
	p.ok(d.ReadDir(p.ctx, 0, nil, 0, func(next uint64, e vfs.Entry) bool {
		cookies, order = append(cookies, next), append(order, e.Name)
		return true
	}))
	for _, i := range []int{200, 5, 0, 299, 1, 100, 100} {
		p.ok(d.ReadDir(p.ctx, cookies[i], nil, 0, func(next uint64, e vfs.Entry) bool {
			if e.Name != order[i+1] || next != cookies[i+1] {
				p.Errorf("after %q came %q, want %q", order[i], e.Name, order[i+1])
			}
			return false
		}))
	}
	p.ok(d.ReadDir(p.ctx, cookies[len(cookies)-1], nil, 0, func(_ uint64, e vfs.Entry) bool {
		p.Errorf("%q after the end", e.Name)
		return true
	}))
}

func match(p *paper) {
	for _, name := range []string{"a.txt", "b.txt", "c.dat"} {
		p.make(name, "")
	}
	var asked, got []string
	p.ok(p.get("").ReadDir(p.ctx, 0, func(name string) bool {
		asked = append(asked, name)
		return strings.HasSuffix(name, ".txt")
	}, vfs.WantAll, func(_ uint64, e vfs.Entry) bool { got = append(got, e.Name); return true }))
	slices.Sort(got)
	if !slices.Equal(got, []string{"a.txt", "b.txt"}) {
		p.Fatalf("got %q", got)
	}
	slices.Sort(asked)
	if !slices.Equal(asked, []string{".", "..", "a.txt", "b.txt", "c.dat"}) {
		p.Fatalf("asked about %q", asked)
	}
}

func want(p *paper) {
	f := p.make("f", "123")
	p.ok(f.SetAttr(p.ctx, vfs.Attr{Attributes: vfs.AttrSystem}, vfs.WantAttributes))
	is := p.attr(f)
	for _, w := range []vfs.Mask{0, vfs.WantID, vfs.WantSize, vfs.WantAlloc, vfs.WantTimes, vfs.WantAttributes, vfs.WantLinks, vfs.WantAll} {
		check := func(a vfs.Attr) {
			p.Helper()
			switch {
			case w&vfs.WantID != 0 && a.ID != is.ID,
				w&vfs.WantSize != 0 && a.Size != is.Size,
				w&vfs.WantAlloc != 0 && a.Alloc != is.Alloc,
				w&vfs.WantTimes != 0 && (a.Birth != is.Birth || a.Write != is.Write || a.Access != is.Access || a.Change != is.Change),
				w&vfs.WantAttributes != 0 && a.Attributes != is.Attributes,
				w&vfs.WantLinks != 0 && a.Links != is.Links:
				p.Fatalf("wanted %#x: %+v, is %+v", w, a, is)
			}
		}
		a, err := f.Attr(p.ctx, w)
		p.ok(err)
		check(a)
		found := false
		p.ok(p.get("").ReadDir(p.ctx, 0, nil, w, func(_ uint64, e vfs.Entry) bool {
			if e.Name == "f" {
				found = true
				check(e.Attr)
			}
			return true
		}))
		if !found {
			p.Fatal("f was not listed")
		}
	}
}

// stable changes a directory between any two entries of a listing; what is not touched comes exactly once.
func stable(p *paper) {
	d := p.mkdir("d")
	const n = 300
	for i := range n {
		p.close(p.make(fmt.Sprintf(`d\keep%d`, i), ""))
		p.close(p.make(fmt.Sprintf(`d\drop%d`, i), ""))
	}
	seen := map[string]int{}
	cookie, changed := uint64(0), 0
	for {
		got := false
		p.ok(d.ReadDir(p.ctx, cookie, nil, vfs.WantAll, func(next uint64, e vfs.Entry) bool {
			if got {
				return false
			}
			got, cookie = true, next
			seen[e.Name]++
			return true
		}))
		if !got {
			break
		}
		if changed < n {
			f := p.get(fmt.Sprintf(`d\drop%d`, changed))
			p.ok(f.Unlink(p.ctx))
			p.close(f)
			p.close(p.make(fmt.Sprintf(`d\new%d`, changed), ""))
			changed++
		}
		if len(seen) > 10*n {
			p.Fatal("the listing does not end")
		}
	}
	for i := range n {
		if c := seen[fmt.Sprint("keep", i)]; c != 1 {
			p.Fatalf("keep%d was listed %d times", i, c)
		}
	}
	for name, c := range seen {
		if c != 1 {
			p.Fatalf("%s was listed %d times", name, c)
		}
	}
}

// large is listed one entry at a time: a volume that begins anew each time takes very long for it.
func large(p *paper) {
	d := p.mkdir("d")
	const n = 5_000
	for i := range n {
		p.ok(p.try(fmt.Sprintf(`d\some file name of usual length %d`, i), vfs.How{Disposition: vfs.Create}))
	}
	count, cookie := 0, uint64(0)
	for more := true; more; {
		more = false
		p.ok(d.ReadDir(p.ctx, cookie, nil, 0, func(next uint64, e vfs.Entry) bool {
			if more {
				return false
			}
			more, cookie = true, next
			count++
			return true
		}))
	}
	if count != n+2 {
		p.Fatalf("%d entries listed", count)
	}
}

func twoHandles(p *paper) {
	for i := range 500 {
		p.close(p.make(fmt.Sprint("f", i), ""))
	}
	a, b := p.get(""), p.get("")
	ca, cb, na, nb := uint64(0), uint64(0), 0, 0
	one := func(f vfs.File, cookie *uint64, count *int) bool {
		got := false
		p.ok(f.ReadDir(p.ctx, *cookie, nil, 0, func(next uint64, _ vfs.Entry) bool {
			if got {
				return false
			}
			got, *cookie = true, next
			*count++
			return true
		}))
		return got
	}
	for one(a, &ca, &na) {
		one(b, &cb, &nb)
		one(b, &cb, &nb)
	}
	if na != 502 || nb != 502 {
		p.Fatalf("%d and %d entries", na, nb)
	}
}

func listFile(p *paper) {
	err := p.make("f", "").ReadDir(p.ctx, 0, nil, 0, func(uint64, vfs.Entry) bool { return true })
	if !errors.Is(err, nt.InvalidParameter) {
		p.Fatalf("listing a file: %v", err)
	}
}

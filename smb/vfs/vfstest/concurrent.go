package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// together runs do in n goroutines and waits.
func together(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

func concurrentIO(p *paper) {
	f := p.make("f", "")
	const block, blocks = 4096, 64
	together(8, func(g int) {
		b := bytes.Repeat([]byte{byte(g + 1)}, block)
		for i := g; i < blocks; i += 8 {
			if _, err := f.WriteAt(b, int64(i)*block); err != nil {
				p.Error(err)
			}
			got := make([]byte, block)
			if _, err := f.ReadAt(got, int64(i)*block); err != nil || !bytes.Equal(got, b) {
				p.Errorf("block %d is not what was written: %v", i, err)
			}
			if _, err := f.Attr(p.ctx, vfs.WantAll); err != nil {
				p.Error(err)
			}
			if err := f.SetAttr(p.ctx, vfs.Attr{Attributes: vfs.AttrHidden}, vfs.WantAttributes); err != nil {
				p.Error(err)
			}
			if i%16 == 0 {
				if err := f.Sync(p.ctx); err != nil {
					p.Error(err)
				}
			}
		}
	})
	if a := p.attr(f); a.Size != block*blocks {
		p.Fatalf("size %d", a.Size)
	}
}

// concurrentCreate: of all who make one name, in whatever case, one does.
func concurrentCreate(p *paper) {
	const rounds = 300
	for round := range rounds {
		name := fmt.Sprint("name", round)
		var mu sync.Mutex
		created, opened := 0, 0
		start := make(chan struct{})
		time.AfterFunc(50*time.Microsecond, func() { close(start) })
		together(8, func(i int) {
			how := vfs.How{Disposition: vfs.Create, Access: writing}
			if round%2 == 1 {
				how.Disposition = vfs.OpenIf
			}
			how.Directory = round%3 == 2
			mine := name
			if i%2 == 1 {
				mine = strings.ToUpper(name)
			}
			<-start
			f, a, err := p.v.Open(p.ctx, at(mine), how)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && a == vfs.Created:
				created++
			case err == nil:
				opened++
			case how.Disposition == vfs.OpenIf || !errors.Is(err, nt.ObjectNameCollision):
				p.Error(err)
			}
			if err == nil {
				if err := f.Close(); err != nil {
					p.Error(err)
				}
			}
		})
		if created != 1 || round%2 == 1 && opened != 7 {
			p.Fatalf("%s: %d created, %d opened", name, created, opened)
		}
	}
	if got := p.names(""); len(got) != rounds {
		p.Fatalf("%d names", len(got))
	}
}

// concurrentNames moves files about at random; none is lost, and none of them removes another.
func concurrentNames(p *paper) {
	const workers, slots = 6, 8
	p.mkdir("a")
	p.mkdir("b")
	slot := func() string { return fmt.Sprintf(`%c\%d`, "ab"[rand.IntN(2)], rand.IntN(slots)) }
	var mu sync.Mutex
	made, gone := 0, 0
	count := func(n *int) { mu.Lock(); *n++; mu.Unlock() }
	together(workers, func(int) {
		for range 150 {
			f, a, err := p.v.Open(p.ctx, at(slot()), vfs.How{Disposition: vfs.OpenIf, Access: writing})
			if err != nil {
				p.Errorf("open: %v", err)
				return
			}
			if a == vfs.Created {
				count(&made)
			}
			if rand.IntN(3) == 0 {
				switch err := f.Unlink(p.ctx); {
				case err == nil:
					count(&gone)
				case !errors.Is(err, nt.FileDeleted):
					p.Errorf("unlink: %v", err)
				}
			} else if err := f.Rename(p.ctx, at(slot()), false); err != nil && !errors.Is(err, nt.ObjectNameCollision) && !errors.Is(err, nt.FileDeleted) {
				p.Errorf("rename: %v", err)
			}
			if err := f.Close(); err != nil {
				p.Error(err)
			}
		}
	})
	if left := len(p.names("a")) + len(p.names("b")); made-gone != left {
		p.Fatalf("%d made, %d removed, %d left", made, gone, left)
	}
}

func concurrentList(p *paper) {
	const keep = 200
	for i := range keep {
		p.close(p.make(fmt.Sprint("keep", i), ""))
	}
	shared := p.get("")
	together(6, func(g int) {
		for round := range 20 {
			if g%3 == 0 {
				f, _, err := p.v.Open(p.ctx, at(fmt.Sprint("temp", g)), vfs.How{Disposition: vfs.OpenIf, Access: writing})
				if err == nil {
					err = errors.Join(f.Unlink(p.ctx), f.Close())
				}
				if err != nil {
					p.Error(err)
				}
				continue
			}
			seen := map[string]int{}
			if err := shared.ReadDir(p.ctx, 0, nil, vfs.WantAll, func(_ uint64, e vfs.Entry) bool {
				seen[e.Name]++
				return true
			}); err != nil {
				p.Error(err)
			}
			for i := range keep {
				if c := seen[fmt.Sprint("keep", i)]; c != 1 {
					p.Errorf("round %d: keep%d listed %d times", round, i, c)
					return
				}
			}
		}
	})
}

// closed: an operation after Close, which a server must not make, fails; it does not reach another file.
func closed(p *paper) {
	f := p.make("f", "f")
	p.close(f)
	p.make("g", "g")
	if _, err := f.ReadAt(make([]byte, 1), 0); err == nil {
		p.Error("read after Close")
	}
	if _, err := f.WriteAt(make([]byte, 1), 0); err == nil {
		p.Error("wrote after Close")
	}
	if err := f.SetAttr(p.ctx, vfs.Attr{Size: 0}, vfs.WantSize); err == nil {
		p.Error("SetAttr after Close")
	}
	if err := f.Unlink(p.ctx); err == nil {
		p.Error("Unlink after Close")
	}
	if _, err := f.Attr(p.ctx, vfs.WantAll); err == nil {
		p.Error("Attr after Close")
	}
	if err := f.Sync(p.ctx); err == nil {
		p.Error("Sync after Close")
	}
	p.holds(p.get("g"), "g")
	p.holds(p.get("f"), "f")
}

package smb

import (
	"context"
	"errors"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Short names, in shares that have them: a path may name what it leads through by them. fscc makes them from the long
// ones, so that what one stands for is found by listing its directory; that is done only for a name which looks made and
// names nothing by itself.

// shortOf is the short name that a listing shows beside name: none if name is short.
func (s *share) shortOf(name string) string {
	if !s.ShortNames || name == "." || name == ".." || fscc.IsShortName(name) {
		return ""
	}
	return fscc.ShortName(name)
}

// matches reports whether a listing shows name: its pattern may be for either name, [MS-FSA] 2.1.5.6.3.
func (s *share) matches(p fscc.Pattern, name string) bool {
	if p.Match(name) {
		return true
	}
	short := s.shortOf(name)
	return short != "" && p.Match(short)
}

// longPath has the CREATE's path name things by their long names.
func (c *creation) longPath() (err error) {
	if c.ctx.posix != nil { // such a client knows no short names
		return nil
	}
	c.path, err = c.longNames(c.path)
	if err != nil || len(c.path.Names) == 0 || !c.tree.share.ShortNames || c.req.Disposition == wire.FileOpen {
		return err
	}
	if long := c.tree.share.tunnel.recall(c.path.Names); long != "" && !c.exists(c.path) {
		c.path.Names[len(c.path.Names)-1] = long
	}
	return nil
}

// longNames returns p with each short name in it replaced by what it is short for.
func (r *request) longNames(p vfs.Path) (vfs.Path, error) {
	if !r.tree.share.ShortNames || !slices.ContainsFunc(p.Names, fscc.MadeShort) {
		return p, nil
	}
	for from := 0; ; {
		// The first name that is not there. Not one after the other: a path may be deep.
		at := from + sort.Search(len(p.Names)-from, func(n int) bool { return !r.exists(vfs.Path{Names: p.Names[:from+n+1]}) })
		if at == len(p.Names) || !fscc.MadeShort(p.Names[at]) {
			return p, nil // whoever opens it has the right words
		}
		long, err := r.longName(p.Names[:at], p.Names[at])
		if err != nil || long == "" {
			return p, err
		}
		p.Names[at], from = long, at+1
	}
}

// exists reports whether anything has the very name.
func (r *request) exists(p vfs.Path) bool {
	f, _, err := r.tree.share.Volume.Open(r.ctx, p, vfs.How{Access: dtyp.ReadAttributes, Reparse: true})
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// longName finds what short is short for in a directory, or "".
func (r *request) longName(dir []string, short string) (long string, err error) {
	d, _, err := r.tree.share.Volume.Open(r.ctx, vfs.Path{Names: dir}, vfs.How{Access: dtyp.ReadData, Directory: true})
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return "", err
		}
		return "", nil
	}
	defer d.Close()
	match := func(name string) bool { return strings.EqualFold(fscc.ShortName(name), short) }
	err = d.ReadDir(r.ctx, 0, match, 0, func(_ uint64, e vfs.Entry) bool {
		long = e.Name
		return false
	})
	return long, err
}

// alternateName answers for FileAlternateNameInformation, [MS-FSA] 2.1.5.12.
func (q *query) alternateName() (response, error) {
	p, err := q.o.file.Path(q.ctx)
	switch {
	case err != nil:
		return nil, err
	case len(p.Names) == 0:
		return nil, because(nt.ObjectNameNotFound, "the root has no name")
	case p.Stream == "" && fscc.IsShortName(p.Base()): // what is a short name already is its own, as NTFS has it
		return q.output(fscc.NameInfo{Name: p.Base()}.Append(nil))
	case !q.tree.share.ShortNames:
		return nil, because(nt.NotSupported, "no short names") // not "not found": smbclient takes that for the whole file
	}
	return q.output(fscc.NameInfo{Name: fscc.ShortName(p.Base())}.Append(nil))
}

// Bounds of a tunnel.
const (
	tunnelFor = 15 * time.Second // as NTFS does it
	maxTunnel = 1024             // names; with the longest paths there are it is 64 MiB, usually 200 KiB
)

// A tunnel remembers for a moment the long names that went, by their short ones: Volume.TunnelCacheList, [MS-FSA] 2.1.1.2.
// Old programs write a file anew by deleting it by its short name and making it again by that.
type tunnel struct {
	mu    sync.Mutex
	gone  map[string]tunneled // by path, its last name short; folded
	order []string            // keys, the oldest first
}

type tunneled struct {
	long string
	at   time.Time
}

// tunnelKey is what a path that ends in a short name is found by.
func tunnelKey(dir []string, short string) string {
	return fscc.Fold(strings.Join(dir, `\`) + `\` + short)
}

// keep remembers a path that is about to lead nowhere.
func (s *share) keep(p vfs.Path) {
	if len(p.Names) == 0 || s.shortOf(p.Base()) == "" {
		return
	}
	t, up := &s.tunnel, len(p.Names)-1
	key := tunnelKey(p.Names[:up], fscc.ShortName(p.Base()))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone == nil {
		t.gone = make(map[string]tunneled)
	}
	if _, there := t.gone[key]; !there {
		t.order = append(t.order, key)
	}
	t.gone[key] = tunneled{p.Base(), time.Now()}
	for len(t.order) > 0 && (len(t.order) > maxTunnel || time.Since(t.gone[t.order[0]].at) > tunnelFor) {
		delete(t.gone, t.order[0])
		t.order = t.order[1:]
	}
}

// recall returns the long name that a path's last name was short for a moment ago, or "".
func (t *tunnel) recall(names []string) string {
	up := len(names) - 1
	if !fscc.MadeShort(names[up]) {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	g, there := t.gone[tunnelKey(names[:up], names[up])]
	if !there || time.Since(g.at) > tunnelFor {
		return ""
	}
	return g.long
}

package smb

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// A Link is a name in a namespace's root and where it leads.
type Link struct {
	Name string
	// Targets are folders in the form \\server\share or \\server\share\path that hold the same, preferred ones first.
	Targets []string
}

// Bounds of a namespace, so that a referral fits into the 64 KiB that its offsets reach.
const (
	maxLinks      = 4096
	maxTargets    = 16
	maxTargetSize = 1024 // bytes of UTF-16
)

// A namespace is the Volume of a share that consists of links, [MS-DFSC]: one directory, which nobody changes. What is
// behind a link is PathNotCovered.
type namespace struct {
	name  string
	id    uint64
	made  dtyp.Filetime
	links []Link // sorted by folded name; targets as referrals have them, with one backslash
}

// newNamespace checks links.
func newNamespace(share string, links []Link) (*namespace, error) {
	n := &namespace{name: share, id: randomID(), made: dtyp.FiletimeOf(time.Now())}
	if len(links) > maxLinks {
		return nil, fmt.Errorf("share %s has more than %d links", share, maxLinks)
	}
	for _, l := range links {
		if err := CheckLink(l); err != nil {
			return nil, fmt.Errorf("share %s: link %q: %w", share, l.Name, err)
		}
		if n.link(l.Name) >= 0 {
			return nil, fmt.Errorf("share %s: there is another link %q", share, l.Name)
		}
		mine := Link{Name: l.Name}
		for _, t := range l.Targets {
			mine.Targets = append(mine.Targets, strings.TrimPrefix(t, `\`))
		}
		n.links = append(n.links, mine)
		slices.SortFunc(n.links, func(a, b Link) int { return strings.Compare(fscc.Fold(a.Name), fscc.Fold(b.Name)) })
	}
	return n, nil
}

// CheckLink says what is wrong with a link by itself.
func CheckLink(l Link) error {
	if err := fscc.CheckName(l.Name); err != nil || strings.ContainsRune(l.Name, ':') {
		return fmt.Errorf("%q is no name of a folder", l.Name)
	}
	if len(l.Targets) == 0 || len(l.Targets) > maxTargets {
		return fmt.Errorf("%d targets; there have to be from 1 to %d", len(l.Targets), maxTargets)
	}
	for _, t := range l.Targets {
		path, ok := strings.CutPrefix(t, `\\`)
		parts := strings.Split(path, `\`)
		if !ok || len(parts) < 2 || slices.Contains(parts, "") || strings.ContainsAny(t, "\x00/") || cursor.UTF16Len(t) > maxTargetSize {
			return fmt.Errorf(`target %q is not \\server\share or \\server\share\path`, t)
		}
	}
	return nil
}

// link returns the number of the link of that name, or -1.
func (n *namespace) link(name string) int {
	return slices.IndexFunc(n.links, func(l Link) bool { return fscc.Fold(l.Name) == fscc.Fold(name) })
}

// Open opens the root. A link itself can be opened as the reparse point that it is.
func (n *namespace) Open(_ context.Context, p vfs.Path, how vfs.How) (vfs.File, vfs.Action, error) {
	at := -1
	if len(p.Names) > 0 {
		at = n.link(p.Names[0])
		switch {
		case at < 0 && len(p.Names) > 1:
			return nil, 0, nt.ObjectPathNotFound
		case at < 0 && how.Disposition != vfs.Open:
			return nil, 0, nt.AccessDenied
		case at < 0:
			return nil, 0, nt.ObjectNameNotFound
		case len(p.Names) > 1 || !how.Reparse:
			return nil, 0, nt.PathNotCovered
		}
	}
	switch {
	case p.Stream != "":
		return nil, 0, nt.ObjectNameInvalid
	case how.Directory && how.NonDirectory:
		return nil, 0, nt.InvalidParameter
	case how.NonDirectory:
		return nil, 0, nt.FileIsADirectory
	case how.Disposition == vfs.Create:
		return nil, 0, nt.ObjectNameCollision
	}
	return &namespaceDir{n, at}, vfs.Opened, nil
}

// Usage says that there is no room.
func (*namespace) Usage(context.Context) (total, free int64, err error) { return 0, 0, nil }

// attr is of a link, or of the root for -1.
func (n *namespace) attr(link int) vfs.Attr {
	a := vfs.Attr{
		ID: vfs.ID{Volume: n.id, Object: uint64(link + 2)}, Birth: n.made, Access: n.made, Write: n.made, Change: n.made,
		Attributes: vfs.AttrDirectory, Links: 1,
	}
	if link >= 0 {
		a.Attributes |= vfs.AttrReparsePoint
		a.ReparseTag = tagDFS
	}
	return a
}

// tagDFS is IO_REPARSE_TAG_DFS, [MS-FSCC] 2.1.2.1.
const tagDFS = 0x8000000A

// A namespaceDir is an open of the root, or of a link.
type namespaceDir struct {
	n    *namespace
	link int // -1: the root
}

func (d *namespaceDir) ID() vfs.ID { return d.n.attr(d.link).ID }

func (d *namespaceDir) Attr(context.Context, vfs.Mask) (vfs.Attr, error) {
	return d.n.attr(d.link), nil
}

// ReadDir lists the links in order; a link itself has nothing in it. Cookies count.
func (d *namespaceDir) ReadDir(_ context.Context, cookie uint64, match func(string) bool, _ vfs.Mask, emit func(uint64, vfs.Entry) bool) error {
	const dots = 2
	entries := uint64(dots)
	if d.link < 0 {
		entries += uint64(len(d.n.links))
	}
	for ; cookie < entries; cookie++ {
		e := vfs.Entry{Name: [dots]string{".", ".."}[min(cookie, 1)], Attr: d.n.attr(-1)}
		if cookie >= dots {
			e = vfs.Entry{Name: d.n.links[cookie-dots].Name, Attr: d.n.attr(int(cookie - dots))}
		}
		if (match == nil || match(e.Name)) && !emit(cookie+1, e) {
			return nil
		}
	}
	return nil
}

func (d *namespaceDir) Path(context.Context) (vfs.Path, error) {
	if d.link < 0 {
		return vfs.Path{}, nil
	}
	return vfs.Path{Names: []string{d.n.links[d.link].Name}}, nil
}

// What changes something is refused: links are made by the owner of the server, in its configuration.

func (*namespaceDir) ReadAt([]byte, int64) (int, error) { return 0, nt.FileIsADirectory }

func (*namespaceDir) WriteAt([]byte, int64) (int, error) { return 0, nt.FileIsADirectory }

func (*namespaceDir) SetAttr(context.Context, vfs.Attr, vfs.Mask) error { return nt.AccessDenied }

func (*namespaceDir) Overwrite(context.Context, uint32) error { return nt.FileIsADirectory }

func (*namespaceDir) Rename(context.Context, vfs.Path, bool) error { return nt.AccessDenied }

func (*namespaceDir) Unlink(context.Context) error { return nt.AccessDenied }
func (*namespaceDir) Sync(context.Context) error   { return nil }
func (*namespaceDir) Close() error                 { return nil }

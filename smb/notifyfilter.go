package smb

import (
	"strings"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/vfs"
)

// In a share with access-based enumeration no change tells a name that a listing would not show to the user.

// listed picks the changes that the user may hear of. What is gone cannot be judged any more: anew then says that the user
// has to list the directory, which tells what it may.
func (r *request) listed(o *open, changes []fscc.Change) (kept []fscc.Change, anew bool) {
	above, err := o.file.Path(r.ctx)
	if err != nil {
		return nil, true
	}
	seen := &sight{r: r, above: above.Names, id: r.session.identity.Load(), known: make(map[string]bool)}
	for i, c := range changes {
		name := c.Name
		switch {
		case c.Action == fscc.ActionRenamedOld && i+1 < len(changes) && changes[i+1].Action == fscc.ActionRenamedNew:
			name = changes[i+1].Name // where it is to be seen now
		case c.Action == fscc.ActionRenamedOld, c.Action == fscc.ActionRemoved:
			return nil, true
		}
		visible, known := seen.of(name)
		switch {
		case !known:
			return nil, true
		case visible:
			kept = append(kept, c)
		}
	}
	return kept, false
}

// A sight is what one user sees beneath a directory, as far as it was looked at.
type sight struct {
	r     *request
	above []string // the directory
	id    *auth.Identity
	known map[string]bool
}

// of tells whether the user sees a name, that is all directories on the way to it as well; known is false for what is not
// there.
func (s *sight) of(name string) (visible, known bool) {
	names := strings.Split(name, `\`)
	for i := range names {
		visible, known = s.one(names[:i+1])
		if !visible || !known {
			break
		}
	}
	return visible, known
}

func (s *sight) one(names []string) (visible, known bool) {
	key := strings.Join(names, `\`)
	if v, ok := s.known[key]; ok {
		return v, true
	}
	p := vfs.Path{Names: append(append([]string(nil), s.above...), names...)}
	f, _, err := s.r.tree.share.Volume.Open(s.r.ctx, p, vfs.How{Access: dtyp.ReadControl | dtyp.ReadAttributes})
	if err != nil {
		return false, false
	}
	defer f.Close()
	a, err := f.Attr(s.r.ctx, vfs.WantAttributes)
	if err != nil {
		return false, false
	}
	sd, err := s.r.descriptor(f, func() (vfs.Path, error) { return p, nil }, a.Dir())
	if err != nil {
		return false, false
	}
	visible = allowed(sd, s.id)&dtyp.FileRead == dtyp.FileRead
	s.known[key] = visible
	return visible, true
}

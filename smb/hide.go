package smb

import (
	"context"
	"slices"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/vfs"
)

// Names that a share shows as hidden. It is shown, and nothing else: what judges attributes, such as an overwrite, looks
// at those that are stored.

// hides reports whether the share does so with this name.
func (s *share) hides(name string) bool {
	return name != "" && name != "." && name != ".." &&
		slices.ContainsFunc(s.hidden, func(p fscc.Pattern) bool { return p.Match(name) })
}

// show makes of a what the client is to see: with what the share shows because of the name that the open's object has
// now, and without what the filesystem keeps beside the contents, if we know.
func (o *open) show(ctx context.Context, a *vfs.Attr) {
	if a.Alloc >= o.beside { // it may have gone since
		a.Alloc -= o.beside
	}
	if len(o.tree.share.hidden) == 0 {
		return
	}
	if p, err := o.file.Path(ctx); err == nil && o.tree.share.hides(p.Base()) {
		a.Attributes |= vfs.AttrHidden
	}
}

package smb

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Previous versions: a client lists when the volume was kept ([MS-SMB2] 3.3.5.15.1), and opens files as they were at one
// of these moments, by a create context or by a token in the path. An open of the past is judged by the rights that the
// file had then; it may be granted what changes files, and whatever uses that is refused.

// gmtToken is how a moment is written in paths and lists, [MS-SMB2] 2.2.32.2.
const gmtToken = "@GMT-2006.01.02-15.04.05"

// A past is the volume as it was, for as long as anyone has a file of it open.
type past struct {
	vfs.Volume
	refs atomic.Int32
	done func()
}

func (p *past) acquire() *past {
	if p != nil {
		p.refs.Add(1)
	}
	return p
}

func (p *past) release() {
	if p != nil && p.refs.Add(-1) == 0 {
		p.done()
	}
}

// volume is where the request's names are: the share's, or that as it was.
func (r *request) volume() vfs.Volume {
	if r.past != nil {
		return r.past
	}
	return r.tree.share.Volume
}

func (o *open) volume() vfs.Volume {
	if o.past != nil {
		return o.past
	}
	return o.tree.share.Volume
}

// unchangeable refuses what would change a file of the past.
func (o *open) unchangeable() error {
	if o.past != nil {
		return because(nt.MediaWriteProtected, "a previous version does not change")
	}
	return nil
}

// setPast sets what stays with the handle. No name leads out of the past or into it.
func (r *request) setPast(o *open, class fscc.FileClass, b []byte) error {
	switch class {
	case fscc.FilePositionInformation, fscc.FileModeInformation:
		return setClasses[class].set(r, o, b)
	case fscc.FileRenameInformation, fscc.FileRenameInformationEx, fscc.FileLinkInformation, fscc.FileLinkInformationEx:
		return because(nt.NotSameDevice, "a previous version keeps its name, and gets no other")
	}
	return o.unchangeable()
}

// goBack finds out which moment a CREATE means, [MS-SMB2] 3.3.5.9.7, and goes there.
func (c *creation) goBack() error {
	at, found, err := c.takeToken()
	switch {
	case err != nil:
		return err
	case c.ctx.timewarp != 0:
		at = c.ctx.timewarp.Time()
	case !found:
		return nil
	}
	kept, ok := c.tree.share.Volume.(vfs.Snapshots)
	if !ok {
		return because(nt.ObjectNameNotFound, "the volume has no previous versions")
	}
	v, done, err := kept.At(c.request.ctx, at)
	if err != nil {
		return err
	}
	c.past = &past{Volume: v, done: done}
	c.past.refs.Store(1)
	if c.replace || c.req.Options&wire.FileDeleteOnClose != 0 {
		return because(nt.MediaWriteProtected, "a previous version does not change")
	}
	return nil
}

// takeToken takes the token out of a path, wherever it stands: clients put it behind the share's name, or behind that of
// the folder whose versions they show.
func (c *creation) takeToken() (at time.Time, found bool, err error) {
	token := -1
	for i, name := range c.path.Names {
		if len(name) != len(gmtToken) || name[0] != '@' {
			continue
		}
		t, err := time.Parse(gmtToken, name)
		switch {
		case err != nil: // a name like any other
		case token >= 0:
			return at, true, because(nt.ObjectNameInvalid, "two moments in one path")
		default:
			at, token = t, i
		}
	}
	if token >= 0 {
		c.path.Names = slices.Delete(slices.Clone(c.path.Names), token, token+1)
	}
	return at, token >= 0, nil
}

// enumerateSnapshots lists the moments at which the file was there, [MS-SMB2] 3.3.5.15.1.
func (c *control) enumerateSnapshots() ([]byte, error) {
	if c.o.file == nil {
		return nil, because(nt.InvalidDeviceRequest, "previous versions of a pipe")
	}
	// A client asks with room for the counts alone first.
	const counts = 16
	if c.req.MaxOutputResponse < counts {
		return nil, because(nt.InvalidParameter, "room for %d bytes", c.req.MaxOutputResponse)
	}
	kept, ok := c.o.tree.share.Volume.(vfs.Snapshots)
	if !ok {
		return nil, because(nt.NotSupported, "the volume has no previous versions")
	}
	times, err := kept.Snapshots(c.ctx)
	if err != nil {
		return nil, err
	}
	p, err := c.o.file.Path(c.ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range times {
		there, err := c.wasThere(kept, t, p)
		if err != nil {
			return nil, err
		}
		if there {
			names = append(names, t.UTC().Format(gmtToken))
		}
	}
	var out wire.SnapshotArray
	out.SetNames(names)
	b := out.Append(nil)
	if len(names) == 0 || len(b) > int(c.req.MaxOutputResponse) {
		out.Names = nil
		b = out.Append(nil)
		b = append(b, make([]byte, counts-len(b))...) // clients read no less
	}
	return b, nil
}

// wasThere reports whether the path led to something at a moment.
func (c *control) wasThere(kept vfs.Snapshots, t time.Time, p vfs.Path) (bool, error) {
	if err := c.ctx.Err(); err != nil {
		return false, err
	}
	v, done, err := kept.At(c.ctx, t)
	if errors.Is(err, nt.ObjectNameNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer done()
	f, _, err := v.Open(c.ctx, vfs.Path{Names: p.Names}, vfs.How{Access: dtyp.ReadAttributes})
	if err != nil {
		return false, nil
	}
	return true, f.Close()
}

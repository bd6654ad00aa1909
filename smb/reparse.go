package smb

import (
	"errors"
	"strings"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
)

// Symbolic links, [MS-FSCC] 2.1.2.4. The server follows them itself, as far as they stay within the share: who has links
// on a NAS wants them to work from every client, and a client that is told to follow one (STATUS_STOPPED_ON_SYMLINK)
// asks its user's policy, or cannot. Listings show what a link leads to. Clients that open a link itself can see where
// it leads, and make and remove links; those that would lead out of the share are not made.

// symlinkHeader is the least that tells a symbolic link: its header and its four offsets and lengths, [MS-FSCC] 2.1.2.4.
const symlinkHeader = 20

// getReparsePoint is [MS-FSA] 2.1.5.9.12.
func (c *control) getReparsePoint() ([]byte, error) {
	l, ok := c.o.file.(vfs.Symlinker)
	if !ok {
		return nil, because(nt.NotAReparsePoint, "no links here")
	}
	target, err := l.Target(c.ctx)
	if err != nil {
		return nil, err
	}
	b := fscc.Symlink{Substitute: target, Print: target, Flags: fscc.SymlinkRelative}.Append(nil)
	switch room := int(c.req.MaxOutputResponse); {
	case len(b) > fscc.MaxReparse:
		return nil, because(nt.IOReparseDataInvalid, "target of %d characters", len(target))
	case room < symlinkHeader:
		return nil, because(nt.BufferTooSmall, "room for %d bytes", room)
	case room < len(b):
		return b[:room], because(nt.BufferOverflow, "%d of %d bytes", room, len(b))
	}
	return b, nil
}

// setReparsePoint makes a symbolic link of what the client has made for it, [MS-FSA] 2.1.5.9.37.
func (c *control) setReparsePoint() ([]byte, error) {
	l, err := c.symlinker()
	if err != nil {
		return nil, err
	}
	tag, _, err := fscc.DecodeReparse(c.req.Input)
	if err != nil {
		return nil, because(nt.IOReparseDataInvalid, "%d bytes", len(c.req.Input))
	}
	if tag < 2 { // IO_REPARSE_TAG_RESERVED_ZERO and _ONE
		return nil, because(nt.IOReparseTagInvalid, "tag %#x", tag)
	}
	if tag != fscc.TagSymlink {
		return nil, because(nt.NotSupported, "reparse point with tag %#x", tag)
	}
	var in fscc.Symlink
	if err := in.Decode(c.req.Input); err != nil {
		return nil, because(nt.IOReparseDataInvalid, "%v", err)
	}
	target := strings.ReplaceAll(in.Substitute, "/", `\`)
	if in.Flags&fscc.SymlinkRelative == 0 || strings.HasPrefix(target, `\`) {
		return nil, because(nt.NotSupported, "a link to an absolute path, which is the client's own")
	}
	return nil, c.relink(func() error { return l.SetTarget(c.ctx, target) })
}

// deleteReparsePoint leaves an empty file where a link was, [MS-FSA] 2.1.5.9.3.
func (c *control) deleteReparsePoint() ([]byte, error) {
	l, err := c.symlinker()
	if err != nil {
		return nil, err
	}
	tag, data, err := fscc.DecodeReparse(c.req.Input)
	if err != nil || len(data) != 0 {
		return nil, because(nt.IOReparseDataInvalid, "%d bytes", len(c.req.Input))
	}
	if _, err := l.Target(c.ctx); errors.Is(err, nt.NotAReparsePoint) {
		return nil, err
	}
	if tag != fscc.TagSymlink {
		return nil, because(nt.IOReparseTagMismatch, "tag %#x", tag)
	}
	return nil, c.relink(func() error { return l.ClearTarget(c.ctx) })
}

func (c *control) symlinker() (vfs.Symlinker, error) {
	if c.o.file == nil {
		return nil, because(nt.InvalidDeviceRequest, "reparse point of a pipe")
	}
	l, ok := c.o.file.(vfs.Symlinker)
	if !ok {
		return nil, because(nt.NotSupported, "no links here")
	}
	return l, nil
}

// relink changes what stands under the open's name. Others that have it open would lose it.
func (c *control) relink(change func() error) error {
	o := c.o
	o.object.mu.Lock()
	others, going := o.object.fsa.Len() > 1, o.object.fsa.DeletePending()
	o.object.mu.Unlock()
	switch {
	case going:
		return nt.DeletePending
	case others:
		return because(nt.SharingViolation, "others have it open")
	}
	p, err := o.file.Path(c.ctx)
	if err != nil {
		return err
	}
	if len(p.Names) == 0 {
		return because(nt.AccessDenied, "the root of a share")
	}
	// The object goes, with the descriptor that it has, and another comes that has none: whoever may do both may do this.
	if err := c.mayDelete(o.file, p); err != nil {
		return err
	}
	if err := c.mayName(p, false); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	c.entryChanged(o, p)
	return nil
}

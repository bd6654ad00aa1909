package smb

import (
	"errors"
	"strings"
	"syscall"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fsa"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Bits of CREATE that are refused.
const (
	fileCreateTreeConnection uint32 = 0x00000080 // of the NT API; means nothing here

	optionsInvalid      uint32 = 0xFF000000
	optionsNotSupported        = fileCreateTreeConnection | wire.FileOpenByFileID | wire.FileReserveOpfilter
	attributesInvalid   uint32 = 0xFFFF8048 // those that no object can have, among them volume label and device
	attributeEncrypted  uint32 = 0x00004000
	accessInvalid              = dtyp.Access(0x0CE0FE00)
)

// attributesSettable are those that a client may give an object.
const attributesSettable = vfs.AttrReadOnly | vfs.AttrHidden | vfs.AttrSystem | vfs.AttrArchive | vfs.AttrTemporary | vfs.AttrOffline | vfs.AttrNotIndexed

const writeAccess = dtyp.WriteData | dtyp.AppendData

// A creation is one CREATE, [MS-SMB2] 3.3.5.9 with [MS-FSA] 2.1.5.1.
type creation struct {
	*request
	req     wire.CreateRequest
	path    vfs.Path
	ctx     createContexts
	granted dtyp.Access
	maximal dtyp.Access // what could be granted
	grown   bool        // a stream was made of a file that was there
	asMuch  bool        // MAXIMUM_ALLOWED was asked for
	replace bool        // contents go if the file is there
	o       *open
	action  vfs.Action
	attr    vfs.Attr
	grant   fsa.Grant
	sd      *dtyp.SecurityDescriptor // the object's
	last    durability
}

func (r *request) create() (response, error) {
	c := &creation{request: r}
	if err := c.decode(); err != nil {
		return nil, err
	}
	if r.tree.share.pipes {
		return c.openPipe()
	}
	defer func() {
		c.undo()
		c.past.release() // an open that was made has its own
	}()
	defer c.unclaim()
	if strings.EqualFold(c.req.Name, quotaName) {
		return c.openQuota()
	}
	if resp, done, err := c.resume(); done {
		return resp, err
	}
	for _, step := range []func() error{
		c.checkLevel, c.checkAccess, c.checkOptions, c.parsePOSIX, c.parsePath, c.longPath, c.parseContexts, c.checkLease, c.openFile,
		c.authorize, c.checkObject, c.displace, c.share, c.overwrite, c.register, c.cache, c.endure,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return c.answer()
}

func (c *creation) decode() error {
	if err := c.req.Decode(c.msg); err != nil {
		return malformed(err)
	}
	if c.req.BadName() {
		return because(nt.ObjectNameInvalid, "name is not UTF-16")
	}
	return nil
}

func (c *creation) checkLevel() error {
	if c.req.ImpersonationLevel > wire.ImpersonationDelegate {
		return because(nt.BadImpersonationLevel, "impersonation level %d", c.req.ImpersonationLevel)
	}
	return nil
}

func (c *creation) checkOptions() error {
	q := &c.req
	both := wire.FileDirectoryFile | wire.FileNonDirectoryFile
	switch {
	case q.ShareAccess&^(wire.ShareRead|wire.ShareWrite|wire.ShareDelete) != 0, q.Disposition > wire.FileOverwriteIf:
		return because(nt.InvalidParameter, "share access %#x, disposition %d", q.ShareAccess, q.Disposition)
	case q.Options&optionsInvalid != 0, q.Options&both == both, q.FileAttributes&attributesInvalid != 0:
		return because(nt.InvalidParameter, "options %#x, attributes %#x", q.Options, q.FileAttributes)
	case q.Options&optionsNotSupported != 0:
		return because(nt.NotSupported, "options %#x", q.Options)
	case q.FileAttributes&attributeEncrypted != 0:
		return because(nt.AccessDenied, "files are not encrypted one by one")
	}
	switch q.Disposition {
	case wire.FileSupersede, wire.FileOverwrite, wire.FileOverwriteIf:
		c.replace = true
		if q.Options&wire.FileDirectoryFile != 0 {
			return because(nt.InvalidParameter, "a directory cannot be overwritten")
		}
	}
	if q.Options&wire.FileDeleteOnClose != 0 && c.granted&dtyp.Delete == 0 {
		return because(nt.AccessDenied, "delete on close without the right to delete")
	}
	if c.replace && c.tree.rights&dtyp.WriteData == 0 {
		return because(nt.AccessDenied, "the share is read-only for the user")
	}
	return nil
}

// checkAccess decides what the open may do at most, [MS-SMB2] 3.3.5.9 and [MS-FSA] 2.1.5.1.2.1.
func (c *creation) checkAccess() error {
	want, rights := c.req.DesiredAccess, c.tree.rights
	if want == 0 || want&accessInvalid != 0 {
		return because(nt.AccessDenied, "desired access %#x", uint32(want))
	}
	privileged, err := c.privileged()
	if err != nil {
		return err
	}
	c.maximal = rights
	c.asMuch = want&dtyp.MaximumAllowed != 0
	c.granted = (want &^ dtyp.MaximumAllowed).Expand()
	if over := c.granted &^ (rights | privileged); over != 0 {
		return because(nt.AccessDenied, "the share grants %#x, asked for %#x", uint32(rights), uint32(c.granted))
	}
	if c.asMuch {
		c.granted |= rights
	}
	return nil
}

func (c *creation) parsePath() (err error) {
	if c.ctx.posix != nil {
		return c.parsePOSIXPath()
	}
	if strings.HasPrefix(c.req.Name, `\`) {
		return because(nt.InvalidParameter, "name starts with a backslash")
	}
	name, err := c.dfsName()
	if err != nil {
		return err
	}
	var kind vfs.StreamType
	if c.path, kind, err = vfs.ParseTyped(name); err != nil {
		return err
	}
	return c.checkStream(kind)
}

// openFile finds or makes the object. Nothing of it is changed yet: share modes are judged first.
func (c *creation) openFile() error {
	q := &c.req
	how := vfs.How{
		Access: c.granted, Directory: q.Options&wire.FileDirectoryFile != 0, NonDirectory: q.Options&wire.FileNonDirectoryFile != 0,
		Reparse: q.Options&wire.FileOpenReparsePoint != 0, WriteThrough: q.Options&wire.FileWriteThrough != 0,
		Attributes: q.FileAttributes & attributesSettable, Admit: c.admit,
	}
	if !how.Directory {
		how.Attributes |= vfs.AttrArchive
	}
	if c.ctx.posix != nil {
		how.POSIX, how.Mode = true, c.ctx.posix.Mode&vfs.ModeBits
	}
	switch q.Disposition {
	case wire.FileCreate:
		how.Disposition = vfs.Create
	case wire.FileOpenIf, wire.FileOverwriteIf, wire.FileSupersede:
		how.Disposition = vfs.OpenIf
	}
	if c.replace {
		how.Access |= dtyp.WriteData
	}
	need := dtyp.WriteData
	if how.Directory {
		need = dtyp.AppendData
	}
	if c.tree.rights&need == 0 {
		if how.Disposition == vfs.Create {
			return because(nt.AccessDenied, "the share is read-only for the user")
		}
		how.Disposition = vfs.Open
	}
	file, action, err := c.openPath(how)
	if err != nil && c.asMuch && errors.Is(err, syscall.EACCES) && !c.replace {
		// As much as may be had: the filesystem grants less than the share.
		c.granted &= dtyp.FileRead | dtyp.FileExecute
		c.maximal = c.granted
		how.Access, how.Disposition = c.granted, vfs.Open
		file, action, err = c.openPath(how)
	}
	if err != nil {
		return err
	}
	c.action = action
	c.o = newOpen(c.session, c.tree)
	c.o.past = c.past.acquire()
	c.o.file, c.o.options, c.o.posix = file, q.Options, how.POSIX
	c.o.at.Load().sealed = c.frame.sealed != nil
	c.o.object = c.conn.srv.files.get(file.ID())
	c.o.mode = q.Options & (wire.FileWriteThrough | wire.FileSequentialOnly | wire.FileNoIntermediateBuffering | wire.FileSynchronousIOAlert | wire.FileSynchronousIONonAlert | wire.FileDeleteOnClose)
	c.attr, err = file.Attr(c.request.ctx, vfs.WantAll)
	return err
}

// checkObject judges what the object itself does not allow.
func (c *creation) checkObject() error {
	c.o.isDir, c.o.afp = c.attr.Dir(), isAFPInfo(c.path.Stream)
	readOnly := c.attr.Attributes&vfs.AttrReadOnly != 0 && !c.o.ofDirectory()
	if c.action == vfs.Created {
		return nil
	}
	if c.replace && c.o.isDir {
		return because(nt.FileIsADirectory, "a directory cannot be overwritten")
	}
	if readOnly {
		const denied = writeAccess | dtyp.DeleteChild // [MS-FSA] 2.1.5.1.2.1
		switch {
		case c.req.Options&wire.FileDeleteOnClose != 0:
			return because(nt.CannotDelete, "a read-only file cannot be deleted")
		case c.replace, c.req.DesiredAccess.Expand()&denied != 0:
			return because(nt.AccessDenied, "the file is read-only")
		}
		c.granted &^= denied // what MAXIMUM_ALLOWED had brought
	}
	keep := (vfs.AttrHidden | vfs.AttrSystem) & c.attr.Attributes
	if c.replace && keep&^c.req.FileAttributes != 0 && c.path.Stream == "" {
		return because(nt.AccessDenied, "a hidden or system file is overwritten by naming it one") // [MS-FSA] 2.1.5.1.2
	}
	if c.req.Options&wire.FileDeleteOnClose != 0 && len(c.path.Names) == 0 && c.path.Stream == "" {
		return because(nt.CannotDelete, "the root of a share cannot be deleted")
	}
	return nil
}

// share takes a place beside the object's other opens. If those that were in the way left by deleting the object, what
// the name stands for now is opened instead.
func (c *creation) share() error {
	for {
		err := c.takePlace()
		if !errors.Is(err, nt.DeletePending) || !c.o.object.isGone() {
			return err
		}
		c.undo()
		c.o, c.sd = nil, nil
		for _, step := range []func() error{c.checkAccess, c.openFile, c.authorize, c.checkObject} {
			if err := step(); err != nil {
				return err
			}
		}
	}
}

func (c *creation) takePlace() error {
	o := c.o
	o.access = c.granted
	access := uint32(c.granted)
	if c.replace && c.action == vfs.Opened {
		access |= fsa.WriteData // who empties a file writes to it, whatever the handle may do later
	}
	if err := c.leased(); err != nil {
		return err
	}
	mode := fsa.Mode{
		Access: access, Share: c.req.ShareAccess, DeleteOnClose: c.req.Options&wire.FileDeleteOnClose != 0,
		Replace: c.replace && c.action == vfs.Opened, Key: o.lease,
	}
	asked := 0
	err := c.askFamily(o.object, mode, func(f *fsa.File[*open]) ([]fsa.Break[*open], error) {
		asked++
		breaks, err := f.Open(o, mode)
		if errors.Is(err, nt.DeletePending) && !o.object.used() && !o.object.gone {
			err = fsa.ErrWait // it is being deleted this moment
		}
		return breaks, err
	})
	if err == nil && asked > 1 { // those that had it written in their caches only have written it back
		c.attr, err = o.file.Attr(c.request.ctx, vfs.WantAll)
	}
	return err
}

func (c *creation) overwrite() (err error) {
	made := c.action == vfs.Created
	if c.replace && !made {
		made = true
		attributes := c.req.FileAttributes&attributesSettable | vfs.AttrArchive
		if err := c.o.file.Overwrite(c.request.ctx, attributes); err != nil {
			return err
		}
		c.o.object.mu.Lock()
		c.o.object.fsa.Narrow(c.o, uint32(c.granted))
		c.o.object.mu.Unlock()
	}
	if made && c.ctx.allocation > 0 && !c.o.isDir {
		if err := c.o.file.SetAttr(c.request.ctx, vfs.Attr{Alloc: c.ctx.allocation}, vfs.WantAlloc); err != nil {
			return err
		}
	}
	if c.action == vfs.Created && c.req.Options&wire.FileNoCompression != 0 {
		if err := c.o.notCompressed(c.request.ctx); err != nil {
			return err
		}
	}
	if made && c.ctx.eas != nil {
		if err := c.setEAs(c.o, c.ctx.eas); err != nil {
			return err
		}
	}
	if made {
		c.attr, err = c.o.file.Attr(c.request.ctx, vfs.WantAll)
	}
	return err
}

func (c *creation) register() error {
	c.o.channel.seq = c.hdr.ChannelSequence()
	if err := c.session.add(c.o); err != nil {
		return err
	}
	c.o.key = resumeKey(c.o.id)
	c.fileID = c.o.id
	c.o.archive.Store(c.attr.Attributes&vfs.AttrArchive != 0)
	return nil
}

// undo gives back what a CREATE took that failed, or panicked. An object that it made stays, empty, as it does on Windows.
func (c *creation) undo() {
	if c.o == nil || c.o.listed {
		return
	}
	if err := c.o.leave(); err != nil {
		c.conn.log.Warn("deleting failed", "why", err)
	}
	c.o.release()
}

func (c *creation) answer() (response, error) {
	if c.action == vfs.Created || c.replace {
		c.ownEntryChanged(c.o)
	}
	a := &c.attr
	c.o.show(c.request.ctx, a)
	resp := &wire.CreateResponse{
		Action: c.createAction(), CreationTime: a.Birth, LastAccessTime: a.Access, LastWriteTime: a.Write, ChangeTime: a.Change,
		AllocationSize: uint64(a.Alloc), EndOfFile: uint64(a.Size), FileAttributes: wireAttributes(a.Attributes), FileID: c.o.id,
		OplockLevel: oplockLevel(c.grant.Cache), Contexts: c.answerContexts(),
	}
	if c.ctx.lease != nil {
		resp.OplockLevel = wire.OplockLease
	}
	c.afterSent(c.o.at.Load().known)
	c.created()
	return resp, nil
}

func (c *creation) createAction() uint32 {
	switch {
	case c.action == vfs.Created:
		return wire.FileCreated
	case c.replace && c.req.Disposition == wire.FileSupersede:
		return wire.FileSuperseded
	case c.replace:
		return wire.FileOverwritten
	}
	return wire.FileOpened
}

// wireAttributes gives an object without attributes the one that says so, [MS-FSCC] 2.6.
func wireAttributes(a uint32) uint32 {
	if a == 0 {
		return vfs.AttrNormal
	}
	return a
}

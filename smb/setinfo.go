package smb

import (
	"strings"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// setInfo is [MS-SMB2] 3.3.5.21.
func (r *request) setInfo() (response, error) {
	var req wire.SetInfoRequest
	if err := req.Decode(r.msg); err != nil {
		return nil, malformed(err)
	}
	o, err := r.find(req.FileID)
	if err != nil {
		return nil, err
	}
	if err := r.payload(len(req.Buffer)); err != nil {
		return nil, err
	}
	if o.file == nil {
		return nil, because(nt.NotSupported, "SET_INFO of a pipe")
	}
	switch req.InfoType {
	case wire.InfoFile:
		err = r.setFile(o, fscc.FileClass(req.InfoClass), req.Buffer)
	case wire.InfoSecurity:
		if err = o.unchangeable(); err == nil {
			err = r.setSecurity(o, req.AdditionalInfo, req.Buffer)
		}
	case wire.InfoFileSystem:
		err = r.setFilesystem(o, fscc.FSClass(req.InfoClass), req.Buffer)
	case wire.InfoQuota:
		err = r.setQuotas(o, req.Buffer)
	default:
		err = because(nt.InvalidParameter, "information type %d", req.InfoType)
	}
	if err != nil {
		return nil, err
	}
	return &wire.SetInfoResponse{}, nil
}

// setClasses says for each class which rights a handle needs, any of them, and what sets it, [MS-FSA] 2.1.5.15.
var setClasses = map[fscc.FileClass]struct {
	need dtyp.Access
	set  func(*request, *open, []byte) error
}{
	fscc.FileBasicInformation:           {dtyp.WriteAttributes, (*request).setBasic},
	fscc.FileRenameInformation:          {dtyp.Delete, (*request).setName},
	fscc.FileRenameInformationEx:        {dtyp.Delete, (*request).setNameEx},
	fscc.FileLinkInformation:            {0, (*request).setLink},
	fscc.FileLinkInformationEx:          {0, (*request).setLinkEx},
	fscc.FileDispositionInformation:     {dtyp.Delete, (*request).setDisposition},
	fscc.FileDispositionInformationEx:   {dtyp.Delete, (*request).setDispositionEx},
	fscc.FileAllocationInformation:      {dtyp.WriteData, (*request).setAllocation},
	fscc.FileEndOfFileInformation:       {dtyp.WriteData, (*request).setEndOfFile},
	fscc.FilePositionInformation:        {0, (*request).setPosition},
	fscc.FileModeInformation:            {0, (*request).setMode},
	fscc.FileFullEaInformation:          {dtyp.WriteEA, (*request).setFullEA},
	fscc.FileValidDataLengthInformation: {dtyp.WriteData, refuseSet(nt.PrivilegeNotHeld)}, // shows what was on the disk before
	fscc.FileShortNameInformation:       {dtyp.Delete, refuseSet(nt.PrivilegeNotHeld)},
}

func refuseSet(status nt.Status) func(*request, *open, []byte) error {
	return func(*request, *open, []byte) error { return status }
}

func (r *request) setFile(o *open, class fscc.FileClass, b []byte) error {
	least, ok := class.SetMin()
	c, known := setClasses[class]
	switch {
	case !ok || !known:
		return because(nt.InvalidInfoClass, "%v cannot be set", class)
	case len(b) < least:
		return because(nt.InfoLengthMismatch, "%v in %d bytes", class, len(b))
	}
	if c.need != 0 {
		if err := o.need(c.need); err != nil {
			return err
		}
	}
	if o.past != nil {
		return r.setPast(o, class, b)
	}
	return c.set(r, o, b)
}

// setBasic sets times and attributes, [MS-FSA] 2.1.5.15.2.
func (r *request) setBasic(o *open, b []byte) error {
	var in fscc.BasicInfo
	if err := in.Decode(b); err != nil {
		return err
	}
	a := vfs.Attr{Birth: in.Creation, Access: in.LastAccess, Write: in.LastWrite, Change: in.Change}
	var set vfs.Mask
	for _, t := range []struct {
		v    dtyp.Filetime
		mask vfs.Mask
	}{{in.Creation, vfs.SetBirth}, {in.LastAccess, vfs.SetAccess}, {in.LastWrite, vfs.SetWrite}, {in.Change, vfs.SetChange}} {
		if t.v != 0 { // -1 and -2 are vfs.HoldTime and vfs.FreeTime
			set |= t.mask
		}
	}
	if in.Attributes != 0 {
		if in.Attributes&vfs.AttrDirectory != 0 && !o.isDir {
			return because(nt.InvalidParameter, "a file does not become a directory")
		}
		if in.Attributes&vfs.AttrTemporary != 0 && o.isDir {
			return because(nt.InvalidParameter, "a directory is not temporary")
		}
		a.Attributes = in.Attributes & attributesSettable
		set |= vfs.WantAttributes
	}
	if set == 0 {
		return nil
	}
	if err := o.file.SetAttr(r.ctx, a, set); err != nil {
		return err
	}
	r.ownEntryChanged(o)
	return nil
}

func (r *request) setAllocation(o *open, b []byte) error {
	return r.setSize(o, b, vfs.WantAlloc)
}

func (r *request) setEndOfFile(o *open, b []byte) error {
	return r.setSize(o, b, vfs.WantSize)
}

func (r *request) setSize(o *open, b []byte, set vfs.Mask) error {
	var in fscc.SizeInfo
	if err := in.Decode(b); err != nil {
		return err
	}
	if o.isDir {
		return because(nt.InvalidParameter, "a directory has no size")
	}
	defer o.modified()
	if err := o.file.SetAttr(r.ctx, vfs.Attr{Size: in.Size, Alloc: in.Size}, set); err != nil {
		return err
	}
	r.ownEntryChanged(o)
	return nil
}

func (r *request) setPosition(o *open, b []byte) error {
	var in fscc.PositionInfo
	if err := in.Decode(b); err != nil {
		return err
	}
	o.setPosition(uint64(in.Offset))
	return nil
}

// setMode keeps the mode for the client, [MS-FSA] 2.1.5.15.9.
func (r *request) setMode(o *open, b []byte) error {
	var in fscc.ModeInfo
	if err := in.Decode(b); err != nil {
		return err
	}
	const settable = wire.FileWriteThrough | wire.FileSequentialOnly | wire.FileSynchronousIOAlert | wire.FileSynchronousIONonAlert
	if in.Mode&^settable != 0 {
		return because(nt.InvalidParameter, "mode %#x", in.Mode)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mode = in.Mode
	return nil
}

// setDisposition marks for deletion, or takes that back, [MS-FSA] 2.1.5.15.3.
func (r *request) setDisposition(o *open, b []byte) error {
	var in fscc.DispositionInfo
	if err := in.Decode(b); err != nil {
		return err
	}
	return r.dispose(o, in.Delete, false)
}

func (r *request) setDispositionEx(o *open, b []byte) error {
	var in fscc.DispositionExInfo
	if err := in.Decode(b); err != nil {
		return err
	}
	remove, evenReadOnly := in.Flags&fscc.DispositionDelete != 0, in.Flags&fscc.DispositionIgnoreReadOnly != 0
	if in.Flags&fscc.DispositionOnClose == 0 {
		return r.dispose(o, remove, evenReadOnly)
	}
	if remove {
		if err := r.deletable(o, evenReadOnly); err != nil {
			return err
		}
	}
	o.object.mu.Lock()
	defer o.object.mu.Unlock()
	o.object.fsa.SetDeleteOnClose(o, remove)
	return nil
}

func (r *request) dispose(o *open, remove, evenReadOnly bool) error {
	if remove {
		if err := r.deletable(o, evenReadOnly); err != nil {
			return err
		}
		if err := r.takeHandles(o.object, o); err != nil {
			return err
		}
		if err := r.takeStreamHandles(o.object); err != nil {
			return err
		}
	}
	o.object.doom(o, remove)
	o.changed(r.ctx, true)
	return nil
}

// deletable judges whether the object may go.
func (r *request) deletable(o *open, evenReadOnly bool) error {
	a, err := o.file.Attr(r.ctx, vfs.WantAttributes)
	if err != nil {
		return err
	}
	if a.Attributes&vfs.AttrReadOnly != 0 && !evenReadOnly && (o.isDir || !o.ofDirectory()) {
		return because(nt.CannotDelete, "the file is read-only")
	}
	if !o.isDir {
		return nil
	}
	p, err := o.file.Path(r.ctx)
	if err != nil {
		return err
	}
	if len(p.Names) == 0 {
		return because(nt.CannotDelete, "the root of a share")
	}
	empty, err := isEmpty(r.ctx, o.file)
	if err != nil {
		return err
	}
	if !empty {
		return because(nt.DirectoryNotEmpty, "it has entries")
	}
	return nil
}

// setName renames, [MS-FSA] 2.1.5.15.11.
func (r *request) setName(o *open, b []byte) error {
	var in fscc.RenameInfo
	if err := in.Decode(b); err != nil {
		return err
	}
	return r.rename(o, in)
}

func (r *request) setNameEx(o *open, b []byte) error {
	var in fscc.RenameInfo
	if err := in.DecodeEx(b); err != nil {
		return err
	}
	return r.rename(o, in)
}

func (r *request) rename(o *open, in fscc.RenameInfo) error {
	if o.object.base != nil || !o.posix && strings.HasPrefix(in.Name, ":") {
		return r.renameStream(o, in)
	}
	to, err := r.target(o, in)
	if err != nil {
		return err
	}
	from, err := o.file.Path(r.ctx)
	if err != nil {
		return err
	}
	if len(from.Names) == 0 || len(to.Names) == 0 {
		return because(nt.AccessDenied, "the root of a share keeps its name")
	}
	if err := r.mayMove(o); err != nil {
		return err
	}
	if err := r.streamsUnused(o.object); err != nil {
		return err
	}
	if err := r.mayName(to, o.isDir); err != nil {
		return err
	}
	if err := r.makeWay(o, from, to); err != nil {
		return err
	}
	if err := r.checkReplace(o, to, in.Replace()); err != nil {
		return err
	}
	return r.move(o, from, to, in.Replace())
}

// mayMove takes handle caching of others away and then refuses to rename what they hold without sharing delete.
func (r *request) mayMove(o *open) error {
	if err := r.takeHandles(o.object, o); err != nil {
		return err
	}
	o.object.mu.Lock()
	may, going := o.object.fsa.MayRename(o), o.object.fsa.DeletePending()
	o.object.mu.Unlock()
	switch {
	case going:
		return nt.DeletePending
	case !may:
		return because(nt.SharingViolation, "others hold it without sharing delete")
	}
	return nil
}

// setLink makes another name, [MS-FSA] 2.1.5.15.6.
func (r *request) setLink(o *open, b []byte) error {
	var in fscc.RenameInfo
	if err := in.Decode(b); err != nil {
		return err
	}
	return r.link(o, in)
}

func (r *request) setLinkEx(o *open, b []byte) error {
	var in fscc.RenameInfo
	if err := in.DecodeEx(b); err != nil {
		return err
	}
	return r.link(o, in)
}

func (r *request) link(o *open, in fscc.RenameInfo) error {
	to, err := r.target(o, in)
	if err != nil {
		return err
	}
	linker, ok := o.file.(vfs.Linker)
	switch {
	case !ok:
		return because(nt.NotSupported, "the volume has no hard links")
	case o.object.base != nil:
		return because(nt.InvalidParameter, "a stream has one name")
	case o.isDir:
		return because(nt.FileIsADirectory, "directories have one name")
	case r.tree.rights&dtyp.WriteData == 0:
		return because(nt.AccessDenied, "the share is read-only for the user")
	case o.deletePending():
		return nt.DeletePending
	}
	if err := r.mayName(to, false); err != nil {
		return err
	}
	if err := r.checkReplace(o, to, in.Replace()); err != nil {
		return err
	}
	if err := linker.Link(r.ctx, to, in.Replace()); err != nil {
		return err
	}
	r.entryChanged(o, to)
	return nil
}

// target reads the new name of a rename or a link.
func (r *request) target(o *open, in fscc.RenameInfo) (vfs.Path, error) {
	if o.posix {
		return vfs.ParsePOSIX(in.Name)
	}
	to, err := vfs.ParsePath(in.Name)
	if err == nil {
		to, err = r.longNames(to)
	}
	if err == nil && to.Stream != "" {
		err = because(nt.InvalidParameter, "a file does not become a stream")
	}
	return to, err
}

// checkReplace refuses to replace what is open, read-only, or a directory. What takes the name meanwhile is the
// volume's to refuse.
func (r *request) checkReplace(o *open, to vfs.Path, replace bool) error {
	if !replace {
		return nil
	}
	there, _, err := r.volume().Open(r.ctx, to, vfs.How{Disposition: vfs.Open, Access: dtyp.ReadAttributes, Reparse: true, POSIX: o.posix})
	if err != nil {
		if s := statusOf(err); s == nt.ObjectNameNotFound {
			return nil
		}
		return err
	}
	defer there.Close()
	if there.ID() == o.file.ID() {
		return nil
	}
	a, err := there.Attr(r.ctx, vfs.WantAttributes)
	switch {
	case err != nil:
		return err
	case a.Dir():
		return because(nt.AccessDenied, "a directory is not replaced")
	case a.Attributes&vfs.AttrReadOnly != 0:
		return because(nt.AccessDenied, "what has the name is read-only")
	}
	if err := r.mayDelete(there, to); err != nil {
		return err
	}
	return r.unused(there.ID(), "what has the name is open")
}

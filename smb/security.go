package smb

import (
	"context"
	"errors"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// Who may do what with a file is in its security descriptor, and at most what the share grants.
//
// A file that was made here has a descriptor of its own. One that came another way, or lies where none can be kept, is
// judged by what it would inherit from its folder, and belongs to the Administrators. Nothing to inherit from but the
// share's root, it is open to every user that the share is: rootDescriptor.

// Its audit list is kept and inherited, and shown to and set by those alone who hold SeSecurityPrivilege, the
// administrators, through handles that were opened for it. Nobody keeps a log by it, and it lets nobody do anything.

// maxDescriptor bounds what a client may set, in bytes: what Linux keeps with a file, with room for its wrapping.
const maxDescriptor = 60 << 10

// rootDescriptor is that of a share's root when none is stored.
var rootDescriptor = &dtyp.SecurityDescriptor{
	Control: dtyp.DACLPresent | dtyp.DACLAutoInher, Owner: dtyp.Administrators, Group: dtyp.BuiltinUsers,
	DACL: &dtyp.ACL{Revision: 2, ACEs: []dtyp.ACE{
		{Type: dtyp.AccessAllowed, Flags: dtyp.ObjectInherit | dtyp.ContainerInherit, Mask: dtyp.FileAll, SID: dtyp.Administrators},
		{Type: dtyp.AccessAllowed, Flags: dtyp.ObjectInherit | dtyp.ContainerInherit, Mask: dtyp.FileAll, SID: dtyp.AuthenticatedUsers},
	}},
}

// sealedDescriptor stands for one that cannot be read: it lets no one do anything.
var sealedDescriptor = &dtyp.SecurityDescriptor{
	Control: dtyp.DACLPresent, Owner: dtyp.Administrators, Group: dtyp.BuiltinUsers, DACL: &dtyp.ACL{Revision: 2},
}

// inherited is the descriptor of what is in the directory that sd protects and has none stored.
func inherited(sd *dtyp.SecurityDescriptor, dir bool) *dtyp.SecurityDescriptor {
	return sd.Child(nil, dtyp.Administrators, dtyp.BuiltinUsers, dir)
}

// stored decodes a descriptor that a Volume kept; nil if it kept none.
func (r *request) stored(b []byte) *dtyp.SecurityDescriptor {
	if b == nil {
		return nil
	}
	sd, err := dtyp.DecodeSecurityDescriptor(b)
	if err != nil || sd.Owner == "" {
		r.conn.log.Warn("a stored security descriptor cannot be read: nobody gets access", "why", err)
		return sealedDescriptor
	}
	return sd
}

// descriptor returns what protects an open file: its own descriptor, or what it inherits where path leads, or where links
// on that path have led.
func (r *request) descriptor(file vfs.File, path func() (vfs.Path, error), dir bool) (*dtyp.SecurityDescriptor, error) {
	keeps := false
	if s, ok := file.(vfs.Security); ok {
		b, err := s.SecurityDescriptor(r.ctx)
		if err != nil && !errors.Is(err, nt.NotSupported) {
			return nil, err
		}
		if sd := r.stored(b); sd != nil {
			return sd, nil
		}
		keeps = err == nil || isLink(r.ctx, file) // a link has none of its own, but it lies somewhere
	}
	if l, ok := file.(vfs.Linked); ok && l.ByLink() {
		path = func() (vfs.Path, error) { return l.Place(r.ctx) }
	}
	p, err := path()
	if err != nil {
		return nil, err
	}
	switch {
	case len(p.Names) == 0:
		return rootDescriptor, nil
	case !keeps:
		return inherited(inherited(rootDescriptor, true), dir), nil // as at any depth
	}
	above, err := r.directoryDescriptor(p.Names[:len(p.Names)-1])
	if err != nil {
		return nil, err
	}
	return inherited(above, dir), nil
}

// isLink reports whether a file is a symbolic link that was opened itself.
func isLink(ctx context.Context, file vfs.File) bool {
	if _, ok := file.(vfs.Symlinker); !ok {
		return false
	}
	a, err := file.Attr(ctx, vfs.WantAttributes)
	return err == nil && a.Attributes&vfs.AttrReparsePoint != 0
}

// directoryDescriptor returns what protects a directory, going up as far as needed to one that has a descriptor. Where
// links have led to it, that is up from where it is.
func (r *request) directoryDescriptor(names []string) (*dtyp.SecurityDescriptor, error) {
	var sd *dtyp.SecurityDescriptor
	up := len(names)
	if p, ok := r.volume().(vfs.Protector); ok {
		if b, depth, ok := p.Protection(names); ok {
			if sd = r.stored(b); sd == nil {
				sd = rootDescriptor
			}
			up = depth - 1
		}
	}
	for ; sd == nil; up-- {
		b, real, err := r.storedAt(vfs.Path{Names: names[:up]})
		if real != nil {
			names, up = real, len(real)
		}
		switch {
		case errors.Is(err, nt.NotSupported):
			sd = rootDescriptor
		case err != nil:
			return nil, err
		case b == nil && up == 0:
			sd = rootDescriptor
		default:
			sd = r.stored(b)
		}
	}
	for up++; up < len(names); up++ {
		sd = inherited(sd, true)
	}
	return sd, nil
}

// storedAt returns what is stored with a directory; if nothing is and links have led to it, also where it is.
func (r *request) storedAt(p vfs.Path) (b []byte, real []string, err error) {
	f, _, err := r.volume().Open(r.ctx, p, vfs.How{Disposition: vfs.Open, Access: dtyp.ReadControl, Directory: true})
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	s, ok := f.(vfs.Security)
	if !ok {
		return nil, nil, nt.NotSupported
	}
	b, err = s.SecurityDescriptor(r.ctx)
	if l, ok := f.(vfs.Linked); ok && err == nil && b == nil && l.ByLink() {
		at, err := l.Place(r.ctx)
		return nil, append([]string{}, at.Names...), err
	}
	return b, nil, err
}

// network is in the token of everyone who comes over a network, [MS-DTYP] 2.4.2.4.
var network = dtyp.NewSID(5, 2)

// allowed is everything that sd lets the user do.
func allowed(sd *dtyp.SecurityDescriptor, id *auth.Identity) dtyp.Access {
	groups := append([]dtyp.SID{dtyp.Everyone, dtyp.AuthenticatedUsers, network}, id.Groups...)
	granted, _ := sd.Check(id.SID, groups, dtyp.MaximumAllowed)
	return granted
}

// owner is who owns what the user makes.
func owner(id *auth.Identity) dtyp.SID {
	if id.SID == "" {
		return dtyp.Administrators
	}
	return id.SID
}

// Rights that come with the parent directory, [MS-FSA] 2.1.5.1.2.1: who may list it may see what its entries are, and
// who may delete its entries may delete them.
const parental = dtyp.Delete | dtyp.ReadAttributes

// mayAudit reports whether the user holds SeSecurityPrivilege: who does may ask for ACCESS_SYSTEM_SECURITY.
func mayAudit(id *auth.Identity) bool { return isAdmin(id) }

// privileged returns those of the rights asked for that come from a privilege and no descriptor, [MS-FSA] 2.1.5.1.2.1.
// They are not among those that MAXIMUM_ALLOWED brings. A share that lets the user change no protection gives none.
func (c *creation) privileged() (dtyp.Access, error) {
	asked := c.req.DesiredAccess & dtyp.SystemSecurity
	switch {
	case asked == 0:
	case !mayAudit(c.session.identity.Load()):
		return 0, because(nt.PrivilegeNotHeld, "audit lists are for administrators")
	case c.tree.rights&dtyp.WriteDAC == 0:
		return 0, because(nt.AccessDenied, "the share does not let the user change protections, and so not audit lists")
	}
	return asked, nil
}

// admit is asked before an object is made, [MS-FSA] 2.1.5.1.1: the directory must let the user do so. It answers with
// the new object's descriptor.
func (c *creation) admit(inside []byte) ([]byte, error) {
	id := c.session.identity.Load()
	sd := c.stored(inside)
	if sd == nil {
		var err error
		if sd, err = c.directoryDescriptor(c.path.Names[:len(c.path.Names)-1]); err != nil {
			return nil, err
		}
	}
	dir := c.req.Options&wire.FileDirectoryFile != 0
	need := dtyp.WriteData
	if dir {
		need = dtyp.AppendData
	}
	switch {
	case c.req.FileAttributes&vfs.AttrReadOnly != 0 && c.req.Options&wire.FileDeleteOnClose != 0 && !dir:
		return nil, because(nt.CannotDelete, "a read-only file cannot be deleted")
	case allowed(sd, id)&need == 0:
		return nil, because(nt.AccessDenied, "the folder does not let the user make something in it")
	}
	c.sd = sd.Child(c.ctx.descriptor, owner(id), dtyp.BuiltinUsers, dir)
	b, err := c.sd.Append(nil)
	if err != nil || len(b) > maxDescriptor {
		return nil, because(nt.InvalidACL, "what is inherited or given makes %d bytes: %v", len(b), err)
	}
	return b, nil
}

// authorize judges the access that was asked for by the object's descriptor, [MS-FSA] 2.1.5.1.2.1. Who makes an object
// gets what was asked for, whatever it inherits.
func (c *creation) authorize() (err error) {
	id, ceiling := c.session.identity.Load(), c.maximal
	made := c.action == vfs.Created && !c.grown
	if made && !c.ctx.maximal {
		return nil
	}
	if c.sd == nil || !made {
		path := func() (vfs.Path, error) { return c.path, nil }
		if c.sd, err = c.descriptor(c.o.file, path, c.o.ofDirectory()); err != nil {
			return err
		}
	}
	have := allowed(c.sd, id)
	want := (c.req.DesiredAccess &^ dtyp.MaximumAllowed).Expand()
	if c.replace {
		want |= dtyp.WriteData
	}
	lacks := parental &^ have
	if lacks != 0 && len(c.path.Names) > 0 && (want&lacks != 0 || c.asMuch || c.ctx.maximal) {
		above, err := c.directoryDescriptor(c.path.Names[:len(c.path.Names)-1])
		if err != nil {
			return err
		}
		have |= fromParent(above, id)
	}
	c.maximal = have & ceiling
	if made {
		return nil
	}
	if over := want &^ (c.maximal | dtyp.SystemSecurity); over != 0 { // checkAccess has judged the privilege
		return because(nt.AccessDenied, "the file grants %#x, asked for %#x", uint32(c.maximal), uint32(want))
	}
	c.granted = (c.req.DesiredAccess &^ dtyp.MaximumAllowed).Expand()
	if c.asMuch {
		c.granted |= c.maximal
	}
	if c.req.Options&wire.FileDeleteOnClose != 0 && c.granted&dtyp.Delete == 0 {
		return because(nt.AccessDenied, "delete on close without the right to delete")
	}
	return nil
}

// fromParent returns the parental rights that the directory's descriptor gives.
func fromParent(sd *dtyp.SecurityDescriptor, id *auth.Identity) (have dtyp.Access) {
	in := allowed(sd, id)
	if in&dtyp.DeleteChild != 0 {
		have |= dtyp.Delete
	}
	if in&dtyp.ReadData != 0 {
		have |= dtyp.ReadAttributes
	}
	return have
}

// mayName checks that the directory which to lies in lets the user put a file or directory there, for renames and
// links, [MS-FSA] 2.1.5.15.11.
func (r *request) mayName(to vfs.Path, dir bool) error {
	sd, err := r.directoryDescriptor(to.Names[:len(to.Names)-1])
	if err != nil {
		if s := statusOf(err); s == nt.ObjectNameNotFound || s == nt.NotADirectory {
			return nt.ObjectPathNotFound
		}
		return err
	}
	need := dtyp.WriteData
	if dir {
		need = dtyp.AppendData
	}
	if allowed(sd, r.session.identity.Load())&r.tree.rights&need == 0 {
		return because(nt.AccessDenied, "the folder does not let the user put something in it")
	}
	return nil
}

// mayDelete checks that the user may delete what is there: what a rename or a link replaces.
func (r *request) mayDelete(there vfs.File, at vfs.Path) error {
	id := r.session.identity.Load()
	sd, err := r.descriptor(there, func() (vfs.Path, error) { return at, nil }, false)
	if err != nil {
		return err
	}
	have := allowed(sd, id)
	if have&dtyp.Delete == 0 {
		above, err := r.directoryDescriptor(at.Names[:len(at.Names)-1])
		if err != nil {
			return err
		}
		have |= fromParent(above, id)
	}
	if have&r.tree.rights&dtyp.Delete == 0 {
		return because(nt.AccessDenied, "the user may not delete what has the name")
	}
	return nil
}

// A partRight says which right a handle needs for any of some parts of a descriptor.
type partRight struct {
	parts uint32
	right dtyp.Access
}

// The rights for each part to be shown, [MS-FSA] 2.1.5.14, and set, 2.1.5.17.
var (
	shownBy = []partRight{{dtyp.OwnerPart | dtyp.GroupPart | dtyp.DACLPart, dtyp.ReadControl}, {dtyp.SACLPart, dtyp.SystemSecurity}}
	setBy   = []partRight{
		{dtyp.OwnerPart | dtyp.GroupPart, dtyp.WriteOwner}, {dtyp.DACLPart, dtyp.WriteDAC}, {dtyp.SACLPart, dtyp.SystemSecurity},
	}
)

// needAll checks that the open was granted what each of the parts takes.
func (o *open) needAll(rights []partRight, parts uint32) error {
	for _, r := range rights {
		if parts&r.parts != 0 {
			if err := o.need(r.right); err != nil {
				return err
			}
		}
	}
	return nil
}

// security answers a query for the security descriptor, [MS-SMB2] 3.3.5.20.3.
func (q *query) security() (response, error) {
	const known = dtyp.OwnerPart | dtyp.GroupPart | dtyp.DACLPart | dtyp.SACLPart
	if err := q.o.needAll(shownBy, q.info); err != nil { // for nothing, nothing is needed
		return nil, err
	}
	sd := rootDescriptor // of a pipe: every user may open it
	if q.o.file != nil {
		var err error
		if sd, err = q.protection(q.o); err != nil {
			return nil, err
		}
	}
	b, err := sd.Select(q.info & known).Append(nil)
	if err != nil {
		return nil, err
	}
	if len(b) > q.size {
		return q.tooSmall(len(b)), because(nt.BufferTooSmall, "descriptor of %d bytes into %d", len(b), q.size)
	}
	return &wire.QueryInfoResponse{Buffer: b}, nil
}

// protection returns what protects an open's object now.
func (r *request) protection(o *open) (*dtyp.SecurityDescriptor, error) {
	return r.descriptor(o.file, func() (vfs.Path, error) { return o.file.Path(r.ctx) }, o.ofDirectory())
}

// setSecurity changes the parts of the descriptor that parts names, [MS-SMB2] 3.3.5.21.3 with [MS-FSA] 2.1.5.17. Any
// SID may be made the owner: who may take ownership could have given everyone all rights.
func (r *request) setSecurity(o *open, parts uint32, b []byte) error {
	const refused = dtyp.LabelPart | dtyp.AttributePart | dtyp.ScopePart | dtyp.BackupPart
	if parts&refused != 0 {
		return because(nt.AccessDenied, "security information %#x", parts)
	}
	if err := o.needAll(setBy, parts); err != nil {
		return err
	}
	if len(b) > maxDescriptor {
		return because(nt.InvalidSecurityDescr, "%d bytes", len(b))
	}
	in, err := dtyp.DecodeSecurityDescriptor(b)
	switch {
	case err != nil:
		return because(nt.InvalidSecurityDescr, "%v", err)
	case parts&dtyp.OwnerPart != 0 && in.Owner == "":
		return nt.InvalidOwner
	case parts&dtyp.GroupPart != 0 && in.Group == "":
		return nt.InvalidPrimaryGroup
	}
	if mode, ok := modeIn(in); ok && o.posix && parts&dtyp.DACLPart != 0 {
		return r.chmod(o, mode)
	}
	s, ok := o.file.(vfs.Security)
	if !ok {
		return because(nt.NotSupported, "the volume keeps no security descriptors")
	}
	// Two that set different parts take turns, or one would be lost.
	whole := o.object.whole()
	whole.securing.Lock()
	defer whole.securing.Unlock()
	sd, err := r.protection(o)
	if err != nil {
		return err
	}
	merged := sd.Merge(in, parts)
	if r.tree.share.KeepACLFlags && parts&dtyp.DACLPart != 0 {
		merged.Control |= in.Control & dtyp.DACLAutoInher
	}
	if b, err = merged.Append(nil); err != nil || len(b) > maxDescriptor {
		return because(nt.InvalidSecurityDescr, "with what stays it makes %d bytes: %v", len(b), err)
	}
	return s.SetSecurityDescriptor(r.ctx, b)
}

// keepsDescriptors tells whether the volume behind an open file keeps security descriptors.
func keepsDescriptors(ctx context.Context, f vfs.File) bool {
	s, ok := f.(vfs.Security)
	if !ok {
		return false
	}
	_, err := s.SecurityDescriptor(ctx)
	return !errors.Is(err, nt.NotSupported)
}

// A visibility decides which entries of a directory a user is shown in a share with access-based enumeration: those
// the user may read, [MS-SMB2] 3.3.5.18.
type visibility struct {
	r   *request
	o   *open
	id  *auth.Identity
	dir *dtyp.SecurityDescriptor // the directory's, once needed
}

func (v *visibility) shows(e *vfs.Entry) bool {
	if e.Name == "." || e.Name == ".." {
		return true
	}
	return v.rights(e)&dtyp.FileRead == dtyp.FileRead
}

// rights are what the user may do with an entry.
func (v *visibility) rights(e *vfs.Entry) dtyp.Access {
	sd := v.r.stored(e.Security)
	if sd == nil {
		if v.dir == nil {
			var err error
			if v.dir, err = v.r.protection(v.o); err != nil {
				return 0
			}
		}
		sd = inherited(v.dir, e.Attr.Dir())
	}
	return allowed(sd, v.id)
}

// tooSmall tells how large a buffer would do, [MS-SMB2] 2.2.2: in 3.1.1 within an error context.
func (q *query) tooSmall(need int) errorReply {
	data := wire.AppendBufferTooSmall(nil, uint32(need))
	if uint16(q.conn.dialect.Load()) == wire.Dialect311 {
		return errorReply{contexts: 1, data: wire.AppendErrorContexts(nil, wire.ErrorContext{ID: wire.ErrorIDDefault, Data: data})}
	}
	return errorReply{data: data}
}

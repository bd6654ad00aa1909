package smb

import (
	"slices"
	"strings"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// The SMB3 POSIX extensions, [POSIX-SMB2] (smb3posix.org), for clients that are Linux themselves: an open with the
// POSIX create context has names with regard to case and with every character that Linux allows, and tells mode, owner
// and group. Everything else is as ever: share modes, locks, oplocks, and who may do what, which the security
// descriptor says and no mode. A mode is kept and shown; the client's own kernel judges by it.

// choosePOSIX answers the negotiate context, if a share has the extensions.
func (n *negotiation) choosePOSIX(data []byte) error {
	if !n.conn.srv.posix.Load() {
		return nil
	}
	var p wire.POSIXNegotiate
	if err := p.Decode(data); err != nil {
		return malformed(err)
	}
	if n.posix = slices.Contains(p.Names, wire.CreatePOSIX); n.posix {
		n.add(wire.ContextPOSIX, &wire.POSIXNegotiate{Names: []string{wire.CreatePOSIX}})
	}
	return nil
}

// parsePOSIX reads the create context. Where the extensions were not agreed on, or the share is without them, it is
// one that a server does not know.
func (c *creation) parsePOSIX() error {
	if !c.conn.posix || !c.tree.share.POSIX {
		return nil
	}
	for _, ctx := range c.req.Contexts {
		if ctx.Name != wire.CreatePOSIX {
			continue
		}
		c.ctx.posix = new(wire.POSIXRequest)
		if err := c.ctx.posix.Decode(ctx.Data); err != nil {
			return malformed(err)
		}
	}
	return nil
}

func (c *creation) parsePOSIXPath() (err error) {
	if strings.HasPrefix(c.req.Name, "/") {
		return because(nt.InvalidParameter, "name starts with a slash")
	}
	c.path, err = vfs.ParsePOSIX(c.req.Name)
	return err
}

func (c *creation) answerPOSIX() response {
	return c.posixObject(&c.attr, c.descriptorOf(c.o))
}

// descriptorOf returns what is stored with an open's object, nil for nothing.
func (r *request) descriptorOf(o *open) []byte {
	s, ok := o.file.(vfs.Security)
	if !ok {
		return nil
	}
	b, _ := s.SecurityDescriptor(r.ctx) // who cannot have it is told of the owner on disk
	return b
}

// SIDs of Linux's users and groups, as Samba numbers them and Linux's client reads them.
var (
	unixUsers  = dtyp.NewSID(22, 1)
	unixGroups = dtyp.NewSID(22, 2)
)

// posixObject tells whom an object belongs to by its descriptor, so that all who ask hear the same. All that is made
// here belongs to the server's own user on disk, which is told of only what came another way.
func (r *request) posixObject(a *vfs.Attr, descriptor []byte) fscc.POSIXObject {
	p := fscc.POSIXObject{
		Links: a.Links, ReparseTag: a.ReparseTag, Mode: posixMode(a),
		Owner: unixUsers.Child(a.UID), Group: unixGroups.Child(a.GID),
	}
	if len(descriptor) == 0 {
		return p
	}
	if sd, err := dtyp.DecodeSecurityDescriptor(descriptor); err == nil && sd.Owner != "" {
		p.Owner = sd.Owner
		if sd.Group != "" {
			p.Group = sd.Group
		}
	}
	return p
}

// posixMode is a mode as the wire has it.
func posixMode(a *vfs.Attr) uint32 {
	kind := map[uint32]uint32{
		vfs.ModeDirectory: fscc.POSIXDirectory, vfs.ModeSymlink: fscc.POSIXSymlink, vfs.ModeChar: fscc.POSIXCharDevice,
		vfs.ModeBlock: fscc.POSIXBlockDevice, vfs.ModeFIFO: fscc.POSIXFIFO, vfs.ModeSocket: fscc.POSIXSocket,
	}[a.Mode&vfs.ModeType]
	switch {
	case a.Mode != 0:
		return kind | a.Mode&fscc.POSIXPermissions
	case a.Dir():
		return fscc.POSIXDirectory | 0o755
	}
	return 0o644
}

func posixInfo(a *vfs.Attr, object fscc.POSIXObject) fscc.POSIXInfo {
	return fscc.POSIXInfo{
		Creation: a.Birth, LastAccess: a.Access, LastWrite: a.Write, Change: a.Change, EndOfFile: a.Size, AllocationSize: a.Alloc,
		Attributes: wireAttributes(a.Attributes), Inode: a.ID.Object, Device: device(a.ID), POSIXObject: object,
	}
}

// device folds a volume's number, which is two of 32 bits in osfs, into what the wire has room for.
func device(id vfs.ID) uint32 { return uint32(id.Volume) ^ uint32(id.Volume>>32)<<20 }

func (q *query) posixInfo(a vfs.Attr) response {
	return posixInfo(&a, q.posixObject(&a, q.descriptorOf(q.o)))
}

// posixEntry is one entry of a listing. Of what lies above a share nothing is told.
func (r *request) posixEntry(o *open, e *vfs.Entry) fscc.POSIXEntry {
	entry := fscc.POSIXEntry{Name: vfs.POSIXName(e.Name), POSIXInfo: posixInfo(&e.Attr, r.posixObject(&e.Attr, e.Security))}
	if e.Name == ".." && r.atRoot(o) {
		entry.POSIXInfo = fscc.POSIXInfo{
			Attributes: vfs.AttrDirectory, POSIXObject: fscc.POSIXObject{Links: 1, Mode: fscc.POSIXDirectory | 0o755},
		}
	}
	return entry
}

func (r *request) atRoot(o *open) bool {
	p, err := o.file.Path(r.ctx)
	return err == nil && len(p.Names) == 0
}

// unknown is what FileFsPosixInformation says of what is not known.
const unknown = ^uint64(0)

func (q *query) posixFilesystem(v vfs.Volume) (response, error) {
	if !q.o.posix {
		return nil, because(nt.InvalidInfoClass, "FileFsPosixInformation of an open that is not of the POSIX way")
	}
	if s, ok := v.(vfs.Statfs); ok {
		f, err := s.Statfs(q.ctx)
		return fscc.FSPOSIXInfo{
			TransferSize: f.TransferSize, BlockSize: f.BlockSize, Blocks: f.Blocks, Free: f.Free, Available: f.Available,
			Nodes: f.Nodes, FreeNodes: f.FreeNodes, ID: f.ID,
		}, err
	}
	total, free, err := v.Usage(q.ctx)
	if err != nil {
		return nil, err
	}
	return fscc.FSPOSIXInfo{
		TransferSize: unit, BlockSize: unit, Blocks: uint64(total) / unit, Free: uint64(free) / unit, Available: uint64(free) / unit,
		Nodes: unknown, FreeNodes: unknown, ID: volumeID(v, q.o.file.ID()),
	}, nil
}

// modeSID is the SID that an ACE carries a mode in, as its last sub-authority. Linux's client changes a mode by setting
// a DACL with such an ACE, and others beside it that stand for the same.
var modeSID = dtyp.NewSID(5, 88, 3)

// modeIn returns the mode that a descriptor sets, if it does.
func modeIn(sd *dtyp.SecurityDescriptor) (uint32, bool) {
	if sd.DACL == nil {
		return 0, false
	}
	for _, ace := range sd.DACL.ACEs {
		if parent, mode := ace.SID.Split(); parent == modeSID {
			return mode, true
		}
	}
	return 0, false
}

// chmod sets the mode of an open's object, and nothing else: the DACL that it came in would let everyone in.
func (r *request) chmod(o *open, mode uint32) error {
	o.object.securing.Lock() // the volume may keep something of the mode with the descriptor
	err := o.file.SetAttr(r.ctx, vfs.Attr{Mode: mode}, vfs.SetMode)
	o.object.securing.Unlock()
	if err != nil {
		return err
	}
	r.ownEntryChanged(o)
	return nil
}

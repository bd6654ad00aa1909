package wire

import (
	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
)

// Flags of a TREE_CONNECT request (3.1.1).
const (
	TreeConnectClusterReconnect uint16 = 1
	TreeConnectRedirectToOwner  uint16 = 2
	TreeConnectExtension        uint16 = 4
)

// Kinds of share, [MS-SMB2] 2.2.10.
const (
	ShareTypeDisk  uint8 = 1
	ShareTypePipe  uint8 = 2
	ShareTypePrint uint8 = 3
)

// Flags of a share. The caching bits are a number from 0 to 3 in ShareFlagCachingMask.
const (
	ShareFlagManualCaching            uint32 = 0x00000000
	ShareFlagAutoCaching              uint32 = 0x00000010
	ShareFlagVDOCaching               uint32 = 0x00000020
	ShareFlagNoCaching                uint32 = 0x00000030
	ShareFlagCachingMask              uint32 = 0x00000030
	ShareFlagDFS                      uint32 = 0x00000001
	ShareFlagDFSRoot                  uint32 = 0x00000002
	ShareFlagRestrictExclusiveOpens   uint32 = 0x00000100
	ShareFlagForceSharedDelete        uint32 = 0x00000200
	ShareFlagAllowNamespaceCaching    uint32 = 0x00000400
	ShareFlagAccessBasedDirectoryEnum uint32 = 0x00000800
	ShareFlagForceLevel2Oplock        uint32 = 0x00001000
	ShareFlagEnableHashV1             uint32 = 0x00002000
	ShareFlagEnableHashV2             uint32 = 0x00004000
	ShareFlagEncryptData              uint32 = 0x00008000
	ShareFlagIdentityRemoting         uint32 = 0x00040000
	ShareFlagCompressData             uint32 = 0x00100000
	ShareFlagIsolatedTransport        uint32 = 0x00200000
)

// Capabilities of a share.
const (
	ShareCapDFS                    uint32 = 0x00000008
	ShareCapContinuousAvailability uint32 = 0x00000010
	ShareCapScaleOut               uint32 = 0x00000020
	ShareCapCluster                uint32 = 0x00000040
	ShareCapAsymmetric             uint32 = 0x00000080
	ShareCapRedirectToOwner        uint32 = 0x00000100
)

// A TreeConnectRequest is [MS-SMB2] 2.2.9. Contexts are there with TreeConnectExtension.
type TreeConnectRequest struct {
	Flags    uint16
	Path     string // \\server\share
	Contexts []TreeConnectContext
}

// A TreeConnectContext is [MS-SMB2] 2.2.9.2. No type is known to Postern.
type TreeConnectContext struct {
	Type uint16
	Data []byte
}

const (
	treeExtension          = HeaderSize + 8 // where it starts
	treeExtensionHead      = 16             // its length without the path
	treeConnectContextHead = 8
)

func (r *TreeConnectRequest) Decode(msg []byte) error {
	d := open(msg, "TREE_CONNECT request", 9)
	r.Flags = d.U16()
	off, n := d.U16(), d.U16()
	r.Contexts = nil
	if r.Flags&TreeConnectExtension != 0 {
		ctx, count := d.U32(), d.U16()
		d.Skip(10)
		d.fixed += treeExtensionHead
		r.Contexts = d.treeContexts(ctx, count)
	}
	r.Path = d.text("PathOffset", uint32(off), uint32(n))
	return d.done()
}

// treeContexts reads count contexts. Their offset counts from the body, unlike any other, [MS-SMB2] 2.2.9.1.
func (d *body) treeContexts(off uint32, count uint16) []TreeConnectContext {
	if count == 0 || d.Err() != nil {
		return nil
	}
	at := uint64(off) + HeaderSize
	if at < uint64(d.fixed) {
		d.refuse("TreeConnectContextOffset", reasonOverlap)
	}
	d.Seek(at)
	if int(count) > d.Len()/treeConnectContextHead {
		d.refuse("TreeConnectContextCount", reasonCount)
		return nil
	}
	var list []TreeConnectContext
	for i := range int(count) {
		if i > 0 {
			d.Align(8)
		}
		c := TreeConnectContext{Type: d.U16()}
		n := int(d.U16())
		d.Skip(4)
		if c.Data = d.data(n); d.Err() != nil {
			return nil
		}
		list = append(list, c)
	}
	return list
}

func (r *TreeConnectRequest) Append(b []byte) []byte {
	base := len(b) - HeaderSize
	n := cursor.UTF16Len(r.Path)
	b = u16(u16(b, 9), r.Flags)
	if r.Flags&TreeConnectExtension == 0 {
		b = u16(u16(b, HeaderSize+8), uint16(n))
		return variable(b, cursor.AppendUTF16(nil, r.Path))
	}
	b = u16(u16(b, treeExtension+treeExtensionHead), uint16(n))
	b = u16(u32(b, 0), uint16(len(r.Contexts)))
	b = append(b, make([]byte, 10)...)
	b = cursor.AppendUTF16(b, r.Path)
	for i, c := range r.Contexts {
		b = pad8(b, base)
		if i == 0 {
			le.PutUint32(b[base+treeExtension:], uint32(len(b)-base-HeaderSize))
		}
		b = u16(u16(b, c.Type), uint16(len(c.Data)))
		b = append(u32(b, 0), c.Data...)
	}
	return b
}

// A TreeConnectResponse is [MS-SMB2] 2.2.10.
type TreeConnectResponse struct {
	ShareType     uint8
	ShareFlags    uint32
	Capabilities  uint32
	MaximalAccess dtyp.Access
}

func (r *TreeConnectResponse) Decode(msg []byte) error {
	d := open(msg, "TREE_CONNECT response", 16)
	r.ShareType = d.U8()
	d.Skip(1)
	r.ShareFlags = d.U32()
	r.Capabilities = d.U32()
	r.MaximalAccess = dtyp.Access(d.U32())
	return d.done()
}

func (r *TreeConnectResponse) Append(b []byte) []byte {
	b = append(u16(b, 16), r.ShareType, 0)
	b = u32(b, r.ShareFlags)
	b = u32(b, r.Capabilities)
	return u32(b, uint32(r.MaximalAccess))
}

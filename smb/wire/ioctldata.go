package wire

import (
	"net/netip"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
)

// A ValidateNegotiateRequest is the input of FsctlValidateNegotiateInfo, [MS-SMB2] 2.2.31.4.
type ValidateNegotiateRequest struct {
	Capabilities uint32
	GUID         dtyp.GUID
	SecurityMode uint16
	Dialects     []uint16
}

func (r *ValidateNegotiateRequest) Decode(data []byte) error {
	d := nested(data, "VALIDATE_NEGOTIATE_INFO request", 24)
	r.Capabilities = d.U32()
	r.GUID = d.bytes16()
	r.SecurityMode = d.U16()
	r.Dialects = d.u16s("DialectCount", int(d.U16()))
	return d.done()
}

func (r *ValidateNegotiateRequest) Append(b []byte) []byte {
	b = append(u32(b, r.Capabilities), r.GUID[:]...)
	return u16s(u16(u16(b, r.SecurityMode), uint16(len(r.Dialects))), r.Dialects)
}

// A ValidateNegotiateResponse is its output, [MS-SMB2] 2.2.32.6.
type ValidateNegotiateResponse struct {
	Capabilities uint32
	GUID         dtyp.GUID
	SecurityMode uint16
	Dialect      uint16
}

func (r *ValidateNegotiateResponse) Decode(data []byte) error {
	d := nested(data, "VALIDATE_NEGOTIATE_INFO response", 24)
	r.Capabilities = d.U32()
	r.GUID = d.bytes16()
	r.SecurityMode = d.U16()
	r.Dialect = d.U16()
	return d.done()
}

func (r *ValidateNegotiateResponse) Append(b []byte) []byte {
	b = append(u32(b, r.Capabilities), r.GUID[:]...)
	return u16(u16(b, r.SecurityMode), r.Dialect)
}

// Capabilities of a NetworkInterface.
const (
	InterfaceRSS  uint32 = 1
	InterfaceRDMA uint32 = 2
)

// A NetworkInterface is an address at which the server can be reached, [MS-SMB2] 2.2.32.5.
type NetworkInterface struct {
	Index      uint32
	Capability uint32
	LinkSpeed  uint64 // bits a second
	Addr       netip.Addr
}

const (
	networkInterfaceSize = 152
	familyIPv4           = 0x0002
	familyIPv6           = 0x0017
	maxNetworkInterfaces = 1024
)

// DecodeNetworkInterfaces reads the output of FsctlQueryNetworkInterfaceInfo.
func DecodeNetworkInterfaces(data []byte) ([]NetworkInterface, error) {
	var list []NetworkInterface
	for len(data) > 0 {
		d := nested(data, "NETWORK_INTERFACE_INFO", networkInterfaceSize)
		next := d.U32()
		n := NetworkInterface{Index: d.U32(), Capability: d.U32()}
		d.Skip(4)
		n.LinkSpeed = d.U64()
		switch d.U16() {
		case familyIPv4:
			d.Skip(2)
			n.Addr, _ = netip.AddrFromSlice(d.Bytes(4))
		case familyIPv6:
			d.Skip(6)
			n.Addr, _ = netip.AddrFromSlice(d.Bytes(16))
			n.Addr = n.Addr.Unmap()
		default:
			d.refuse("SockAddr_Storage", "of an unknown family")
		}
		if next != 0 && (next%8 != 0 || next < networkInterfaceSize || uint64(next) >= uint64(len(data))) {
			d.refuse("Next", "out of place")
		}
		if len(list) == maxNetworkInterfaces {
			d.refuse("Next", "too many")
		}
		if err := d.done(); err != nil {
			return nil, err
		}
		list = append(list, n)
		if next == 0 {
			break
		}
		data = data[next:]
	}
	return list, nil
}

// AppendNetworkInterfaces appends that output. Scopes of addresses are not sent: they mean nothing to the peer.
func AppendNetworkInterfaces(b []byte, list []NetworkInterface) []byte {
	for i, n := range list {
		end := len(b) + networkInterfaceSize
		next := uint32(networkInterfaceSize)
		if i == len(list)-1 {
			next = 0
		}
		b = u32(u32(b, next), n.Index)
		b = u32(u32(b, n.Capability), 0)
		b = u64(b, n.LinkSpeed)
		addr := n.Addr.Unmap()
		if addr.Is4() {
			b = u16(u16(b, familyIPv4), 0)
		} else {
			b = u32(u16(u16(b, familyIPv6), 0), 0)
		}
		b = append(b, addr.AsSlice()...)
		b = append(b, make([]byte, end-len(b))...)
	}
	return b
}

// A ResumeKey names a file as the source of a server-side copy.
type ResumeKey [24]byte

// A ResumeKeyResponse is the output of FsctlSrvRequestResumeKey, [MS-SMB2] 2.2.32.3.
type ResumeKeyResponse struct{ Key ResumeKey }

func (r *ResumeKeyResponse) Decode(data []byte) error {
	d := nested(data, "SRV_REQUEST_RESUME_KEY", 28)
	copy(r.Key[:], d.Bytes(len(r.Key)))
	return d.done()
}

// Append leaves four bytes where the context that nobody uses would be: clients give it room for 32 bytes in all.
func (r *ResumeKeyResponse) Append(b []byte) []byte { return u64(append(b, r.Key[:]...), 0) }

// A CopyChunk is a range to copy.
type CopyChunk struct {
	SrcOffset, DstOffset uint64
	Length               uint32
}

// A CopyChunkRequest is the input of FsctlSrvCopychunk and FsctlSrvCopychunkWrite, [MS-SMB2] 2.2.31.1.
type CopyChunkRequest struct {
	Source ResumeKey
	Chunks []CopyChunk
}

const copyChunkSize = 24

func (r *CopyChunkRequest) Decode(data []byte) error {
	d := nested(data, "SRV_COPYCHUNK_COPY", 32)
	copy(r.Source[:], d.Bytes(len(r.Source)))
	n := d.U32()
	d.Skip(4)
	r.Chunks = nil
	if uint64(n) > uint64(d.Len()/copyChunkSize) {
		d.refuse("ChunkCount", reasonCount)
	} else if n > 0 {
		r.Chunks = make([]CopyChunk, n)
	}
	for i := range r.Chunks {
		r.Chunks[i] = CopyChunk{d.U64(), d.U64(), d.U32()}
		d.Skip(4)
	}
	return d.done()
}

func (r *CopyChunkRequest) Append(b []byte) []byte {
	b = append(b, r.Source[:]...)
	b = u32(u32(b, uint32(len(r.Chunks))), 0)
	for _, c := range r.Chunks {
		b = u32(u32(u64(u64(b, c.SrcOffset), c.DstOffset), c.Length), 0)
	}
	return b
}

// A CopyChunkResponse is the output, [MS-SMB2] 2.2.32.1: what was written, or with STATUS_INVALID_PARAMETER the
// limits: chunks in a request, bytes in a chunk, bytes in a request.
type CopyChunkResponse struct{ ChunksWritten, ChunkBytesWritten, TotalBytesWritten uint32 }

func (r *CopyChunkResponse) Decode(data []byte) error {
	d := nested(data, "SRV_COPYCHUNK_RESPONSE", 12)
	r.ChunksWritten = d.U32()
	r.ChunkBytesWritten = d.U32()
	r.TotalBytesWritten = d.U32()
	return d.done()
}

func (r *CopyChunkResponse) Append(b []byte) []byte {
	return u32(u32(u32(b, r.ChunksWritten), r.ChunkBytesWritten), r.TotalBytesWritten)
}

// A SnapshotArray is the output of FsctlSrvEnumerateSnapshots, [MS-SMB2] 2.2.32.2. A client that gave no room for
// the names learns from Total and Size how much it takes.
type SnapshotArray struct {
	Total uint32   // how many there are
	Size  uint32   // bytes that all of their names take
	Names []string // @GMT-YYYY.MM.DD-HH.MM.SS, all or none
}

const maxSnapshots = 4096

func (r *SnapshotArray) Decode(data []byte) error {
	d := nested(data, "SRV_SNAPSHOT_ARRAY", 12)
	r.Total = d.U32()
	n := d.U32()
	r.Size = d.U32()
	r.Names = nil
	if n > maxSnapshots || uint64(n) > uint64(d.Len()/2) {
		d.refuse("NumberOfSnapShotsReturned", reasonCount)
		n = 0
	}
	for range n {
		name := d.Rest()
		end := 0
		for end+2 <= len(name) && (name[end] != 0 || name[end+1] != 0) {
			end += 2
		}
		s, err := cursor.UTF16(name[:min(end, len(name))])
		if err != nil || s == "" || end+2 > len(name) {
			d.refuse("SnapShots", "malformed")
			break
		}
		r.Names = append(r.Names, s)
		d.Seek(uint64(len(data) - len(name) + end + 2))
	}
	return d.done()
}

// SetNames sets Total and Size as of a full list, and Names.
func (r *SnapshotArray) SetNames(names []string) {
	r.Total, r.Size, r.Names = uint32(len(names)), 0, names
	for _, s := range names {
		r.Size += uint32(cursor.UTF16Len(s) + 2)
	}
	if len(names) > 0 {
		r.Size += 2
	}
}

func (r *SnapshotArray) Append(b []byte) []byte {
	b = u32(u32(u32(b, r.Total), uint32(len(r.Names))), r.Size)
	for _, s := range r.Names {
		b = u16(cursor.AppendUTF16(b, s), 0)
	}
	return u16(b, 0)
}

// A ResiliencyRequest is the input of FsctlLMRRequestResiliency, [MS-SMB2] 2.2.31.3.
type ResiliencyRequest struct {
	Timeout uint32 // milliseconds
}

func (r *ResiliencyRequest) Decode(data []byte) error {
	d := nested(data, "NETWORK_RESILIENCY_REQUEST", 8)
	r.Timeout = d.U32()
	return d.done()
}

func (r *ResiliencyRequest) Append(b []byte) []byte { return u32(u32(b, r.Timeout), 0) }

package wire

import (
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
)

// Names of create contexts, [MS-SMB2] 2.2.13.2: four letters, or the 16 bytes of a GUID.
const (
	CreateEA                 = "ExtA" // FILE_FULL_EA_INFORMATION list, [MS-FSCC] 2.4.16
	CreateSecurityDescriptor = "SecD" // self-relative, [MS-DTYP] 2.4.6
	CreateDurable            = "DHnQ" // DurableRequest, DurableResponse
	CreateDurableReconnect   = "DHnC" // DurableReconnect
	CreateAllocationSize     = "AlSi" // AllocationSize
	CreateMaximalAccess      = "MxAc" // MaximalAccessRequest, MaximalAccessResponse
	CreateTimewarp           = "TWrp" // Timewarp
	CreateDiskID             = "QFid" // no data; DiskIDResponse
	CreateLease              = "RqLs" // Lease
	CreateDurableV2          = "DH2Q" // DurableV2Request, DurableV2Response
	CreateDurableV2Reconnect = "DH2C" // DurableV2Reconnect

	CreateAppInstanceID      = "\x45\xBC\xA6\x6A\xEF\xA7\xF7\x4A\x90\x08\xFA\x46\x2E\x14\x4D\x74"
	CreateAppInstanceVersion = "\xB9\x82\xD0\xB7\x3B\x56\x07\x4F\xA0\x7B\x52\x4A\x81\x16\xA0\x10"
	CreateSharedVHDX         = "\x9C\xCB\xCF\x9E\x04\xC1\xE6\x43\x98\x0E\x15\x8D\xA1\xF6\xEC\x83" // [MS-RSVD]

	CreateAAPL  = "AAPL"                                                             // of macOS
	CreatePOSIX = "\x93\xAD\x25\x50\x9C\xB4\x11\xE7\xB4\x23\x83\xDE\x96\x8B\xCD\x7C" // of the POSIX extensions
)

// A CreateContext is an element of the list in CREATE, [MS-SMB2] 2.2.13.2. Data is empty or one of the types below.
type CreateContext struct {
	Name string
	Data []byte
}

const (
	createContextHead = 16
	// Sixteen kinds are defined, and no kind makes sense twice.
	maxCreateContexts = 64
)

// createContexts reads the list of size bytes at off.
func (d *body) createContexts(off, size uint32) []CreateContext {
	b := d.at("CreateContextsOffset", off, size)
	if len(b) == 0 {
		return nil
	}
	list := make([]CreateContext, 0, 4)
	for {
		if len(list) == maxCreateContexts {
			d.refuse("CreateContexts", "too many")
			return nil
		}
		c, next, err := decodeCreateContext(b)
		if err != nil {
			d.Fail(err)
			return nil
		}
		list = append(list, c)
		if next == 0 {
			return list
		}
		b = b[next:]
	}
}

// decodeCreateContext reads the context at the start of b and says where the next one starts, 0 for the last.
// What it refers to must lie before that.
func decodeCreateContext(b []byte) (c CreateContext, next uint32, err error) {
	d := nested(b, "create context", createContextHead)
	next = d.U32()
	nameOff, nameLen := d.U16(), d.U16()
	d.Skip(2)
	dataOff, dataLen := d.U16(), d.U32()
	switch {
	case d.Err() != nil:
		return c, 0, d.done()
	case next == 0:
	case next%8 != 0 || next < createContextHead || uint64(next) > uint64(len(b)-createContextHead):
		d.refuse("Next", "out of place")
	default:
		d.buf = b[:next:next]
	}
	if nameLen < 4 {
		d.refuse("NameLength", "less than 4")
	}
	c.Name = string(d.at("NameOffset", uint32(nameOff), uint32(nameLen)))
	c.Data = d.at("DataOffset", uint32(dataOff), dataLen)
	return c, next, d.done()
}

// appendCreateContexts appends the list, aligned from base, and writes where it is at field of the body.
func appendCreateContexts(b []byte, base, field int, list []CreateContext) []byte {
	if len(list) == 0 {
		return b
	}
	b = pad8(b, base)
	start, last := len(b), len(b)
	for i, c := range list {
		if i > 0 {
			b = pad8(b, start)
			le.PutUint32(b[last:], uint32(len(b)-last))
			last = len(b)
		}
		dataOff := 0
		if len(c.Data) > 0 {
			dataOff = (createContextHead + len(c.Name) + 7) &^ 7
		}
		b = u32(b, 0)
		b = u16(u16(b, createContextHead), uint16(len(c.Name)))
		b = u16(u16(b, 0), uint16(dataOff))
		b = u32(b, uint32(len(c.Data)))
		b = pad8(append(b, c.Name...), start)
		b = append(b, c.Data...)
	}
	le.PutUint32(b[base+HeaderSize+field:], uint32(start-base))
	le.PutUint32(b[base+HeaderSize+field+4:], uint32(len(b)-start))
	return b
}

// A DurableRequest asks for a durable handle, [MS-SMB2] 2.2.13.2.3. It says nothing.
type DurableRequest struct{}

func (*DurableRequest) Decode(data []byte) error {
	d := nested(data, "DURABLE_HANDLE_REQUEST", 16)
	return d.done()
}

func (*DurableRequest) Append(b []byte) []byte { return append(b, make([]byte, 16)...) }

// A DurableResponse grants one, [MS-SMB2] 2.2.14.2.3.
type DurableResponse struct{}

func (*DurableResponse) Decode(data []byte) error {
	d := nested(data, "DURABLE_HANDLE_RESPONSE", 8)
	return d.done()
}

func (*DurableResponse) Append(b []byte) []byte { return u64(b, 0) }

// A DurableReconnect is [MS-SMB2] 2.2.13.2.4.
type DurableReconnect struct{ FileID FileID }

func (c *DurableReconnect) Decode(data []byte) error {
	d := nested(data, "DURABLE_HANDLE_RECONNECT", 16)
	c.FileID = d.fileID()
	return d.done()
}

func (c *DurableReconnect) Append(b []byte) []byte { return fileID(b, c.FileID) }

// AllocationSize is how large the file is expected to become, in bytes, [MS-SMB2] 2.2.13.2.6.
type AllocationSize struct{ Size uint64 }

func (c *AllocationSize) Decode(data []byte) error {
	d := nested(data, "ALLOCATION_SIZE", 8)
	c.Size = d.U64()
	return d.done()
}

func (c *AllocationSize) Append(b []byte) []byte { return u64(b, c.Size) }

// A MaximalAccessRequest is [MS-SMB2] 2.2.13.2.5: 8 bytes, or none and then Timestamp is 0.
type MaximalAccessRequest struct {
	Timestamp dtyp.Filetime // no answer is wanted if the file has not changed since
}

func (c *MaximalAccessRequest) Decode(data []byte) error {
	c.Timestamp = 0
	if len(data) == 0 {
		return nil
	}
	d := nested(data, "QUERY_MAXIMAL_ACCESS_REQUEST", 8)
	c.Timestamp = dtyp.Filetime(d.U64())
	return d.done()
}

func (c *MaximalAccessRequest) Append(b []byte) []byte {
	if c.Timestamp == 0 {
		return b
	}
	return u64(b, uint64(c.Timestamp))
}

// A MaximalAccessResponse is [MS-SMB2] 2.2.14.2.5.
type MaximalAccessResponse struct {
	QueryStatus   nt.Status
	MaximalAccess dtyp.Access
}

func (c *MaximalAccessResponse) Decode(data []byte) error {
	d := nested(data, "QUERY_MAXIMAL_ACCESS_RESPONSE", 8)
	c.QueryStatus = nt.Status(d.U32())
	c.MaximalAccess = dtyp.Access(d.U32())
	return d.done()
}

func (c *MaximalAccessResponse) Append(b []byte) []byte {
	return u32(u32(b, uint32(c.QueryStatus)), uint32(c.MaximalAccess))
}

// A Timewarp asks for the file as it was at a snapshot, [MS-SMB2] 2.2.13.2.7.
type Timewarp struct{ Timestamp dtyp.Filetime }

func (c *Timewarp) Decode(data []byte) error {
	d := nested(data, "TIMEWARP_TOKEN", 8)
	c.Timestamp = dtyp.Filetime(d.U64())
	return d.done()
}

func (c *Timewarp) Append(b []byte) []byte { return u64(b, uint64(c.Timestamp)) }

// A DiskIDResponse is [MS-SMB2] 2.2.14.2.9; what is asked is in the name alone.
type DiskIDResponse struct{ DiskFileID, VolumeID uint64 }

func (c *DiskIDResponse) Decode(data []byte) error {
	d := nested(data, "QUERY_ON_DISK_ID", 32)
	c.DiskFileID = d.U64()
	c.VolumeID = d.U64()
	return d.done()
}

func (c *DiskIDResponse) Append(b []byte) []byte {
	return append(u64(u64(b, c.DiskFileID), c.VolumeID), make([]byte, 16)...)
}

// Lease states, [MS-SMB2] 2.2.13.2.8.
const (
	LeaseNone   uint32 = 0
	LeaseRead   uint32 = 1
	LeaseHandle uint32 = 2
	LeaseWrite  uint32 = 4
)

// Lease flags.
const (
	LeaseBreakInProgress uint32 = 2 // response
	LeaseParentKeySet    uint32 = 4 // version 2
)

// A Lease is the request and the response of version 1 (32 bytes) and 2 (52 bytes), told apart by length,
// [MS-SMB2] 2.2.13.2.8, 2.2.13.2.10.
type Lease struct {
	V2        bool
	Key       [16]byte
	State     uint32
	Flags     uint32
	ParentKey [16]byte // version 2
	Epoch     uint16   // version 2
}

const leaseV1, leaseV2 = 32, 52

func (c *Lease) Decode(data []byte) error {
	*c = Lease{V2: len(data) == leaseV2}
	d := nested(data, "REQUEST_LEASE", leaseV1)
	c.Key = d.bytes16()
	c.State = d.U32()
	c.Flags = d.U32()
	d.Skip(8) // LeaseDuration
	if c.V2 {
		c.ParentKey = d.bytes16()
		c.Epoch = d.U16()
	} else if len(data) != leaseV1 {
		d.refuse("DataLength", "of neither version")
	}
	return d.done()
}

func (c *Lease) Append(b []byte) []byte {
	b = append(b, c.Key[:]...)
	b = u32(u32(b, c.State), c.Flags)
	b = u64(b, 0)
	if c.V2 {
		b = append(b, c.ParentKey[:]...)
		b = u16(u16(b, c.Epoch), 0)
	}
	return b
}

// DurablePersistent is the flag of the three durable contexts of version 2.
const DurablePersistent uint32 = 2

// A DurableV2Request is [MS-SMB2] 2.2.13.2.11.
type DurableV2Request struct {
	Timeout    uint32 // milliseconds; 0 is the server's choice
	Flags      uint32
	CreateGUID dtyp.GUID
}

func (c *DurableV2Request) Decode(data []byte) error {
	d := nested(data, "DURABLE_HANDLE_REQUEST_V2", 32)
	c.Timeout = d.U32()
	c.Flags = d.U32()
	d.Skip(8)
	c.CreateGUID = d.bytes16()
	return d.done()
}

func (c *DurableV2Request) Append(b []byte) []byte {
	b = u64(u32(u32(b, c.Timeout), c.Flags), 0)
	return append(b, c.CreateGUID[:]...)
}

// A DurableV2Response is [MS-SMB2] 2.2.14.2.12.
type DurableV2Response struct {
	Timeout uint32 // milliseconds
	Flags   uint32
}

func (c *DurableV2Response) Decode(data []byte) error {
	d := nested(data, "DURABLE_HANDLE_RESPONSE_V2", 8)
	c.Timeout = d.U32()
	c.Flags = d.U32()
	return d.done()
}

func (c *DurableV2Response) Append(b []byte) []byte { return u32(u32(b, c.Timeout), c.Flags) }

// A DurableV2Reconnect is [MS-SMB2] 2.2.13.2.12.
type DurableV2Reconnect struct {
	FileID     FileID
	CreateGUID dtyp.GUID
	Flags      uint32
}

func (c *DurableV2Reconnect) Decode(data []byte) error {
	d := nested(data, "DURABLE_HANDLE_RECONNECT_V2", 36)
	c.FileID = d.fileID()
	c.CreateGUID = d.bytes16()
	c.Flags = d.U32()
	return d.done()
}

func (c *DurableV2Reconnect) Append(b []byte) []byte {
	return u32(append(fileID(b, c.FileID), c.CreateGUID[:]...), c.Flags)
}

// An AppInstanceID is [MS-SMB2] 2.2.13.2.13.
type AppInstanceID struct{ ID dtyp.GUID }

func (c *AppInstanceID) Decode(data []byte) error {
	d := nested(data, "APP_INSTANCE_ID", 20)
	if d.U16() != 20 {
		d.refuse("StructureSize", "wrong")
	}
	d.Skip(2)
	c.ID = d.bytes16()
	return d.done()
}

func (c *AppInstanceID) Append(b []byte) []byte { return append(u32(b, 20), c.ID[:]...) }

// An AppInstanceVersion is [MS-SMB2] 2.2.13.2.15.
type AppInstanceVersion struct{ High, Low uint64 }

func (c *AppInstanceVersion) Decode(data []byte) error {
	d := nested(data, "APP_INSTANCE_VERSION", 24)
	if d.U16() != 24 {
		d.refuse("StructureSize", "wrong")
	}
	d.Skip(6)
	c.High = d.U64()
	c.Low = d.U64()
	return d.done()
}

func (c *AppInstanceVersion) Append(b []byte) []byte { return u64(u64(u64(b, 24), c.High), c.Low) }

package wire

import (
	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
)

// Oplock levels, [MS-SMB2] 2.2.13.
const (
	OplockNone      uint8 = 0x00
	OplockLevel2    uint8 = 0x01
	OplockExclusive uint8 = 0x08
	OplockBatch     uint8 = 0x09
	OplockLease     uint8 = 0xFF
)

// Impersonation levels.
const (
	ImpersonationAnonymous      uint32 = 0
	ImpersonationIdentification uint32 = 1
	ImpersonationImpersonation  uint32 = 2
	ImpersonationDelegate       uint32 = 3
)

// Share access.
const (
	ShareRead   uint32 = 1
	ShareWrite  uint32 = 2
	ShareDelete uint32 = 4
)

// Create dispositions.
const (
	FileSupersede   uint32 = 0
	FileOpen        uint32 = 1
	FileCreate      uint32 = 2
	FileOpenIf      uint32 = 3
	FileOverwrite   uint32 = 4
	FileOverwriteIf uint32 = 5
)

// Create options.
const (
	FileDirectoryFile           uint32 = 0x00000001
	FileWriteThrough            uint32 = 0x00000002
	FileSequentialOnly          uint32 = 0x00000004
	FileNoIntermediateBuffering uint32 = 0x00000008
	FileSynchronousIOAlert      uint32 = 0x00000010
	FileSynchronousIONonAlert   uint32 = 0x00000020
	FileNonDirectoryFile        uint32 = 0x00000040
	FileCompleteIfOplocked      uint32 = 0x00000100
	FileNoEAKnowledge           uint32 = 0x00000200
	FileOpenRemoteInstance      uint32 = 0x00000400
	FileRandomAccess            uint32 = 0x00000800
	FileDeleteOnClose           uint32 = 0x00001000
	FileOpenByFileID            uint32 = 0x00002000
	FileOpenForBackupIntent     uint32 = 0x00004000
	FileNoCompression           uint32 = 0x00008000
	FileOpenRequiringOplock     uint32 = 0x00010000
	FileDisallowExclusive       uint32 = 0x00020000
	FileReserveOpfilter         uint32 = 0x00100000
	FileOpenReparsePoint        uint32 = 0x00200000
	FileOpenNoRecall            uint32 = 0x00400000
	FileOpenForFreeSpaceQuery   uint32 = 0x00800000
)

// Create actions, [MS-SMB2] 2.2.14.
const (
	FileSuperseded  uint32 = 0
	FileOpened      uint32 = 1
	FileCreated     uint32 = 2
	FileOverwritten uint32 = 3
)

// CreateFlagReparsePoint is the flag of a CREATE response: the last component is a reparse point.
const CreateFlagReparsePoint uint8 = 1

const (
	createRequestFixed  = 56
	createResponseFixed = 88
)

// A CreateRequest is [MS-SMB2] 2.2.13.
type CreateRequest struct {
	OplockLevel        uint8
	ImpersonationLevel uint32
	DesiredAccess      dtyp.Access
	FileAttributes     uint32
	ShareAccess        uint32
	Disposition        uint32
	Options            uint32
	Name               string // below the share, no leading separator; empty is its root
	RawName            []byte // Name as it came; Append takes it if Name is empty
	Contexts           []CreateContext
}

// BadName reports that the name that came is not UTF-16 and so names nothing: STATUS_OBJECT_NAME_INVALID.
func (r *CreateRequest) BadName() bool { return r.Name == "" && len(r.RawName) > 0 }

func (r *CreateRequest) Decode(msg []byte) error {
	d := open(msg, "CREATE request", createRequestFixed+1)
	d.Skip(1) // SecurityFlags
	r.OplockLevel = d.U8()
	r.ImpersonationLevel = d.U32()
	d.Skip(16) // SmbCreateFlags, Reserved
	r.DesiredAccess = dtyp.Access(d.U32())
	r.FileAttributes = d.U32()
	r.ShareAccess = d.U32()
	r.Disposition = d.U32()
	r.Options = d.U32()
	off, n := d.U16(), d.U16()
	ctx, ctxLen := d.U32(), d.U32()
	if n%2 != 0 {
		d.refuse("NameLength", "odd")
	}
	r.RawName = d.at("NameOffset", uint32(off), uint32(n))
	// A name that is not UTF-16 is the file system's answer, not a broken message: see BadName.
	r.Name, _ = cursor.UTF16(r.RawName)
	r.Contexts = d.createContexts(ctx, ctxLen)
	return d.done()
}

func (r *CreateRequest) Append(b []byte) []byte {
	base := len(b) - HeaderSize
	name := r.RawName
	if r.Name != "" {
		name = cursor.AppendUTF16(nil, r.Name)
	}
	b = append(u16(b, createRequestFixed+1), 0, r.OplockLevel)
	b = u32(b, r.ImpersonationLevel)
	b = u64(u64(b, 0), 0)
	b = u32(b, uint32(r.DesiredAccess))
	b = u32(b, r.FileAttributes)
	b = u32(b, r.ShareAccess)
	b = u32(b, r.Disposition)
	b = u32(b, r.Options)
	b = u16(u16(b, HeaderSize+createRequestFixed), uint16(len(name)))
	b = u64(b, 0)
	b = variable(b, name)
	return appendCreateContexts(b, base, createRequestFixed-8, r.Contexts)
}

// A CreateResponse is [MS-SMB2] 2.2.14.
type CreateResponse struct {
	OplockLevel    uint8
	Flags          uint8
	Action         uint32
	CreationTime   dtyp.Filetime
	LastAccessTime dtyp.Filetime
	LastWriteTime  dtyp.Filetime
	ChangeTime     dtyp.Filetime
	AllocationSize uint64
	EndOfFile      uint64
	FileAttributes uint32
	FileID         FileID
	Contexts       []CreateContext
}

func (r *CreateResponse) Decode(msg []byte) error {
	d := open(msg, "CREATE response", createResponseFixed+1)
	r.OplockLevel = d.U8()
	r.Flags = d.U8()
	r.Action = d.U32()
	r.CreationTime = dtyp.Filetime(d.U64())
	r.LastAccessTime = dtyp.Filetime(d.U64())
	r.LastWriteTime = dtyp.Filetime(d.U64())
	r.ChangeTime = dtyp.Filetime(d.U64())
	r.AllocationSize = d.U64()
	r.EndOfFile = d.U64()
	r.FileAttributes = d.U32()
	d.Skip(4)
	r.FileID = d.fileID()
	ctx, ctxLen := d.U32(), d.U32()
	r.Contexts = d.createContexts(ctx, ctxLen)
	return d.done()
}

func (r *CreateResponse) Append(b []byte) []byte {
	base := len(b) - HeaderSize
	b = append(u16(b, createResponseFixed+1), r.OplockLevel, r.Flags)
	b = u32(b, r.Action)
	b = u64(b, uint64(r.CreationTime))
	b = u64(b, uint64(r.LastAccessTime))
	b = u64(b, uint64(r.LastWriteTime))
	b = u64(b, uint64(r.ChangeTime))
	b = u64(b, r.AllocationSize)
	b = u64(b, r.EndOfFile)
	b = u32(u32(b, r.FileAttributes), 0)
	b = fileID(b, r.FileID)
	b = u64(b, 0)
	return appendCreateContexts(b, base, createResponseFixed-8, r.Contexts)
}

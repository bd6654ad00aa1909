package wire

import "github.com/postern-nas/postern/smb/dtyp"

// ClosePostQueryAttrib asks for, and announces, attributes in the response.
const ClosePostQueryAttrib uint16 = 1

// A CloseRequest is [MS-SMB2] 2.2.15.
type CloseRequest struct {
	Flags  uint16
	FileID FileID
}

func (r *CloseRequest) Decode(msg []byte) error {
	d := open(msg, "CLOSE request", 24)
	r.Flags = d.U16()
	d.Skip(4)
	r.FileID = d.fileID()
	return d.done()
}

func (r *CloseRequest) Append(b []byte) []byte {
	return fileID(u32(u16(u16(b, 24), r.Flags), 0), r.FileID)
}

// A CloseResponse is [MS-SMB2] 2.2.16. Without ClosePostQueryAttrib all else is zero.
type CloseResponse struct {
	Flags          uint16
	CreationTime   dtyp.Filetime
	LastAccessTime dtyp.Filetime
	LastWriteTime  dtyp.Filetime
	ChangeTime     dtyp.Filetime
	AllocationSize uint64
	EndOfFile      uint64
	FileAttributes uint32
}

func (r *CloseResponse) Decode(msg []byte) error {
	d := open(msg, "CLOSE response", 60)
	r.Flags = d.U16()
	d.Skip(4)
	r.CreationTime = dtyp.Filetime(d.U64())
	r.LastAccessTime = dtyp.Filetime(d.U64())
	r.LastWriteTime = dtyp.Filetime(d.U64())
	r.ChangeTime = dtyp.Filetime(d.U64())
	r.AllocationSize = d.U64()
	r.EndOfFile = d.U64()
	r.FileAttributes = d.U32()
	return d.done()
}

func (r *CloseResponse) Append(b []byte) []byte {
	b = u32(u16(u16(b, 60), r.Flags), 0)
	b = u64(b, uint64(r.CreationTime))
	b = u64(b, uint64(r.LastAccessTime))
	b = u64(b, uint64(r.LastWriteTime))
	b = u64(b, uint64(r.ChangeTime))
	b = u64(b, r.AllocationSize)
	b = u64(b, r.EndOfFile)
	return u32(b, r.FileAttributes)
}

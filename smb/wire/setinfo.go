package wire

import "github.com/postern-nas/postern/smb/fscc"

// A SetInfoRequest is [MS-SMB2] 2.2.39.
type SetInfoRequest struct {
	InfoType       uint8
	InfoClass      uint8
	Buffer         []byte
	AdditionalInfo uint32
	FileID         FileID
}

func (r *SetInfoRequest) Decode(msg []byte) error {
	d := open(msg, "SET_INFO request", 33)
	r.InfoType = d.U8()
	r.InfoClass = d.U8()
	n := d.U32()
	off := d.U16()
	d.Skip(2)
	r.AdditionalInfo = d.U32()
	r.FileID = d.fileID()
	r.Buffer = d.at("BufferOffset", uint32(off), n)
	return d.done()
}

// IsRename reports whether msg, a SET_INFO request, is to give its object another name. It may still be malformed.
func IsRename(msg []byte) bool {
	if len(msg) < HeaderSize+4 || msg[HeaderSize+2] != InfoFile {
		return false
	}
	class := fscc.FileClass(msg[HeaderSize+3])
	return class == fscc.FileRenameInformation || class == fscc.FileRenameInformationEx
}

func (r *SetInfoRequest) Append(b []byte) []byte {
	b = append(u16(b, 33), r.InfoType, r.InfoClass)
	b = u32(b, uint32(len(r.Buffer)))
	b = u16(u16(b, HeaderSize+32), 0)
	b = u32(b, r.AdditionalInfo)
	b = fileID(b, r.FileID)
	return variable(b, r.Buffer)
}

// A SetInfoResponse is [MS-SMB2] 2.2.40: two bytes, the least there is.
type SetInfoResponse struct{}

func (*SetInfoResponse) Decode(msg []byte) error {
	d := open(msg, "SET_INFO response", 2)
	return d.done()
}

func (*SetInfoResponse) Append(b []byte) []byte { return u16(b, 2) }

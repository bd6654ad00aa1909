package wire

import "github.com/postern-nas/postern/smb/cursor"

// Flags of a QUERY_DIRECTORY request.
const (
	QueryRestartScans      uint8 = 0x01
	QueryReturnSingleEntry uint8 = 0x02
	QueryIndexSpecified    uint8 = 0x04
	QueryReopen            uint8 = 0x10
)

// A QueryDirectoryRequest is [MS-SMB2] 2.2.33.
type QueryDirectoryRequest struct {
	InfoClass          uint8
	Flags              uint8
	FileIndex          uint32
	FileID             FileID
	Pattern            string
	OutputBufferLength uint32
}

func (r *QueryDirectoryRequest) Decode(msg []byte) error {
	d := open(msg, "QUERY_DIRECTORY request", 33)
	r.InfoClass = d.U8()
	r.Flags = d.U8()
	r.FileIndex = d.U32()
	r.FileID = d.fileID()
	off, n := d.U16(), d.U16()
	r.OutputBufferLength = d.U32()
	r.Pattern = d.text("FileNameOffset", uint32(off), uint32(n))
	return d.done()
}

func (r *QueryDirectoryRequest) Append(b []byte) []byte {
	b = append(u16(b, 33), r.InfoClass, r.Flags)
	b = u32(b, r.FileIndex)
	b = fileID(b, r.FileID)
	b = u16(u16(b, HeaderSize+32), uint16(cursor.UTF16Len(r.Pattern)))
	b = u32(b, r.OutputBufferLength)
	return variable(b, cursor.AppendUTF16(nil, r.Pattern))
}

// A QueryDirectoryResponse is [MS-SMB2] 2.2.34.
type QueryDirectoryResponse struct{ Buffer []byte }

func (r *QueryDirectoryResponse) Decode(msg []byte) (err error) {
	r.Buffer, err = decodeOutput(msg, "QUERY_DIRECTORY response")
	return err
}

func (r *QueryDirectoryResponse) Append(b []byte) []byte { return appendOutput(b, r.Buffer) }

// OutputHead is the length of the body without data of QUERY_DIRECTORY, CHANGE_NOTIFY and QUERY_INFO responses.
const OutputHead = 8

// AppendOutputHead appends such a body up to where dataLen bytes of data belong.
func AppendOutputHead(b []byte, dataLen uint32) []byte {
	return u32(u16(u16(b, OutputHead+1), HeaderSize+OutputHead), dataLen)
}

func appendOutput(b, data []byte) []byte {
	return append(AppendOutputHead(b, uint32(len(data))), data...)
}

func decodeOutput(msg []byte, name string) ([]byte, error) {
	d := open(msg, name, OutputHead+1)
	off, n := d.U16(), d.U32()
	data := d.at("OutputBufferOffset", uint32(off), n)
	return data, d.done()
}

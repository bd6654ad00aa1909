package wire

import "github.com/postern-nas/postern/smb/cursor"

// An ErrorResponse is the body of a failed response, [MS-SMB2] 2.2.2. In 3.1.1 Data is a list of ContextCount
// error contexts if that is not 0.
type ErrorResponse struct {
	ContextCount uint8
	Data         []byte
}

func (r *ErrorResponse) Decode(msg []byte) error {
	d := open(msg, "ERROR response", 9)
	r.ContextCount = d.U8()
	d.Skip(1)
	n := d.U32()
	r.Data = d.at("ByteCount", HeaderSize+8, n)
	return d.done()
}

func (r *ErrorResponse) Append(b []byte) []byte {
	return AppendErrorResponse(b, r.ContextCount, r.Data)
}

// AppendErrorResponse appends the body of a failed response. Without data there is one byte of it all the same.
func AppendErrorResponse(b []byte, contextCount uint8, data []byte) []byte {
	b = append(u16(b, 9), contextCount, 0)
	return variable(u32(b, uint32(len(data))), data)
}

// Identifiers of error contexts, [MS-SMB2] 2.2.2.1.
const (
	ErrorIDDefault       uint32 = 0
	ErrorIDShareRedirect uint32 = 0x72645253
)

// An ErrorContext is an element of the error data in 3.1.1, [MS-SMB2] 2.2.2.1.
type ErrorContext struct {
	ID   uint32
	Data []byte
}

// Contexts decodes the error contexts.
func (r *ErrorResponse) Contexts() ([]ErrorContext, error) {
	d := nested(r.Data, "error context", 0)
	var list []ErrorContext
	for i := range int(r.ContextCount) {
		if i > 0 {
			d.Align(8)
		}
		n := d.U32()
		c := ErrorContext{ID: d.U32()}
		if uint64(n) > uint64(d.Len()) {
			d.refuse("ErrorDataLength", reasonShort)
		}
		if c.Data = d.data(int(n)); d.Err() != nil {
			break
		}
		list = append(list, c)
	}
	return list, d.done()
}

// AppendErrorContexts appends the data of an ErrorResponse.
func AppendErrorContexts(b []byte, list ...ErrorContext) []byte {
	base := len(b)
	for _, c := range list {
		b = pad8(b, base)
		b = u32(b, uint32(len(c.Data)))
		b = append(u32(b, c.ID), c.Data...)
	}
	return b
}

// AppendBufferTooSmall appends the error data of STATUS_BUFFER_TOO_SMALL: the length that would do.
func AppendBufferTooSmall(b []byte, need uint32) []byte { return u32(b, need) }

// BufferTooSmall reads what AppendBufferTooSmall writes.
func BufferTooSmall(data []byte) (uint32, error) {
	d := nested(data, "buffer too small", 4)
	need := d.U32()
	return need, d.done()
}

const (
	symlinkErrorTag   uint32 = 0x4C4D5953
	symlinkReparseTag uint32 = 0xA000000C
	symlinkFixed             = 28
)

// A SymlinkError is the error data of STATUS_STOPPED_ON_SYMLINK, [MS-SMB2] 2.2.2.2.1.
type SymlinkError struct {
	UnparsedPathLength uint16 // bytes of UTF-16 at the end of the requested name that lie behind the link
	Flags              uint32 // SymlinkRelative
	Substitute, Print  string
}

// SymlinkRelative says that the target counts from where the link is.
const SymlinkRelative uint32 = 1

func (s *SymlinkError) Decode(data []byte) error {
	d := nested(data, "symbolic link error", symlinkFixed)
	if n := d.U32(); uint64(n)+4 > uint64(len(data)) {
		d.refuse("SymLinkLength", reasonShort)
	}
	if d.U32() != symlinkErrorTag {
		d.refuse("SymLinkErrorTag", "wrong")
	}
	if d.U32() != symlinkReparseTag {
		d.refuse("ReparseTag", "wrong")
	}
	d.Skip(2)
	s.UnparsedPathLength = d.U16()
	so, sn, po, pn := d.U16(), d.U16(), d.U16(), d.U16()
	s.Flags = d.U32()
	s.Substitute = d.text("SubstituteNameOffset", symlinkFixed+uint32(so), uint32(sn))
	s.Print = d.text("PrintNameOffset", symlinkFixed+uint32(po), uint32(pn))
	return d.done()
}

func (s *SymlinkError) Append(b []byte) []byte {
	sn, pn := cursor.UTF16Len(s.Substitute), cursor.UTF16Len(s.Print)
	b = u32(b, uint32(symlinkFixed-4+sn+pn))
	b = u32(u32(b, symlinkErrorTag), symlinkReparseTag)
	b = u16(b, uint16(12+sn+pn))
	b = u16(b, s.UnparsedPathLength)
	b = u16(u16(b, 0), uint16(sn))
	b = u16(u16(b, uint16(sn)), uint16(pn))
	b = u32(b, s.Flags)
	return cursor.AppendUTF16(cursor.AppendUTF16(b, s.Substitute), s.Print)
}

package wire

// TransformHeaderSize is the length of a TransformHeader.
const TransformHeaderSize = 52

// TransformEncrypted is the flag of a TransformHeader; in 3.0 and 3.0.2 the field names the cipher AES-128-CCM,
// which has the same number.
const TransformEncrypted uint16 = 1

// A TransformHeader is before an encrypted message, [MS-SMB2] 2.2.41. What is authenticated with the ciphertext is
// everything after Signature: TransformAAD.
type TransformHeader struct {
	Signature    [16]byte
	Nonce        [16]byte
	OriginalSize uint32
	Flags        uint16
	SessionID    uint64
}

// Decode reads the header at the start of b.
func (h *TransformHeader) Decode(b []byte) error {
	d := nested(b, "TRANSFORM_HEADER", TransformHeaderSize)
	if d.U32() != ProtocolTransform {
		d.refuse("ProtocolId", "wrong")
	}
	h.Signature = d.bytes16()
	h.Nonce = d.bytes16()
	h.OriginalSize = d.U32()
	d.Skip(2)
	h.Flags = d.U16()
	h.SessionID = d.U64()
	return d.done()
}

// Append appends the 52 bytes of h.
func (h *TransformHeader) Append(b []byte) []byte {
	b = append(u32(b, ProtocolTransform), h.Signature[:]...)
	b = append(b, h.Nonce[:]...)
	b = u16(u32(b, h.OriginalSize), 0)
	return u64(u16(b, h.Flags), h.SessionID)
}

// TransformAAD returns the part of an encoded TransformHeader that the signature covers besides the message. b must
// be as long as Decode wants it.
func TransformAAD(b []byte) []byte { return b[20:TransformHeaderSize:TransformHeaderSize] }

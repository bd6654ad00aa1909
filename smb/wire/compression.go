package wire

import "encoding/binary"

// Flags of compression headers.
const (
	CompressionFlagNone    uint16 = 0
	CompressionFlagChained uint16 = 1
)

// CompressionHeaderSize is the length of a CompressionHeader.
const CompressionHeaderSize = 16

// A CompressionHeader is before a compressed message, [MS-SMB2] 2.2.42.1. OriginalSize is a promise of the peer.
//
// With CompressionFlagChained the message is chained, [MS-SMB2] 2.2.42.2: then only OriginalSize is the header's,
// and the other fields are those of the first CompressionPayload, which starts at CompressionChainStart.
type CompressionHeader struct {
	OriginalSize uint32 // of the compressed part; chained: of the whole message
	Algorithm    uint16
	Flags        uint16
	Offset       uint32 // from the end of this header to the compressed part; what is between is not compressed
}

// CompressionChainStart is where the payloads of a chained message start.
const CompressionChainStart = 8

// Decode reads the header at the start of b.
func (h *CompressionHeader) Decode(b []byte) error {
	d := nested(b, "COMPRESSION_TRANSFORM_HEADER", CompressionHeaderSize)
	if d.U32() != ProtocolCompressed {
		d.refuse("ProtocolId", "wrong")
	}
	h.OriginalSize = d.U32()
	h.Algorithm = d.U16()
	h.Flags = d.U16()
	h.Offset = d.U32()
	if h.Flags&CompressionFlagChained == 0 && uint64(h.Offset) > uint64(len(b)-d.Offset()) {
		d.refuse("Offset", reasonShort)
	}
	return d.done()
}

// CompressedSize returns how many bytes the compressed message b says that it was made from, 0 if it is too short to.
func CompressedSize(b []byte) uint32 {
	if len(b) < CompressionChainStart {
		return 0
	}
	return binary.LittleEndian.Uint32(b[4:])
}

// Append appends the 16 bytes of an unchained header.
func (h *CompressionHeader) Append(b []byte) []byte {
	b = u32(u32(b, ProtocolCompressed), h.OriginalSize)
	return u32(u16(u16(b, h.Algorithm), h.Flags), h.Offset)
}

// AppendCompressionChain appends the 8 bytes that start a chained message.
func AppendCompressionChain(b []byte, originalSize uint32) []byte {
	return u32(u32(b, ProtocolCompressed), originalSize)
}

// A CompressionPayload is one part of a chained message with its header, [MS-SMB2] 2.2.42.2.1.
type CompressionPayload struct {
	Algorithm    uint16
	Flags        uint16 // CompressionFlagChained in the first
	OriginalSize uint32 // a promise of the peer; only if Algorithm is one of the LZ family
	Data         []byte
}

func (p *CompressionPayload) sized() bool {
	switch p.Algorithm {
	case CompressionLZNT1, CompressionLZ77, CompressionLZ77Huffman, CompressionLZ4:
		return true
	}
	return false
}

// Decode reads the payload at the start of b and returns what follows it.
func (p *CompressionPayload) Decode(b []byte) (rest []byte, err error) {
	d := nested(b, "COMPRESSION_CHAINED_PAYLOAD_HEADER", 8)
	*p = CompressionPayload{Algorithm: d.U16(), Flags: d.U16()}
	n := uint64(d.U32()) // counts OriginalPayloadSize, too
	if p.sized() {
		if n < 4 {
			d.refuse("Length", "shorter than OriginalPayloadSize")
		}
		p.OriginalSize = d.U32()
		n -= 4
	}
	if n > uint64(d.Len()) {
		d.refuse("Length", reasonShort)
	}
	p.Data = d.data(int(n))
	return d.Rest(), d.done()
}

func (p *CompressionPayload) Append(b []byte) []byte {
	b = u16(u16(b, p.Algorithm), p.Flags)
	if p.sized() {
		b = u32(u32(b, uint32(4+len(p.Data))), p.OriginalSize)
	} else {
		b = u32(b, uint32(len(p.Data)))
	}
	return append(b, p.Data...)
}

// PutCompressionLength sets the length of an LZ payload's data, which was appended behind the encoded header b without it.
func PutCompressionLength(b []byte, n uint32) { binary.LittleEndian.PutUint32(b[4:], 4+n) }

// PatternV1Size is the length of an encoded PatternV1.
const PatternV1Size = 8

// A PatternV1 is the data of a payload with CompressionPatternV1, [MS-SMB2] 2.2.42.2.2.
type PatternV1 struct {
	Pattern     byte
	Repetitions uint32
}

func (p *PatternV1) Decode(data []byte) error {
	d := nested(data, "COMPRESSION_PATTERN_PAYLOAD_V1", PatternV1Size)
	p.Pattern = d.U8()
	d.Skip(3)
	p.Repetitions = d.U32()
	return d.done()
}

func (p *PatternV1) Append(b []byte) []byte { return u32(append(b, p.Pattern, 0, 0, 0), p.Repetitions) }

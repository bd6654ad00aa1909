package smbtest

import (
	"errors"
	"fmt"

	"github.com/postern-nas/postern/smb/compress"
	"github.com/postern-nas/postern/smb/wire"
)

// Compression is what a Peer offers, and how it sends.
type Compression struct {
	Algorithms []uint16 // offered; none: no such context
	Chained    bool     // offered
	Send       bool     // send compressed, by the first algorithm that is no pattern
}

func (c *Compression) context() *wire.Compression {
	w := &wire.Compression{Algorithms: c.Algorithms}
	if c.Chained {
		w.Flags = wire.CompressionChained
	}
	return w
}

// Pack compresses a message: the header as it is, and everything behind it. A chain has each third of that as another
// part: compressed, as it is, and once more compressed, or as a pattern where it is one.
func (c *Compression) Pack(msg []byte) []byte {
	id := uint16(0)
	for _, a := range c.Algorithms {
		if a != wire.CompressionPatternV1 {
			id = a
			break
		}
	}
	head, data := msg[:wire.HeaderSize], msg[wire.HeaderSize:]
	if !c.Chained {
		h := wire.CompressionHeader{OriginalSize: uint32(len(data)), Algorithm: id, Offset: uint32(len(head))}
		return append(append(h.Append(nil), head...), encode(id, data)...)
	}
	b := wire.AppendCompressionChain(nil, uint32(len(msg)))
	b = (&wire.CompressionPayload{Flags: wire.CompressionFlagChained, Data: head}).Append(b)
	for n := 3; n > 0; n-- {
		part := data[:len(data)/n]
		data = data[len(part):]
		switch {
		case compress.Leading(part) == len(part) && len(part) > 0:
			p := wire.PatternV1{Pattern: part[0], Repetitions: uint32(len(part))}
			// Windows leaves in Flags what was there.
			b = (&wire.CompressionPayload{Algorithm: wire.CompressionPatternV1, Flags: 0x5A5A, Data: p.Append(nil)}).Append(b)
		case n == 2:
			b = (&wire.CompressionPayload{Data: part}).Append(b)
		default:
			b = (&wire.CompressionPayload{Algorithm: id, OriginalSize: uint32(len(part)), Data: encode(id, part)}).Append(b)
		}
	}
	return b
}

func encode(id uint16, data []byte) []byte {
	dst := make([]byte, 2*len(data)+1000)
	n := 0
	switch id {
	case wire.CompressionLZ77:
		n, _ = compress.EncodeLZ77(dst, data)
	case wire.CompressionLZ77Huffman:
		n, _ = compress.EncodeLZ77Huffman(dst, data)
	case wire.CompressionLZ4:
		n, _ = compress.EncodeLZ4(dst, data)
	case wire.CompressionLZNT1: // chunks that are not compressed
		for len(data) > 0 {
			chunk := data[:min(4096, len(data))]
			data = data[len(chunk):]
			head := 0x3000 | (len(chunk) - 1)
			dst[n], dst[n+1] = byte(head), byte(head>>8)
			n += 2 + copy(dst[n+2:], chunk)
		}
	}
	return dst[:n]
}

// Unpack decompresses a message, straight from the specification and without regard to who pays.
func (c *Compression) Unpack(msg []byte) ([]byte, error) {
	var h wire.CompressionHeader
	if err := h.Decode(msg); err != nil {
		return nil, err
	}
	if h.Flags&wire.CompressionFlagChained == 0 {
		data := msg[wire.CompressionHeaderSize:]
		plain, err := c.decode(h.Algorithm, h.OriginalSize, data[h.Offset:])
		return append(append([]byte(nil), data[:h.Offset]...), plain...), err
	}
	if !c.Chained {
		return nil, errors.New("a chain that was not offered")
	}
	var out []byte
	for rest := msg[wire.CompressionChainStart:]; len(rest) > 0; {
		var p wire.CompressionPayload
		var err error
		if rest, err = p.Decode(rest); err != nil {
			return nil, err
		}
		if first := len(out) == 0; first != (p.Flags == wire.CompressionFlagChained) {
			return nil, fmt.Errorf("flags %#x of a part, the first: %v", p.Flags, first)
		}
		part := p.Data
		if p.Algorithm != wire.CompressionNone {
			if part, err = c.decode(p.Algorithm, p.OriginalSize, p.Data); err != nil {
				return nil, err
			}
		}
		out = append(out, part...)
	}
	if len(out) != int(h.OriginalSize) {
		return nil, fmt.Errorf("chain of %d bytes, announced as %d", len(out), h.OriginalSize)
	}
	return out, nil
}

func (c *Compression) decode(id uint16, size uint32, data []byte) ([]byte, error) {
	offered := false
	for _, a := range c.Algorithms {
		offered = offered || a == id
	}
	if !offered {
		return nil, fmt.Errorf("algorithm %d was not offered", id)
	}
	out := make([]byte, size)
	switch id {
	case wire.CompressionLZ77:
		return out, compress.DecodeLZ77(out, data)
	case wire.CompressionLZ77Huffman:
		return out, compress.DecodeLZ77Huffman(out, data)
	case wire.CompressionLZ4:
		return out, compress.DecodeLZ4(out, data)
	case wire.CompressionLZNT1:
		return out, compress.DecodeLZNT1(out, data)
	case wire.CompressionPatternV1:
		var p wire.PatternV1
		if err := p.Decode(data); err != nil {
			return nil, err
		}
		out = make([]byte, p.Repetitions)
		for i := range out {
			out[i] = p.Pattern
		}
		return out, nil
	}
	return nil, fmt.Errorf("algorithm %d", id)
}

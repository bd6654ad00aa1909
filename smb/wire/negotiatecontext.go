package wire

import "github.com/postern-nas/postern/smb/cursor"

// Types of negotiate contexts, [MS-SMB2] 2.2.3.1.
const (
	ContextPreauthIntegrity      uint16 = 0x0001
	ContextEncryption            uint16 = 0x0002
	ContextCompression           uint16 = 0x0003
	ContextNetName               uint16 = 0x0005
	ContextTransportCapabilities uint16 = 0x0006
	ContextRDMATransform         uint16 = 0x0007
	ContextSigning               uint16 = 0x0008
	ContextPOSIX                 uint16 = 0x0100 // of the POSIX extensions; Linux clients send it
)

// Algorithms that negotiate contexts name, [MS-SMB2] 2.2.3.1.1 to 2.2.3.1.7.
const (
	HashSHA512 uint16 = 1

	CipherAES128CCM uint16 = 1
	CipherAES128GCM uint16 = 2
	CipherAES256CCM uint16 = 3
	CipherAES256GCM uint16 = 4

	CompressionNone        uint16 = 0
	CompressionLZNT1       uint16 = 1
	CompressionLZ77        uint16 = 2
	CompressionLZ77Huffman uint16 = 3
	CompressionPatternV1   uint16 = 4
	CompressionLZ4         uint16 = 5

	CompressionChained uint32 = 1 // flag

	TransportSecurity uint32 = 1 // flag: SMB2_ACCEPT_TRANSPORT_LEVEL_SECURITY

	RDMATransformNone       uint16 = 0
	RDMATransformEncryption uint16 = 1
	RDMATransformSigning    uint16 = 2

	SigningHMACSHA256 uint16 = 0
	SigningAESCMAC    uint16 = 1
	SigningAESGMAC    uint16 = 2
)

// A NegotiateContext is an element of the list in NEGOTIATE, [MS-SMB2] 2.2.3.1. Data is one of the types below.
type NegotiateContext struct {
	Type uint16
	Data []byte
}

// negotiateContextHead is the length of a context without data.
const negotiateContextHead = 8

// negotiateContexts reads count contexts at off. They come after what has been read so far.
func (d *body) negotiateContexts(off uint32, count uint16) []NegotiateContext {
	if count == 0 || d.Err() != nil {
		return nil
	}
	switch {
	case off%8 != 0:
		d.refuse("NegotiateContextOffset", "not 8-byte aligned")
	case uint64(off) < uint64(d.Offset()):
		d.refuse("NegotiateContextOffset", reasonOverlap)
	case uint64(off) > uint64(len(d.buf)):
		d.refuse("NegotiateContextOffset", reasonShort)
	}
	d.Seek(uint64(off))
	if int(count) > d.Len()/negotiateContextHead {
		d.refuse("NegotiateContextCount", reasonCount)
		return nil
	}
	list := make([]NegotiateContext, 0, min(count, 16))
	for i := range int(count) {
		if i > 0 {
			d.Align(8)
		}
		c := NegotiateContext{Type: d.U16()}
		n := int(d.U16())
		d.Skip(4)
		if c.Data = d.data(n); d.Err() != nil {
			return nil
		}
		list = append(list, c)
	}
	return list
}

// appendNegotiateContexts starts at an aligned place.
func appendNegotiateContexts(b []byte, list []NegotiateContext) []byte {
	base := len(b)
	for _, c := range list {
		b = pad8(b, base)
		b = u16(u16(b, c.Type), uint16(len(c.Data)))
		b = append(u32(b, 0), c.Data...)
	}
	return b
}

// PreauthIntegrity is [MS-SMB2] 2.2.3.1.1.
type PreauthIntegrity struct {
	HashAlgorithms []uint16
	Salt           []byte
}

func (c *PreauthIntegrity) Decode(data []byte) error {
	d := nested(data, "PREAUTH_INTEGRITY_CAPABILITIES", 4)
	n, salt := int(d.U16()), int(d.U16())
	c.HashAlgorithms = d.algorithms(n)
	c.Salt = d.data(salt)
	return d.done()
}

func (c *PreauthIntegrity) Append(b []byte) []byte {
	b = u16(u16(b, uint16(len(c.HashAlgorithms))), uint16(len(c.Salt)))
	return append(u16s(b, c.HashAlgorithms), c.Salt...)
}

// Encryption is [MS-SMB2] 2.2.3.1.2, the ciphers in order of preference. In a response the one cipher 0 means that
// there is none in common.
type Encryption struct{ Ciphers []uint16 }

func (c *Encryption) Decode(data []byte) error {
	d := nested(data, "ENCRYPTION_CAPABILITIES", 2)
	c.Ciphers = d.algorithms(int(d.U16()))
	return d.done()
}

func (c *Encryption) Append(b []byte) []byte {
	return u16s(u16(b, uint16(len(c.Ciphers))), c.Ciphers)
}

// Compression is [MS-SMB2] 2.2.3.1.3.
type Compression struct {
	Flags      uint32 // CompressionChained
	Algorithms []uint16
}

func (c *Compression) Decode(data []byte) error {
	d := nested(data, "COMPRESSION_CAPABILITIES", 8)
	n := int(d.U16())
	d.Skip(2)
	c.Flags = d.U32()
	c.Algorithms = d.algorithms(n)
	return d.done()
}

func (c *Compression) Append(b []byte) []byte {
	b = u16(u16(b, uint16(len(c.Algorithms))), 0)
	return u16s(u32(b, c.Flags), c.Algorithms)
}

// NetName is [MS-SMB2] 2.2.3.1.4: the server name that the client was told to connect to.
type NetName struct{ Name string }

func (c *NetName) Decode(data []byte) error {
	var err error
	if c.Name, err = cursor.UTF16(data); err != nil {
		return &Error{"NETNAME_NEGOTIATE_CONTEXT_ID", "NetName", err.Error()}
	}
	return nil
}

func (c *NetName) Append(b []byte) []byte { return cursor.AppendUTF16(b, c.Name) }

// TransportCapabilities is [MS-SMB2] 2.2.3.1.5.
type TransportCapabilities struct {
	Flags uint32 // TransportSecurity
}

func (c *TransportCapabilities) Decode(data []byte) error {
	d := nested(data, "TRANSPORT_CAPABILITIES", 4)
	c.Flags = d.U32()
	return d.done()
}

func (c *TransportCapabilities) Append(b []byte) []byte { return u32(b, c.Flags) }

// RDMATransform is [MS-SMB2] 2.2.3.1.6.
type RDMATransform struct{ Transforms []uint16 }

func (c *RDMATransform) Decode(data []byte) error {
	d := nested(data, "RDMA_TRANSFORM_CAPABILITIES", 8)
	n := int(d.U16())
	d.Skip(6)
	c.Transforms = d.algorithms(n)
	return d.done()
}

func (c *RDMATransform) Append(b []byte) []byte {
	b = u32(u16(u16(b, uint16(len(c.Transforms))), 0), 0)
	return u16s(b, c.Transforms)
}

// Signing is [MS-SMB2] 2.2.3.1.7, in order of preference.
type Signing struct{ Algorithms []uint16 }

func (c *Signing) Decode(data []byte) error {
	d := nested(data, "SIGNING_CAPABILITIES", 2)
	c.Algorithms = d.algorithms(int(d.U16()))
	return d.done()
}

func (c *Signing) Append(b []byte) []byte {
	return u16s(u16(b, uint16(len(c.Algorithms))), c.Algorithms)
}

// algorithms reads a list that must have an element, [MS-SMB2] 3.3.5.4.
func (d *body) algorithms(n int) []uint16 {
	if n == 0 {
		d.refuse("count", reasonEmpty)
	}
	return d.u16s("count", n)
}

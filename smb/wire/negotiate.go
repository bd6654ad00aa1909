package wire

import (
	"slices"

	"github.com/postern-nas/postern/smb/dtyp"
)

// Dialects, [MS-SMB2] 2.2.3 and 2.2.4.
const (
	Dialect202  uint16 = 0x0202
	Dialect210  uint16 = 0x0210
	Dialect300  uint16 = 0x0300
	Dialect302  uint16 = 0x0302
	Dialect311  uint16 = 0x0311
	DialectWild uint16 = 0x02FF // the answer to an SMB1 negotiation that offers "SMB 2.???"
)

// Capabilities of either side.
const (
	CapDFS               uint32 = 0x00000001
	CapLeasing           uint32 = 0x00000002
	CapLargeMTU          uint32 = 0x00000004
	CapMultiChannel      uint32 = 0x00000008
	CapPersistentHandles uint32 = 0x00000010
	CapDirectoryLeasing  uint32 = 0x00000020
	CapEncryption        uint32 = 0x00000040
	CapNotifications     uint32 = 0x00000080
)

// SecurityMode of NEGOTIATE (16 bits) and SESSION_SETUP (8 bits).
const (
	SigningEnabled  = 1
	SigningRequired = 2
)

// A NegotiateRequest is [MS-SMB2] 2.2.3. Contexts are there if Dialects has Dialect311, ClientStartTime otherwise.
// Dialects may come out empty: that, too, is STATUS_INVALID_PARAMETER, [MS-SMB2] 3.3.5.4.
type NegotiateRequest struct {
	SecurityMode    uint16
	Reserved        uint16
	Capabilities    uint32
	ClientGUID      dtyp.GUID
	ClientStartTime dtyp.Filetime
	Dialects        []uint16
	Contexts        []NegotiateContext
}

func (r *NegotiateRequest) Decode(msg []byte) error {
	d := open(msg, "NEGOTIATE request", 36)
	n := int(d.U16())
	r.SecurityMode = d.U16()
	r.Reserved = d.U16()
	r.Capabilities = d.U32()
	r.ClientGUID = d.bytes16()
	last := d.U64() // one of two things, as the dialects will tell
	r.Dialects = d.u16s("DialectCount", n)
	r.ClientStartTime, r.Contexts = 0, nil
	if slices.Contains(r.Dialects, Dialect311) {
		r.Contexts = d.negotiateContexts(uint32(last), uint16(last>>32))
	} else {
		r.ClientStartTime = dtyp.Filetime(last)
	}
	return d.done()
}

func (r *NegotiateRequest) Append(b []byte) []byte {
	base := len(b) - HeaderSize
	b = u16(u16(b, 36), uint16(len(r.Dialects)))
	b = u16(b, r.SecurityMode)
	b = u16(b, r.Reserved)
	b = u32(b, r.Capabilities)
	b = append(b, r.ClientGUID[:]...)
	b = u64(b, uint64(r.ClientStartTime))
	b = u16s(b, r.Dialects)
	if slices.Contains(r.Dialects, Dialect311) {
		if len(r.Contexts) > 0 {
			b = pad8(b, base)
		}
		le.PutUint64(b[base+HeaderSize+28:], uint64(len(r.Contexts))<<32)
		if len(r.Contexts) > 0 {
			le.PutUint32(b[base+HeaderSize+28:], uint32(len(b)-base))
		}
		b = appendNegotiateContexts(b, r.Contexts)
	}
	return b
}

// A NegotiateResponse is [MS-SMB2] 2.2.4. Contexts are there if Dialect is Dialect311.
type NegotiateResponse struct {
	SecurityMode    uint16
	Dialect         uint16
	ServerGUID      dtyp.GUID
	Capabilities    uint32
	MaxTransact     uint32
	MaxRead         uint32
	MaxWrite        uint32
	SystemTime      dtyp.Filetime
	ServerStartTime dtyp.Filetime
	SecurityBuffer  []byte
	Contexts        []NegotiateContext
}

func (r *NegotiateResponse) Decode(msg []byte) error {
	d := open(msg, "NEGOTIATE response", 65)
	r.SecurityMode = d.U16()
	r.Dialect = d.U16()
	count := d.U16()
	r.ServerGUID = d.bytes16()
	r.Capabilities = d.U32()
	r.MaxTransact = d.U32()
	r.MaxRead = d.U32()
	r.MaxWrite = d.U32()
	r.SystemTime = dtyp.Filetime(d.U64())
	r.ServerStartTime = dtyp.Filetime(d.U64())
	off, n := d.U16(), d.U16()
	ctx := d.U32()
	r.SecurityBuffer = d.at("SecurityBufferOffset", uint32(off), uint32(n))
	r.Contexts = nil
	if r.Dialect == Dialect311 {
		r.Contexts = d.negotiateContexts(ctx, count)
	}
	return d.done()
}

func (r *NegotiateResponse) Append(b []byte) []byte {
	base := len(b) - HeaderSize
	contexts := r.Contexts
	if r.Dialect != Dialect311 {
		contexts = nil
	}
	b = u16(b, 65)
	b = u16(b, r.SecurityMode)
	b = u16(b, r.Dialect)
	b = u16(b, uint16(len(contexts)))
	b = append(b, r.ServerGUID[:]...)
	b = u32(b, r.Capabilities)
	b = u32(b, r.MaxTransact)
	b = u32(b, r.MaxRead)
	b = u32(b, r.MaxWrite)
	b = u64(b, uint64(r.SystemTime))
	b = u64(b, uint64(r.ServerStartTime))
	b = u16(u16(b, HeaderSize+64), uint16(len(r.SecurityBuffer)))
	b = u32(b, 0)
	b = append(b, r.SecurityBuffer...)
	if len(contexts) > 0 {
		b = pad8(b, base)
		le.PutUint32(b[base+HeaderSize+60:], uint32(len(b)-base))
		b = appendNegotiateContexts(b, contexts)
	}
	return b
}

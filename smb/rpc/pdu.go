package rpc

import (
	"encoding/binary"
	"fmt"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
)

// PDU types, C706 12.6.4.
const (
	ptRequest      = 0
	ptResponse     = 2
	ptFault        = 3
	ptBind         = 11
	ptBindAck      = 12
	ptBindNak      = 13
	ptAlterContext = 14
	ptAlterResp    = 15
	ptAuth3        = 16
	ptCancel       = 18
	ptOrphaned     = 19
)

// Flags of a PDU, C706 12.6.3.1.
const (
	pfFirst         = 0x01
	pfLast          = 0x02
	pfDidNotExecute = 0x20
	pfObject        = 0x80
)

const (
	headerSize = 16
	// minFragment is what every implementation must take, maxFragment what Windows and we take; C706 12.6.3.1.
	minFragment = 1432
	maxFragment = 5840
)

// A header begins every PDU, C706 12.6.3.1.
type header struct {
	major, minor   uint8
	ptype, flags   uint8
	little         bool // data representation: little-endian, ASCII, IEEE
	length, authed uint16
	call           uint32
}

func decodeHeader(b []byte) header {
	r := cursor.New(b)
	h := header{major: r.U8(), minor: r.U8(), ptype: r.U8(), flags: r.U8()}
	h.little = r.U32() == 0x10
	h.length, h.authed, h.call = r.U16(), r.U16(), r.U32()
	return h
}

// appendPDU appends a PDU without authentication around body.
func appendPDU(b []byte, ptype, flags uint8, call uint32, body []byte) []byte {
	b = append(b, 5, 0, ptype, flags, 0x10, 0, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(headerSize+len(body)))
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, call)
	return append(b, body...)
}

// A syntax is an interface or an encoding with its version, C706 12.6.3.1.
type syntax struct {
	uuid         dtyp.GUID
	major, minor uint16
}

// ndr is the one transfer syntax we speak: NDR with 32-bit alignment, version 2.
var ndr = syntax{dtyp.MustGUID("8a885d04-1ceb-11c9-9fe8-08002b104860"), 2, 0}

// features is the transfer syntax that is none: bind time feature negotiation, [MS-RPCE] 2.2.2.14. Its last eight
// bytes are bits that the client offers.
var features = dtyp.MustGUID("6cb71c2c-9812-4540-0000-000000000000")

// ourFeatures are multiplexed security contexts and connections that survive an orphaned call.
const ourFeatures = 0x03

func readSyntax(r *cursor.Reader) (s syntax) {
	copy(s.uuid[:], r.Bytes(16))
	s.major, s.minor = r.U16(), r.U16()
	return s
}

func appendSyntax(b []byte, s syntax) []byte {
	b = append(b, s.uuid[:]...)
	b = binary.LittleEndian.AppendUint16(b, s.major)
	return binary.LittleEndian.AppendUint16(b, s.minor)
}

// A proposal is one presentation context that a client asks for.
type proposal struct {
	id        uint16
	abstract  syntax
	transfers []syntax
}

// A bind is the body of BIND and ALTER_CONTEXT, C706 12.6.4.3.
type bind struct {
	maxXmit, maxRecv uint16
	group            uint32
	proposals        []proposal
}

// decodeBind reads the body of a BIND. The PDU's size bounds what it allocates.
func decodeBind(b []byte) (bind, error) {
	r := cursor.New(b)
	d := bind{maxXmit: r.U16(), maxRecv: r.U16(), group: r.U32()}
	n := int(r.U8())
	r.Skip(3)
	for range n {
		p := proposal{id: r.U16()}
		transfers := int(r.U8())
		r.Skip(1)
		p.abstract = readSyntax(r)
		if r.Len() < 20*transfers {
			r.Fail(cursor.ErrShort)
			break
		}
		for range transfers {
			p.transfers = append(p.transfers, readSyntax(r))
		}
		d.proposals = append(d.proposals, p)
	}
	return d, r.Err()
}

// Results and reasons of a presentation context, C706 12.6.3.1 and [MS-RPCE] 2.2.2.4.
const (
	resultAccept       = 0
	resultReject       = 2 // by the provider
	resultNegotiateAck = 3

	reasonAbstract  = 1
	reasonTransfers = 2
	reasonLimit     = 3
)

// Reasons of a BIND_NAK, C706 12.6.3.1 and [MS-RPCE] 2.2.2.5.
const (
	nakNotSpecified = 0
	nakVersion      = 4
	nakAuthType     = 8
)

// A result answers a proposal.
type result struct {
	result, reason uint16
	transfer       syntax
}

// appendBindAck appends the body of BIND_ACK or ALTER_CONTEXT_RESP, C706 12.6.4.4.
func appendBindAck(b []byte, d bind, endpoint string, results []result) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint16(b, d.maxXmit)
	b = binary.LittleEndian.AppendUint16(b, d.maxRecv)
	b = binary.LittleEndian.AppendUint32(b, d.group)
	if endpoint == "" {
		b = append(b, 0, 0)
	} else {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(endpoint)+1))
		b = append(append(b, endpoint...), 0)
	}
	for (len(b)-start)%4 != 0 {
		b = append(b, 0)
	}
	b = append(b, byte(len(results)), 0, 0, 0)
	for _, r := range results {
		b = binary.LittleEndian.AppendUint16(b, r.result)
		b = binary.LittleEndian.AppendUint16(b, r.reason)
		b = appendSyntax(b, r.transfer)
	}
	return b
}

// A Fault is a status that an RPC fault carries, C706 appendix E and [MS-RPCE] 3.1.1.5.5.
type Fault uint32

// Faults.
const (
	FaultUnspecified  Fault = 0x1C000012 // nca_s_fault_unspec
	FaultOpRange      Fault = 0x1C010002 // nca_s_op_rng_error
	FaultBadContext   Fault = 0x1C00001A // nca_s_fault_context_mismatch: no such handle
	FaultUnknownIf    Fault = 0x1C010003 // nca_s_unk_if
	FaultInvalidTag   Fault = 0x000006C5 // RPC_S_INVALID_TAG
	FaultBadStub      Fault = 0x000006F7 // RPC_X_BAD_STUB_DATA
	FaultAccessDenied Fault = 0x00000005
)

func (f Fault) Error() string { return fmt.Sprintf("RPC fault 0x%08X", uint32(f)) }

// executed reports whether the operation may have run before the fault.
func (f Fault) executed() bool { return f == FaultUnspecified || f == FaultAccessDenied }

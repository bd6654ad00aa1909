package ntlm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
)

// NEGOTIATE flags, [MS-NLMP] 2.2.2.5.
const (
	flagUnicode       = 0x00000001
	flagRequestTarget = 0x00000004
	flagSign          = 0x00000010
	flagSeal          = 0x00000020
	flagNTLM          = 0x00000200
	flagAlwaysSign    = 0x00008000
	flagTargetServer  = 0x00020000
	flagESS           = 0x00080000 // extended session security
	flagTargetInfo    = 0x00800000
	flagVersion       = 0x02000000
	flag128           = 0x20000000
	flagKeyExch       = 0x40000000
	flag56            = 0x80000000

	// flagsRequired are those without which there is no NTLMv2 session with a 128-bit key that the client
	// chose. Every client of this century sends them.
	flagsRequired = flagUnicode | flagNTLM | flagESS | flag128 | flagKeyExch
	// flagsEchoed are agreed to when the client proposes them.
	flagsEchoed = flagsRequired | flagRequestTarget | flagSign | flagSeal | flagAlwaysSign | flagVersion | flag56
)

const (
	typeNegotiate    = 1
	typeChallenge    = 2
	typeAuthenticate = 3

	maxNegotiate = 4 << 10  // kept until the exchange ends
	maxMessage   = 64 << 10 // as SPNEGO's
	maxName      = 1 << 10  // bytes of a user's, domain's or workstation's name
	maxAVPairs   = 64

	offMIC = 72
	lenMIC = 16
)

var signature = [8]byte{'N', 'T', 'L', 'M', 'S', 'S', 'P', 0}

var (
	errMessage = errors.New("malformed NTLM message")
	errAVPairs = errors.New("malformed AV pairs")
)

// header checks what all messages begin with.
func header(r *cursor.Reader, typ uint32) {
	sig := r.Bytes(len(signature))
	if r.U32() != typ || string(sig) != string(signature[:]) {
		r.Fail(errMessage)
	}
}

// parseNegotiate returns the flags of a NEGOTIATE_MESSAGE, [MS-NLMP] 2.2.1.1. The names in it are hints before
// Unicode is agreed on and nobody reads them; some clients leave them out altogether.
func parseNegotiate(b []byte) (flags uint32, err error) {
	r := cursor.New(b)
	header(r, typeNegotiate)
	flags = r.U32()
	if err := r.Err(); err != nil {
		return 0, fmt.Errorf("NEGOTIATE: %w", err)
	}
	return flags, nil
}

// AV pairs, [MS-NLMP] 2.2.2.1.
const (
	avEOL             = 0
	avNbComputerName  = 1
	avNbDomainName    = 2
	avDNSComputerName = 3
	avDNSDomainName   = 4
	avFlags           = 6
	avTimestamp       = 7
	avTargetName      = 9
	avChannelBindings = 10

	avFlagMIC = 0x00000002
)

// appendChallenge encodes a CHALLENGE_MESSAGE, [MS-NLMP] 2.2.1.2.
func appendChallenge(c Config, flags uint32, challenge [8]byte, now dtyp.Filetime) []byte {
	const fixed = 56
	name := cursor.AppendUTF16(nil, c.Computer)
	var info []byte
	av := func(id uint16, value []byte) {
		info = binary.LittleEndian.AppendUint16(info, id)
		info = binary.LittleEndian.AppendUint16(info, uint16(len(value)))
		info = append(info, value...)
	}
	av(avNbDomainName, cursor.AppendUTF16(nil, c.Domain))
	av(avNbComputerName, name)
	av(avDNSDomainName, cursor.AppendUTF16(nil, c.DNSDomain))
	av(avDNSComputerName, cursor.AppendUTF16(nil, c.DNSName))
	av(avTimestamp, binary.LittleEndian.AppendUint64(nil, uint64(now)))
	av(avEOL, nil)

	b := append([]byte(nil), signature[:]...)
	b = binary.LittleEndian.AppendUint32(b, typeChallenge)
	b = appendField(b, len(name), fixed)
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = append(b, challenge[:]...)
	b = append(b, make([]byte, 8)...)
	b = appendField(b, len(info), fixed+len(name))
	b = append(b, 10, 0, 0, 0, 0, 0, 0, 15) // Windows 10, NTLMSSP_REVISION_W2K3: names no build
	b = append(b, name...)
	return append(b, info...)
}

// appendField encodes Len, MaxLen and BufferOffset.
func appendField(b []byte, n, off int) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(n))
	b = binary.LittleEndian.AppendUint16(b, uint16(n))
	return binary.LittleEndian.AppendUint32(b, uint32(off))
}

// An authenticate is an AUTHENTICATE_MESSAGE, [MS-NLMP] 2.2.1.3. Its slices alias the message.
type authenticate struct {
	lm, nt      []byte
	domain      string
	domainRaw   []byte
	user        string
	workstation string
	sessionKey  []byte // EncryptedRandomSessionKey
	flags       uint32
}

func parseAuthenticate(b []byte) (a authenticate, err error) {
	r := cursor.New(b)
	header(r, typeAuthenticate)
	a.lm = field(r)
	a.nt = field(r)
	a.domainRaw = field(r)
	user := field(r)
	workstation := field(r)
	a.sessionKey = field(r)
	a.flags = r.U32()
	if err := r.Err(); err != nil {
		return a, fmt.Errorf("AUTHENTICATE: %w", err)
	}
	if a.flags&flagUnicode == 0 {
		return a, fmt.Errorf("AUTHENTICATE: %w: not in Unicode", errMessage)
	}
	for _, name := range []struct {
		raw []byte
		to  *string
	}{{a.domainRaw, &a.domain}, {user, &a.user}, {workstation, &a.workstation}} {
		if len(name.raw) > maxName {
			return a, fmt.Errorf("AUTHENTICATE: %w: name of %d bytes", errMessage, len(name.raw))
		}
		if *name.to, err = cursor.UTF16(name.raw); err != nil {
			return a, fmt.Errorf("AUTHENTICATE: %w", err)
		}
	}
	return a, nil
}

// field reads Len, MaxLen and BufferOffset and returns what they point at.
func field(r *cursor.Reader) []byte {
	n := r.U16()
	r.Skip(2)
	return r.At(uint64(r.U32()), uint64(n))
}

// An ntlmv2 is an NTLMv2_RESPONSE, [MS-NLMP] 2.2.2.8.
type ntlmv2 struct {
	proof    []byte // NTProofStr
	temp     []byte // the rest: NTLMv2_CLIENT_CHALLENGE, what the proof is made over
	flags    uint32 // MsvAvFlags
	target   string // MsvAvTargetName
	bindings []byte // MsvAvChannelBindings; nil when absent or all zero
}

func parseNTLMv2(b []byte) (v ntlmv2, err error) {
	r := cursor.New(b)
	v.proof = r.Bytes(16)
	v.temp = b[r.Offset():]
	respType, hiRespType := r.U8(), r.U8()
	r.Skip(6 + 8 + 8 + 4) // reserved, timestamp, the client's challenge, reserved
	if respType != 1 || hiRespType != 1 {
		r.Fail(errMessage)
	}
	seen := map[uint16]bool{}
	for r.Err() == nil {
		id, n := r.U16(), r.U16()
		value := r.Bytes(int(n))
		switch {
		case r.Err() != nil:
		case id == avEOL:
			return v, nil // clients pad behind it
		case seen[id] || len(seen) == maxAVPairs:
			r.Fail(errAVPairs)
		case id == avFlags:
			if n != 4 {
				r.Fail(errAVPairs)
				break
			}
			v.flags = binary.LittleEndian.Uint32(value)
		case id == avTargetName:
			if v.target, err = cursor.UTF16(value); err != nil {
				r.Fail(errAVPairs)
			}
		case id == avChannelBindings:
			if n != 16 {
				r.Fail(errAVPairs)
				break
			}
			if string(value) != string(make([]byte, 16)) {
				v.bindings = value
			}
		}
		seen[id] = true
	}
	return v, fmt.Errorf("NTLMv2 response: %w", r.Err())
}

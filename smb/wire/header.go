package wire

import (
	"strconv"

	"github.com/postern-nas/postern/smb/nt"
)

// HeaderSize is the length of the SMB2 header, [MS-SMB2] 2.2.1.
const HeaderSize = 64

// What a message starts with, as a little-endian number.
const (
	ProtocolSMB1       uint32 = 0x424D53FF // 0xFF 'S' 'M' 'B'
	ProtocolSMB2       uint32 = 0x424D53FE
	ProtocolTransform  uint32 = 0x424D53FD
	ProtocolCompressed uint32 = 0x424D53FC
)

// Protocol returns what b starts with, or 0 if b is too short to say.
func Protocol(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return le.Uint32(b)
}

// A Command is the operation of a message.
type Command uint16

// The commands, [MS-SMB2] 2.2.1.2.
const (
	CmdNegotiate Command = iota
	CmdSessionSetup
	CmdLogoff
	CmdTreeConnect
	CmdTreeDisconnect
	CmdCreate
	CmdClose
	CmdFlush
	CmdRead
	CmdWrite
	CmdLock
	CmdIoctl
	CmdCancel
	CmdEcho
	CmdQueryDirectory
	CmdChangeNotify
	CmdQueryInfo
	CmdSetInfo
	CmdOplockBreak
	CmdServerNotification // server to client only
)

var commandNames = [...]string{
	"NEGOTIATE", "SESSION_SETUP", "LOGOFF", "TREE_CONNECT", "TREE_DISCONNECT", "CREATE", "CLOSE", "FLUSH", "READ", "WRITE",
	"LOCK", "IOCTL", "CANCEL", "ECHO", "QUERY_DIRECTORY", "CHANGE_NOTIFY", "QUERY_INFO", "SET_INFO", "OPLOCK_BREAK",
	"SERVER_TO_CLIENT_NOTIFICATION",
}

func (c Command) String() string {
	if int(c) < len(commandNames) {
		return commandNames[c]
	}
	return "command " + strconv.Itoa(int(c))
}

// Flags are the flags of a header.
type Flags uint32

const (
	FlagServerToRedir Flags = 0x00000001 // a response
	FlagAsync         Flags = 0x00000002
	FlagRelated       Flags = 0x00000004
	FlagSigned        Flags = 0x00000008
	FlagPriorityMask  Flags = 0x00000070 // 3.1.1
	FlagDFS           Flags = 0x10000000
	FlagReplay        Flags = 0x20000000 // 3.x
)

// A Header is the SMB2 header, [MS-SMB2] 2.2.1.1 and 2.2.1.2. With FlagAsync it has an AsyncID and no TreeID.
type Header struct {
	CreditCharge uint16
	Status       nt.Status // in a request: see ChannelSequence
	Command      Command
	Credits      uint16
	Flags        Flags
	NextCommand  uint32
	MessageID    uint64
	AsyncID      uint64
	TreeID       uint32
	SessionID    uint64
	Signature    [16]byte
}

// ChannelSequence is what a request has in place of the status (3.x).
func (h *Header) ChannelSequence() uint16 { return uint16(h.Status) }

// Decode reads the header at the start of b. NextCommand is checked by Cut.
func (h *Header) Decode(b []byte) error {
	d := nested(b, "header", HeaderSize)
	if d.U32() != ProtocolSMB2 {
		d.refuse("ProtocolId", "not SMB2")
	}
	if d.U16() != HeaderSize {
		d.refuse("StructureSize", "wrong")
	}
	h.CreditCharge = d.U16()
	h.Status = nt.Status(d.U32())
	h.Command = Command(d.U16())
	h.Credits = d.U16()
	h.Flags = Flags(d.U32())
	h.NextCommand = d.U32()
	h.MessageID = d.U64()
	h.AsyncID, h.TreeID = 0, 0
	if h.Flags&FlagAsync != 0 {
		h.AsyncID = d.U64()
	} else {
		d.Skip(4)
		h.TreeID = d.U32()
	}
	h.SessionID = d.U64()
	h.Signature = d.bytes16()
	return d.done()
}

// Append appends the 64 bytes of h.
func (h *Header) Append(b []byte) []byte {
	b = u16(u32(b, ProtocolSMB2), HeaderSize)
	b = u16(b, h.CreditCharge)
	b = u32(b, uint32(h.Status))
	b = u16(b, uint16(h.Command))
	b = u16(b, h.Credits)
	b = u32(b, uint32(h.Flags))
	b = u32(b, h.NextCommand)
	b = u64(b, h.MessageID)
	if h.Flags&FlagAsync != 0 {
		b = u64(b, h.AsyncID)
	} else {
		b = u32(u32(b, 0), h.TreeID)
	}
	b = u64(b, h.SessionID)
	return append(b, h.Signature[:]...)
}

// The Put functions patch the header at the start of an encoded message, which must be there whole.

func PutStatus(msg []byte, s nt.Status)       { le.PutUint32(msg[8:], uint32(s)) }
func PutCredits(msg []byte, n uint16)         { le.PutUint16(msg[14:], n) }
func PutFlags(msg []byte, f Flags)            { le.PutUint32(msg[16:], uint32(f)) }
func PutNextCommand(msg []byte, n uint32)     { le.PutUint32(msg[20:], n) }
func PutSignature(msg []byte, sig [16]byte)   { copy(msg[48:HeaderSize], sig[:]) }
func PutSessionID(msg []byte, id uint64)      { le.PutUint64(msg[40:], id) }
func PutMessageID(msg []byte, id uint64)      { le.PutUint64(msg[24:], id) }
func PutTreeID(msg []byte, id uint32)         { le.PutUint32(msg[36:], id) }
func PutCreditCharge(msg []byte, n uint16)    { le.PutUint16(msg[6:], n) }
func PutChannelSequence(msg []byte, n uint16) { le.PutUint16(msg[8:], n) }

// smallest is a header and the StructureSize of a body.
const smallest = HeaderSize + 2

// Cut divides a compound at the NextCommand of its first message, [MS-SMB2] 3.3.5.2.7. first has the padding that
// follows it; rest is nil after the last message. Both are long enough for a header and a StructureSize.
func Cut(msg []byte) (first, rest []byte, err error) {
	if len(msg) < smallest {
		return nil, nil, &Error{"compound", "", reasonShort}
	}
	next := uint64(le.Uint32(msg[20:]))
	switch size := uint64(len(msg)); {
	case next == 0:
		return msg[:size:size], nil, nil
	case next%8 != 0:
		return nil, nil, &Error{"compound", "NextCommand", "not 8-byte aligned"}
	case next < smallest:
		return nil, nil, &Error{"compound", "NextCommand", "points into its own message"}
	case next > size || size-next < smallest:
		return nil, nil, &Error{"compound", "NextCommand", reasonShort}
	}
	return msg[:next:next], msg[next:], nil
}

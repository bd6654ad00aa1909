package wire

// Flags of a SESSION_SETUP request.
const SessionBinding uint8 = 1

// Flags of a session, [MS-SMB2] 2.2.6.
const (
	SessionFlagGuest       uint16 = 1
	SessionFlagNull        uint16 = 2
	SessionFlagEncryptData uint16 = 4
)

// A SessionSetupRequest is [MS-SMB2] 2.2.5.
type SessionSetupRequest struct {
	Flags             uint8 // SessionBinding
	SecurityMode      uint8
	Capabilities      uint32
	Channel           uint32
	PreviousSessionID uint64
	SecurityBuffer    []byte
}

func (r *SessionSetupRequest) Decode(msg []byte) error {
	d := open(msg, "SESSION_SETUP request", 25)
	r.Flags = d.U8()
	r.SecurityMode = d.U8()
	r.Capabilities = d.U32()
	r.Channel = d.U32()
	off, n := d.U16(), d.U16()
	r.PreviousSessionID = d.U64()
	r.SecurityBuffer = d.at("SecurityBufferOffset", uint32(off), uint32(n))
	return d.done()
}

func (r *SessionSetupRequest) Append(b []byte) []byte {
	b = append(u16(b, 25), r.Flags, r.SecurityMode)
	b = u32(b, r.Capabilities)
	b = u32(b, r.Channel)
	b = u16(u16(b, HeaderSize+24), uint16(len(r.SecurityBuffer)))
	b = u64(b, r.PreviousSessionID)
	return variable(b, r.SecurityBuffer)
}

// A SessionSetupResponse is [MS-SMB2] 2.2.6.
type SessionSetupResponse struct {
	SessionFlags   uint16
	SecurityBuffer []byte
}

func (r *SessionSetupResponse) Decode(msg []byte) error {
	d := open(msg, "SESSION_SETUP response", 9)
	r.SessionFlags = d.U16()
	off, n := d.U16(), d.U16()
	r.SecurityBuffer = d.at("SecurityBufferOffset", uint32(off), uint32(n))
	return d.done()
}

func (r *SessionSetupResponse) Append(b []byte) []byte {
	b = u16(u16(b, 9), r.SessionFlags)
	b = u16(u16(b, HeaderSize+8), uint16(len(r.SecurityBuffer)))
	return append(b, r.SecurityBuffer...)
}

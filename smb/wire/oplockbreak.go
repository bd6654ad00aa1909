package wire

// BreakMessageID is the MessageID of notifications: the server speaks unasked.
const BreakMessageID = ^uint64(0)

// Lengths by which the bodies of OPLOCK_BREAK are told apart, [MS-SMB2] 2.2.23 to 2.2.25.
const (
	oplockBreakSize       = 24
	leaseNotificationSize = 44
	leaseAckSize          = 36
)

// IsLeaseBreak reports whether the OPLOCK_BREAK message is about a lease.
func IsLeaseBreak(msg []byte) bool {
	if len(msg) < smallest {
		return false
	}
	n := le.Uint16(msg[HeaderSize:])
	return n == leaseNotificationSize || n == leaseAckSize
}

// An OplockBreak is the notification, the acknowledgment and the response to it, [MS-SMB2] 2.2.23.1, 2.2.24.1,
// 2.2.25.1: all alike.
type OplockBreak struct {
	OplockLevel uint8
	FileID      FileID
}

func (r *OplockBreak) Decode(msg []byte) error {
	d := open(msg, "OPLOCK_BREAK", oplockBreakSize)
	r.OplockLevel = d.U8()
	d.Skip(5)
	r.FileID = d.fileID()
	return d.done()
}

func (r *OplockBreak) Append(b []byte) []byte {
	b = append(u16(b, oplockBreakSize), r.OplockLevel, 0)
	return fileID(u32(b, 0), r.FileID)
}

// LeaseAckRequired is the flag of a LeaseBreakNotification.
const LeaseAckRequired uint32 = 1

// A LeaseBreakNotification is [MS-SMB2] 2.2.23.2.
type LeaseBreakNotification struct {
	NewEpoch     uint16
	Flags        uint32
	Key          [16]byte
	CurrentState uint32
	NewState     uint32
}

func (r *LeaseBreakNotification) Decode(msg []byte) error {
	d := open(msg, "lease break notification", leaseNotificationSize)
	r.NewEpoch = d.U16()
	r.Flags = d.U32()
	r.Key = d.bytes16()
	r.CurrentState = d.U32()
	r.NewState = d.U32()
	return d.done()
}

func (r *LeaseBreakNotification) Append(b []byte) []byte {
	b = u32(u16(u16(b, leaseNotificationSize), r.NewEpoch), r.Flags)
	b = append(b, r.Key[:]...)
	b = u32(u32(b, r.CurrentState), r.NewState)
	return append(b, make([]byte, 12)...) // BreakReason and two hints, all zero by decree
}

// A LeaseBreakAck is the acknowledgment and the response to it, [MS-SMB2] 2.2.24.2, 2.2.25.2.
type LeaseBreakAck struct {
	Flags uint32
	Key   [16]byte
	State uint32
}

func (r *LeaseBreakAck) Decode(msg []byte) error {
	d := open(msg, "lease break acknowledgment", leaseAckSize)
	d.Skip(2)
	r.Flags = d.U32()
	r.Key = d.bytes16()
	r.State = d.U32()
	return d.done()
}

func (r *LeaseBreakAck) Append(b []byte) []byte {
	b = append(u32(u32(b, leaseAckSize), r.Flags), r.Key[:]...)
	return u64(u32(b, r.State), 0)
}

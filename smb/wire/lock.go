package wire

// Flags of a LockElement, [MS-SMB2] 2.2.26.1.
const (
	LockShared          uint32 = 0x01
	LockExclusive       uint32 = 0x02
	LockUnlock          uint32 = 0x04
	LockFailImmediately uint32 = 0x10
)

// A LockElement is a range to lock or unlock.
type LockElement struct {
	Offset, Length uint64
	Flags          uint32
}

// A LockRequest is [MS-SMB2] 2.2.26. It has at least one lock.
type LockRequest struct {
	Sequence uint32 // number in the low 4 bits, index above
	FileID   FileID
	Locks    []LockElement
}

const lockFixed, lockElement = 24, 24

func (r *LockRequest) Decode(msg []byte) error {
	d := open(msg, "LOCK request", lockFixed+lockElement)
	n := int(d.U16())
	r.Sequence = d.U32()
	r.FileID = d.fileID()
	r.Locks = nil
	switch {
	case d.Err() != nil:
		return d.done()
	case n == 0:
		d.refuse("LockCount", reasonEmpty)
	case n > d.Len()/lockElement:
		d.refuse("LockCount", reasonCount)
	default:
		r.Locks = make([]LockElement, n)
	}
	for i := range r.Locks {
		r.Locks[i] = LockElement{d.U64(), d.U64(), d.U32()}
		d.Skip(4)
	}
	return d.done()
}

func (r *LockRequest) Append(b []byte) []byte {
	b = u16(u16(b, lockFixed+lockElement), uint16(len(r.Locks)))
	b = fileID(u32(b, r.Sequence), r.FileID)
	for _, l := range r.Locks {
		b = u32(u32(u64(u64(b, l.Offset), l.Length), l.Flags), 0)
	}
	return b
}

// A LockResponse is [MS-SMB2] 2.2.27. It says nothing.
type LockResponse struct{}

func (*LockResponse) Decode(msg []byte) error { return decodeBare(msg, "LOCK response") }

func (*LockResponse) Append(b []byte) []byte { return appendBare(b) }

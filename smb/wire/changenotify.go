package wire

// NotifyWatchTree is the flag of a CHANGE_NOTIFY request: whatever is below, too.
const NotifyWatchTree uint16 = 1

// Completion filter of a CHANGE_NOTIFY request, [MS-SMB2] 2.2.35.
const (
	NotifyFileName    uint32 = 0x00000001
	NotifyDirName     uint32 = 0x00000002
	NotifyAttributes  uint32 = 0x00000004
	NotifySize        uint32 = 0x00000008
	NotifyLastWrite   uint32 = 0x00000010
	NotifyLastAccess  uint32 = 0x00000020
	NotifyCreation    uint32 = 0x00000040
	NotifyEA          uint32 = 0x00000080
	NotifySecurity    uint32 = 0x00000100
	NotifyStreamName  uint32 = 0x00000200
	NotifyStreamSize  uint32 = 0x00000400
	NotifyStreamWrite uint32 = 0x00000800
)

// A ChangeNotifyRequest is [MS-SMB2] 2.2.35.
type ChangeNotifyRequest struct {
	Flags              uint16
	OutputBufferLength uint32
	FileID             FileID
	CompletionFilter   uint32
}

func (r *ChangeNotifyRequest) Decode(msg []byte) error {
	d := open(msg, "CHANGE_NOTIFY request", 32)
	r.Flags = d.U16()
	r.OutputBufferLength = d.U32()
	r.FileID = d.fileID()
	r.CompletionFilter = d.U32()
	return d.done()
}

func (r *ChangeNotifyRequest) Append(b []byte) []byte {
	b = u32(u16(u16(b, 32), r.Flags), r.OutputBufferLength)
	return u32(u32(fileID(b, r.FileID), r.CompletionFilter), 0)
}

// A ChangeNotifyResponse is [MS-SMB2] 2.2.36.
type ChangeNotifyResponse struct{ Buffer []byte }

func (r *ChangeNotifyResponse) Decode(msg []byte) (err error) {
	r.Buffer, err = decodeOutput(msg, "CHANGE_NOTIFY response")
	return err
}

func (r *ChangeNotifyResponse) Append(b []byte) []byte { return appendOutput(b, r.Buffer) }

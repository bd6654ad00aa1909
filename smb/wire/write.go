package wire

// Flags of a WRITE request.
const (
	WriteThrough    uint32 = 1 // 2.1 and later
	WriteUnbuffered uint32 = 2 // 3.0.2 and later
)

// A WriteRequest is [MS-SMB2] 2.2.21. With an RDMA channel Data is empty and RemainingBytes says how much.
type WriteRequest struct {
	Offset         uint64
	FileID         FileID
	Channel        uint32
	RemainingBytes uint32
	ChannelInfo    []byte
	Flags          uint32
	Data           []byte
}

func (r *WriteRequest) Decode(msg []byte) error {
	d := open(msg, "WRITE request", 49)
	off, n := d.U16(), d.U32()
	r.Offset = d.U64()
	r.FileID = d.fileID()
	r.Channel = d.U32()
	r.RemainingBytes = d.U32()
	infoOff, infoLen := d.U16(), d.U16()
	r.Flags = d.U32()
	r.Data = d.at("DataOffset", uint32(off), n)
	r.ChannelInfo = d.at("WriteChannelInfoOffset", uint32(infoOff), uint32(infoLen))
	return d.done()
}

// Append puts the channel information, if any, before the data.
func (r *WriteRequest) Append(b []byte) []byte {
	const buffer = HeaderSize + 48
	b = u16(u16(b, 49), buffer+uint16(len(r.ChannelInfo)))
	b = u32(b, uint32(len(r.Data)))
	b = u64(b, r.Offset)
	b = fileID(b, r.FileID)
	b = u32(b, r.Channel)
	b = u32(b, r.RemainingBytes)
	b = u16(u16(b, offsetOf(r.ChannelInfo, buffer)), uint16(len(r.ChannelInfo)))
	b = u32(b, r.Flags)
	return variable(append(b, r.ChannelInfo...), r.Data)
}

// A WriteResponse is [MS-SMB2] 2.2.22.
type WriteResponse struct{ Count, Remaining uint32 }

func (r *WriteResponse) Decode(msg []byte) error {
	d := open(msg, "WRITE response", 17)
	d.Skip(2)
	r.Count = d.U32()
	r.Remaining = d.U32()
	d.Skip(4)
	return d.done()
}

func (r *WriteResponse) Append(b []byte) []byte {
	return u32(u32(u32(u32(b, 17), r.Count), r.Remaining), 0)
}

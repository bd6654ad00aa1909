package wire

// Flags of a READ request.
const (
	ReadUnbuffered        uint8 = 1 // 3.0.2 and later
	ReadRequestCompressed uint8 = 2 // 3.1.1
)

// Channels of READ and WRITE. Only ChannelNone works without RDMA.
const (
	ChannelNone             uint32 = 0
	ChannelRDMAV1           uint32 = 1
	ChannelRDMAV1Invalidate uint32 = 2
	ChannelRDMATransform    uint32 = 3
)

// A ReadRequest is [MS-SMB2] 2.2.19.
type ReadRequest struct {
	Padding        uint8 // where the client would like the data in the response
	Flags          uint8
	Length         uint32
	Offset         uint64
	FileID         FileID
	MinimumCount   uint32
	Channel        uint32
	RemainingBytes uint32
	ChannelInfo    []byte
}

func (r *ReadRequest) Decode(msg []byte) error {
	d := open(msg, "READ request", 49)
	r.Padding = d.U8()
	r.Flags = d.U8()
	r.Length = d.U32()
	r.Offset = d.U64()
	r.FileID = d.fileID()
	r.MinimumCount = d.U32()
	r.Channel = d.U32()
	r.RemainingBytes = d.U32()
	off, n := d.U16(), d.U16()
	r.ChannelInfo = d.at("ReadChannelInfoOffset", uint32(off), uint32(n))
	return d.done()
}

func (r *ReadRequest) Append(b []byte) []byte {
	b = append(u16(b, 49), r.Padding, r.Flags)
	b = u32(b, r.Length)
	b = u64(b, r.Offset)
	b = fileID(b, r.FileID)
	b = u32(b, r.MinimumCount)
	b = u32(b, r.Channel)
	b = u32(b, r.RemainingBytes)
	b = u16(u16(b, offsetOf(r.ChannelInfo, HeaderSize+48)), uint16(len(r.ChannelInfo)))
	return variable(b, r.ChannelInfo)
}

// offsetOf is where data is: 0 when there is none.
func offsetOf(data []byte, at uint16) uint16 {
	if len(data) == 0 {
		return 0
	}
	return at
}

// ReadResponseHead is the length of a READ response's body without data.
const ReadResponseHead = 16

// A ReadResponse is [MS-SMB2] 2.2.20.
type ReadResponse struct {
	Data      []byte
	Remaining uint32
	Flags     uint32
}

func (r *ReadResponse) Decode(msg []byte) error {
	d := open(msg, "READ response", ReadResponseHead+1)
	off := d.U8()
	d.Skip(1)
	n := d.U32()
	r.Remaining = d.U32()
	r.Flags = d.U32()
	r.Data = d.at("DataOffset", uint32(off), n)
	return d.done()
}

func (r *ReadResponse) Append(b []byte) []byte {
	return append(r.AppendHead(b, uint32(len(r.Data))), r.Data...)
}

// AppendHead appends the body up to where dataLen bytes of data belong, wherever these come from.
func (r *ReadResponse) AppendHead(b []byte, dataLen uint32) []byte {
	b = append(u16(b, ReadResponseHead+1), HeaderSize+ReadResponseHead, 0)
	return u32(u32(u32(b, dataLen), r.Remaining), r.Flags)
}

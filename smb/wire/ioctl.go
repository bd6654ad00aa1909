package wire

// Control codes of [MS-SMB2] 2.2.31. Those of file systems are in fscc.
const (
	FsctlDFSGetReferrals           uint32 = 0x00060194
	FsctlDFSGetReferralsEx         uint32 = 0x000601B0
	FsctlPipeWait                  uint32 = 0x00110018
	FsctlPipePeek                  uint32 = 0x0011400C
	FsctlPipeTransceive            uint32 = 0x0011C017
	FsctlSrvRequestResumeKey       uint32 = 0x00140078
	FsctlLMRRequestResiliency      uint32 = 0x001401D4
	FsctlQueryNetworkInterfaceInfo uint32 = 0x001401FC
	FsctlValidateNegotiateInfo     uint32 = 0x00140204
	FsctlSrvEnumerateSnapshots     uint32 = 0x00144064
	FsctlSrvReadHash               uint32 = 0x001441BB
	FsctlSrvCopychunk              uint32 = 0x001440F2
	FsctlSrvCopychunkWrite         uint32 = 0x001480F2
)

// IoctlIsFsctl is the one flag of an IOCTL request.
const IoctlIsFsctl uint32 = 1

const (
	ioctlRequestFixed  = 56
	ioctlResponseFixed = 48
)

// An IoctlRequest is [MS-SMB2] 2.2.31.
type IoctlRequest struct {
	CtlCode           uint32
	FileID            FileID
	Input             []byte
	MaxInputResponse  uint32
	Output            []byte
	MaxOutputResponse uint32
	Flags             uint32
}

func (r *IoctlRequest) Decode(msg []byte) error {
	d := open(msg, "IOCTL request", ioctlRequestFixed+1)
	d.Skip(2)
	r.CtlCode = d.U32()
	r.FileID = d.fileID()
	in, inLen := d.U32(), d.U32()
	r.MaxInputResponse = d.U32()
	out, outLen := d.U32(), d.U32()
	r.MaxOutputResponse = d.U32()
	r.Flags = d.U32()
	r.Input = d.at("InputOffset", in, inLen)
	r.Output = d.at("OutputOffset", out, outLen)
	return d.done()
}

func (r *IoctlRequest) Append(b []byte) []byte {
	base := len(b) - HeaderSize
	in, out := ioctlOffsets(HeaderSize+ioctlRequestFixed, r.Input, r.Output)
	b = u32(u32(b, ioctlRequestFixed+1), r.CtlCode)
	b = fileID(b, r.FileID)
	b = u32(u32(b, in), uint32(len(r.Input)))
	b = u32(b, r.MaxInputResponse)
	b = u32(u32(b, out), uint32(len(r.Output)))
	b = u32(b, r.MaxOutputResponse)
	b = u32(u32(b, r.Flags), 0)
	return appendIoctlBuffers(b, base, r.Input, r.Output)
}

// An IoctlResponse is [MS-SMB2] 2.2.32.
type IoctlResponse struct {
	CtlCode uint32
	FileID  FileID
	Input   []byte
	Output  []byte
	Flags   uint32
}

func (r *IoctlResponse) Decode(msg []byte) error {
	d := open(msg, "IOCTL response", ioctlResponseFixed+1)
	d.Skip(2)
	r.CtlCode = d.U32()
	r.FileID = d.fileID()
	in, inLen := d.U32(), d.U32()
	out, outLen := d.U32(), d.U32()
	r.Flags = d.U32()
	r.Input = d.at("InputOffset", in, inLen)
	r.Output = d.at("OutputOffset", out, outLen)
	return d.done()
}

func (r *IoctlResponse) Append(b []byte) []byte {
	base := len(b) - HeaderSize
	const buffer = HeaderSize + ioctlResponseFixed
	_, out := ioctlOffsets(buffer, r.Input, r.Output)
	in := uint32(buffer) // a response says where they would be even when they are not there
	out = max(out, buffer)
	b = u32(u32(b, ioctlResponseFixed+1), r.CtlCode)
	b = fileID(b, r.FileID)
	b = u32(u32(b, in), uint32(len(r.Input)))
	b = u32(u32(b, out), uint32(len(r.Output)))
	b = u32(u32(b, r.Flags), 0)
	return appendIoctlBuffers(b, base, r.Input, r.Output)
}

// ioctlOffsets says where the two buffers of an IOCTL are: input first, output 8-byte aligned after it.
func ioctlOffsets(buffer uint32, input, output []byte) (in, out uint32) {
	if len(input) > 0 {
		in = buffer
	}
	if len(output) > 0 {
		out = (buffer + uint32(len(input)) + 7) &^ 7
	}
	return in, out
}

func appendIoctlBuffers(b []byte, base int, input, output []byte) []byte {
	b = append(b, input...)
	if len(output) > 0 {
		b = append(pad8(b, base), output...)
	}
	return b
}

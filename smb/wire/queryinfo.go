package wire

// Types of information of QUERY_INFO and SET_INFO, [MS-SMB2] 2.2.37.
const (
	InfoFile       uint8 = 1
	InfoFileSystem uint8 = 2
	InfoSecurity   uint8 = 3
	InfoQuota      uint8 = 4
)

// AdditionalInfo of security information.
const (
	SecurityOwner     uint32 = 0x00000001
	SecurityGroup     uint32 = 0x00000002
	SecurityDACL      uint32 = 0x00000004
	SecuritySACL      uint32 = 0x00000008
	SecurityLabel     uint32 = 0x00000010
	SecurityAttribute uint32 = 0x00000020
	SecurityScope     uint32 = 0x00000040
	SecurityBackup    uint32 = 0x00010000
)

// Flags of a query for extended attributes.
const (
	QueryInfoRestartScan       uint32 = 1
	QueryInfoReturnSingleEntry uint32 = 2
	QueryInfoIndexSpecified    uint32 = 4
)

// A QueryInfoRequest is [MS-SMB2] 2.2.37.
type QueryInfoRequest struct {
	InfoType           uint8
	InfoClass          uint8
	OutputBufferLength uint32
	AdditionalInfo     uint32
	Flags              uint32
	FileID             FileID
	Input              []byte
}

func (r *QueryInfoRequest) Decode(msg []byte) error {
	d := open(msg, "QUERY_INFO request", 41)
	r.InfoType = d.U8()
	r.InfoClass = d.U8()
	r.OutputBufferLength = d.U32()
	off := d.U16()
	d.Skip(2)
	n := d.U32()
	r.AdditionalInfo = d.U32()
	r.Flags = d.U32()
	r.FileID = d.fileID()
	r.Input = d.at("InputBufferOffset", uint32(off), n)
	return d.done()
}

func (r *QueryInfoRequest) Append(b []byte) []byte {
	b = append(u16(b, 41), r.InfoType, r.InfoClass)
	b = u32(b, r.OutputBufferLength)
	b = u16(u16(b, offsetOf(r.Input, HeaderSize+40)), 0)
	b = u32(b, uint32(len(r.Input)))
	b = u32(b, r.AdditionalInfo)
	b = u32(b, r.Flags)
	b = fileID(b, r.FileID)
	return variable(b, r.Input)
}

// A QueryInfoResponse is [MS-SMB2] 2.2.38.
type QueryInfoResponse struct{ Buffer []byte }

func (r *QueryInfoResponse) Decode(msg []byte) (err error) {
	r.Buffer, err = decodeOutput(msg, "QUERY_INFO response")
	return err
}

func (r *QueryInfoResponse) Append(b []byte) []byte { return appendOutput(b, r.Buffer) }

// A QueryQuota is the input of a query for quotas, SMB2_QUERY_QUOTA_INFO, [MS-SMB2] 2.2.37.1: for those of a list, or with
// none for all there are, from where the last query ended.
type QueryQuota struct {
	Single, Restart bool
	Owners          []byte // a list as fscc.DecodeQuotaOwners reads it
	Start           []byte // a SID to begin at; of no use besides a list
}

func (q *QueryQuota) Decode(data []byte) error {
	d := nested(data, "QUERY_QUOTA_INFO", 16)
	q.Single, q.Restart = d.U8() != 0, d.U8() != 0
	d.Skip(2)
	owners, start, at := d.U32(), d.U32(), d.U32()
	q.Owners, q.Start = nil, nil
	if owners > 0 {
		q.Owners = d.Reader.At(16, uint64(owners))
	} else if start > 0 {
		q.Start = d.Reader.At(16+uint64(at), uint64(start))
	}
	return d.done()
}

func (q *QueryQuota) Append(b []byte) []byte {
	flag := map[bool]byte{true: 1}
	b = append(b, flag[q.Single], flag[q.Restart], 0, 0)
	b = u32(b, uint32(len(q.Owners)))
	b = u32(b, uint32(len(q.Start)))
	return append(append(u32(b, uint32(len(q.Owners))), q.Owners...), q.Start...)
}

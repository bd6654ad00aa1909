package wire

// A FlushRequest is [MS-SMB2] 2.2.17.
type FlushRequest struct{ FileID FileID }

func (r *FlushRequest) Decode(msg []byte) error {
	d := open(msg, "FLUSH request", 24)
	d.Skip(6)
	r.FileID = d.fileID()
	return d.done()
}

func (r *FlushRequest) Append(b []byte) []byte { return fileID(u32(u32(b, 24), 0), r.FileID) }

// A FlushResponse is [MS-SMB2] 2.2.18. It says nothing.
type FlushResponse struct{}

func (*FlushResponse) Decode(msg []byte) error { return decodeBare(msg, "FLUSH response") }

func (*FlushResponse) Append(b []byte) []byte { return appendBare(b) }

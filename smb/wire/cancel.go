package wire

// A CancelRequest is [MS-SMB2] 2.2.30. It says nothing.
type CancelRequest struct{}

func (*CancelRequest) Decode(msg []byte) error { return decodeBare(msg, "CANCEL request") }

func (*CancelRequest) Append(b []byte) []byte { return appendBare(b) }

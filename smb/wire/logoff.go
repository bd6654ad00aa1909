package wire

// A LogoffRequest is [MS-SMB2] 2.2.7. It says nothing.
type LogoffRequest struct{}

func (*LogoffRequest) Decode(msg []byte) error { return decodeBare(msg, "LOGOFF request") }

func (*LogoffRequest) Append(b []byte) []byte { return appendBare(b) }

// A LogoffResponse is [MS-SMB2] 2.2.8. It says nothing.
type LogoffResponse struct{}

func (*LogoffResponse) Decode(msg []byte) error { return decodeBare(msg, "LOGOFF response") }

func (*LogoffResponse) Append(b []byte) []byte { return appendBare(b) }

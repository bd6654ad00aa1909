package wire

// An EchoRequest is [MS-SMB2] 2.2.28. It says nothing.
type EchoRequest struct{}

func (*EchoRequest) Decode(msg []byte) error { return decodeBare(msg, "ECHO request") }

func (*EchoRequest) Append(b []byte) []byte { return appendBare(b) }

// An EchoResponse is [MS-SMB2] 2.2.29. It says nothing.
type EchoResponse struct{}

func (*EchoResponse) Decode(msg []byte) error { return decodeBare(msg, "ECHO response") }

func (*EchoResponse) Append(b []byte) []byte { return appendBare(b) }

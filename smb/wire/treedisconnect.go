package wire

// A TreeDisconnectRequest is [MS-SMB2] 2.2.11. It says nothing.
type TreeDisconnectRequest struct{}

func (*TreeDisconnectRequest) Decode(msg []byte) error {
	return decodeBare(msg, "TREE_DISCONNECT request")
}

func (*TreeDisconnectRequest) Append(b []byte) []byte { return appendBare(b) }

// A TreeDisconnectResponse is [MS-SMB2] 2.2.12. It says nothing.
type TreeDisconnectResponse struct{}

func (*TreeDisconnectResponse) Decode(msg []byte) error {
	return decodeBare(msg, "TREE_DISCONNECT response")
}

func (*TreeDisconnectResponse) Append(b []byte) []byte { return appendBare(b) }

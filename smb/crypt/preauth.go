package crypt

import "crypto/sha512"

// A Preauth is a PreauthIntegrityHashValue, [MS-SMB2] 3.3.1.7: the SHA-512 chain over the messages that lead to a
// session. The zero Preauth is its start. It is a value: a session's chain starts as a copy of its connection's.
type Preauth [sha512.Size]byte

// Update chains one whole message, from its SMB2 header on, as it went over the wire.
func (p *Preauth) Update(msg []byte) {
	h := sha512.New()
	h.Write(p[:])
	h.Write(msg)
	h.Sum(p[:0])
}

package pairing

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// A Nonce is 32 random bytes, of the device or of the box.
type Nonce [sha256.Size]byte

// What panel and device show of a pairing is made from what they have agreed on: the authority that the device is about to
// trust, and the request that the box is about to sign. Who sits between them and puts another authority, or a request of
// their own, into it gets two codes that are the same once in a million times, and cannot try again:
//
//	device -> box     its request, and Commit: what it has chosen, without telling it
//	box    -> device  the box's Nonce
//	device -> box     the device's Nonce, which Commit has settled before it knew the box's
//
// Both of them then know Confirm. Neither they nor anybody between them can steer it: each Nonce was settled before the other
// was told. A desk does this once in an attempt.

// Commit is what a device tells of its choice: authority is a certificate, request what it sends, both DER or as sent.
func Commit(authority, request []byte, device Nonce) [sha256.Size]byte {
	return digestOf("postern pairing commit", authority, request, device[:])
}

// Confirm is the code to compare: six digits, "123 456".
func Confirm(authority, request []byte, device, box Nonce) string {
	sum := digestOf("postern pairing code", authority, request, device[:], box[:])
	code := fmt.Sprintf("%06d", binary.LittleEndian.Uint32(sum[:])%1_000_000) // as .NET reads it
	return code[:3] + " " + code[3:]
}

func digestOf(purpose string, authority, request []byte, nonces ...[]byte) [sha256.Size]byte {
	a, r := sha256.Sum256(authority), sha256.Sum256(request)
	return sha256.Sum256(slices.Concat([]byte(purpose), a[:], r[:], slices.Concat(nonces...)))
}

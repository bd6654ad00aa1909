// Package crypt holds the cryptography of [MS-SMB2]: signing, sealing, key derivation and the preauthentication
// hash. It is pure: it knows keys and bytes, no connection and no session.
package crypt

import "fmt"

// A SigningAlg is a SigningAlgorithmId, [MS-SMB2] 2.2.3.1.7.
type SigningAlg uint16

const (
	HMACSHA256 SigningAlg = 0 // all that dialects 2.0.2 and 2.1 know
	AESCMAC    SigningAlg = 1 // 3.0 and later
	AESGMAC    SigningAlg = 2 // 3.1.1 by negotiation
)

func (a SigningAlg) String() string {
	switch a {
	case HMACSHA256:
		return "HMAC-SHA256"
	case AESCMAC:
		return "AES-CMAC"
	case AESGMAC:
		return "AES-GMAC"
	}
	return fmt.Sprintf("SigningAlg(%d)", uint16(a))
}

// A Cipher is a CipherId, [MS-SMB2] 2.2.3.1.2.
type Cipher uint16

const (
	AES128CCM Cipher = 1 // the one cipher of dialects 3.0 and 3.0.2
	AES128GCM Cipher = 2
	AES256CCM Cipher = 3
	AES256GCM Cipher = 4
)

func (c Cipher) String() string {
	switch c {
	case AES128CCM:
		return "AES-128-CCM"
	case AES128GCM:
		return "AES-128-GCM"
	case AES256CCM:
		return "AES-256-CCM"
	case AES256GCM:
		return "AES-256-GCM"
	}
	return fmt.Sprintf("Cipher(%d)", uint16(c))
}

// KeyLen returns the length of the cipher's keys in bytes; 0 for a cipher that is none of the four.
func (c Cipher) KeyLen() int {
	switch c {
	case AES128CCM, AES128GCM:
		return 16
	case AES256CCM, AES256GCM:
		return 32
	}
	return 0
}

package crypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
)

// Where things are in an SMB2 header, [MS-SMB2] 2.2.1.
const (
	headerLen    = 64
	offCommand   = 12
	offFlags     = 16
	offMessageID = 24
	offSignature = 48

	flagServerToRedir = 0x00000001
	commandCancel     = 0x000C

	sigLen = 16
)

// ErrKey says that a key has not the length its algorithm needs.
var ErrKey = errors.New("wrong key length")

// A Signer signs and verifies with one key. It may be used by many goroutines at once.
type Signer struct {
	alg  SigningAlg
	pool sync.Pool // of mac: the states are as dear as a short message's hash
}

// A mac is one goroutine's state of a Signer's algorithm.
type mac interface {
	// sum computes the signature of msg as if its signature field were zero. What it returns is the mac's own
	// and lasts until the next sum.
	sum(msg []byte) []byte
}

// NewSigner returns a Signer for a key of 16 bytes.
func NewSigner(alg SigningAlg, key []byte) (*Signer, error) {
	if len(key) != 16 {
		return nil, fmt.Errorf("%s: %w: %d bytes", alg, ErrKey, len(key))
	}
	s := &Signer{alg: alg}
	if alg == HMACSHA256 {
		key = append([]byte(nil), key...)
		s.pool.New = func() any { return &hmacState{h: hmac.New(sha256.New, key)} }
		return s, nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	switch alg {
	case AESCMAC:
		k1, k2 := cmacSubkeys(block)
		s.pool.New = func() any { return newCMAC(block, k1, k2) }
	case AESGMAC:
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		s.pool.New = func() any { return &gmacState{gcm: gcm} }
	default:
		return nil, fmt.Errorf("%s: no such signing algorithm", alg)
	}
	return s, nil
}

// Alg returns the signer's algorithm.
func (s *Signer) Alg() SigningAlg { return s.alg }

// Sign fills in the signature of msg: one SMB2 message of at least 64 bytes that starts at its header, with the
// padding that follows it in a compound ([MS-SMB2] 3.1.4.1). Setting the SIGNED flag is the caller's.
func (s *Signer) Sign(msg []byte) {
	m := s.pool.Get().(mac)
	copy(msg[offSignature:headerLen], m.sum(msg))
	s.pool.Put(m)
}

// Verify reports whether msg carries its signature ([MS-SMB2] 3.1.5.1), in a time that does not depend on where
// it differs. msg is as Sign's, is the caller's alone meanwhile (AES-GMAC clears the field and puts it back) and is
// left as it was. A message too short for a header has no signature.
func (s *Signer) Verify(msg []byte) bool {
	if len(msg) < headerLen {
		return false
	}
	m := s.pool.Get().(mac)
	ok := subtle.ConstantTimeCompare(msg[offSignature:headerLen], m.sum(msg)) == 1
	s.pool.Put(m)
	return ok
}

var zeroSig [sigLen]byte

// hmacState is HMAC-SHA256 cut to 16 bytes.
type hmacState struct {
	h   hash.Hash
	out [sha256.Size]byte
}

func (m *hmacState) sum(msg []byte) []byte {
	m.h.Reset()
	m.h.Write(msg[:offSignature])
	m.h.Write(zeroSig[:])
	m.h.Write(msg[headerLen:])
	return m.h.Sum(m.out[:0])[:sigLen]
}

// gmacState is AES-GCM that encrypts nothing and authenticates the message.
type gmacState struct {
	gcm   cipher.AEAD
	nonce [12]byte
	saved [sigLen]byte
	out   [sigLen]byte
}

func (m *gmacState) sum(msg []byte) []byte {
	// The nonce is the message's own: its MessageId, then who sent it, then whether it is a CANCEL, which
	// shares its MessageId with what it cancels.
	var who uint32
	if binary.LittleEndian.Uint32(msg[offFlags:])&flagServerToRedir != 0 {
		who |= 1
	}
	if binary.LittleEndian.Uint16(msg[offCommand:]) == commandCancel {
		who |= 2
	}
	copy(m.nonce[:8], msg[offMessageID:])
	binary.LittleEndian.PutUint32(m.nonce[8:], who)

	// GCM wants its additional data in one piece, so the field is zero for the time being.
	sig := msg[offSignature:headerLen]
	copy(m.saved[:], sig)
	clear(sig)
	m.gcm.Seal(m.out[:0], m.nonce[:], nil, msg)
	copy(sig, m.saved[:])
	return m.out[:]
}

package crypt

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// errOpen is what every failed Open says: a message that does not authenticate has no details worth telling.
var errOpen = errors.New("message authentication failed")

// A ccm is counter mode with CBC-MAC, RFC 3610 and NIST SP 800-38C, as a cipher.AEAD. The standard library has none.
type ccm struct {
	block    cipher.Block
	nonceLen int
	tagLen   int
	pool     sync.Pool // of *ccmState
}

// A ccmState is one goroutine's CBC-MAC. CBC is the MAC as in cmacState: chunk by chunk into a sink.
type ccmState struct {
	cbc  ivSetter
	tag  [16]byte // the MAC so far
	s0   [16]byte
	part [16]byte
	sink [cmacChunk]byte
}

// NewCCM returns AES-CCM. nonceLen is 7 to 13 bytes and leaves 15-nonceLen for the message's length; tagLen is 4,
// 6, ... 16. [MS-SMB2] 3.1.4.3 takes 11 and 16.
func NewCCM(block cipher.Block, nonceLen, tagLen int) (cipher.AEAD, error) {
	return newCCM(block, nonceLen, tagLen)
}

func newCCM(block cipher.Block, nonceLen, tagLen int) (*ccm, error) {
	if block.BlockSize() != 16 || nonceLen < 7 || nonceLen > 13 || tagLen < 4 || tagLen > 16 || tagLen%2 != 0 {
		return nil, fmt.Errorf("CCM has no %d-byte nonce with a %d-byte tag", nonceLen, tagLen)
	}
	c := &ccm{block: block, nonceLen: nonceLen, tagLen: tagLen}
	c.pool.New = func() any {
		return &ccmState{cbc: cipher.NewCBCEncrypter(block, make([]byte, 16)).(ivSetter)}
	}
	return c, nil
}

func (c *ccm) NonceSize() int { return c.nonceLen }
func (c *ccm) Overhead() int  { return c.tagLen }

// Seal appends the sealed plaintext and its tag to dst. As with every cipher.AEAD a wrong nonce length or a
// plaintext that CCM cannot count is the caller's bug and panics.
func (c *ccm) Seal(dst, nonce, plaintext, additional []byte) []byte {
	n := len(plaintext)
	dst, out := grow(dst, n+c.tagLen)
	c.seal(out[:n], out[n:], nonce, plaintext, additional)
	return dst
}

// Open appends the plaintext to dst.
func (c *ccm) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	if len(ciphertext) < c.tagLen {
		return nil, errOpen
	}
	n := len(ciphertext) - c.tagLen
	dst, out := grow(dst, n)
	if err := c.open(out, ciphertext[n:], nonce, ciphertext[:n], additional); err != nil {
		return nil, err
	}
	return dst, nil
}

// grow makes dst n bytes longer, in place when its capacity allows (which is how plaintext[:0] as dst seals in
// place), and returns the new bytes too.
func grow(dst []byte, n int) (all, added []byte) {
	all = slices.Grow(dst, n)[:len(dst)+n]
	return all, all[len(dst):]
}

// start begins the MAC: block B0 with the lengths, then the additional data and its length, zero-filled. It
// returns the key stream and leaves its first block, which covers the tag, in s.s0.
func (c *ccm) start(s *ccmState, nonce []byte, plainLen int, additional []byte) cipher.Stream {
	if len(nonce) != c.nonceLen {
		panic("crypt: wrong CCM nonce length")
	}
	l := 15 - c.nonceLen
	if l < 8 && uint64(plainLen)>>(8*l) != 0 {
		panic("crypt: message too long for CCM")
	}
	b := &s.part
	binary.BigEndian.PutUint64(b[8:], uint64(plainLen))
	b[0] = byte((c.tagLen-2)/2)<<3 | byte(l-1)
	if len(additional) > 0 {
		b[0] |= 0x40
	}
	copy(b[1:], nonce)
	s.cbc.SetIV(zeroSig[:])
	s.cbc.CryptBlocks(s.tag[:], b[:])

	if n := len(additional); n > 0 {
		var k int
		if n < 0xFF00 {
			binary.BigEndian.PutUint16(b[:], uint16(n))
			k = 2
		} else {
			binary.BigEndian.PutUint16(b[:], 0xFFFE)
			binary.BigEndian.PutUint32(b[2:], uint32(n))
			k = 6
		}
		m := copy(b[k:], additional)
		clear(b[k+m:])
		s.cbc.CryptBlocks(s.tag[:], b[:])
		s.absorb(additional[m:])
	}

	clear(b[:])
	b[0] = byte(l - 1)
	copy(b[1:], nonce)
	ctr := cipher.NewCTR(c.block, b[:])
	clear(s.s0[:])
	ctr.XORKeyStream(s.s0[:], s.s0[:])
	return ctr
}

// absorb takes p, zero-filled to whole blocks, into the MAC.
func (s *ccmState) absorb(p []byte) {
	for len(p) >= 16 {
		k := min(len(p)&^15, cmacChunk)
		s.cbc.CryptBlocks(s.sink[:k], p[:k])
		copy(s.tag[:], s.sink[k-16:k])
		p = p[k:]
	}
	if len(p) > 0 {
		clear(s.part[copy(s.part[:], p):])
		s.cbc.CryptBlocks(s.tag[:], s.part[:])
	}
}

// seal encrypts plain to out, which may be the same memory, and puts the tag into tag. Chunk by chunk it is hashed
// and then encrypted while it is still in the cache.
func (c *ccm) seal(out, tag, nonce, plain, additional []byte) {
	s := c.pool.Get().(*ccmState)
	ctr := c.start(s, nonce, len(plain), additional)
	for len(plain) > 0 {
		k := min(len(plain), cmacChunk)
		s.absorb(plain[:k])
		ctr.XORKeyStream(out[:k], plain[:k])
		plain, out = plain[k:], out[k:]
	}
	subtle.XORBytes(tag, s.tag[:c.tagLen], s.s0[:])
	c.pool.Put(s)
}

// open is seal's inverse. When the tag is wrong, out is zeroed: no one gets to see what was not authentic.
func (c *ccm) open(out, tag, nonce, sealed, additional []byte) error {
	s := c.pool.Get().(*ccmState)
	ctr := c.start(s, nonce, len(sealed), additional)
	plain := out
	for len(sealed) > 0 {
		k := min(len(sealed), cmacChunk)
		ctr.XORKeyStream(out[:k], sealed[:k])
		s.absorb(out[:k])
		sealed, out = sealed[k:], out[k:]
	}
	subtle.XORBytes(s.s0[:], s.s0[:], s.tag[:])
	right := subtle.ConstantTimeCompare(s.s0[:c.tagLen], tag[:c.tagLen])
	c.pool.Put(s)
	if right != 1 {
		clear(plain)
		return errOpen
	}
	return nil
}

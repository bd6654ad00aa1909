package crypt

import (
	"crypto/cipher"
	"crypto/subtle"
)

// cmacChunk is how much goes through one CBC call. The ciphertext is thrown away, so it is small enough to stay in
// the first-level cache.
const cmacChunk = 2048

// ivSetter is what the standard library's CBC encrypter offers beside cipher.BlockMode.
type ivSetter interface {
	cipher.BlockMode
	SetIV([]byte)
}

// A cmacState is AES-CMAC (RFC 4493): CBC whose every output but the last is forgotten.
type cmacState struct {
	cbc    ivSetter
	k1, k2 [16]byte
	out    [16]byte
	part   [16]byte // bytes that do not yet fill a block
	n      int
	sink   [cmacChunk]byte
}

func newCMAC(block cipher.Block, k1, k2 [16]byte) *cmacState {
	return &cmacState{cbc: cipher.NewCBCEncrypter(block, make([]byte, 16)).(ivSetter), k1: k1, k2: k2}
}

// cmacSubkeys makes the keys that mark whether the last block was whole (K1) or padded (K2), RFC 4493 2.3.
func cmacSubkeys(block cipher.Block) (k1, k2 [16]byte) {
	var l [16]byte
	block.Encrypt(l[:], l[:])
	k1 = double(l)
	return k1, double(k1)
}

// double multiplies by x in GF(2^128), in constant time.
func double(b [16]byte) (d [16]byte) {
	for i := range 15 {
		d[i] = b[i]<<1 | b[i+1]>>7
	}
	d[15] = b[15]<<1 ^ 0x87&-(b[0]>>7)
	return d
}

func (m *cmacState) sum(msg []byte) []byte {
	m.reset()
	m.write(msg[:offSignature])
	m.write(zeroSig[:])
	m.write(msg[headerLen:])
	return m.finish()
}

func (m *cmacState) reset() {
	m.cbc.SetIV(zeroSig[:])
	m.n = 0
}

// write takes in p. The last block, even a whole one, is held back: finish treats it differently.
func (m *cmacState) write(p []byte) {
	if m.n > 0 {
		k := copy(m.part[m.n:], p)
		m.n += k
		p = p[k:]
		if len(p) == 0 {
			return
		}
		m.cbc.CryptBlocks(m.part[:], m.part[:])
		m.n = 0
	}
	for len(p) > 16 {
		k := min((len(p)-1)&^15, cmacChunk)
		m.cbc.CryptBlocks(m.sink[:k], p[:k])
		p = p[k:]
	}
	m.n = copy(m.part[:], p)
}

func (m *cmacState) finish() []byte {
	k := &m.k1
	if m.n < 16 {
		k = &m.k2
		m.part[m.n] = 0x80
		clear(m.part[m.n+1:])
	}
	subtle.XORBytes(m.part[:], m.part[:], k[:])
	m.cbc.CryptBlocks(m.out[:], m.part[:])
	return m.out[:]
}

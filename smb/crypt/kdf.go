package crypt

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// Keys are what a session derives from its session key, [MS-SMB2] 3.3.5.5.3. Encryption seals what the server
// sends and Decryption opens what the client sent; a client uses them the other way round. Dialects before 3.0
// have neither.
type Keys struct {
	Signing     []byte // 16 bytes
	Application []byte // 16 bytes
	Encryption  []byte // server to client; as long as the cipher's keys are
	Decryption  []byte // client to server
}

// The purposes of the keys as [MS-SMB2] 3.1.4.2 labels them. Each string carries its terminating zero; the space
// in "ServerIn " is the specification's.
type purpose struct{ label, context string }

var (
	purposes30 = [4]purpose{
		{"SMB2AESCMAC\x00", "SmbSign\x00"},
		{"SMB2APP\x00", "SmbRpc\x00"},
		{"SMB2AESCCM\x00", "ServerOut\x00"},
		{"SMB2AESCCM\x00", "ServerIn \x00"},
	}
	// The context of all four is the preauthentication hash.
	purposes311 = [4]purpose{
		{label: "SMBSigningKey\x00"},
		{label: "SMBAppKey\x00"},
		{label: "SMBS2CCipherKey\x00"},
		{label: "SMBC2SCipherKey\x00"},
	}
)

// Derive makes a session's keys. dialect is the DialectRevision; sessionKey is the key that the authentication
// agreed on, whole; preauth is the session's preauthentication hash (64 bytes, read only for 3.1.1); cipher is the
// connection's (0: none agreed on, which derives as a 128-bit cipher does).
//
// Where the specification says Session.SessionKey it means the first 16 bytes, zero-filled; only the sealing keys
// of the 256-bit ciphers come from Session.FullSessionKey.
func Derive(dialect uint16, sessionKey, preauth []byte, cipher Cipher) Keys {
	short := make([]byte, 16)
	copy(short, sessionKey)
	if dialect < 0x0300 {
		return Keys{Signing: short, Application: short}
	}
	p := purposes30
	if dialect >= 0x0311 {
		p = purposes311
		for i := range p {
			p[i].context = string(preauth)
		}
	}
	full, n := short, 16
	if cipher.KeyLen() == 32 {
		full, n = sessionKey, 32
	}
	return Keys{
		Signing:     kdf(short, p[0], 16),
		Application: kdf(short, p[1], 16),
		Encryption:  kdf(full, p[2], n),
		Decryption:  kdf(full, p[3], n),
	}
}

// kdf is the key derivation of NIST SP800-108 in counter mode with HMAC-SHA256 and a 32-bit counter. All our keys
// fit the first block. It returns n bytes, at most 32.
func kdf(key []byte, p purpose, n int) []byte {
	b := binary.BigEndian.AppendUint32(nil, 1)
	b = append(b, p.label...)
	b = append(b, 0)
	b = append(b, p.context...)
	b = binary.BigEndian.AppendUint32(b, uint32(n)*8)
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return h.Sum(nil)[:n]
}

package ntlm

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rc4"
	"encoding/binary"
	"errors"
	"unicode"

	"github.com/postern-nas/postern/smb/cursor"
)

func hmacMD5(key []byte, parts ...[]byte) []byte {
	h := hmac.New(md5.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// ntowfv2 is NTOWFv2 of [MS-NLMP] 3.3.2. domain is as the client encoded it.
func ntowfv2(hash [16]byte, user string, domain []byte) []byte {
	return hmacMD5(hash[:], cursor.AppendUTF16(nil, upcase(user)), domain)
}

// upcase raises each character by itself, as Windows does with a name before it is hashed: the length never changes
// and the three letters whose capitals Unicode took from elsewhere (µ, ı, ſ) stay, as does all beyond 16 bits.
func upcase(s string) string {
	out := []rune(s)
	for i, r := range out {
		if r < 0x10000 && r != 'µ' && r != 'ı' && r != 'ſ' {
			out[i] = unicode.ToUpper(r)
		}
	}
	return string(out)
}

// sessionKey undoes the key exchange: the client has sent its random key under the key that its proof makes.
func sessionKey(base, encrypted []byte) []byte {
	c, err := rc4.NewCipher(base)
	if err != nil {
		panic(err) // base is always 16 bytes
	}
	key := make([]byte, len(encrypted))
	c.XORKeyStream(key, encrypted)
	return key
}

// A direction is one of the two ways that messages go, with its keys ([MS-NLMP] 3.4.5).
type direction struct {
	sign []byte
	seal *rc4.Cipher
	seq  uint32
}

// The magic constants of SIGNKEY and SEALKEY, with their terminating zeros.
const (
	clientSign = "session key to client-to-server signing key magic constant\x00"
	clientSeal = "session key to client-to-server sealing key magic constant\x00"
	serverSign = "session key to server-to-client signing key magic constant\x00"
	serverSeal = "session key to server-to-client sealing key magic constant\x00"
)

func newDirection(key []byte, sign, seal string) direction {
	derive := func(magic string) []byte {
		k := md5.Sum(append(append([]byte(nil), key...), magic...))
		return k[:]
	}
	c, err := rc4.NewCipher(derive(seal))
	if err != nil {
		panic(err) // an MD5 sum is 16 bytes
	}
	return direction{sign: derive(sign), seal: c}
}

// mac makes the NTLMSSP_MESSAGE_SIGNATURE of the next message, with extended session security and key exchange
// ([MS-NLMP] 3.4.4.2): version 1, an encrypted checksum, the sequence number.
func (d *direction) mac(message []byte) []byte {
	var seq [4]byte
	binary.LittleEndian.PutUint32(seq[:], d.seq)
	d.seq++
	sum := hmacMD5(d.sign, seq[:], message)[:8]
	d.seal.XORKeyStream(sum, sum)
	b := append([]byte{1, 0, 0, 0}, sum...)
	return append(b, seq[:]...)
}

var errMAC = errors.New("signature does not match")

package crypt

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"github.com/postern-nas/postern/smb/hextext"
)

func TestPreauthVectors(t *testing.T) {
	var p Preauth
	for _, v := range preauthTalk {
		before := p
		p.Update(hextext.Bytes(v.message))
		if !bytes.Equal(p[:], hextext.Bytes(v.hash)) {
			t.Fatalf("%s: hash is %X", v.name, p)
		}
		if before == p {
			t.Fatalf("%s: hash did not move", v.name)
		}
	}
}

func TestDeriveVectors(t *testing.T) {
	for _, v := range keyVectors {
		k := Derive(v.dialect, hextext.Bytes(v.session), hextext.Bytes(v.preauth), v.cipher)
		for _, c := range []struct {
			name string
			got  []byte
			want string
		}{
			{"signing", k.Signing, v.signing},
			{"application", k.Application, v.application},
			{"encryption", k.Encryption, v.enc},
			{"decryption", k.Decryption, v.decr},
		} {
			if c.want != "" && !bytes.Equal(c.got, hextext.Bytes(c.want)) {
				t.Errorf("%s: %s key is %X, want %s", v.name, c.name, c.got, c.want)
			}
		}
	}
}

func TestDeriveBefore30(t *testing.T) {
	for _, dialect := range []uint16{0x0202, 0x0210} {
		long := bytes.Repeat([]byte{7}, 32)
		k := Derive(dialect, long, nil, 0)
		if !bytes.Equal(k.Signing, long[:16]) || !bytes.Equal(k.Application, long[:16]) || k.Encryption != nil || k.Decryption != nil {
			t.Errorf("%#x: %+v", dialect, k)
		}
		// A short key (DES had 8 bytes) is filled with zeros.
		if k := Derive(dialect, long[:8], nil, 0); !bytes.Equal(k.Signing, append(bytes.Repeat([]byte{7}, 8), make([]byte, 8)...)) {
			t.Errorf("%#x: short key made %X", dialect, k.Signing)
		}
	}
}

// The 256-bit ciphers take 256 bits from the whole session key; the other two keys stay as they are.
func TestDerive256(t *testing.T) {
	preauth := bytes.Repeat([]byte{0xAB}, 64)
	for _, n := range []int{16, 32} { // NTLM has 16 bytes, Kerberos with AES-256 has 32
		session := bytes.Repeat([]byte{0x5C}, n)
		session[n-1] = 1
		for _, c := range []Cipher{AES256CCM, AES256GCM} {
			k := Derive(0x0311, session, preauth, c)
			h := hmac.New(sha256.New, session)
			h.Write([]byte("\x00\x00\x00\x01SMBS2CCipherKey\x00\x00" + string(preauth) + "\x00\x00\x01\x00"))
			if want := h.Sum(nil); !bytes.Equal(k.Encryption, want) {
				t.Errorf("%s, %d bytes: encryption key %X, want %X", c, n, k.Encryption, want)
			}
			if len(k.Decryption) != 32 || bytes.Equal(k.Decryption, k.Encryption) {
				t.Errorf("%s: decryption key %X", c, k.Decryption)
			}
			k128 := Derive(0x0311, session[:16], preauth, AES128GCM)
			if !bytes.Equal(k.Signing, k128.Signing) || !bytes.Equal(k.Application, k128.Application) || len(k.Signing) != 16 {
				t.Errorf("%s: signing key %X depends on the cipher", c, k.Signing)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for a, want := range map[SigningAlg]string{HMACSHA256: "HMAC-SHA256", AESCMAC: "AES-CMAC", AESGMAC: "AES-GMAC", 9: "SigningAlg(9)"} {
		if a.String() != want {
			t.Errorf("%d is %s", uint16(a), a)
		}
	}
	for c, want := range map[Cipher]struct {
		name string
		n    int
	}{
		0: {"Cipher(0)", 0}, 5: {"Cipher(5)", 0},
		AES128CCM: {"AES-128-CCM", 16}, AES128GCM: {"AES-128-GCM", 16},
		AES256CCM: {"AES-256-CCM", 32}, AES256GCM: {"AES-256-GCM", 32},
	} {
		if c.String() != want.name || c.KeyLen() != want.n {
			t.Errorf("%d is %s of %d bytes", uint16(c), c, c.KeyLen())
		}
	}
}

package crypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/postern-nas/postern/smb/hextext"
)

var algs = []SigningAlg{HMACSHA256, AESCMAC, AESGMAC}

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{seed})
	r.Read(b)
	return b
}

func mustSigner(t testing.TB, alg SigningAlg, key []byte) *Signer {
	t.Helper()
	s, err := NewSigner(alg, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// RFC 4493 section 4.
func TestCMACVectors(t *testing.T) {
	block, err := aes.NewCipher(hextext.Bytes("2b7e151628aed2a6abf7158809cf4f3c"))
	if err != nil {
		t.Fatal(err)
	}
	k1, k2 := cmacSubkeys(block)
	if !bytes.Equal(k1[:], hextext.Bytes("fbeed618357133667c85e08f7236a8de")) || !bytes.Equal(k2[:], hextext.Bytes("f7ddac306ae266ccf90bc11ee46d513b")) {
		t.Fatalf("subkeys %x %x", k1, k2)
	}
	msg := hextext.Bytes(`6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51
		30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710`)
	m := newCMAC(block, k1, k2)
	for n, want := range map[int]string{
		0: "bb1d6929e95937287fa37d129b756746", 16: "070a16b46b4d4144f79bdd9dd04a287c",
		40: "dfa66747de9ae63030ca32611497c827", 64: "51f0bebf7e3b9d92fc49741779363cfe",
	} {
		m.reset()
		m.write(msg[:n])
		if got := m.finish(); !bytes.Equal(got, hextext.Bytes(want)) {
			t.Errorf("%d bytes: %x, want %s", n, got, want)
		}
	}
}

// However a message is cut up, its CMAC is the one of the definition, block by block.
func TestCMACPieces(t *testing.T) {
	block, err := aes.NewCipher(noise(1, 16))
	if err != nil {
		t.Fatal(err)
	}
	k1, k2 := cmacSubkeys(block)
	m := newCMAC(block, k1, k2)
	msg := noise(2, 3*cmacChunk+17)
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 15, 16, 17, 31, 32, 33, cmacChunk - 1, cmacChunk, cmacChunk + 1, cmacChunk + 16, 2*cmacChunk + 16, len(msg)} {
		var want [16]byte
		last := (n - 1) / 16 * 16
		for i := 0; i < last; i += 16 {
			for j := range want {
				want[j] ^= msg[i+j]
			}
			block.Encrypt(want[:], want[:])
		}
		k, tail := k1, slices.Clone(msg[last:n])
		if len(tail) < 16 {
			k, tail = k2, append(append(tail, 0x80), make([]byte, 16)...)
		}
		for j := range want {
			want[j] ^= tail[j] ^ k[j]
		}
		block.Encrypt(want[:], want[:])

		for range 20 {
			m.reset()
			for rest := msg[:n]; len(rest) > 0; {
				cut := min(len(rest), r.IntN(cmacChunk+100))
				m.write(rest[:cut])
				rest = rest[cut:]
			}
			if got := m.finish(); !bytes.Equal(got, want[:]) {
				t.Fatalf("%d bytes: %x, want %x", n, got, want)
			}
		}
	}
}

// A response that Windows signed.
func TestSignVector(t *testing.T) {
	s := mustSigner(t, AESCMAC, hextext.Bytes(keyVectors[2].signing))
	msg := slices.Clone(signedSetup)
	if !s.Verify(msg) {
		t.Error("Windows' signature does not verify")
	}
	clear(msg[48:64])
	s.Sign(msg)
	if !bytes.Equal(msg, signedSetup) {
		t.Errorf("signed as %X", msg[48:64])
	}
}

// HMAC-SHA256 and AES-GMAC by their definitions in [MS-SMB2] 3.1.4.1.
func TestSignDefinition(t *testing.T) {
	key := noise(3, 16)
	msg := noise(4, 1000)
	copy(msg, "\xFESMB")
	zeroed := slices.Clone(msg)
	clear(zeroed[48:64])

	h := hmac.New(sha256.New, key)
	h.Write(zeroed)
	got := slices.Clone(msg)
	mustSigner(t, HMACSHA256, key).Sign(got)
	if !bytes.Equal(got[48:64], h.Sum(nil)[:16]) {
		t.Error("HMAC-SHA256 differs")
	}

	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		command uint16
		flags   uint32
		role    byte
	}{
		{"request", 8, 0x8, 0},
		{"response", 8, 0x9, 1},
		{"async response", 8, 0xB, 1},
		{"CANCEL", 12, 0x8, 2},
		{"CANCEL from a server", 12, 0x9, 3},
	} {
		m := slices.Clone(zeroed)
		binary.LittleEndian.PutUint16(m[12:], c.command)
		binary.LittleEndian.PutUint32(m[16:], c.flags)
		nonce := append(slices.Clone(m[24:32]), c.role, 0, 0, 0)
		want := gcm.Seal(nil, nonce, nil, m)
		mustSigner(t, AESGMAC, key).Sign(m)
		if !bytes.Equal(m[48:64], want) {
			t.Errorf("%s: AES-GMAC differs", c.name)
		}
	}
}

func TestSignVerify(t *testing.T) {
	for _, alg := range algs {
		t.Run(alg.String(), func(t *testing.T) {
			s, other := mustSigner(t, alg, noise(5, 16)), mustSigner(t, alg, noise(6, 16))
			for _, n := range []int{64, 65, 72, 80, 100, 4096, 4097, 70000} {
				msg := noise(byte(n), n)
				s.Sign(msg)
				signed := slices.Clone(msg)
				if !s.Verify(msg) {
					t.Fatalf("%d bytes do not verify", n)
				}
				if other.Verify(msg) {
					t.Fatalf("%d bytes verify under another key", n)
				}
				if !bytes.Equal(msg, signed) {
					t.Fatalf("Verify altered %d bytes", n)
				}
				step := max(1, n/97)
				for i := 0; i < n; i += step {
					msg[i] ^= 0x10
					if s.Verify(msg) {
						t.Fatalf("%d bytes verify with byte %d flipped", n, i)
					}
					msg[i] ^= 0x10
				}
				if s.Verify(msg[:n-1]) || s.Verify(append(slices.Clone(msg), 0)) {
					t.Fatalf("%d bytes verify with another length", n)
				}
			}
			for n := range 64 {
				if s.Verify(make([]byte, n)) {
					t.Fatalf("%d bytes verify", n)
				}
			}
		})
	}
}

func TestSignerRefusals(t *testing.T) {
	for _, n := range []int{0, 8, 15, 17, 32} {
		for _, alg := range algs {
			if _, err := NewSigner(alg, make([]byte, n)); err == nil {
				t.Errorf("%s takes a key of %d bytes", alg, n)
			}
		}
	}
	if _, err := NewSigner(3, make([]byte, 16)); err == nil {
		t.Error("algorithm 3 exists")
	}
}

func TestSignConcurrent(t *testing.T) {
	for _, alg := range algs {
		s := mustSigner(t, alg, noise(7, 16))
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				msg := noise(byte(g), 500+g)
				s.Sign(msg)
				want := slices.Clone(msg)
				for range 200 {
					if !s.Verify(msg) {
						t.Errorf("%s: goroutine %d: signature lost", alg, g)
						return
					}
					s.Sign(msg)
					if !bytes.Equal(msg, want) {
						t.Errorf("%s: goroutine %d: another signature", alg, g)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestSignAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool forgets at random")
	}
	for _, alg := range algs {
		s := mustSigner(t, alg, noise(8, 16))
		msg := noise(9, 4096)
		if n := testing.AllocsPerRun(200, func() { s.Sign(msg) }); n != 0 {
			t.Errorf("%s: Sign allocates %v times", alg, n)
		}
		if n := testing.AllocsPerRun(200, func() { s.Verify(msg) }); n != 0 {
			t.Errorf("%s: Verify allocates %v times", alg, n)
		}
	}
}

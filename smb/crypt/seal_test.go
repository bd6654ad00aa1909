package crypt

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/postern-nas/postern/smb/hextext"
)

var ciphers = []Cipher{AES128CCM, AES128GCM, AES256CCM, AES256GCM}

func mustSealer(t testing.TB, c Cipher, key []byte) *Sealer {
	t.Helper()
	s, err := NewSealer(c, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func count(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(from + i)
	}
	return b
}

// NIST SP 800-38C appendix C and RFC 3610 packet vector 1.
func TestCCMVectors(t *testing.T) {
	for _, v := range []struct {
		name           string
		key, nonce, ad []byte
		plain          []byte
		tag            int
		sealed         string
	}{
		{"SP800-38C 1", count(0x40, 16), count(0x10, 7), count(0, 8), count(0x20, 4), 4, "7162015b 4dac255d"},
		{"SP800-38C 2", count(0x40, 16), count(0x10, 8), count(0, 16), count(0x20, 16), 6, "d2a1f0e0 51ea5f62 081a7792 073d593d 1fc64fbf accd"},
		{"SP800-38C 3", count(0x40, 16), count(0x10, 12), count(0, 20), count(0x20, 24), 8, "e3b201a9 f5b71a7a 9b1ceaec cd97e70b 6176aad9 a4428aa5 484392fb c1b09951"},
		{"SP800-38C 4", count(0x40, 16), count(0x10, 13), count(0, 65536), count(0x20, 32), 14, `69915dad 1e84c637 6a68c296 7e4dab61 5ae0fd1f
			aec44cc4 84828529 463ccf72 b4ac6bec 93e8598e 7f0dadbc ea5b`},
		{
			"RFC 3610 1", count(0xC0, 16), hextext.Bytes("00000003020100A0A1A2A3A4A5"), count(0, 8), count(8, 23), 8,
			"588C979A61C663D2F066D0C2C0F989806D5F6B61DAC384 17E8D12CFDF926E0",
		},
	} {
		block, err := aes.NewCipher(v.key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewCCM(block, len(v.nonce), v.tag)
		if err != nil {
			t.Fatal(err)
		}
		sealed := c.Seal([]byte("before"), v.nonce, v.plain, v.ad)
		if !bytes.Equal(sealed, append([]byte("before"), hextext.Bytes(v.sealed)...)) {
			t.Errorf("%s: sealed %x", v.name, sealed)
			continue
		}
		sealed = sealed[6:]
		plain, err := c.Open(nil, v.nonce, sealed, v.ad)
		if err != nil || !bytes.Equal(plain, v.plain) {
			t.Errorf("%s: opened %x, %v", v.name, plain, err)
		}
		for i := range sealed {
			bad := slices.Clone(sealed)
			bad[i] ^= 1
			if _, err := c.Open(nil, v.nonce, bad, v.ad); err == nil {
				t.Errorf("%s: opens with byte %d flipped", v.name, i)
			}
		}
		if _, err := c.Open(nil, v.nonce, sealed, v.ad[1:]); err == nil {
			t.Errorf("%s: opens with other additional data", v.name)
		}
		for n := range v.tag {
			if _, err := c.Open(nil, v.nonce, sealed[:n], v.ad); err == nil {
				t.Errorf("%s: opens cut to %d bytes", v.name, n)
			}
		}
	}
}

// In place, and at lengths around every boundary there is.
func TestCCMInPlace(t *testing.T) {
	block, err := aes.NewCipher(noise(1, 32))
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCCM(block, 11, 16)
	if err != nil {
		t.Fatal(err)
	}
	nonce := noise(2, 11)
	for _, n := range []int{0, 1, 15, 16, 17, cmacChunk - 1, cmacChunk, cmacChunk + 1, 5 * cmacChunk} {
		plain, ad := noise(3, n), noise(4, n)
		apart := c.Seal(nil, nonce, plain, ad)
		buf := slices.Grow(slices.Clone(plain), 16)
		sealed := c.Seal(buf[:0], nonce, buf, ad)
		if !bytes.Equal(sealed, apart) {
			t.Fatalf("%d bytes: in place it is sealed differently", n)
		}
		got, err := c.Open(sealed[:0], nonce, sealed, ad)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

// A plaintext that failed to authenticate must not be left lying about.
func TestCCMClearsForgeries(t *testing.T) {
	s := mustSealer(t, AES128CCM, noise(1, 16))
	buf := append(make([]byte, TransformLen), bytes.Repeat([]byte("secret"), 100)...)
	if err := s.Seal(buf, 1); err != nil {
		t.Fatal(err)
	}
	buf[offTag] ^= 1
	if _, err := s.Open(buf); err == nil {
		t.Fatal("forgery opens")
	}
	if !bytes.Equal(buf[TransformLen:], make([]byte, 600)) {
		t.Error("the forgery's plaintext is still there")
	}
}

func TestCCMParameters(t *testing.T) {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range [][2]int{{6, 16}, {14, 16}, {11, 3}, {11, 5}, {11, 18}, {11, 2}} {
		if _, err := NewCCM(block, p[0], p[1]); err == nil {
			t.Errorf("nonce %d, tag %d", p[0], p[1])
		}
	}
	c, err := NewCCM(block, 13, 8)
	if err != nil {
		t.Fatal(err)
	}
	if c.NonceSize() != 13 || c.Overhead() != 8 {
		t.Errorf("%d, %d", c.NonceSize(), c.Overhead())
	}
	for name, f := range map[string]func(){
		"long plaintext": func() { c.Seal(nil, make([]byte, 13), make([]byte, 65536), nil) },
		"short nonce":    func() { c.Seal(nil, make([]byte, 12), nil, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// roomy returns b with spare capacity, tight without; both have a byte pattern behind that must stay.
func roomy(b []byte) (buf, behind []byte) {
	all := append(slices.Clone(b), bytes.Repeat([]byte{0xA5}, 40)...)
	return all[:len(b)], all[len(b):]
}

func tight(b []byte) []byte { return slices.Clip(slices.Clone(b)) }

func TestTransformVectors(t *testing.T) {
	for _, v := range transformVectors {
		for _, spare := range []bool{false, true} {
			s := mustSealer(t, v.cipher, hextext.Bytes(v.key))
			buf, behind := tight(hextext.Bytes(v.sealed)), []byte(nil)
			if spare {
				buf, behind = roomy(hextext.Bytes(v.sealed))
			}
			if id, ok := TransformSessionID(buf); !ok || id != v.session {
				t.Errorf("%s: session %#x, %v", v.name, id, ok)
			}
			plain, err := s.Open(buf)
			if err != nil || !bytes.Equal(plain, hextext.Bytes(v.plain)) {
				t.Errorf("%s: opened %X, %v", v.name, plain, err)
			}
			if spare && !bytes.Equal(behind, bytes.Repeat([]byte{0xA5}, 40)) {
				t.Errorf("%s: Open wrote behind the message", v.name)
			}
		}
	}
}

// The same messages the other way round: under Windows' nonces we seal as Windows does.
func TestSealVectors(t *testing.T) {
	for _, v := range transformVectors {
		want := hextext.Bytes(v.sealed)
		for _, spare := range []bool{false, true} {
			in := append(slices.Clone(want[:TransformLen]), hextext.Bytes(v.plain)...)
			clear(in[offTag:offNonce])
			buf := tight(in)
			if spare {
				buf, _ = roomy(in)
			}
			mustSealer(t, v.cipher, hextext.Bytes(v.key)).seal(buf)
			if !bytes.Equal(buf, want) {
				t.Errorf("%s: sealed %X", v.name, buf)
			}
		}
	}
}

func TestSealOpen(t *testing.T) {
	for _, c := range ciphers {
		t.Run(c.String(), func(t *testing.T) {
			key := noise(5, c.KeyLen())
			ours, theirs := mustSealer(t, c, key), mustSealer(t, c, key)
			for i, n := range []int{0, 1, 15, 16, 17, 64, 1000, 4096, cmacChunk*3 + 5, 1 << 17} {
				plain := noise(byte(i), n)
				var sealed [2][]byte
				for j := range sealed {
					ours.counter.Store(uint64(i)) // so that both are sealed under the same nonce
					in := append(noise(99, TransformLen), plain...)
					buf, behind := tight(in), []byte(nil)
					if j == 1 {
						buf, behind = roomy(in)
					}
					if err := ours.Seal(buf, 0xC0FFEE); err != nil {
						t.Fatal(err)
					}
					if j == 1 && !bytes.Equal(behind, bytes.Repeat([]byte{0xA5}, 40)) {
						t.Fatalf("%d bytes: Seal wrote behind the message", n)
					}
					sealed[j] = buf
				}
				if !bytes.Equal(sealed[0], sealed[1]) {
					t.Fatalf("%d bytes: sealing depends on the capacity", n)
				}
				h := sealed[0][:TransformLen]
				if string(h[:4]) != "\xFDSMB" || binary.LittleEndian.Uint64(h[20:]) != uint64(i+1) || !bytes.Equal(h[28:36], make([]byte, 8)) ||
					binary.LittleEndian.Uint32(h[36:]) != uint32(n) || !bytes.Equal(h[40:44], []byte{0, 0, 1, 0}) ||
					binary.LittleEndian.Uint64(h[44:]) != 0xC0FFEE {
					t.Fatalf("%d bytes: header %X", n, h)
				}
				if n >= 16 && bytes.Contains(sealed[0], plain[:16]) {
					t.Fatalf("%d bytes: plaintext shows", n)
				}
				for _, buf := range [][]byte{tight(sealed[0]), slices.Grow(slices.Clone(sealed[0]), 100)} {
					got, err := theirs.Open(buf)
					if err != nil || !bytes.Equal(got, plain) {
						t.Fatalf("%d bytes: %v", n, err)
					}
				}
			}
		})
	}
}

// TestSEC11Transform: nothing but the untouched message opens, and only under its key.
func TestSEC11Transform(t *testing.T) {
	for _, c := range ciphers {
		t.Run(c.String(), func(t *testing.T) {
			s := mustSealer(t, c, noise(5, c.KeyLen()))
			good := append(make([]byte, TransformLen), noise(6, 100)...)
			if err := s.Seal(good, 77); err != nil {
				t.Fatal(err)
			}
			for i := range good {
				for _, bit := range []byte{0x01, 0x80} {
					for _, buf := range [][]byte{tight(good), slices.Grow(slices.Clone(good), 64)} {
						buf[i] ^= bit
						if plain, err := s.Open(buf); err == nil || plain != nil {
							t.Fatalf("opens with byte %d flipped", i)
						}
					}
				}
			}
			for n := range good {
				if _, err := s.Open(tight(good[:n])); err == nil {
					t.Fatalf("opens cut to %d bytes", n)
				}
				if _, err := s.Open(good[:n:len(good)]); err == nil {
					t.Fatalf("opens cut to %d bytes", n)
				}
			}
			if _, err := s.Open(append(slices.Clone(good), 0)); !errors.Is(err, ErrTransform) {
				t.Errorf("one byte too many: %v", err)
			}
			if _, err := mustSealer(t, c, noise(7, c.KeyLen())).Open(tight(good)); err == nil {
				t.Error("opens under another key")
			}
		})
	}
	// Even sealed by the right key, a header with other flags is malformed.
	buf := append(make([]byte, TransformLen), 1, 2, 3)
	s := mustSealer(t, AES128GCM, noise(5, 16))
	if err := s.Seal(buf, 1); err != nil {
		t.Fatal(err)
	}
	buf[offEncrypted] = 0
	if _, err := s.Open(buf); !errors.Is(err, ErrTransform) {
		t.Errorf("flags 0: %v", err)
	}
}

func TestTransformSessionID(t *testing.T) {
	buf := make([]byte, TransformLen)
	copy(buf, "\xFDSMB")
	binary.LittleEndian.PutUint64(buf[44:], 1<<63|5)
	if id, ok := TransformSessionID(buf); !ok || id != 1<<63|5 {
		t.Errorf("%#x, %v", id, ok)
	}
	for n := range buf {
		if _, ok := TransformSessionID(buf[:n]); ok {
			t.Errorf("%d bytes are enough", n)
		}
	}
	buf[0] = 0xFE
	if _, ok := TransformSessionID(buf); ok {
		t.Error("0xFE is a transform")
	}
}

// TestSEC11Nonces: strictly increasing in one goroutine, never twice among many.
func TestSEC11Nonces(t *testing.T) {
	s := mustSealer(t, AES128GCM, noise(1, 16))
	const goroutines, each = 8, 5000
	nonces := make([][]uint64, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			buf := make([]byte, TransformLen+8, TransformLen+8+TransformSpare)
			for range each {
				if err := s.Seal(buf, 1); err != nil {
					t.Error(err)
					return
				}
				nonces[g] = append(nonces[g], binary.LittleEndian.Uint64(buf[offNonce:]))
			}
		})
	}
	wg.Wait()
	seen := map[uint64]bool{}
	for _, list := range nonces {
		var last uint64
		for _, n := range list {
			if n <= last || seen[n] {
				t.Fatalf("nonce %d after %d, seen before: %v", n, last, seen[n])
			}
			last, seen[n] = n, true
		}
	}
	if len(seen) != goroutines*each {
		t.Errorf("%d nonces", len(seen))
	}
}

// At the end of its nonces a sealer refuses, and goes on refusing.
func TestSEC11NoncesEnd(t *testing.T) {
	s := mustSealer(t, AES128GCM, noise(1, 16))
	s.counter.Store(maxNonce - 2)
	buf := make([]byte, TransformLen+8)
	if err := s.Seal(buf, 1); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		clear(buf)
		if err := s.Seal(buf, 1); !errors.Is(err, ErrNonces) {
			t.Fatal(err)
		}
		if !bytes.Equal(buf, make([]byte, len(buf))) {
			t.Fatal("something was sealed")
		}
	}
}

func TestSealerRefusals(t *testing.T) {
	for _, c := range append(slices.Clone(ciphers), 0, 5) {
		for _, n := range []int{0, 15, 16, 24, 32, 33} {
			_, err := NewSealer(c, make([]byte, n))
			if ok := n == c.KeyLen() && n > 0; ok != (err == nil) {
				t.Errorf("%s with %d bytes: %v", c, n, err)
			}
		}
	}
	if err := mustSealer(t, AES128GCM, make([]byte, 16)).Seal(make([]byte, TransformLen-1), 1); !errors.Is(err, ErrTransform) {
		t.Errorf("no room for the header: %v", err)
	}
}

func TestSealAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool forgets at random")
	}
	for _, c := range ciphers {
		s := mustSealer(t, c, noise(8, c.KeyLen()))
		want := 0.0
		if s.ccm != nil {
			want = 1 // the standard library's counter mode
		}
		for _, spare := range []int{0, TransformSpare} {
			buf := make([]byte, TransformLen+4096, TransformLen+4096+spare)
			if n := testing.AllocsPerRun(200, func() { s.Seal(buf, 1) }); n > want {
				t.Errorf("%s, %d spare: Seal allocates %v times", c, spare, n)
			}
			sealed, work := slices.Clone(buf), slices.Clone(buf)
			if n := testing.AllocsPerRun(200, func() {
				copy(work, sealed)
				if _, err := s.Open(work); err != nil {
					t.Error(err)
				}
			}); n > want {
				t.Errorf("%s, %d spare: Open allocates %v times", c, spare, n)
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	sealers := make([]*Sealer, 0, len(ciphers))
	for _, c := range ciphers {
		s := mustSealer(f, c, noise(1, c.KeyLen()))
		sealers = append(sealers, s)
		buf := append(make([]byte, TransformLen), noise(2, 64)...)
		if err := s.Seal(buf, 3); err != nil {
			f.Fatal(err)
		}
		f.Add(byte(c-1), buf)
	}
	for _, v := range transformVectors {
		f.Add(byte(v.cipher-1), hextext.Bytes(v.sealed))
	}
	f.Fuzz(func(t *testing.T, c byte, buf []byte) {
		s := sealers[int(c)%len(sealers)]
		n := len(buf)
		buf, behind := roomy(buf)
		plain, err := s.Open(buf)
		if err == nil && len(plain) != n-TransformLen {
			t.Errorf("%d bytes opened to %d", n, len(plain))
		}
		if err != nil && plain != nil {
			t.Error("an error and a plaintext")
		}
		if !bytes.Equal(behind, bytes.Repeat([]byte{0xA5}, 40)) {
			t.Error("wrote behind the message")
		}
	})
}

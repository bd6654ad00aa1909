package crypt

import (
	"fmt"
	"testing"
)

var benchSizes = []int{256, 4 << 10, 64 << 10, 1 << 20}

func BenchmarkSign(b *testing.B) {
	for _, alg := range algs {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", alg, n), func(b *testing.B) {
				s := mustSigner(b, alg, noise(1, 16))
				msg := noise(2, n)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					s.Sign(msg)
				}
			})
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, alg := range algs {
		b.Run(alg.String(), func(b *testing.B) {
			s := mustSigner(b, alg, noise(1, 16))
			msg := noise(2, 64<<10)
			s.Sign(msg)
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				if !s.Verify(msg) {
					b.Fatal("signature lost")
				}
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, c := range ciphers {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", c, n), func(b *testing.B) { benchSeal(b, c, n, TransformSpare) })
		}
		b.Run(fmt.Sprintf("%s/%d/nospare", c, 1<<20), func(b *testing.B) { benchSeal(b, c, 1<<20, 0) })
	}
}

func benchSeal(b *testing.B, c Cipher, n, spare int) {
	s := mustSealer(b, c, noise(1, c.KeyLen()))
	buf := make([]byte, TransformLen+n, TransformLen+n+spare)
	b.SetBytes(int64(n))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Seal(buf, 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen includes copying the sealed message in anew each time.
func BenchmarkOpen(b *testing.B) {
	for _, c := range ciphers {
		b.Run(c.String(), func(b *testing.B) {
			s := mustSealer(b, c, noise(1, c.KeyLen()))
			sealed := make([]byte, TransformLen+64<<10)
			if err := s.Seal(sealed, 1); err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, len(sealed), len(sealed)+TransformSpare)
			b.SetBytes(64 << 10)
			b.ReportAllocs()
			for b.Loop() {
				copy(buf, sealed)
				if _, err := s.Open(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPreauth(b *testing.B) {
	var p Preauth
	msg := noise(1, 512)
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		p.Update(msg)
	}
}

func BenchmarkDerive(b *testing.B) {
	key, preauth := noise(1, 16), noise(2, 64)
	for b.Loop() {
		Derive(0x0311, key, preauth, AES256GCM)
	}
}

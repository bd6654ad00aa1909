package keys

import (
	"crypto"
	"crypto/rand"
	"testing"

	"github.com/postern-nas/postern/tpm/tpmtest"
)

// BenchmarkSign is what a connection costs where the certificate's key is: in memory, or in the chip (in software here).
func BenchmarkSign(b *testing.B) {
	for _, want := range []Where{Sealed, Resident} {
		b.Run(want.String(), func(b *testing.B) {
			r := New(Options{Dir: b.TempDir(), Device: tpmtest.New(b).Socket, Want: want})
			defer r.Close()
			if err := r.Open(); err != nil {
				b.Fatal(err)
			}
			k, err := r.Make("server.key")
			if err != nil {
				b.Fatal(err)
			}
			digest := make([]byte, 32)
			for b.Loop() {
				if _, err := k.Sign(rand.Reader, digest, crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen is what a start costs.
func BenchmarkOpen(b *testing.B) {
	o := Options{Dir: b.TempDir(), Device: tpmtest.New(b).Socket}
	for b.Loop() {
		r := New(o)
		if err := r.Open(); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}

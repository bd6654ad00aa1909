package pairing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
)

func requestOf(t testing.TB, key crypto.Signer, change func(*x509.CertificateRequest)) []byte {
	t.Helper()
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "PC"}}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func must[K any](key K, err error) K {
	if err != nil {
		panic(err)
	}
	return key
}

func extension(value any, oid ...int) func(*x509.CertificateRequest) {
	der := must(asn1.Marshal(value))
	return func(r *x509.CertificateRequest) {
		r.ExtraExtensions = append(r.ExtraExtensions, pkix.Extension{Id: oid, Value: der})
	}
}

// Which requests are signed. Windows' certreq adds extensions by itself.
func TestRequest(t *testing.T) {
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	rsa2048 := must(rsa.GenerateKey(rand.Reader, 2048))
	small := *rsa2048
	small.E = 3 // with this exponent the private half is another, but what is looked at comes first
	clientAuth := []asn1.ObjectIdentifier{oidClientAuth}
	der := requestOf(t, p256, nil)
	flip := func(i int) []byte {
		b := append([]byte(nil), der...)
		b[i] ^= 1
		return b
	}
	asPEM := func(label string) []byte { return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}) }
	for _, test := range []struct {
		name string
		csr  []byte
		good bool
	}{
		{"P-256", der, true},
		{"P-384", requestOf(t, must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), nil), true},
		{"RSA 2048", requestOf(t, rsa2048, nil), true},
		{"RSA 2048, PSS", requestOf(t, rsa2048, func(r *x509.CertificateRequest) { r.SignatureAlgorithm = x509.SHA256WithRSAPSS }), true},
		{"PEM", asPEM("CERTIFICATE REQUEST"), true},
		{"PEM as certreq labels it", asPEM("NEW CERTIFICATE REQUEST"), true},
		{"base64", []byte(base64.StdEncoding.EncodeToString(der)), true},
		{"for client authentication", requestOf(t, p256, extension(clientAuth, 2, 5, 29, 37)), true},
		{"key usage and identifier", requestOf(t, p256, func(r *x509.CertificateRequest) {
			extension(asn1.BitString{Bytes: []byte{0x80}, BitLength: 1}, 2, 5, 29, 15)(r)
			extension([]byte("identifier"), 2, 5, 29, 14)(r)
		}), true},

		{"empty", nil, false},
		{"too long", make([]byte, MaxRequest+1), false},
		{"a certificate's label", asPEM("CERTIFICATE"), false},
		{"two of them", append(asPEM("CERTIFICATE REQUEST"), asPEM("CERTIFICATE REQUEST")...), false},
		{"something behind it", append(der[:len(der):len(der)], 0), false},
		{"signature", flip(len(der) - 1), false},
		{"key", flip(100), false},
		{"P-224", requestOf(t, must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)), nil), false},
		{"P-521", requestOf(t, must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)), nil), false},
		{"Ed25519", requestOf(t, func() crypto.Signer { _, k, _ := ed25519.GenerateKey(rand.Reader); return k }(), nil), false},
		{"for a server", requestOf(t, p256, extension([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 1}}, 2, 5, 29, 37)), false},
		{"for both", requestOf(t, p256, extension([]asn1.ObjectIdentifier{oidClientAuth, {1, 3, 6, 1, 5, 5, 7, 3, 1}}, 2, 5, 29, 37)), false},
		{"for anything", requestOf(t, p256, extension([]asn1.ObjectIdentifier{{2, 5, 29, 37, 0}}, 2, 5, 29, 37)), false},
		{"a usage that is none", requestOf(t, p256, extension("text", 2, 5, 29, 37)), false},
		{"an authority", requestOf(t, p256, extension(struct{ CA bool }{true}, 2, 5, 29, 19)), false},
		{"a name", requestOf(t, p256, func(r *x509.CertificateRequest) { r.DNSNames = []string{"postern.local"} }), false},
		{"a user principal", requestOf(t, p256, func(r *x509.CertificateRequest) { r.EmailAddresses = []string{"root@example.org"} }), false},
		{"unknown extension", requestOf(t, p256, extension("x", 1, 2, 3)), false},
	} {
		key, err := checkRequest(test.csr)
		if test.good != (err == nil) || err != nil && !errors.Is(err, ErrRequest) || (key != nil) != test.good {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	for n := range der {
		if _, err := checkRequest(der[:n]); !errors.Is(err, ErrRequest) {
			t.Fatalf("%d bytes of it: %v", n, err)
		}
	}
	for _, key := range []crypto.PublicKey{
		nil,
		&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2046), E: 65537},
		&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 4096), E: 65537},
		&small.PublicKey,
		&rsa.PublicKey{N: rsa2048.N, E: 65538},
	} {
		if checkKey(key) == nil {
			t.Errorf("%v is taken", key)
		}
	}
}

func FuzzRequest(f *testing.F) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := requestOf(f, key, extension([]asn1.ObjectIdentifier{oidClientAuth}, 2, 5, 29, 37))
	f.Add(der)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "NEW CERTIFICATE REQUEST", Bytes: der}))
	f.Add([]byte(base64.StdEncoding.EncodeToString(der)))
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, csr []byte) {
		key, err := checkRequest(csr)
		if (key == nil) == (err == nil) || err != nil && !errors.Is(err, ErrRequest) {
			t.Fatalf("%v, %v", key, err)
		}
		if err == nil && checkKey(key) != nil {
			t.Fatal("a bad key came through")
		}
	})
}

func FuzzBook(f *testing.F) {
	f.Add([]byte(`{"version":1,"devices":[],"revoked":[]}`))
	f.Add([]byte(`{"version":1,"devices":[{"id":"a","name":"b","issued":"2026-11-01T00:00:00Z","certificates":[]}],"revoked":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, err := parseBook(data); err == nil && b.valid() != nil {
			t.Fatal("an invalid book came through")
		}
	})
}

// Package quictest makes what tests of SMB over QUIC need: certificates, a client, connected pairs, and a packet
// socket that treats packets badly.
package quictest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// A CA is a certificate authority that lives as long as the test.
type CA struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// NewCA makes an authority whose subject is CN=name, O=Postern, valid for a day.
func NewCA(name string) *CA { return (&CA{}).sub(name) }

// Sub makes an authority below this one.
func (ca *CA) Sub(name string) *CA { return ca.sub(name) }

func (ca *CA) sub(name string) *CA {
	key := newKey()
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Postern"}},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if ca.Cert == nil {
		return &CA{Cert: sign(template, template, key.Public(), key), Key: key}
	}
	return &CA{Cert: sign(template, ca.Cert, key.Public(), ca.Key), Key: key}
}

// Pool trusts this authority and no other.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// PEM is the authority's certificate as a file for clients that read one.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Cert.Raw})
}

// An Option changes a certificate's template before it is signed.
type Option func(*x509.Certificate)

// Expired makes a certificate's day the day before yesterday.
func Expired(c *x509.Certificate) {
	c.NotBefore = time.Now().Add(-72 * time.Hour)
	c.NotAfter = time.Now().Add(-48 * time.Hour)
}

// Usage sets the extended key usage.
func Usage(u ...x509.ExtKeyUsage) Option {
	return func(c *x509.Certificate) { c.ExtKeyUsage = u }
}

// Leaf makes a server certificate for DNS names: ECDSA P-256, digitalSignature, serverAuth, with the authority's
// certificate behind it in the chain unless that is a root.
func (ca *CA) Leaf(names []string, opts ...Option) tls.Certificate {
	return ca.Issue(newKey(), "", names, append([]Option{Usage(x509.ExtKeyUsageServerAuth)}, opts...)...)
}

// Client makes a client certificate with subject CN=name: ECDSA P-256, digitalSignature, clientAuth.
func (ca *CA) Client(name string, opts ...Option) tls.Certificate {
	return ca.Issue(newKey(), name, nil, append([]Option{Usage(x509.ExtKeyUsageClientAuth)}, opts...)...)
}

// Issue makes a certificate for a key that the caller has.
func (ca *CA) Issue(key crypto.Signer, cn string, names []string, opts ...Option) tls.Certificate {
	if cn == "" && len(names) > 0 {
		cn = names[0]
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{CommonName: cn},
		DNSNames:     names,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	for _, o := range opts {
		o(template)
	}
	leaf := sign(template, ca.Cert, key.Public(), ca.Key)
	chain := [][]byte{leaf.Raw}
	if ca.Cert.Issuer.String() != ca.Cert.Subject.String() {
		chain = append(chain, ca.Cert.Raw)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}
}

func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		panic(fmt.Sprintf("quictest: certificate: %v", err))
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(fmt.Sprintf("quictest: certificate: %v", err))
	}
	return cert
}

func newKey() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(fmt.Sprintf("quictest: key: %v", err))
	}
	return key
}

func newSerial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(fmt.Sprintf("quictest: serial: %v", err))
	}
	return n
}

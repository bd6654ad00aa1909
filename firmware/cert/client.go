package cert

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"time"
)

// clientLife is how long a paired computer's certificate lives. What keeps a lost computer out is its entry in the access
// list, at once; the end of its certificate only sees to it that forgotten ones do not gather.
const clientLife = 3 * 365 * 24 * time.Hour

// IssueClient signs a client certificate for a key that the client keeps: name is the computer's as its owner knows it,
// id the device's. Nothing of what the client asked for beside its key is in it.
func (a *Authority) IssueClient(key crypto.PublicKey, name, id string, now time.Time) (*x509.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: name, SerialNumber: id},
		NotBefore:    since(now), NotAfter: earlier(until(now, clientLife), a.cert.NotAfter),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

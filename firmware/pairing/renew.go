package pairing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/postern-nas/postern/firmware/audit"
)

// Errors of Renew and Leave.
var (
	ErrTooEarly = errors.New("the certificate is good for long enough")
	ErrProof    = errors.New("this is not proved with the key of a paired device's certificate")
)

// Renew gives a paired device its next certificate. csr is a request as for Enrol, of a new key or the same; old is the
// SHA-256 of the certificate that the device has, and proof a signature of the request's bytes as sent, by that
// certificate's key: ECDSA with SHA-256, the two numbers one after the other as .NET writes them or as ASN.1, or RSA
// PKCS #1 v1.5 with SHA-256. It needs nothing secret: whoever repeats a request gets a certificate for a key he has not.
//
// The old certificate goes on being let in until the new one is used. ErrTooEarly comes before the last RenewFrom of its
// life.
func (d *Desk) Renew(_ context.Context, old [sha256.Size]byte, csr, proof []byte) (Device, []byte, error) {
	key, err := checkRequest(csr)
	if err != nil {
		return Device{}, nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.book.Devices, func(v device) bool {
		return slices.ContainsFunc(v.Certs, func(c issued) bool { return c.SHA256 == old })
	})
	if i < 0 {
		return Device{}, nil, ErrProof // whether a certificate is known is nobody's business
	}
	next := d.copied()
	v := &next.Devices[i]
	have := v.Certs[slices.IndexFunc(v.Certs, func(c issued) bool { return c.SHA256 == old })]
	cert, err := x509.ParseCertificate(have.DER)
	if err != nil {
		return Device{}, nil, err
	}
	if !signed(cert.PublicKey, csr, proof) {
		return Device{}, nil, ErrProof
	}
	now := time.Now()
	if now.After(cert.NotAfter) {
		return Device{}, nil, fmt.Errorf("%w: it has ended on %s; pair the device again", ErrProof, cert.NotAfter.Format(time.DateOnly))
	}
	if cert.NotAfter.Sub(now) > RenewFrom {
		return Device{}, nil, ErrTooEarly
	}
	fresh, err := d.cfg.Issuer.IssueClient(key, v.Name, v.ID, now)
	if err != nil {
		return Device{}, nil, err
	}
	v.Certs = []issued{have, {SHA256: sha256.Sum256(fresh.Raw), NotAfter: fresh.NotAfter.UTC(), DER: fresh.Raw}}
	if err := d.write(next); err != nil {
		return Device{}, nil, err
	}
	d.cfg.Changed()
	d.cfg.Audit(audit.Event{
		ID: audit.Renewed, OK: true, Device: v.Name, User: v.User, Certificates: audit.DescribeAll([]*x509.Certificate{fresh, cert}),
	})
	return v.device(), fresh.Raw, nil
}

// signed reports whether proof is key's signature of what.
func signed(key crypto.PublicKey, what, proof []byte) bool {
	sum := sha256.Sum256(what)
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		size := (k.Curve.Params().BitSize + 7) / 8
		if len(proof) == 2*size {
			r, s := new(big.Int).SetBytes(proof[:size]), new(big.Int).SetBytes(proof[size:])
			return ecdsa.Verify(k, sum[:], r, s)
		}
		return ecdsa.VerifyASN1(k, sum[:], proof)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], proof) == nil
	}
	return false
}

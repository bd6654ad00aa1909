package quic

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
)

// ErrAccessDenied is the error of an access check that was made and said no.
var ErrAccessDenied = errors.New("access denied")

// An AccessList says which client certificates are let in ([MS-SMB2] 3.3.1.18). Order means nothing: a client is
// let in if at least one Allow entry and no Deny entry matches any of the certificates it sent. So an empty list
// lets nobody in.
type AccessList []AccessEntry

// An AccessEntry matches a certificate by one of two things; exactly one must be set.
type AccessEntry struct {
	Deny bool
	// SHA256 is the hash of a whole certificate (DER). One of a root matches nothing, as clients do not send it.
	SHA256 [sha256.Size]byte
	// Issuer is the name of the authority that signed the certificate: its subject, not the certificate's.
	Issuer Name
}

// Valid says what is wrong with a list, if anything.
func (l AccessList) Valid() error {
	for i, e := range l {
		if (e.SHA256 == [sha256.Size]byte{}) == (len(e.Issuer) == 0) {
			return fmt.Errorf("access list entry %d: a hash or an issuer is needed, and not both", i+1)
		}
	}
	return nil
}

// Check is ClientAuth.Access for this list.
func (l AccessList) Check(sent []*x509.Certificate) error {
	if err := l.Valid(); err != nil {
		return err
	}
	allowed := false
	for _, cert := range sent {
		hash := sha256.Sum256(cert.Raw)
		issuer, err := issuerOf(cert)
		if err != nil {
			return err // not "no match": a Deny entry might have matched
		}
		for _, e := range l {
			var match bool
			if len(e.Issuer) > 0 {
				match = e.Issuer.Equal(issuer)
			} else {
				match = e.SHA256 == hash
			}
			if match && e.Deny {
				return fmt.Errorf("%w: a deny entry matches %q", ErrAccessDenied, cert.Subject)
			}
			allowed = allowed || match
		}
	}
	if !allowed {
		if len(sent) == 0 {
			return fmt.Errorf("%w: no certificate", ErrAccessDenied)
		}
		return fmt.Errorf("%w: no allow entry matches %q", ErrAccessDenied, sent[0].Subject)
	}
	return nil
}

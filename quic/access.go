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

// Matches returns the entries that match any of the certificates a client sent. An error means that it cannot be told.
func (l AccessList) Matches(sent []*x509.Certificate) (allow, deny AccessList, err error) {
	if err := l.Valid(); err != nil {
		return nil, nil, err
	}
	hit := make([]bool, len(l))
	for _, cert := range sent {
		hash := sha256.Sum256(cert.Raw)
		issuer, err := issuerOf(cert)
		if err != nil {
			return nil, nil, err // not "no match": a Deny entry might have matched
		}
		for i, e := range l {
			if len(e.Issuer) > 0 {
				hit[i] = hit[i] || e.Issuer.Equal(issuer)
			} else {
				hit[i] = hit[i] || e.SHA256 == hash
			}
		}
	}
	for i, e := range l {
		switch {
		case hit[i] && e.Deny:
			deny = append(deny, e)
		case hit[i]:
			allow = append(allow, e)
		}
	}
	return allow, deny, nil
}

// Check is ClientAuth.Access for this list.
func (l AccessList) Check(sent []*x509.Certificate) error {
	allow, deny, err := l.Matches(sent)
	switch {
	case err != nil:
		return err
	case len(deny) > 0:
		return fmt.Errorf("%w: a deny entry matches %q", ErrAccessDenied, sent[0].Subject)
	case len(allow) > 0:
		return nil
	case len(sent) == 0:
		return fmt.Errorf("%w: no certificate", ErrAccessDenied)
	}
	return fmt.Errorf("%w: no allow entry matches %q", ErrAccessDenied, sent[0].Subject)
}

// String is the entry as people read it: "deny SHA256 0123...", "allow ISSUER CN=...".
func (e AccessEntry) String() string {
	what := "allow "
	if e.Deny {
		what = "deny "
	}
	if len(e.Issuer) > 0 {
		return what + "ISSUER " + e.Issuer.String()
	}
	return what + fmt.Sprintf("SHA256 %X", e.SHA256)
}

package quic

import (
	"crypto/tls"
	"errors"
)

// Certificate is the certificate that a client is shown that asks for the name in hello, or the default one where it asks
// for none that is served. It is what tls.Config.GetCertificate wants, so that other listeners show the same as QUIC does;
// unlike QUIC they must answer a browser that was given an address.
func (s *Store) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	m, _, err := s.match(hello.ServerName)
	if err != nil {
		if t := s.table.Load(); t != nil && t.fallback != nil {
			m, err = t.fallback, nil
		}
	}
	if err != nil {
		return nil, errors.Join(errors.New("quic: no certificate to show"), err)
	}
	return &m.Certificate, nil
}

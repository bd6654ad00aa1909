package quic

import (
	"crypto"
	_ "crypto/sha256" // the hashes of endpointHash
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// endpointHash is the hash function of tls-server-end-point for a certificate (RFC 5929 section 4.1): that of its
// signature, or SHA-256 where that would be MD5 or SHA-1.
func endpointHash(cert *x509.Certificate) crypto.Hash {
	switch cert.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		return crypto.SHA512
	}
	return crypto.SHA256
}

// bindings makes what Conn.Bindings gives out.
func bindings(served *x509.Certificate, state *tls.ConnectionState) ([][]byte, error) {
	h := endpointHash(served).New()
	h.Write(served.Raw)
	endpoint := h.Sum([]byte("tls-server-end-point:"))

	exported, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return nil, fmt.Errorf("quic: channel binding: %w", err)
	}
	return [][]byte{endpoint, append([]byte("tls-exporter:"), exported...)}, nil
}

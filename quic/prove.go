package quic

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxChain bounds a served chain: peers that keep a handshake within 16 KiB (quic-go does) could not read more.
const maxChain = 15 << 10

// Prove checks that a mapping can be served to a Windows client, and gives its leaf certificate: the chain parses
// and each certificate is signed by the next; the leaf is not expired, covers every name, and is meant for server
// authentication; the key is ECDSA P-256 or better or RSA 2048 or better, belongs to the leaf, and signs.
//
// A leaf that is not valid yet passes: a NAS without a battery clock boots in the past, and the client, who knows
// better, checks it again.
func Prove(m Mapping, now time.Time) (*x509.Certificate, error) {
	if len(m.Names) == 0 && !m.Default {
		return nil, errors.New("no names, and not the default")
	}
	chain, err := proveChain(m.Certificate.Certificate)
	if err != nil {
		return nil, err
	}
	leaf := chain[0]
	if now.After(leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate expired on %s", leaf.NotAfter.Format(time.DateOnly))
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, errors.New("the certificate's key usage lacks digitalSignature")
	}
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return nil, errors.New("the certificate's extended key usage lacks server authentication")
	}
	for _, name := range m.Names {
		name, err := canonicalName(name)
		if err != nil {
			return nil, err
		}
		if !covers(leaf, name) {
			return nil, fmt.Errorf("the certificate has no subject alternative name for %s", name)
		}
	}
	if err := proveKey(leaf, m.Certificate.PrivateKey); err != nil {
		return nil, err
	}
	if m.ClientAuth != nil && m.ClientAuth.CAs == nil {
		return nil, errors.New("client certificates are asked for, but no authority is trusted to sign them")
	}
	return leaf, nil
}

func proveChain(raw [][]byte) ([]*x509.Certificate, error) {
	if len(raw) == 0 {
		return nil, errors.New("no certificate")
	}
	var chain []*x509.Certificate
	size := 0
	for i, der := range raw {
		if size += len(der); size > maxChain {
			return nil, fmt.Errorf("the chain is longer than %d bytes", maxChain)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the chain: %w", i+1, err)
		}
		if i > 0 {
			if err := chain[i-1].CheckSignatureFrom(cert); err != nil {
				return nil, fmt.Errorf("certificate %d of the chain is not signed by the next: %w", i, err)
			}
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// covers is VerifyHostname that also takes a wildcard for what it is.
func covers(leaf *x509.Certificate, name string) bool {
	if name[0] != '*' {
		return leaf.VerifyHostname(name) == nil
	}
	return slices.ContainsFunc(leaf.DNSNames, func(san string) bool {
		san, err := canonicalName(san)
		return err == nil && san == name
	})
}

func proveKey(leaf *x509.Certificate, key crypto.PrivateKey) error {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return fmt.Errorf("the key (%T) cannot sign", key)
	}
	hash := crypto.SHA256
	var opts crypto.SignerOpts = hash
	var algorithm x509.SignatureAlgorithm
	switch pub := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
			algorithm = x509.ECDSAWithSHA256
		case elliptic.P384():
			hash, opts, algorithm = crypto.SHA384, crypto.SHA384, x509.ECDSAWithSHA384
		case elliptic.P521():
			hash, opts, algorithm = crypto.SHA512, crypto.SHA512, x509.ECDSAWithSHA512
		default:
			return fmt.Errorf("ECDSA on %s is too weak or unknown: P-256, P-384 and P-521 are allowed",
				pub.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if pub.N.BitLen() < 2048 {
			return fmt.Errorf("an RSA key of %d bits is too weak: 2048 at least", pub.N.BitLen())
		}
		// The salt's length is what TLS 1.3 wants (RFC 8446 section 4.2.3), and what some TPMs cannot do: better
		// to hear of it here.
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
		algorithm = x509.SHA256WithRSAPSS
	default:
		return fmt.Errorf("a %s key: Windows clients know ECDSA and RSA", leaf.PublicKeyAlgorithm)
	}

	// Bytes are compared, as a signer outside of this process may bring a public key type of its own.
	want, err := x509.MarshalPKIXPublicKey(leaf.PublicKey)
	if err != nil {
		return fmt.Errorf("the certificate's public key: %w", err)
	}
	have, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return fmt.Errorf("the key's public half: %w", err)
	}
	if !bytes.Equal(have, want) {
		return errors.New("the key is not the certificate's")
	}
	probe := []byte("postern: does this key sign?")
	h := hash.New()
	h.Write(probe)
	signature, err := signer.Sign(rand.Reader, h.Sum(nil), opts)
	if err != nil {
		return fmt.Errorf("the key does not sign: %w", err)
	}
	if err := leaf.CheckSignature(algorithm, probe, signature); err != nil {
		return fmt.Errorf("the key signs wrongly: %w", err)
	}
	return nil
}

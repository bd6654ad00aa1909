package pairing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
)

// MaxRequest bounds a certificate request, in bytes.
const MaxRequest = 16 << 10

// What a request may ask for: nothing of it is granted as asked, but a request for more is one made for something else.
// Windows' certreq adds all of these by itself.
var requestExtensions = []asn1.ObjectIdentifier{
	{2, 5, 29, 14},                  // subject key identifier
	{2, 5, 29, 15},                  // key usage
	{2, 5, 29, 37},                  // extended key usage
	{1, 3, 6, 1, 4, 1, 311, 21, 10}, // Microsoft's application policies
	{1, 2, 840, 113549, 1, 9, 15},   // S/MIME capabilities
}

var (
	oidExtKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidClientAuth  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}
)

var requestAlgorithms = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
}

// checkRequest proves that a PKCS #10 request (RFC 2986) was made by who holds its key, and that the key is good, and
// returns the key. It takes DER, PEM with either of the labels in use, and bare base64.
func checkRequest(csr []byte) (crypto.PublicKey, error) {
	bad := func(format string, args ...any) (crypto.PublicKey, error) {
		return nil, fmt.Errorf("%w: %w", ErrRequest, fmt.Errorf(format, args...))
	}
	if len(csr) == 0 || len(csr) > MaxRequest {
		return bad("%d bytes; 1 to %d are allowed", len(csr), MaxRequest)
	}
	der := csr
	if block, rest := pem.Decode(csr); block != nil {
		if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
			return bad("it is a %.64q", block.Type)
		}
		if len(bytes.TrimSpace(rest)) > 0 {
			return bad("there is something behind it")
		}
		der = block.Bytes
	} else if csr[0] != 0x30 { // a SEQUENCE is what DER begins with
		b, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(csr), nil)))
		if err != nil {
			return bad("neither DER nor PEM")
		}
		der = b
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return bad("%w", err)
	}
	if !slices.Contains(requestAlgorithms, r.SignatureAlgorithm) {
		return bad("signed with %v; SHA-256 or better is needed", r.SignatureAlgorithm)
	}
	if err := checkKey(r.PublicKey); err != nil {
		return bad("%w", err)
	}
	if err := r.CheckSignature(); err != nil {
		return bad("its signature is wrong: %w", err)
	}
	for _, e := range r.Extensions {
		if !slices.ContainsFunc(requestExtensions, e.Id.Equal) {
			return bad("it asks for extension %v, which a paired device does not get", e.Id)
		}
		if e.Id.Equal(oidExtKeyUsage) {
			var usages []asn1.ObjectIdentifier
			rest, err := asn1.Unmarshal(e.Value, &usages)
			if err != nil || len(rest) > 0 || len(usages) != 1 || !usages[0].Equal(oidClientAuth) {
				return bad("it asks for another use than client authentication")
			}
		}
	}
	return r.PublicKey, nil
}

// checkKey lets through ECDSA on P-256 and P-384, and RSA from 2048 to 4096 bits.
func checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return fmt.Errorf("an ECDSA key on %s: P-256 and P-384 are allowed", k.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 4096 {
			return fmt.Errorf("an RSA key of %d bits: 2048 to 4096 are allowed", n)
		}
		if k.E < 65537 || k.E&1 == 0 {
			return fmt.Errorf("an RSA key with exponent %d", k.E)
		}
	default:
		return fmt.Errorf("a key of type %T: ECDSA and RSA are allowed", key)
	}
	return nil
}

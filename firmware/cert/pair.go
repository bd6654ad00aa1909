package cert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/postern-nas/postern/firmware/state"
)

// ErrMoving comes with a key that is good, while the next one of its name will be kept elsewhere.
var ErrMoving = errors.New("the key is to be kept elsewhere")

// maxChain bounds the certificates in one file.
const maxChain = 16

// Chain reads a chain from PEM text, the server's own certificate first. Other blocks are passed over.
func Chain(text []byte) (ders [][]byte, leaf *x509.Certificate, err error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		if len(ders) == maxChain {
			return nil, nil, fmt.Errorf("more than %d certificates", maxChain)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("certificate %d: %w", len(ders)+1, err)
		}
		if leaf == nil {
			leaf = c
		}
		ders = append(ders, block.Bytes)
	}
	if leaf == nil {
		return nil, nil, errors.New("no certificate in it")
	}
	return ders, leaf, nil
}

// Pair joins a chain in PEM text and the key that belongs to it.
func Pair(text []byte, key crypto.Signer) (tls.Certificate, error) {
	ders, leaf, err := Chain(text)
	if err != nil {
		return tls.Certificate{}, err
	}
	if !Belongs(key, leaf) {
		return tls.Certificate{}, errors.New("the private key is not the certificate's")
	}
	return tls.Certificate{Certificate: ders, PrivateKey: key, Leaf: leaf}, nil
}

// Belongs says whether the key is the certificate's.
func Belongs(key crypto.Signer, leaf *x509.Certificate) bool {
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key.Public())
}

// Files keeps keys as files in a folder, PEM of PKCS #8, that only their user may read. It is where they are without a TPM.
type Files string

// Load implements Keys.
func (dir Files) Load(name string) (crypto.Signer, error) {
	text, err := os.ReadFile(filepath.Join(string(dir), name))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no key in it", name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	k, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: a key of type %T", name, key)
	}
	return k, nil
}

// Make implements Keys.
func (dir Files) Make(string) (crypto.Signer, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// Save implements Keys.
func (dir Files) Save(name string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return state.Write(filepath.Join(string(dir), name), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// SetAside implements Keys.
func (dir Files) SetAside(name string, now time.Time) (string, error) {
	return state.SetAside(filepath.Join(string(dir), name), now)
}

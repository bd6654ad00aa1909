package cert

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postern-nas/postern/firmware/state"
)

// Certificates of other authorities that the owner took in: cert-ID.pem in the state folder, and the key cert-ID.key among
// the Keys. ID is a hash of the public key, so a certificate finds its key, and a renewed one for the same key takes the
// place of the old.

// maxImported bounds how many there may be, with requests that no certificate came for.
const maxImported = 32

var importedName = regexp.MustCompile(`^cert-[0-9a-f]{16}\.pem$`)

// errNoKey says what can be done without a key.
var errNoKey = errors.New("there is no private key for it here: give the key's file, too, or make a request with cert csr first")

// ID returns what a certificate for this public key is called here: 16 hex digits.
func ID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8]), nil
}

func keyName(id string) string  { return "cert-" + id + ".key" }
func fileName(id string) string { return "cert-" + id + ".pem" }

// Imported lists the IDs of what was taken into dir, in order.
func Imported(dir string) (ids []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if importedName.MatchString(e.Name()) && len(ids) < maxImported {
			ids = append(ids, strings.TrimSuffix(strings.TrimPrefix(e.Name(), "cert-"), ".pem"))
		}
	}
	return ids, err
}

// ImportedChain reads the chain of one, without its key.
func ImportedChain(dir, id string) ([][]byte, *x509.Certificate, error) {
	text, err := os.ReadFile(filepath.Join(dir, fileName(id)))
	if err != nil {
		return nil, nil, err
	}
	ders, leaf, err := Chain(text)
	if err != nil {
		err = fmt.Errorf("%s: %w", filepath.Join(dir, fileName(id)), err)
	}
	return ders, leaf, err
}

// LoadImported reads one with its key, and refuses what clients would refuse.
func LoadImported(dir, id string, keys Keys, now time.Time) (tls.Certificate, error) {
	ders, leaf, err := ImportedChain(dir, id)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := keys.Load(keyName(id))
	if err != nil && !errors.Is(err, ErrMoving) { // this key cannot move: its certificate is somebody else's
		return tls.Certificate{}, fmt.Errorf("%s: %w", keyName(id), err)
	}
	chain := tls.Certificate{Certificate: ders, PrivateKey: key, Leaf: leaf}
	if !Belongs(key, leaf) {
		return chain, fmt.Errorf("%s is not the key of %s", keyName(id), fileName(id))
	}
	if err := Check(leaf, now); err != nil {
		return chain, fmt.Errorf("%s: %w", filepath.Join(dir, fileName(id)), err)
	}
	return chain, nil
}

// Import takes in a chain in PEM text. key is its private key, or nil if that is here, from Request or from an earlier
// certificate. prove says whether the pair can be served; nothing is kept if it cannot.
func Import(dir string, keys Keys, text []byte, key crypto.Signer, prove func(tls.Certificate) error, now time.Time) (id string, err error) {
	_, leaf, err := Chain(text)
	if err != nil {
		return "", err
	}
	if err := Check(leaf, now); err != nil {
		return "", err
	}
	if id, err = ID(leaf.PublicKey); err != nil {
		return "", err
	}
	mine := key == nil
	if mine {
		if key, err = keys.Load(keyName(id)); errors.Is(err, fs.ErrNotExist) {
			return "", errNoKey
		} else if err != nil && !errors.Is(err, ErrMoving) {
			return "", err
		}
	}
	chain, err := Pair(text, key)
	if err != nil {
		return "", err
	}
	if err := prove(chain); err != nil {
		return "", err
	}
	if !mine {
		if ids, err := Imported(dir); err != nil {
			return "", err
		} else if len(ids) >= maxImported && !slices.Contains(ids, id) {
			return "", fmt.Errorf("there are %d certificates already: remove one first", len(ids))
		}
		// The key first: a certificate without it would be served by nobody.
		if err := keys.Save(keyName(id), key); err != nil {
			return "", err
		}
	}
	var clean []byte // without a key that may stand in the same file
	for _, der := range chain.Certificate {
		clean = append(clean, pemOf(der)...)
	}
	return id, state.Write(filepath.Join(dir, fileName(id)), clean, 0o644)
}

// Request makes a key for a certificate of another authority, and the request for it, PEM of PKCS #10 (RFC 2986). The key
// stays among the Keys; the certificate that comes back finds it.
func Request(keys Keys, names []string) (id string, text []byte, err error) {
	if len(names) == 0 {
		return "", nil, errors.New("a request needs a name")
	}
	// Only the key's own hash can name it, so it is made for the name's kind.
	key, err := keys.Make("cert-new.key")
	if err != nil {
		return "", nil, err
	}
	if id, err = ID(key.Public()); err != nil {
		return "", nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: clip(names[0], 64)}, DNSNames: names,
	}, key)
	if err != nil {
		return "", nil, err
	}
	if err := keys.Save(keyName(id), key); err != nil {
		return "", nil, err
	}
	return id, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// Remove forgets a certificate and its key.
func Remove(dir, id string, keys interface{ Remove(name string) error }) error {
	if !importedName.MatchString(fileName(id)) {
		return fmt.Errorf("%q is no certificate's ID: cert list says them", id)
	}
	if err := os.Remove(filepath.Join(dir, fileName(id))); err != nil {
		return err
	}
	return keys.Remove(keyName(id))
}

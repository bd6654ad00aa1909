// Package cert gives the server its certificates: from an authority of its own that clients trust by importing it
// once, or from files the owner supplies.
//
// Files, beside each other: ca.pem and server.pem (the chain, the server's own first), and ca.cer, which is ca.pem as
// Windows likes it. The private keys, ca.key and server.key, are where Keys has them. What cannot be read is set aside and
// made anew.
package cert

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern-nas/postern/firmware/state"
)

// How long certificates live. The server's is renewed when a third is left, so that a box that was switched off
// over the summer comes back in time. The authority outlives the box: replacing it means visiting every client.
const (
	authorityLife = 30 * 365 * 24 * time.Hour
	serverLife    = 365 * 24 * time.Hour
	// skew makes a certificate valid a while before it is made: our clock or the client's may be wrong.
	skew = 48 * time.Hour
)

// epoch is before any true now. A box without a battery clock may be in 1970 when it makes its certificates; they
// have to be good when it has learned the time.
var epoch = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// Keys is where private keys live: in files, in a TPM's care, or in the chip itself. firmware/keys is one.
type Keys interface {
	// Load returns a key: fs.ErrNotExist if there is none, and with the key an error that is ErrMoving if the next one
	// will be kept elsewhere.
	Load(name string) (crypto.Signer, error)
	// Make makes one, on P-256, for what will be called name. Until Save it is nowhere.
	Make(name string) (crypto.Signer, error)
	Save(name string, key crypto.Signer) error
	// SetAside takes one that cannot be used out of the way and says where it is now; fs.ErrNotExist if there is none.
	SetAside(name string, now time.Time) (string, error)
}

// An Authority signs this server's certificates.
type Authority struct {
	dir  string
	log  *slog.Logger
	keys Keys
	cert *x509.Certificate
	key  crypto.Signer
}

// OpenAuthority is OpenAuthorityWith, with the private keys as files in dir, too.
func OpenAuthority(dir, name string, now time.Time, log *slog.Logger) (*Authority, error) {
	return OpenAuthorityWith(Files(dir), dir, name, now, log)
}

// OpenAuthorityWith reads the authority in dir, or makes one for the server called name.
func OpenAuthorityWith(keys Keys, dir, name string, now time.Time, log *slog.Logger) (*Authority, error) {
	a := &Authority{dir: dir, log: log, keys: keys}
	pair, _, err := a.load("ca.pem", "ca.key")
	if err == nil {
		a.cert = pair.Leaf
		a.key, _ = pair.PrivateKey.(crypto.Signer)
		err = whole(a.cert)
	}
	if err == nil {
		// Windows opens it by a double click; PEM it does not everywhere.
		return a, a.keep("ca.cer", a.cert.Raw, 0o644)
	}
	if restored, err := a.restore(err); restored || err != nil {
		return a, err
	}
	if err := a.aside(err, "ca.key", "ca.pem", "ca.cer"); err != nil {
		return nil, err
	}
	return a, a.make(name, now)
}

// whole says what is wrong with an authority's certificate. It has signed itself, so no bit of it can have changed.
func whole(c *x509.Certificate) error {
	if !c.IsCA {
		return errors.New("not an authority of ours")
	}
	return c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
}

// restore is for an authority whose certificate cannot be read and whose key can: the certificate is also in the file for
// Windows and behind the server's. To make another would have every client trust us anew.
func (a *Authority) restore(why error) (done bool, err error) {
	key, err := a.keys.Load("ca.key")
	if err != nil && !errors.Is(err, ErrMoving) {
		return false, nil
	}
	var all [][]byte
	if der, err := os.ReadFile(a.WindowsFile()); err == nil {
		all = append(all, der)
	}
	if text, err := os.ReadFile(filepath.Join(a.dir, "server.pem")); err == nil {
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			all = append(all, block.Bytes)
		}
	}
	for _, der := range all {
		pair, err := Pair(pemOf(der), key)
		if err != nil || whole(pair.Leaf) != nil {
			continue
		}
		if err := a.aside(why, "ca.pem"); err != nil {
			return false, err
		}
		a.cert = pair.Leaf
		a.key, _ = pair.PrivateKey.(crypto.Signer)
		return true, errors.Join(a.keep("ca.pem", pemOf(der), 0o644), a.keep("ca.cer", der, 0o644))
	}
	return false, nil
}

func (a *Authority) make(name string, now time.Time) (err error) {
	if a.key, err = a.keys.Make("ca.key"); err != nil {
		return err
	}
	serial := serial()
	template := &x509.Certificate{
		SerialNumber: serial,
		// The number makes the name unique: clients look for an issuer by its name.
		Subject:   pkix.Name{CommonName: fmt.Sprintf("Postern authority of %s (%x)", clip(name, 32), serial.Bytes()[:4])},
		NotBefore: now.Add(-skew), NotAfter: later(now, epoch).Add(authorityLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true,
		BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	// The certificate last: without it the key counts for nothing and the next start begins again.
	if err := a.keys.Save("ca.key", a.key); err != nil {
		return err
	}
	if err := a.keep("ca.cer", der, 0o644); err != nil {
		return err
	}
	return state.Write(a.File(), pemOf(der), 0o644)
}

// Certificate returns the authority's own certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// File returns the path of the authority's certificate as PEM; WindowsFile the same as DER.
func (a *Authority) File() string        { return filepath.Join(a.dir, "ca.pem") }
func (a *Authority) WindowsFile() string { return filepath.Join(a.dir, "ca.cer") }

// Fingerprint returns the SHA-256 of the authority's certificate as Windows writes it: 64 hex digits in capitals.
func (a *Authority) Fingerprint() string { return fmt.Sprintf("%X", sha256.Sum256(a.cert.Raw)) }

// Signer returns the authority's key.
func (a *Authority) Signer() crypto.Signer { return a.key }

// Server is Renew, without a proof.
func (a *Authority) Server(names []string, now time.Time) (chain tls.Certificate, fresh bool, err error) {
	return a.Renew(names, now, nil)
}

// Renew returns the server's certificate for names: the one on disk if it fits, has a third of its life left and its key
// where it belongs, else a new one, with a new key. A new one is handed to prove before it takes the old one's place on the
// disk; an error of prove's leaves the old one there. fresh says which.
func (a *Authority) Renew(names []string, now time.Time, prove func(tls.Certificate) error) (chain tls.Certificate, fresh bool, err error) {
	chain, moving, err := a.load("server.pem", "server.key")
	if err == nil && !moving && a.fits(chain.Leaf, names, now) {
		return chain, false, nil
	}
	if err != nil {
		if err := a.aside(err, "server.key", "server.pem"); err != nil {
			return tls.Certificate{}, false, err
		}
	}
	chain, err = a.issue(names, now, prove)
	return chain, err == nil, err
}

// fits reports whether leaf is ours, for exactly names, and good for a while.
func (a *Authority) fits(leaf *x509.Certificate, names []string, now time.Time) bool {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return leaf.CheckSignatureFrom(a.cert) == nil && slices.Equal(leaf.DNSNames, names) &&
		!now.Before(leaf.NotBefore) && leaf.NotAfter.Sub(now) > life/3
}

func (a *Authority) issue(names []string, now time.Time, prove func(tls.Certificate) error) (tls.Certificate, error) {
	key, err := a.keys.Make("server.key")
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: clip(names[0], 64)}, // Windows wants a subject; the names that count are below
		NotBefore:    now.Add(-skew), NotAfter: earlier(later(now, epoch).Add(serverLife), a.cert.NotAfter),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    names, BasicConstraintsValid: true,
		// No revocation list and no address for one: Windows fails on what it cannot reach.
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	chain := tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
	if prove != nil {
		if err := prove(chain); err != nil {
			return tls.Certificate{}, fmt.Errorf("a new certificate: %w", err)
		}
	}
	// A crash between the two leaves a key that does not belong to the certificate: set aside at the next start.
	if err := a.keys.Save("server.key", key); err != nil {
		return tls.Certificate{}, err
	}
	if err := state.Write(filepath.Join(a.dir, "server.pem"), append(pemOf(der), pemOf(a.cert.Raw)...), 0o644); err != nil {
		return tls.Certificate{}, err
	}
	return chain, nil
}

// Load reads a chain and its key from files that the owner supplies, and refuses what clients would refuse.
func Load(certFile, keyFile string, now time.Time) (tls.Certificate, error) {
	chain, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return chain, err
	}
	if err := Check(chain.Leaf, now); err != nil {
		return chain, fmt.Errorf("%s: %w", certFile, err)
	}
	return chain, nil
}

// Check refuses a leaf that clients would refuse.
func Check(leaf *x509.Certificate, now time.Time) error {
	switch {
	case leaf.IsCA:
		return errors.New("the first certificate is an authority's, not a server's")
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate has expired on %s", leaf.NotAfter.Format(time.DateOnly))
	case len(leaf.DNSNames) == 0:
		return errors.New("the certificate has no DNS name in it")
	}
	return nil
}

// load reads a pair of our own.
func (a *Authority) load(certName, keyName string) (chain tls.Certificate, moving bool, err error) {
	text, err := os.ReadFile(filepath.Join(a.dir, certName))
	if err != nil {
		return chain, false, err
	}
	key, err := a.keys.Load(keyName)
	if moving = errors.Is(err, ErrMoving); err != nil && !moving {
		return chain, false, err
	}
	chain, err = Pair(text, key)
	return chain, moving, err
}

// aside makes room for new files. Nothing is said of files that are just not there.
func (a *Authority) aside(why error, names ...string) error {
	for _, name := range names {
		path := filepath.Join(a.dir, name)
		aside, err := "", error(nil)
		if strings.HasSuffix(name, ".key") {
			aside, err = a.keys.SetAside(name, time.Now())
		} else {
			aside, err = state.SetAside(path, time.Now())
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return errors.Join(why, err)
		}
		a.log.Error("a damaged file was set aside; a new one is made", "file", path, "now", aside, "error", why)
	}
	return nil
}

// keep writes a file unless it says that already.
func (a *Authority) keep(name string, data []byte, mode fs.FileMode) error {
	path := filepath.Join(a.dir, name)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return nil
	}
	return state.Write(path, data, mode)
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// serial returns a random serial number of 127 bits, and never a short one.
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] = b[0]&0x3F | 0x40
	return new(big.Int).SetBytes(b[:])
}

// clip cuts ASCII text: a common name has 64 characters at most.
func clip(s string, n int) string { return strings.TrimRight(s[:min(n, len(s))], ".-") }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

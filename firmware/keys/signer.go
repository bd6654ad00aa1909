package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"time"

	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/tpm"
)

// A key that lives in the chip is kept as what the chip made of it, and begins with this; others are PEM files of PKCS #8.
const residentMagic = "PTPK"

// A signer is a key in the chip, with what Save keeps of it.
type signer struct {
	*tpm.Key
	blob []byte
	ring *Ring
}

// Sign implements crypto.Signer. A chip that fails is told of.
func (s *signer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	sig, err := s.Key.Sign(rand, digest, opts)
	if opts.HashFunc() == crypto.SHA256 { // else it was not asked
		s.ring.signed(err)
	}
	return sig, err
}

// signed notes how a signature went.
func (r *Ring) signed(err error) {
	if r.failing.Swap(err != nil) == (err != nil) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		return
	}
	r.now.Trouble, r.now.Text, r.now.Advice = None, "", ""
	if err != nil {
		r.log.Error("the TPM does not sign: nobody can connect", "error", err)
		r.now.Trouble = Failing
		r.now.Text = "The TPM does not sign: nobody can connect"
		r.now.Advice = `Start the box again; if that does not help, key_store = "sealed" in postern.toml needs the TPM only at the start`
	}
	r.tell()
}

// Read returns a secret; without one of that name it is fs.ErrNotExist.
func (r *Ring) Read(name string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read(name)
}

func (r *Ring) read(name string) ([]byte, error) {
	switch {
	case !r.open:
		return nil, ErrShut
	case r.where == OnDisk:
		return readBounded(r.path(name), maxSecret)
	case r.secrets[name] == nil:
		return nil, fmt.Errorf("keys: %s: %w", name, fs.ErrNotExist)
	}
	return bytes.Clone(r.secrets[name]), nil
}

// Write keeps a secret, durably when it returns nil. Names are such as of files, lower case.
func (r *Ring) Write(name string, secret []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.put(name, secret)
}

func (r *Ring) put(name string, secret []byte) error {
	if !isPlain(name) || len(secret) > maxSecret || len(secret) == 0 {
		return fmt.Errorf("keys: %q with %d bytes is no secret that is kept here", name, len(secret))
	}
	if r.open && r.where == OnDisk {
		return state.Write(r.path(name), secret, 0o600)
	}
	return r.change(func(all secrets) error {
		all[name] = bytes.Clone(secret)
		return nil
	})
}

// Remove forgets a secret.
func (r *Ring) Remove(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.loaded[name]; k != nil {
		_ = k.Close()
		delete(r.loaded, name)
	}
	if r.open && r.where == OnDisk {
		return wipe(r.path(name))
	}
	return r.change(func(all secrets) error {
		delete(all, name)
		return nil
	})
}

// SetAside takes a secret that cannot be used out of the way. A plain file stays beside, under the name that is returned.
func (r *Ring) SetAside(name string, now time.Time) (string, error) {
	r.mu.Lock()
	plain := r.open && r.where == OnDisk
	_, err := r.read(name)
	r.mu.Unlock()
	switch {
	case plain:
		return state.SetAside(r.path(name), now)
	case err != nil:
		return "", err
	}
	return "nowhere", r.Remove(name)
}

// change changes what is in the vault, from what another process may have left there.
func (r *Ring) change(f func(secrets) error) error {
	switch {
	case !r.open:
		return ErrShut
	case r.where != Sealed:
		return errNotSealed
	}
	unlock, err := r.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.reload(); err != nil {
		return err
	}
	before := *r.vault
	all := maps.Clone(r.secrets)
	if err = f(all); err == nil {
		err = r.write(all)
	}
	if err != nil {
		r.vault = &before
	}
	return err
}

// reload reads the vault again if another process has changed it.
func (r *Ring) reload() error {
	vaults, err := readVaults(r.o.Dir)
	if errors.Is(err, errLater) {
		return err
	}
	if err != nil {
		r.log.Error("the sealed keys are gone from the disk; they are written again", "error", err)
		return nil // we have them
	}
	v := vaults[0]
	if v.generation == r.vault.generation {
		return nil
	}
	all, err := v.decrypt(r.key)
	if err != nil {
		return fmt.Errorf("keys: %s was replaced by another: start Postern again: %w", vaultFile, err)
	}
	r.vault, r.secrets = v, all
	return nil
}

// Reload takes over what another process, as the command line's, has changed.
func (r *Ring) Reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open || r.where != Sealed {
		return nil
	}
	if err := r.reload(); err != nil {
		return err
	}
	r.now.HasCode, r.now.CodeNoted = len(r.vault.code) > 0, r.secrets[notedName] != nil
	r.tell()
	return nil
}

// Load returns the key of that name. Without one it is fs.ErrNotExist. With cert.ErrMoving the key is good all the
// same, but not where the owner wants keys now.
func (r *Ring) Load(name string) (crypto.Signer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	blob, err := r.read(name)
	if err != nil {
		return nil, err
	}
	want := r.now.Where == Resident && !recoverable(name)
	if bytes.HasPrefix(blob, []byte(residentMagic)) {
		if k := r.loaded[name]; k != nil && bytes.Equal(k.blob, blob) {
			return k, elsewhere(want)
		}
		k, err := r.loadResident(blob)
		if err != nil {
			return nil, fmt.Errorf("keys: %s: %w", name, err)
		}
		r.loaded[name] = k
		return k, elsewhere(want)
	}
	k, err := ParseKey(blob)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", name, err)
	}
	return k, elsewhere(!want)
}

func elsewhere(fits bool) error {
	if fits {
		return nil
	}
	return cert.ErrMoving
}

// recoverable are keys that must outlive the chip: an authority that is lost means a visit to every client.
func recoverable(name string) bool { return name == "ca.key" }

func (r *Ring) loadResident(blob []byte) (*signer, error) {
	resident := new(tpm.Resident)
	if err := resident.UnmarshalBinary(blob); err != nil {
		return nil, err
	}
	if err := r.keepChip(); err != nil {
		return nil, err
	}
	k, err := r.chip.Load(resident, nil)
	if err != nil {
		return nil, err
	}
	return &signer{k, blob, r}, nil
}

// keepChip opens the chip for as long as the ring is open.
func (r *Ring) keepChip() error {
	if r.chip != nil {
		return nil
	}
	chip, err := r.connect()
	if err != nil {
		return err
	}
	if err := chip.Trust(r.vault.seals[0].Anchor); err != nil {
		_ = chip.Close()
		return err
	}
	r.chip = chip
	return nil
}

// Make makes a key on P-256 for what will be called name. Until Save it is nowhere.
func (r *Ring) Make(name string) (crypto.Signer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open {
		return nil, ErrShut
	}
	if r.where != Sealed || r.now.Where != Resident || recoverable(name) {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err := r.keepChip(); err != nil {
		return nil, err
	}
	// The vault it is kept in is what the policy is judged for.
	resident, err := r.chip.NewResident(tpm.Policy{Device: true})
	if err != nil {
		return nil, err
	}
	blob, err := resident.MarshalBinary()
	if err != nil {
		return nil, err
	}
	k, err := r.chip.Load(resident, nil)
	if err != nil {
		return nil, err
	}
	return &signer{k, blob, r}, nil
}

// Save keeps a key under name: one that Make made, or a private key of the standard library's.
func (r *Ring) Save(name string, key crypto.Signer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, resident := key.(*signer)
	if !resident {
		blob, err := MarshalKey(key)
		if err != nil {
			return err
		}
		return r.put(name, blob)
	}
	if err := r.put(name, k.blob); err != nil {
		return err
	}
	// Handshakes that have begun with the old one go on with it. In the chip it takes no room.
	r.loaded[name] = k
	return nil
}

// MarshalKey writes a private key as PEM of PKCS #8.
func MarshalKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads the first private key in PEM text: PKCS #8, PKCS #1 or SEC 1, not encrypted.
func ParseKey(text []byte) (crypto.Signer, error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("no private key in it")
		}
		text = rest
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("the private key is encrypted: decrypt it first, as with openssl pkey")
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		switch k := key.(type) {
		case *ecdsa.PrivateKey:
			return k, nil
		case *rsa.PrivateKey:
			return k, nil
		}
		return nil, fmt.Errorf("a key of type %T, where ECDSA or RSA is of use", key)
	}
}

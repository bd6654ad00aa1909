package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"golang.org/x/crypto/cryptobyte"

	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/tpm"
)

// The vault's file, big-endian, lengths before what they are of:
//
//	"PVLT"   what it is
//	uint8    version: 1
//	uint64   generation: one more with each writing
//	uint8    count of seals, each uint16 length and a tpm.Sealed that holds the vault's key
//	uint16   length, the vault's key locked with the recovery code
//	uint32   length, secrets: nonce and AES-256-GCM with the vault's key; what precedes "count of seals" is bound to it
//	[32]     SHA-256 of all this: tells damage. What it is, version and sum have their places in every version, so that an
//	         earlier one knows a later one's file, and leaves it alone
//
// and the secrets before they are encrypted:
//
//	uint8    count, each: uint8 length, name; uint16 length, secret
//
// It is written twice, one file after the other. A disk that spoils one leaves the other.
const (
	vaultFile    = "keys.sealed"
	vaultCopy    = "keys.sealed.copy"
	vaultMagic   = "PVLT"
	vaultVersion = 1
)

// Bounds of what is kept and of what is read.
const (
	maxSeals   = 4
	maxSecrets = 64
	maxSecret  = 12 << 10
	maxVault   = 256 << 10
)

// goodName is what a secret may be called; plain ones are files of that name.
var goodName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)

// errDamaged is a vault that cannot be read for what it is.
var errDamaged = errors.New("the file of sealed keys is damaged")

// errLater is a vault that a later version has written.
var errLater = errors.New("the file of sealed keys was written by a later version")

// A vault is what the file says, without the key.
type vault struct {
	generation uint64
	seals      []*tpm.Sealed
	code       []byte // empty: nobody has a recovery code
	payload    []byte
}

// secrets are the contents, by name.
type secrets map[string][]byte

func (v *vault) head() []byte {
	var b cryptobyte.Builder
	b.AddBytes([]byte(vaultMagic))
	b.AddUint8(vaultVersion)
	b.AddUint64(v.generation)
	return b.BytesOrPanic()
}

func (v *vault) marshal() ([]byte, error) {
	if len(v.seals) > maxSeals {
		return nil, fmt.Errorf("keys: %d seals are more than %d", len(v.seals), maxSeals)
	}
	b := cryptobyte.NewBuilder(v.head())
	b.AddUint8(uint8(len(v.seals)))
	for _, s := range v.seals {
		blob, err := s.MarshalBinary()
		if err != nil {
			return nil, err
		}
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(blob) })
	}
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(v.code) })
	b.AddUint32(uint32(len(v.payload)))
	b.AddBytes(v.payload)
	all, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(all)
	return append(all, sum[:]...), nil
}

func parseVault(b []byte) (*vault, error) {
	n := len(b) - sha256.Size
	if len(b) > maxVault || n < len(vaultMagic)+1 {
		return nil, fmt.Errorf("%w: %d bytes", errDamaged, len(b))
	}
	if sum := sha256.Sum256(b[:n]); sum != [32]byte(b[n:]) {
		return nil, fmt.Errorf("%w: its checksum is wrong", errDamaged)
	}
	if string(b[:4]) != vaultMagic {
		return nil, fmt.Errorf("%w: it begins with %q", errDamaged, b[:4])
	}
	if b[4] != vaultVersion {
		return nil, fmt.Errorf("%w: its form is %d, this one knows %d", errLater, b[4], vaultVersion)
	}
	r := cryptobyte.String(b[5:n])
	v := new(vault)
	var count uint8
	if !r.ReadUint64(&v.generation) || !r.ReadUint8(&count) || count > maxSeals {
		return nil, fmt.Errorf("%w: its seals", errDamaged)
	}
	for range count {
		var blob cryptobyte.String
		if !r.ReadUint16LengthPrefixed(&blob) {
			return nil, fmt.Errorf("%w: it ends early", errDamaged)
		}
		s := new(tpm.Sealed)
		if err := s.UnmarshalBinary(blob); errors.Is(err, tpm.ErrLater) {
			return nil, fmt.Errorf("%w: %w", errLater, err)
		} else if err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		v.seals = append(v.seals, s)
	}
	var code cryptobyte.String
	var size uint32
	if !r.ReadUint16LengthPrefixed(&code) || !r.ReadUint32(&size) || uint64(size) != uint64(len(r)) {
		return nil, fmt.Errorf("%w: its lengths do not fit", errDamaged)
	}
	v.code, v.payload = slices.Clone(code), slices.Clone(r)
	return v, nil
}

// encrypt puts the secrets in.
func (v *vault) encrypt(key []byte, all secrets) error {
	if len(all) > maxSecrets {
		return fmt.Errorf("keys: %d secrets are more than %d", len(all), maxSecrets)
	}
	var b cryptobyte.Builder
	b.AddUint8(uint8(len(all)))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(all[name]) })
	}
	plain, err := b.Bytes()
	if err != nil {
		return err
	}
	defer clear(plain)
	aead, err := newGCM(key)
	if err != nil {
		return err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	v.payload = aead.Seal(nonce, nonce, plain, v.head())
	return nil
}

// decrypt takes them out.
func (v *vault) decrypt(key []byte) (secrets, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	n := aead.NonceSize()
	if len(v.payload) < n {
		return nil, fmt.Errorf("%w: no secrets in it", errDamaged)
	}
	plain, err := aead.Open(nil, v.payload[:n], v.payload[n:], v.head())
	if err != nil {
		return nil, fmt.Errorf("%w: its key does not open it", errDamaged)
	}
	defer clear(plain)
	return parseSecrets(plain)
}

func parseSecrets(plain []byte) (secrets, error) {
	r := cryptobyte.String(plain)
	var count uint8
	if !r.ReadUint8(&count) || count > maxSecrets {
		return nil, fmt.Errorf("%w: its list of secrets", errDamaged)
	}
	all := make(secrets, count)
	for range count {
		var name, secret cryptobyte.String
		if !r.ReadUint8LengthPrefixed(&name) || !r.ReadUint16LengthPrefixed(&secret) || !goodName.MatchString(string(name)) ||
			len(secret) > maxSecret || all[string(name)] != nil {
			return nil, fmt.Errorf("%w: its list of secrets", errDamaged)
		}
		all[string(name)] = append([]byte{}, secret...)
	}
	if !r.Empty() {
		return nil, fmt.Errorf("%w: something follows its secrets", errDamaged)
	}
	return all, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// readVaults returns the vault's copies, the newest first. Without any it is os.ErrNotExist; with none that can be read,
// errDamaged; and with one of a later version errLater, or that one would be written over.
func readVaults(dir string) (found []*vault, err error) {
	var errs []error
	missing := 0
	for _, name := range []string{vaultFile, vaultCopy} {
		b, err := readBounded(filepath.Join(dir, name), maxVault)
		if errors.Is(err, os.ErrNotExist) {
			missing++
			continue
		}
		var v *vault
		if err == nil {
			v, err = parseVault(b)
		}
		if errors.Is(err, errLater) {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		found = append(found, v)
	}
	if missing == 2 {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, vaultFile), os.ErrNotExist)
	}
	if len(found) == 0 {
		return nil, errors.Join(errs...)
	}
	slices.SortStableFunc(found, func(a, b *vault) int {
		switch {
		case a.generation > b.generation:
			return -1
		case a.generation < b.generation:
			return 1
		}
		return 0
	})
	return found, nil
}

// writeVault writes both copies.
func writeVault(dir string, v *vault) error {
	b, err := v.marshal()
	if err != nil {
		return err
	}
	if len(b) > maxVault {
		return fmt.Errorf("keys: %d bytes are too much for %s", len(b), vaultFile)
	}
	for _, name := range []string{vaultFile, vaultCopy} {
		if err := state.Write(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > int64(limit) {
		return nil, fmt.Errorf("%w: %s has %d bytes", errDamaged, path, st.Size())
	}
	return os.ReadFile(path)
}

// wipe overwrites a file before it is removed. On flash that is no promise: the old cells may stay until the drive needs
// them.
func wipe(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(make([]byte, min(st.Size(), maxSecret)), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Remove(path)
}

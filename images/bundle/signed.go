package bundle

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"aead.dev/minisign"
)

// Why a bundle or feed is refused, apart from what its manifest says.
var (
	ErrFormat    = errors.New("this is no update of Postern")
	ErrNewer     = errors.New("this update is in a form that this version does not know; install an older one first")
	ErrSignature = errors.New("the signature is not by a key that this box trusts")
	ErrTruncated = errors.New("the update ends too early; it was not received whole")
	ErrDamaged   = errors.New("the update is damaged: not what was signed")
)

// How both kinds of file begin.
const (
	bundleMagic = "Postern bundle\r\n"
	feedMagic   = "Postern feed  \r\n"
	format      = 1
	headSize    = 32
)

// Bounds. A manifest with an image of 68 MiB has 10 KiB.
const (
	maxKeys      = 8 << 10
	maxDocument  = 64 << 10
	maxSignature = 1 << 10
	// maxEndorsed bounds how many keys one file may lead through: keys change every few years.
	maxEndorsed = 8
)

// An Endorsement is a key that an older key vouches for. A box whose image knows only keys that are out of use by now comes
// by it to the one that signs today.
type Endorsement struct {
	Key       string `json:"key"`       // minisign's public key: one line of Base64
	Signature string `json:"signature"` // by a trusted key or an endorsed one before it, over the statement
}

// keyStatement is what an endorsing key signs.
func keyStatement(key string) []byte { return []byte(`{"what":"postern key","key":"` + key + `"}`) }

// Endorse vouches for next with old.
func Endorse(old minisign.PrivateKey, next minisign.PublicKey) Endorsement {
	return Endorsement{next.String(), string(sign(old, keyStatement(next.String())))}
}

// sign signs without the time of signing, so that equal documents have equal signatures.
func sign(key minisign.PrivateKey, document []byte) []byte {
	return minisign.SignWithComments(key, document, "postern", "signature of Postern")
}

// verify says whether one of the keys signed the document.
func verify(trusted []minisign.PublicKey, document, signature []byte) bool {
	var s minisign.Signature
	if s.UnmarshalText(signature) != nil {
		return false
	}
	for _, k := range trusted {
		if k.ID() == s.KeyID && minisign.Verify(k, document, signature) {
			return true
		}
	}
	return false
}

// writeSigned writes all but an image.
func writeSigned(w io.Writer, magic string, key minisign.PrivateKey, endorsed []Endorsement, document []byte) error {
	var keys []byte
	if len(endorsed) > 0 {
		var err error
		if keys, err = json.Marshal(endorsed); err != nil {
			return err
		}
	}
	signature := sign(key, document)
	if len(keys) > maxKeys || len(endorsed) > maxEndorsed || len(document) > maxDocument || len(signature) > maxSignature {
		return fmt.Errorf("%d keys or a document of %d bytes: too many", len(endorsed), len(document))
	}
	head := []byte(magic)
	for _, n := range []int{format, len(keys), len(document), len(signature)} {
		head = binary.BigEndian.AppendUint32(head, uint32(n))
	}
	for _, part := range [][]byte{head, keys, document, signature} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// readSigned reads all but an image, and returns the document if one of the trusted keys, or one that these endorse, has
// signed it.
func readSigned(r io.Reader, magic string, trusted []minisign.PublicKey) (document []byte, err error) {
	head := make([]byte, headSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, ended(err)
	}
	if string(head[:len(magic)]) != magic {
		return nil, ErrFormat
	}
	n := func(at int) uint32 { return binary.BigEndian.Uint32(head[at:]) }
	if n(16) != format {
		return nil, fmt.Errorf("%w (form %d)", ErrNewer, n(16))
	}
	if n(20) > maxKeys || n(24) > maxDocument || n(28) > maxSignature {
		return nil, fmt.Errorf("%w: lengths of %d, %d and %d bytes", ErrFormat, n(20), n(24), n(28))
	}
	all := make([]byte, n(20)+n(24)+n(28))
	if _, err := io.ReadFull(r, all); err != nil {
		return nil, ended(err)
	}
	keys, document, signature := all[:n(20)], all[n(20):n(20)+n(24)], all[n(20)+n(24):]
	if trusted, err = endorsed(keys, trusted); err != nil {
		return nil, err
	}
	if !verify(trusted, document, signature) {
		return nil, ErrSignature
	}
	return document, nil
}

// endorsed adds the keys that the trusted ones vouch for, and those that they do.
func endorsed(keys []byte, trusted []minisign.PublicKey) ([]minisign.PublicKey, error) {
	if len(keys) == 0 {
		return trusted, nil
	}
	var list []Endorsement
	if err := json.Unmarshal(keys, &list); err != nil || len(list) > maxEndorsed {
		return nil, fmt.Errorf("%w: its keys cannot be read", ErrFormat)
	}
	trusted = trusted[:len(trusted):len(trusted)] // the caller's stays as it is
	for _, e := range list {
		var k minisign.PublicKey
		if k.UnmarshalText([]byte(e.Key)) != nil || k.String() != e.Key {
			return nil, fmt.Errorf("%w: one of its keys is none", ErrFormat)
		}
		// One that nobody here trusts is no reason to refuse: it may be for boxes with other keys.
		if verify(trusted, keyStatement(e.Key), []byte(e.Signature)) {
			trusted = append(trusted, k)
		}
	}
	return trusted, nil
}

// ended makes the end of a file that should go on a reason that people understand.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}

// ParseKeys reads public keys, one a line, as minisign writes them; lines that are empty or begin with "untrusted comment:"
// or # are left out.
func ParseKeys(text string) (keys []minisign.PublicKey, err error) {
	for n, line := range lines(text) {
		var k minisign.PublicKey
		if err := k.UnmarshalText([]byte(line)); err != nil {
			return nil, fmt.Errorf("line %d is no public key of minisign: %w", n, err)
		}
		if keys = append(keys, k); len(keys) > maxTrusted {
			return nil, fmt.Errorf("more than %d keys", maxTrusted)
		}
	}
	return keys, nil
}

// maxTrusted bounds how many keys an image may trust.
const maxTrusted = 16

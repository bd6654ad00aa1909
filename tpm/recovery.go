package tpm

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// A RecoveryCode opens what is sealed when the chip cannot: it broke, was cleared, or was left behind. It is random, and
// shown to the owner once.
type RecoveryCode [16]byte

// NewRecoveryCode makes one.
func NewRecoveryCode() (c RecoveryCode) {
	rand.Read(c[:]) // never fails: it aborts the program instead
	return c
}

// codeSum is how many bytes tell a code that was typed wrong from one of another box.
const codeSum = 4

// String is the code as the owner writes it down: eight groups of four letters and digits, none of which is easily
// taken for another.
func (c RecoveryCode) String() string {
	sum := sha256.Sum256(c[:])
	text := base32.StdEncoding.EncodeToString(append(c[:], sum[:codeSum]...))
	var groups []string
	for ; text != ""; text = text[4:] {
		groups = append(groups, text[:4])
	}
	return strings.Join(groups, "-")
}

// ErrCode is a recovery code that was not typed as it was shown.
var ErrCode = errors.New("this is not a recovery code: look for a letter that is missing or different")

// ParseRecoveryCode reads a code as people type it.
func ParseRecoveryCode(text string) (c RecoveryCode, err error) {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r == '0': // there are no 0, 1 and 8 in a code
			return 'O'
		case r == '1':
			return 'I'
		case r == '8':
			return 'B'
		case r == '-' || r == ' ' || r == '\t' || r == '\r' || r == '\n':
			return -1
		}
		return r
	}, text)
	b, err := base32.StdEncoding.DecodeString(clean)
	if err != nil || len(b) != len(c)+codeSum {
		return c, ErrCode
	}
	if sum := sha256.Sum256(b[:len(c)]); string(sum[:codeSum]) != string(b[len(c):]) {
		return c, ErrCode
	}
	return RecoveryCode(b[:len(c)]), nil
}

// Lock encrypts a secret so that only the code opens it. about is what it is for, and has to be said again to open it.
func (c RecoveryCode) Lock(secret []byte, about string) []byte {
	salt := make([]byte, 16)
	rand.Read(salt)
	return append(salt, encrypt(c.derive(salt, about), secret, nil)...)
}

// Unlock opens what Lock made; ErrOtherCode if this is not the code, or not what Lock made.
func (c RecoveryCode) Unlock(locked []byte, about string) ([]byte, error) {
	if len(locked) < 16 {
		return nil, fmt.Errorf("tpm: %w: %d bytes", ErrDamaged, len(locked))
	}
	secret, err := decrypt(c.derive(locked[:16], about), locked[16:], nil)
	if err != nil {
		return nil, ErrOtherCode
	}
	return secret, nil
}

// ErrOtherCode is a recovery code, but not the one of what it was to open.
var ErrOtherCode = errors.New("this is not the recovery code of this box, or it was replaced by a newer one")

// derive needs no slow hash: nobody tries 2^128 codes.
func (c RecoveryCode) derive(salt []byte, about string) []byte {
	key, err := hkdf.Key(sha256.New, c[:], salt, "postern recovery 2 "+about, 32)
	if err != nil {
		panic(err) // only a key too long for HKDF fails
	}
	return key
}

// key is the code's key for what is sealed with one chip.
func (c RecoveryCode) key(a Anchor) []byte {
	key, err := hkdf.Key(sha256.New, c[:], a[:], "postern recovery 1", 32)
	if err != nil {
		panic(err) // only a key too long for HKDF fails
	}
	return key
}

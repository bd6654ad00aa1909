package account

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/postern-nas/postern/smb/auth/ntlm"
)

// Bounds of names and passwords, in UTF-16 units. 20 is what Windows gives a name; a stranger who has watched a
// logon can try passwords at home, so they are long.
const (
	maxName     = 20
	minPassword = 10
	maxPassword = 256
)

// checkName says what is wrong with a user's name. The characters are those that Windows refuses, and the percent
// sign, by which smbclient ends a name.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a user needs a name")
	case !utf8.ValidString(name) || len(utf16.Encode([]rune(name))) > maxName:
		return fmt.Errorf("user name %q: at most %d characters", name, maxName)
	case strings.ContainsAny(name, `"/\[]:;|=,+*?<>@%`), strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf(`user name %q: none of " / \ [ ] : ; | = , + * ? < > @ %% and nothing that cannot be printed`, name)
	case strings.TrimSpace(name) != name, strings.HasSuffix(name, "."):
		return fmt.Errorf("user name %q: no space at either end, no dot at the end", name)
	}
	return nil
}

// hashOf checks a password and hashes it.
func hashOf(name, password string) (Hash, error) {
	switch n := len(utf16.Encode([]rune(password))); {
	case !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl):
		return Hash{}, errors.New("the password has characters in it that cannot be typed")
	case n < minPassword:
		return Hash{}, fmt.Errorf("the password is too short: at least %d characters", minPassword)
	case n > maxPassword:
		return Hash{}, fmt.Errorf("the password is too long: at most %d characters", maxPassword)
	case strings.EqualFold(password, name):
		return Hash{}, errors.New("the password is the user's name")
	}
	return ntlm.NTHash(password), nil
}

// letters are those that are not taken for one another; their number divides the bytes below 248 evenly.
const letters = "abcdefghjkmnpqrstuvwxyz23456789"

// NewPassword makes up a password to be read and typed: four groups of four characters, 79 bits.
func NewPassword() string {
	var out []byte
	for n := 0; n < 16; {
		var b [1]byte
		rand.Read(b[:])
		if int(b[0]) >= 256/len(letters)*len(letters) {
			continue
		}
		if n > 0 && n%4 == 0 {
			out = append(out, '-')
		}
		out = append(out, letters[int(b[0])%len(letters)])
		n++
	}
	return string(out)
}

// find returns the index of the user called name, case aside, or -1.
func find(users []entry, name string) int {
	for i := range users {
		if strings.EqualFold(users[i].Name, name) {
			return i
		}
	}
	return -1
}

func findRecord(users []record, name string) int {
	for i := range users {
		if strings.EqualFold(users[i].Name, name) {
			return i
		}
	}
	return -1
}

// unhex reads exactly len(dst) bytes.
func unhex(dst []byte, text string) error {
	b, err := hex.DecodeString(text)
	if err == nil && len(b) != len(dst) {
		err = fmt.Errorf("%d bytes, want %d", len(b), len(dst))
	}
	copy(dst, b)
	return err
}

package account

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/postern-nas/postern/smb/auth/ntlm"
)

// ErrLastOwner keeps the last owner from being locked out.
var ErrLastOwner = errors.New("this is the only owner who can sign in; make another user an owner first")

// Owned reports whether there is an owner who can sign in.
func (s *Store) Owned() bool {
	for _, u := range s.Users() {
		if u.signsIn() {
			return true
		}
	}
	return false
}

func (u User) signsIn() bool { return u.Owner && !u.Disabled && u.HasPassword }

// SetOwner makes a user an owner of the box, who may sign in to its page, or one no more.
func (s *Store) SetOwner(name string, owner bool) error {
	return s.changeOne(name, func(r *record) { r.Owner = owner })
}

// OwnerPassword reports whether name is an owner who may sign in and has the password. It takes as long for a user who is
// none. How often may be asked is for the caller to bound.
func (s *Store) OwnerPassword(name, password string) (User, bool) {
	given := ntlm.NTHash(password)
	s.mu.Lock()
	defer s.mu.Unlock()
	var kept Hash
	var user User
	ok := 0
	if i := find(s.users, name); i >= 0 && s.users[i].signsIn() {
		kept, user, ok = s.users[i].hash(), s.users[i].User, 1
	}
	if ok&subtle.ConstantTimeCompare(given[:], kept[:]) != 1 {
		return User{}, false
	}
	return user, true
}

// MayLose says why the user called name must not be disabled or removed: without an owner nobody can look after the box.
func (s *Store) MayLose(name string) error {
	users := s.Users()
	left, owner := 0, false
	for _, u := range users {
		if !u.signsIn() {
			continue
		}
		if find([]entry{{User: u}}, name) == 0 {
			owner = true
		} else {
			left++
		}
	}
	if owner && left == 0 {
		return fmt.Errorf("%s: %w", name, ErrLastOwner)
	}
	return nil
}

// Mark changes when the user's password does, or when the user is another one of that name. It tells nothing of either.
func (s *Store) Mark(name string) (mark string, owner bool) {
	key := s.DerivedKey("mark of a password")
	s.mu.Lock()
	defer s.mu.Unlock()
	i := find(s.users, name)
	if i < 0 || !s.users[i].signsIn() {
		return "", false
	}
	hash := s.users[i].hash()
	m := hmac.New(sha256.New, key[:])
	m.Write(hash[:])
	m.Write([]byte(s.users[i].SID))
	return hex.EncodeToString(m.Sum(nil)), true
}

// Check says what is wrong with a name and password for a new user.
func Check(name, password string) error {
	if err := checkName(name); err != nil {
		return err
	}
	_, err := hashOf(name, password)
	return err
}

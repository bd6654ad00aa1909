// Package account knows who this machine is and who may use it: the machine's SID, the server's GUID, and local
// users with their password hashes.
//
// An NT hash is as good as the password, so it is kept encrypted under a key in a file of its own and never printed.
// Files: identity.json, state.key, users.json, all 0600. Each is replaced whole; one that cannot be read is set
// aside and reported, and the machine starts without it.
package account

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
)

// firstRID is where relative identifiers of users begin, as on Windows.
const firstRID = 1000

// Errors of the methods that change users.
var (
	ErrNoUser = errors.New("there is no such user")
	ErrExists = errors.New("there is such a user already")
)

// A Hash is an NT hash. It prints as nothing of use, however it is printed.
type Hash [16]byte

// Format, LogValue and MarshalText keep a hash out of texts, logs and files.
func (Hash) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(secret)")) }
func (Hash) LogValue() slog.Value       { return slog.StringValue("(secret)") }
func (Hash) MarshalText() ([]byte, error) {
	return nil, errors.New("account: a hash is not to be written")
}

// A User is a local account.
type User struct {
	Name     string
	SID      dtyp.SID
	Disabled bool
	Admin    bool // an administrator: may look after the server over the network
	Owner    bool // may sign in to the page
	// HasPassword is false for a user whose stored hash cannot be decrypted: set a new one.
	HasPassword bool
}

// A secret gives its value to those who call it. It is a function because fmt prints unexported fields without
// asking their types, and follows pointers to do so.
type secret[T any] func() T

func keep[T any](v T) secret[T] { return func() T { return v } }

// entry is a user as the store holds it.
type entry struct {
	User
	hash secret[Hash] // nil without HasPassword
}

// A Store holds the identity and the users of one machine. Its methods may be called by any number of goroutines.
type Store struct {
	dir  string
	log  *slog.Logger
	keys Keys             // nil: files in dir
	key  secret[[32]byte] // encrypts hashes

	mu       sync.Mutex
	identity identity
	users    []entry
}

// identity is identity.json. NextRID is kept here and not with the users, so that losing their file gives nobody
// another one's SID.
type identity struct {
	GUID    string `json:"guid"` // 32 hex digits in wire order
	Machine string `json:"machine_sid"`
	NextRID uint32 `json:"next_rid"`
}

// record is one user in users.json.
type record struct {
	Name     string `json:"name"`
	RID      uint32 `json:"rid"`
	Disabled bool   `json:"disabled,omitempty"`
	Admin    bool   `json:"admin,omitempty"`
	Owner    bool   `json:"owner,omitempty"`
	Hash     []byte `json:"hash"` // nonce, ciphertext and tag of AES-256-GCM; the folded name is authenticated with it
}

type userFile struct {
	Version int      `json:"version"`
	Users   []record `json:"users"`
}

// Keys is where state.key lives if it is not a file in the store's folder. firmware/keys is one.
type Keys interface {
	Read(name string) ([]byte, error) // fs.ErrNotExist if there is none
	Write(name string, secret []byte) error
	SetAside(name string, now time.Time) (string, error)
}

// Open reads the store in dir, and makes what is missing.
func Open(dir string, log *slog.Logger) (*Store, error) {
	if _, err := os.Stat(filepath.Join(dir, "keys.sealed")); err == nil {
		return nil, errors.New("account: the key to the users' passwords is sealed: open it first")
	}
	return OpenWith(nil, dir, log)
}

// OpenWith is Open, with the key that passwords are kept under elsewhere.
func OpenWith(keys Keys, dir string, log *slog.Logger) (*Store, error) {
	s := &Store{dir: dir, log: log, keys: keys}
	if err := s.openKey(); err != nil {
		return nil, err
	}
	if err := s.openIdentity(); err != nil {
		return nil, err
	}
	return s, s.Reload()
}

// Reload reads the list of users again.
func (s *Store) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var file userFile
	var users []entry
	found, err := s.read("users.json", func(data []byte) error {
		file, users = userFile{}, nil
		if err := strict(data, &file); err != nil {
			return err
		}
		if file.Version != 1 {
			return fmt.Errorf("version %d is not 1", file.Version)
		}
		for _, r := range file.Users {
			if err := checkName(r.Name); err != nil {
				return err
			}
			if r.RID < firstRID || find(users, r.Name) >= 0 {
				return fmt.Errorf("user %q: impossible or twice", r.Name)
			}
			users = append(users, s.user(r))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !found {
		users = nil
	}
	s.users = users
	return nil
}

// user opens a record.
func (s *Store) user(r record) entry {
	u := entry{User: User{Name: r.Name, SID: s.machine().Child(r.RID), Disabled: r.Disabled, Admin: r.Admin, Owner: r.Owner}}
	if hash, err := s.open(r.Name, r.Hash); err != nil {
		s.log.Error("a user's password cannot be read; set a new one", "user", r.Name, "error", err)
	} else {
		u.hash, u.HasPassword = keep(hash), true
	}
	return u
}

// Machine returns the machine's SID: S-1-5-21 and three random numbers, the same for ever.
func (s *Store) Machine() dtyp.SID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine()
}

func (s *Store) machine() dtyp.SID {
	sid, _ := dtyp.ParseSID(s.identity.Machine) // checked when it was read
	return sid
}

// GUID returns the server's GUID, the same for ever.
func (s *Store) GUID() (g dtyp.GUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = unhex(g[:], s.identity.GUID) // checked when it was read
	return g
}

// DerivedKey returns a key for another purpose, the same for ever, that tells nothing of the state key.
func (s *Store) DerivedKey(purpose string) (key [32]byte) {
	own := s.key()
	b, err := hkdf.Key(sha256.New, own[:], nil, "postern "+purpose, len(key))
	if err != nil {
		panic(err) // only for lengths that are ours
	}
	return [32]byte(b)
}

// Users returns all users in the order they were added.
func (s *Store) Users() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]User, len(s.users))
	for i, u := range s.users {
		out[i] = u.User
	}
	return out
}

// Lookup finds the account of the user that a client names, whatever domain it names: this machine knows
// no other. It is what smb/auth/ntlm asks.
func (s *Store) Lookup(_ context.Context, user, _ string) ([16]byte, auth.Identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := find(s.users, user)
	if i < 0 {
		return [16]byte{}, auth.Identity{}, ErrNoUser
	}
	u := s.users[i]
	switch {
	case u.Disabled:
		return [16]byte{}, auth.Identity{}, errors.New("the user is disabled")
	case !u.HasPassword:
		return [16]byte{}, auth.Identity{}, errors.New("the user has no readable password")
	}
	groups := []dtyp.SID{s.machine().Child(513), dtyp.Everyone, dtyp.AuthenticatedUsers, dtyp.BuiltinUsers} // 513: "None" or Domain Users
	if u.Admin {
		groups = append(groups, dtyp.Administrators)
	}
	return u.hash(), auth.Identity{User: u.Name, SID: u.SID, Groups: groups}, nil
}

// Stands reports whether what was proved of a user still holds: there is one, who may log on, and is an administrator
// or not as before.
func (s *Store) Stands(id *auth.Identity) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	admin := slices.Contains(id.Groups, dtyp.Administrators)
	return slices.ContainsFunc(s.users, func(u entry) bool { return u.SID == id.SID && !u.Disabled && u.Admin == admin })
}

// Add makes a user.
func (s *Store) Add(name, password string) (User, error) {
	if err := checkName(name); err != nil {
		return User{}, err
	}
	hash, err := hashOf(name, password)
	if err != nil {
		return User{}, err
	}
	var made User
	err = s.change(func(users []record) ([]record, error) {
		if findRecord(users, name) >= 0 {
			return nil, fmt.Errorf("%s: %w", name, ErrExists)
		}
		// The number is spent before it is given out: after a crash between the two it is lost, never used twice.
		rid := s.identity.NextRID
		s.identity.NextRID++
		if err := s.writeIdentity(); err != nil {
			return nil, err
		}
		r := record{Name: name, RID: rid, Hash: s.seal(name, hash)}
		made = s.user(r).User
		return append(users, r), nil
	})
	return made, err
}

// SetPassword gives a user another password.
func (s *Store) SetPassword(name, password string) error {
	hash, err := hashOf(name, password)
	if err != nil {
		return err
	}
	return s.changeOne(name, func(r *record) { r.Hash = s.seal(r.Name, hash) })
}

// SetDisabled lets a user log on no more, or again.
func (s *Store) SetDisabled(name string, disabled bool) error {
	return s.changeOne(name, func(r *record) { r.Disabled = disabled })
}

// SetAdmin makes a user an administrator, or one no more.
func (s *Store) SetAdmin(name string, admin bool) error {
	return s.changeOne(name, func(r *record) { r.Admin = admin })
}

// Remove forgets a user. Nobody gets the SID again.
func (s *Store) Remove(name string) error {
	return s.change(func(users []record) ([]record, error) {
		i := findRecord(users, name)
		if i < 0 {
			return nil, fmt.Errorf("%s: %w", name, ErrNoUser)
		}
		return append(users[:i], users[i+1:]...), nil
	})
}

func (s *Store) changeOne(name string, f func(*record)) error {
	return s.change(func(users []record) ([]record, error) {
		i := findRecord(users, name)
		if i < 0 {
			return nil, fmt.Errorf("%s: %w", name, ErrNoUser)
		}
		f(&users[i])
		return users, nil
	})
}

// change rewrites users.json from what is in it now, not from what this process remembers: another may have
// changed it. f is called with both locks held.
func (s *Store) change(f func([]record) ([]record, error)) error {
	unlock, err := state.Lock(s.dir, "users.lock", true)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.openIdentity(); err != nil {
		return err
	}
	if err := s.Reload(); err != nil {
		return err
	}
	s.mu.Lock()
	var file userFile
	if data, err := os.ReadFile(filepath.Join(s.dir, "users.json")); err == nil {
		_ = strict(data, &file) // Reload has just read it, or set it aside
	}
	file.Version = 1
	file.Users, err = f(file.Users)
	if err == nil {
		err = s.write("users.json", file)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.Reload()
}

func (s *Store) openKey() error {
	found, err := s.readKey("state.key", func(data []byte) error {
		if len(data) != 32 {
			return fmt.Errorf("%d bytes are no key", len(data))
		}
		s.key = keep([32]byte(data))
		return nil
	})
	if err != nil || found {
		return err
	}
	var key [32]byte
	rand.Read(key[:])
	s.key = keep(key)
	if s.keys != nil {
		return s.keys.Write("state.key", key[:])
	}
	return state.Write(filepath.Join(s.dir, "state.key"), key[:], 0o600)
}

func (s *Store) openIdentity() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var id identity
	found, err := s.read("identity.json", func(data []byte) error {
		id = identity{}
		if err := strict(data, &id); err != nil {
			return err
		}
		if err := unhex(make([]byte, len(dtyp.GUID{})), id.GUID); err != nil {
			return fmt.Errorf("GUID: %w", err)
		}
		if sid, err := dtyp.ParseSID(id.Machine); err != nil || len(sid) != len(dtyp.NewSID(5, 21, 0, 0, 0)) ||
			!strings.HasPrefix(sid.String(), "S-1-5-21-") {
			return fmt.Errorf("no machine SID: %q", id.Machine)
		}
		if id.NextRID < firstRID {
			return fmt.Errorf("no next RID: %d", id.NextRID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if found {
		s.identity = id
		return nil
	}
	var b [12]byte
	rand.Read(b[:])
	sid := dtyp.NewSID(5, 21, binary.LittleEndian.Uint32(b[0:]), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:]))
	guid := dtyp.NewGUID()
	s.identity = identity{GUID: fmt.Sprintf("%x", guid[:]), Machine: sid.String(), NextRID: firstRID}
	return s.writeIdentity()
}

func (s *Store) writeIdentity() error { return s.write("identity.json", s.identity) }

// read gives the file's contents to parse. One that is damaged is made anew from its copy; without one it is set aside and
// counts as not found. parse may be called twice.
func (s *Store) read(name string, parse func([]byte) error) (found bool, err error) {
	found, told, err := state.ReadTwice(filepath.Join(s.dir, name), parse)
	if told != "" {
		s.log.Error("a damaged file", "what", told)
	}
	return found, err
}

// readKey is read of the key of passwords, which the ring may keep.
func (s *Store) readKey(name string, parse func([]byte) error) (found bool, err error) {
	path := filepath.Join(s.dir, name)
	readFile, setAside := os.ReadFile, state.SetAside
	if s.keys != nil {
		path, readFile, setAside = name, s.keys.Read, s.keys.SetAside
	}
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if bad := parse(data); bad != nil {
		aside, err := setAside(path, time.Now())
		if err != nil {
			return false, errors.Join(bad, err)
		}
		s.log.Error("a damaged file was set aside; going on without it", "file", path, "now", aside, "error", bad)
		return false, nil
	}
	return true, nil
}

func (s *Store) write(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return state.WriteTwice(filepath.Join(s.dir, name), append(data, '\n'), 0o600)
}

// seal encrypts the hash for the user called name; open undoes it for the same name only.
func (s *Store) seal(name string, h Hash) []byte {
	aead := s.aead()
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, h[:], associated(name))
}

func (s *Store) open(name string, sealed []byte) (h Hash, err error) {
	aead := s.aead()
	n := aead.NonceSize()
	if len(sealed) != n+len(h)+aead.Overhead() {
		return h, fmt.Errorf("%d bytes are no sealed hash", len(sealed))
	}
	plain, err := aead.Open(nil, sealed[:n], sealed[n:], associated(name))
	if err != nil {
		return h, errors.New("it was sealed with another key or for another user")
	}
	return Hash(plain), nil
}

func (s *Store) aead() cipher.AEAD {
	key := s.key()
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // only for another length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func associated(name string) []byte { return []byte("postern nt hash\x00" + strings.ToUpper(name)) }

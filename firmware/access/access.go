// Package access says whose certificate opens the door of SMB over QUIC ([MS-SMB2] 3.3.1.17 and 3.3.1.18): for each
// server name the owner's rules, out of postern.toml, with the paired devices and the entries that the owner has granted
// or blocked, which are kept in access.json.
//
// On a new box everybody with a password gets in. From the moment that a device is paired, or an entry granted, a
// certificate is required, and stays required when the last one is revoked: a lost computer must not be what opens the
// door to those without one.
package access

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/quic"
)

// When a client has to show a certificate.
type When string

const (
	Paired When = "paired" // once a device was paired or an entry granted
	Always When = "always"
	Never  When = "never" // it may
)

// Pipes is what there is of IPC$ over QUIC.
type Pipes string

const (
	PipesPaired Pipes = "paired" // srvsvc, to be read, for those who show a certificate
	PipesAll    Pipes = "all"    // as over TCP
	PipesNone   Pipes = "none"   // as Windows servers do
)

// A Rule is what the owner says of a server name.
type Rule struct {
	Certificate When
	// Trusted lets in every client whose certificate comes from a trusted authority, without a look at the list:
	// SkipClientCertificateAccessCheck. Certificates of revoked devices are refused all the same.
	Trusted bool
	Pipes   Pipes
}

// Rules are what the owner says of all server names.
type Rules struct {
	Rule func(name string) Rule // of a server name as quic.Store has it
	// Authorities sign the clients' certificates: the box's own, and those that the owner trusts.
	Authorities []*x509.Certificate
}

func (r Rules) whole() bool { return r.Rule != nil && len(r.Authorities) > 0 }

// A Config says what a Store works with.
type Config struct {
	Dir string // where access.json is kept
	Rules
	// Devices gives the SHA-256 of the paired devices' certificates and of the revoked ones': pairing.Desk.Hashes.
	Devices func() (allow, deny [][sha256.Size]byte)
	// Suspicious says that the list of devices was damaged: there may have been some.
	Suspicious bool
	Audit      func(audit.Event)
	Log        *slog.Logger
}

// An Entry is one that the owner made.
type Entry struct {
	Server      string    `json:"server"` // a server name, or "*" for all
	Deny        bool      `json:"deny,omitempty"`
	SHA256      string    `json:"sha256,omitempty"` // 64 hexadecimal digits in capitals; or:
	Issuer      string    `json:"issuer,omitempty"` // a distinguished name
	Description string    `json:"description,omitempty"`
	Added       time.Time `json:"added"`
}

// same reports whether two entries do the same: names are compared as quic does, not as text.
func (e Entry) same(o Entry) bool {
	a, err := e.entry()
	b, bad := o.entry()
	return err == nil && bad == nil && e.Server == o.Server && a.Deny == b.Deny && a.SHA256 == b.SHA256 && a.Issuer.Equal(b.Issuer)
}

// entry is e as quic has it.
func (e Entry) entry() (quic.AccessEntry, error) {
	a := quic.AccessEntry{Deny: e.Deny}
	switch {
	case (e.SHA256 == "") == (e.Issuer == ""):
		return a, errors.New("an entry has either a SHA-256 or an issuer")
	case e.SHA256 != "":
		b, err := hex.DecodeString(e.SHA256)
		if err != nil || len(b) != len(a.SHA256) || [32]byte(b) == [32]byte{} {
			return a, fmt.Errorf("%.80q is no SHA-256 of a certificate: 64 hexadecimal digits", e.SHA256)
		}
		a.SHA256 = [32]byte(b)
		return a, nil
	}
	var err error
	a.Issuer, err = quic.ParseName(e.Issuer)
	return a, err
}

// Errors of Grant and its kin.
var (
	ErrExists  = errors.New("there is this entry already")
	ErrUnknown = errors.New("there is no such entry")
)

const (
	maxEntries = 1024
	maxFile    = 2 << 20 // bytes
	maxText    = 256     // bytes of a description
)

// file is access.json.
type file struct {
	Version int `json:"version"`
	// Latched is set once a certificate has been required because somebody had one.
	Latched bool    `json:"certificate_required"`
	Entries []Entry `json:"entries"`
}

func (f *file) valid() error {
	if f.Version != 1 {
		return fmt.Errorf("version %d is not 1", f.Version)
	}
	if len(f.Entries) > maxEntries {
		return fmt.Errorf("%d entries are too many", len(f.Entries))
	}
	for i, e := range f.Entries {
		if _, err := e.entry(); err != nil {
			return fmt.Errorf("entry %d: %w", i+1, err)
		}
		if e.Server == "" {
			return fmt.Errorf("entry %d has no server name", i+1)
		}
	}
	return nil
}

// A Store answers for server names. Its methods may be called by any number of goroutines; ClientAuth and Pipes wait for
// nobody.
type Store struct {
	cfg  Config // but for its Rules
	view atomic.Pointer[view]

	mu    sync.Mutex
	rules Rules
	file  file
	quic  []*quic.Store
	then  []func()
}

// view is what handshakes look at.
type view struct {
	rule    func(name string) Rule
	cas     *x509.CertPool
	latched bool
	list    map[string]quic.AccessList // by server name; "*" for all
	barred  map[[sha256.Size]byte]bool // those of revoked devices, and those that are blocked for all names
}

// Open reads access.json. A damaged one is set aside; until the owner says otherwise a certificate is required then, for
// nobody knows who was blocked.
func Open(cfg Config) (*Store, error) {
	if !cfg.whole() || cfg.Devices == nil {
		return nil, errNotWhole
	}
	if cfg.Audit == nil {
		cfg.Audit = func(audit.Event) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, rules: cfg.Rules}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	if cfg.Suspicious && !s.file.Latched {
		next := s.file
		next.Latched = true
		if err := s.write(next); err != nil {
			return nil, fmt.Errorf("access: %w", err)
		}
	}
	s.Refresh()
	return s, nil
}

var errNotWhole = errors.New("access: rules, devices and an authority are needed")

// SetRules puts other rules in the place of those that there are. When it returns, connections that they do not let in have
// been ended.
func (s *Store) SetRules(r Rules) error {
	if !r.whole() {
		return errNotWhole
	}
	s.mu.Lock()
	s.rules = r
	s.mu.Unlock()
	s.Refresh()
	return nil
}

func (s *Store) path() string { return filepath.Join(s.cfg.Dir, "access.json") }

func (s *Store) load() error {
	s.file = file{Version: 1}
	data, err := os.ReadFile(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f, bad := parse(data)
	if bad == nil {
		s.file = f
		return nil
	}
	if errors.Is(bad, state.ErrLater) {
		return fmt.Errorf("%s: %w", s.path(), bad)
	}
	aside, err := state.SetAside(s.path(), time.Now())
	if err != nil {
		return errors.Join(bad, err)
	}
	s.cfg.Log.Error("the access list was damaged and set aside: certificates are required over QUIC until [access] says otherwise, "+
		"and entries have to be made anew", "file", s.path(), "now", aside, "error", bad)
	return s.write(file{Version: 1, Latched: true})
}

func parse(data []byte) (file, error) {
	var f file
	if err := state.DecodeJSON(data, maxFile, 1, &f); err != nil {
		return f, err
	}
	return f, f.valid()
}

func (s *Store) write(next file) error {
	if err := state.WriteJSON(s.path(), next, 0o600); err != nil {
		return err
	}
	s.file = next
	return nil
}

// Serve makes a store of mappings ask here, and end connections that are let in no more.
func (s *Store) Serve(q *quic.Store) {
	s.mu.Lock()
	s.quic = append(s.quic, q)
	s.mu.Unlock()
	q.SetAccess(s.ClientAuth)
}

// Refresh takes over what has become of the devices. It is pairing.Config.Changed.
func (s *Store) Refresh() {
	s.mu.Lock()
	allow, deny := s.cfg.Devices()
	granted := len(allow) > 0 || slices.ContainsFunc(s.file.Entries, func(e Entry) bool { return !e.Deny })
	if granted && !s.file.Latched {
		next := s.file
		next.Latched = true
		if err := s.write(next); err != nil {
			s.cfg.Log.Error("that certificates are required could not be written down", "error", err)
			s.file.Latched = true
		}
	}
	v := &view{
		rule: s.rules.Rule, cas: x509.NewCertPool(), latched: s.file.Latched,
		list: make(map[string]quic.AccessList), barred: make(map[[sha256.Size]byte]bool),
	}
	for _, ca := range s.rules.Authorities {
		v.cas.AddCert(ca)
	}
	for _, h := range allow {
		v.list["*"] = append(v.list["*"], quic.AccessEntry{SHA256: h})
	}
	for _, h := range deny {
		v.list["*"] = append(v.list["*"], quic.AccessEntry{Deny: true, SHA256: h})
	}
	for _, e := range s.file.Entries {
		if a, err := e.entry(); err == nil { // valid has seen it
			v.list[e.Server] = append(v.list[e.Server], a)
		}
	}
	for _, e := range v.list["*"] {
		if e.Deny && e.SHA256 != [sha256.Size]byte{} {
			v.barred[e.SHA256] = true
		}
	}
	s.view.Store(v)
	stores, then := slices.Clone(s.quic), slices.Clone(s.then)
	s.mu.Unlock()
	for _, q := range stores {
		q.Recheck()
	}
	for _, f := range then {
		f()
	}
}

// Then has f called after each change, before whoever has made it goes on.
func (s *Store) Then(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.then = append(s.then, f)
}

// Barred reports whether a certificate with this SHA-256 is let in by no server name: its device was revoked, or it is
// blocked. It waits for nobody.
func (s *Store) Barred(certificate [sha256.Size]byte) bool { return s.view.Load().barred[certificate] }

// Required reports whether a client of a server name has to show a certificate.
func (s *Store) Required(name string) bool { return s.view.Load().required(name) }

func (v *view) required(name string) bool {
	switch v.rule(name).Certificate {
	case Always:
		return true
	case Never:
		return false
	}
	return v.latched
}

// List is the access list of a server name, with the paired devices in it.
func (s *Store) List(name string) quic.AccessList { return s.view.Load().all(name) }

func (v *view) all(name string) quic.AccessList { return slices.Concat(v.list["*"], v.list[name]) }

// ClientAuth is what quic.Store.SetAccess takes. A certificate that is not required is looked at if it comes: a paired
// device is known by it, a revoked one kept out.
func (s *Store) ClientAuth(name string) *quic.ClientAuth {
	v := s.view.Load()
	rule, list, required := v.rule(name), v.all(name), v.required(name)
	if len(list) == 0 && !required {
		return nil // nothing to ask for
	}
	return &quic.ClientAuth{Require: required, CAs: v.cas, Access: func(sent []*x509.Certificate) error {
		if !rule.Trusted {
			return list.Check(sent)
		}
		_, deny, err := list.Matches(sent)
		if err == nil && len(deny) > 0 {
			err = fmt.Errorf("%w: a deny entry matches", quic.ErrAccessDenied)
		}
		return err
	}}
}

// Matches are the entries that match what a client sent to a server name, as text for the audit log.
func (s *Store) Matches(name string, sent []*x509.Certificate) (texts []string) {
	allow, deny, err := s.List(name).Matches(sent)
	if err != nil {
		return nil
	}
	for _, e := range slices.Concat(deny, allow) {
		texts = append(texts, e.String())
	}
	return texts
}

// Pipes is what a connection to a server name may open of IPC$; shown says whether its client has shown a certificate.
func (s *Store) Pipes(name string, shown bool) (pipes, readOnly bool) {
	switch s.view.Load().rule(name).Pipes {
	case PipesAll:
		return true, false
	case PipesNone:
		return false, false
	}
	return shown, true
}

// Entries are those that the owner made.
func (s *Store) Entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.file.Entries)
}

// Add makes an entry: with Deny it blocks, else it grants. It takes effect before Add returns.
func (s *Store) Add(e Entry, by string) error {
	e, err := tidy(e)
	if err != nil {
		return err
	}
	return s.change("added", e, by, func(list []Entry) ([]Entry, error) {
		if slices.ContainsFunc(list, e.same) {
			return nil, ErrExists
		}
		if len(list) >= maxEntries {
			return nil, fmt.Errorf("there are %d entries, and no more can be kept", len(list))
		}
		return append(list, e), nil
	})
}

// Remove takes an entry back: Added and Description do not count.
func (s *Store) Remove(e Entry, by string) error {
	e, err := tidy(e)
	if err != nil {
		return err
	}
	return s.change("removed", e, by, func(list []Entry) ([]Entry, error) {
		n := len(list)
		if list = slices.DeleteFunc(list, e.same); len(list) == n {
			return nil, ErrUnknown
		}
		return list, nil
	})
}

// tidy brings an entry into the one form in which it is kept.
func tidy(e Entry) (Entry, error) {
	e.Server = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(e.Server), "."))
	if e.Server == "" {
		e.Server = "*"
	}
	if len(e.Server) > 253 {
		return e, errors.New("the server name is too long")
	}
	if len(e.Description) > maxText {
		return e, fmt.Errorf("a description has at most %d bytes", maxText)
	}
	// As people copy it: with colons or spaces between the bytes.
	e.SHA256 = strings.ToUpper(strings.NewReplacer(":", "", " ", "", "-", "").Replace(e.SHA256))
	a, err := e.entry()
	if err == nil && e.Issuer != "" {
		e.Issuer = a.Issuer.String()
	}
	e.Added = time.Now().UTC()
	return e, err
}

func (s *Store) change(what string, e Entry, by string, f func([]Entry) ([]Entry, error)) error {
	s.mu.Lock()
	list, err := f(slices.Clone(s.file.Entries))
	if err == nil {
		next := s.file
		next.Entries = list
		err = s.write(next)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.Refresh()
	a, _ := e.entry()
	s.cfg.Audit(audit.Event{ID: audit.AccessChanged, OK: true, By: by, Server: e.Server, Text: what + " " + a.String()})
	return nil
}

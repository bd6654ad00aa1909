package quic

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Mapping says how one or more server names are served: an entry of the ServerCertificateMappingTable
// ([MS-SMB2] 3.3.1.17).
type Mapping struct {
	// Names are DNS names, or "*.example.com" for all names with one label in the star's place (RFC 6125 section
	// 6.4.3). Each must be covered by the certificate.
	Names []string
	// Certificate is the chain, leaf first, and the key: any crypto.Signer, so it may live in a TPM.
	Certificate tls.Certificate
	// Default makes this the mapping for clients that send no name at all; at most one may have it. A client that
	// sends an unknown name is refused either way.
	Default bool
	// ClientAuth asks clients for a certificate; nil does not.
	ClientAuth *ClientAuth
	// Policy is an opaque word that comes back as Peer.Policy.
	Policy string
}

// ClientAuth is what a server name asks of a client's certificate ([MS-SMB2] 3.3.1.17 and 3.3.5.1).
type ClientAuth struct {
	// Require refuses clients that show none; else one is asked for, and checked only if it comes.
	Require bool
	// CAs are the roots a client's chain must end in. Its leaf must be meant for client authentication.
	CAs *x509.CertPool
	// Access is called after that with the certificates the client sent, leaf first, as it sent them. An error
	// that is ErrAccessDenied ends the handshake with access_denied, any other with internal_error. nil lets
	// every trusted certificate in (SkipClientCertificateAccessCheck).
	Access func(sent []*x509.Certificate) error
}

// A Store holds the mappings a Listener serves. It may be replaced at any time: new handshakes see the new one. Of the
// connections that stand, those whose client would not be let in any more are ended; a change of certificates, and of
// names, leaves them alone. The zero Store is empty and refuses every name.
type Store struct {
	table  atomic.Pointer[table]
	access atomic.Pointer[func(string) *ClientAuth]

	mu        sync.Mutex
	listeners map[*Listener]struct{}
}

type table struct {
	names    map[string]*mapping // lower case; a wildcard as "*.rest"
	fallback *mapping
}

// mapping is a proven Mapping.
type mapping struct {
	Mapping
	leaf *x509.Certificate
}

// Set replaces everything the store holds by mappings, if all of them are sound (see Prove); if one is not, nothing
// is replaced and the error says what is wrong with which.
func (s *Store) Set(mappings ...Mapping) error {
	t := &table{names: make(map[string]*mapping)}
	for i, m := range mappings {
		leaf, err := Prove(m, time.Now())
		if err != nil {
			return fmt.Errorf("quic: mapping %d (%s): %w", i+1, strings.Join(m.Names, ", "), err)
		}
		proven := &mapping{Mapping: m, leaf: leaf}
		proven.Certificate.Leaf = leaf
		for _, name := range m.Names {
			name, _ = canonicalName(name) // Prove has checked it
			if t.names[name] != nil {
				return fmt.Errorf("quic: mapping %d: %s is mapped twice", i+1, name)
			}
			t.names[name] = proven
		}
		if m.Default {
			if t.fallback != nil {
				return fmt.Errorf("quic: mapping %d: there is a default already", i+1)
			}
			t.fallback = proven
		}
	}
	s.table.Store(t)
	s.Recheck()
	return nil
}

// SetAccess makes f say what each server name, as the store has it ("" for no name), asks of a client's certificate,
// instead of Mapping.ClientAuth; nil does not ask. It is called in every handshake, so it must not wait. Whoever changes
// what it says calls Recheck.
func (s *Store) SetAccess(f func(name string) *ClientAuth) {
	s.access.Store(&f)
	s.Recheck()
}

// Recheck ends the connections whose client would not be let in any more ([MS-SMB2] 3.3.1.17 and 3.3.5.1, as they are
// now). When it returns, these clients have been told.
func (s *Store) Recheck() {
	s.mu.Lock()
	listeners := slices.Collect(maps.Keys(s.listeners))
	s.mu.Unlock()
	for _, l := range listeners {
		l.recheck()
	}
}

// auth is what a server name asks of its clients.
func (s *Store) auth(m *mapping, matched string) *ClientAuth {
	if f := s.access.Load(); f != nil && *f != nil {
		return (*f)(matched)
	}
	return m.ClientAuth
}

// join makes Recheck reach a listener, until leave.
func (s *Store) join(l *Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners == nil {
		s.listeners = make(map[*Listener]struct{})
	}
	s.listeners[l] = struct{}{}
}

func (s *Store) leave(l *Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// errNoName and errUnknownName end a handshake with unrecognized_name.
var (
	errNoName      = errors.New("the client sent no server name and there is no default")
	errUnknownName = errors.New("unknown server name")
)

// match finds the mapping for a server name as the client sent it, "" for none, and the name under which the store
// has it.
func (s *Store) match(sent string) (m *mapping, matched string, err error) {
	t := s.table.Load()
	if t == nil {
		t = &table{}
	}
	if sent == "" {
		if t.fallback == nil {
			return nil, "", errNoName
		}
		return t.fallback, "", nil
	}
	name, err := canonicalName(sent)
	if err != nil || strings.HasPrefix(name, "*") {
		return nil, "", errUnknownName
	}
	if m := t.names[name]; m != nil {
		return m, name, nil
	}
	if _, rest, ok := strings.Cut(name, "."); ok {
		if m := t.names["*."+rest]; m != nil {
			return m, "*." + rest, nil
		}
	}
	return nil, "", errUnknownName
}

// canonicalName checks a DNS name, whose first label may be a star, and gives it in lower case without a final dot.
func canonicalName(name string) (string, error) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return "", fmt.Errorf("%.64q is no DNS name: 1 to 253 characters are allowed", name)
	}
	for i, label := range strings.Split(name, ".") {
		if i == 0 && label == "*" && name != "*" {
			continue
		}
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", fmt.Errorf("%.64q is no DNS name: bad label %.64q", name, label)
		}
		for _, c := range []byte(label) {
			switch {
			case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			default:
				return "", fmt.Errorf("%.64q is no DNS name: bad character %q", name, c)
			}
		}
	}
	return strings.ToLower(name), nil
}

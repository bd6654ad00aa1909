// Package ntlm is the server's side of NTLM version 2, [MS-NLMP]. Version 1, LM and "NTLM2 session" responses are
// refused, and so is whoever gives no name, unless that is asked for. Nothing here knows where accounts are kept: see Accounts.
package ntlm

import (
	"context"
	"crypto/rand"
	"encoding/asn1"
	"log/slog"
	"time"

	"golang.org/x/crypto/md4" //lint:ignore SA1019 NTLM is made of it

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
)

// Accounts finds the account that a client names. user and domain are as the client sent them: names are to be
// compared without case, and domain is often empty, the server's name, or that of the client's own computer. err
// means that there is no such account or that it may not log on; the client does not learn which.
type Accounts interface {
	Lookup(ctx context.Context, user, domain string) (hash [16]byte, id auth.Identity, err error)
}

// A Config says who the server is.
type Config struct {
	Computer  string // NetBIOS computer name: at most 15 characters, upper case
	Domain    string // NetBIOS domain name; empty: Computer, as on a machine that is in no domain
	DNSName   string // fully qualified name of the computer, or what comes nearest
	DNSDomain string // DNS name of the domain; empty: DNSName
	Accounts  Accounts

	// ServerNames are the names and addresses under which clients may have looked for this server. A client
	// that says which server it means (MsvAvTargetName) and means another one is refused: someone relays its
	// logon. It is asked at each logon, because addresses come and go. nil, or no names: not checked.
	ServerNames func() []string

	// MICOptional accepts clients that send no MIC although [MS-NLMP] 3.1.5.1.2 asks for one. Linux's cifs.ko is
	// such a client; Windows, Samba and macOS are not. Without a MIC a man in the middle can alter what the
	// messages negotiate, and only the session's signing stands in a relay's way.
	MICOptional bool

	// Anonymous lets in a client that gives no name and proves nothing, as dtyp.Anonymous. What such a session may do is
	// for the server to bound: its key is no secret.
	Anonymous bool

	// Guard is asked before a client's response is checked, with the user it names and the connection it came by. An error
	// refuses the client whatever its password is, which it cannot tell from a wrong one. Else done hears whether the password
	// was right. nil: everything is checked.
	Guard func(ctx context.Context, user string, ch auth.Channel) (done func(right bool), err error)

	Log *slog.Logger // nil: none
}

// A Mechanism is NTLM as auth.NewAcceptor offers it.
type Mechanism struct {
	c     Config
	dummy [16]byte // what stands in for the hash of an account that does not exist

	// Both are replaced by tests that replay the specification's examples.
	challenge func() (c [8]byte)
	now       func() dtyp.Filetime
}

// New returns the mechanism for one server.
func New(c Config) *Mechanism {
	if c.Domain == "" {
		c.Domain = c.Computer
	}
	if c.DNSDomain == "" {
		c.DNSDomain = c.DNSName
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	m := &Mechanism{
		c:         c,
		challenge: func() (b [8]byte) { rand.Read(b[:]); return b }, // never fails: it aborts the program instead
		now:       func() dtyp.Filetime { return dtyp.FiletimeOf(time.Now()) },
	}
	rand.Read(m.dummy[:])
	return m
}

// OID returns NTLM's object identifier.
func (m *Mechanism) OID() asn1.ObjectIdentifier { return auth.OIDNTLM }

// Acceptor begins an exchange.
func (m *Mechanism) Acceptor(ch auth.Channel) auth.Acceptor { return &acceptor{m: m, channel: ch} }

// NTHash returns NTOWFv1 of a password ([MS-NLMP] 3.3.1): MD4 of its UTF-16LE form. To whoever holds it, it is as
// good as the password.
func NTHash(password string) (hash [16]byte) {
	h := md4.New()
	h.Write(cursor.AppendUTF16(nil, password))
	h.Sum(hash[:0])
	return hash
}

// Package auth is the seam between a session and who the peer proves to be: mechanisms, acceptors, identities,
// and SPNEGO (RFC 4178 with [MS-SPNG]) that chooses between mechanisms.
package auth

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"time"

	"github.com/postern-nas/postern/smb/dtyp"
)

// An Identity is what a finished exchange proved.
type Identity struct {
	User   string // as the account store spells it
	Domain string
	SID    dtyp.SID
	Groups []dtyp.SID
	// SessionKey is the key both sides now hold, at least 16 bytes; signing and sealing keys come from it.
	SessionKey []byte
	// Workstation is what the client calls itself: for logs only, proved by nothing.
	Workstation string
	// Expires is when the proof ceases to hold, as a Kerberos ticket's does; zero: never.
	Expires time.Time
}

// Anonymous reports whether this is nobody: who gave no name and proved nothing. Everyone knows the SessionKey then.
func (id *Identity) Anonymous() bool { return id.SID == dtyp.Anonymous }

// A Channel is what is known of the connection that an exchange runs in.
type Channel struct {
	RemoteAddr string
	// Bindings are the acceptable channel binding values (for NTLM the MD5 of the gss_channel_bindings_struct is
	// made from each). Empty: the transport has none. A client that sends a binding must send one of these.
	Bindings [][]byte
	// Peer is the certificate that the client has shown and that was let in; nil if it showed none.
	Peer *x509.Certificate
}

// A Refusal is an error of Accept that tells who the client said it was. Nothing of that is proved.
type Refusal struct {
	User, Domain, Workstation string
	Err                       error
}

func (r *Refusal) Error() string { return r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

// A Mechanism makes Acceptors.
type Mechanism interface {
	OID() asn1.ObjectIdentifier
	Acceptor(ch Channel) Acceptor
}

// An Acceptor is the server's side of one exchange. Accept takes the peer's next token and returns the reply to
// send. When the exchange is complete id is not nil; until then err == nil and id == nil ask for another leg. An
// error ends the exchange: it is an nt.Status (wrapped with its cause) to tell the client, and no reply is sent.
// An Acceptor is used by one goroutine at a time and must bound what it keeps.
type Acceptor interface {
	Accept(ctx context.Context, token []byte) (reply []byte, id *Identity, err error)
}

// A MICer is an Acceptor that can sign with the keys it has agreed on, for SPNEGO's mechListMIC. Its methods are
// called only after Accept returned an Identity.
type MICer interface {
	MIC(message []byte) ([]byte, error)
	VerifyMIC(message, mic []byte) error
	// Protected reports whether the mechanism's own exchange was integrity protected, so that SPNEGO must
	// insist on a mechListMIC ([MS-SPNG] 3.2.5.1).
	Protected() bool
}

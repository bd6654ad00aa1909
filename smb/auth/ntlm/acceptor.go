package ntlm

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
)

// An acceptor is one exchange: NEGOTIATE in, CHALLENGE out, AUTHENTICATE in.
type acceptor struct {
	m       *Mechanism
	channel auth.Channel

	step      int
	negotiate []byte // the messages as they went over the wire, which the MIC protects
	challenge []byte
	flags     uint32
	nonce     [8]byte

	mic            bool // the client's MIC was there and right
	client, server direction
}

const (
	wantNegotiate = iota
	wantAuthenticate
	over
)

var (
	errOver      = errors.New("NTLM message after the end of the exchange")
	errAnonymous = errors.New("anonymous logon")
	errFlags     = errors.New("the client does not offer NTLMv2 with 128-bit key exchange")
	errV1        = errors.New("LM, NTLMv1 or NTLM2 session response")
	errProof     = errors.New("wrong password")
	errEmpty     = errors.New("the account has no password")
	errNoMIC     = errors.New("the client sent no MIC")
	errMIC       = errors.New("the MIC does not match: the messages were altered")
	errTarget    = errors.New("the logon is meant for another server")
	errBindings  = errors.New("the logon is bound to another channel")
)

func malformed(cause error) error { return fmt.Errorf("%w: %w", nt.InvalidParameter, cause) }

func (a *acceptor) Accept(ctx context.Context, token []byte) (reply []byte, id *auth.Identity, err error) {
	step := a.step
	a.step = over // unless this message goes well
	if len(token) > maxMessage {
		return nil, nil, malformed(fmt.Errorf("NTLM message of %d bytes", len(token)))
	}
	switch step {
	case wantNegotiate:
		reply, err = a.begin(token)
		if err == nil {
			a.step = wantAuthenticate
		}
		return reply, nil, err
	case wantAuthenticate:
		id, err = a.finish(ctx, token)
		return nil, id, err
	}
	return nil, nil, malformed(errOver)
}

func (a *acceptor) begin(token []byte) ([]byte, error) {
	if len(token) > maxNegotiate {
		return nil, malformed(fmt.Errorf("NEGOTIATE of %d bytes", len(token)))
	}
	flags, err := parseNegotiate(token)
	if err != nil {
		return nil, malformed(err)
	}
	if flags&flagsRequired != flagsRequired {
		return nil, fmt.Errorf("%w: %w: flags %#x", nt.LogonFailure, errFlags, flags)
	}
	a.flags = flags&flagsEchoed | flagTargetInfo
	if flags&flagRequestTarget != 0 {
		a.flags |= flagTargetServer
	}
	a.nonce = a.m.challenge()
	a.negotiate = bytes.Clone(token)
	a.challenge = appendChallenge(a.m.c, a.flags, a.nonce, a.m.now())
	return bytes.Clone(a.challenge), nil
}

// finish is the server's part of [MS-NLMP] 3.2.5.1.2.
func (a *acceptor) finish(ctx context.Context, token []byte) (*auth.Identity, error) {
	msg, err := parseAuthenticate(token)
	if err != nil {
		return nil, malformed(err)
	}
	if msg.user == "" && a.m.c.Anonymous {
		return a.anonymous(msg)
	}
	if msg.user == "" {
		return nil, fmt.Errorf("%w: %w from workstation %q", nt.AccessDenied, errAnonymous, msg.workstation)
	}
	refused := func(status nt.Status, cause error) (*auth.Identity, error) {
		return nil, &auth.Refusal{
			User: msg.user, Domain: msg.domain, Workstation: msg.workstation,
			Err: fmt.Errorf("%w: user %q of domain %q at workstation %q: %w", status, msg.user, msg.domain, msg.workstation, cause),
		}
	}
	if len(msg.nt) <= 24 {
		return refused(nt.LogonFailure, errV1)
	}
	v2, err := parseNTLMv2(msg.nt)
	if err != nil {
		return nil, malformed(err)
	}
	if a.flags&msg.flags&flagsRequired != flagsRequired {
		return refused(nt.LogonFailure, fmt.Errorf("%w: flags %#x", errFlags, msg.flags))
	}
	if len(msg.sessionKey) != 16 {
		return nil, malformed(fmt.Errorf("%w: session key of %d bytes", errMessage, len(msg.sessionKey)))
	}

	done, guardErr := func(bool) {}, error(nil)
	if guard := a.m.c.Guard; guard != nil {
		done, guardErr = guard(ctx, msg.user, a.channel)
	}

	// Whoever does not exist, or is not to be checked, is calculated for like everybody else, under a hash that no password
	// has.
	hash, id, lookupErr := a.m.c.Accounts.Lookup(ctx, msg.user, msg.domain)
	if lookupErr != nil || guardErr != nil {
		hash = a.m.dummy
	}
	empty := NTHash("")
	noPassword := subtle.ConstantTimeCompare(hash[:], empty[:])
	key := ntowfv2(hash, msg.user, msg.domainRaw)
	right := subtle.ConstantTimeCompare(hmacMD5(key, a.nonce[:], v2.temp), v2.proof)
	session := sessionKey(hmacMD5(key, v2.proof), msg.sessionKey)
	micRight := a.checkMIC(session, token)
	if guardErr != nil {
		return refused(nt.LogonFailure, guardErr)
	}
	done(lookupErr == nil && right == 1 && noPassword != 1)

	switch {
	case lookupErr != nil:
		return refused(nt.LogonFailure, lookupErr)
	case right != 1:
		return refused(nt.LogonFailure, errProof)
	case noPassword == 1:
		return refused(nt.LogonFailure, errEmpty)
	}
	// From here on the response is authentic, and so is what it says of itself.
	hasMIC := v2.flags&avFlagMIC != 0
	switch {
	case hasMIC && !micRight:
		return refused(nt.LogonFailure, errMIC)
	case !hasMIC && !a.m.c.MICOptional:
		return refused(nt.LogonFailure, errNoMIC)
	case !a.targetOurs(v2.target):
		return refused(nt.AccessDenied, fmt.Errorf("%w: %q", errTarget, v2.target))
	case !a.bindingsOurs(v2.bindings):
		return refused(nt.AccessDenied, errBindings)
	}
	if a.mic = hasMIC; !hasMIC {
		a.m.c.Log.Warn("NTLM logon without a MIC",
			"user", msg.user, "workstation", msg.workstation, "client", a.channel.RemoteAddr)
	}
	a.client = newDirection(session, clientSign, clientSeal)
	a.server = newDirection(session, serverSign, serverSeal)
	id.SessionKey, id.Workstation = session, msg.workstation
	return &id, nil
}

// anonymous is [MS-NLMP] 3.2.5.1.2 for a client without a name: no response but at most one empty byte of LM's, and a
// session key from one of zeroes. There is a MIC or not; under that key anybody can make it.
func (a *acceptor) anonymous(msg authenticate) (*auth.Identity, error) {
	switch {
	case len(msg.nt) != 0 || len(msg.lm) > 1:
		return nil, fmt.Errorf("%w: %w with a response", nt.LogonFailure, errAnonymous)
	case a.flags&(msg.flags|flagESS)&flagsRequired != flagsRequired: // Samba's clients drop that flag here: there is no response to extend
		return nil, fmt.Errorf("%w: %w: flags %#x", nt.LogonFailure, errFlags, msg.flags)
	case len(msg.sessionKey) != 16:
		return nil, malformed(fmt.Errorf("%w: session key of %d bytes", errMessage, len(msg.sessionKey)))
	}
	session := sessionKey(make([]byte, 16), msg.sessionKey)
	a.client = newDirection(session, clientSign, clientSeal)
	a.server = newDirection(session, serverSign, serverSeal)
	return &auth.Identity{SID: dtyp.Anonymous, SessionKey: session, Workstation: msg.workstation}, nil
}

// checkMIC reports whether the AUTHENTICATE message carries the MIC over all three messages, itself with the MIC
// field zero ([MS-NLMP] 3.1.5.1.2). The field has a fixed place.
func (a *acceptor) checkMIC(session, token []byte) bool {
	if len(token) < offMIC+lenMIC {
		return false
	}
	h := hmac.New(md5.New, session)
	h.Write(a.negotiate)
	h.Write(a.challenge)
	h.Write(token[:offMIC])
	h.Write(make([]byte, lenMIC))
	h.Write(token[offMIC+lenMIC:])
	return hmac.Equal(h.Sum(nil), token[offMIC:offMIC+lenMIC])
}

// targetOurs reports whether a service principal name, such as cifs/nas.example or cifs/192.0.2.7, is this server's.
// A client that does not know names none.
func (a *acceptor) targetOurs(spn string) bool {
	if spn == "" || a.m.c.ServerNames == nil {
		return true
	}
	names := a.m.c.ServerNames()
	if len(names) == 0 {
		return true
	}
	service, host, ok := strings.Cut(spn, "/")
	if !ok || !strings.EqualFold(service, "cifs") {
		return false
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	for _, name := range names {
		if strings.EqualFold(host, name) {
			return true
		}
	}
	return false
}

// bindingsOurs reports whether the client's hash of its channel's bindings is of ours. It counts only where both
// sides have some.
func (a *acceptor) bindingsOurs(hash []byte) bool {
	if hash == nil || len(a.channel.Bindings) == 0 {
		return true
	}
	for _, b := range a.channel.Bindings {
		if subtle.ConstantTimeCompare(hash, bindingsHash(b)) == 1 {
			return true
		}
	}
	return false
}

// bindingsHash is the MD5 of a gss_channel_bindings_struct that has application data only (RFC 4121 4.1.1.2: the
// types and lengths of both addresses are zero).
func bindingsHash(data []byte) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 16), uint32(len(data)))
	sum := md5.Sum(append(b, data...))
	return sum[:]
}

// MIC signs a message of the server's.
func (a *acceptor) MIC(message []byte) ([]byte, error) { return a.server.mac(message), nil }

// VerifyMIC checks the signature of the client's next message.
func (a *acceptor) VerifyMIC(message, mic []byte) error {
	if !hmac.Equal(a.client.mac(message), mic) {
		return errMAC
	}
	return nil
}

// Protected reports whether the client sent a MIC.
func (a *acceptor) Protected() bool { return a.mic }

package auth

import (
	"bytes"
	"context"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/postern-nas/postern/smb/nt"
)

// Object identifiers of the mechanisms there are.
var (
	OIDSPNEGO = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 2}
	OIDNTLM   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 2, 10}
)

const (
	// MaxToken bounds every token, of SPNEGO and of a mechanism, in bytes.
	MaxToken = 64 << 10

	maxMechs = 32 // in a client's mechTypes; Windows sends at most six
	maxOID   = 64 // bytes of one, encoded
	maxLegs  = 16 // of one exchange; the longest honest one, a Kerberos exchange begun wrongly, takes five
)

// ntlmSignature begins every NTLM message ([MS-NLMP] 2.2.1).
var ntlmSignature = []byte("NTLMSSP\x00")

// negState of a NegTokenResp, RFC 4178 4.2.2.
type negState int

const (
	acceptCompleted  negState = 0
	acceptIncomplete negState = 1
	reject           negState = 2
	requestMIC       negState = 3
)

// Hint returns the token that a server offers its mechanisms with in a NEGOTIATE response: a NegTokenInit2
// ([MS-SPNG] 2.2.1). NEGOEX is never among them: its parsers were CVE-2025-47981.
func Hint(mechs []Mechanism) []byte {
	oids := make([]asn1.ObjectIdentifier, len(mechs))
	for i, m := range mechs {
		oids[i] = m.OID()
	}
	return appendInit2(oids)
}

// NewAcceptor returns an Acceptor that lets the client choose among mechs by SPNEGO (RFC 4178, [MS-SPNG]). It also
// serves a client that speaks one of the mechanisms bare, as Linux does with NTLM.
func NewAcceptor(mechs []Mechanism, ch Channel) Acceptor {
	return &spnego{mechs: mechs, channel: ch}
}

// A spnego is the server's side of one negotiation.
//
//	first   the client's NegTokenInit, or a bare token
//	legs    the mechanism's own exchange, carried in NegTokenResps
//	micLeg  the mechanism is done and its last token was ours: the client's mechListMIC is still to come
//	done    nothing more is accepted
type spnego struct {
	mechs   []Mechanism
	channel Channel

	step      step
	tokens    int
	bare      bool      // no SPNEGO around the mechanism's tokens
	inner     Acceptor  // once chosen
	preferred bool      // the client's first choice was taken
	mechTypes []byte    // the client's list as it was encoded, what mechListMIC protects
	told      bool      // the client knows which mechanism it is
	id        *Identity // proved, in micLeg
	chosen    asn1.ObjectIdentifier
}

type step int

const (
	first step = iota
	legs
	micLeg
	done
)

var (
	errToken   = errors.New("malformed SPNEGO token")
	errOver    = errors.New("token after the end of the exchange")
	errNoMech  = errors.New("none of the client's mechanisms is ours")
	errNoMIC   = errors.New("mechListMIC required and absent")
	errBadMIC  = errors.New("mechListMIC does not verify")
	errGivenUp = errors.New("the client rejected the negotiation")
)

func malformed(cause error) error { return fmt.Errorf("%w: %w", nt.InvalidParameter, cause) }
func refused(cause error) error   { return fmt.Errorf("%w: %w", nt.LogonFailure, cause) }

func (s *spnego) Accept(ctx context.Context, token []byte) (reply []byte, id *Identity, err error) {
	if s.tokens++; s.tokens > maxLegs || s.step == done {
		s.step = done
		return nil, nil, malformed(errOver)
	}
	reply, id, err = s.accept(ctx, token)
	if err != nil || id != nil {
		s.step = done
	}
	return reply, id, err
}

func (s *spnego) accept(ctx context.Context, token []byte) ([]byte, *Identity, error) {
	if len(token) > MaxToken {
		return nil, nil, malformed(fmt.Errorf("token of %d bytes", len(token)))
	}
	switch {
	case s.bare:
		return s.inner.Accept(ctx, token)
	case s.step == first:
		return s.begin(ctx, token)
	}
	r, err := parseResp(token)
	if err != nil {
		return nil, nil, malformed(err)
	}
	if r.state == reject {
		return nil, nil, refused(errGivenUp)
	}
	if s.step == micLeg {
		return s.finish(nil, s.id, r.mic)
	}
	return s.leg(ctx, r.token, r.mic)
}

// begin takes the client's first token.
func (s *spnego) begin(ctx context.Context, token []byte) ([]byte, *Identity, error) {
	s.step = legs
	if bytes.HasPrefix(token, ntlmSignature) {
		return s.serveBare(ctx, OIDNTLM, token)
	}
	oid, body, err := parseGSS(token)
	if err != nil {
		return nil, nil, malformed(err)
	}
	if !oid.Equal(OIDSPNEGO) {
		return s.serveBare(ctx, oid, token)
	}
	t, err := parseInit(body)
	if err != nil {
		return nil, nil, malformed(err)
	}
	s.mechTypes = bytes.Clone(t.mechTypes)
	for i, oid := range t.mechs {
		if m := s.find(oid); m != nil {
			s.inner, s.chosen, s.preferred = m.Acceptor(s.channel), oid, i == 0
			break
		}
	}
	if s.inner == nil {
		return nil, nil, refused(errNoMech)
	}
	// The token that came along is for the client's first choice; nobody else may look at it. Without one the
	// client learns what was chosen and begins.
	if !s.preferred || len(t.token) == 0 {
		return s.reply(nil, nil), nil, nil
	}
	return s.leg(ctx, t.token, t.mic)
}

func (s *spnego) serveBare(ctx context.Context, oid asn1.ObjectIdentifier, token []byte) ([]byte, *Identity, error) {
	m := s.find(oid)
	if m == nil {
		return nil, nil, refused(errNoMech)
	}
	s.bare, s.inner = true, m.Acceptor(s.channel)
	return s.inner.Accept(ctx, token)
}

func (s *spnego) find(oid asn1.ObjectIdentifier) Mechanism {
	for _, m := range s.mechs {
		if m.OID().Equal(oid) {
			return m
		}
	}
	return nil
}

// leg hands one token to the mechanism.
func (s *spnego) leg(ctx context.Context, token, mic []byte) ([]byte, *Identity, error) {
	out, id, err := s.inner.Accept(ctx, token)
	if err != nil {
		return nil, nil, err
	}
	if id == nil {
		return s.reply(out, nil), nil, nil
	}
	return s.finish(out, id, mic)
}

// finish protects the choice of the mechanism: without it a man in the middle could strike the better ones from
// the client's list (RFC 4178 section 5). out is the mechanism's last token if it was ours to send.
func (s *spnego) finish(out []byte, id *Identity, mic []byte) ([]byte, *Identity, error) {
	m, can := s.inner.(MICer)
	required := !s.preferred || can && m.Protected()
	switch {
	case required && !can:
		return nil, nil, refused(fmt.Errorf("%w: the mechanism cannot make one", errNoMIC))
	case len(mic) == 0 && !required:
		return s.complete(out, nil), id, nil
	case len(mic) == 0 && len(out) > 0:
		ours, err := m.MIC(s.mechTypes)
		if err != nil {
			return nil, nil, refused(err)
		}
		s.step, s.id = micLeg, id
		return s.reply(out, ours), nil, nil
	case len(mic) == 0:
		return nil, nil, refused(errNoMIC)
	case !can:
		return nil, nil, refused(fmt.Errorf("%w: the mechanism cannot check one", errBadMIC))
	}
	if err := m.VerifyMIC(s.mechTypes, mic); err != nil {
		return nil, nil, refused(fmt.Errorf("%w: %w", errBadMIC, err))
	}
	if s.step == micLeg { // ours went out with the leg before
		return s.complete(nil, nil), id, nil
	}
	ours, err := m.MIC(s.mechTypes)
	if err != nil {
		return nil, nil, refused(err)
	}
	return s.complete(out, ours), id, nil
}

// reply makes a NegTokenResp that asks for more. The first one names the mechanism, and says there and then that a
// mechListMIC will be wanted if it is not the client's first choice.
func (s *spnego) reply(token, mic []byte) []byte {
	r := resp{state: acceptIncomplete, token: token, mic: mic}
	if !s.told {
		r.mech = s.chosen
		if !s.preferred {
			r.state = requestMIC
		}
	}
	s.told = true
	return appendResp(r)
}

func (s *spnego) complete(token, mic []byte) []byte {
	r := resp{state: acceptCompleted, token: token, mic: mic}
	if !s.told {
		r.mech = s.chosen
	}
	return appendResp(r)
}

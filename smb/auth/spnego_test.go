package auth

import (
	"bytes"
	"context"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/nt"
)

var (
	oidKerberos = asn1.ObjectIdentifier{1, 2, 840, 113554, 1, 2, 2}
	oidMSKrb    = asn1.ObjectIdentifier{1, 2, 840, 48018, 1, 2, 2}
	oidNegoEx   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 2, 30}
)

// A script is a mechanism of so many legs. It wants the tokens "1", "2", ... and answers "re:1", ...; last says
// whether the final token is the server's.
type script struct {
	oid       asn1.ObjectIdentifier
	legs      int
	last      bool
	protected bool
	noMIC     bool // cannot sign
	micErr    error
}

func (m script) OID() asn1.ObjectIdentifier { return m.oid }

func (m script) Acceptor(Channel) Acceptor {
	a := &scripted{m: m}
	if m.noMIC {
		return a
	}
	return &signing{a}
}

type scripted struct {
	m script
	n int
}

var errScript = fmt.Errorf("%w: not in the script", nt.LogonFailure)

func (a *scripted) Accept(_ context.Context, token []byte) ([]byte, *Identity, error) {
	a.n++
	if string(token) != fmt.Sprint(a.n) && string(token) != fmt.Sprintf("NTLMSSP\x00%d", a.n) {
		return nil, nil, errScript
	}
	reply := []byte(fmt.Sprintf("re:%d", a.n))
	if a.n < a.m.legs {
		return reply, nil, nil
	}
	if !a.m.last {
		reply = nil
	}
	return reply, &Identity{User: "u"}, nil
}

// signing is a scripted acceptor that signs by hashing nothing: the MIC is a word before the message.
type signing struct{ *scripted }

func (a *signing) MIC(message []byte) ([]byte, error) {
	return append([]byte("server"), message...), a.m.micErr
}

func (a *signing) VerifyMIC(message, mic []byte) error {
	if string(mic) != "client"+string(message) {
		return errors.New("bad")
	}
	return nil
}

func (a *signing) Protected() bool { return a.m.protected }

// tlv encodes one DER element; construct the tokens with it as a client does.
func tlv(tag byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	switch n := len(body); {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, body...)
	case n < 0x100:
		return append([]byte{tag, 0x81, byte(n)}, body...)
	case n < 0x10000:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, body...)
	default:
		return append([]byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}, body...)
	}
}

func der1(oid asn1.ObjectIdentifier) []byte {
	b, err := asn1.Marshal(oid)
	if err != nil {
		panic(err)
	}
	return b
}

func mechList(oids ...asn1.ObjectIdentifier) []byte {
	var all [][]byte
	for _, o := range oids {
		all = append(all, der1(o))
	}
	return tlv(0x30, all...)
}

func octets(tag byte, s []byte) []byte {
	if s == nil {
		return nil
	}
	return tlv(tag, tlv(0x04, s))
}

func gss(parts ...[]byte) []byte {
	return tlv(0x60, der1(OIDSPNEGO), tlv(0xA0, tlv(0x30, parts...)))
}

func initTok(list, token, mic []byte) []byte {
	return gss(tlv(0xA0, list), octets(0xA2, token), octets(0xA3, mic))
}

func respTok(state int, token, mic []byte) []byte {
	var st []byte
	if state >= 0 {
		st = tlv(0xA0, tlv(0x0A, []byte{byte(state)}))
	}
	return tlv(0xA1, tlv(0x30, st, octets(0xA2, token), octets(0xA3, mic)))
}

// reply is what the server said, decoded by another decoder.
type reply struct {
	State asn1.Enumerated       `asn1:"explicit,tag:0"`
	Mech  asn1.ObjectIdentifier `asn1:"explicit,optional,tag:1"`
	Token []byte                `asn1:"explicit,optional,tag:2"`
	MIC   []byte                `asn1:"explicit,optional,tag:3"`
}

func parseReply(t *testing.T, b []byte) (r reply) {
	t.Helper()
	if rest, err := asn1.UnmarshalWithParams(b, &r, "explicit,tag:1"); err != nil || len(rest) != 0 {
		t.Fatalf("reply %x: %v", b, err)
	}
	return r
}

func (r reply) String() string {
	return fmt.Sprintf("%d %v %q %q", r.State, r.Mech, r.Token, r.MIC)
}

func status(t *testing.T, err error) nt.Status {
	t.Helper()
	var s nt.Status
	if !errors.As(err, &s) {
		t.Fatalf("%v carries no status", err)
	}
	return s
}

// say is what to send and the reply that must come: "state mech token mic", "+" before it when it must come with an
// identity, or an error's status and cause.
type say struct {
	token  []byte
	reply  string
	status nt.Status
	cause  error
}

func TestSPNEGOFlows(t *testing.T) {
	ntlm := script{oid: OIDNTLM, legs: 2}
	protected := ntlm
	protected.protected = true
	krb := script{oid: oidKerberos, legs: 1, last: true}
	krbQuiet := script{oid: oidKerberos, legs: 1}
	mute := script{oid: OIDNTLM, legs: 2, noMIC: true}
	broken := protected
	broken.micErr = errScript

	only := mechList(OIDNTLM)
	windows := mechList(oidNegoEx, oidMSKrb, oidKerberos, OIDNTLM)
	mic := func(list []byte) []byte { return append([]byte("client"), list...) }
	ours := func(list []byte) string { return fmt.Sprintf("%q", "server"+string(list)) }
	b := func(s string) []byte { return []byte(s) }
	ntlmOID := OIDNTLM.String()

	for _, c := range []struct {
		name  string
		mechs []Mechanism
		talk  []say
	}{
		{"preferred, no MIC", []Mechanism{ntlm}, []say{
			{token: initTok(only, b("1"), nil), reply: "1 " + ntlmOID + ` "re:1" ""`},
			{token: respTok(1, b("2"), nil), reply: `+0  "" ""`},
		}},
		{"preferred, without negState", []Mechanism{ntlm}, []say{
			{token: initTok(only, b("1"), nil), reply: "1 " + ntlmOID + ` "re:1" ""`},
			{token: respTok(-1, b("2"), nil), reply: `+0  "" ""`},
		}},
		{"preferred, MIC offered", []Mechanism{ntlm}, []say{
			{token: initTok(only, b("1"), nil), reply: "1 " + ntlmOID + ` "re:1" ""`},
			{token: respTok(1, b("2"), mic(only)), reply: `+0  "" ` + ours(only)},
		}},
		{"preferred, MIC offered and wrong", []Mechanism{ntlm}, []say{
			{token: initTok(only, b("1"), nil), reply: "1 " + ntlmOID + ` "re:1" ""`},
			{token: respTok(1, b("2"), mic(windows)), status: nt.LogonFailure, cause: errBadMIC},
		}},
		{"preferred, protected", []Mechanism{protected}, []say{
			{token: initTok(only, b("1"), nil), reply: "1 " + ntlmOID + ` "re:1" ""`},
			{token: respTok(1, b("2"), mic(only)), reply: `+0  "" ` + ours(only)},
		}},
		{"preferred, protected, MIC missing", []Mechanism{protected}, []say{
			{token: initTok(only, b("1"), nil), reply: "1 " + ntlmOID + ` "re:1" ""`},
			{token: respTok(1, b("2"), nil), status: nt.LogonFailure, cause: errNoMIC},
		}},
		{"MIC cannot be made", []Mechanism{broken}, []say{
			{token: initTok(only, b("1"), nil), reply: "1 " + ntlmOID + ` "re:1" ""`},
			{token: respTok(1, b("2"), mic(only)), status: nt.LogonFailure, cause: errScript},
		}},
		{"no optimistic token", []Mechanism{ntlm}, []say{
			{token: initTok(only, nil, nil), reply: "1 " + ntlmOID + ` "" ""`},
			{token: respTok(1, b("1"), nil), reply: `1  "re:1" ""`},
			{token: respTok(1, b("2"), nil), reply: `+0  "" ""`},
		}},
		{"second choice: its token is not for us, a MIC is demanded", []Mechanism{ntlm}, []say{
			{token: initTok(windows, b("not for NTLM"), nil), reply: "3 " + ntlmOID + ` "" ""`},
			{token: respTok(1, b("1"), nil), reply: `1  "re:1" ""`},
			{token: respTok(1, b("2"), mic(windows)), reply: `+0  "" ` + ours(windows)},
		}},
		{"second choice, MIC missing", []Mechanism{ntlm}, []say{
			{token: initTok(windows, b("not for NTLM"), nil), reply: "3 " + ntlmOID + ` "" ""`},
			{token: respTok(1, b("1"), nil), reply: `1  "re:1" ""`},
			{token: respTok(1, b("2"), nil), status: nt.LogonFailure, cause: errNoMIC},
		}},
		{"second choice, MIC over another list: someone struck a mechanism", []Mechanism{ntlm}, []say{
			{token: initTok(mechList(oidNegoEx, OIDNTLM), b("x"), nil), reply: "3 " + ntlmOID + ` "" ""`},
			{token: respTok(1, b("1"), nil), reply: `1  "re:1" ""`},
			{token: respTok(1, b("2"), mic(windows)), status: nt.LogonFailure, cause: errBadMIC},
		}},
		{"second choice that cannot sign", []Mechanism{mute}, []say{
			{token: initTok(windows, b("x"), nil), reply: "3 " + ntlmOID + ` "" ""`},
			{token: respTok(1, b("1"), nil), reply: `1  "re:1" ""`},
			{token: respTok(1, b("2"), mic(windows)), status: nt.LogonFailure, cause: errNoMIC},
		}},
		{"preferred that cannot sign", []Mechanism{mute}, []say{
			{token: initTok(only, b("1"), nil), reply: "1 " + ntlmOID + ` "re:1" ""`},
			{token: respTok(1, b("2"), nil), reply: `+0  "" ""`},
		}},
		{"preferred that cannot sign, MIC offered", []Mechanism{mute}, []say{
			{token: initTok(only, b("1"), nil), reply: "1 " + ntlmOID + ` "re:1" ""`},
			{token: respTok(1, b("2"), b("m")), status: nt.LogonFailure, cause: errBadMIC},
		}},
		{"one leg, last token ours", []Mechanism{ntlm, krb}, []say{
			{token: initTok(mechList(oidKerberos, OIDNTLM), b("1"), nil), reply: "+0 " + oidKerberos.String() + ` "re:1" ""`},
		}},
		{"one leg, no token of ours", []Mechanism{ntlm, krbQuiet}, []say{
			{token: initTok(mechList(oidKerberos, OIDNTLM), b("1"), nil), reply: "+0 " + oidKerberos.String() + ` "" ""`},
		}},
		{"second choice, last token ours: our MIC goes first", []Mechanism{krb}, []say{
			{token: initTok(windows, b("x"), nil), reply: "3 " + oidKerberos.String() + ` "" ""`},
			{token: respTok(1, b("1"), nil), reply: `1  "re:1" ` + ours(windows)},
			{token: respTok(0, nil, mic(windows)), reply: `+0  "" ""`},
		}},
		{"second choice, last token ours, then no MIC", []Mechanism{krb}, []say{
			{token: initTok(windows, b("x"), nil), reply: "3 " + oidKerberos.String() + ` "" ""`},
			{token: respTok(1, b("1"), nil), reply: `1  "re:1" ` + ours(windows)},
			{token: respTok(0, nil, nil), status: nt.LogonFailure, cause: errNoMIC},
		}},
		{"second choice, last token ours, then a wrong MIC", []Mechanism{krb}, []say{
			{token: initTok(windows, b("x"), nil), reply: "3 " + oidKerberos.String() + ` "" ""`},
			{token: respTok(1, b("1"), nil), reply: `1  "re:1" ` + ours(windows)},
			{token: respTok(0, nil, mic(only)), status: nt.LogonFailure, cause: errBadMIC},
		}},
		{"the client gives up", []Mechanism{ntlm}, []say{
			{token: initTok(only, b("1"), nil), reply: "1 " + ntlmOID + ` "re:1" ""`},
			{token: respTok(2, nil, nil), status: nt.LogonFailure, cause: errGivenUp},
		}},
		{"NTLM first with a Kerberos token", []Mechanism{ntlm}, []say{
			{token: initTok(only, tlv(0x60, der1(oidKerberos), b("AP-REQ")), nil), status: nt.LogonFailure, cause: errScript},
		}},
		{"nothing in common", []Mechanism{ntlm}, []say{
			{token: initTok(mechList(oidKerberos, oidNegoEx), b("1"), nil), status: nt.LogonFailure, cause: errNoMech},
		}},
		{"NEGOEX is never ours", []Mechanism{ntlm}, []say{
			{token: initTok(mechList(oidNegoEx), b("NEGOEXTS"), nil), status: nt.LogonFailure, cause: errNoMech},
		}},
		{"bare NTLM", []Mechanism{krb, ntlm}, []say{
			{token: b("NTLMSSP\x001"), reply: `bare "re:1"`},
			{token: b("NTLMSSP\x002"), reply: `+bare ""`},
		}},
		{"bare NTLM, then SPNEGO", []Mechanism{ntlm}, []say{
			{token: b("NTLMSSP\x001"), reply: `bare "re:1"`},
			{token: respTok(1, b("NTLMSSP\x002"), nil), status: nt.LogonFailure, cause: errScript},
		}},
		{"bare NTLM where there is none", []Mechanism{krb}, []say{
			{token: b("NTLMSSP\x001"), status: nt.LogonFailure, cause: errNoMech},
		}},
		{"bare mechanism that is not ours", []Mechanism{ntlm}, []say{
			{token: tlv(0x60, der1(oidKerberos), b("AP-REQ")), status: nt.LogonFailure, cause: errNoMech},
		}},
		{"an empty leg", []Mechanism{ntlm}, []say{
			{token: initTok(only, b("1"), nil), reply: "1 " + ntlmOID + ` "re:1" ""`},
			{token: respTok(1, nil, nil), status: nt.LogonFailure, cause: errScript},
		}},
		{"a second NegTokenInit", []Mechanism{ntlm}, []say{
			{token: initTok(only, b("1"), nil), reply: "1 " + ntlmOID + ` "re:1" ""`},
			{token: initTok(only, b("2"), nil), status: nt.InvalidParameter, cause: errToken},
		}},
		{"a NegTokenResp first", []Mechanism{ntlm}, []say{
			{token: respTok(1, b("1"), nil), status: nt.InvalidParameter, cause: errToken},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := NewAcceptor(c.mechs, Channel{})
			over := false
			for i, s := range c.talk {
				out, id, err := a.Accept(context.Background(), s.token)
				if s.status != 0 {
					if out != nil || id != nil || err == nil || status(t, err) != s.status || !errors.Is(err, s.cause) {
						t.Fatalf("token %d: reply %x, %v, want %v because of %v", i, out, err, s.status, s.cause)
					}
					over = true
					continue
				}
				if err != nil {
					t.Fatalf("token %d: %v", i, err)
				}
				want, wantID := strings.CutPrefix(s.reply, "+")
				if wantID != (id != nil) {
					t.Fatalf("token %d: identity %v", i, id)
				}
				over = wantID
				got := ""
				if strings.HasPrefix(want, "bare") {
					got = fmt.Sprintf("bare %q", out)
				} else {
					got = parseReply(t, out).String()
				}
				if got != want {
					t.Fatalf("token %d: reply %s\nwant %s", i, got, want)
				}
			}
			if !over {
				return
			}
			for _, again := range []say{{token: respTok(1, []byte("2"), nil)}, {token: initTok(only, []byte("1"), nil)}} {
				if _, id, err := a.Accept(context.Background(), again.token); id != nil || !errors.Is(err, errOver) || status(t, err) != nt.InvalidParameter {
					t.Errorf("after the end: %v", err)
				}
			}
		})
	}
}

// TestSEC15SPNEGOMalformed: what no encoder of DER makes is refused, as are tokens that would be dear to read.
func TestSEC15SPNEGOMalformed(t *testing.T) {
	one := mechList(OIDNTLM)
	long := asn1.ObjectIdentifier{1, 3}
	for range 20_000 {
		long = append(long, 1)
	}
	nest := []byte{}
	for range 5_000 {
		nest = tlv(0x30, nest)
	}
	many := func(n int) []byte {
		return tlv(0x30, bytes.Repeat(der1(oidNegoEx), n), der1(OIDNTLM))
	}
	for name, token := range map[string][]byte{
		"nothing":                       nil,
		"one byte":                      {0x60},
		"more than 64 KiB":              initTok(one, make([]byte, MaxToken), nil),
		"zeros":                         make([]byte, 100),
		"no mechTypes":                  gss(octets(0xA2, []byte("1"))),
		"empty mechTypes":               initTok(tlv(0x30), []byte("1"), nil),
		"mechTypes of something else":   initTok(tlv(0x30, tlv(0x04, []byte("x"))), []byte("1"), nil),
		"mechTypes not a sequence":      gss(tlv(0xA0, der1(OIDNTLM))),
		"two lists":                     gss(tlv(0xA0, one, one)),
		"10,000 mechanisms":             initTok(many(10_000), []byte("1"), nil),
		"one mechanism too many":        initTok(many(maxMechs), []byte("1"), nil),
		"empty object identifier":       initTok(tlv(0x30, []byte{6, 0}), []byte("1"), nil),
		"unended object identifier":     initTok(tlv(0x30, []byte{6, 2, 0x2B, 0x81}), []byte("1"), nil),
		"indefinite length":             append([]byte{0x60, 0x80}, append(bytes.Clone(initTok(one, nil, nil)[2:]), 0, 0)...),
		"length in more bytes than due": append([]byte{0x60, 0x81}, initTok(one, nil, nil)[1:]...),
		"length of 5 bytes":             append([]byte{0x60, 0x85, 0, 0, 0, 0}, initTok(one, nil, nil)[1:]...),
		"length of 8 bytes":             {0x60, 0x88, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
		"length past the end":           {0x60, 0x84, 0x7F, 0xFF, 0xFF, 0xFF, 0x06},
		"high tag number":               {0x7F, 0x81, 0x01, 0x00},
		"5,000 sequences deep":          tlv(0x60, der1(OIDSPNEGO), tlv(0xA0, nest)),
		"bytes behind":                  append(initTok(one, []byte("1"), nil), 0),
		"bytes behind the choice":       tlv(0x60, der1(OIDSPNEGO), tlv(0xA0, tlv(0x30, tlv(0xA0, one))), []byte{5, 0}),
		"bytes behind the sequence":     tlv(0x60, der1(OIDSPNEGO), tlv(0xA0, tlv(0x30, tlv(0xA0, one)), []byte{5, 0})),
		"unknown field":                 gss(tlv(0xA0, one), tlv(0xA5, []byte{5, 0})),
		"fields out of order":           gss(octets(0xA2, []byte("1")), tlv(0xA0, one)),
		"a field twice":                 gss(tlv(0xA0, one), octets(0xA2, []byte("1")), octets(0xA2, []byte("1"))),
		"token that is no octets":       gss(tlv(0xA0, one), tlv(0xA2, tlv(0x0C, []byte("1")))),
		"two tokens":                    gss(tlv(0xA0, one), tlv(0xA2, tlv(4, []byte("1")), tlv(4, []byte("2")))),
		"another choice":                tlv(0x60, der1(OIDSPNEGO), tlv(0xA2, tlv(0x30, tlv(0xA0, one)))),
	} {
		a := NewAcceptor([]Mechanism{script{oid: OIDNTLM, legs: 2}}, Channel{})
		if out, id, err := a.Accept(context.Background(), token); out != nil || id != nil || err == nil || status(t, err) != nt.InvalidParameter {
			t.Errorf("%s: %x, %v", name, out, err)
		}
	}

	good := initTok(one, []byte("1"), nil)
	for n := range good {
		if _, _, err := NewAcceptor([]Mechanism{script{oid: OIDNTLM, legs: 2}}, Channel{}).Accept(context.Background(), good[:n]); err == nil || status(t, err) != nt.InvalidParameter {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	leg := respTok(1, []byte("2"), []byte("client"))
	for name, token := range map[string][]byte{
		"nothing":            nil,
		"state 4":            respTok(4, []byte("2"), nil),
		"state of two":       tlv(0xA1, tlv(0x30, tlv(0xA0, []byte{10, 1, 1, 10, 1, 1}))),
		"negative state":     respTok(0xFF, nil, nil),
		"state no enum":      tlv(0xA1, tlv(0x30, tlv(0xA0, []byte{2, 1, 1}))),
		"bytes behind":       append(bytes.Clone(leg), 0),
		"more than 64 KiB":   respTok(1, make([]byte, MaxToken), nil),
		"unknown field":      tlv(0xA1, tlv(0x30, tlv(0xA4, []byte{5, 0}))),
		"cut":                leg[:len(leg)-1],
		"MIC that is no MIC": tlv(0xA1, tlv(0x30, tlv(0xA3, []byte{5, 0}))),
	} {
		a := NewAcceptor([]Mechanism{script{oid: OIDNTLM, legs: 2}}, Channel{})
		if _, _, err := a.Accept(context.Background(), good); err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.Accept(context.Background(), token); err == nil || status(t, err) != nt.InvalidParameter {
			t.Errorf("leg, %s: %v", name, err)
		}
	}

	// What is odd but allowed: flags, which mean nothing, and object identifiers of any length.
	for name, token := range map[string][]byte{
		"reqFlags":                   gss(tlv(0xA0, one), tlv(0xA1, tlv(3, []byte{1, 0x60})), octets(0xA2, []byte("1"))),
		"as many mechanisms as goes": initTok(many(maxMechs-1), []byte("1"), nil),
		"a long object identifier":   initTok(mechList(long, OIDNTLM), []byte("1"), nil),
	} {
		if out, _, err := NewAcceptor([]Mechanism{script{oid: OIDNTLM, legs: 2}}, Channel{}).Accept(context.Background(), token); err != nil || out == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSEC15SPNEGOLegs: an exchange that never ends is ended.
func TestSEC15SPNEGOLegs(t *testing.T) {
	a := NewAcceptor([]Mechanism{script{oid: OIDNTLM, legs: 1000}}, Channel{})
	if _, _, err := a.Accept(context.Background(), initTok(mechList(OIDNTLM), []byte("1"), nil)); err != nil {
		t.Fatal(err)
	}
	for i := 2; ; i++ {
		_, _, err := a.Accept(context.Background(), respTok(1, []byte(fmt.Sprint(i)), nil))
		if i <= maxLegs && err != nil {
			t.Fatalf("leg %d: %v", i, err)
		}
		if i > maxLegs {
			if !errors.Is(err, errOver) {
				t.Fatalf("leg %d: %v", i, err)
			}
			break
		}
	}
}

// The token that Windows and Samba put into their NEGOTIATE responses when NTLM is all they have.
func TestHint(t *testing.T) {
	got := Hint([]Mechanism{script{oid: OIDNTLM}})
	want := append(hextext.Bytes("604806062b0601050502a03e303ca00e300c060a2b06010401823702020aa32a3028a0261b24"), negHint...)
	if !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	two := Hint([]Mechanism{script{oid: oidKerberos}, script{oid: OIDNTLM}})
	if !bytes.Contains(two, mechList(oidKerberos, OIDNTLM)) {
		t.Errorf("%x", two)
	}
	if bytes.Contains(two, der1(oidNegoEx)) {
		t.Error("NEGOEX is offered")
	}
}

// Tokens that Windows 10 exchanged ("SMB 3.1.1 Pre-authentication integrity in Windows 10", Microsoft 2015).
func TestWindowsTokens(t *testing.T) {
	oid, body, err := parseGSS(windowsInit)
	if err != nil || !oid.Equal(OIDSPNEGO) {
		t.Fatal(oid, err)
	}
	init, err := parseInit(body)
	if err != nil || len(init.mechs) != 1 || !init.mechs[0].Equal(OIDNTLM) || !bytes.HasPrefix(init.token, ntlmSignature) ||
		!bytes.Equal(init.mechTypes, mechList(OIDNTLM)) || init.mic != nil {
		t.Errorf("NegTokenInit %+v, %v", init, err)
	}
	r, err := parseResp(windowsResp)
	if err != nil || r.state != acceptIncomplete || !bytes.Equal(r.mic, hextext.Bytes("0100000063775A9A5FD97F0600000000")) || string(r.token) != "NTLMSSP\x00" {
		t.Errorf("NegTokenResp %+v, %v", r, err)
	}
	end := appendResp(resp{state: acceptCompleted, mic: hextext.Bytes("010000003B453CDC3524164200000000")})
	if !bytes.Equal(end, hextext.Bytes("A11B3019A0030A0100A3120410010000003B453CDC3524164200000000")) {
		t.Errorf("the end is %X", end)
	}
}

var (
	windowsInit = hextext.Bytes(`604806062B0601050502A03E303CA00E300C060A2B06010401823702020AA22A
		04284E544C4D5353500001000000978208E200000000000000000000000000000000060380250000000F`)
	// Its NTLM message is cut to the signature.
	windowsResp = hextext.Bytes(`A1273025A0030A0101A20A04084E544C4D53535000A31204100100000063775A9A5FD97F0600000000`)
)

func FuzzSPNEGO(f *testing.F) {
	f.Add(windowsInit, windowsResp)
	f.Add(initTok(mechList(oidKerberos, OIDNTLM), []byte("1"), nil), respTok(1, []byte("1"), nil))
	f.Add(initTok(mechList(OIDNTLM), []byte("1"), nil), respTok(1, []byte("2"), append([]byte("client"), mechList(OIDNTLM)...)))
	f.Add([]byte("NTLMSSP\x001"), []byte("NTLMSSP\x002"))
	f.Add(Hint([]Mechanism{script{oid: OIDNTLM}}), respTok(2, nil, nil))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		a := NewAcceptor([]Mechanism{script{oid: OIDNTLM, legs: 2, protected: true}}, Channel{})
		for _, token := range [][]byte{one, two, two} {
			out, id, err := a.Accept(context.Background(), token)
			if err != nil {
				if status(t, err); out != nil || id != nil {
					t.Fatalf("%x, %v beside %v", out, id, err)
				}
				return
			}
			bare := bytes.HasPrefix(one, ntlmSignature)
			if id != nil && !bare && !bytes.Contains(token, append([]byte("client"), a.(*spnego).mechTypes...)) {
				t.Fatalf("%x then %x: accepted without a MIC", one, two)
			}
			if id != nil {
				return
			}
		}
	})
}

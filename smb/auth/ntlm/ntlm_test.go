package ntlm

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm/ntlmtest"
	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/hextext"
	"github.com/postern-nas/postern/smb/nt"
)

// accounts maps names in lower case to passwords.
type accounts map[string]string

var errUnknown = errors.New("no such account")

func (a accounts) Lookup(_ context.Context, user, _ string) (hash [16]byte, id auth.Identity, err error) {
	for name, password := range a {
		if strings.EqualFold(name, user) {
			return NTHash(password), auth.Identity{User: name, SID: dtyp.NewSID(5, 21, 1, 2, 3, 1001)}, nil
		}
	}
	return hash, id, errUnknown
}

func config() Config {
	return Config{
		Computer: "NAS", DNSName: "nas.example", ServerNames: func() []string { return []string{"nas.example", "NAS", "192.0.2.7"} },
		Accounts: accounts{"Änne": "pässword", "empty": "", "User": "Password"},
	}
}

// logon drives a whole exchange.
func logon(m *Mechanism, ch auth.Channel, c *ntlmtest.Client) (*auth.Identity, *acceptor, error) {
	a := m.Acceptor(ch).(*acceptor)
	challenge, id, err := a.Accept(context.Background(), c.Negotiate())
	if err != nil || id != nil {
		return id, a, err
	}
	msg, err := c.Authenticate(challenge)
	if err != nil {
		return nil, a, err
	}
	reply, id, err := a.Accept(context.Background(), msg)
	if reply != nil {
		return nil, a, errors.New("a reply to AUTHENTICATE")
	}
	return id, a, err
}

func TestLogon(t *testing.T) {
	m := New(config())
	for _, c := range []*ntlmtest.Client{
		{User: "Änne", Password: "pässword", Domain: "NAS", Workstation: "LAPTOP"},
		{User: "äNNE", Password: "pässword", Workstation: "LAPTOP"},
		{User: "änne", Password: "pässword", Domain: "WORKGROUP", Workstation: "LAPTOP", Target: "cifs/nas.example"},
	} {
		id, a, err := logon(m, auth.Channel{}, c)
		if err != nil {
			t.Fatal(err)
		}
		if id.User != "Änne" || id.Workstation != "LAPTOP" || id.SID != dtyp.NewSID(5, 21, 1, 2, 3, 1001) || !bytes.Equal(id.SessionKey, c.SessionKey()) {
			t.Errorf("identity %+v", id)
		}
		if !a.Protected() {
			t.Error("not protected although there was a MIC")
		}
		// Signatures both ways, each way counting for itself.
		for i := range 3 {
			text := bytes.Repeat([]byte{byte(i)}, 50*i)
			if err := a.VerifyMIC(text, c.MIC(text)); err != nil {
				t.Errorf("client's MIC %d: %v", i, err)
			}
			mic, err := a.MIC(text)
			if err != nil || !c.VerifyMIC(text, mic) {
				t.Errorf("our MIC %d: %v", i, err)
			}
		}
		if err := a.VerifyMIC([]byte("one"), c.MIC([]byte("two"))); err == nil {
			t.Error("a MIC of another message verifies")
		}
	}
}

func TestOID(t *testing.T) {
	if !New(config()).OID().Equal(auth.OIDNTLM) {
		t.Error("not NTLM's")
	}
}

// What the CHALLENGE says, field by field.
func TestChallenge(t *testing.T) {
	m := New(config())
	m.challenge = func() [8]byte { return [8]byte{1, 2, 3, 4, 5, 6, 7, 8} }
	m.now = func() dtyp.Filetime { return 0x01D0AECBADF5A1A1 }
	var c ntlmtest.Client
	b, _, err := m.Acceptor(auth.Channel{}).Accept(context.Background(), c.Negotiate())
	if err != nil {
		t.Fatal(err)
	}
	u := func(s string) string { return string(cursor.AppendUTF16(nil, s)) }
	want := "NTLMSSP\x00\x02\x00\x00\x00" + "\x06\x00\x06\x00\x38\x00\x00\x00" + "\x15\x82\x8A\xE2" + "\x01\x02\x03\x04\x05\x06\x07\x08" +
		strings.Repeat("\x00", 8) + "\x58\x00\x58\x00\x3E\x00\x00\x00" + "\x0A\x00\x00\x00\x00\x00\x00\x0F" + u("NAS") +
		"\x02\x00\x06\x00" + u("NAS") + "\x01\x00\x06\x00" + u("NAS") + "\x04\x00\x16\x00" + u("nas.example") + "\x03\x00\x16\x00" + u("nas.example") +
		"\x07\x00\x08\x00\xA1\xA1\xF5\xAD\xCB\xAE\xD0\x01" + "\x00\x00\x00\x00"
	if string(b) != want {
		t.Errorf("CHALLENGE is\n%s", hex.Dump(b))
	}
}

// [MS-NLMP] 4.2.4: the keys and the messages of its NTLMv2 example.
func TestSpecificationExample(t *testing.T) {
	if h := NTHash("Password"); !bytes.Equal(h[:], hextext.Bytes("a4f49c406510bdcab6824ee7c30fd852")) {
		t.Errorf("NTOWFv1 is %x", h)
	}
	domain := cursor.AppendUTF16(nil, "Domain")
	key := ntowfv2(NTHash("Password"), "User", domain)
	if !bytes.Equal(key, hextext.Bytes("0c868a403bfd7a93a3001ef22ef02e3f")) {
		t.Errorf("NTOWFv2 is %x", key)
	}
	temp := hextext.Bytes(`01010000000000000000000000000000aaaaaaaaaaaaaaaa0000000002000c0044006f006d00610069006e00
		01000c005300650072007600650072000000000000000000`)
	proof := hmacMD5(key, hextext.Bytes("0123456789abcdef"), temp)
	if !bytes.Equal(proof, hextext.Bytes("68cd0ab851e51c96aabc927bebef6a1c")) {
		t.Errorf("NTProofStr is %x", proof)
	}
	base := hmacMD5(key, proof)
	if !bytes.Equal(base, hextext.Bytes("8de40ccadbc14a82f15cb0ad0de95ca3")) {
		t.Errorf("SessionBaseKey is %x", base)
	}
	random := bytes.Repeat([]byte{0x55}, 16)
	if got := sessionKey(base, hextext.Bytes("c5dad2544fc9799094ce1ce90bc9d03e")); !bytes.Equal(got, random) {
		t.Errorf("RandomSessionKey is %x", got)
	}
	d := newDirection(random, clientSign, clientSeal)
	if !bytes.Equal(d.sign, hextext.Bytes("4788dc861b4782f35d43fd98fe1a2d39")) {
		t.Errorf("ClientSigningKey is %x", d.sign)
	}
	// GSS_WrapEx encrypts first and signs with the same key stream.
	text := cursor.AppendUTF16(nil, "Plaintext")
	sealed := make([]byte, len(text))
	d.seal.XORKeyStream(sealed, text)
	if !bytes.Equal(sealed, hextext.Bytes("54e50165bf1936dc996020c1811b0f06fb5f")) {
		t.Errorf("sealed %x", sealed)
	}
	if mac := d.mac(text); !bytes.Equal(mac, hextext.Bytes("010000007fb38ec5c55d497600000000")) {
		t.Errorf("signature %x", mac)
	}

	// The AUTHENTICATE message of 4.2.4.3, from a client that knows no MIC.
	a := exampleAcceptor(t)
	_, id, err := a.Accept(context.Background(), exampleAuthenticate)
	if err != nil {
		t.Fatal(err)
	}
	if id.User != "User" || id.Workstation != "COMPUTER" || !bytes.Equal(id.SessionKey, random) || a.(*acceptor).Protected() {
		t.Errorf("identity %+v", id)
	}
}

var exampleAuthenticate = hextext.Bytes(`
	4e544c4d53535000 03000000 1800180 06c000000 5400540084000000 0c000c0048000000 0800080054000000 100010005c000000
	10001000d8000000 358288e2 0501280a0000000f
	44006f006d00610069006e00 5500730065007200 43004f004d0050005500540045005200
	86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa
	68cd0ab851e51c96aabc927bebef6a1c 01010000000000000000000000000000aaaaaaaaaaaaaaaa00000000
	02000c0044006f006d00610069006e00 01000c00530065007200760065007200 0000000000000000
	c5dad2544fc9799094ce1ce90bc9d03e`)

// exampleAcceptor is about to receive exampleAuthenticate.
func exampleAcceptor(t testing.TB) auth.Acceptor {
	c := config()
	c.MICOptional = true
	m := New(c)
	m.challenge = func() [8]byte { return [8]byte(hextext.Bytes("0123456789abcdef")) }
	a := m.Acceptor(auth.Channel{})
	if _, _, err := a.Accept(context.Background(), new(ntlmtest.Client).Negotiate()); err != nil {
		t.Fatal(err)
	}
	return a
}

// A logon between two Windows 10 machines, published in "SMB 2 and SMB 3 security in Windows 10: the anatomy of
// signing and cryptographic keys" (Microsoft Open Specifications, 2017). The password is a guess that fits.
var (
	windowsNegotiate = hextext.Bytes(`4E544C4D5353500001000000978208E200000000000000000000000000000000060380250000000F`)
	windowsChallenge = hextext.Bytes(`
		4E544C4D53535000020000000C000C003800000015828AE20D1D8BA31179D008000000000000000050005000440000000A009227
		0000000F53005500540033003100310002000C0053005500540033003100310001000C0053005500540033003100310004000C00
		53005500540033003100310003000C0053005500540033003100310007000800A1A1F5ADCBAED00100000000`)
	windowsAuthenticate = hextext.Bytes(`
		4E544C4D53535000030000001800180090000000EE00EE00A80000000C000C00580000001A001A0064000000120012007E000000
		1000100096010000158288E2060380250000000FECAC77A5F385A8BF9C38C706EEEDDCD353005500540033003100310061006400
		6D0069006E006900730074007200610074006F007200440052004900560045005200330031003100000000000000000000000000
		00000000000000000000000063078EB639FE03E20A231C3AE3BF23080101000000000000A1A1F5ADCBAED001BC4AD05F223CC90F
		0000000002000C0053005500540033003100310001000C0053005500540033003100310004000C00530055005400330031003100
		03000C0053005500540033003100310007000800A1A1F5ADCBAED001060004000200000008003000300000000000000000000000
		00300000B61FEFCAA857EA57BF1EDCEBF8974B8E0EBA5A6DFD9D07A31D11B548F8C9D0CC0A001000000000000000000000000000
		000000000900160063006900660073002F005300550054003300310031000000000000000000000000003B9BDFF38F5EE8F9663F
		11A0F4C03A78`)
	windowsMechTypes = hextext.Bytes("300C060A2B06010401823702020A")
)

func windowsAcceptor(t testing.TB, change func(*Config)) *acceptor {
	c := Config{Computer: "SUT311", DNSName: "SUT311", Accounts: accounts{"Administrator": "Password01!"}, ServerNames: func() []string { return []string{"sut311"} }}
	if change != nil {
		change(&c)
	}
	m := New(c)
	m.challenge = func() [8]byte { return [8]byte(windowsChallenge[24:32]) }
	m.now = func() dtyp.Filetime {
		return dtyp.Filetime(binary.LittleEndian.Uint64(hextext.Bytes("A1A1F5ADCBAED001")))
	}
	a := m.Acceptor(auth.Channel{}).(*acceptor)
	challenge, _, err := a.Accept(context.Background(), windowsNegotiate)
	if err != nil {
		t.Fatal(err)
	}
	// Our CHALLENGE is Windows' but for the build number, which the MIC covers.
	copy(challenge[50:52], windowsChallenge[50:52])
	if !bytes.Equal(challenge, windowsChallenge) {
		t.Fatalf("CHALLENGE is\n%s", hex.Dump(challenge))
	}
	a.challenge = windowsChallenge
	return a
}

func TestWindowsLogon(t *testing.T) {
	a := windowsAcceptor(t, nil)
	_, id, err := a.Accept(context.Background(), windowsAuthenticate)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(id.SessionKey, hextext.Bytes("270E1BA896585EEB7AF3472D3B4C75A7")) || id.User != "Administrator" || id.Workstation != "DRIVER311" {
		t.Errorf("identity %+v", id)
	}
	if !a.Protected() {
		t.Error("not protected")
	}
	if err := a.VerifyMIC(windowsMechTypes, hextext.Bytes("0100000063775A9A5FD97F0600000000")); err != nil {
		t.Error(err)
	}
	if mic, err := a.MIC(windowsMechTypes); err != nil || !bytes.Equal(mic, hextext.Bytes("010000003B453CDC3524164200000000")) {
		t.Errorf("our MIC is %X, %v", mic, err)
	}
}

// status is what the client is told.
func status(t *testing.T, err error) nt.Status {
	t.Helper()
	var s nt.Status
	if !errors.As(err, &s) {
		t.Fatalf("%v carries no status", err)
	}
	return s
}

// TestSEC18NTLMSemantics: who is refused although the messages are well formed.
func TestSEC18NTLMSemantics(t *testing.T) {
	good := func() *ntlmtest.Client {
		return &ntlmtest.Client{User: "User", Password: "Password", Domain: "NAS", Workstation: "PC"}
	}
	nt24 := func(n int) func(*ntlmtest.Message) {
		return func(m *ntlmtest.Message) { m.NT = m.NT[:n] }
	}
	without := func(flag uint32) func(*ntlmtest.Message) {
		return func(m *ntlmtest.Message) { m.Flags &^= flag }
	}
	for _, c := range []struct {
		name   string
		change func(*ntlmtest.Client)
		status nt.Status
		cause  error
	}{
		{"wrong password", func(c *ntlmtest.Client) { c.Password = "password" }, nt.LogonFailure, errProof},
		{"unknown user", func(c *ntlmtest.Client) { c.User = "nobody" }, nt.LogonFailure, errUnknown},
		{"unknown user with an empty password", func(c *ntlmtest.Client) { c.User, c.Password = "nobody", "" }, nt.LogonFailure, errUnknown},
		{"account without a password", func(c *ntlmtest.Client) { c.User, c.Password = "empty", "" }, nt.LogonFailure, errEmpty},
		{"account without a password, wrong one", func(c *ntlmtest.Client) { c.User = "empty" }, nt.LogonFailure, errProof},
		{"anonymous", func(c *ntlmtest.Client) {
			c.User, c.Password = "", ""
			c.Edit = func(m *ntlmtest.Message) { m.LM, m.NT = []byte{0}, nil }
		}, nt.AccessDenied, errAnonymous},
		{"anonymous with a MIC", func(c *ntlmtest.Client) { c.Anonymous = true }, nt.AccessDenied, errAnonymous},
		{"no name but a response", func(c *ntlmtest.Client) { c.User, c.Password = "", "" }, nt.AccessDenied, errAnonymous},
		{"no NT response", func(c *ntlmtest.Client) { c.Edit = nt24(0) }, nt.LogonFailure, errV1},
		{"NTLMv1 or NTLM2 session response", func(c *ntlmtest.Client) { c.Edit = nt24(24) }, nt.LogonFailure, errV1},
		{"LM response only", func(c *ntlmtest.Client) { c.Edit = nt24(1) }, nt.LogonFailure, errV1},
		{"no key exchange", func(c *ntlmtest.Client) { c.Edit = without(flagKeyExch) }, nt.LogonFailure, errFlags},
		{"no extended session security", func(c *ntlmtest.Client) { c.Edit = without(flagESS) }, nt.LogonFailure, errFlags},
		{"56-bit keys", func(c *ntlmtest.Client) { c.Edit = without(flag128) }, nt.LogonFailure, errFlags},
		{"OEM strings", func(c *ntlmtest.Client) { c.Edit = without(flagUnicode) }, nt.InvalidParameter, errMessage},
		{"short session key", func(c *ntlmtest.Client) {
			c.Edit = func(m *ntlmtest.Message) { m.SessionKey = m.SessionKey[:15] }
		}, nt.InvalidParameter, errMessage},
		{"no session key", func(c *ntlmtest.Client) {
			c.Edit = func(m *ntlmtest.Message) { m.SessionKey = nil }
		}, nt.InvalidParameter, errMessage},
		{"no MIC", func(c *ntlmtest.Client) { c.NoMIC = true }, nt.LogonFailure, errNoMIC},
		{"MIC there but not announced", func(c *ntlmtest.Client) {
			c.EditAV = func(p []byte) []byte { return bytes.Replace(p, []byte{6, 0, 4, 0, 2}, []byte{6, 0, 4, 0, 0}, 1) }
		}, nt.LogonFailure, errNoMIC},
		{"MIC announced but not there", func(c *ntlmtest.Client) {
			c.NoMIC = true
			c.EditAV = func(p []byte) []byte { return append(p, 6, 0, 4, 0, 2, 0, 0, 0) }
		}, nt.LogonFailure, errMIC},
		{"another server's name", func(c *ntlmtest.Client) { c.Target = "cifs/other.example" }, nt.AccessDenied, errTarget},
		{"another service", func(c *ntlmtest.Client) { c.Target = "HTTP/nas.example" }, nt.AccessDenied, errTarget},
		{"no service", func(c *ntlmtest.Client) { c.Target = "nas.example" }, nt.AccessDenied, errTarget},
		{"a longer name", func(c *ntlmtest.Client) { c.Target = "cifs/nas.example.evil" }, nt.AccessDenied, errTarget},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := good()
			c.change(client)
			id, a, err := logon(New(config()), auth.Channel{}, client)
			if id != nil || err == nil {
				t.Fatal("logged on")
			}
			if got := status(t, err); got != c.status || !errors.Is(err, c.cause) {
				t.Errorf("%v, want %v because of %v", err, c.status, c.cause)
			}
			// There is no second try on one challenge.
			if _, id, err := a.Accept(context.Background(), []byte("NTLMSSP\x00")); id != nil || !errors.Is(err, errOver) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}

	t.Run("right names", func(t *testing.T) {
		for _, target := range []string{"", "cifs/nas.example", "CIFS/NAS", "cifs/192.0.2.7", "cifs/nas.example:8443"} {
			c := good()
			c.Target = target
			if _, _, err := logon(New(config()), auth.Channel{}, c); err != nil {
				t.Errorf("%q: %v", target, err)
			}
		}
		c := good()
		c.Target = "cifs/whatever"
		cfg := config()
		cfg.ServerNames = nil
		if _, _, err := logon(New(cfg), auth.Channel{}, c); err != nil {
			t.Errorf("without names to check: %v", err)
		}
	})
	t.Run("MIC optional", func(t *testing.T) {
		cfg := config()
		cfg.MICOptional = true
		c := good()
		c.NoMIC = true
		if _, a, err := logon(New(cfg), auth.Channel{}, c); err != nil || a.Protected() {
			t.Errorf("%v", err)
		}
	})
	t.Run("bindings", func(t *testing.T) {
		ours, other := []byte("tls-server-end-point:ours"), []byte("tls-server-end-point:other")
		bound := auth.Channel{Bindings: [][]byte{[]byte("tls-exporter:x"), ours}}
		for _, v := range []struct {
			ch   auth.Channel
			send []byte
			ok   bool
		}{
			{bound, ours, true},
			{bound, other, false},
			{bound, nil, true},
			{auth.Channel{}, other, true},
			{auth.Channel{}, nil, true},
		} {
			c := good()
			c.Bindings = v.send
			_, _, err := logon(New(config()), v.ch, c)
			if v.ok != (err == nil) {
				t.Errorf("%q on %v: %v", v.send, v.ch, err)
			}
			if err != nil && (status(t, err) != nt.AccessDenied || !errors.Is(err, errBindings)) {
				t.Error(err)
			}
		}
	})
	t.Run("altered messages", func(t *testing.T) {
		// Whatever a man in the middle changes in the NEGOTIATE or the CHALLENGE, the MIC shows it.
		m := New(config())
		for i := range 20 {
			a, c := m.Acceptor(auth.Channel{}), good()
			n := c.Negotiate()
			n[20+i] ^= 1
			challenge, _, err := a.Accept(context.Background(), n)
			if err != nil {
				t.Fatal(err)
			}
			msg, err := c.Authenticate(challenge)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := a.Accept(context.Background(), msg); !errors.Is(err, errMIC) {
				t.Errorf("byte %d of NEGOTIATE: %v", 20+i, err)
			}
		}
	})
	t.Run("challenges differ", func(t *testing.T) {
		m, seen := New(config()), map[string]bool{}
		n := good().Negotiate()
		for range 100_000 {
			b, _, err := m.Acceptor(auth.Channel{}).Accept(context.Background(), n)
			if err != nil || seen[string(b[24:32])] {
				t.Fatal("a challenge came twice", err)
			}
			seen[string(b[24:32])] = true
		}
	})
	t.Run("weak NEGOTIATE", func(t *testing.T) {
		for _, flag := range []uint32{flagUnicode, flagNTLM, flagESS, flag128, flagKeyExch} {
			n := good().Negotiate()
			binary.LittleEndian.PutUint32(n[12:], ntlmtest.Flags&^flag)
			if _, _, err := New(config()).Acceptor(auth.Channel{}).Accept(context.Background(), n); !errors.Is(err, errFlags) || status(t, err) != nt.LogonFailure {
				t.Errorf("without %#x: %v", flag, err)
			}
		}
	})
}

// TestSEC26SameAnswer: an unknown user, a wrong password and a passwordless account get one status.
func TestSEC26SameAnswer(t *testing.T) {
	m := New(config())
	for _, c := range []*ntlmtest.Client{
		{User: "nobody", Password: "x"}, {User: "User", Password: "x"}, {User: "empty", Password: ""}, {User: "nobody", Password: ""},
	} {
		if _, _, err := logon(m, auth.Channel{}, c); status(t, err) != nt.LogonFailure {
			t.Errorf("%q: %v", c.User, err)
		}
	}
}

// The dummy hash of unknown users is random, so that no password logs them on.
func TestSEC18DummyHash(t *testing.T) {
	a, b := New(config()), New(config())
	if a.dummy == b.dummy || a.dummy == [16]byte{} {
		t.Error("the dummy hash is known")
	}
}

// TestSEC17NTLMParsing: whatever is wrong with a message, it is refused and nobody panics.
func TestSEC17NTLMParsing(t *testing.T) {
	ctx := context.Background()
	t.Run("cut", func(t *testing.T) {
		for n := range windowsAuthenticate {
			if _, id, err := windowsAcceptor(t, nil).Accept(ctx, windowsAuthenticate[:n]); err == nil || id != nil {
				t.Fatalf("logged on with %d bytes", n)
			}
		}
		for n := range windowsNegotiate {
			_, _, err := New(config()).Acceptor(auth.Channel{}).Accept(ctx, windowsNegotiate[:n])
			if short := n < 16; short != (err != nil) {
				t.Fatalf("NEGOTIATE of %d bytes: %v", n, err)
			} else if short && status(t, err) != nt.InvalidParameter {
				t.Fatalf("NEGOTIATE of %d bytes: %v", n, err)
			}
		}
	})
	t.Run("flipped", func(t *testing.T) {
		// The MIC covers every bit, those of the MIC itself included.
		for i := range windowsAuthenticate {
			for bit := range 8 {
				msg := bytes.Clone(windowsAuthenticate)
				msg[i] ^= 1 << bit
				if _, id, err := windowsAcceptor(t, nil).Accept(ctx, msg); err == nil || id != nil {
					t.Fatalf("logged on with bit %d of byte %d flipped", bit, i)
				}
			}
		}
	})
	t.Run("fields", func(t *testing.T) {
		size := uint32(len(exampleAuthenticate))
		for f := 12; f < 60; f += 8 {
			for _, off := range []uint32{0, 1, 63, 64, size - 1, size, size + 1, 1 << 31, 1<<32 - 1, 1<<32 - 16, 1<<32 - 24} {
				for _, n := range []uint16{0, 1, 15, 16, 24, 25, 27, 28, 43, 44, 47, 48, 0x7FFF, 0x8000, 0xFFFF} {
					msg := bytes.Clone(exampleAuthenticate)
					binary.LittleEndian.PutUint16(msg[f:], n)
					binary.LittleEndian.PutUint32(msg[f+4:], off)
					_, id, err := exampleAcceptor(t).Accept(ctx, msg)
					// Nobody reads the LM response, the workstation proves nothing, and without a MIC any 16
					// bytes make a session key: one that the client does not know.
					if lax := f == 12 || f == 44 || f == 52 && n == 16; id != nil && !lax {
						t.Fatalf("field at %d: logged on with %d bytes at %d", f, n, off)
					} else if id == nil && err == nil {
						t.Fatalf("field at %d, %d bytes at %d: neither", f, n, off)
					}
					if n > 0 && uint64(off)+uint64(n) > uint64(size) && (id != nil || status(t, err) != nt.InvalidParameter) {
						t.Fatalf("field at %d: %d bytes at %d: %v", f, n, off, err)
					}
				}
			}
		}
	})
	t.Run("names", func(t *testing.T) {
		big := bytes.Repeat([]byte{'a', 0}, maxName/2+1)
		for name, edit := range map[string]func(*ntlmtest.Message){
			"user too long":        func(m *ntlmtest.Message) { m.User = big },
			"domain too long":      func(m *ntlmtest.Message) { m.Domain = big },
			"workstation too long": func(m *ntlmtest.Message) { m.Workstation = big },
			"odd user":             func(m *ntlmtest.Message) { m.User = m.User[:len(m.User)-1] },
			"half a surrogate":     func(m *ntlmtest.Message) { m.Workstation = []byte{0, 0xD8} },
			"64 KiB of message":    func(m *ntlmtest.Message) { m.LM = make([]byte, maxMessage-1) },
		} {
			_, _, err := logon(New(config()), auth.Channel{}, &ntlmtest.Client{User: "User", Password: "Password", Workstation: "PC", Edit: edit})
			if err == nil || status(t, err) != nt.InvalidParameter {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("AV pairs", func(t *testing.T) {
		for name, edit := range map[string]func([]byte) []byte{
			"one runs over the end":   func(p []byte) []byte { return append(p, 0x20, 0, 0xFF, 0xFF) },
			"no end":                  func(p []byte) []byte { return append(p, 0x20, 0, 8, 0) },
			"flags of 2 bytes":        func(p []byte) []byte { return replaceAV(p, avFlags, []byte{2, 0}) },
			"flags of 5 bytes":        func(p []byte) []byte { return replaceAV(p, avFlags, []byte{2, 0, 0, 0, 0}) },
			"bindings of 15 bytes":    func(p []byte) []byte { return replaceAV(p, avChannelBindings, make([]byte, 15)) },
			"flags twice":             func(p []byte) []byte { return append(p, 6, 0, 4, 0, 2, 0, 0, 0) },
			"odd target name":         func(p []byte) []byte { return append(p, 9, 0, 1, 0, 'x') },
			"more pairs than allowed": manyAVs,
		} {
			_, _, err := logon(New(config()), auth.Channel{}, &ntlmtest.Client{User: "User", Password: "Password", EditAV: edit})
			if err == nil || status(t, err) != nt.InvalidParameter {
				t.Errorf("%s: %v", name, err)
			}
		}
		// What is unknown is skipped.
		c := &ntlmtest.Client{User: "User", Password: "Password", EditAV: func(p []byte) []byte { return append(p, 0x33, 0, 3, 0, 1, 2, 3) }}
		if _, _, err := logon(New(config()), auth.Channel{}, c); err != nil {
			t.Errorf("an unknown pair: %v", err)
		}
	})
	t.Run("response types", func(t *testing.T) {
		for i := range 2 {
			_, _, err := logon(New(config()), auth.Channel{}, &ntlmtest.Client{
				User: "User", Password: "Password",
				Edit: func(m *ntlmtest.Message) { m.NT[16+i] = 2 },
			})
			if err == nil || status(t, err) != nt.InvalidParameter {
				t.Errorf("%d: %v", i, err)
			}
		}
	})
	t.Run("order", func(t *testing.T) {
		for name, token := range map[string][]byte{
			"AUTHENTICATE first":  windowsAuthenticate,
			"CHALLENGE":           windowsChallenge,
			"nothing":             nil,
			"signature only":      []byte("NTLMSSP\x00"),
			"another signature":   append([]byte("NTLMSSQ"), windowsNegotiate[7:]...),
			"long NEGOTIATE":      append(bytes.Clone(windowsNegotiate), make([]byte, maxNegotiate)...),
			"very long NEGOTIATE": append(bytes.Clone(windowsNegotiate), make([]byte, maxMessage)...),
		} {
			a := New(config()).Acceptor(auth.Channel{})
			if reply, id, err := a.Accept(ctx, token); reply != nil || id != nil || err == nil || status(t, err) != nt.InvalidParameter {
				t.Errorf("%s: %v", name, err)
			}
			if _, _, err := a.Accept(ctx, windowsNegotiate); !errors.Is(err, errOver) {
				t.Errorf("%s: and then a NEGOTIATE: %v", name, err)
			}
		}
		a := windowsAcceptor(t, nil)
		if _, _, err := a.Accept(ctx, windowsNegotiate); err == nil || status(t, err) != nt.InvalidParameter {
			t.Errorf("NEGOTIATE twice: %v", err)
		}
		a = windowsAcceptor(t, nil)
		if _, _, err := a.Accept(ctx, windowsAuthenticate); err != nil {
			t.Fatal(err)
		}
		if _, id, err := a.Accept(ctx, windowsAuthenticate); id != nil || !errors.Is(err, errOver) {
			t.Errorf("AUTHENTICATE twice: %v", err)
		}
	})
}

// replaceAV gives the pair id another value.
func replaceAV(pairs []byte, id uint16, value []byte) (out []byte) {
	for len(pairs) > 0 {
		n := 4 + int(binary.LittleEndian.Uint16(pairs[2:]))
		if binary.LittleEndian.Uint16(pairs) == id {
			out = binary.LittleEndian.AppendUint16(out, id)
			out = binary.LittleEndian.AppendUint16(out, uint16(len(value)))
			out = append(out, value...)
		} else {
			out = append(out, pairs[:n]...)
		}
		pairs = pairs[n:]
	}
	return out
}

func manyAVs(p []byte) []byte {
	for i := range maxAVPairs {
		p = append(p, byte(i), 1, 0, 0)
	}
	return p
}

// TestSEC60NoSecrets: what is logged about a refusal names neither hash nor key.
func TestSEC60NoSecrets(t *testing.T) {
	_, _, err := logon(New(config()), auth.Channel{}, &ntlmtest.Client{User: "User\n\x1b[31m", Password: "hunter2"})
	if err == nil {
		t.Fatal("logged on")
	}
	h := NTHash("Password")
	for _, secret := range []string{"hunter2", hex.EncodeToString(h[:]), "\n", "\x1b"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q is in %q", secret, err)
		}
	}
}

func TestUpcase(t *testing.T) {
	for in, want := range map[string]string{
		"user": "USER", "Änne": "ÄNNE", "straße": "STRAßE", "ÿ": "Ÿ", "µıſ": "µıſ", "юзер": "ЮЗЕР", "ａ": "Ａ", "𐐨": "𐐨", "ŉ": "ŉ",
	} {
		if got := upcase(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func FuzzNTLMNegotiate(f *testing.F) {
	f.Add(windowsNegotiate)
	f.Add(new(ntlmtest.Client).Negotiate())
	f.Add(windowsNegotiate[:16])
	m := New(config())
	f.Fuzz(func(t *testing.T, token []byte) {
		reply, id, err := m.Acceptor(auth.Channel{}).Accept(context.Background(), token)
		if id != nil || (err == nil) != (len(reply) > 56) {
			t.Errorf("%x: reply %x, %v", token, reply, err)
		}
		if err != nil && status(t, err) != nt.InvalidParameter && status(t, err) != nt.LogonFailure {
			t.Errorf("%x: %v", token, err)
		}
	})
}

func FuzzNTLMAuthenticate(f *testing.F) {
	f.Add(windowsAuthenticate)
	f.Add(exampleAuthenticate)
	f.Fuzz(func(t *testing.T, token []byte) {
		a := windowsAcceptor(t, nil)
		if _, id, err := a.Accept(context.Background(), token); id != nil && !bytes.Equal(token, windowsAuthenticate) {
			t.Errorf("%x logs on", token)
		} else if id == nil && err == nil {
			t.Errorf("%x: neither", token)
		}
		if _, id, err := exampleAcceptor(t).Accept(context.Background(), token); id == nil && err == nil {
			t.Errorf("%x: neither", token)
		}
	})
}

// TestAnonymous: where nobody is let in, it is as nobody, and a response without a name is still none.
func TestAnonymous(t *testing.T) {
	c := config()
	c.Anonymous = true
	client := &ntlmtest.Client{Anonymous: true, Workstation: "PC"}
	id, a, err := logon(New(c), auth.Channel{}, client)
	if err != nil {
		t.Fatal(err)
	}
	if !id.Anonymous() || id.User != "" || !bytes.Equal(id.SessionKey, client.SessionKey()) {
		t.Errorf("%+v", id)
	}
	if mic := client.MIC([]byte("types")); a.VerifyMIC([]byte("types"), mic) != nil || a.Protected() {
		t.Error("the mechanism's MICs")
	}
	if id, _, err := logon(New(c), auth.Channel{}, &ntlmtest.Client{User: "User", Password: "Password", Domain: "NAS"}); err != nil || id.Anonymous() {
		t.Errorf("a user: %+v, %v", id, err)
	}
	for name, edit := range map[string]func(*ntlmtest.Message){
		"an NT response": func(m *ntlmtest.Message) { m.NT = make([]byte, 24) },
		"an LM response": func(m *ntlmtest.Message) { m.LM = make([]byte, 24) },
		"no key":         func(m *ntlmtest.Message) { m.SessionKey = nil },
		"56-bit keys":    func(m *ntlmtest.Message) { m.Flags &^= flag128 },
	} {
		if id, _, err := logon(New(c), auth.Channel{}, &ntlmtest.Client{Anonymous: true, Edit: edit}); id != nil || err == nil {
			t.Errorf("%s: %+v", name, id)
		}
	}
	// Samba's clients do not ask for extended session security then.
	less := func(m *ntlmtest.Message) { m.Flags &^= flagESS }
	if _, _, err := logon(New(c), auth.Channel{}, &ntlmtest.Client{Anonymous: true, Edit: less}); err != nil {
		t.Error(err)
	}
}

package quic_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/quic/quictest"
)

func sha(c *x509.Certificate) [32]byte { return sha256.Sum256(c.Raw) }

func issuer(t testing.TB, s string) quic.Name {
	t.Helper()
	n, err := quic.ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The cases of [MS-SMB2] 3.3.1.18: a chain of a leaf, an intermediate and a root, of which the client sends two.
func TestAccessList(t *testing.T) {
	root := quictest.NewCA("root_cert")
	inter := root.Sub("intermediate_cert")
	leaf := inter.Client("leaf_cert").Leaf
	sent := []*x509.Certificate{leaf, inter.Cert}
	byRoot, byInter := issuer(t, "CN=root_cert, O=Postern"), issuer(t, "CN=intermediate_cert, O=Postern")
	allow := func(e quic.AccessEntry) quic.AccessEntry { return e }
	deny := func(e quic.AccessEntry) quic.AccessEntry { e.Deny = true; return e }
	hash := func(c *x509.Certificate) quic.AccessEntry { return quic.AccessEntry{SHA256: sha(c)} }
	name := func(n quic.Name) quic.AccessEntry { return quic.AccessEntry{Issuer: n} }
	for _, test := range []struct {
		name    string
		list    quic.AccessList
		sent    []*x509.Certificate
		granted bool
	}{
		{"empty list", nil, sent, false},
		{"allow leaf", quic.AccessList{allow(hash(leaf))}, sent, true},
		{"allow intermediate", quic.AccessList{allow(hash(inter.Cert))}, sent, true},
		{"allow issuer of the leaf", quic.AccessList{allow(name(byInter))}, sent, true},
		{"allow issuer root", quic.AccessList{allow(name(byRoot))}, sent, true},
		{"allow root's hash: it is not sent", quic.AccessList{allow(hash(root.Cert))}, sent, false},
		{
			"deny root's hash is ignored, allow issuer root grants",
			quic.AccessList{deny(hash(root.Cert)), allow(name(byRoot))},
			sent, true,
		},
		{"a root that is sent all the same", quic.AccessList{allow(hash(root.Cert))}, append(sent, root.Cert), true},
		{"deny leaf", quic.AccessList{deny(hash(leaf))}, sent, false},
		{"allow leaf, deny intermediate", quic.AccessList{allow(hash(leaf)), deny(hash(inter.Cert))}, sent, false},
		{"allow leaf, deny issuer", quic.AccessList{allow(hash(leaf)), deny(name(byInter))}, sent, false},
		{"allow leaf, deny issuer root", quic.AccessList{allow(hash(leaf)), deny(name(byRoot))}, sent, false},
		{"deny first", quic.AccessList{deny(name(byInter)), allow(hash(leaf))}, sent, false},
		{"allow issuer, deny leaf", quic.AccessList{allow(name(byRoot)), deny(hash(leaf))}, sent, false},
		{"deny of another", quic.AccessList{deny(hash(inter.Client("other").Leaf)), allow(name(byInter))}, sent, true},
		{"allow of another", quic.AccessList{allow(hash(inter.Client("other").Leaf))}, sent, false},
		{"subject is not issuer", quic.AccessList{allow(name(issuer(t, "CN=leaf_cert")))}, sent, false},
		{"nothing sent", quic.AccessList{allow(name(byRoot))}, nil, false},
	} {
		err := test.list.Check(test.sent)
		if test.granted != (err == nil) || err != nil && !errors.Is(err, quic.ErrAccessDenied) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	for _, bad := range []quic.AccessList{{{}}, {{SHA256: sha(leaf), Issuer: byRoot}}} {
		if err := bad.Check(sent); err == nil || errors.Is(err, quic.ErrAccessDenied) {
			t.Errorf("%+v: %v, want an error that is no denial", bad, err)
		}
	}
}

func TestParseName(t *testing.T) {
	contoso := quic.Name{
		{Type: "2.5.4.3", Value: "Contoso CA"},
		{Type: "0.9.2342.19200300.100.1.25", Value: "Contoso"},
		{Type: "0.9.2342.19200300.100.1.25", Value: "com"},
	}
	for _, text := range []string{
		"CN=Contoso CA, DC=Contoso, DC=com",
		"CN=Contoso CA,DC=Contoso,DC=com",
		" cn = contoso  ca ; dc=CONTOSO; Dc=COM ",
		`CN="Contoso CA", DC=Contoso, DC=com`,
		`CN=Contoso\20CA, 0.9.2342.19200300.100.1.25=Contoso, OID.0.9.2342.19200300.100.1.25=com`,
		"DC=com, DC=Contoso, CN=Contoso CA",
	} {
		if n, err := quic.ParseName(text); err != nil || !n.Equal(contoso) || !contoso.Equal(n) {
			t.Errorf("%q is %v, %v", text, n, err)
		}
	}
	for text, value := range map[string]string{
		`CN="a, ""b"" = c"`:    `a, "b" = c`,
		`CN=a\, b\=c\\`:        `a, b=c\`,
		`CN=\C3\A4`:            "ä",
		`CN=`:                  "",
		`CN=trailing\ `:        "trailing ",
		`E=a@example.com`:      "a@example.com",
		`2.5.4.3=  inner  gap`: "inner  gap",
	} {
		if n, err := quic.ParseName(text); err != nil || len(n) != 1 || n[0].Value != value {
			t.Errorf("%q is %q, %v", text, n, err)
		}
	}
	for _, text := range []string{
		"", "CN", "=a", "XX=a", "CN=a,", "CN=a, b", `CN="a`, `CN="a" b`, `CN=a"b`, `CN=a\`, "2=a", "2..5=a",
		strings.Repeat("CN=a,", 1000) + "CN=a",
	} {
		if n, err := quic.ParseName(text); err == nil {
			t.Errorf("%q is %v, want an error", text, n)
		}
	}
	for _, other := range []string{
		"CN=Contoso CA, DC=Contoso", "CN=Contoso CA, DC=Contoso, DC=org", "O=Contoso CA, DC=Contoso, DC=com",
		"CN=Contoso CA, DC=com, DC=Contoso", "CN=ContosoCA, DC=Contoso, DC=com",
	} {
		if issuer(t, other).Equal(contoso) {
			t.Errorf("%q equals %v", other, contoso)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{
		"CN=Contoso CA, DC=Contoso, DC=com", `CN="a, ""b""", O=c+OU=d;L=e`, `2.5.4.3=\C3\A4\,\ `, "CN=a,", `CN=\`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := quic.ParseName(s)
		if err != nil {
			return
		}
		if len(n) == 0 || !n.Equal(n) {
			t.Fatalf("%q is %v, which does not equal itself", s, n)
		}
		var again []string
		for _, a := range n {
			again = append(again, a.Type+`="`+strings.ReplaceAll(a.Value, `"`, `""`)+`"`)
		}
		text := strings.Join(again, ", ")
		if len(text) > 4096 {
			return
		}
		if m, err := quic.ParseName(text); err != nil || !n.Equal(m) {
			t.Fatalf("%q is %v; written as %q it is %v, %v", s, n, text, m, err)
		}
	})
}

// Who gets in with which certificate, and what the others are told.
func TestSEC48ClientCertificate(t *testing.T) {
	noLeaks(t)
	var log record
	s := quictest.Serve(t, func(c *quic.Config) { c.Logger = log.logger() })
	root, other := quictest.NewCA("Client Root"), quictest.NewCA("Other Root")
	inter := root.Sub("Client Intermediate")
	friend, foe := inter.Client("friend"), inter.Client("foe")
	byInter := issuer(t, "O=Postern, CN=Client Intermediate")

	serve := func(auth quic.ClientAuth) {
		t.Helper()
		auth.CAs = root.Pool()
		if err := s.Store.Set(quic.Mapping{
			Names:       []string{quictest.ServerName},
			Certificate: s.CA.Leaf([]string{quictest.ServerName}), ClientAuth: &auth, Policy: "paired",
		}); err != nil {
			t.Fatal(err)
		}
	}
	big := inter.Client("big", func(c *x509.Certificate) {
		for i := range 800 {
			c.DNSNames = append(c.DNSNames, fmt.Sprintf("name%04d.example.com", i))
		}
	})
	list := func(l ...quic.AccessEntry) func([]*x509.Certificate) error { return quic.AccessList(l).Check }
	for _, test := range []struct {
		name   string
		auth   quic.ClientAuth
		cert   *tls.Certificate
		alert  string // what the client gets; "" lets it in
		reason quic.Reason
	}{
		{name: "none asked, one shown", auth: quic.ClientAuth{}, cert: &friend},
		{name: "not required, none shown", auth: quic.ClientAuth{Access: list()}},
		{name: "required, shown", auth: quic.ClientAuth{Require: true}, cert: &friend},
		{name: "required, none", auth: quic.ClientAuth{Require: true}, alert: "0x174", reason: quic.ReasonClientCert},
		{
			name: "other root", auth: quic.ClientAuth{Require: true}, cert: new(other.Client("friend")),
			alert: "0x130", reason: quic.ReasonClientCert,
		},
		{
			name: "other root, not required", auth: quic.ClientAuth{}, cert: new(other.Client("friend")),
			alert: "0x130", reason: quic.ReasonClientCert,
		},
		{
			name: "expired", auth: quic.ClientAuth{Require: true}, cert: new(inter.Client("old", quictest.Expired)),
			alert: "0x12d", reason: quic.ReasonClientCert,
		},
		{
			name: "a server's", auth: quic.ClientAuth{Require: true}, alert: "0x12a", reason: quic.ReasonClientCert,
			cert: new(inter.Client("srv", quictest.Usage(x509.ExtKeyUsageServerAuth))),
		},
		{
			name: "allowed issuer", cert: &friend,
			auth: quic.ClientAuth{Require: true, Access: list(quic.AccessEntry{Issuer: byInter})},
		},
		{
			name: "allowed issuer, denied leaf", cert: &foe, alert: "0x131", reason: quic.ReasonAccess,
			auth: quic.ClientAuth{Require: true, Access: list(
				quic.AccessEntry{Issuer: byInter}, quic.AccessEntry{Deny: true, SHA256: sha(foe.Leaf)},
			)},
		},
		{
			name: "denied issuer, allowed leaf", cert: &friend, alert: "0x131", reason: quic.ReasonAccess,
			auth: quic.ClientAuth{Require: true, Access: list(
				quic.AccessEntry{SHA256: sha(friend.Leaf)}, quic.AccessEntry{Deny: true, Issuer: byInter},
			)},
		},
		{
			name: "empty list", auth: quic.ClientAuth{Require: true, Access: list()}, cert: &friend,
			alert: "0x131", reason: quic.ReasonAccess,
		},
		{
			name: "check fails", cert: &friend, alert: "0x150", reason: quic.ReasonHandshake,
			auth: quic.ClientAuth{Require: true, Access: func([]*x509.Certificate) error {
				return errors.New("list cannot be read")
			}},
		},
		{
			name: "17 KiB", auth: quic.ClientAuth{Require: true}, cert: &big,
			alert: "CRYPTO_BUFFER_EXCEEDED", reason: quic.ReasonHandshake,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			serve(test.auth)
			before := s.Stats()
			config := s.TLS()
			if test.cert != nil {
				config.Certificates = []tls.Certificate{*test.cert}
				// Show it also to those who do not want it.
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					return test.cert, nil
				}
			}
			c, err := dial(t, s, config)
			if err == nil { // in TLS 1.3 the client is done before the server has seen its certificate
				_, _ = c.Write([]byte("x"))
			}
			if test.alert != "" {
				if err == nil {
					_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
					_, err = c.Read(make([]byte, 1))
				}
				if err == nil || !strings.Contains(err.Error(), test.alert) {
					t.Errorf("client got %v, want %s", err, test.alert)
				}
				eventually(t, func() bool {
					return s.Stats().Refused[test.reason] == before.Refused[test.reason]+1
				}, func() string { return fmt.Sprintf("want one more %q: %v", test.reason, s.Stats().Refused) })
				if s.Stats().Accepted != before.Accepted {
					t.Error("it was accepted")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			server, err := s.Accept(within(t, 5*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			defer server.Abort()
			if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
				t.Error(err)
			}
			chain := server.Peer().Chain
			if test.cert == nil {
				if chain != nil {
					t.Errorf("chain %v of nobody", chain)
				}
				return
			}
			if len(chain) != 3 || !chain[0].Equal(test.cert.Leaf) || !chain[2].Equal(root.Cert) {
				t.Errorf("chain is %v", chain)
			}
			if p := server.Peer().Policy; p != "paired" {
				t.Errorf("policy is %q", p)
			}
		})
	}
	log.line(t, "denied by the access list", "CN=foe")
	log.line(t, "list cannot be read")
	empty(t, s)
}

// A name with an escaped character in a certificate is the same as in text.
func TestIssuerName(t *testing.T) {
	ca := quictest.NewCA(`A, "B" + C`)
	leaf := ca.Client("x").Leaf
	list := quic.AccessList{{Issuer: issuer(t, pkix.Name{
		CommonName: `A, "B" + C`, Organization: []string{"Postern"},
	}.String())}}
	if err := list.Check([]*x509.Certificate{leaf}); err != nil {
		t.Error(err)
	}
}

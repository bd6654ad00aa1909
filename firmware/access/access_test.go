package access_test

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-nas/postern/firmware/access"
	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/quic/quictest"
)

type box struct {
	*access.Store
	cfg         access.Config
	ca          *quictest.CA
	allow, deny [][32]byte
	events      []audit.Event
}

func open(t *testing.T, dir string, rule access.Rule) *box {
	t.Helper()
	b := &box{ca: quictest.NewCA("own")}
	b.cfg = access.Config{
		Dir: dir, Rules: access.Rules{Rule: func(string) access.Rule { return rule }, Authorities: []*x509.Certificate{b.ca.Cert}},
		Devices: func() (allow, deny [][32]byte) { return b.allow, b.deny },
		Audit:   func(e audit.Event) { b.events = append(b.events, e) },
	}
	b.reopen(t)
	return b
}

func (b *box) reopen(t *testing.T) {
	t.Helper()
	var err error
	if b.Store, err = access.Open(b.cfg); err != nil {
		t.Fatal(err)
	}
}

func sum(c *x509.Certificate) [32]byte { return sha256.Sum256(c.Raw) }

// From the first device on a certificate is required, for good; only the owner's word changes that.
func TestRequired(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, access.Rule{})
	if b.Required("nas.test") {
		t.Fatal("a new box requires certificates")
	}
	pc := b.ca.Client("pc").Leaf
	b.allow = append(b.allow, sum(pc))
	b.Refresh()
	if !b.Required("nas.test") || b.ClientAuth("nas.test").Access([]*x509.Certificate{pc}) != nil {
		t.Error("the paired device")
	}
	b.allow, b.deny = nil, b.allow
	b.Refresh()
	if err := b.ClientAuth("nas.test").Access([]*x509.Certificate{pc}); !b.Required("nas.test") || !errors.Is(err, quic.ErrAccessDenied) {
		t.Error("the revoked device", err)
	}
	b.deny = nil // long after
	b.reopen(t)
	if !b.Required("nas.test") {
		t.Error("the door is open again")
	}
	for rule, required := range map[access.When]bool{access.Always: true, access.Never: false} {
		if open(t, t.TempDir(), access.Rule{Certificate: rule}).Required("") != required || open(t, dir, access.Rule{Certificate: rule}).Required("") != required {
			t.Error(rule)
		}
	}
	// A list of devices that was damaged may have had some.
	s := open(t, t.TempDir(), access.Rule{})
	s.cfg.Suspicious = true
	s.reopen(t)
	if s.cfg.Suspicious = false; !s.Required("") {
		t.Error("the door is open")
	}
	if s.reopen(t); !s.Required("") {
		t.Error("the door is open after a restart")
	}
}

func TestEntries(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, access.Rule{})
	pc, other := b.ca.Client("pc").Leaf, b.ca.Client("other").Leaf
	hash := fmt.Sprintf("%x", sum(pc))
	in := func(name string, c *x509.Certificate) bool {
		return b.ClientAuth(name).Access([]*x509.Certificate{c}) == nil
	}
	add := func(e access.Entry) {
		t.Helper()
		if err := b.Add(e, "command"); err != nil {
			t.Fatal(err)
		}
	}
	told := 0
	b.Then(func() { told++ })
	add(access.Entry{Server: "NAS.test.", Deny: true, SHA256: fmt.Sprintf("%x", sum(other))})
	if b.Barred(sum(other)) {
		t.Error("blocked for one name, barred for all")
	}
	if err := b.Remove(access.Entry{Server: "nas.test", Deny: true, SHA256: fmt.Sprintf("%x", sum(other))}, ""); err != nil || told != 2 {
		t.Error(err, told)
	}
	b.events = nil
	add(access.Entry{Server: "NAS.test.", SHA256: hash, Description: "of the company"})
	if !in("nas.test", pc) || in("nas.test", other) || in("other.test", pc) || !b.Required("other.test") {
		t.Error("a grant for one name")
	}
	colons := strings.ToUpper(hash[:2]) + ":" + hash[2:]
	if err := b.Add(access.Entry{Server: "nas.test", SHA256: colons}, ""); !errors.Is(err, access.ErrExists) {
		t.Error(err)
	}
	add(access.Entry{Issuer: "O=Postern,CN=own"}) // both are the certificate's way of writing it or the reverse
	if !in("nas.test", other) || !in("other.test", pc) {
		t.Error("a grant by the issuer")
	}
	if err := b.Add(access.Entry{Issuer: "CN=OWN; o=postern"}, ""); !errors.Is(err, access.ErrExists) {
		t.Error(err)
	}
	add(access.Entry{Server: "*", Deny: true, SHA256: hash})
	if in("nas.test", pc) || !in("nas.test", other) {
		t.Error("a block")
	}
	if !b.Barred(sum(pc)) || b.Barred(sum(other)) || told == 0 {
		t.Error("barred", b.Barred(sum(pc)), b.Barred(sum(other)), told)
	}
	if m := b.Matches("nas.test", []*x509.Certificate{pc}); len(m) != 3 || !strings.HasPrefix(m[0], "deny SHA256 ") || m[1] != "allow ISSUER O=Postern, CN=own" {
		t.Errorf("%q", m)
	}
	b.reopen(t)
	if list := b.Entries(); len(list) != 3 || in("nas.test", pc) || !in("nas.test", other) {
		t.Errorf("after a restart: %+v", list)
	}
	if err := b.Remove(access.Entry{SHA256: hash}, ""); !errors.Is(err, access.ErrUnknown) {
		t.Error(err)
	}
	if err := b.Remove(access.Entry{Deny: true, SHA256: hash}, "page"); err != nil || !in("nas.test", pc) {
		t.Error("unblocked", err)
	}
	if len(b.events) != 4 || b.events[3].By != "page" || !strings.HasPrefix(b.events[3].Text, "removed deny SHA256") {
		t.Errorf("%+v", b.events)
	}
	for _, bad := range []access.Entry{
		{},
		{SHA256: hash, Issuer: "CN=x"},
		{SHA256: hash[2:]},
		{SHA256: hash + "00"},
		{SHA256: strings.Repeat("0", 64)},
		{SHA256: "x" + hash[1:]},
		{Issuer: "somebody"},
		{SHA256: hash, Description: strings.Repeat("x", 257)},
		{SHA256: hash, Server: strings.Repeat("x", 254)},
	} {
		if b.Add(bad, "") == nil || b.Remove(bad, "") == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// Whatever access.json has become, the box starts, and lets in nobody that it did not let in before (SEC-55).
func TestSEC55Damaged(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, access.Rule{})
	pc := b.ca.Client("pc").Leaf
	if err := b.Add(access.Entry{SHA256: fmt.Sprintf("%x", sum(pc))}, ""); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(access.Entry{Deny: true, Issuer: "CN=bad"}, ""); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "access.json")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(good)-1; n += 9 { // the newline alone may be missing
		if err := os.WriteFile(path, good[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		b.reopen(t)
		if !b.Required("") || len(b.Entries()) != 0 {
			t.Fatalf("%d bytes of it: %v", n, b.Entries())
		}
		aside, err := filepath.Glob(path + ".corrupt-*")
		if err != nil || len(aside) != 1 {
			t.Fatal(aside, err)
		}
		_ = os.Remove(aside[0])
	}
}

func TestTrusted(t *testing.T) {
	b := open(t, t.TempDir(), access.Rule{Certificate: access.Always, Trusted: true})
	pc := b.ca.Client("pc").Leaf
	if err := b.ClientAuth("").Access([]*x509.Certificate{pc}); err != nil {
		t.Error(err)
	}
	b.deny = [][32]byte{sum(pc)}
	b.Refresh()
	if err := b.ClientAuth("").Access([]*x509.Certificate{pc}); !errors.Is(err, quic.ErrAccessDenied) {
		t.Error(err)
	}
}

func TestPipes(t *testing.T) {
	for _, test := range []struct {
		rule            access.Pipes
		shown           bool
		pipes, readOnly bool
	}{
		{"", false, false, true},
		{access.PipesPaired, true, true, true},
		{access.PipesAll, false, true, false},
		{access.PipesNone, true, false, false},
	} {
		pipes, readOnly := open(t, t.TempDir(), access.Rule{Pipes: test.rule}).Pipes("", test.shown)
		if pipes != test.pipes || pipes && readOnly != test.readOnly {
			t.Errorf("%+v: %t %t", test, pipes, readOnly)
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"version":1,"certificate_required":true,"entries":[{"server":"*","issuer":"CN=x","added":"2026-11-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"version":1,"entries":[{"server":"","sha256":"00"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "access.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		b := open(t, dir, access.Rule{})
		for _, e := range b.Entries() {
			if err := b.Remove(e, ""); err != nil && !errors.Is(err, access.ErrUnknown) {
				t.Fatalf("%+v: %v", e, err)
			}
		}
	})
}

// Other rules count at once, for what is asked of clients, whom they are trusted by, and what they are offered.
func TestSetRules(t *testing.T) {
	b := open(t, t.TempDir(), access.Rule{Certificate: access.Never, Pipes: access.PipesAll})
	told := 0
	b.Then(func() { told++ })
	if b.Required("nas.test") || b.ClientAuth("nas.test") != nil {
		t.Error("something is asked for")
	}
	company := quictest.NewCA("company")
	rules := access.Rules{Authorities: []*x509.Certificate{b.ca.Cert, company.Cert}, Rule: func(name string) access.Rule {
		if name == "nas.test" {
			return access.Rule{Certificate: access.Always, Trusted: true, Pipes: access.PipesNone}
		}
		return access.Rule{Certificate: access.Never, Pipes: access.PipesAll}
	}}
	if err := b.SetRules(rules); err != nil || told != 1 {
		t.Error(err, told)
	}
	auth := b.ClientAuth("nas.test")
	if !b.Required("nas.test") || auth == nil || !auth.Require || auth.Access([]*x509.Certificate{company.Client("pc").Leaf}) != nil {
		t.Errorf("%+v", auth)
	}
	if !auth.CAs.Equal(pool(b.ca.Cert, company.Cert)) {
		t.Error("other authorities are trusted")
	}
	if pipes, _ := b.Pipes("nas.test", true); pipes {
		t.Error("pipes are offered")
	}
	if pipes, readOnly := b.Pipes("other.test", false); !pipes || readOnly || b.Required("other.test") {
		t.Error("the other name's rules")
	}
	for _, bad := range []access.Rules{{}, {Rule: rules.Rule}, {Authorities: rules.Authorities}} {
		if b.SetRules(bad) == nil || !b.Required("nas.test") {
			t.Errorf("%+v", bad)
		}
	}
}

func pool(list ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range list {
		p.AddCert(c)
	}
	return p
}

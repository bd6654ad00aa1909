package quic_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/quic/quictest"
)

// judgements keeps what a listener decided.
type judgements struct {
	mu  sync.Mutex
	all []quic.Judgement
}

func (j *judgements) add(one quic.Judgement) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.all = append(j.all, one)
}

func (j *judgements) find(t *testing.T, so func(quic.Judgement) bool) quic.Judgement {
	t.Helper()
	var found quic.Judgement
	eventually(t, func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		for _, one := range j.all {
			if so(one) {
				found = one
				return true
			}
		}
		return false
	}, func() string { return fmt.Sprintf("no such judgement in %+v", j.all) })
	return found
}

func subject(j quic.Judgement) string {
	if len(j.Sent) == 0 {
		return ""
	}
	return j.Sent[0].Subject.CommonName
}

// rules are what SetAccess is given: rules that a test changes.
type rules struct {
	auth atomic.Pointer[quic.ClientAuth]
}

func (r *rules) access(string) *quic.ClientAuth { return r.auth.Load() }

// What is withdrawn ends connections that stand, at once, and only those.
func TestAccessIsWithdrawn(t *testing.T) {
	noLeaks(t)
	var seen judgements
	s := quictest.Serve(t, func(c *quic.Config) { c.Judged = seen.add })
	echo(t, s)
	root := quictest.NewCA("Client Root")
	alice, bob := root.Client("alice"), root.Client("bob")
	allow := func(certs ...tls.Certificate) (list quic.AccessList) {
		for _, c := range certs {
			list = append(list, quic.AccessEntry{SHA256: sha(c.Leaf)})
		}
		return list
	}
	var r rules
	set := func(require bool, list quic.AccessList) {
		r.auth.Store(&quic.ClientAuth{Require: require, CAs: root.Pool(), Access: list.Check})
		s.Store.Recheck()
	}
	r.auth.Store(&quic.ClientAuth{CAs: root.Pool(), Access: allow(alice, bob).Check})
	s.Store.SetAccess(r.access)

	connect := func(cert *tls.Certificate) *quictest.Client {
		t.Helper()
		config := s.TLS()
		if cert != nil {
			config.Certificates = []tls.Certificate{*cert}
		}
		c, err := dial(t, s, config)
		if err != nil {
			t.Fatal(err)
		}
		if err := ping(c, "here"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	cut := func(c *quictest.Client) bool {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, err := c.Read(make([]byte, 1))
		return err != nil && strings.Contains(err.Error(), "access was withdrawn")
	}
	a, b, nobody := connect(&alice), connect(&bob), connect(nil)
	got := seen.find(t, func(j quic.Judgement) bool { return subject(j) == "alice" })
	if got.Err != nil || got.Cut || got.ID == "" || got.ServerName != quictest.ServerName || got.Addr == nil {
		t.Errorf("%+v", got)
	}

	// The same rules again, and rules with more in them, end nobody.
	set(false, allow(alice, bob))
	set(false, append(allow(alice, bob), quic.AccessEntry{Deny: true, SHA256: [32]byte{1}}))
	if err := s.Store.Set(quic.Mapping{
		Names: []string{quictest.ServerName}, Certificate: s.CA.Leaf([]string{quictest.ServerName}),
	}); err != nil { // a renewed certificate
		t.Fatal(err)
	}
	for _, c := range []*quictest.Client{a, b, nobody} {
		if err := ping(c, "still here"); err != nil {
			t.Fatal(err)
		}
	}
	// Bob's entry goes.
	set(false, allow(alice))
	if !cut(b) {
		t.Error("bob was not cut")
	}
	got = seen.find(t, func(j quic.Judgement) bool { return j.Cut })
	if subject(got) != "bob" || !errors.Is(got.Err, quic.ErrAccessDenied) {
		t.Errorf("%+v", got)
	}
	// A certificate is required from now on.
	if err := ping(nobody, "and here"); err != nil {
		t.Fatal(err)
	}
	set(true, allow(alice))
	if !cut(nobody) {
		t.Error("the one without a certificate was not cut")
	}
	// Alice is denied although she is allowed.
	if err := ping(a, "and here"); err != nil {
		t.Fatal(err)
	}
	set(true, append(allow(alice), quic.AccessEntry{Deny: true, SHA256: sha(alice.Leaf)}))
	if !cut(a) {
		t.Error("alice was not cut")
	}
	// The authority is trusted no more.
	set(true, allow(alice, bob))
	a = connect(&alice)
	r.auth.Store(&quic.ClientAuth{Require: true, CAs: quictest.NewCA("another").Pool(), Access: allow(alice).Check})
	s.Store.Recheck()
	if !cut(a) {
		t.Error("alice, whose authority is not trusted any more, was not cut")
	}
	// And where nobody is trusted, nobody gets in: no authority is not the system's.
	r.auth.Store(&quic.ClientAuth{Require: true})
	if c, err := dial(t, s, s.TLS()); err == nil {
		t.Error("somebody got in", c)
	}
	_ = s.Close()
	s.Store.Recheck() // reaches nobody
	empty(t, s)
}

// A change between a handshake's look at the list and the first byte is not missed.
func TestAccessIsWithdrawnMeanwhile(t *testing.T) {
	noLeaks(t)
	s := quictest.Serve(t, nil)
	root := quictest.NewCA("Client Root")
	alice := root.Client("alice")
	var denied atomic.Bool
	var looks atomic.Int32
	s.Store.SetAccess(func(string) *quic.ClientAuth {
		return &quic.ClientAuth{Require: true, CAs: root.Pool(), Access: func([]*x509.Certificate) error {
			if denied.Load() {
				return quic.ErrAccessDenied
			}
			if looks.Add(1) == 1 { // the handshake's; Recheck finds no connection yet
				denied.Store(true)
				s.Store.Recheck()
			}
			return nil
		}}
	})
	config := s.TLS()
	config.Certificates = []tls.Certificate{alice}
	c, err := dial(t, s, config)
	if err == nil {
		_, _ = c.Write([]byte("x"))
	}
	if server, err := s.Accept(within(t, time.Second)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("it was handed out", server, err)
	}
	empty(t, s)
}

// What is told of those whose certificate is missing or not trusted.
func TestJudgementsOfTheUntrusted(t *testing.T) {
	noLeaks(t)
	var seen judgements
	s := quictest.Serve(t, func(c *quic.Config) { c.Judged = seen.add })
	root, other := quictest.NewCA("Client Root"), quictest.NewCA("Other Root")
	s.Store.SetAccess(func(string) *quic.ClientAuth { return &quic.ClientAuth{Require: true, CAs: root.Pool()} })
	for name, certs := range map[string][]tls.Certificate{
		"":         nil,
		"stranger": {other.Client("stranger")},
		"late":     {root.Client("late", quictest.Expired)},
	} {
		config := s.TLS()
		if certs != nil {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certs[0], nil }
		}
		c, err := dial(t, s, config)
		if err == nil {
			_, _ = c.Write([]byte("x"))
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, err = c.Read(make([]byte, 1))
		}
		if err == nil {
			t.Errorf("%q got in", name)
		}
		j := seen.find(t, func(j quic.Judgement) bool { return subject(j) == name && j.Err != nil })
		if errors.Is(j.Err, quic.ErrAccessDenied) || j.ServerName != quictest.ServerName || j.Cut {
			t.Errorf("%+v", j)
		}
	}
	empty(t, s)
}

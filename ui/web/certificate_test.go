package web

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// An issuer signs devices' certificates.
type issuer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{t: t}
	i.cert, i.key = i.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "box"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return i
}

func (i *issuer) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	i.t.Helper()
	c.SerialNumber = big.NewInt(1)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	parent, by := i.cert, i.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err == nil {
		c, err = x509.ParseCertificate(der)
	}
	if err != nil {
		i.t.Fatal(err)
	}
	return c, key
}

// device is a certificate as pairing gives it, for a device of that name.
func (i *issuer) device(name string, until time.Duration, usage x509.ExtKeyUsage) *x509.Certificate {
	c, _ := i.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(until),
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	})
	return c
}

func showing(c *x509.Certificate) func(*http.Request) {
	return func(r *http.Request) {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
		if c != nil {
			r.TLS.PeerCertificates = []*x509.Certificate{c}
		}
	}
}

// certified is a server that knows one device by its certificate, laptop, which administers the box for olga; other devices
// are paired, too.
func certified(t *testing.T) (*Server, *shelf, *issuer) {
	t.Helper()
	i := newIssuer(t)
	s, b := newBox(t)
	s.cfg.Devices = x509.NewCertPool()
	s.cfg.Devices.AddCert(i.cert)
	b.administers = map[string]string{"laptop": "olga"}
	return s, b, i
}

// TestSEC52Certificates: who shows a certificate gets in by it only where an owner has allowed that, from the local network,
// with a certificate that holds.
func TestSEC52Certificates(t *testing.T) {
	s, _, i := certified(t)
	s.box.Commands = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		by := By(r.Context())
		_, _ = io.WriteString(w, r.URL.Path+" "+by.User+" at "+by.Device)
	})
	s.mux.Handle("POST /command/", s.certified(http.StripPrefix("/command", s.box.Commands)))
	good := i.device("laptop", time.Hour, x509.ExtKeyUsageClientAuth)
	stranger := newIssuer(t).device("laptop", time.Hour, x509.ExtKeyUsageClientAuth)
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, c := range map[string]struct {
		show   *x509.Certificate
		change func(*http.Request)
		want   int
	}{
		"a device that administers": {good, nil, 200},
		"one that does not":         {i.device("phone", time.Hour, x509.ExtKeyUsageClientAuth), nil, 403},
		"none":                      {nil, nil, 401},
		"one that has ended":        {i.device("laptop", -time.Hour, x509.ExtKeyUsageClientAuth), nil, 403},
		"a server's":                {i.device("laptop", time.Hour, x509.ExtKeyUsageServerAuth), nil, 403},
		"of another authority":      {stranger, nil, 403},
		"from outside":              {good, func(r *http.Request) { r.RemoteAddr = "192.0.2.7:4000" }, 403},
		"from another site":         {good, header("Sec-Fetch-Site", "cross-site"), 403},
		"a rebound name":            {good, func(r *http.Request) { r.Host = "evil.example" }, 421},
		"a form":                    {good, header("Content-Type", "application/x-www-form-urlencoded"), 415},
		"text":                      {good, header("Content-Type", "text/plain"), 415},
	} {
		v := visit(t, s)
		r := v.send("POST", "/command/status", nil, func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json")
			showing(c.show)(r)
			if c.change != nil {
				c.change(r)
			}
		})
		body := text(t, r)
		if r.StatusCode != c.want || (c.want == 200) != (body == "/status olga at laptop") {
			t.Errorf("%s: %d %s", name, r.StatusCode, body)
		}
	}
	// An owner's session is no certificate.
	v, token := in(t, s)
	if r := v.send("POST", "/command/status", nil, func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Postern-Token", token)
	}); r.StatusCode != 401 {
		t.Errorf("with a session: %d", r.StatusCode)
	}
}

// An owner signs in without a password where the device may do so, and is signed out when that ends.
func TestSignInByCertificate(t *testing.T) {
	s, b, i := certified(t)
	laptop, phone := i.device("laptop", time.Hour, x509.ExtKeyUsageClientAuth), i.device("phone", time.Hour, x509.ExtKeyUsageClientAuth)
	var told []Actor
	s.cfg.Signed = func(who Actor, ok bool) {
		if !ok {
			who.User = "refused"
		}
		told = append(told, who)
	}
	v := visit(t, s)
	page := text(t, v.send("GET", "/signin?to=/shares", nil, showing(phone)))
	if strings.Contains(page, "/signin/certificate") {
		t.Error("a device that does not administer the box is offered it")
	}
	enter := func(c *x509.Certificate) *http.Response {
		return v.send("POST", "/signin/certificate", url.Values{"token": {v.token("/signin")}, "to": {"/shares"}}, showing(c))
	}
	if r := enter(phone); r.StatusCode != http.StatusForbidden {
		t.Error("a device that may not:", r.StatusCode)
	}
	if page = text(t, v.send("GET", "/signin?to=/shares", nil, showing(laptop))); !strings.Contains(page, "/signin/certificate") || !strings.Contains(page, "olga") {
		t.Error("it is not offered:\n", page)
	}
	if r := v.send("POST", "/signin/certificate", url.Values{"to": {"/shares"}}, showing(laptop)); r.StatusCode == http.StatusSeeOther {
		t.Error("without a token of the form")
	}
	if r := enter(laptop); r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/shares" {
		t.Fatal(r.StatusCode, r.Header)
	}
	in := func() bool { return v.send("GET", "/shares", nil, showing(laptop)).StatusCode == http.StatusOK }
	if !in() {
		t.Error("not signed in")
	}
	if len(told) != 2 || told[0].User != "refused" || told[0].Device != "phone" || told[1].User != "olga" || told[1].Device != "laptop" {
		t.Errorf("told %+v", told)
	}
	b.mu.Lock()
	b.administers = nil
	b.mu.Unlock()
	if in() {
		t.Error("still signed in when the device may not administer the box any more")
	}
	b.mu.Lock()
	b.administers = map[string]string{"laptop": "olga"}
	b.mu.Unlock()
	if in() {
		t.Error("signed in again by nothing")
	}
}

// To let a device administer the box takes the password once more; to take it back does not.
func TestAdministerAsksAgain(t *testing.T) {
	s, b := newBox(t)
	v, token := in(t, s)
	for _, c := range []struct {
		form url.Values
		want string
	}{
		{url.Values{"id": {"d1"}, "administer": {"true"}}, ""},
		{url.Values{"id": {"d1"}, "administer": {"true"}, "again": {"wrong"}}, ""},
		{url.Values{"id": {"d1"}, "administer": {"true"}, "again": {password}}, "administer d1 true"},
		{url.Values{"id": {"d1"}}, "administer d1 false"},
	} {
		b.done = nil
		c.form.Set("token", token)
		v.send("POST", "/devices/administer", c.form, nil)
		if got := strings.Join(b.done, " "); got != c.want {
			t.Errorf("%v: %q, want %q", c.form, got, c.want)
		}
	}
}

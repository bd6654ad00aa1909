package web

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestSEC50OnTheWire sends what no browser would: requests that name the box twice, or another one, or nobody, that end twice, or not
// at all. None of them is answered as if it had come from the page, and the connection brings no second answer.
func TestSEC50OnTheWire(t *testing.T) {
	s, b := newBox(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"nas.test"}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Serve(ctx, l, func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
		})
	}()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	answers := func(raw string) (all []int) {
		t.Helper()
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // made above
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, raw); err != nil {
			return []int{0}
		}
		_ = conn.CloseWrite()
		r := bufio.NewReader(conn)
		for {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				return all
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			all = append(all, resp.StatusCode)
		}
	}
	const post = "POST /shares/remove HTTP/1.1\r\nHost: nas.test\r\nOrigin: https://nas.test\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	for _, k := range []struct {
		name, raw string
		want      string
	}{
		{"as a browser", "GET /signin HTTP/1.1\r\nHost: nas.test\r\n\r\n", "[200]"},
		{"by its address", "GET /signin HTTP/1.1\r\nHost: " + l.Addr().String() + "\r\n\r\n", "[200]"},
		{"another name in the address than in Host", "GET https://evil.example/signin HTTP/1.1\r\nHost: nas.test\r\n\r\n", "[421]"},
		{"another name in Host than in the address", "GET https://nas.test/signin HTTP/1.1\r\nHost: evil.example\r\n\r\n", "[200]"}, // RFC 9112 section 3.2.2: the address counts
		{"two Hosts", "GET /signin HTTP/1.1\r\nHost: nas.test\r\nHost: evil.example\r\n\r\n", "[400]"},
		{"no Host", "GET /signin HTTP/1.1\r\n\r\n", "[400]"},
		{"no Host, as of old", "GET /signin HTTP/1.0\r\n\r\n", "[421]"},
		{"a user in Host", "GET /signin HTTP/1.1\r\nHost: nas.test@evil.example\r\n\r\n", "[400]"},
		{"a path in Host", "GET /signin HTTP/1.1\r\nHost: nas.test/evil\r\n\r\n", "[400]"},
		{"Host forwarded by nobody", "GET /signin HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: nas.test\r\nForwarded: host=nas.test\r\n\r\n", "[421]"},
		{"an address in a header", "GET /signin HTTP/1.1\r\nHost: 192.168.1.5\r\nX-Forwarded-For: 192.168.1.5\r\n\r\n", "[421]"},
		{"two lengths", post + "Content-Length: 3\r\nContent-Length: 30\r\n\r\na=b", "[400]"},
		{"a length and chunks", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /signin HTTP/1.1\r\nHost: nas.test\r\n\r\n", "[303 200]"}, // RFC 9112 section 6.3: the chunks count, and no proxy counts otherwise
		{"chunks of another kind", post + "Transfer-Encoding: xchunked\r\n\r\na=b", "[501]"},
		{"a space before the colon", "GET /signin HTTP/1.1\r\nHost : nas.test\r\n\r\n", "[400]"},
		{"a line that goes on", "GET /signin HTTP/1.1\r\nHost: nas.test\r\n evil.example\r\n\r\n", "[400]"},
		{"too much of a header", "GET /signin HTTP/1.1\r\nHost: nas.test\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n", "[431]"},
		{"HTTP/2 without having agreed on it", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "[421]"},
		{"a tunnel", "CONNECT nas.test:443 HTTP/1.1\r\nHost: nas.test\r\n\r\n", "[405]"},
		{"TRACE", "TRACE /signin HTTP/1.1\r\nHost: nas.test\r\n\r\n", "[405]"},
	} {
		if got := fmt.Sprint(answers(k.raw)); got != k.want {
			t.Errorf("%s: %s; want %s", k.name, got, k.want)
		}
	}
	if done := b.did(); len(done) > 0 {
		t.Errorf("done: %q", done)
	}
	// Nothing is said without TLS, nor with an old one.
	plain, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	_ = plain.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(plain, "GET /signin HTTP/1.1\r\nHost: nas.test\r\n\r\n")
	if said, _ := io.ReadAll(plain); strings.Contains(string(said), "Sign in") {
		t.Errorf("without TLS: %.100q", said)
	}
	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12} //nolint:gosec // it is to be refused
	if conn, err := tls.Dial("tcp", l.Addr().String(), old); err == nil {
		conn.Close()
		t.Error("TLS 1.2 is taken")
	}
}

// ports are the box's network in memory.
type ports struct{ tried, kept []string }

func (p *ports) Ports(context.Context) []Port { return []Port{{Name: "eth0"}} }

func (p *ports) Try(_ context.Context, s PortSettings) (PortTrial, error) {
	if s.Address == "bad" {
		return PortTrial{}, errors.New("this is no address")
	}
	p.tried = append(p.tried, s.Address)
	return PortTrial{Token: "TOKEN", Address: "192.168.1.77", Until: time.Now().Add(time.Minute)}, nil
}

func (p *ports) Keep(ctx context.Context, token string) error {
	if token != "TOKEN" {
		return errors.New("there is nothing to keep")
	}
	p.kept = append(p.kept, By(ctx).User)
	return nil
}
func (p *ports) Trying() (string, time.Time) { return "", time.Time{} }

// Only an owner sets the network otherwise; whoever has the token keeps it, by a form of the page's own and not by looking at it.
func TestNetworkOnPage(t *testing.T) {
	s, _ := fullBox(t)
	p := new(ports)
	cfg := s.cfg
	cfg.Box.Network, cfg.Box.Panel = p, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "picture") })
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stranger := visit(t, s)
	for path, method := range map[string]string{"/settings/network": "POST", "/panel.png": "GET"} {
		if r := stranger.send(method, path, url.Values{"name": {"eth0"}}, nil); r.StatusCode != http.StatusSeeOther {
			t.Errorf("a stranger's %s %s: %d", method, path, r.StatusCode)
		}
	}
	v, token := in(t, s)
	form := func(address string) url.Values {
		return url.Values{"token": {token}, "name": {"eth0"}, "mode": {"fixed"}, "address": {address}}
	}
	if r := v.send("POST", "/settings/network", url.Values{"name": {"eth0"}}, nil); r.StatusCode != http.StatusForbidden {
		t.Errorf("without the token: %d", r.StatusCode)
	}
	if page := text(t, v.send("POST", "/settings/network", form("bad"), nil)); !strings.Contains(page, "This is no address.") || !strings.Contains(page, `value="bad"`) {
		t.Errorf("a mistake is not told, or what was typed is lost:\n%s", page)
	}
	if len(p.tried) > 0 {
		t.Fatalf("tried: %q", p.tried)
	}
	page := text(t, v.send("POST", "/settings/network", form("192.168.1.77/24"), nil))
	for _, want := range []string{`data-to="https://192.168.1.77/network/keep/TOKEN"`, `href="https://nas.test/network/keep/TOKEN"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
	if text(t, v.send("GET", "/panel.png", nil, nil)) != "picture" {
		t.Error("an owner does not see the panel")
	}
	other := func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }
	keep := url.Values{"token": {stranger.token("/network/keep/TOKEN")}, "keep": {"TOKEN"}}
	for what, r := range map[string]*http.Response{
		"without the form's token": stranger.send("POST", "/network/keep", url.Values{"keep": {"TOKEN"}}, nil),
		"from another site":        stranger.send("POST", "/network/keep", keep, other),
	} {
		if r.StatusCode != http.StatusForbidden {
			t.Errorf("kept %s: %d", what, r.StatusCode)
		}
	}
	if r := stranger.send("POST", "/network/keep", url.Values{"token": keep["token"], "keep": {"guess"}}, nil); r.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a guess: %d", r.StatusCode)
	}
	if len(p.kept) > 0 {
		t.Fatalf("kept: %q", p.kept)
	}
	if r := stranger.send("POST", "/network/keep", keep, nil); r.StatusCode != http.StatusOK || len(p.kept) != 1 || p.kept[0] == "olga" {
		t.Errorf("with the token: %d, %q", r.StatusCode, p.kept)
	}
}

// What waits for a restart leads nowhere else, whatever its address says.
func TestRestartingLeadsNowhere(t *testing.T) {
	s, _ := newBox(t)
	v := visit(t, s)
	ours := s.restarting("attic.local")
	for path, leads := range map[string]string{
		ours: "https://attic.local", s.restarting("nas.test"): "", s.restarting(""): "", strings.Replace(ours, "attic.local", "evil.example", 1): "",
		"/restarting?name=evil.example": "", "/restarting?name=%22%3E%3Cscript%3E": "", "/restarting?run=%22onload=%22x": "",
	} {
		page := text(t, v.send("GET", path, nil, nil))
		if leads == "" && strings.Contains(page, `<a href="http`) || leads != "" && !strings.Contains(page, `<a href="`+leads+`"`) || strings.Contains(page, "<script>") {
			t.Errorf("%s:\n%s", path, page)
		}
	}
	byAddress := func(r *http.Request) { r.Host = "192.168.1.5" }
	if page := text(t, v.send("GET", ours, nil, byAddress)); strings.Contains(page, "attic.local") {
		t.Error("who came by the address is sent to a name")
	}
	if now := text(t, v.send("GET", "/alive", nil, nil)); now != s.run || len(now) < 20 {
		t.Errorf("this start is %q", now)
	}
	other, _ := newBox(t)
	if other.run == s.run {
		t.Error("two starts are told as one")
	}
}

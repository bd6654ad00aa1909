package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/tpm/tpmtest"
	"github.com/postern-nas/postern/ui"
)

// TestShutPage: while the keys are shut, the page says why and takes the owner's code; then the server is the one it was.
func TestShutPage(t *testing.T) {
	dir, chip := t.TempDir(), tpmtest.New(t)
	first := startWith(t, dir, chip.Socket)
	code := first.code()
	leaf, err := handshake(t, first, dir, "postern.local")
	if err != nil {
		t.Fatal(err)
	}
	first.end(t)
	b := launch(t, dir, tpmtest.New(t).Socket)
	b.until(t, "transport=page")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	page := "https://" + b.address("page") + "/"
	ask := func(code string, more ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page, nil)
		if code != "" {
			req, err = http.NewRequestWithContext(t.Context(), http.MethodPost, page, strings.NewReader(url.Values{"code": {code}}.Encode()))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(more); i += 2 {
			req.Header.Set(more[i], more[i+1])
		}
		rsp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer rsp.Body.Close()
		if bytes.Equal(rsp.TLS.PeerCertificates[0].RawSubjectPublicKeyInfo, leaf.RawSubjectPublicKeyInfo) {
			t.Error("the page has the key that is shut")
		}
		text, err := io.ReadAll(rsp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return rsp.StatusCode, string(text)
	}
	if status, text := ask(""); status != http.StatusServiceUnavailable || !strings.Contains(text, "This is not the TPM") || !strings.Contains(text, "<form") {
		t.Errorf("%d, %s", status, text)
	}
	for _, wrong := range []string{"x", "AAAA-BBBB", strings.Repeat("A", 2*shutBody)} {
		if status, text := ask(wrong); status != http.StatusForbidden || !strings.Contains(text, "not a recovery code") {
			t.Errorf("%d, %s", status, text)
		}
	}
	if status, _ := ask(code, "Origin", "https://evil.example.org", "Sec-Fetch-Site", "cross-site"); status != http.StatusForbidden {
		t.Errorf("from another page: %d", status)
	}
	if b.address("quic") != "" {
		t.Error("it serves")
	}
	if status, text := ask(code); status != http.StatusOK || !strings.Contains(text, "The keys are open") {
		t.Errorf("%d, %s", status, text)
	}
	b.wait(t)
	if now, err := handshake(t, b, dir, "postern.local"); err != nil || !bytes.Equal(now.Raw, leaf.Raw) {
		t.Errorf("another certificate, or none: %v", err)
	}
	for _, secret := range []string{code, strings.ReplaceAll(code, "-", "")} {
		if strings.Contains(b.logs.String(), secret) {
			t.Error("the code is in the log")
		}
	}
}

func TestShutHandler(t *testing.T) {
	ring := keys.New(keys.Options{Dir: t.TempDir()})
	near := netip.MustParsePrefix("192.168.1.0/24")
	h := shutHandler(ring, near.Contains, slog.New(slog.DiscardHandler))
	for from, want := range map[string]int{"192.168.1.9:1": http.StatusServiceUnavailable, "[::ffff:192.168.1.9]:1": http.StatusServiceUnavailable, "203.0.113.1:1": http.StatusForbidden, "": http.StatusForbidden} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d", from, w.Code)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/elsewhere", nil)
	r.RemoteAddr = "192.168.1.9:1"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusSeeOther {
		t.Errorf("elsewhere: %d", w.Code)
	}
}

// TestShutPanel: the panel says it, too.
func TestShutPanel(t *testing.T) {
	ring := keys.New(keys.Options{Dir: t.TempDir(), Want: keys.Sealed})
	if ring.Open() == nil {
		t.Fatal("sealed without a chip")
	}
	s := &shutSource{name: "attic"}
	go s.follow(t.Context(), ring)
	v, _, err := s.Next(t.Context(), 0)
	if err != nil || v.Name != "attic" || len(v.Alarms) != 1 || v.Alarms[0].Health != ui.Failed || v.Alarms[0].Advice == "" {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestFactoryResetOfKeys: nothing of the old identity is left, and the box makes another without being asked.
func TestFactoryResetOfKeys(t *testing.T) {
	dir, chip := t.TempDir(), tpmtest.New(t)
	b := startWith(t, dir, chip.Socket)
	leaf, err := handshake(t, b, dir, "postern.local")
	if err != nil {
		t.Fatal(err)
	}
	b.end(t)
	if err := eraseState(dir); err != nil {
		t.Fatal(err)
	}
	if left := files(t, dir); strings.Contains(left, "key") || strings.Contains(left, "tpm") || strings.Contains(left, ".pem") {
		t.Errorf("left: %s", left)
	}
	b = startWith(t, dir, chip.Socket)
	if now, err := handshake(t, b, dir, "postern.local"); err != nil || bytes.Equal(now.Raw, leaf.Raw) || b.code() == "" {
		t.Errorf("the same identity, or no new code: %v", err)
	}
}

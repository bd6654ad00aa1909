package pairing_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-nas/postern/firmware/pairing"
)

// web is a desk's handler, asked from an address.
type web struct {
	*bench
	t *testing.T
	h http.Handler
}

func serve(t *testing.T) *web {
	b := open(t)
	return &web{b, t, b.Handler(func() pairing.Script {
		return pairing.Script{Server: "postern.local", Port: 443, Page: "https://postern.local", Share: "disk", User: "bob"}
	})}
}

func (w *web) ask(method, path, from, secret string, body []byte, headers ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.RemoteAddr = from
	if secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	return rec
}

const (
	nearHTTP = "192.0.2.7:1024"
	farHTTP  = "203.0.113.9:1024"
)

var isJSON = []string{"Content-Type", "application/json"}

func (w *web) visit(code string) (secret string) {
	w.t.Helper()
	body, _ := json.Marshal(map[string]string{"code": code, "device": "LAPTOP"})
	rec := w.ask("POST", "/pair/visit", nearHTTP, "", body, isJSON...)
	if rec.Code != http.StatusOK {
		w.t.Fatal(rec.Code, rec.Body)
	}
	var out struct{ Secret string }
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil {
		w.t.Fatal(err)
	}
	cookie := rec.Result().Cookies()[0]
	if cookie.Value != out.Secret || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/pair" || cookie.MaxAge <= 0 {
		w.t.Errorf("cookie %+v", cookie)
	}
	return out.Secret
}

// agree does what a device does on the wire, up to the code that it shows.
func (w *web) agree(secret string, csr []byte, name string) (code string) {
	w.t.Helper()
	ca, own := w.authority.Certificate().Raw, pairing.Nonce{1}
	settled := pairing.Commit(ca, csr, own)
	rec := w.ask("POST", "/pair/request", nearHTTP, secret, csr, pairing.HeaderDevice, name, pairing.HeaderCommitment, base64.StdEncoding.EncodeToString(settled[:]))
	box, err := base64.StdEncoding.DecodeString(rec.Body.String())
	if rec.Code != http.StatusOK || err != nil || len(box) != 32 {
		w.t.Fatal(rec.Code, rec.Body)
	}
	if rec := w.ask("POST", "/pair/open", nearHTTP, secret, nil, pairing.HeaderNonce, base64.StdEncoding.EncodeToString(own[:])); rec.Code != http.StatusNoContent {
		w.t.Fatal(rec.Code, rec.Body)
	}
	return pairing.Confirm(ca, csr, own, pairing.Nonce(box))
}

func TestHandler(t *testing.T) {
	w := serve(t)
	a := w.start(t)
	secret := w.visit(a.Typed)
	if rec := w.ask("GET", "/pair/state", nearHTTP, secret, nil); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `"phase": "preparing"`) ||
		rec.Header().Get("Cache-Control") != "no-store" {
		t.Error(rec.Code, rec.Body)
	}
	rec := w.ask("GET", "/pair/postern-pair.cmd", nearHTTP, "", nil, "Cookie", pairing.CookieName+"="+secret)
	if body := rec.Body.String(); rec.Code != http.StatusOK || !strings.Contains(body, "'"+secret+"'") || !strings.Contains(body, "$User = 'alice'") ||
		!strings.Contains(rec.Header().Get("Content-Disposition"), "postern-pair.cmd") {
		t.Error(rec.Code, body)
	}
	pairScript := rec
	if rec := w.ask("GET", "/pair/postern-unpair.cmd", nearHTTP, "", nil); rec.Code != http.StatusOK || strings.Contains(rec.Body.String(), secret) {
		t.Error(rec.Code)
	}
	if rec := w.ask("GET", "/pair/postern-renew.cmd", nearHTTP, "", nil); rec.Code != http.StatusOK || strings.Contains(rec.Body.String(), secret) {
		t.Error(rec.Code)
	}
	if rec := w.ask("GET", "/pair/ca.cer", nearHTTP, "", nil); !bytes.Equal(rec.Body.Bytes(), w.authority.Certificate().Raw) {
		t.Error(rec.Code)
	}
	// The script's fingerprint is shown to the owner.
	sum := fmt.Sprintf("%X", sha256.Sum256(pairScript.Body.Bytes()))
	if now, _ := w.Current().Get(); len(now.Script) != 19 || !strings.HasPrefix(sum, strings.ReplaceAll(now.Script, " ", "")) {
		t.Errorf("the owner is shown %q of the script, which is %s", now.Script, sum)
	}
	key := ecKey(t)
	code := w.agree(secret, request(t, key, nil), "PC-M%C3%BCller")
	if now, _ := w.Current().Get(); now.Phase != pairing.Asking || now.Confirm != code || now.Device != "PC-Müller" {
		t.Errorf("the device shows %q, the panel %+v", code, now)
	}
	if rec := w.ask("GET", "/pair/state", nearHTTP, secret, nil); !strings.Contains(rec.Body.String(), `"asking"`) || strings.Contains(rec.Body.String(), code) {
		t.Error("the state", rec.Body)
	}
	if err := w.Answer(t.Context(), a.ID, true); err != nil {
		t.Fatal(err)
	}
	rec = w.ask("POST", "/pair/enrol", nearHTTP, secret, nil)
	block, _ := pem.Decode(rec.Body.Bytes())
	if rec.Code != http.StatusOK || block == nil {
		t.Fatal(rec.Code, rec.Body)
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/pair/postern-pair.cmd", "/pair/state"} {
		rec := w.ask("GET", path, nearHTTP, secret, nil)
		if want := map[bool]int{true: http.StatusOK, false: http.StatusGone}[path == "/pair/state"]; rec.Code != want {
			t.Error(path, rec.Code)
		}
	}
	// A renewal, before its time.
	csr := request(t, key, nil)
	signed, old := sha256.Sum256(csr), sha256.Sum256(block.Bytes)
	proof, err := ecdsa.SignASN1(rand.Reader, key, signed[:])
	if err != nil {
		t.Fatal(err)
	}
	rec = w.ask("POST", "/pair/renew", nearHTTP, "", csr, "Postern-Certificate", hex.EncodeToString(old[:]), "Postern-Signature", base64.StdEncoding.EncodeToString(proof))
	if rec.Code != http.StatusConflict {
		t.Error(rec.Code, rec.Body)
	}
}

func TestHandlerRefuses(t *testing.T) {
	w := serve(t)
	a := w.start(t)
	good, _ := json.Marshal(map[string]string{"code": a.Typed})
	settled := []string{pairing.HeaderCommitment, base64.StdEncoding.EncodeToString(make([]byte, 32))}
	for name, test := range map[string]struct {
		method, path, from string
		body               string
		headers            []string
		code               int
	}{
		"visit from outside":         {"POST", "/pair/visit", farHTTP, string(good), isJSON, 403},
		"visit from nowhere":         {"POST", "/pair/visit", "", string(good), isJSON, 403},
		"visit by a form":            {"POST", "/pair/visit", nearHTTP, string(good), []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		"visit as text":              {"POST", "/pair/visit", nearHTTP, string(good), []string{"Content-Type", "text/plain"}, 415},
		"visit without a type":       {"POST", "/pair/visit", nearHTTP, string(good), nil, 415},
		"visit by GET":               {"GET", "/pair/visit", nearHTTP, string(good), isJSON, 405},
		"not JSON":                   {"POST", "/pair/visit", nearHTTP, "code", isJSON, 400},
		"unknown field":              {"POST", "/pair/visit", nearHTTP, `{"code":"1","x":1}`, isJSON, 400},
		"too long":                   {"POST", "/pair/visit", nearHTTP, `{"code":"` + strings.Repeat("1", 5000) + `"}`, isJSON, 400},
		"another code":               {"POST", "/pair/visit", nearHTTP, `{"code":"00000000"}`, isJSON, 403},
		"no code":                    {"POST", "/pair/visit", nearHTTP, `{}`, isJSON, 403},
		"forwarded header":           {"POST", "/pair/visit", farHTTP, string(good), append(isJSON, "X-Forwarded-For", "192.0.2.7"), 403},
		"state without a secret":     {"GET", "/pair/state", nearHTTP, "", nil, 403},
		"state with another":         {"GET", "/pair/state", nearHTTP, "", []string{"Authorization", "Bearer x"}, 403},
		"script without a secret":    {"GET", "/pair/postern-pair.cmd", nearHTTP, "", nil, 403},
		"script from outside":        {"GET", "/pair/postern-unpair.cmd", farHTTP, "", nil, 403},
		"enrol without a secret":     {"POST", "/pair/enrol", nearHTTP, "", nil, 403},
		"request without a secret":   {"POST", "/pair/request", nearHTTP, string(request(t, ecKey(t), nil)), settled, 403},
		"request too much":           {"POST", "/pair/request", nearHTTP, strings.Repeat("x", 20000), settled, 400},
		"request without a promise":  {"POST", "/pair/request", nearHTTP, string(request(t, ecKey(t), nil)), nil, 400},
		"request with a short one":   {"POST", "/pair/request", nearHTTP, string(request(t, ecKey(t), nil)), []string{pairing.HeaderCommitment, "AAAA"}, 400},
		"request with a long one":    {"POST", "/pair/request", nearHTTP, string(request(t, ecKey(t), nil)), []string{pairing.HeaderCommitment, strings.Repeat("AAAA", 11)}, 400},
		"request from afar":          {"POST", "/pair/request", farHTTP, string(request(t, ecKey(t), nil)), settled, 403},
		"open without a secret":      {"POST", "/pair/open", nearHTTP, "", []string{pairing.HeaderNonce, settled[1]}, 403},
		"open without a nonce":       {"POST", "/pair/open", nearHTTP, "", nil, 400},
		"unpair without TLS":         {"POST", "/pair/unpair", nearHTTP, "", nil, 403},
		"unpair from afar":           {"POST", "/pair/unpair", farHTTP, "", nil, 403},
		"renew without a signature":  {"POST", "/pair/renew", nearHTTP, string(request(t, ecKey(t), nil)), nil, 403},
		"renew with a bad one":       {"POST", "/pair/renew", nearHTTP, "x", []string{"Postern-Certificate", strings.Repeat("00", 32), "Postern-Signature", "!"}, 403},
		"renew with a stranger's":    {"POST", "/pair/renew", nearHTTP, string(request(t, ecKey(t), nil)), []string{"Postern-Certificate", strings.Repeat("00", 32), "Postern-Signature", "AAAA"}, 403},
		"renew too much":             {"POST", "/pair/renew", nearHTTP, strings.Repeat("x", 20000), nil, 400},
		"something else":             {"GET", "/pair/x", nearHTTP, "", nil, 404},
		"the authority, from afar":   {"GET", "/pair/ca.cer", farHTTP, "", nil, 403},
		"the page's own paths, here": {"GET", "/pair", nearHTTP, "", nil, 404},
	} {
		if rec := w.ask(test.method, test.path, test.from, "", []byte(test.body), test.headers...); rec.Code != test.code {
			t.Errorf("%s: %d %s, want %d", name, rec.Code, rec.Body, test.code)
		}
	}
	if rec := w.ask("POST", "/pair/visit", nearHTTP, "", good, isJSON...); rec.Code != http.StatusOK {
		t.Error("after all of that the right code does not work", rec.Code, rec.Body)
	}
}

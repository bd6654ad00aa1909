package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/pairing"
)

// A between sits where the PC looks for the box, with an authority of its own: it ends the PC's TLS, reads all of it, and
// passes on what it likes.
type between struct {
	t         *testing.T
	box       *doorBox
	authority *x509.Certificate // its own
	real      *x509.Certificate // the box's
	at        string
	relay     *httputil.ReverseProxy
	toBox     *http.Client

	swap   bool // puts its own authority into the script
	ownKey bool // asks the box for a certificate for a key of its own
	late   bool // with ownKey: only when it knows the PC's code, and seeks a nonce that makes the same

	mu           sync.Mutex
	secret       string // of the ticket, as it went by
	csr          []byte
	key          *ecdsa.PrivateKey
	own, box1    pairing.Nonce // of its conversation with the box
	pcCSR, given []byte        // of that with the PC
	opened       string        // what the box said of its nonce
}

func sitBetween(t *testing.T, b *doorBox) *between {
	t.Helper()
	a, err := cert.OpenAuthority(t.TempDir(), "nas.test", time.Now(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	chain, _, err := a.Server([]string{"nas.test"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m := &between{t: t, box: b, authority: a.Certificate(), toBox: b.browser("", &tls.Config{InsecureSkipVerify: true})}
	der, err := answered(m.toBox.Get("https://nas.test/pair/ca.cer"))
	if err == nil {
		m.real, err = x509.ParseCertificate([]byte(der))
	}
	if err != nil {
		t.Fatal(err)
	}
	m.relay = httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: "nas.test"})
	m.relay.Transport, m.relay.ModifyResponse, m.relay.ErrorLog = m.toBox.Transport, m.change, slog.NewLogLogger(slog.DiscardHandler, 0)
	server := httptest.NewUnstartedServer(m)
	server.Config.ErrorLog = m.relay.ErrorLog
	server.TLS = &tls.Config{Certificates: []tls.Certificate{chain}}
	server.StartTLS()
	t.Cleanup(server.Close)
	m.at = server.Listener.Addr().String()
	return m
}

// change reads the ticket, and puts another authority into the script.
func (m *between) change(r *http.Response) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range r.Cookies() {
		m.secret = c.Value
	}
	if !m.swap || !strings.HasSuffix(r.Request.URL.Path, ".cmd") {
		return nil
	}
	script, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	changed := strings.NewReplacer(
		base64.StdEncoding.EncodeToString(m.real.Raw), base64.StdEncoding.EncodeToString(m.authority.Raw),
		fmt.Sprintf("%X", sha256.Sum256(m.real.Raw)), fmt.Sprintf("%X", sha256.Sum256(m.authority.Raw)),
	).Replace(string(script))
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(changed)), int64(len(changed))
	r.Header.Set("Content-Length", fmt.Sprint(len(changed)))
	return nil
}

func (m *between) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case m.ownKey && r.URL.Path == "/pair/request":
		m.mu.Lock()
		defer m.mu.Unlock()
		m.pcCSR, _ = io.ReadAll(r.Body)
		m.given = make([]byte, 32)
		rand.Read(m.given)
		if !m.late {
			m.ask()
		}
		_, _ = io.WriteString(w, base64.StdEncoding.EncodeToString(m.given))
	case m.ownKey && r.URL.Path == "/pair/open":
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.late {
			m.ask()
			own, _ := base64.StdEncoding.DecodeString(r.Header.Get(pairing.HeaderNonce))
			trusted := m.real
			if m.swap {
				trusted = m.authority
			}
			m.seek(pairing.Confirm(trusted.Raw, m.pcCSR, pairing.Nonce(own), pairing.Nonce(m.given)))
		}
		m.open()
		w.WriteHeader(http.StatusNoContent)
	default:
		m.relay.ServeHTTP(w, r)
	}
}

// post asks the box with the PC's ticket.
func (m *between) post(what string, body []byte, header string, value []byte) (string, error) {
	req, err := http.NewRequest(http.MethodPost, "https://nas.test/pair/"+what, strings.NewReader(string(body)))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+m.secret)
	req.Header.Set(pairing.HeaderDevice, "LAPTOP-7")
	if header != "" {
		req.Header.Set(header, base64.StdEncoding.EncodeToString(value))
	}
	return answered(m.toBox.Do(req))
}

// ask brings a request of its own in the PC's place.
func (m *between) ask() {
	var err error
	if m.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err == nil {
		m.csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, m.key)
	}
	if err != nil {
		m.t.Error(err)
		return
	}
	rand.Read(m.own[:])
	settled := pairing.Commit(m.real.Raw, m.csr, m.own)
	text, err := m.post("request", m.csr, pairing.HeaderCommitment, settled[:])
	if err != nil {
		m.t.Error("its own request:", err)
		return
	}
	nonce, _ := base64.StdEncoding.DecodeString(text)
	m.box1 = pairing.Nonce(nonce)
	if _, err := m.post("request", m.csr, pairing.HeaderCommitment, settled[:]); err == nil {
		m.t.Error("the box has given two nonces, to choose from")
	}
}

// seek finds a nonce with which the box would show the PC's code.
func (m *between) seek(code string) {
	for n := uint64(0); n < 20_000_000; n++ {
		binary.LittleEndian.PutUint64(m.own[:], n)
		if pairing.Confirm(m.real.Raw, m.csr, m.own, m.box1) == code {
			return
		}
	}
	m.t.Error("no nonce makes", code)
}

func (m *between) open() {
	text, err := m.post("open", nil, pairing.HeaderNonce, m.own[:])
	m.opened = text + fmt.Sprint(err)
}

// steal fetches what the box has signed.
func (m *between) steal() *x509.Certificate {
	text, err := m.post("enrol", nil, "", nil)
	if err != nil {
		return nil
	}
	block, _ := pem.Decode([]byte(text))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		m.t.Error(err)
	}
	return c
}

// Whoever relays everything between a PC and the box, and has read the ticket and the script: it gets no certificate for a key
// of its own, and the PC's trust in its authority, only where the two codes differ.
func TestSomebodyInBetween(t *testing.T) {
	for name, c := range map[string]struct {
		swap, ownKey, late bool
	}{
		"only looks on":                   {},
		"another authority in the script": {swap: true},
		"a key of its own":                {ownKey: true},
		"both":                            {swap: true, ownKey: true},
		"a key of its own, late":          {ownKey: true, late: true},
		"both, late":                      {swap: true, ownKey: true, late: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := openDoorBox(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			m := sitBetween(t, b)
			m.swap, m.ownKey, m.late = c.swap, c.ownKey, c.late
			a, err := b.door.desk.Start(ctx, "alice")
			if err != nil {
				t.Fatal(err)
			}
			p := &pc{t: t, box: b, page: m.at}
			p.download(ctx, a.Typed)
			if trusted := p.authority(); trusted.Equal(m.authority) != c.swap {
				t.Fatal("the script has the authority of", trusted.Subject)
			}
			code, err := p.agree(ctx)
			now, _ := b.door.desk.Current().Get()
			if c == (struct{ swap, ownKey, late bool }{}) {
				m.looksOn(ctx, p, code, err)
				return
			}
			if now.Confirm == code && code != "" {
				t.Errorf("the PC and the panel show %s", code)
			}
			switch {
			case c.late && !strings.Contains(m.opened, "409"): // what it has not settled before
				t.Errorf("the box lets it choose when it knows both: %s", m.opened)
			case c.late, c.swap && !c.ownKey:
				if now.Phase != pairing.Refused {
					t.Errorf("the box goes on: %+v", now)
				}
			default:
				if now.Phase != pairing.Asking || err != nil {
					t.Errorf("%+v, %v", now, err)
				}
			}
			_ = b.door.desk.Answer(ctx, a.ID, false) // the owner has compared
			if got := m.steal(); got != nil || len(b.door.desk.Devices()) > 0 {
				t.Errorf("it has the certificate %v", got.Subject)
			}
		})
	}
}

// looksOn is who changes nothing: then the codes are the same, and what is signed is the PC's.
func (m *between) looksOn(ctx context.Context, p *pc, code string, err error) {
	t, desk := m.t, m.box.door.desk
	now, _ := desk.Current().Get()
	if err != nil || now.Confirm != code || now.Phase != pairing.Asking {
		t.Fatalf("the PC shows %s, the panel %+v, %v", code, now, err)
	}
	if err := desk.Answer(ctx, now.ID, true); err != nil {
		t.Fatal(err)
	}
	p.trust()
	if err := p.enrol(ctx); err == nil {
		t.Error("the PC trusts who is in between")
	}
	if got := m.steal(); got == nil || !p.key.PublicKey.Equal(got.PublicKey) { // of no use without the key
		t.Error("what it has got is not the PC's own")
	}
}

package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudsoda/go-smb2"
	quicgo "github.com/quic-go/quic-go"

	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/quic/quictest"
	"github.com/postern-nas/postern/tpm/tpmtest"
)

var soak = flag.Bool("soak", false, "certificates are replaced 1,000 times, instead of 200")

// chainPEM writes a chain as its owner would get it.
func chainPEM(chain tls.Certificate) (text []byte) {
	for _, der := range chain.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

func keyPEM(t *testing.T, chain tls.Certificate) []byte {
	t.Helper()
	text, err := keys.MarshalKey(chain.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t *testing.T, path string, text []byte) string {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// configure writes a configuration with other values.
func configure(t *testing.T, dir string, oldNew ...string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "disk"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, config.FileName), []byte(strings.NewReplacer(oldNew...).Replace(config.DefaultFile)))
}

// shown is the certificate that a client is shown who asks for name and trusts roots.
func shown(t *testing.T, b *box, name string, roots *x509.CertPool) (*x509.Certificate, error) {
	t.Helper()
	c, err := quicgo.DialAddr(t.Context(), b.address("quic"), &tls.Config{RootCAs: roots, ServerName: name, NextProtos: []string{"smb"}}, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.CloseWithError(0, "") }()
	return c.ConnectionState().TLS.PeerCertificates[0], nil
}

// TestCertificateCommands: a certificate of another authority comes in, by its files or by way of a request, and is shown to
// those who ask for its name; the others see ours. With a TPM no key of it is left in a file.
func TestCertificateCommands(t *testing.T) {
	for _, store := range []string{"file", "sealed", "resident"} {
		t.Run(store, func(t *testing.T) {
			dir, tpm := t.TempDir(), "none"
			if store != "file" {
				tpm = tpmtest.New(t).Socket
			}
			configure(t, dir, "names = []", `names = ["nas.example.org", "more.example.org"]`, `key_store = "auto"`, fmt.Sprintf("key_store = %q", store))
			b := startWith(t, dir, tpm)
			ca := quictest.NewCA("A public authority")
			with := func(words ...string) []string { return append([]string{"-state", dir, "-tpm", tpm}, words...) }
			reload := func() { b.hangups <- nil; b.hangups <- nil } // the second is taken when the first has been dealt with
			theirs := func(name string, want bool) {
				t.Helper()
				if _, err := shown(t, b, name, ca.Pool()); (err == nil) != want {
					t.Errorf("%s: the other authority's: %v\n%s", name, err, b.logs.String())
				}
			}
			theirs("nas.example.org", false)

			files := t.TempDir()
			leaf := ca.Leaf([]string{"nas.example.org", "elsewhere.example.org"})
			chain := write(t, filepath.Join(files, "chain.pem"), chainPEM(leaf))
			key := write(t, filepath.Join(files, "key.pem"), keyPEM(t, leaf))
			for name, c := range map[string]struct {
				chain []byte
				want  string
			}{
				"no key here":   {chainPEM(ca.Leaf([]string{"nas.example.org"})), "there is no private key for it here"},
				"another name":  {chainPEM(ca.Leaf([]string{"else.example.org"})), "no private key"},
				"no PEM":        {[]byte("hello"), "no certificate in it"},
				"ended":         {chainPEM(ca.Leaf([]string{"nas.example.org"}, quictest.Expired)), "has expired"},
				"an authority":  {ca.PEM(), "an authority's"},
				"another's key": {append(chainPEM(ca.Leaf([]string{"nas.example.org"})), 0), "is not the certificate's"},
			} {
				words := with("cert", "import", write(t, filepath.Join(files, "bad.pem"), c.chain))
				if name == "another's key" {
					words = append(words, key)
				}
				if _, errs, exit := run(t, "", words...); exit != 1 || !strings.Contains(errs, c.want) {
					t.Errorf("%s: exit %d, %s", name, exit, errs)
				}
			}
			other := ca.Leaf([]string{"else.example.org"})
			words := with("cert", "import", write(t, filepath.Join(files, "o.pem"), chainPEM(other)), write(t, filepath.Join(files, "o.key"), keyPEM(t, other)))
			if _, errs, exit := run(t, "", words...); exit != 1 || !strings.Contains(errs, "none of these is a name of this server") {
				t.Errorf("for another server: exit %d, %s", exit, errs)
			}
			out, errs, exit := run(t, "", with("cert", "import", chain, key)...)
			if exit != 0 || !strings.Contains(out, "serves nas.example.org") || strings.Contains(out, "remove "+key) != (store != "file") {
				t.Fatalf("exit %d, %s, %s", exit, out, errs)
			}
			theirs("nas.example.org", true) // at once
			theirs("more.example.org", false)
			theirs("postern.local", false)
			for _, name := range []string{"postern.local", "more.example.org"} {
				if _, err := handshake(t, b, dir, name); err != nil {
					t.Errorf("%s: ours: %v", name, err)
				}
			}
			if store != "file" {
				plainSecrets(t, dir)
			}

			// By request: the key never leaves.
			request, errs, exit := run(t, "", with("cert", "csr", "more.example.org", "nas.example.org")...)
			block, _ := pem.Decode([]byte(request))
			if exit != 0 || block == nil {
				t.Fatalf("exit %d, %s", exit, errs)
			}
			csr, err := x509.ParseCertificateRequest(block.Bytes)
			if err != nil || csr.CheckSignature() != nil || !slices.Equal(csr.DNSNames, []string{"more.example.org", "nas.example.org"}) {
				t.Fatalf("%v, %v", csr, err)
			}
			answer := ca.Issue(publicOnly{csr.PublicKey}, "", csr.DNSNames, quictest.Usage(x509.ExtKeyUsageServerAuth))
			if out, errs, exit := run(t, string(chainPEM(answer)), with("cert", "import", "-")...); exit != 0 {
				t.Fatalf("exit %d, %s, %s", exit, out, errs)
			}
			reload()
			theirs("more.example.org", true)
			if store != "file" {
				plainSecrets(t, dir)
			}

			var list []cert.Serving
			out, errs, exit = run(t, "", with("cert", "list", "--json")...)
			if err := json.Unmarshal([]byte(out), &list); err != nil || exit != 0 || len(list) != 3 {
				t.Fatalf("%s, %s, %v", out, errs, err)
			}
			live, _ := b.logs.String(), 0
			var ids []string
			for _, s := range list {
				if s.ID == "own" {
					if !s.Own || !slices.Contains(s.Serves, "postern.local") || s.Urgency != cert.Calm || s.DaysLeft < 300 {
						t.Errorf("ours: %+v", s)
					}
					continue
				}
				ids = append(ids, s.ID)
				if s.Own || len(s.SHA256) != 64 || s.DaysLeft != 0 || !strings.Contains(live, s.ID) {
					t.Errorf("%+v", s)
				}
			}
			if out, _, exit := run(t, "", with("cert", "list")...); exit != 0 || !strings.Contains(out, "more.example.org\n  until") {
				t.Errorf("%s", out)
			}
			b.end(t)
			b = startWith(t, dir, tpm) // what came in is there after a restart
			theirs("nas.example.org", true)
			theirs("more.example.org", true)
			for _, id := range ids {
				if _, errs, exit := run(t, "", with("cert", "remove", id)...); exit != 0 {
					t.Error(errs)
				}
			}
			if _, _, exit := run(t, "", with("cert", "remove", "../../postern")...); exit != 1 {
				t.Error("removed something else")
			}
			reload()
			theirs("nas.example.org", false)
			if _, err := handshake(t, b, dir, "nas.example.org"); err != nil {
				t.Errorf("ours again: %v", err)
			}
		})
	}
}

// publicOnly is a key whose private half is elsewhere.
type publicOnly struct{ crypto.PublicKey }

func (p publicOnly) Public() crypto.PublicKey { return p.PublicKey }

// Sign implements crypto.Signer, and is not asked.
func (publicOnly) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	panic("a public key does not sign")
}

// served are certificates that refresh works on, without a server.
func tested(t *testing.T, names ...string) (*certificates, *buffer, func(at time.Time)) {
	t.Helper()
	dir, log := t.TempDir(), new(buffer)
	logger := slog.New(slog.NewTextHandler(log, nil))
	authority, err := cert.OpenAuthority(dir, names[0], time.Now(), logger)
	if err != nil {
		t.Fatal(err)
	}
	c := &certificates{authority: authority, keys: cert.Files(dir), dir: dir, names: names, store: new(quic.Store), log: logger}
	return c, log, func(at time.Time) {
		t.Helper()
		if err := c.refresh(at); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOwnRenewal: what our authority issued is renewed in time, by itself, and one that does not prove itself never is.
func TestOwnRenewal(t *testing.T) {
	c, log, refresh := tested(t, "postern.local", "nas.example.org")
	now := time.Now()
	refresh(now)
	first := c.served[0].chain.Leaf
	refresh(now.Add(100 * 24 * time.Hour))
	if !bytes.Equal(c.served[0].chain.Leaf.Raw, first.Raw) {
		t.Error("renewed too early")
	}
	on := func() string {
		text, err := os.ReadFile(filepath.Join(c.dir, "server.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	// The new one's key does not sign as it should: the old one stays in the store and on the disk.
	before, keep := on(), c.keys
	c.authority, _ = cert.OpenAuthorityWith(liar{cert.Files(c.dir)}, c.dir, "postern.local", now, c.log)
	late := now.Add(300 * 24 * time.Hour)
	if err := c.refresh(late); err == nil || on() != before || !bytes.Equal(c.served[0].chain.Leaf.Raw, first.Raw) {
		t.Errorf("a certificate that cannot be served replaced one that can: %v", err)
	}
	c.authority, _ = cert.OpenAuthorityWith(keep, c.dir, "postern.local", now, c.log)
	refresh(late)
	if s, _ := c.expiry.Get(); bytes.Equal(c.served[0].chain.Leaf.Raw, first.Raw) || len(s) != 1 || s[0].DaysLeft < 360 || !s[0].Own {
		t.Errorf("%+v\n%s", s, log)
	}
}

// liar makes keys that sign something else.
type liar struct{ cert.Files }

func (l liar) Make(name string) (crypto.Signer, error) {
	k, err := l.Files.Make(name)
	return lying{k}, err
}

type lying struct{ crypto.Signer }

func (l lying) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	return l.Signer.Sign(r, append([]byte{digest[0] ^ 1}, digest[1:]...), o)
}

// TestExpiry: the end of a certificate is announced at 30, 14 and 3 days, once each; when it has come, ours stands in.
func TestExpiry(t *testing.T) {
	c, log, refresh := tested(t, "nas.example.org")
	now := time.Now()
	ca := quictest.NewCA("A public authority")
	end := now.Add(40 * 24 * time.Hour)
	chain := ca.Leaf(c.names, func(x *x509.Certificate) { x.NotAfter = end })
	if _, _, err := c.take(c.dir, c.keys, chainPEM(chain), chain.PrivateKey.(crypto.Signer), now); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		days    time.Duration
		urgency cert.Urgency
		own     bool
	}{
		{40, cert.Calm, false},
		{31, cert.Calm, false},
		{29, cert.Soon, false},
		{28, cert.Soon, false},
		{13, cert.Urgent, false},
		{2, cert.Dire, false},
		{1, cert.Dire, false},
		{-1, cert.Calm, true},
	} {
		for range 2 {
			refresh(end.Add(-step.days*24*time.Hour - time.Second))
		}
		s, _ := c.expiry.Get()
		if len(s) != 1 || s[0].Urgency != step.urgency || s[0].Own != step.own || !step.own && s[0].DaysLeft != int(step.days) {
			t.Errorf("%d days: %+v", step.days, s)
		}
	}
	if n := strings.Count(log.String(), "a certificate ends soon"); n != 3 {
		t.Errorf("announced %d times:\n%s", n, log)
	}
	if !strings.Contains(log.String(), "it has expired") && !strings.Contains(log.String(), "has expired on") {
		t.Errorf("not a word of its end:\n%s", log)
	}
	if days, u := cert.Days(end, end.Add(time.Second)); days != -1 || u != cert.Expired {
		t.Errorf("%d, %v", days, u)
	}
}

// TestLongestServes: of two for one name, the one that holds longer; the configuration's before both.
func TestLongestServes(t *testing.T) {
	c, _, refresh := tested(t, "nas.example.org", "two.example.org")
	now := time.Now()
	ca := quictest.NewCA("A public authority")
	var chains []tls.Certificate
	for _, days := range []time.Duration{20, 90, 50} {
		chain := ca.Leaf([]string{"*.example.org"}, func(x *x509.Certificate) { x.NotAfter = now.Add(days * 24 * time.Hour) })
		if _, _, err := c.take(c.dir, c.keys, chainPEM(chain), chain.PrivateKey.(crypto.Signer), now); err != nil {
			t.Fatal(err)
		}
		chains = append(chains, chain)
	}
	refresh(now)
	if len(c.served) != 1 || !bytes.Equal(c.served[0].chain.Leaf.Raw, chains[1].Leaf.Raw) || len(c.served[0].names) != 2 {
		t.Errorf("%d served", len(c.served))
	}
	files := t.TempDir()
	mine := ca.Leaf([]string{"two.example.org"})
	c.file, c.key = write(t, filepath.Join(files, "c.pem"), chainPEM(mine)), write(t, filepath.Join(files, "k.pem"), keyPEM(t, mine))
	refresh(now)
	if len(c.served) != 2 || !bytes.Equal(c.served[1].chain.Leaf.Raw, mine.Leaf.Raw) || !slices.Equal(c.served[0].names, []string{"nas.example.org"}) {
		t.Errorf("%+v", c.served)
	}
}

// TestSEC47Reload (C-13): while the certificate is replaced a thousand times, and now and then by one that is broken, clients
// that connect all get in and are shown a sound one, and a session with an open file goes on.
func TestSEC47Reload(t *testing.T) {
	reloads, clients := 200, 20
	if *soak {
		reloads = 1000
	}
	dir := t.TempDir()
	configure(t, dir, "file = \"\"\nkey = \"\"", "file = \"own.pem\"\nkey = \"own.key\"")
	ca := quictest.NewCA("A public authority")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issue := func() tls.Certificate {
		return ca.Issue(key, "", []string{"postern.local"}, quictest.Usage(x509.ExtKeyUsageServerAuth))
	}
	first := issue()
	write(t, filepath.Join(dir, "own.pem"), chainPEM(first))
	write(t, filepath.Join(dir, "own.key"), keyPEM(t, first))
	b := start(t, dir)
	tlsConfig := &tls.Config{RootCAs: ca.Pool(), ServerName: "postern.local", NextProtos: []string{"smb"}}

	// A session that stands all the while.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	conn, err := quictest.Dial(ctx, b.address("quic"), tlsConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	dialer := &smb2.Dialer{Initiator: &smb2.NTLMInitiator{User: "demo", Password: b.said(t, "password")}}
	session, err := dialer.DialConn(ctx, conn, "postern.local")
	if err != nil {
		t.Fatal(err)
	}
	share, err := session.Mount("disk")
	if err != nil {
		t.Fatal(err)
	}
	file, err := share.Create("open all the while")
	if err != nil {
		t.Fatal(err)
	}

	var all sync.WaitGroup
	var handshakes, failed atomic.Int64
	seen := new(sync.Map)
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				limit, cancel := context.WithTimeout(t.Context(), time.Minute)
				c, err := quicgo.DialAddr(limit, b.address("quic"), tlsConfig, nil)
				cancel()
				if err != nil {
					failed.Add(1)
					t.Errorf("a handshake: %v", err)
					return
				}
				handshakes.Add(1)
				seen.Store(string(c.ConnectionState().TLS.PeerCertificates[0].Raw), true)
				_ = c.CloseWithError(0, "")
			}
		})
	}
	broken := 0
	for i := range reloads {
		chain := chainPEM(issue())
		if i%10 == 9 {
			broken++
			chain = [][]byte{[]byte("broken"), chain[:len(chain)/3], chainPEM(ca.Leaf([]string{"postern.local"}))}[broken%3] // the last has another key
		}
		write(t, filepath.Join(dir, "own.pem"), chain)
		b.hangups <- nil
		b.hangups <- nil // has been taken when the first has been dealt with
		if i%50 == 0 {
			if _, err := file.WriteAt([]byte{byte(i)}, int64(i)); err != nil {
				t.Fatalf("the session, after %d reloads: %v", i, err)
			}
		}
	}
	stop()
	all.Wait()
	if _, err := file.WriteAt([]byte("end"), 0); err != nil {
		t.Errorf("the session: %v", err)
	}
	different := 0
	seen.Range(func(any, any) bool { different++; return true })
	if failed.Load() > 0 || handshakes.Load() < int64(clients) || different < 10 {
		t.Errorf("%d handshakes, %d failed, %d certificates seen", handshakes.Load(), failed.Load(), different)
	}
	if n := strings.Count(b.logs.String(), "cannot be used"); n < broken {
		t.Errorf("%d of %d broken ones were complained of", n, broken)
	}
	t.Logf("%d reloads, %d of them broken; %d handshakes, %d failed; %d certificates seen", reloads, broken, handshakes.Load(), failed.Load(), different)
}

func TestHandshakeProof(t *testing.T) {
	ca := quictest.NewCA("An authority")
	good := ca.Leaf([]string{"nas.example.org"})
	if err := cert.Handshake(good, "nas.example.org"); err != nil {
		t.Error(err)
	}
	if err := cert.Handshake(good, "other.example.org"); err == nil {
		t.Error("proved for another name")
	}
	wrong := good
	wrong.PrivateKey = ca.Leaf([]string{"nas.example.org"}).PrivateKey
	if err := cert.Handshake(wrong, "nas.example.org"); err == nil {
		t.Error("proved with another key")
	}
	wrong.PrivateKey = lying{good.PrivateKey.(crypto.Signer)}
	if err := cert.Handshake(wrong, "nas.example.org"); err == nil {
		t.Error("proved with a key that signs something else")
	}
}

package quic_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/quic/quictest"
)

// signer is a key outside of the process, such as a TPM's: it shows no more than crypto.Signer.
type signer struct {
	crypto.Signer
	sign func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error)
}

func (s signer) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.sign == nil {
		return s.Signer.Sign(r, digest, opts)
	}
	return s.sign(r, digest, opts)
}

func TestProve(t *testing.T) {
	ca := quictest.NewCA("Root")
	inter := ca.Sub("Intermediate")
	names := []string{"nas.example.com"}
	good := ca.Leaf(names)
	p256 := good.PrivateKey.(crypto.Signer)
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	// Below 1024 bits crypto/rsa would need a GODEBUG; 1536 is weak enough for us.
	rsa1536, err := rsa.GenerateKey(rand.Reader, 1536)
	if err != nil {
		t.Fatal(err)
	}
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	server := quictest.Usage(x509.ExtKeyUsageServerAuth)
	with := func(c tls.Certificate, change func(*tls.Certificate)) tls.Certificate {
		change(&c)
		return c
	}
	long := inter.Leaf(names)
	for range 40 {
		long.Certificate = append(long.Certificate, ca.Cert.Raw) // signs itself, so the order is right
	}

	for _, test := range []struct {
		name  string
		cert  tls.Certificate
		names []string
		wrong string // "" is sound
	}{
		{name: "ECDSA P-256", cert: good},
		{name: "ECDSA P-384", cert: ca.Issue(p384, "", names, server)},
		{name: "RSA 2048", cert: ca.Issue(rsa2048, "", names, server)},
		{name: "signer", cert: with(good, func(c *tls.Certificate) { c.PrivateKey = signer{Signer: p256} })},
		{name: "chain", cert: inter.Leaf(names)},
		{name: "chain with its root", cert: with(inter.Leaf(names), func(c *tls.Certificate) {
			c.Certificate = append(c.Certificate, ca.Cert.Raw)
		})},
		{name: "not valid yet", cert: ca.Leaf(names, func(c *x509.Certificate) {
			c.NotBefore = time.Now().Add(time.Hour)
		})},
		{
			name: "wildcard certificate", cert: ca.Leaf([]string{"*.example.com"}),
			names: []string{"nas.example.com", "*.example.com"},
		},

		{name: "nothing", wrong: "no certificate"},
		{name: "no DER", cert: with(good, func(c *tls.Certificate) {
			c.Certificate = [][]byte{[]byte("junk")}
		}), wrong: "certificate 1"},
		{name: "cut", cert: with(good, func(c *tls.Certificate) {
			c.Certificate = [][]byte{c.Certificate[0][:200]}
		}), wrong: "certificate 1"},
		{name: "a bit flipped", cert: with(inter.Leaf(names), func(c *tls.Certificate) {
			leaf := append([]byte(nil), c.Certificate[0]...)
			leaf[len(leaf)-1] ^= 1
			c.Certificate = [][]byte{leaf, c.Certificate[1]}
		}), wrong: "not signed by the next"},
		{name: "chain in the wrong order", cert: with(inter.Leaf(names), func(c *tls.Certificate) {
			c.Certificate = [][]byte{c.Certificate[1], c.Certificate[0]}
		}), wrong: "not signed by the next"},
		{name: "chain with a stranger", cert: with(good, func(c *tls.Certificate) {
			c.Certificate = append(c.Certificate[:1:1], inter.Cert.Raw)
		}), wrong: "not signed by the next"},
		{name: "long chain", cert: long, wrong: "longer than"},
		{name: "expired", cert: ca.Leaf(names, quictest.Expired), wrong: "expired on"},
		{name: "no digitalSignature", cert: ca.Leaf(names, func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageKeyEncipherment
		}), wrong: "digitalSignature"},
		{
			name: "client's", cert: ca.Leaf(names, quictest.Usage(x509.ExtKeyUsageClientAuth)),
			wrong: "server authentication",
		},
		{name: "other name", cert: ca.Leaf([]string{"other.example.com"}), wrong: "no subject alternative name"},
		{
			name: "only a CN", cert: ca.Issue(p256, "nas.example.com", nil, server),
			wrong: "no subject alternative name",
		},
		{
			name: "wildcard that it lacks", cert: good, names: []string{"*.example.com"},
			wrong: "no subject alternative name",
		},
		{name: "no key", cert: tls.Certificate{Certificate: good.Certificate}, wrong: "cannot sign"},
		{name: "other key", cert: with(good, func(c *tls.Certificate) {
			c.PrivateKey = ca.Leaf(names).PrivateKey
		}), wrong: "not the certificate's"},
		{name: "other kind of key", cert: with(good, func(c *tls.Certificate) {
			c.PrivateKey = rsa2048
		}), wrong: "not the certificate's"},
		{name: "key does not sign", cert: with(good, func(c *tls.Certificate) {
			c.PrivateKey = signer{p256, func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
				return nil, errors.New("TPM is locked out")
			}}
		}), wrong: "locked out"},
		{name: "key signs wrongly", cert: with(good, func(c *tls.Certificate) {
			c.PrivateKey = signer{p256, func(r io.Reader, d []byte, o crypto.SignerOpts) ([]byte, error) {
				return p256.Sign(r, make([]byte, len(d)), o)
			}}
		}), wrong: "signs wrongly"},
		{name: "PSS salt of a TPM", cert: with(ca.Issue(rsa2048, "", names, server), func(c *tls.Certificate) {
			c.PrivateKey = signer{rsa2048, func(r io.Reader, d []byte, o crypto.SignerOpts) ([]byte, error) {
				return rsa2048.Sign(r, d, &rsa.PSSOptions{SaltLength: 100, Hash: o.HashFunc()})
			}}
		}), wrong: "signs wrongly"},
		{name: "RSA 1536", cert: ca.Issue(rsa1536, "", names, server), wrong: "too weak"},
		{name: "P-224", cert: ca.Issue(p224, "", names, server), wrong: "too weak"},
		{name: "Ed25519", cert: ca.Issue(ed, "", names, server), wrong: "Ed25519"},
		{name: "name with a slash", cert: good, names: []string{"nas/example.com"}, wrong: "no DNS name"},
		{name: "empty label", cert: good, names: []string{"nas..example.com"}, wrong: "no DNS name"},
		{name: "star within", cert: good, names: []string{"nas.*.com"}, wrong: "no DNS name"},
		{name: "star alone", cert: good, names: []string{"*"}, wrong: "no DNS name"},
		{name: "long name", cert: good, names: []string{strings.Repeat("a.", 127) + "b"}, wrong: "no DNS name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := quic.Mapping{Names: names, Certificate: test.cert}
			if test.names != nil {
				m.Names = test.names
			}
			leaf, err := quic.Prove(m, time.Now())
			switch {
			case test.wrong == "" && (err != nil || leaf == nil):
				t.Errorf("%v", err)
			case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
				t.Errorf("error %v, want one with %q", err, test.wrong)
			}
		})
	}
}

func TestStoreSetIsAllOrNothing(t *testing.T) {
	noLeaks(t)
	s := quictest.Serve(t, nil)
	good := quic.Mapping{Names: []string{"a.example.com"}, Certificate: s.CA.Leaf([]string{"a.example.com"})}
	bad := quic.Mapping{Names: []string{"b.example.com"}, Certificate: s.CA.Leaf([]string{"c.example.com"})}
	dflt := good
	dflt.Default, dflt.Names = true, nil
	for name, set := range map[string][]quic.Mapping{
		"second is bad":       {good, bad},
		"one name twice":      {good, {Names: []string{"A.example.com."}, Certificate: good.Certificate}},
		"two defaults":        {dflt, dflt},
		"neither":             {{Certificate: good.Certificate}},
		"client auth, no CAs": {{Names: good.Names, Certificate: good.Certificate, ClientAuth: &quic.ClientAuth{}}},
	} {
		if err := s.Store.Set(set...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := dial(t, s, s.TLS()); err != nil {
		t.Errorf("what was there before does not work any more: %v", err)
	}
	config := s.TLS()
	config.ServerName = "a.example.com"
	if _, err := dial(t, s, config); err == nil {
		t.Error("a part of what was refused is served")
	}
	if err := s.Store.Set(); err != nil {
		t.Errorf("emptying: %v", err)
	}
	if _, err := dial(t, s, s.TLS()); err == nil {
		t.Error("an empty store serves")
	}
}

// While certificates are replaced, good ones and corrupt ones in turn, no handshake fails and no connection drops.
func TestSEC47CertReload(t *testing.T) {
	noLeaks(t)
	s := quictest.Serve(t, nil)
	echo(t, s)
	names := []string{quictest.ServerName}
	corrupt := s.CA.Leaf(names)
	corrupt.PrivateKey = s.CA.Leaf(names).PrivateKey

	standing := make([]*quictest.Client, 5)
	for i := range standing {
		standing[i] = s.Dial(t)
		if err := ping(standing[i], "before"); err != nil {
			t.Fatal(err)
		}
	}

	var serials sync.Map
	var handshakes atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := quictest.DialFrom(within(t, 10*time.Second), nil, s.Addr().String(), s.TLS(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				serials.Store(c.QUIC.ConnectionState().TLS.PeerCertificates[0].SerialNumber.String(), true)
				if err := ping(c, "hello"); err != nil {
					t.Error(err)
				}
				_ = c.Close()
				handshakes.Add(1)
			}
		})
	}
	reloads := 0
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err := s.Store.Set(quic.Mapping{Names: names, Certificate: s.CA.Leaf(names)}); err != nil {
			t.Error(err)
		}
		if err := s.Store.Set(quic.Mapping{Names: names, Certificate: corrupt}); err == nil {
			t.Error("a corrupt certificate replaced a good one")
		}
		reloads++
	}
	close(stop)
	clients.Wait()
	for i, c := range standing {
		if err := ping(c, "after"); err != nil {
			t.Errorf("connection %d did not outlive the reloads: %v", i, err)
		}
		_ = c.Close()
	}
	seen := 0
	serials.Range(func(any, any) bool { seen++; return true })
	if refused := s.Stats().Refused; len(refused) != 0 {
		t.Errorf("refused: %v", refused)
	}
	if handshakes.Load() < 20 || seen < 3 {
		t.Errorf("only %d handshakes, %d certificates seen", handshakes.Load(), seen)
	}
	empty(t, s)
	t.Logf("%d handshakes over %d reloads, %d certificates seen", handshakes.Load(), reloads, seen)
}

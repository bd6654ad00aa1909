package cert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	now   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	names = []string{"postern.local", "localhost"}
)

func open(t *testing.T, dir string) (*Authority, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	a, err := OpenAuthority(dir, names[0], now, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return a, &log
}

func server(t *testing.T, a *Authority, names []string, at time.Time) (tls.Certificate, bool) {
	t.Helper()
	chain, fresh, err := a.Server(names, at)
	if err != nil {
		t.Fatal(err)
	}
	return chain, fresh
}

// TestWhatClientsNeed: the rules a Windows client has for a server's certificate.
func TestWhatClientsNeed(t *testing.T) {
	dir := t.TempDir()
	a, _ := open(t, dir)
	chain, fresh := server(t, a, names, now)
	if !fresh || len(chain.Certificate) != 2 || !bytes.Equal(chain.Certificate[1], a.Certificate().Raw) {
		t.Errorf("fresh %v, chain of %d", fresh, len(chain.Certificate))
	}
	leaf := chain.Leaf
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	for _, name := range names {
		for _, at := range []time.Time{now, now.Add(-24 * time.Hour), now.Add(300 * 24 * time.Hour)} {
			if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
				t.Errorf("%s at %v: %v", name, at, err)
			}
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: "other.local", Roots: roots, CurrentTime: now}); err == nil {
		t.Error("good for another name")
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() || leaf.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		t.Errorf("key %T, %v", leaf.PublicKey, leaf.SignatureAlgorithm)
	}
	if leaf.KeyUsage != x509.KeyUsageDigitalSignature || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
		t.Errorf("usage %v, %v", leaf.KeyUsage, leaf.ExtKeyUsage)
	}
	if leaf.IsCA || len(leaf.IPAddresses) > 0 || len(leaf.CRLDistributionPoints) > 0 || len(leaf.IssuingCertificateURL) > 0 || len(leaf.OCSPServer) > 0 {
		t.Error("it says something it should not")
	}
	if leaf.Subject.CommonName == "" || !bytes.Equal(leaf.AuthorityKeyId, a.Certificate().SubjectKeyId) || len(leaf.AuthorityKeyId) == 0 {
		t.Errorf("subject %v, issuer's key %x", leaf.Subject, leaf.AuthorityKeyId)
	}
	ca := a.Certificate()
	if !ca.IsCA || ca.MaxPathLen != 0 || !ca.MaxPathLenZero || ca.KeyUsage&x509.KeyUsageDigitalSignature != 0 || len(ca.ExtKeyUsage) > 0 {
		t.Errorf("authority: path %d, usage %v", ca.MaxPathLen, ca.KeyUsage)
	}
	if cer, err := os.ReadFile(a.WindowsFile()); err != nil || !bytes.Equal(cer, ca.Raw) {
		t.Errorf("ca.cer: %v", err)
	}
	if len(a.Fingerprint()) != 64 || a.Fingerprint() != strings.ToUpper(a.Fingerprint()) {
		t.Error(a.Fingerprint())
	}
	for name, mode := range map[string]os.FileMode{"ca.key": 0o600, "server.key": 0o600, "ca.pem": 0o644} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
}

func TestLongName(t *testing.T) {
	long := strings.Repeat("abcdefghi.", 20) + "local"
	a, err := OpenAuthority(t.TempDir(), long, now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	chain, _ := server(t, a, []string{long}, now)
	for _, c := range []*x509.Certificate{a.Certificate(), chain.Leaf} {
		if n := len(c.Subject.CommonName); n > 64 || n == 0 {
			t.Errorf("common name of %d characters", n)
		}
	}
}

func TestReuseAndRenewal(t *testing.T) {
	dir := t.TempDir()
	a, _ := open(t, dir)
	first, _ := server(t, a, names, now)
	a, log := open(t, dir)
	day := 24 * time.Hour
	for _, c := range []struct {
		name  string
		names []string
		at    time.Time
		fresh bool
	}{
		{"next day", names, now.Add(day), false},
		{"two thirds gone", names, now.Add(240 * day), false},
		{"less than a third left", names, now.Add(250 * day), true},
		{"the renewed one", names, now.Add(251 * day), false},
		{"another name", append([]string{"nas.example.org"}, names...), now.Add(251 * day), true},
		{"the clock was in the future", names, now, true},
		{"long after", names, now.Add(900 * day), true},
	} {
		chain, fresh := server(t, a, c.names, c.at)
		if fresh != c.fresh {
			t.Errorf("%s: fresh %v", c.name, fresh)
		}
		if !c.fresh && c.at.Before(now.Add(250*day)) && !bytes.Equal(chain.Certificate[0], first.Certificate[0]) {
			t.Errorf("%s: another certificate", c.name)
		}
		if !slices.Equal(chain.Leaf.DNSNames, c.names) || c.at.After(chain.Leaf.NotAfter) || c.at.Before(chain.Leaf.NotBefore) {
			t.Errorf("%s: %v until %v", c.name, chain.Leaf.DNSNames, chain.Leaf.NotAfter)
		}
	}
	if log.Len() > 0 {
		t.Errorf("the log says %s", log)
	}
	// No certificate outlives its authority.
	late, _ := server(t, a, names, now.Add(authorityLife-10*day))
	if late.Leaf.NotAfter.After(a.Certificate().NotAfter) {
		t.Errorf("until %v, the authority until %v", late.Leaf.NotAfter, a.Certificate().NotAfter)
	}
}

func TestDamagedFilesAreSetAside(t *testing.T) {
	for _, c := range []struct {
		file         string
		newAuthority bool
	}{{"ca.pem", false}, {"ca.key", true}, {"server.pem", false}, {"server.key", false}} {
		dir := t.TempDir()
		a, _ := open(t, dir)
		server(t, a, names, now)
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		b, log := open(t, dir)
		chain, fresh := server(t, b, names, now)
		if fresh == (c.file == "ca.pem") || (a.Fingerprint() != b.Fingerprint()) != c.newAuthority {
			t.Errorf("%s: fresh %v, same authority %v", c.file, fresh, a.Fingerprint() == b.Fingerprint())
		}
		if chain.Leaf.CheckSignatureFrom(b.Certificate()) != nil {
			t.Errorf("%s: signed by another", c.file)
		}
		if found, _ := filepath.Glob(filepath.Join(dir, c.file+".corrupt-*")); len(found) != 1 || !strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("%s: set aside as %q, the log says %s", c.file, found, log)
		}
		d, log := open(t, dir)
		if again, fresh := server(t, d, names, now); fresh || !bytes.Equal(again.Certificate[0], chain.Certificate[0]) || log.Len() > 0 {
			t.Errorf("%s: not settled at the next start: %s", c.file, log)
		}
	}
	// Without the other copies of its certificate an authority is lost, and a certificate in which a bit has changed is
	// none, though it can be read.
	for name, c := range map[string]struct {
		spoil func([]byte) []byte
		gone  []string
		same  bool
	}{
		"a bit":                 {flipped, nil, true},
		"a bit, behind server":  {flipped, []string{"ca.cer"}, true},
		"a bit, for Windows":    {flipped, []string{"server.pem"}, true},
		"a bit, no other there": {flipped, []string{"ca.cer", "server.pem"}, false},
	} {
		dir := t.TempDir()
		a, _ := open(t, dir)
		server(t, a, names, now)
		if err := os.WriteFile(a.File(), c.spoil(a.Certificate().Raw), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, g := range c.gone {
			if err := os.Remove(filepath.Join(dir, g)); err != nil {
				t.Fatal(err)
			}
		}
		if b, log := open(t, dir); (a.Fingerprint() == b.Fingerprint()) != c.same || !strings.Contains(log.String(), "ca.pem.corrupt-") {
			t.Errorf("%s: the same authority %v; the log says %s", name, !c.same, log)
		}
	}
	// The Windows form is made again from the other.
	dir := t.TempDir()
	a, _ := open(t, dir)
	os.Remove(a.WindowsFile())
	b, _ := open(t, dir)
	if cer, err := os.ReadFile(b.WindowsFile()); err != nil || !bytes.Equal(cer, a.Certificate().Raw) {
		t.Errorf("ca.cer: %v", err)
	}
}

// flipped is the certificate as PEM with one bit of its signature changed.
func flipped(der []byte) []byte {
	der = bytes.Clone(der)
	der[len(der)-1] ^= 1
	return pemOf(der)
}

// TestServerCertificateIsNoAuthority: a leaf in place of the authority is not taken for one.
func TestServerCertificateIsNoAuthority(t *testing.T) {
	dir := t.TempDir()
	a, _ := open(t, dir)
	server(t, a, names, now)
	for _, ext := range []string{".pem", ".key"} {
		if err := os.Rename(filepath.Join(dir, "server"+ext), filepath.Join(dir, "ca"+ext)); err != nil {
			t.Fatal(err)
		}
	}
	if b, log := open(t, dir); !b.Certificate().IsCA || !strings.Contains(log.String(), "not an authority") {
		t.Errorf("%v, the log says %s", b.Certificate().Subject, log)
	}
}

func TestOwnersFiles(t *testing.T) {
	dir := t.TempDir()
	a, _ := open(t, dir)
	want, _ := server(t, a, names, now)
	file := func(name string) string { return filepath.Join(dir, name) }
	got, err := Load(file("server.pem"), file("server.key"), now)
	if err != nil || len(got.Certificate) != 2 || !bytes.Equal(got.Certificate[0], want.Certificate[0]) {
		t.Errorf("Load = %d certificates, %v", len(got.Certificate), err)
	}
	for _, c := range []struct {
		cert, key string
		at        time.Time
		want      string
	}{
		{"ca.pem", "ca.key", now, "the first certificate is an authority's, not a server's"},
		{"server.pem", "ca.key", now, "private key does not match public key"},
		{"server.pem", "gone.key", now, "no such file"},
		{"server.pem", "server.key", now.Add(2 * serverLife), "has expired on 2027-11-22"},
	} {
		if _, err := Load(file(c.cert), file(c.key), c.at); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s: %v", c.cert, c.key, err)
		}
	}
}

// TestClockIn1970: a box that does not know the time makes an authority that is good when it does, and then a
// certificate of the usual length.
func TestClockIn1970(t *testing.T) {
	start := time.Unix(60, 0)
	a, err := OpenAuthority(t.TempDir(), names[0], start, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{start, now} {
		chain, fresh := server(t, a, names, at)
		if !fresh {
			t.Errorf("not renewed at %v", at)
		}
		for _, c := range []*x509.Certificate{a.Certificate(), chain.Leaf} {
			for _, clock := range []time.Time{at, now} {
				if clock.Before(c.NotBefore) || clock.After(c.NotAfter) {
					t.Errorf("made at %v, not good at %v", at, clock)
				}
			}
		}
	}
}

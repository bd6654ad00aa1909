package pairing_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/pairing"
)

var (
	near = netip.MustParseAddr("192.0.2.7")
	next = netip.MustParseAddr("192.0.2.8")
	far  = netip.MustParseAddr("203.0.113.9")
)

// bench is a desk with what it works with.
type bench struct {
	*pairing.Desk
	dir       string
	authority *cert.Authority
	pool      *x509.CertPool

	mu      sync.Mutex
	events  []audit.Event
	changes int
}

func open(t *testing.T) *bench {
	t.Helper()
	return openIn(t, t.TempDir())
}

func openIn(t *testing.T, dir string) *bench {
	t.Helper()
	b := &bench{dir: dir, pool: x509.NewCertPool()}
	var err error
	if b.authority, err = cert.OpenAuthority(dir, "postern.local", time.Now(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	b.pool.AddCert(b.authority.Certificate())
	b.Desk, err = pairing.Open(pairing.Config{
		Dir: dir, Issuer: b.authority,
		Bases: func() []string {
			return []string{"https://a-very-long-name.of-a-box.example.org", "https://192.168.100.100:8443"}
		},
		Local: func(a netip.Addr) bool { return netip.MustParsePrefix("192.0.2.0/24").Contains(a) },
		Changed: func() {
			b.Hashes()
			b.mu.Lock()
			defer b.mu.Unlock()
			b.changes++
		},
		Audit: func(e audit.Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) count(id audit.ID) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.ID == id {
			n++
		}
	}
	return n
}

func (b *bench) start(t *testing.T) pairing.Attempt {
	t.Helper()
	a, err := b.Start(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// token is what the URL on the panel holds.
func token(t *testing.T, a pairing.Attempt) string {
	t.Helper()
	_, tok, ok := strings.Cut(a.URL, "/p/")
	if !ok {
		t.Fatalf("no token in %q", a.URL)
	}
	return tok
}

func (b *bench) visit(t *testing.T, a pairing.Attempt) pairing.Ticket {
	t.Helper()
	ticket, err := b.Visit(t.Context(), near, token(t, a), "LAPTOP")
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

// ask is what a device does from its request to the code that it shows.
func (b *bench) ask(secret string, csr []byte, name string) (code string, err error) {
	own := pairing.Nonce{1, 2, 3}
	box, err := b.Request(near, secret, csr, pairing.Commit(b.authority.Certificate().Raw, csr, own), name)
	if err != nil {
		return "", err
	}
	return pairing.Confirm(b.authority.Certificate().Raw, csr, own, box), b.Open(near, secret, own)
}

func (b *bench) asks(t *testing.T, secret string, csr []byte, name string) (code string) {
	t.Helper()
	code, err := b.ask(secret, csr, name)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func request(t testing.TB, key crypto.Signer, change func(*x509.CertificateRequest)) []byte {
	t.Helper()
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "whatever the PC says"}}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// pair is the whole of it.
func (b *bench) pair(t *testing.T, key crypto.Signer) (pairing.Device, *x509.Certificate) {
	t.Helper()
	a := b.start(t)
	ticket := b.visit(t, a)
	b.asks(t, ticket.Secret, request(t, key, nil), "")
	if err := b.Answer(t.Context(), a.ID, true); err != nil {
		t.Fatal(err)
	}
	d, der, err := b.Enrol(t.Context(), near, ticket.Secret)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return d, c
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("got %v, want %v", err, target)
	}
}

func phase(b *bench) string {
	a, _ := b.Current().Get()
	if a == nil {
		return "none"
	}
	return a.Phase.String()
}

// The certificate is the one that the box chose, whatever the request said.
func TestPair(t *testing.T) {
	b := open(t)
	a := b.start(t)
	if a.Phase != pairing.Waiting || len(a.URL) > 53 || len(token(t, a)) != 22 || len(a.Typed) != 9 || a.Confirm != "" || a.Shown() != a.Typed {
		t.Fatalf("attempt %+v", a)
	}
	ticket := b.visit(t, a)
	seen, _ := b.Current().Get()
	if seen.Phase != pairing.Preparing || seen.Shown() != "" || seen.URL != "" || seen.Typed != "" || seen.Device != "LAPTOP" ||
		seen.Address != near || seen.User != "alice" {
		t.Fatalf("attempt %+v", seen)
	}
	want(t, b.Answer(t.Context(), a.ID, true), pairing.ErrNone) // there is nothing to compare yet
	key := ecKey(t)
	code := b.asks(t, ticket.Secret, request(t, key, nil), "")
	seen, _ = b.Current().Get()
	if seen.Phase != pairing.Asking || seen.Confirm != code || len(code) != 7 || seen.Shown() != code || seen.Device != "LAPTOP" {
		t.Fatalf("attempt %+v, the device shows %s", seen, code)
	}
	if own, err := b.Look(near, ticket.Secret); err != nil || own.Confirm != "" || own.Phase != pairing.Asking {
		t.Fatal(own, err) // the code comes from nowhere but the device itself
	}
	if err := b.Answer(t.Context(), a.ID, true); err != nil {
		t.Fatal(err)
	}
	_, err := b.ask(ticket.Secret, request(t, key, nil), "OTHER NAME")
	want(t, err, pairing.ErrUsed)
	d, der, err := b.Enrol(t.Context(), near, ticket.Secret)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: b.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: b.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("it is good for a server")
	}
	// The owner has said yes to LAPTOP: a name that comes after that does not count.
	if c.Subject.CommonName != "LAPTOP" || c.Subject.SerialNumber != d.ID || !key.PublicKey.Equal(c.PublicKey) || c.IsCA || len(c.DNSNames) > 0 {
		t.Errorf("certificate of %v", c.Subject)
	}
	if list := b.Devices(); len(list) != 1 || list[0] != d || d.Name != "LAPTOP" || d.User != "alice" || d.SHA256 != sha256.Sum256(der) {
		t.Errorf("devices %+v", list)
	}
	if allow, deny := b.Hashes(); len(allow) != 1 || allow[0] != d.SHA256 || len(deny) != 0 {
		t.Error(allow, deny)
	}
	if phase(b) != "paired" || b.count(audit.Paired) != 1 || b.changes != 1 {
		t.Error(phase(b), b.events, b.changes)
	}

	again := openIn(t, b.dir) // after a restart
	if list := again.Devices(); len(list) != 1 || !list[0].Issued.Equal(d.Issued) || list[0].ID != d.ID {
		t.Errorf("devices after a restart %+v", list)
	}
	if phase(again) != "none" {
		t.Error("an attempt outlived the restart")
	}
}

// The request may come before the owner's answer, and then waits for it.
func TestEnrolWaitsForTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		a := b.start(t)
		ticket := b.visit(t, a)
		_, _, err := b.Enrol(t.Context(), near, ticket.Secret)
		want(t, err, pairing.ErrRequest) // there is none
		b.asks(t, ticket.Secret, request(t, ecKey(t), nil), "DESKTOP-7")
		var der []byte
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, der, err = b.Enrol(context.Background(), near, ticket.Secret)
		}()
		synctest.Wait()
		time.Sleep(9 * time.Minute)
		if seen, _ := b.Current().Get(); seen.Phase != pairing.Asking || seen.Device != "DESKTOP-7" || len(b.Devices()) != 0 {
			t.Errorf("attempt %+v, devices %v", seen, b.Devices())
		}
		if err := b.Answer(t.Context(), a.ID, true); err != nil {
			t.Fatal(err)
		}
		<-done
		if err != nil || len(der) == 0 {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute) // off the panel
		if phase(b) != "none" {
			t.Error(phase(b))
		}
	})
}

// SEC-52: five wrong codes end it, and the right one is worth nothing after that.
func TestPairingCodeCannotBeGuessed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		a := b.start(t)
		wrong := "0000 0000"
		if a.Typed == wrong {
			wrong = "0000 0001"
		}
		for range pairing.MaxGuesses {
			_, err := b.Visit(t.Context(), near, wrong, "")
			want(t, err, pairing.ErrCode)
		}
		if phase(b) != "refused" || b.count(audit.PairingGuess) != pairing.MaxGuesses || b.count(audit.PairingRefused) != 1 {
			t.Error(phase(b), b.events)
		}
		_, err := b.Visit(t.Context(), near, a.Typed, "")
		want(t, err, pairing.ErrRefused)
		_, err = b.Visit(t.Context(), near, token(t, a), "")
		want(t, err, pairing.ErrRefused)

		// Codes differ, and so do tokens: 30 attempts without one twice.
		seen := map[string]bool{}
		for range 30 {
			a := b.start(t)
			if seen[a.Typed] || seen[a.URL] || seen[a.ID] {
				t.Fatalf("%v came twice", a)
			}
			seen[a.Typed], seen[a.URL], seen[a.ID] = true, true, true
		}
		// A token is no guess: an old link opened again does not end a new attempt.
		a = b.start(t)
		for range 3 * pairing.MaxGuesses {
			_, err := b.Visit(t.Context(), near, "AAAAAAAAAAAAAAAAAAAAAA", "")
			want(t, err, pairing.ErrToken)
		}
		if _, err := b.Visit(t.Context(), near, strings.ReplaceAll(a.Typed, " ", "-"), ""); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
	})
}

func TestPairingCodeCannotBeReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		a := b.start(t)
		b.visit(t, a)
		for _, secret := range []string{token(t, a), a.Typed} {
			_, err := b.Visit(t.Context(), next, secret, "EVE")
			want(t, err, pairing.ErrTaken)
		}
		if seen, _ := b.Current().Get(); seen.Device != "LAPTOP" {
			t.Errorf("%+v", seen)
		}
		if _, err := b.Start(t.Context(), ""); !errors.Is(err, pairing.ErrBusy) {
			t.Error(err)
		}
		if err := b.Stop(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
		other := b.start(t) // the codes of one attempt are nothing to the next
		_, err := b.Visit(t.Context(), near, token(t, a), "")
		want(t, err, pairing.ErrToken)
		want(t, b.Answer(t.Context(), a.ID, true), pairing.ErrNone)
		want(t, b.Stop(t.Context(), a.ID), pairing.ErrNone)
		if _, err := b.Visit(t.Context(), near, token(t, other), ""); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
	})
}

func TestPairingCannotBeUsedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		a := b.start(t)
		ticket := b.visit(t, a)
		b.asks(t, ticket.Secret, request(t, ecKey(t), nil), "")
		if err := b.Answer(t.Context(), a.ID, true); err != nil {
			t.Fatal(err)
		}
		// Two at once: one of them.
		results := make(chan error, 2)
		for range 2 {
			go func() {
				_, _, err := b.Enrol(context.Background(), near, ticket.Secret)
				results <- err
			}()
		}
		first, second := <-results, <-results
		if (first == nil) == (second == nil) || !errors.Is(errors.Join(first, second), pairing.ErrUsed) {
			t.Error(first, second)
		}
		_, _, err := b.Enrol(t.Context(), near, ticket.Secret)
		want(t, err, pairing.ErrUsed)
		if n := len(b.Devices()); n != 1 {
			t.Errorf("%d devices", n)
		}
		time.Sleep(time.Hour)
		_, _, err = b.Enrol(t.Context(), near, ticket.Secret)
		want(t, err, pairing.ErrNone)
	})
}

func TestPairingCannotBeUsedAfterRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, end := range []func(*bench, pairing.Attempt){
			func(b *bench, a pairing.Attempt) { _ = b.Answer(context.Background(), a.ID, false) },
			func(b *bench, a pairing.Attempt) { _ = b.Stop(context.Background(), a.ID) },
			func(*bench, pairing.Attempt) { time.Sleep(pairing.Lifetime) },
			func(b *bench, a pairing.Attempt) { // accepted, and then it took too long
				_ = b.Answer(context.Background(), a.ID, true)
				time.Sleep(pairing.Lifetime)
			},
		} {
			b := open(t)
			a := b.start(t)
			ticket := b.visit(t, a)
			b.asks(t, ticket.Secret, request(t, ecKey(t), nil), "")
			end(b, a)
			synctest.Wait()
			want(t, b.Answer(t.Context(), a.ID, true), pairing.ErrNone)
			_, _, err := b.Enrol(t.Context(), near, ticket.Secret)
			want(t, err, pairing.ErrRefused)
			_, err = b.Visit(t.Context(), near, token(t, a), "")
			want(t, err, pairing.ErrRefused)
			if len(b.Devices()) != 0 || b.count(audit.Paired) != 0 || b.count(audit.PairingRefused) != 1 {
				t.Errorf("%v, %v", b.Devices(), b.events)
			}
			time.Sleep(time.Hour)
		}
		// One that waits for the answer hears it.
		b := open(t)
		a := b.start(t)
		ticket := b.visit(t, a)
		b.asks(t, ticket.Secret, request(t, ecKey(t), nil), "")
		done := make(chan error)
		go func() {
			_, _, err := b.Enrol(context.Background(), near, ticket.Secret)
			done <- err
		}()
		synctest.Wait()
		if err := b.Answer(t.Context(), a.ID, false); err != nil {
			t.Fatal(err)
		}
		want(t, <-done, pairing.ErrRefused)
		time.Sleep(time.Hour)
	})
}

func TestPairingCannotBeUsedFromOutside(t *testing.T) {
	b := open(t)
	_, err := b.Visit(t.Context(), far, "0000 0000", "")
	want(t, err, pairing.ErrOutside) // not even whether there is one
	a := b.start(t)
	for range 2 * pairing.MaxGuesses { // nor can it be ended from there
		_, err = b.Visit(t.Context(), far, "0000 0000", "")
		want(t, err, pairing.ErrOutside)
	}
	_, err = b.Visit(t.Context(), far, token(t, a), "")
	want(t, err, pairing.ErrOutside)
	ticket := b.visit(t, a)
	_, err = b.Look(far, ticket.Secret)
	want(t, err, pairing.ErrOutside)
	_, err = b.Request(far, ticket.Secret, request(t, ecKey(t), nil), pairing.Nonce{}, "")
	want(t, err, pairing.ErrOutside)
	b.asks(t, ticket.Secret, request(t, ecKey(t), nil), "")
	want(t, b.Open(far, ticket.Secret, pairing.Nonce{}), pairing.ErrOutside)
	if err := b.Answer(t.Context(), a.ID, true); err != nil {
		t.Fatal(err)
	}
	_, _, err = b.Enrol(t.Context(), far, ticket.Secret)
	want(t, err, pairing.ErrOutside)
	if len(b.Devices()) != 0 {
		t.Error(b.Devices())
	}
	_, _, err = b.Enrol(t.Context(), netip.AddrFrom16(near.As16()), ticket.Secret)
	if err != nil { // the same address as a socket for both families gives it
		t.Error(err)
	}
}

func TestRevoke(t *testing.T) {
	b := open(t)
	d, _ := b.pair(t, ecKey(t))
	other, _ := b.pair(t, ecKey(t))
	want(t, b.Revoke(t.Context(), "nobody"), pairing.ErrUnknown)
	if err := b.Revoke(t.Context(), d.ID); err != nil {
		t.Fatal(err)
	}
	for _, b := range []*bench{b, openIn(t, b.dir)} {
		allow, deny := b.Hashes()
		if len(allow) != 1 || allow[0] != other.SHA256 || len(deny) != 1 || deny[0] != d.SHA256 {
			t.Error(allow, deny)
		}
	}
	if b.changes != 3 || b.count(audit.Revoked) != 1 {
		t.Error(b.changes, b.events)
	}
	if err := b.RevokeAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if allow, deny := b.Hashes(); len(allow) != 0 || len(deny) != 2 {
		t.Error(allow, deny)
	}
	if err := b.RevokeAll(t.Context()); err != nil {
		t.Error(err) // there is nobody: that is what was wanted
	}
}

// A renewed certificate replaces the old one when it is used, and not before.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t)
		key, fresh := ecKey(t), ecKey(t)
		d, c := b.pair(t, key)
		csr := request(t, fresh, nil)
		sum := sha256.Sum256(csr)
		proof, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = b.Renew(t.Context(), d.SHA256, csr, proof)
		want(t, err, pairing.ErrTooEarly)
		time.Sleep(time.Until(c.NotAfter) - pairing.RenewFrom + time.Hour)
		_, _, err = b.Renew(t.Context(), sha256.Sum256(nil), csr, proof)
		want(t, err, pairing.ErrProof)
		_, _, err = b.Renew(t.Context(), d.SHA256, request(t, fresh, nil), proof)
		want(t, err, pairing.ErrProof)
		mine, err := ecdsa.SignASN1(rand.Reader, fresh, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = b.Renew(t.Context(), d.SHA256, csr, mine)
		want(t, err, pairing.ErrProof)
		for n := range len(proof) {
			_, _, err = b.Renew(t.Context(), d.SHA256, csr, proof[:n])
			want(t, err, pairing.ErrProof)
		}
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		dotnet := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		renewed, der, err := b.Renew(t.Context(), d.SHA256, csr, dotnet)
		if err != nil {
			t.Fatal(err)
		}
		if renewed.ID != d.ID || !renewed.NotAfter.After(d.NotAfter) {
			t.Errorf("%+v", renewed)
		}
		if allow, _ := b.Hashes(); len(allow) != 2 {
			t.Error(allow)
		}
		nc, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if seen, ok := b.Saw(c, next); !ok || seen.ID != d.ID || seen.Address != next || !seen.LastSeen.Equal(time.Now()) {
			t.Errorf("%+v", seen)
		}
		if allow, _ := b.Hashes(); len(allow) != 2 {
			t.Error("the old one was used, and is let in no more", allow)
		}
		b.Saw(nc, near)
		if allow, _ := b.Hashes(); len(allow) != 1 || allow[0] != sha256.Sum256(der) {
			t.Error(allow)
		}
		if _, ok := b.Saw(b.authority.Certificate(), near); ok {
			t.Error("the authority is no device")
		}
		if err := b.Revoke(t.Context(), d.ID); err != nil {
			t.Fatal(err)
		}
		_, _, err = b.Renew(t.Context(), sha256.Sum256(der), csr, mine)
		want(t, err, pairing.ErrProof)
		time.Sleep(time.Hour)
	})
}

// Whatever devices.json has become: the box starts, nobody is let in by it, and the file is kept aside.
func TestDamagedBook(t *testing.T) {
	b := open(t)
	d, _ := b.pair(t, ecKey(t))
	good, err := os.ReadFile(filepath.Join(b.dir, "devices.json"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := [][]byte{nil, []byte("{}"), []byte("null"), []byte(`{"version":0}`), append(good[:len(good):len(good)], "{}"...)}
	for n := 0; n < len(good)-2; n += 29 {
		damaged = append(damaged, good[:n])
	}
	for i := 0; i < len(good); i += 17 {
		flipped := append([]byte(nil), good...)
		flipped[i] ^= 0x10
		damaged = append(damaged, flipped)
	}
	aside := 0
	for _, data := range damaged {
		if err := os.WriteFile(filepath.Join(b.dir, "devices.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		allow, _ := openIn(t, b.dir).Hashes()
		if len(allow) > 1 || len(allow) == 1 && allow[0] != d.SHA256 {
			t.Fatalf("%s lets in %x", data, allow)
		}
		found, err := filepath.Glob(filepath.Join(b.dir, "devices.json.corrupt-*"))
		if err != nil || len(found) == 0 && len(allow) == 0 {
			t.Fatalf("%s was not set aside: %v", data, err)
		}
		aside += len(found)
		for _, f := range found {
			_ = os.Remove(f)
		}
	}
	if aside < len(damaged)/2 {
		t.Errorf("%d of %d were set aside", aside, len(damaged))
	}
}

// A name is a stranger's text.
func TestDeviceNames(t *testing.T) {
	for given, shown := range map[string]string{
		"LAPTOP":                     "LAPTOP",
		"":                           "device at 192.0.2.7",
		"\x1b[2J\u202eevil\nname\t1": "[2Jevil name 1",
		"\xff\xfe":                   "device at 192.0.2.7",
		strings.Repeat("ä", 1000):    strings.Repeat("ä", 64),
		"  a   b  ":                  "a b",
	} {
		b := open(t)
		if _, err := b.Visit(t.Context(), near, token(t, b.start(t)), given); err != nil {
			t.Fatal(err)
		}
		if a, _ := b.Current().Get(); a.Device != shown {
			t.Errorf("%q is shown as %q, want %q", given, a.Device, shown)
		}
	}
}

func TestLocal(t *testing.T) {
	for addr, local := range map[string]bool{
		"127.0.0.1": true, "::1": true, "fe80::1%eth0": true, "169.254.1.1": true, "::ffff:127.0.0.1": true,
		"8.8.8.8": false, "2001:4860:4860::8888": false, "255.255.255.255": false,
	} {
		if pairing.Local(netip.MustParseAddr(addr)) != local {
			t.Errorf("%s: want %t", addr, local)
		}
	}
	if pairing.Local(netip.Addr{}) {
		t.Error("no address is local")
	}
}

package page

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/cloudsoda/go-smb2"

	"github.com/postern-nas/postern/firmware/pairing"
	"github.com/postern-nas/postern/tools/postern"
)

// owned is a server that was set up before.
func owned(t *testing.T) *postern.Server {
	t.Helper()
	chromium(t)
	disk := t.TempDir()
	srv := postern.Run(t, postern.Config{
		Page: true, Shares: []postern.Share{{Name: "files", Path: disk}}, Users: []postern.User{{Name: olga, Password: olgaPassword}},
	})
	if out, err := srv.Command("user", "own", olga); err != nil {
		t.Fatal(out, err)
	}
	// A running server learns of it at its next look at the users.
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := srv.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return srv
}

func (b *browser) enterAs(path string) {
	b.t.Helper()
	b.visit(path)
	b.heading("Sign in")
	b.fill(map[string]string{"#user": olga, "#password": olgaPassword})
	b.click("form .main")
}

// get evaluates an expression that gives a text.
func (b *browser) get(expression string) string {
	b.t.Helper()
	s, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return s
}

// TestPairing lets a device in and out again as an owner does: code on the one page, the same code on both, a yes, a certificate;
// then the device reads and writes over QUIC; then it is revoked, and cut off within a second.
func TestPairing(t *testing.T) {
	srv := owned(t)
	owner, device := open(t, srv, sizes[0]), open(t, srv, sizes[1])
	owner.enterAs("/devices")
	owner.heading("Devices")
	owner.click("#pair")
	owner.until(`document.querySelector(".pair img")?.complete && document.querySelector(".pair img").naturalWidth > 0`)
	owner.picture("pairing")
	owner.look("Devices, pairing")
	typed := owner.get(`document.querySelector(".pair .code").textContent`)

	device.visit("/pair")
	device.heading("Pair this device")
	device.fill(map[string]string{"#code": "9999 9999", "#device": "Annas PC"})
	device.click("form .main")
	device.said("not the code")
	device.fill(map[string]string{"#code": typed, "#device": "Annas PC"})
	device.picture("asks")
	device.click("form .main")
	device.until(`document.body.innerText.includes("The owner knows that you are here")`)
	device.look("Pair this device, with the script")
	device.picture("prepares")
	if got := device.get(`fetch("/pair/postern-pair.cmd").then(r => r.text())`); len(got) < 1000 {
		t.Errorf("the script for Windows: %.200q", got)
	}
	owner.until(`document.querySelector("#live").innerText.includes("certutil -hashfile postern-pair.cmd SHA256")`) // by itself
	owner.look("Devices, preparing")
	key, code := device.agree(srv.CA)
	device.until(`document.body.innerText.includes("The program's own window shows six digits")`) // by itself
	device.look("Pair this device, comparing")
	device.picture("compares")
	owner.until(`document.querySelector("#accept")`)
	owner.look("Devices, asking")
	owner.picture("asked")
	if shown := owner.get(`document.querySelector("#live .big.code").textContent`); shown != code {
		t.Errorf("the device shows %q and the owner's page %q", code, shown)
	}
	if shown := device.get(`document.body.innerText`); strings.Contains(shown, code) {
		t.Errorf("a page in the browser of the device shows the code, and could be anybody's:\n%s", shown)
	}
	owner.click("#accept")
	owner.said("Accepted")
	device.until(`document.body.innerText.includes("You are let in")`) // by itself
	device.look("Pair this device, accepted")
	device.picture("accepted")

	cert := device.enrol(key)
	device.until(`document.body.innerText.includes("This device is paired")`)
	device.picture("paired")
	owner.until(`document.querySelector("#live").innerText.includes("Annas PC")`)
	owner.picture("paired")
	owner.look("Devices, paired")

	mount := func() (*smb2.Session, *smb2.Share, error) {
		c, err := srv.DialQUICAs(t.Context(), cert)
		if err != nil {
			return nil, nil, err
		}
		t.Cleanup(func() { c.Close() })
		s, err := (&smb2.Dialer{Initiator: &smb2.NTLMInitiator{User: olga, Password: olgaPassword}}).DialConn(t.Context(), c, srv.Name)
		if err != nil {
			return nil, nil, err
		}
		sh, err := s.Mount("files")
		return s, sh, err
	}
	_, share, err := mount()
	if err != nil {
		t.Fatalf("the paired device: %v", err)
	}
	if err := share.WriteFile("from the device", []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	owner.until(`!document.querySelector("#live").innerText.includes("never")`) // when it was last seen

	owner.click(`#live form[action="/devices/revoke"] button`)
	owner.said("cut off")
	begun := time.Now()
	for {
		if _, err := share.ReadFile("from the device"); err != nil {
			break
		}
		if time.Since(begun) > time.Second {
			t.Fatal("a second after it was revoked the device still reads")
		}
	}
	if _, _, err := mount(); err == nil {
		t.Error("a revoked device is let in again")
	}
	owner.until(`!document.querySelector("#live").innerText.includes("Annas PC")`)

	owner.visit("/activity")
	owner.heading("Activity")
	owner.until(`document.body.innerText.includes("Annas PC") && document.body.innerText.includes("revoked")`)
	owner.picture("activity")
	owner.visit("/activity?q=paired")
	owner.until(`!document.body.innerText.includes("owner-signed-in")`)
	owner.well()
	device.well()
}

// agree does what the script does on the wire, with the authority in a file: a request for a key that stays on the PC, and the code that it shows.
func (b *browser) agree(caFile string) (key *ecdsa.PrivateKey, code string) {
	t := b.t
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "ANNA"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	authority, _ := pem.Decode(ca)
	csr := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	var own pairing.Nonce
	rand.Read(own[:])
	send := func(what, body, header string, value [32]byte) string {
		return b.get(fmt.Sprintf(`fetch("/pair/%s", {method: "POST", body: %s, headers: {%q: %q}}).then(r => r.text())`,
			what, body, header, base64.StdEncoding.EncodeToString(value[:])))
	}
	body, err := json.Marshal(string(csr))
	if err != nil {
		t.Fatal(err)
	}
	answer := send("request", string(body), pairing.HeaderCommitment, pairing.Commit(authority.Bytes, csr, own))
	theirs, err := base64.StdEncoding.DecodeString(answer)
	if err != nil || len(theirs) != 32 {
		t.Fatalf("no nonce: %q", answer)
	}
	if answer := send("open", `""`, pairing.HeaderNonce, own); answer != "" {
		t.Fatalf("it is not opened: %q", answer)
	}
	return key, pairing.Confirm(authority.Bytes, csr, own, pairing.Nonce(theirs))
}

// enrol fetches the certificate.
func (b *browser) enrol(key *ecdsa.PrivateKey) *tls.Certificate {
	b.t.Helper()
	answer := b.get(`fetch("/pair/enrol", {method: "POST"}).then(r => r.text())`)
	block, _ := pem.Decode([]byte(answer))
	if block == nil {
		b.t.Fatalf("no certificate: %q", answer)
	}
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
}

// TestRenewing changes the certificate while a file is open: by the box's own authority, and by another one.
func TestRenewing(t *testing.T) {
	srv := owned(t)
	b := open(t, srv, sizes[0])
	b.enterAs("/certificates")
	b.heading("Certificates")
	b.picture("certificates")
	was := b.get(`document.querySelector(".print").textContent`)

	c, err := srv.DialQUIC(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := (&smb2.Dialer{Initiator: &smb2.NTLMInitiator{User: olga, Password: olgaPassword}}).DialConn(t.Context(), c, srv.Name)
	if err != nil {
		t.Fatal(err)
	}
	share, err := s.Mount("files")
	if err != nil {
		t.Fatal(err)
	}
	f, err := share.Create("open")
	if err != nil {
		t.Fatal(err)
	}
	// The browser is to take the new one as well: it knows the authority, not the certificate.
	b.click(`form[action="/certificates/renew"] button`)
	b.said("There is a new certificate")
	if now := b.get(`document.querySelector(".print").textContent`); now == was {
		t.Error("the certificate is the same")
	}
	if _, err := f.Write([]byte("still open")); err != nil {
		t.Errorf("an open file over the renewal: %v", err)
	}

	// Another authority signs a request that the box made.
	request := b.get(`fetch("/certificates/request", {method: "POST", body: new URLSearchParams({token: document.querySelector("[name=token]").value})}).then(r => r.text())`)
	block, _ := pem.Decode([]byte(request))
	if block == nil {
		t.Fatalf("no request: %.100q", request)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil || !slices.Contains(csr.DNSNames, srv.Name) {
		t.Fatalf("request for %v: %v", csr.DNSNames, err)
	}
	chain := filepath.Join(t.TempDir(), "chain.pem")
	if err := os.WriteFile(chain, sign(t, csr), 0o600); err != nil {
		t.Fatal(err)
	}
	b.do("choose the file", chromedp.SetUploadFiles(chromedp.CSS("#chain"), []string{chain}))
	b.click(`form[action="/certificates/install"] .main`)
	b.said("The certificate is in use")
	if got := b.get(`document.querySelector("main").innerText`); !strings.Contains(got, "Another authority") {
		t.Errorf("the page says\n%s", got)
	}
	b.picture("another-authority")
	b.look("Certificates")
	if _, err := f.Write([]byte(", still open")); err != nil {
		t.Errorf("an open file over another certificate: %v", err)
	}
	b.click(`form[action="/certificates/own"] button`)
	b.said("own certificate is in use")

	// Everybody may have the authority's own.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // it is what is fetched
	resp, err := client.Get("https://" + srv.Page + "/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, _ := io.ReadAll(resp.Body)
	if want, _ := os.ReadFile(srv.CA); string(got) != string(want) {
		t.Errorf("the authority's certificate: %.80q", got)
	}
	b.well()
}

// sign is another authority.
func sign(t *testing.T, csr *x509.CertificateRequest) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial := func(n int64) *x509.Certificate {
		c := &x509.Certificate{NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour), BasicConstraintsValid: true}
		c.SerialNumber = big.NewInt(n)
		return c
	}
	root := serial(1)
	root.Subject, root.IsCA, root.KeyUsage = pkix.Name{CommonName: "Another authority"}, true, x509.KeyUsageCertSign
	leaf := serial(2)
	leaf.Subject, leaf.DNSNames, leaf.KeyUsage, leaf.ExtKeyUsage = csr.Subject, csr.DNSNames, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, csr.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, der := range [][]byte{leafDER, rootDER} {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// TestBackup saves a backup in the browser, makes another user, and brings the box back as it was before.
func TestBackup(t *testing.T) {
	srv := owned(t)
	b := open(t, srv, sizes[0])
	b.enterAs("/system")
	b.heading("System")
	if got := b.post("/system/backup", `f.set("password", "of the backup"); f.set("again", "wrong");`); !strings.Contains(got, "not your password") {
		t.Errorf("without the owner's password: %.200q", got)
	}
	saved := b.saveBackup()
	b.visit("/users")
	b.heading("Users")
	b.fill(map[string]string{"#new-name": bob, "#new-password": bobPassword})
	b.click(`form[action="/users/add"] .main`)
	b.said("bob may sign in now")
	b.visit("/system")
	b.heading("System")
	restore := func(password string) string {
		return b.post("/system/restore", fmt.Sprintf(`f.set("password", %q); f.set("again", %q);
			f.set("file", new File([Uint8Array.from(atob(%q), c => c.charCodeAt(0))], "x.backup"));`, password, olgaPassword, saved))
	}
	if got := restore("not of the backup"); !strings.Contains(got, "not the password of the backup") {
		t.Errorf("with another password: %.300q", got)
	}
	if got := restore("of the backup"); !strings.Contains(got, "/restarting") {
		t.Fatalf("restoring: %.300q", got)
	}
	b.visit("/restarting")
	b.heading("Sign in")
	b.enterAs("/users")
	b.heading("Users")
	if got := b.get(`document.querySelector("main").innerText`); strings.Contains(got, bob) {
		t.Errorf("after the backup was restored there is still bob:\n%s", got)
	}
	if _, err := shares(t, srv, olga, olgaPassword); err != nil {
		t.Errorf("the owner over SMB: %v", err)
	}
	b.well()
}

package page

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/postern-nas/postern/tools/postern"
)

// A paired computer, as `postern pair --with` remembers it.
type paired struct{ certificate, key string } // PEM

// pairHere pairs this computer with the box, by the command line here and a browser there.
func pairHere(t *testing.T, owner *browser, name string) paired {
	t.Helper()
	srv := owner.srv
	config := t.TempDir()
	owner.visit("/devices")
	owner.click("#pair")
	owner.until(`document.querySelector(".pair .code")`)
	code := owner.get(`document.querySelector(".pair .code").textContent`)
	text, err := os.ReadFile(srv.CA)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cmd := exec.Command(srv.Binary(), "pair", "--with", "https://"+srv.Page, code, "-name", name, "-fingerprint", fmt.Sprintf("%x", sha256.Sum256(block.Bytes)))
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+config)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	owner.until(`document.querySelector("#accept")`)
	confirm := owner.get(`document.querySelector("#live .big.code").textContent`)
	owner.click("#accept")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("pair --with: %v\n%s", err, out.String())
	}
	if !bytes.Contains(out.Bytes(), []byte(confirm)) {
		t.Errorf("the owner's page shows %q, the command\n%s", confirm, out.String())
	}
	book, err := os.ReadFile(filepath.Join(config, "postern", "boxes.json"))
	if err != nil {
		t.Fatal(err)
	}
	var known struct {
		Boxes []struct{ Certificate, Key string }
	}
	if err := json.Unmarshal(book, &known); err != nil || len(known.Boxes) != 1 {
		t.Fatal(err, string(book))
	}
	return paired{known.Boxes[0].Certificate, known.Boxes[0].Key}
}

// holding are options of a browser that has the computer's certificate in its store, and shows it to the box without asking.
// Only the machine's administrator can have it not ask, by a policy in /etc; the browser sees one there that nobody else does.
func (p paired) holding(t *testing.T, srv *postern.Server) []chromedp.ExecAllocatorOption {
	t.Helper()
	for _, tool := range []string{"certutil", "pk12util", "openssl", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("CI") == "true" {
			t.Fatalf("no %s: apt install libnss3-tools openssl util-linux", tool)
		} else if err != nil {
			t.Skipf("no %s: apt install libnss3-tools openssl util-linux", tool)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("a browser's policy can be set by root only")
	}
	home := t.TempDir()
	store := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(store, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(home, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	own := write("own.pem", p.certificate+p.key, 0o600)
	for _, words := range [][]string{
		{"openssl", "pkcs12", "-export", "-in", own, "-out", own + ".p12", "-name", "laptop", "-passout", "pass:x"},
		{"certutil", "-d", "sql:" + store, "-N", "--empty-password"},
		{"pk12util", "-d", "sql:" + store, "-i", own + ".p12", "-W", "x"},
	} {
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", words, err, out)
		}
	}
	rule, err := json.Marshal(map[string]any{"pattern": "https://" + srv.Page, "filter": struct{}{}})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := json.Marshal(map[string]any{"AutoSelectCertificateForUrls": []string{string(rule)}})
	if err != nil {
		t.Fatal(err)
	}
	set := write("policy.json", string(policy), 0o644)
	start := write("chromium", fmt.Sprintf(`#!/bin/sh
exec unshare -m sh -c 'mount -t tmpfs none /etc/chromium && mkdir -p /etc/chromium/policies/managed && cp "$0" /etc/chromium/policies/managed/ && exec "$@"' %q %q "$@"
`, set, chromium(t)), 0o755)
	return []chromedp.ExecAllocatorOption{chromedp.ExecPath(start), chromedp.Env("HOME=" + home)}
}

// TestSignInByCertificate pairs a computer by the command line, has its owner let it administer the box, and signs in there
// with the certificate that the computer's browser shows; and nowhere before or after.
func TestSignInByCertificate(t *testing.T) {
	srv := owned(t)
	owner := open(t, srv, sizes[0])
	owner.enterAs("/devices")
	owner.heading("Devices")
	p := pairHere(t, owner, "laptop")
	if block, _ := pem.Decode([]byte(p.certificate)); block == nil {
		t.Fatal("no certificate")
	} else if c, err := x509.ParseCertificate(block.Bytes); err != nil || c.Subject.CommonName != "laptop" {
		t.Fatal(c, err)
	}
	laptop := open(t, srv, sizes[1], p.holding(t, srv)...)
	laptop.visit("/signin")
	laptop.heading("Sign in")
	if got := laptop.get(`String(document.querySelector("#certificate"))`); got != "null" {
		t.Error("a device that was only paired is offered to sign in")
	}

	owner.visit("/devices")
	owner.touch(`//details[descendant::select[@id="promote"]]/summary`)
	owner.fill(map[string]string{"#again": olgaPassword})
	owner.picture("promote")
	owner.look("Devices, to administer")
	owner.click(`form[action="/devices/administer"] .main`)
	owner.said("administers the box for you")

	laptop.visit("/signin")
	laptop.heading("Sign in")
	laptop.picture("by-certificate")
	laptop.click("#certificate")
	laptop.heading("Overview")
	laptop.picture("signed-in")
	laptop.visit("/users")
	laptop.heading("Users")
	if got := laptop.get(`fetch("/api/status").then(r => String(r.status))`); got != "200" {
		t.Error("the status:", got)
	}

	owner.visit("/activity")
	owner.heading("Activity")
	owner.until(`document.body.innerText.includes("device-promoted") && /owner-signed-in[^]*laptop/.test(document.body.innerText)`)
	owner.visit("/devices")
	owner.click(`[id^="demote-"]`)
	owner.said("administers the box no more")
	laptop.visit("/users")
	laptop.heading("Sign in")
	if got := laptop.get(`String(document.querySelector("#certificate"))`); got != "null" {
		t.Error("it is offered when it was taken back")
	}
	owner.well()
	laptop.well()
}

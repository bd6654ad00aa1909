package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"rsc.io/qr"

	"github.com/postern-nas/postern/firmware/pairing"
)

// pair leads through a pairing at the terminal.
func (r *remote) pair(words []string) error {
	user := strings.Join(words, "")
	var a *pairing.Attempt
	if err := r.ask(r.ctx, "/pair/start", ask{User: user}, &a); err != nil {
		return err
	}
	id := a.ID
	say := func(format string, args ...any) {
		if !r.json {
			fmt.Fprintf(r.out, format, args...)
		}
	}
	tell := func(a *pairing.Attempt) { // with -json: the attempt, a line for each change
		if r.json {
			_ = json.NewEncoder(r.out).Encode(a)
		}
	}
	tell(a)
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), 5*time.Second)
		defer cancel()
		var nothing struct{}
		_ = r.ask(ctx, "/pair/stop", ask{ID: id}, &nothing) // it may be over already
	}()
	if a.URL != "" && !r.json {
		if code, err := qr.Encode(a.URL, qr.L); err == nil {
			drawQR(r.out, code)
		}
	}
	say("On the PC, in the same network, open\n\n  %s\n\nand type  %s\n\nWaiting until %s. Ctrl-C stops.\n", a.Page, a.Typed, a.Until.Local().Format("15:04"))
	met, asked, script := false, false, ""
	for {
		var now *pairing.Attempt
		if err := r.ask(r.ctx, "/pair/look", ask{}, &now); err != nil {
			return err
		}
		if now == nil || now.ID != id {
			return errors.New("the pairing was stopped")
		}
		if now.Script != script {
			script = now.Script
			say("It has the script for Windows. Whoever does not trust this network compares, before the file is opened there:\n"+
				"certutil -hashfile postern-pair.cmd SHA256 begins with %s\n", script)
		}
		switch now.Phase {
		case pairing.Preparing:
			if met {
				break
			}
			met = true
			tell(now)
			say("\n%s at %s has come, and makes its key.\n", plain(now.Device), now.Address)
		case pairing.Asking:
			if asked {
				break
			}
			asked = true
			tell(now)
			say("\n%s at %s asks. Its own window, not a page in its browser, has to show this code:\n\n  %s\n\nLet it in? Type yes or no: ", plain(now.Device), now.Address, now.Confirm)
			yes, err := r.yesOrNo()
			if err != nil {
				return err
			}
			var nothing struct{}
			if err := r.ask(r.ctx, "/pair/answer", ask{ID: id, Accept: yes}, &nothing); err != nil {
				return err
			}
			continue
		case pairing.Paired:
			tell(now)
			say("%s is paired.\n", plain(now.Device))
			return nil
		case pairing.Refused:
			tell(now)
			return errors.New("not paired: " + now.Reason)
		}
		select {
		case <-r.ctx.Done():
			return errors.New("stopped")
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// drawQR draws a code with half blocks, two rows a line, dark on light whatever the terminal's colours are.
func drawQR(w io.Writer, code *qr.Code) {
	const quiet = 2
	for y := -quiet; y < code.Size+quiet; y += 2 {
		var b strings.Builder
		b.WriteString("\x1b[30;107m")
		for x := -quiet; x < code.Size+quiet; x++ {
			b.WriteString(map[[2]bool]string{
				{false, false}: " ", {true, false}: "▀", {false, true}: "▄", {true, true}: "█",
			}[[2]bool{code.Black(x, y), code.Black(x, y+1)}])
		}
		fmt.Fprintln(w, b.String()+"\x1b[0m")
	}
}

// An enrolment is this computer on its way to a certificate.
type enrolment struct {
	r      *remote
	base   string            // of the box's page
	ca     []byte            // PEM: what its page shows a certificate of
	own    *x509.Certificate // the box's own authority, which signs ours
	client *http.Client
}

// pairWith pairs this computer with a box: the steps of the script for Windows. The box proves itself before it is told
// the code.
func (r *remote) pairWith(words []string) error {
	base, code, err := pairTarget(words)
	if err != nil {
		return err
	}
	e := &enrolment{r: r, base: base}
	if err := e.trust(); err != nil {
		return err
	}
	name := r.name
	if name == "" {
		name, _ = os.Hostname()
	}
	var ticket struct{ Secret string }
	body, err := json.Marshal(map[string]string{"code": code, "device": name})
	if err != nil {
		return err
	}
	answer, err := e.post("/pair/visit", "application/json", body, nil)
	if err == nil {
		err = json.Unmarshal(answer, &ticket)
	}
	if err != nil {
		return err
	}
	known, leaf, err := e.enrol(ticket.Secret, name)
	if err != nil {
		return err
	}
	if err := changeBoxes(func(b *boxBook) error { return b.remember(known) }); err != nil {
		return err
	}
	if r.json {
		return json.NewEncoder(r.out).Encode(map[string]any{
			"box": known.URL, "device": known.Device, "sha256": fmt.Sprintf("%X", sha256.Sum256(leaf.Raw)), "until": leaf.NotAfter,
		})
	}
	fmt.Fprintf(r.out, "This computer is paired with %s as %s, until %s.\nIt may not administer the box yet: an owner allows it on the page, under Devices, or there with\n\n"+
		"  postern device promote %s\n\nThen: postern -box %s status\n", known.URL, plain(known.Device), leaf.NotAfter.Format(time.DateOnly), plain(known.Device),
		strings.TrimPrefix(known.URL, "https://"))
	return nil
}

// pairTarget takes apart what people have: the address that a QR code leads to, with the token in it, or the page's and
// the code.
func pairTarget(words []string) (base, code string, err error) {
	text := words[0]
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", "", errUsage(fmt.Sprintf("%q is no address", words[0]))
	}
	if base, err = boxURL("https://" + u.Host); err != nil || u.Scheme != "https" {
		return "", "", errUsage(fmt.Sprintf("%q is no address of a box", words[0]))
	}
	token, has := strings.CutPrefix(u.Path, "/p/")
	switch {
	case len(words) == 2:
		return base, words[1], nil
	case has && token != "":
		return base, token, nil
	}
	return "", "", errUsage("the code is missing that the box shows")
}

// trust finds out whom to believe that it is the box: by a file, by a fingerprint, or by asking the person.
func (e *enrolment) trust() error {
	stranger := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true, TLSHandshakeTimeout: boxDialTime,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}, //nolint:gosec // what comes is judged below
	}}
	resp, err := stranger.Get(e.base + "/pair/ca.cer")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	der, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil {
		e.own, err = x509.ParseCertificate(der)
	}
	if err != nil {
		return fmt.Errorf("%s has no authority that could be pinned: %w", e.base, err)
	}
	if e.ca, err = e.r.authority(e.own); err != nil {
		return err
	}
	e.client, err = pinned(e.base, e.ca, nil)
	return err
}

// authority is what is believed of a box that offers an authority of its own: PEM.
func (r *remote) authority(own *x509.Certificate) ([]byte, error) {
	if r.ca != "" {
		return readPEM(r.ca, r.in)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Raw})
	sum := sha256.Sum256(own.Raw)
	if r.fingerprint != "" {
		want, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(r.fingerprint))
		switch {
		case err != nil || len(want) != len(sum):
			return nil, errUsage(fmt.Sprintf("-fingerprint %q is no SHA-256: 64 hexadecimal digits", r.fingerprint))
		case !bytes.Equal(want, sum[:]):
			return nil, fmt.Errorf("this is another authority than that of -fingerprint: %X", sum)
		}
		return text, nil
	}
	if r.json {
		return nil, errUsage("-json asks nobody: -ca or -fingerprint says whom to trust")
	}
	fmt.Fprintf(r.out, "The box says that its authority is\n\n  %s\n\nIts page shows that under Certificates, and postern cert show. Is it the same? Type yes or no: ", groups(sum[:]))
	same, err := r.yesOrNo()
	if err != nil {
		return nil, fmt.Errorf("nobody has said that it is the same, and -fingerprint says it as well: %w", err)
	}
	if !same {
		return nil, errors.New("another box answers there, or somebody is in between: nothing was sent")
	}
	return text, nil
}

// yesOrNo reads a line, once, unless Ctrl-C comes first.
func (r *remote) yesOrNo() (yes bool, err error) {
	type answer struct {
		word string
		err  error
	}
	typed := make(chan answer, 1)
	go func() {
		word, err := bufio.NewReader(r.in).ReadString('\n')
		typed <- answer{word, err}
	}()
	select {
	case <-r.ctx.Done():
		return false, errors.New("stopped")
	case a := <-typed:
		if a.err != nil && a.word == "" {
			return false, a.err
		}
		return strings.EqualFold(strings.TrimSpace(a.word), "yes"), nil
	}
}

// groups writes a fingerprint so that people can compare it.
func groups(sum []byte) string {
	var b strings.Builder
	for i, c := range sum {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%02X", c)
	}
	return b.String()
}

// post sends a body and returns the answer's.
func (e *enrolment) post(path, kind string, body []byte, header map[string]string) ([]byte, error) {
	req, err := http.NewRequestWithContext(e.r.ctx, http.MethodPost, e.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", kind)
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return nil, line{box: &knownBox{URL: e.base}}.explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return nil, refusal(resp)
	}
	return io.ReadAll(io.LimitReader(resp.Body, 64<<10))
}

// enrol makes a key and has the box sign it, as soon as its owner has said yes.
func (e *enrolment) enrol(secret, name string) (k knownBox, leaf *x509.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return k, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return k, nil, err
	}
	code, err := e.agree(secret, name, csr)
	if err != nil {
		return k, nil, err
	}
	if e.r.json {
		_ = json.NewEncoder(e.r.out).Encode(map[string]string{"confirm": code})
	} else {
		fmt.Fprintf(e.r.out, "The box has to show this code; say yes there if it does:\n\n  %s\n\n", code)
	}
	answer, err := e.post("/pair/enrol", "application/octet-stream", nil, map[string]string{"Authorization": "Bearer " + secret})
	if err != nil {
		return k, nil, err
	}
	block, _ := pem.Decode(answer)
	if block == nil {
		return k, nil, errors.New("the box has sent no certificate")
	}
	if leaf, err = x509.ParseCertificate(block.Bytes); err != nil {
		return k, nil, err
	}
	if !key.PublicKey.Equal(leaf.PublicKey) || leaf.CheckSignatureFrom(e.own) != nil {
		return k, nil, errors.New("the box has sent a certificate for another key, or of another authority")
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return k, nil, err
	}
	return knownBox{
		URL: e.base, Device: leaf.Subject.CommonName, CA: string(e.ca),
		Certificate: string(pem.EncodeToMemory(block)), Key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}, leaf, nil
}

// agree brings the request, and returns the code that this computer has made of what it trusts and has sent.
func (e *enrolment) agree(secret, name string, csr []byte) (code string, err error) {
	var own, box pairing.Nonce
	rand.Read(own[:])
	base := base64.StdEncoding
	settled := pairing.Commit(e.own.Raw, csr, own)
	answer, err := e.post("/pair/request", "application/pkcs10", csr, map[string]string{
		"Authorization": "Bearer " + secret, pairing.HeaderDevice: url.PathEscape(name), pairing.HeaderCommitment: base.EncodeToString(settled[:]),
	})
	if err != nil {
		return "", err
	}
	nonce, err := base.DecodeString(string(answer))
	if err != nil || len(nonce) != len(box) {
		return "", errors.New("the box has not answered as a box of this version does")
	}
	copy(box[:], nonce)
	_, err = e.post("/pair/open", "application/octet-stream", nil, map[string]string{
		"Authorization": "Bearer " + secret, pairing.HeaderNonce: base.EncodeToString(own[:]),
	})
	return pairing.Confirm(e.own.Raw, csr, own, box), err
}

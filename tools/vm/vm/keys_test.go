package vm

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	smb2 "github.com/cloudsoda/go-smb2"
	"github.com/quic-go/quic-go"
)

// TestSEC54Keys: the disk with another system on it, and with its own but another TPM, does not get the keys: the box says
// so, serves nobody, and still turns off. Its page lets the local network in, and takes the owner's code: then it is the same
// server as before, in that very boot and with that TPM from then on.
func TestSEC54Keys(t *testing.T) {
	needsVM(t)
	t.Parallel()
	built := image(t)
	m := machine(t, built, "")
	m.HTTPS = freeTCP(t)
	before := start(t, m, built)
	code, err := m.Wait(over(), `^ {4}([A-Z2-7]{4}(?:-[A-Z2-7]{4}){7})$`)
	if err != nil {
		t.Fatal(err)
	}
	off(t, m)

	ctx, cancel := context.WithTimeout(t.Context(), 3*boot)
	defer cancel()
	refused := func(trouble string) {
		t.Helper()
		if err := m.Start(t.Output()); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Wait(ctx, "keys are shut, and nothing is served.*trouble="+trouble); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		c, err := quic.DialAddr(short, m.QUIC, &tls.Config{InsecureSkipVerify: true, ServerName: "postern.local", NextProtos: []string{"smb"}}, nil)
		if err == nil {
			_ = c.CloseWithError(0, "")
			t.Errorf("%s: it serves somebody else's certificate", trouble)
		}
	}
	// Not off: that the keys are shut is an error in the log.
	turnOff := func() {
		t.Helper()
		if err := m.PowerButton(ctx); err != nil {
			t.Fatal(err)
		}
	}

	// The os-release text is measured; nothing else looks at it.
	const ours, theirs = `NAME=Postern`, `NAME=Pastern`
	rename := func(from, to string) {
		t.Helper()
		disk, err := os.ReadFile(m.Disk)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(disk, []byte(from+"\nID=postern"))
		if at < 0 {
			t.Fatalf("%q is not on the disk", from)
		}
		f, err := os.OpenFile(m.Disk, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte(to), int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	rename(ours, theirs)
	refused("measured")
	turnOff()
	rename(theirs, ours)

	if err := m.NewTPM(); err != nil {
		t.Fatal(err)
	}
	refused("other-tpm")
	typeCode(t, ctx, m, code[1])
	recovered := served{password: hear(t, m, boot, passwordLine), authority: hear(t, m, boot, authorityLine)}
	if recovered != before {
		t.Errorf("another server: %+v, before %+v", recovered, before)
	}
	recovered.share(t, m, func(share *smb2.Share) { list(t, share) })
	turnOff()

	if after := start(t, m, built); after != before {
		t.Errorf("another server: %+v, before %+v", after, before)
	} else {
		after.share(t, m, func(share *smb2.Share) { list(t, share) })
	}
	off(t, m)
}

// typeCode types the recovery code into the page of a box whose keys are shut, as a browser of the local network does.
func typeCode(t *testing.T, ctx context.Context, m *Machine, code string) {
	t.Helper()
	hear(t, m, boot, "msg=firewall local=.*10.0.2.0/24")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	ask := func(method, body string, status int, text string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, "https://"+m.HTTPS+"/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rsp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer rsp.Body.Close()
		if got, err := io.ReadAll(rsp.Body); err != nil || rsp.StatusCode != status || !strings.Contains(string(got), text) {
			t.Fatalf("%s: %s (%v)\n%s", method, rsp.Status, err, got)
		}
	}
	ask(http.MethodGet, "", http.StatusServiceUnavailable, "This is not the TPM")
	ask(http.MethodPost, url.Values{"code": {code}}.Encode(), http.StatusOK, "The keys are open")
}

// freeTCP is an address of this host that nobody has now.
func freeTCP(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/quic/quictest"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// A ruledBox is a server with two names whose rules are changed while clients are connected.
type ruledBox struct {
	*remoteBox
	roots *x509.CertPool
}

func startRuled(t *testing.T) *ruledBox {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, config.FileName), []byte("version = 1\nname = \"nas.test\"\n[access]\n[[share]]\nname = \"disk\"\npath = \"disk\"\n"))
	if err := os.Mkdir(filepath.Join(dir, "disk"), 0o700); err != nil {
		t.Fatal(err)
	}
	b := &ruledBox{startPaged(t, dir, nil), x509.NewCertPool()}
	b.here("correct horse\n", "user", "add", "alice")
	text, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	b.roots.AppendCertsFromPEM(text)
	return b
}

// dial is a client that has logged on and connected to IPC$; nil if it is not let in.
func (b *ruledBox) dial(name string, cert *tls.Certificate) (*smbtest.Peer, net.Conn) {
	b.t.Helper()
	c, err := dialQUIC(b.t.Context(), b.t, b.address("quic"), name, b.roots, cert)
	if err != nil {
		return nil, nil
	}
	// A client without a certificate learns only after its handshake that it is refused: RFC 8446 section 4.4.2.4.
	select {
	case <-c.(streamConn).conn.Context().Done():
		return nil, nil
	case <-time.After(300 * time.Millisecond):
	}
	p := smbtest.New(b.t, c)
	p.Negotiate(wire.Dialect311)
	if s := p.Logon("alice", "correct horse", 0); s != nt.Success {
		b.t.Fatal(s)
	}
	p.Tree("IPC$")
	return p, c
}

// cut waits until a connection has been ended by the server.
func (b *ruledBox) cut(what string, c net.Conn) {
	b.t.Helper()
	select {
	case <-c.(streamConn).conn.Context().Done():
	case <-time.After(5 * time.Second):
		b.t.Errorf("%s: the connection stands", what)
	}
}

// byHand changes postern.toml as with an editor, and has it read.
func (b *ruledBox) byHand(old, now string) {
	b.t.Helper()
	path := filepath.Join(b.dir, config.FileName)
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), old) {
		b.t.Fatalf("no %q in %s (%v)", old, text, err)
	}
	write(b.t, path, []byte(strings.Replace(string(text), old, now, 1)))
	b.hangups <- nil
	b.hangups <- nil // has been taken when the first has been dealt with
}

func srvsvc(p *smbtest.Peer) (wire.FileID, nt.Status) {
	var resp wire.CreateResponse
	s := p.Do(wire.CmdCreate, smbtest.OpenAs("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0), &resp)
	return resp.FileID, s
}

// What is asked of a server name, and what it offers, holds at once for those who are connected: by a command, and by hand
// with a hangup.
func TestRulesOfOpenConnections(t *testing.T) {
	b := startRuled(t)
	p, c := b.dial("nas.test", nil)
	if _, s := srvsvc(p); s != nt.AccessDenied {
		t.Errorf("a pipe without a certificate: %v", s)
	}
	b.here("", "access", "set", "-named-pipes", "all")
	pipe, s := srvsvc(p)
	if s != nt.Success {
		t.Errorf("a pipe once they are for all: %v", s)
	}
	b.byHand(`named_pipes = "all"`, `named_pipes = "none"`)
	if _, s := srvsvc(p); s != nt.AccessDenied {
		t.Errorf("a pipe once there are none: %v", s)
	}
	if s := p.Do(wire.CmdWrite, &wire.WriteRequest{FileID: pipe, Data: []byte("x")}, nil); s != nt.AccessDenied {
		t.Errorf("a pipe that was open: %v", s)
	}

	// What is wrong changes nothing.
	b.byHand(`named_pipes = "none"`, `named_pipes = "perhaps"`)
	b.byHand(`named_pipes = "perhaps"`, `named_pipes = "none"
authorities = ["missing.pem"]`)
	if logs := b.logs.String(); !strings.Contains(logs, "postern.toml:4: access.named_pipes") || !strings.Contains(logs, "missing.pem") {
		t.Error("not a word of what is wrong: " + logs)
	}
	b.byHand("\nauthorities = [\"missing.pem\"]", "")
	if s, out := p.Tree("disk"), b.here("", "access", "rules"); s != nt.Success || !strings.Contains(out, "none") {
		t.Error("the rules are others: ", s, out)
	}

	// A name of its own.
	other, _ := b.dial("localhost", nil) // a name of every demonstration
	b.here("", "access", "set", "NAS.test", "-client-certificate", "always", "-named-pipes=all")
	b.cut("a certificate is required", c)
	if p, _ := b.dial("nas.test", nil); p != nil {
		t.Error("a client without a certificate gets in")
	}
	if s := other.Tree("disk"); s != nt.Success {
		t.Errorf("who came by the other name: %v", s)
	}
	var rules []ruleRow
	if err := json.Unmarshal([]byte(b.here("", "access", "rules", "-json")), &rules); err != nil || len(rules) != 2 ||
		rules[1].String() != "nas.test: client_certificate = always, any_trusted = false, named_pipes = all" {
		t.Errorf("%+v %v", rules, err)
	}
	if _, errs, code := run(t, "", "-state", b.dir, "access", "set", "else.test", "-named-pipes", "all"); code != exitFailed || !strings.Contains(errs, "nas.test") {
		t.Error(code, errs)
	}
	if _, errs, code := run(t, "", "-state", b.dir, "access", "set", "nas.test", "-named-pipes", "x"); code != exitFailed || !strings.Contains(errs, "named_pipes") {
		t.Error(code, errs)
	}
	b.authorities()
	b.inAudit()
}

// authorities are trusted, and not any more.
func (b *ruledBox) authorities() {
	b.t.Helper()
	company := quictest.NewCA("company")
	write(b.t, filepath.Join(b.dir, "company.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: company.Cert.Raw}))
	cert := company.Client("desk")
	if p, _ := b.dial("nas.test", &cert); p != nil {
		b.t.Error("a stranger's authority is trusted")
	}
	b.byHand("[access]\n", "[access]\nauthorities = [\"company.pem\"]\nany_trusted = true\n")
	p, c := b.dial("nas.test", &cert)
	if p == nil {
		b.t.Fatal("the authority is not trusted")
	}
	if _, s := srvsvc(p); s != nt.Success {
		b.t.Errorf("a pipe: %v", s)
	}
	b.byHand("authorities = [\"company.pem\"]\n", "")
	b.cut("its authority is not trusted any more", c)
}

// inAudit says whether the changes stand in the log, with who made them.
func (b *ruledBox) inAudit() {
	b.t.Helper()
	var events []audit.Event
	if err := json.Unmarshal([]byte(b.here("", "audit", "-json", "-event", "access-changed")), &events); err != nil {
		b.t.Fatal(err)
	}
	var told []string
	for _, e := range events {
		told = append(told, e.By+" "+e.Text)
	}
	all := strings.Join(told, "\n")
	for _, want := range []string{
		`(?m)^command \*: client_certificate = paired, any_trusted = false, named_pipes = all$`,
		`(?m)^postern.toml \*: client_certificate = paired, any_trusted = false, named_pipes = none$`,
		`(?m)^command nas.test: client_certificate = always, any_trusted = false, named_pipes = all$`,
		`(?m)^postern.toml .*any_trusted = true.*authorities = \[".*/company.pem"\]$`,
	} {
		if !regexp.MustCompile(want).MatchString(all) {
			b.t.Errorf("no %s in\n%s", want, all)
		}
	}
}

// Without a server the file is changed.
func TestRulesAtRest(t *testing.T) {
	b := startRuled(t)
	b.end(t)
	b.here("", "access", "set", "nas.test", "-client-certificate", "never")
	if out := b.here("", "access", "rules"); !regexp.MustCompile(`(?m)^nas.test +never +false +paired$`).MatchString(out) {
		t.Error(out)
	}
	if out := b.here("", "access", "set", "-any-trusted", "-json"); out != "{}\n" {
		t.Error(out)
	}
}

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudsoda/go-smb2"
	quicgo "github.com/quic-go/quic-go"

	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/smb/auth/ntlm"
)

// A buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A box is a demonstration server in this process.
type box struct {
	out, logs buffer
	hangups   chan os.Signal
	stop      context.CancelFunc
	done      chan error
}

var listening = regexp.MustCompile(`msg=listening transport=(\w+) address=(\S+)`)

// start starts a server on free ports of 127.0.0.1 and waits until it listens.
func start(t *testing.T, dir string) *box { return startWith(t, dir, "") }

// startWith is start, with a TPM.
func startWith(t *testing.T, dir, tpm string) *box {
	t.Helper()
	b := launch(t, dir, tpm)
	b.wait(t)
	return b
}

// launch starts a server and does not wait for it.
func launch(t *testing.T, dir, tpm string) *box {
	t.Helper()
	return launchWith(t, options{state: dir, demo: true, quic: "127.0.0.1:0", tcp: "127.0.0.1:0", tpm: tpm})
}

func launchWith(t *testing.T, o options) *box {
	t.Helper()
	b := &box{hangups: make(chan os.Signal), done: make(chan error, 1)}
	ctx, stop := context.WithCancel(t.Context())
	b.stop = stop
	o.hangups = b.hangups
	go func() { b.done <- serve(ctx, o, &b.out, &b.logs) }()
	t.Cleanup(func() { b.end(t) })
	return b
}

// wait waits until it listens.
func (b *box) wait(t *testing.T) {
	t.Helper()
	for b.address("tcp") == "" || !strings.Contains(b.out.String(), "Ctrl-C") {
		select {
		case err := <-b.done:
			b.done <- err
			t.Fatalf("it ended: %v\n%s", err, b.logs.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// end stops the server and waits for it.
func (b *box) end(t *testing.T) {
	t.Helper()
	b.stop()
	err := <-b.done
	b.done <- err
	if err != nil {
		t.Errorf("serve = %v\n%s", err, b.logs.String())
	}
}

// address returns where the server listens over a transport.
func (b *box) address(transport string) string {
	for _, m := range listening.FindAllStringSubmatch(b.logs.String(), -1) {
		if m[1] == transport {
			return m[2]
		}
	}
	return ""
}

// said returns a line of what was printed for the owner.
func (b *box) said(t *testing.T, title string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^\s+` + title + `\s+(\S.*)$`).FindStringSubmatch(b.out.String())
	if m == nil {
		t.Fatalf("nothing said of the %s:\n%s", title, b.out.String())
	}
	return m[1]
}

// mount logs on over TCP and opens the share.
func mount(t *testing.T, b *box, user, password string) (*smb2.Share, error) {
	t.Helper()
	c, err := net.Dial("tcp", b.address("tcp"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	d := &smb2.Dialer{Initiator: &smb2.NTLMInitiator{User: user, Password: password}}
	s, err := d.DialConn(t.Context(), c, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	return s.Mount("disk")
}

// TestDemo is what a stranger does first, twice: the second run is the same server.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	password, print := first.said(t, "password"), first.said(t, "SHA-256")

	share, err := mount(t, first, "demo", password)
	if err != nil {
		t.Fatalf("%v\n%s", err, first.logs.String())
	}
	if text, err := share.ReadFile("Hello from Postern.txt"); err != nil || !bytes.Contains(text, []byte("QUIC")) {
		t.Errorf("%q, %v", text, err)
	}
	if err := share.WriteFile("mine.txt", []byte("still here"), 0o644); err != nil {
		t.Error(err)
	}
	_ = share.Remove("Hello from Postern.txt")
	first.end(t)
	if log := first.logs.String(); !strings.HasSuffix(strings.TrimSpace(log), "msg=stopped") {
		t.Errorf("the log does not end with stopped:\n%s", log)
	}

	second := start(t, dir)
	if p, f := second.said(t, "password"), second.said(t, "SHA-256"); p != password || f != print {
		t.Errorf("another password or authority: %s, %s; first %s, %s", p, f, password, print)
	}
	if share, err = mount(t, second, "demo", password); err != nil {
		t.Fatalf("%v\n%s", err, second.logs.String())
	}
	if text, err := share.ReadFile("mine.txt"); string(text) != "still here" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := share.Stat("Hello from Postern.txt"); err == nil {
		t.Error("a file the owner has deleted is back")
	}
}

// handshake connects over QUIC with the demonstration's authority and returns the certificate that is served.
func handshake(t *testing.T, b *box, dir, name string) (*x509.Certificate, error) {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c, err := quicgo.DialAddr(t.Context(), b.address("quic"), &tls.Config{RootCAs: roots, ServerName: name, NextProtos: []string{"smb"}}, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.CloseWithError(0, "") }()
	return c.ConnectionState().TLS.PeerCertificates[0], nil
}

func TestNamesOverQUIC(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	for _, name := range []string{"postern.local", "localhost"} {
		if _, err := handshake(t, b, dir, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := handshake(t, b, dir, "other.example"); err == nil {
		t.Error("a name that is not ours was served")
	}
}

// TestNewName: another public name is in another certificate of the same authority, beside the name at home.
func TestNewName(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	old, err := handshake(t, b, dir, "postern.local")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nas.example.net", "box.example.org"} {
		if _, err := handshake(t, b, dir, name); err == nil {
			t.Errorf("%s is served before it is ours", name)
		}
		b.end(t)
		if _, err := config.Set(dir, config.Setting{Key: "names", Value: []string{name}}); err != nil {
			t.Fatal(err)
		}
		b = start(t, dir)
		home, err := handshake(t, b, dir, "postern.local")
		if err != nil {
			t.Fatal(err)
		}
		outside, err := handshake(t, b, dir, name)
		if err != nil {
			t.Fatal(err)
		}
		if !home.Equal(outside) || home.Equal(old) || !slices.Contains(home.DNSNames, name) {
			t.Errorf("%s: at home %v, outside %v", name, home.DNSNames, outside.DNSNames)
		}
		old = home
	}
	if _, err := handshake(t, b, dir, "nas.example.net"); err == nil {
		t.Error("the name before is still served")
	}
}

// TestHangup: a running server learns of a user and of the owner's certificate, and of a broken one it does not.
func TestHangup(t *testing.T) {
	dir, theirs := t.TempDir(), t.TempDir()
	// Another server's certificate stands in for one the owner bought.
	other := start(t, theirs)
	other.end(t)
	// The owner's files, the first time broken.
	for _, f := range []string{"own.pem", "own.key"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("broken"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := strings.Replace(config.DefaultFile, "file = \"\"\nkey = \"\"", "file = \"own.pem\"\nkey = \"own.key\"", 1)
	if err := os.WriteFile(filepath.Join(dir, "postern.toml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "disk"), 0o700); err != nil {
		t.Fatal(err)
	}
	b := start(t, dir)
	awaitControl(t, dir)
	if _, err := handshake(t, b, dir, "postern.local"); err != nil {
		t.Errorf("ours does not stand in for a broken one: %v", err)
	}
	if !strings.Contains(b.logs.String(), `level=ERROR msg="the certificate in [certificate] cannot be used"`) {
		t.Errorf("not a word of the broken one:\n%s", b.logs.String())
	}

	copyFile(t, filepath.Join(theirs, "server.pem"), filepath.Join(dir, "own.pem"))
	copyFile(t, filepath.Join(theirs, "server.key"), filepath.Join(dir, "own.key"))
	var errs bytes.Buffer
	if code := command([]string{"-state", dir, "user", "add", "alice"}, strings.NewReader("correct horse\n"), io.Discard, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	// A command tells the server that runs; files that were put in its place by hand wait for the hangup.
	if _, err := mount(t, b, "alice", "correct horse"); err != nil {
		t.Errorf("alice, added by a command: %v\n%s", err, b.logs.String())
	}
	if _, err := handshake(t, b, theirs, "postern.local"); err == nil {
		t.Error("the owner's certificate is served before the hangup")
	}
	b.hangups <- nil
	b.hangups <- nil // has been taken when the first has been dealt with
	if _, err := mount(t, b, "alice", "correct horse"); err != nil {
		t.Errorf("alice: %v\n%s", err, b.logs.String())
	}
	if _, err := handshake(t, b, theirs, "postern.local"); err != nil {
		t.Errorf("the owner's certificate is not served: %v", err)
	}

	copyFile(t, filepath.Join(theirs, "ca.pem"), filepath.Join(dir, "own.pem")) // and broken again
	b.hangups <- nil
	b.hangups <- nil
	if _, err := handshake(t, b, theirs, "postern.local"); err != nil {
		t.Errorf("a broken file replaced a good certificate: %v", err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestSEC60SecretsInLogs: whatever happens at a logon, the log of all levels has no password and no hash in it.
func TestSEC60SecretsInLogs(t *testing.T) {
	dir := t.TempDir()
	file := strings.Replace(config.DefaultFile, `level = "info"`, `level = "debug"`, 1)
	if err := os.WriteFile(filepath.Join(dir, "postern.toml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, dir)
	password := b.said(t, "password")
	if _, err := mount(t, b, "demo", password); err != nil {
		t.Fatal(err)
	}
	const wrong = "not the password"
	for _, user := range []string{"demo", "nobody"} {
		if _, err := mount(t, b, user, wrong); err == nil {
			t.Errorf("%s logged on with a wrong password", user)
		}
	}
	b.end(t)
	log := b.logs.String()
	if !strings.Contains(log, "msg=logon") || !strings.Contains(log, `msg="logon refused"`) {
		t.Errorf("no logon in the log:\n%s", log)
	}
	hash := ntlm.NTHash(password)
	for what, secret := range map[string]string{"password": password, "other password": wrong, "hash": hex.EncodeToString(hash[:]), "raw hash": string(hash[:])} {
		if strings.Contains(strings.ToLower(log), strings.ToLower(secret)) {
			t.Errorf("the log has the %s in it", what)
		}
	}
}

func TestSecondServerOnOneFolder(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	err := serve(t.Context(), options{state: dir, demo: true}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("serve = %v", err)
	}
}

// TestDemoPassword: the owner's change is respected, and a lost note does not stop the demonstration.
func TestDemoPassword(t *testing.T) {
	dir := t.TempDir()
	start(t, dir).end(t)
	if code := command([]string{"-state", dir, "user", "password", "demo"}, strings.NewReader("a password of mine"), io.Discard, io.Discard); code != 0 {
		t.Fatal(code)
	}
	b := start(t, dir)
	if got := b.said(t, "password"); got != "(the one you set)" {
		t.Errorf("password %s", got)
	}
	if _, err := mount(t, b, "demo", "a password of mine"); err != nil {
		t.Error(err)
	}
	b.end(t)
	if err := os.Remove(filepath.Join(dir, "demo-password")); err != nil {
		t.Fatal(err)
	}
	if got := start(t, dir).said(t, "password"); got != "(the one you set)" {
		t.Errorf("without the note: password %s", got)
	}
}

func TestCommandLines(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	for _, c := range []struct {
		args       string
		in         string
		code       int
		out, wants string // a part of the output, a part of what goes to standard error
	}{
		{"-h", "", 0, "postern user add NAME", ""},
		{"version", "", 0, "postern ", ""},
		{"", "", 2, "", "-state DIR is missing"},
		{"-nonsense", "", 2, "", "flag provided but not defined: -nonsense"},
		{"-state DIR -quic 8443", "", 2, "", `-quic "8443" is no address with a port`},
		{"-state DIR dance", "", 2, "", `"dance" is no command`},
		{"-state DIR user", "", 2, "", "postern help user"},
		{"-state DIR user add", "", 2, "", "postern user add NAME"},
		{"-state DIR user kiss alice", "", 2, "", `"user kiss alice" is no command; postern help user`},
		{"-state DIR user add alice", "", 1, "", "no password on the standard input"},
		{"-state DIR user add alice", "short\n", 1, "", "the password is too short: at least 10 characters"},
		{"-state DIR user add alice", "correct horse\r\n", 0, "", ""},
		{"-state DIR user add ALICE", "correct horse", 1, "", "ALICE: there is such a user already"},
		{"-state DIR user add bob", "correct horse", 0, "", ""},
		{"-state DIR user password alice", "battery staple\n", 0, "", ""},
		{"-state DIR user disable bob", "", 0, "", ""},
		{"-state DIR user list", "", 0, "-1001 disabled\n", ""},
		{"-state DIR user enable bob", "", 0, "", ""},
		{"-state DIR user promote bob", "", 0, "", ""},
		{"-state DIR user list", "", 0, "-1001 administrator\n", ""},
		{"-state DIR user demote bob", "", 0, "", ""},
		{"-state DIR user promote eve", "", 1, "", "eve: there is no such user"},
		{"-state DIR user remove bob", "", 0, "", ""},
		{"-state DIR user remove bob", "", 1, "", "bob: there is no such user"},
		{"-state DIR cert show", "", 1, "", "the first run makes it"},
	} {
		var out, errs bytes.Buffer
		args := strings.Fields(strings.ReplaceAll(c.args, "DIR", dir))
		code := command(args, strings.NewReader(c.in), &out, &errs)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(errs.String(), c.wants) || (c.wants == "") != (errs.Len() == 0) {
			t.Errorf("postern %s: exit %d, %q, %q", c.args, code, out.String(), errs.String())
		}
	}
}

func TestBrokenConfigurationIsNamed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "postern.toml")
	if err := os.WriteFile(path, []byte("version = 1\nnaem = \"x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	if code := command([]string{"-state", dir}, nil, io.Discard, &errs); code != 2 || !strings.HasPrefix(errs.String(), path+":2: naem: unknown key") {
		t.Errorf("exit %d, %q", code, errs.String())
	}
	if text, _ := os.ReadFile(path); string(text) != "version = 1\nnaem = \"x\"\n" {
		t.Errorf("the owner's file was touched: %q", text)
	}
}

func TestGate(t *testing.T) {
	g := gate{total: 5, each: 2}
	from := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	var got []string
	for _, a := range []string{
		"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "[::ffff:192.0.2.1]:4", // one IPv4 address
		"[2001:db8::1]:1", "[2001:db8::2:0:0:1]:2", "[2001:db8::ffff:0:0:9]:3", // one /64
		"192.0.2.2:1", "192.0.2.3:1",
	} {
		got = append(got, g.enter(source(from(a))))
	}
	const all, one = "too many connections", "too many connections from this address"
	if want := []string{"", "", one, one, "", "", one, "", all}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	g.leave(source(from("192.0.2.1:1")))
	if why := g.enter(source(from("192.0.2.1:9"))); why != "" {
		t.Error(why)
	}
	if n := g.refusals(); n != 4 {
		t.Errorf("%d refusals", n)
	}
	// SEC-42: what went in and out leaves nothing behind.
	for range 2 {
		g.leave(source(from("192.0.2.1:1")))
		g.leave(source(from("[2001:db8::1]:1")))
	}
	g.leave(source(from("192.0.2.2:1")))
	if g.in != 0 || len(g.from) != 0 {
		t.Errorf("%d in, %v", g.in, g.from)
	}
}

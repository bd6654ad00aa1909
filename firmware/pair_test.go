package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	smb2 "github.com/cloudsoda/go-smb2"
	quicgo "github.com/quic-go/quic-go"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/pairing"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// A whole box but for its page: what pairs, what listens, and what serves.
type doorBox struct {
	t     *testing.T
	door  *door
	web   *httptest.Server
	quic  *quicFace
	files string
	ways  map[string]string // what a name and a port lead to: DNS, and the router on the way
}

// A name at home, and one for everywhere, with the router's port.
const atHome, everywhere = "nas.test", "nas.example.net:8443"

func openDoorBox(t *testing.T) *doorBox {
	t.Helper()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	b := &doorBox{t: t, files: filepath.Join(dir, "disk")}
	if err := os.Mkdir(b.files, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("postern.toml", []byte("version = 1\nname = \"nas.test\"\nnames = [\"nas.example.net\"]\nquic.listen = \"127.0.0.1:0\"\n[[share]]\nname = \"disk\"\npath = \"disk\"\n"), dir)
	if err != nil {
		t.Fatal(err)
	}
	users, err := account.Open(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := users.Add("alice", "wonderland"); err != nil {
		t.Fatal(err)
	}
	authority, err := cert.OpenAuthority(dir, cfg.Name, time.Now(), log)
	if err != nil {
		t.Fatal(err)
	}
	public, _, _ := net.SplitHostPort(everywhere)
	names := []string{atHome, public}
	chain, _, err := authority.Server(names, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	store := new(quic.Store)
	if err := store.Set(quic.Mapping{Names: names, Certificate: chain}); err != nil {
		t.Fatal(err)
	}
	if b.door, err = openDoor(dir, cfg, users, authority, func() []string { return []string{"https://nas.test"} }, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.door.Close() })
	b.door.access.Serve(store)
	shares, err := openShares(cfg, users, log)
	if err != nil {
		t.Fatal(err)
	}
	server, err := smb.NewServer(smb.Config{
		Name: "NAS", Shares: shares, Audit: b.door.heard, Barred: b.door.access.Barred, Log: log, FailedLogonDelay: 10 * time.Millisecond,
		Mechanisms: []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", DNSName: "nas.test", Accounts: users, Guard: b.door.limits.Guard})},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.door.access.Then(func() { server.EndBarred() })
	ctx, stop := context.WithCancel(context.Background())
	b.quic = &quicFace{
		addr: cfg.QUIC, server: server, connections: ctx, log: log, door: b.door,
		cfg: quic.Config{Store: store, Logger: log, Judged: b.door.judged},
	}
	if err := b.quic.listen(); err != nil {
		t.Fatal(err)
	}
	addr := b.quic.l.Addr()
	services := supervise.Group{Log: log}
	services.Add("quic", b.quic.run)
	done := make(chan error)
	go func() { done <- services.Run(ctx) }()
	b.quic.addr = addr.String()
	t.Cleanup(func() {
		stop()
		<-done
		_ = server.Shutdown(context.Background())
	})
	_, port, _ := net.SplitHostPort(addr.String())
	b.ways = map[string]string{net.JoinHostPort(atHome, port): b.quic.addr, everywhere: b.quic.addr}
	b.web = httptest.NewUnstartedServer(b.door.desk.Handler(func() pairing.Script {
		var n uint16
		_, _ = fmt.Sscan(port, &n)
		return pairing.Script{
			Server: public, Port: 8443, Home: atHome, AtHome: n, Page: "https://" + atHome + ":" + portIn(b.web.Listener.Addr()), Share: "disk",
		}
	}))
	b.web.TLS = &tls.Config{Certificates: []tls.Certificate{chain}, ClientAuth: tls.RequestClientCert} // as the page
	b.web.StartTLS()
	t.Cleanup(b.web.Close)
	return b
}

func portIn(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

// A PC does what the script does, step by step, with what it reads out of the script and nothing else.
type pc struct {
	t      *testing.T
	box    *doorBox
	page   string // where the name of the box leads to; "": to the box
	values map[string]string
	roots  *x509.CertPool
	client *http.Client
	key    *ecdsa.PrivateKey
	csr    []byte
	cert   tls.Certificate
	as     string // the name by which it has reached the box
}

// authority is the one in the script.
func (p *pc) authority() *x509.Certificate {
	p.t.Helper()
	der, err := base64.StdEncoding.DecodeString(p.values["CA"])
	if err != nil {
		p.t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	return ca
}

// send is Send-Box: whoever answers is heard.
func (p *pc) send(ctx context.Context, what string, body []byte, header string, value []byte) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.values["Page"]+"/pair/"+what, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+p.values["Secret"])
	req.Header.Set("Postern-Device", "LAPTOP-7")
	req.Header.Set(header, base64.StdEncoding.EncodeToString(value))
	return answered(p.box.browser(p.page, &tls.Config{InsecureSkipVerify: true}).Do(req))
}

// answered is the text of an answer that is no refusal.
func answered(resp *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return string(text), err
}

// agree is New-Request and Get-Code: a key, a request for it, and the six digits.
func (p *pc) agree(ctx context.Context) (code string, err error) {
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, p.key)
	if err != nil {
		return "", err
	}
	p.csr = pem.EncodeToMemory(&pem.Block{Type: "NEW CERTIFICATE REQUEST", Bytes: der}) // certreq's label
	ca, own := p.authority().Raw, pairing.Nonce{}
	rand.Read(own[:])
	settled := pairing.Commit(ca, p.csr, own)
	text, err := p.send(ctx, "request", p.csr, "Postern-Commitment", settled[:])
	if err != nil {
		return "", err
	}
	theirs, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", err
	}
	_, err = p.send(ctx, "open", nil, "Postern-Nonce", own[:])
	return pairing.Confirm(ca, p.csr, own, pairing.Nonce(theirs)), err
}

// read takes the values out of the script's assignments.
func (p *pc) read(script string) {
	p.t.Helper()
	p.values = make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^\$(\w+) = (?:'(.*)'|(\d+))\r$`).FindAllStringSubmatch(script, -1) {
		p.values[m[1]] = m[2] + m[3]
	}
	p.values["CA"] = regexp.MustCompile(`FromBase64String\('([^']+)'\)`).FindStringSubmatch(script)[1]
	for _, name := range []string{"Fqdn", "Port", "Local", "LocalPort", "CaSha256", "Page", "Secret", "Share", "User", "CA"} {
		if p.values[name] == "" && name != "User" {
			p.t.Fatalf("the script has no $%s:\n%s", name, script)
		}
	}
}

// trust is Import-Certificate, after the person has said that the codes are the same.
func (p *pc) trust() {
	p.roots = x509.NewCertPool()
	p.roots.AddCert(p.authority())
	p.client = p.box.browser(p.page, &tls.Config{RootCAs: p.roots})
}

// browser reaches the box by its name, or what is at another address in its place.
func (b *doorBox) browser(at string, config *tls.Config) *http.Client {
	if at == "" {
		at = b.web.Listener.Addr().String()
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: config, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", at)
		},
	}}
}

// enrol is Invoke-WebRequest and certreq -accept.
func (p *pc) enrol(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.values["Page"]+"/pair/enrol", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+p.values["Secret"])
	body, err := answered(p.client.Do(req))
	if err != nil {
		return err
	}
	block, _ := pem.Decode([]byte(body))
	if block == nil {
		return fmt.Errorf("no certificate in %q", body)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: p.roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return err
	}
	if !p.key.PublicKey.Equal(leaf.PublicKey) {
		return errors.New("the certificate is for another key")
	}
	p.cert = tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: p.key, Leaf: leaf}
	return nil
}

// streamConn is a QUIC connection's one stream.
type streamConn struct {
	*quicgo.Stream
	conn *quicgo.Conn
}

func (c streamConn) LocalAddr() net.Addr  { return c.conn.LocalAddr() }
func (c streamConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }
func (c streamConn) Close() error         { return c.conn.CloseWithError(0, "") }

// dial connects over QUIC by the name for everywhere or else the one at home, with the certificate that is mapped to both.
func (p *pc) dial(ctx context.Context, cert *tls.Certificate) (net.Conn, error) {
	c, err := p.dialAs(ctx, "Fqdn", "Port", cert)
	if err != nil {
		c, err = p.dialAs(ctx, "Local", "LocalPort", cert)
	}
	return c, err
}

func (p *pc) dialAs(ctx context.Context, name, port string, cert *tls.Certificate) (net.Conn, error) {
	p.as = p.values[name]
	addr, known := p.box.ways[net.JoinHostPort(p.as, p.values[port])]
	if !known {
		return nil, fmt.Errorf("nothing answers at %s, port %s", p.as, p.values[port])
	}
	return dialQUIC(ctx, p.t, addr, p.as, p.roots, cert)
}

// dialQUIC connects to a server by one of its names. cert is nil for none.
func dialQUIC(ctx context.Context, t *testing.T, addr, name string, roots *x509.CertPool, cert *tls.Certificate) (net.Conn, error) {
	config := &tls.Config{ServerName: name, RootCAs: roots, NextProtos: []string{"smb"}, MinVersion: tls.VersionTLS13}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	conn, err := quicgo.DialAddr(ctx, addr, config, &quicgo.Config{KeepAlivePeriod: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	stream, err := conn.OpenStreamSync(ctx)
	return streamConn{stream, conn}, err
}

// leaveOpen opens a file in a durable way and goes away, as a PC does that falls asleep.
func (p *pc) leaveOpen(ctx context.Context, name string) {
	p.t.Helper()
	conn, err := p.dial(ctx, &p.cert)
	if err != nil {
		p.t.Fatal(err)
	}
	c := smbtest.New(p.t, conn)
	c.Negotiate(wire.Dialect311)
	c.Logon("alice", "wonderland", 0)
	c.Tree(p.values["Share"])
	req := smbtest.OpenAs(name, dtyp.ReadData|dtyp.WriteData, wire.FileCreate, 0)
	req.OplockLevel = wire.OplockBatch
	req.Contexts = []wire.CreateContext{{Name: wire.CreateDurableV2, Data: (&wire.DurableV2Request{CreateGUID: dtyp.GUID{1}}).Append(nil)}}
	if s := c.Do(wire.CmdCreate, req, nil); s != nt.Success {
		p.t.Fatal(s)
	}
	if s := c.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil); s != nt.Success {
		p.t.Fatal(s)
	}
	if n := p.box.quic.server.Stats().Opens; n != 1 {
		p.t.Fatalf("%d opens wait for their client", n)
	}
}

// mapDrive is New-SmbMapping: QUIC, then SMB with the password.
func (p *pc) mapDrive(ctx context.Context, cert *tls.Certificate) (*smb2.Share, error) {
	conn, err := p.dial(ctx, cert)
	if err != nil {
		return nil, err
	}
	d := smb2.Dialer{Initiator: &smb2.NTLMInitiator{User: "alice", Password: "wonderland"}}
	session, err := d.DialConn(ctx, conn, p.as)
	if err != nil {
		return nil, err
	}
	return session.Mount(p.values["Share"])
}

// download is what a person does in the browser: types the code, and gets the script.
func (p *pc) download(ctx context.Context, code string) {
	p.t.Helper()
	stranger := p.box.browser(p.page, &tls.Config{InsecureSkipVerify: true})
	resp, err := stranger.Post("https://nas.test/pair/visit", "application/json", strings.NewReader(`{"code":"`+code+`","device":"LAPTOP"}`))
	if err != nil || resp.StatusCode != http.StatusOK {
		p.t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://nas.test/pair/postern-pair.cmd", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.AddCookie(resp.Cookies()[0])
	script, err := answered(stranger.Do(req))
	if err != nil {
		p.t.Fatal(err)
	}
	p.read(script)
}

// compared is a PC with the script, up to where its person and the owner have seen the same code, and the attempt's ID. The
// owner starts; the person at the PC opens the page and types the code. The browser does not know the authority yet.
func (b *doorBox) compared(ctx context.Context) (p *pc, id string) {
	b.t.Helper()
	p = &pc{t: b.t, box: b}
	a, err := b.door.desk.Start(ctx, "alice")
	if err != nil {
		b.t.Fatal(err)
	}
	p.download(ctx, a.Typed)
	code, err := p.agree(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	if now, _ := b.door.desk.Current().Get(); now.Device != "LAPTOP-7" || now.Confirm != code || now.Phase != pairing.Asking {
		b.t.Fatalf("the panel shows %+v, the PC %s", now, code)
	}
	p.trust()
	return p, a.ID
}

// everyWay connects where both names lead to the box, as from a home whose DNS or router knows of it; where only the one at home
// does; and away. None of them is a way without the certificate.
func (p *pc) everyWay(ctx context.Context) {
	p.t.Helper()
	all := p.box.ways
	defer func() { p.box.ways = all }()
	for _, c := range []struct{ without, as string }{{"", "Fqdn"}, {"Fqdn", "Local"}, {"Local", "Fqdn"}} {
		p.box.ways = maps.Clone(all)
		maps.DeleteFunc(p.box.ways, func(way, _ string) bool { return c.without != "" && strings.HasPrefix(way, p.values[c.without]+":") })
		if share, err := p.mapDrive(ctx, &p.cert); err != nil || p.as != p.values[c.as] {
			p.t.Errorf("without %s: as %s, %v", c.without, p.as, err)
		} else if _, err := share.ReadFile("letter.txt"); err != nil {
			p.t.Errorf("without %s: %v", c.without, err)
		}
		if _, err := p.mapDrive(ctx, nil); err == nil {
			p.t.Errorf("as %s somebody without a certificate gets in", p.as)
		}
	}
}

// From a box that nobody is paired with to a file over QUIC, as a new PC goes, and out again.
func TestPairingScriptReplayed(t *testing.T) {
	b := openDoorBox(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, a := b.compared(ctx)
	enrolled := make(chan error)
	go func() { enrolled <- p.enrol(ctx) }()
	if share, err := p.mapDrive(ctx, nil); err != nil {
		t.Fatal("before anybody is paired a password is enough:", err)
	} else {
		defer func() {
			if _, err := share.ReadDir("."); err == nil {
				t.Error("who came before without a certificate is still there")
			}
		}()
	}
	if err := b.door.desk.Answer(ctx, a, true); err != nil {
		t.Fatal(err)
	}
	if err := <-enrolled; err != nil {
		t.Fatal(err)
	}

	share, err := p.mapDrive(ctx, &p.cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := share.WriteFile("letter.txt", []byte("dear box"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := share.ReadFile("letter.txt"); err != nil || string(got) != "dear box" {
		t.Error(string(got), err)
	}
	if got, err := os.ReadFile(filepath.Join(b.files, "letter.txt")); err != nil || string(got) != "dear box" {
		t.Error(string(got), err)
	}
	p.everyWay(ctx)
	list := b.door.desk.Devices()
	if len(list) != 1 || list[0].Name != "LAPTOP-7" || list[0].LastSeen.IsZero() || list[0].Address != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("devices %+v", list)
	}
	if err := p.enrol(ctx); err == nil {
		t.Error("the script works twice")
	}

	// Out again: what it has open is over within a second, and it does not come back. What it has left open is closed.
	p.leaveOpen(ctx, "left open")
	f, err := share.Create("copy")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := b.door.desk.Revoke(ctx, list[0].ID); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; {
		_, err = f.Write(make([]byte, 64<<10))
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it was cut after %v", took)
	}
	if n := b.quic.server.Stats().Opens; n != 0 {
		t.Errorf("%d opens stay", n)
	}
	if _, err := p.mapDrive(ctx, &p.cert); err == nil {
		t.Error("the revoked PC gets in")
	}
	// All of it stands in the book.
	b.door.audit.Flush()
	page, err := b.door.audit.Query(ctx, audit.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[audit.ID]int{}
	for _, e := range page.Events {
		seen[e.ID]++
		if strings.Contains(e.Text+e.Device+e.User, p.values["Secret"]) {
			t.Errorf("a secret in the log: %+v", e)
		}
	}
	for _, id := range []audit.ID{
		audit.PairingStarted, audit.PairingAccepted, audit.Paired, audit.CertificateAllowed, audit.LogonOK, audit.ShareConnected, audit.Revoked,
		audit.AccessCut, audit.CertificateDenied, audit.CertificateFailed,
	} {
		if seen[id] == 0 {
			t.Errorf("no %v", id)
		}
	}
}

// unpair is Tell-Box, with a certificate or none.
func (p *pc) unpair(ctx context.Context, script string, cert *tls.Certificate) error {
	page := regexp.MustCompile(`(?m)^\$Page = '(.*)'\r$`).FindStringSubmatch(script)
	if page == nil {
		p.t.Fatalf("the script has no $Page:\n%s", script)
	}
	config := &tls.Config{RootCAs: p.roots}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, page[1]+"/pair/unpair", nil)
	if err != nil {
		return err
	}
	_, err = answered(p.box.browser("", config).Do(req))
	return err
}

// What the script that undoes a pairing does, the box hears: the PC takes itself off the list.
func TestUnpairScriptReplayed(t *testing.T) {
	b := openDoorBox(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var pcs []*pc
	for range 2 {
		p, id := b.compared(ctx)
		err := b.door.desk.Answer(ctx, id, true)
		if err == nil {
			err = p.enrol(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		pcs = append(pcs, p)
	}
	leaves, stays := pcs[0], pcs[1]
	script, err := answered(leaves.client.Get("https://nas.test/pair/postern-unpair.cmd")) // nobody has to have a ticket for it
	if err != nil {
		t.Fatal(err)
	}
	share, err := leaves.mapDrive(ctx, &leaves.cert)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := cert.OpenAuthority(t.TempDir(), "nas.test", time.Now(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.IssueClient(&key.PublicKey, "LAPTOP-7", b.door.desk.Devices()[0].ID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, cert := range map[string]*tls.Certificate{
		"no": nil, "another authority's": {Certificate: [][]byte{foreign.Raw}, PrivateKey: key},
	} {
		if err := leaves.unpair(ctx, script, cert); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("with %s certificate: %v", name, err)
		}
	}
	// Another's certificate without its key gets nowhere: TLS asks for a proof.
	if err := leaves.unpair(ctx, script, &tls.Certificate{Certificate: stays.cert.Certificate, PrivateKey: key}); err == nil || len(b.door.desk.Devices()) != 2 {
		t.Fatal("somebody else can take a PC off the list:", err)
	}
	if err := leaves.unpair(ctx, script, &leaves.cert); err != nil {
		t.Fatal(err)
	}
	if list := b.door.desk.Devices(); len(list) != 1 || list[0].SHA256 != sha256.Sum256(stays.cert.Leaf.Raw) {
		t.Errorf("devices %+v", list)
	}
	if _, err := share.ReadDir("."); err == nil {
		t.Error("the PC that has left reads on")
	}
	if _, err := leaves.mapDrive(ctx, &leaves.cert); err == nil {
		t.Error("the PC that has left gets in")
	}
	if _, err := stays.mapDrive(ctx, &stays.cert); err != nil {
		t.Error("the other PC is out, too:", err)
	}
	if err := leaves.unpair(ctx, script, &leaves.cert); err == nil || !strings.Contains(err.Error(), "403") {
		t.Error("twice:", err)
	}
	b.door.audit.Flush()
	page, err := b.door.audit.Query(ctx, audit.Query{IDs: []audit.ID{audit.Revoked}})
	if err != nil || len(page.Events) != 1 || page.Events[0].By != "the device itself" || page.Events[0].Device != "LAPTOP-7" {
		t.Errorf("%+v, %v", page.Events, err)
	}
}

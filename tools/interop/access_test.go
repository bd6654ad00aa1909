package interop

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
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	smb2 "github.com/cloudsoda/go-smb2"

	"github.com/postern-nas/postern/firmware/pairing"
	"github.com/postern-nas/postern/quic/quictest"
	"github.com/postern-nas/postern/tools/peers/peers"
	"github.com/postern-nas/postern/tools/postern"
)

// An accessBox is a running postern that trusts an authority of the test's, and its user's password.
type accessBox struct {
	*postern.Server
	t  *testing.T
	ca *quictest.CA
}

func startAccess(t *testing.T, rules string) *accessBox {
	t.Helper()
	ca := quictest.NewCA("Company")
	file := filepath.Join(t.TempDir(), "company.pem")
	if err := os.WriteFile(file, ca.PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	srv := postern.Run(t, postern.Config{
		Name: serverName, Users: []postern.User{{Name: alice, Password: alicePassword}},
		Shares: []postern.Share{{Name: "disk", Path: t.TempDir()}},
		Access: fmt.Sprintf("authorities = [%q]\n%s", file, rules),
	})
	return &accessBox{srv, t, ca}
}

// logon connects with a certificate or without, and mounts the share.
func (b *accessBox) logon(cert *tls.Certificate) (*smb2.Session, *smb2.Share, error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	conn, err := b.DialQUICAs(ctx, cert)
	if err != nil {
		return nil, nil, err
	}
	b.t.Cleanup(func() { conn.Close() })
	d := smb2.Dialer{Initiator: &smb2.NTLMInitiator{User: alice, Password: alicePassword}}
	sess, err := d.DialConn(ctx, conn, serverName)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	share, err := sess.Mount("disk")
	return sess, share, err
}

// command runs `postern`.
func (b *accessBox) command(words ...string) string {
	b.t.Helper()
	out, err := b.Command(words...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func hashOf(c tls.Certificate) string { return fmt.Sprintf("%X", sha256.Sum256(c.Leaf.Raw)) }

// Who gets in with which certificate, as the owner grants and blocks at the command line.
func TestAccessControl(t *testing.T) {
	b := startAccess(t, `named_pipes = "paired"`)
	friend, foe, stranger := b.ca.Client("friend"), b.ca.Client("foe"), quictest.NewCA("elsewhere").Client("stranger")
	in := func(cert *tls.Certificate) bool {
		sess, _, err := b.logon(cert)
		if err == nil {
			_ = sess.Logoff()
		}
		return err == nil
	}
	check := func(when string, want map[string]bool) {
		t.Helper()
		for who, cert := range map[string]*tls.Certificate{"nobody": nil, "friend": &friend, "foe": &foe, "stranger": &stranger} {
			if got := in(cert); got != want[who] {
				t.Errorf("%s: %s gets in: %t", when, who, got)
			}
		}
	}
	// Nobody is asked for a certificate as long as nobody has one to show; who has one is not told to show it.
	check("at first", map[string]bool{"nobody": true, "friend": true, "foe": true, "stranger": true})
	_, share, err := b.logon(nil)
	if err != nil {
		t.Fatal(err)
	}
	// The list of shares is for those who have shown a certificate, over QUIC.
	shares := func(cert *tls.Certificate) error {
		t.Helper()
		sess, _, err := b.logon(cert)
		if err != nil {
			t.Fatal(err)
		}
		defer sess.Logoff()
		names, err := sess.ListSharenames()
		if err == nil && !slices.Contains(names, "disk") {
			t.Errorf("shares %q", names)
		}
		return err
	}
	if err := shares(nil); err == nil {
		t.Error("the list of shares is shown to who has shown no certificate")
	}
	b.command("access", "grant", serverName, "-sha256", hashOf(friend), "-description", "of a friend")
	if err := shares(&friend); err != nil {
		t.Errorf("the list of shares: %v", err)
	}
	if _, err := share.ReadDir("."); err == nil {
		t.Error("who came without a certificate is still there")
	}
	check("after a grant", map[string]bool{"friend": true})
	b.command("access", "grant", "-issuer", "CN=Company, O=Postern")
	check("after a grant to all of the company", map[string]bool{"friend": true, "foe": true})
	b.command("access", "block", "-sha256", strings.ToLower(hashOf(foe)))
	check("after a block", map[string]bool{"friend": true})
	if list := b.command("access", "list"); strings.Count(list, "\n") != 4 || !regexp.MustCompile(`(?m)^block +\* +SHA256 `+hashOf(foe)).MatchString(list) ||
		!strings.Contains(list, "of a friend") {
		t.Errorf("the list is\n%s", list)
	}
	// All of it is there after a crash.
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	b.restart(&friend)
	check("after a crash", map[string]bool{"friend": true})
	b.command("access", "unblock", "-sha256", hashOf(foe))
	b.command("access", "revoke", serverName, "-sha256", hashOf(friend))
	check("unblocked", map[string]bool{"friend": true, "foe": true})
	b.command("access", "revoke", "-issuer", "O=Postern; CN=company")
	check("with nobody left, the door is not open again", map[string]bool{})
	for _, bad := range [][]string{
		{"access", "grant"},
		{"access", "grant", "-sha256", "00"},
		{"access", "grant", "-issuer", "somebody"},
		{"access", "grant", "-sha256", hashOf(foe), "-issuer", "CN=x"},
		{"access", "revoke", "-sha256", hashOf(foe)},
		{"access", "revoke", "a", "b", "-sha256", hashOf(foe)},
		{"session", "close", "7"},
		{"openfile", "close", "x"},
		{"unpair", "nobody"},
		{"unpair"},
		{"audit", "-event", "nothing"},
		{"access", "frobnicate"},
	} {
		if out, err := b.Command(bad...); err == nil {
			t.Errorf("%q works: %s", bad, out)
		}
	}

	// The log knows it all: who, with which certificate, because of which entries.
	var page []struct {
		ID           int
		Event        string
		OK           bool
		Connection   string
		Entries      []string
		Certificates []struct{ Subject, Issuer, Serial, SHA1, SHA256 string }
	}
	if err := json.Unmarshal([]byte(b.command("audit", "-json", "-limit", "1000")), &page); err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, e := range page {
		seen[e.ID] = true
		if e.ID < 3007 || e.ID > 3009 {
			continue
		}
		if e.Connection == "" || e.OK != (e.ID == 3007) {
			t.Errorf("%+v", e)
		}
		for _, c := range e.Certificates {
			if c.Subject == "" || c.Issuer == "" || c.Serial == "" || len(c.SHA1) != 40 || len(c.SHA256) != 64 {
				t.Errorf("%+v", e)
			}
		}
		if e.ID == 3007 && (len(e.Certificates) == 0 || len(e.Entries) == 0) {
			t.Errorf("let in by nothing: %+v", e)
		}
	}
	for _, id := range []int{3007, 3008, 3009, 4624, 4634, 5140, 9010, 9031} {
		if !seen[id] {
			t.Errorf("no event %d", id)
		}
	}
	// What `postern user` changes holds at once, and is in the log, too.
	if err := b.AddUser(postern.User{Name: bob, Password: bobPassword}); err != nil {
		t.Error(err)
	}
	if out := b.command("audit", "-event", "user-added", "-user", bob); !strings.Contains(out, "4720") {
		t.Errorf("the log says\n%s", out)
	}
	if out := b.command("audit", "-event", "access-changed", "-since", "1h", "-text", "COMPANY", "-export", "csv"); strings.Count(out, "\n") != 3 {
		t.Errorf("exported:\n%s", out)
	}
}

// restart is Start of a server that lets in nobody without a certificate.
func (b *accessBox) restart(cert *tls.Certificate) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	if err := b.Start(ctx); err != nil {
		b.t.Fatal(err)
	}
	for {
		sess, _, err := b.logon(cert)
		if err == nil {
			_ = sess.Logoff()
			return
		}
		if ctx.Err() != nil {
			b.t.Fatal(err)
		}
	}
}

// A copy in flight ends within a second when its device is blocked, and another device's goes on.
func TestRevocationCutsCopy(t *testing.T) {
	b := startAccess(t, "")
	lost, other := b.ca.Client("lost"), b.ca.Client("other")
	b.command("access", "grant", "-sha256", hashOf(lost))
	b.command("access", "grant", "-sha256", hashOf(other))
	var copies sync.WaitGroup
	defer copies.Wait()
	var stop atomic.Bool
	defer stop.Store(true)
	copying := func(name string, cert tls.Certificate) (written *atomic.Int64, failed chan time.Time) {
		t.Helper()
		_, share, err := b.logon(&cert)
		if err != nil {
			t.Fatal(err)
		}
		f, err := share.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		written, failed = new(atomic.Int64), make(chan time.Time, 1)
		copies.Go(func() {
			block := make([]byte, 256<<10)
			for !stop.Load() {
				n, err := f.WriteAt(block, written.Load()%(64<<20))
				if err != nil {
					failed <- time.Now()
					return
				}
				written.Add(int64(n))
			}
			_ = f.Close()
		})
		return written, failed
	}
	mine, cut := copying("mine", lost)
	others, broken := copying("others", other)
	for mine.Load() < 8<<20 || others.Load() < 8<<20 {
		time.Sleep(10 * time.Millisecond)
	}
	begin := time.Now()
	b.command("access", "block", "-sha256", hashOf(lost))
	done := time.Now()
	select {
	case at := <-cut:
		t.Logf("cut %v after the command was begun, %v after it was done, after %d MiB", at.Sub(begin), at.Sub(done), mine.Load()>>20)
		if took := at.Sub(done); took > time.Second {
			t.Errorf("the copy went on for %v", took)
		}
	case <-time.After(10 * time.Second):
		t.Error("the copy goes on")
	}
	before := others.Load()
	time.Sleep(time.Second)
	select {
	case <-broken:
		t.Error("another device's copy was cut")
	default:
	}
	if others.Load() == before {
		t.Error("another device's copy stands still")
	}
	if _, _, err := b.logon(&lost); err == nil {
		t.Error("the blocked device is in again")
	}
	if out := b.command("audit", "-event", "access-cut"); !strings.Contains(out, "9031") {
		t.Errorf("the log says\n%s", out)
	}
}

// Who guesses from many addresses gets few guesses, and the owner gets in meanwhile: from another address, and from one
// of those with a certificate (C-11). All of it is this machine's own network, whose bounds are the widest.
func TestGuessing(t *testing.T) {
	b := startAccess(t, `client_certificate = "never"`)
	friend := b.ca.Client("friend")
	b.command("access", "grant", "-sha256", hashOf(friend))
	begin := time.Now()
	var guessing sync.WaitGroup
	logon := func(from netip.Addr, cert *tls.Certificate, user, password string) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		conn, err := postern.DialQUICAs(ctx, from, b.QUIC, b.Name, b.CA, cert)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		start := time.Now()
		d := smb2.Dialer{Initiator: &smb2.NTLMInitiator{User: user, Password: password}}
		sess, err := d.DialConn(ctx, conn, serverName)
		took := time.Since(start)
		if err == nil {
			_ = sess.Logoff()
		}
		return took, err
	}
	guessers, lasts := 50, time.Duration(0) // each guesses 20 times, or for so long
	if *soak {
		guessers, lasts = 200, 10*time.Minute
	}
	var early, lost atomic.Int32
	var mu sync.Mutex
	answers := map[string][]time.Duration{} // by user: alice, and one whom there is not
	for i := range guessers {
		guessing.Go(func() {
			from := netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)})
			for n := 0; n < 20 && lasts == 0 || time.Since(begin) < lasts; n++ {
				user := alice
				if *soak && n%2 == 1 {
					user = "nobody"
				}
				took, err := logon(from, nil, user, fmt.Sprintf("guess %d", n))
				if err == nil || took == 0 {
					continue
				}
				if answer := (*smb2.ResponseError)(nil); !errors.As(err, &answer) {
					if lost.Add(1) < 10 {
						t.Log("no answer: ", err)
					}
					continue
				}
				if took < 1900*time.Millisecond {
					early.Add(1)
				}
				mu.Lock()
				answers[user] = append(answers[user], took)
				mu.Unlock()
			}
		})
	}
	for time.Sleep(10 * time.Second); ; time.Sleep(30 * time.Second) {
		if took, err := logon(netip.MustParseAddr("127.0.0.9"), &friend, alice, alicePassword); err != nil || took > 3*time.Second {
			t.Errorf("the owner's paired device: %v after %v", err, took)
		}
		if took, err := logon(netip.MustParseAddr("127.0.1.3"), &friend, alice, alicePassword); err != nil || took > 3*time.Second {
			t.Errorf("the owner's paired device at an address of the attacker's: %v after %v", err, took)
		}
		if time.Since(begin)+30*time.Second > lasts {
			break
		}
	}
	guessing.Wait()
	took := time.Since(begin)
	log := b.Log()
	checked, limited := strings.Count(log, "wrong password"), strings.Count(log, "not checked")
	wrong, accounts := len(answers[alice])+len(answers["nobody"]), len(answers)
	t.Logf("%d wrong passwords in %v: %d were checked, %d were not", wrong, took.Round(time.Second), checked, limited)
	if wrong < 950 || early.Load() > 0 || int(lost.Load()) > wrong/100 {
		t.Errorf("%d guesses were answered, %d of them before 2 s; %d lost their connection", wrong, early.Load(), lost.Load())
	}
	if *soak {
		sameTimes(t, answers[alice], answers["nobody"])
	}
	if allowed := accounts * (20 + int(took/(30*time.Second)) + 1); checked > allowed || checked < 10 || checked+limited < 950 {
		t.Errorf("%d were checked, %d are allowed; %d were not", checked, allowed, limited)
	}
	if out := b.command("audit", "-event", "logon-limited"); strings.Count(out, "4740") < 1 {
		t.Errorf("the log says\n%s", out)
	}
	// Nobody's password is in any log (SEC-60).
	for _, dir := range []string{b.State} {
		_ = filepath.Walk(dir, func(path string, st os.FileInfo, err error) error {
			if err == nil && st.Mode().IsRegular() {
				if data, err := os.ReadFile(path); err == nil && strings.Contains(string(data), alicePassword) {
					t.Errorf("%s holds the password", path)
				}
			}
			return nil
		})
	}
	if strings.Contains(log, alicePassword) {
		t.Error("the log holds the password")
	}
}

// sameTimes fails if the time of an answer tells whether there is such an account: a Kolmogorov-Smirnov test of what is
// nearly all of the same kind, an answer without a check, at one in a thousand.
func sameTimes(t *testing.T, a, b []time.Duration) {
	t.Helper()
	slices.Sort(a)
	slices.Sort(b)
	apart := 0.0
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if now := min(a[i], b[j]); a[i] == now {
			i++
		} else {
			j++
		}
		apart = max(apart, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	n, m := float64(len(a)), float64(len(b))
	limit := 1.95 * math.Sqrt((n+m)/(n*m))
	t.Logf("answers to %d guesses at an account and %d at none: medians %v and %v, apart by %.4f of %.4f", len(a), len(b), a[len(a)/2], b[len(b)/2], apart, limit)
	if len(a) < 2000 || len(b) < 2000 || apart > limit {
		t.Error("the time of an answer says whether there is such an account, or there were too few")
	}
}

// Samba's client shows no certificate: it gets in as long as none is required, and is refused by name of the reason after.
func TestSmbclientAccess(t *testing.T) {
	p := peers.Require(t)
	b := startAccess(t, "")
	ca := copyIn(t, p, b.CA)
	list := func() (string, error) {
		cmd := p.Command(t.Context(), "smbclient", append([]string{
			"//" + serverName + "/disk", "-U", alice + "%" + alicePassword, "-c", "ls",
			"--option=client smb transports=quic:" + portOf(t, b.QUIC),
		}, trust(ca)...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := list(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.command("access", "grant", "-issuer", "CN=Company, O=Postern")
	if out, err := list(); err == nil {
		t.Errorf("it gets in without a certificate:\n%s", out)
	} else if !regexp.MustCompile(`NT_STATUS_`).MatchString(out) {
		t.Errorf("it says\n%s", out)
	}
	if !regexp.MustCompile(`connection refused.*client certificate missing`).MatchString(b.Log()) {
		t.Error("the server does not say why")
	}
	if out := b.command("audit", "-event", "certificate-failed"); !strings.Contains(out, "3009") {
		t.Errorf("the log says\n%s", out)
	}
}

// A whole pairing with a running postern: its command line at the box, its page and the script's steps at the PC.
func TestPairing(t *testing.T) {
	srv := postern.Run(t, postern.Config{
		Name: serverName, Users: []postern.User{{Name: alice, Password: alicePassword, Admin: true}},
		Shares: []postern.Share{{Name: "disk", Path: t.TempDir()}}, Page: true,
		Access: `named_pipes = "paired"`,
	})
	b := &accessBox{srv, t, nil}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	// At the box: postern pair, and yes to what it asks.
	owner := exec.CommandContext(ctx, srv.Binary(), "-state", srv.State, "pair", alice)
	answer, err := owner.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := new(sayings)
	owner.Stdout, owner.Stderr = said, said
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	code := said.find(t, ctx, `and type  (\d{4} \d{4})`)

	// At the PC: the page, without trust in anybody yet.
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	get := func(path string, cookie *http.Cookie) string {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+srv.Page+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.AddCookie(cookie)
		resp, err := stranger.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v\n%s", path, resp.Status, err, body)
		}
		return string(body)
	}
	resp, err := stranger.Post("https://"+srv.Page+"/pair/visit", "application/json", strings.NewReader(`{"code":"`+code+`"}`))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
	ticket := resp.Cookies()[0]
	script := get("/pair/postern-pair.cmd", ticket)
	value := func(pattern string) string {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(script)
		if m == nil {
			t.Fatalf("no %s in\n%s", pattern, script)
		}
		return m[1]
	}
	// The script: the authority, the key, the request, which waits for the owner.
	der, err := base64.StdEncoding.DecodeString(value(`FromBase64String\('([^']+)'\)`))
	if err != nil || fmt.Sprintf("%X", sha256.Sum256(der)) != value(`\$CaSha256 = '([^']+)'`) {
		t.Fatal("the authority is not the one of the fingerprint", err)
	}
	authority, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	page := value(`\$Page = '([^']+)'`)
	if !strings.HasPrefix(page, "https://"+serverName) {
		t.Errorf("the script asks %s", page)
	}
	pc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", srv.Page)
	}}}
	agreed := agree(t, stranger, "https://"+srv.Page, value(`\$Secret = '([^']+)'`), der, csr)
	if got := said.find(t, ctx, `this code:\s+(\d{3} \d{3})`); got != agreed {
		t.Errorf("the box shows %s, the PC %s", got, agreed)
	}
	if page := get("/pair", ticket); strings.Contains(page, agreed) {
		t.Errorf("the page shows the code %s, which is for the PC itself to make:\n%s", agreed, page)
	}
	type result struct {
		cert tls.Certificate
		err  error
	}
	enrolled := make(chan result, 1)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, page+"/pair/enrol", nil)
		if err != nil {
			enrolled <- result{err: err}
			return
		}
		req.Header.Set("Authorization", "Bearer "+value(`\$Secret = '([^']+)'`))
		resp, err := pc.Do(req)
		if err != nil {
			enrolled <- result{err: err}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		block, _ := pem.Decode(body)
		if err != nil || block == nil {
			enrolled <- result{err: fmt.Errorf("%s %w: %s", resp.Status, err, body)}
			return
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		enrolled <- result{tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key, Leaf: leaf}, err}
	}()
	// The owner takes longer than a server usually waits.
	select {
	case r := <-enrolled:
		t.Fatalf("it did not wait for the owner: %v", r.err)
	case <-time.After(35 * time.Second):
	}
	if _, err := io.WriteString(answer, "yes\n"); err != nil {
		t.Fatal(err)
	}
	got := <-enrolled
	if got.err != nil {
		t.Fatal(got.err)
	}
	if err := owner.Wait(); err != nil {
		t.Errorf("postern pair: %v\n%s", err, said)
	}

	// The drive.
	_, share, err := b.logon(&got.cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := share.WriteFile("letter", []byte("hello"), 0o644); err != nil {
		t.Error(err)
	}
	if text, err := share.ReadFile("letter"); err != nil || string(text) != "hello" {
		t.Error(string(text), err)
	}
	if _, _, err := b.logon(nil); err == nil {
		t.Error("somebody without a certificate gets in")
	}
	if out := b.command("session", "list"); !strings.Contains(out, alice) || !strings.Contains(out, "quic") {
		t.Errorf("sessions:\n%s", out)
	}
	f, err := share.Create("held")
	if err != nil {
		t.Fatal(err)
	}
	files := b.command("openfile", "list")
	id := regexp.MustCompile(`(?m)^(\d+) .* held +true`).FindStringSubmatch(files)
	if id == nil {
		t.Fatalf("open files:\n%s", files)
	}
	b.command("openfile", "close", id[1])
	if _, err := f.Write([]byte("x")); err == nil {
		t.Error("a closed file is written to")
	}
	if out := b.command("status"); !regexp.MustCompile(`paired devices +1\n`).MatchString(out) || !strings.Contains(out, "required over QUIC") || strings.Contains(out, "not required") {
		t.Errorf("status:\n%s", out)
	}

	// And out.
	name := regexp.MustCompile(`(?m)^(.*?)  +alice `).FindStringSubmatch(b.command("device", "list"))
	if name == nil {
		t.Fatalf("devices:\n%s", b.command("device", "list"))
	}
	b.command("unpair", name[1])
	if _, err := share.ReadFile("letter"); err == nil {
		t.Error("the unpaired PC reads on")
	}
	if _, _, err := b.logon(&got.cert); err == nil {
		t.Error("the unpaired PC is in again")
	}
	if out := b.command("audit", "-event", "paired,revoked,access-cut"); !strings.Contains(out, "4887") || !strings.Contains(out, "4870") || !strings.Contains(out, "9031") {
		t.Errorf("the log says\n%s", out)
	}
	for _, secret := range []string{ticket.Value, strings.ReplaceAll(code, " ", "")} {
		if strings.Contains(srv.Log(), secret) || strings.Contains(b.command("audit", "-export", "jsonl"), secret) {
			t.Error("a secret stands in a log")
		}
	}
}

// agree is what a PC does from its request to the code that it shows.
func agree(t *testing.T, client *http.Client, page, secret string, ca, csr []byte) (code string) {
	t.Helper()
	post := func(what string, body []byte, header string, value [32]byte) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, page+"/pair/"+what, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+secret)
		req.Header.Set(header, base64.StdEncoding.EncodeToString(value[:]))
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode/100 != 2 {
			t.Fatalf("%s: %s %v %s", what, resp.Status, err, text)
		}
		return string(text)
	}
	var own pairing.Nonce
	rand.Read(own[:])
	theirs, err := base64.StdEncoding.DecodeString(post("request", csr, pairing.HeaderCommitment, pairing.Commit(ca, csr, own)))
	if err != nil || len(theirs) != 32 {
		t.Fatal(theirs, err)
	}
	post("open", nil, pairing.HeaderNonce, own)
	return pairing.Confirm(ca, csr, own, pairing.Nonce(theirs))
}

// sayings is what a program has printed.
type sayings struct{ logBuffer }

// find waits for something to be said.
func (s *sayings) find(t *testing.T, ctx context.Context, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		if m := re.FindStringSubmatch(s.String()); m != nil {
			return m[1]
		}
		if ctx.Err() != nil {
			t.Fatalf("%s was not said:\n%s", pattern, s)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

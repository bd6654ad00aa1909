package vm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/peers/peers"
)

// TestFromHere: forwarded addresses of every kind, as others are told them.
func TestFromHere(t *testing.T) {
	const line = "transports=quic:443' 10.0.2.15, UDP port 443; -TransportType QUIC -UserName https://10.0.2.15/x /state/ca.pem 10.0.2.15\n"
	for _, c := range []struct{ quic, https, says string }{
		{"127.0.0.1:8443", "127.0.0.1:8443", "transports=quic:8443' 127.0.0.1, UDP port 8443; -TransportType QUIC -QuicPort 8443 -UserName https://localhost:8443/x"},
		{"127.0.0.1:443", "127.0.0.1:443", "transports=quic:443' 127.0.0.1, UDP port 443; -TransportType QUIC -UserName https://localhost/x"},
		{"198.51.100.7:9000", "198.51.100.7:9001", "transports=quic:9000' 198.51.100.7, UDP port 9000; -TransportType QUIC -QuicPort 9000 -UserName https://postern.local:9001/x"},
		{"[2001:db8::7]:9000", "[::1]:9001", "transports=quic:9000' 2001:db8::7, UDP port 9000; -TransportType QUIC -QuicPort 9000 -UserName https://localhost:9001/x"},
	} {
		m := &Machine{QUIC: c.quic, HTTPS: c.https}
		var out strings.Builder
		if n, err := m.FromHere(&out, "/here").Write([]byte(line)); err != nil || n != len(line) {
			t.Fatal(n, err)
		}
		if want := c.says + " /here/ca.pem 10.0.2.15\n"; out.String() != want {
			t.Errorf("%s: %q, want %q", c.quic, out.String(), want)
		}
	}
	for _, any := range []string{":8443", "0.0.0.0:8443", "[::]:8443"} { // others do not reach it by that
		if address, port := reachedAt(any); unspecified(net.JoinHostPort(address, port)) || port != "8443" {
			t.Errorf("%s is reached at %s, port %s", any, address, port)
		}
		if page := (&Machine{HTTPS: any}).Page(); page != "https://localhost:8443" {
			t.Errorf("%s: the page is at %s", any, page)
		}
	}
}

// printedLines takes what `make vm` prints as people do: smbclient's line is run as it stands there, and the page opened by
// its address, both believing the certificate that was put into the folder.
func printedLines(t *testing.T, m *Machine) {
	p := peers.Require(t)
	folder := p.TempDir(t)
	ctx, cancel := context.WithTimeout(t.Context(), boot)
	defer cancel()
	if err := m.SaveAuthority(ctx, folder.Host); err != nil {
		t.Fatal(err)
	}
	const pageLine = `(?m)^(?:The page in|Begin with the page).* (https://\S+)$`
	if _, err := m.Wait(ctx, pageLine); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	w := m.FromHere(&out, folder.Inside) // where its own programs see it
	for _, line := range m.console.said("") {
		fmt.Fprintln(w, line)
	}
	_, text, _ := strings.Cut(out.String(), "\nPostern serves ")
	if stays := regexp.MustCompile(`(address +|Add-Content.*|https://)` + regexp.QuoteMeta(guest) + `|quic:443|[ =']/state/ca\..*`).FindString(text); stays != "" {
		t.Errorf("%q holds in the machine only:\n%s", stays, text)
	}

	line := regexp.MustCompile(`(?m)^  (smbclient (?:.*\\\n)*.*)$`).FindStringSubmatch(text)
	if line == nil {
		t.Fatalf("no line for smbclient:\n%s", text)
	}
	if out, err := p.Command(ctx, "sh", "-c", line[1]).CombinedOutput(); err != nil || !strings.Contains(string(out), "Hello from Postern.txt") {
		t.Errorf("%s: %v\n%s", line[1], err, out)
	}

	page := regexp.MustCompile(pageLine).FindStringSubmatch(text)[1]
	if _, err := browse(t, folder.Host).get(ctx, page); err != nil {
		t.Error(err)
	}
}

// A browser is one that believes the certificate that SaveAuthority has put into a folder, and keeps cookies.
type browser struct{ http.Client }

func browse(t *testing.T, dir string) *browser {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("%q is no certificate (%v)", ca, err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}}
}

func (b *browser) get(ctx context.Context, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	return b.do(req)
}

// signIn types a name and a password into the page's form.
func (b *browser) signIn(ctx context.Context, page, user, password string) error {
	form, err := b.get(ctx, page+"/signin")
	if err != nil {
		return err
	}
	token := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(form)
	if token == nil {
		return fmt.Errorf("no form to sign in:\n%s", form)
	}
	v := url.Values{"token": {html.UnescapeString(token[1])}, "user": {user}, "password": {password}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, page+"/signin", strings.NewReader(v.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", page)
	_, err = b.do(req)
	return err
}

func (b *browser) do(req *http.Request) (string, error) {
	resp, err := b.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s\n%s", req.URL, resp.Status, text)
	}
	return string(text), err
}

// listedWithin is how long an owner who tries the image may wait from the machine's being turned on until the first listing
// of a share, on a host without KVM.
const listedWithin = time.Minute

// soon fails if a machine that took so long to serve would have taken too long on a host that does nothing else. How long
// QEMU's processor stood in line for one of the host's is known to the host's scheduler, and not counted: neighbours change
// the clock's time several times over, and this hardly.
func (m *Machine) soon(t *testing.T, took time.Duration) {
	t.Helper()
	waited := m.stoodInLine(t)
	t.Logf("the first listing after %.1f s, of which QEMU waited %.1f s for a processor", took.Seconds(), waited.Seconds())
	if alone := took - waited; alone > listedWithin {
		t.Errorf("the first listing comes %v after the machine is turned on, neighbours not counted; %v is allowed", alone, listedWithin)
	}
}

// stoodInLine is how long that thread of QEMU's waited for a processor which ran the most: the machine's one processor.
func (m *Machine) stoodInLine(t *testing.T) time.Duration {
	t.Helper()
	var most, waited int64
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", m.qemu.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range threads {
		// Nanoseconds that it ran, nanoseconds that it waited, and how often (Linux, Documentation/scheduler/sched-stats.rst).
		text, err := os.ReadFile(name)
		f := strings.Fields(string(text))
		if err != nil || len(f) != 3 {
			continue // a thread that has ended, or a host that does not count
		}
		ran, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if ran > most {
			most = ran
			if waited, err = strconv.ParseInt(f[1], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	return time.Duration(waited)
}

// freePort is an address of this host's that nobody listens at now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestMissing: all that a host lacks is named, with what to install.
func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	said := Missing("debugfs", "no-such-program")
	for _, want := range []string{"qemu-system-aarch64", "qemu-system-arm", "swtpm", "no-such-program"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q does not name %s", said, want)
		}
	}
	if command := said[strings.LastIndex(said, ":"):]; strings.Count(command, "e2fsprogs") > 1 || !strings.Contains(command, "apt-get install") {
		t.Errorf("%q", said)
	}
}

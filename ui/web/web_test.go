package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/ui"
)

// shelf is a box in memory: what a real one keeps in files.
type shelf struct {
	mu     sync.Mutex
	state  ui.State
	due    bool
	mark   string
	done   []string // what was asked for, in order
	by     []Actor
	fail   error
	plan   Plan
	tries  []byte
	saves  int
	notice chan struct{}
	hold   chan struct{} // until the setup goes on

	administers map[string]string // owners, by the name of the device
}

func (b *shelf) Next(ctx context.Context, seen uint64) (ui.State, uint64, error) {
	if seen != 0 {
		select {
		case <-b.notice:
		case <-ctx.Done():
			return ui.State{}, seen, ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state, seen + 1, nil
}

func (b *shelf) note(ctx context.Context, format string, args ...any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = append(b.done, fmt.Sprintf(format, args...))
	b.by = append(b.by, By(ctx))
	return b.fail
}

func (b *shelf) did() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.done)
}

func (b *shelf) StartPairing(ctx context.Context) error           { return b.note(ctx, "pair") }
func (b *shelf) StopPairing(ctx context.Context, id string) error { return b.note(ctx, "stop %s", id) }

func (b *shelf) AnswerPairing(ctx context.Context, id string, ok bool) error {
	return b.note(ctx, "answer %s %t", id, ok)
}
func (b *shelf) RevokeAll(ctx context.Context) error    { return b.note(ctx, "revoke all") }
func (b *shelf) InstallStick(ctx context.Context) error { return b.note(ctx, "install stick") }
func (b *shelf) Restart(ctx context.Context) error      { return b.note(ctx, "restart") }
func (b *shelf) Shutdown(ctx context.Context) error     { return b.note(ctx, "shutdown") }
func (b *shelf) FactoryReset(ctx context.Context) error { return b.note(ctx, "reset") }

const password = "the owner's password"

func (b *shelf) SignIn(user, given string) (string, bool) {
	return "olga", strings.EqualFold(user, "olga") && given == password
}

func (b *shelf) Stands(user string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mark, user == "olga"
}

func (b *shelf) ByCertificate(c *x509.Certificate) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name, ok := b.administers[c.Subject.CommonName]
	return name, ok
}

func (b *shelf) Due() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.due
}

func (b *shelf) Check(_ context.Context, p Plan, step Step) error {
	if step == StepName && p.Name == "bad" {
		return errors.New("this is a bad name")
	}
	return nil
}

func (b *shelf) Carry(ctx context.Context, p Plan, tell func(string, int)) error {
	tell("preparing <disks>", 40)
	if b.hold != nil {
		<-b.hold
	}
	if err := b.note(ctx, "set up"); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plan, b.due = p, false
	return nil
}
func (b *shelf) Begin() { _ = b.note(context.Background(), "begin") }

func (b *shelf) Places(context.Context) []Place { return []Place{{ID: "d", Label: "Disk"}} }

func (b *shelf) AddShare(ctx context.Context, s ui.Share) error {
	return b.note(ctx, "add share %s %s %v %v %t", s.Name, s.Path, s.Read, s.Write, s.Restricted)
}

func (b *shelf) SetShare(ctx context.Context, s ui.Share) error {
	return b.note(ctx, "set share %s %v %v %t", s.Name, s.Read, s.Write, s.ReadOnly)
}

func (b *shelf) RemoveShare(ctx context.Context, n string) error {
	return b.note(ctx, "remove share %s", n)
}

func (b *shelf) AddUser(ctx context.Context, n, _ string) error { return b.note(ctx, "add user %s", n) }

func (b *shelf) SetPassword(ctx context.Context, n, _ string) error {
	return b.note(ctx, "password %s", n)
}

func (b *shelf) SetDisabled(ctx context.Context, n string, v bool) error {
	return b.note(ctx, "disabled %s %t", n, v)
}

func (b *shelf) SetOwner(ctx context.Context, n string, v bool) error {
	return b.note(ctx, "owner %s %t", n, v)
}

func (b *shelf) SetAdmin(ctx context.Context, n string, v bool) error {
	return b.note(ctx, "admin %s %t", n, v)
}

func (b *shelf) RemoveUser(ctx context.Context, n string) error {
	return b.note(ctx, "remove user %s", n)
}

func (b *shelf) Pair(ctx context.Context, user string) error { return b.note(ctx, "pair for %s", user) }
func (b *shelf) Revoke(ctx context.Context, id string) error { return b.note(ctx, "revoke %s", id) }
func (b *shelf) Administer(ctx context.Context, id string, may bool) error {
	return b.note(ctx, "administer %s %t", id, may)
}

func (b *shelf) Lines() []string { return []string{"<script>a line</script>"} }

func (b *shelf) Load() ([]byte, error) { return b.tries, nil }
func (b *shelf) Save(t []byte) error   { b.tries = t; b.saves++; return nil }

// newBox is a server with an owner called olga.
func newBox(t testing.TB) (*Server, *shelf) {
	t.Helper()
	b := &shelf{mark: "1", notice: make(chan struct{})}
	b.state = ui.State{
		Name: "nas.test", Names: []string{"nas.test"}, Version: "1", Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.5")},
		Shares: []ui.Share{{Name: "files", Path: "/srv/files", Total: 100, Free: 50, Health: ui.Good}},
		Users:  []ui.User{{Name: "olga", Owner: true}, {Name: "bob"}},
	}
	s, err := New(Config{
		Box:   Box{Source: b, Control: b, Owners: b, Setup: b, Shares: b, Users: b, Devices: b, Logs: b},
		Hosts: func(n string) bool { return n == "nas.test" || n == "nas.local" }, Memory: b,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, b
}

// A visitor is a browser, as far as HTTP goes.
type visitor struct {
	t       testing.TB
	h       http.Handler
	from    string
	cookies map[string]*http.Cookie
}

func visit(t testing.TB, s *Server) *visitor {
	return &visitor{t: t, h: s.Handler(), from: "192.168.1.20:5000", cookies: make(map[string]*http.Cookie)}
}

// send sends a request as a browser does that is on our page; change alters it first.
func (v *visitor) send(method, path string, body url.Values, change func(*http.Request)) *http.Response {
	v.t.Helper()
	r := httptest.NewRequest(method, "https://nas.test"+path, strings.NewReader(body.Encode()))
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(192, 168, 1, 5), Port: 443})))
	r.RemoteAddr = v.from
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if method != http.MethodGet {
		r.Header.Set("Origin", "https://nas.test")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range v.cookies {
		r.AddCookie(c)
	}
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	v.h.ServeHTTP(w, r)
	resp := w.Result()
	for _, c := range resp.Cookies() {
		if c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		} else {
			v.cookies[c.Name] = c
		}
	}
	return resp
}

func text(t testing.TB, r *http.Response) string {
	t.Helper()
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := r.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

var tokenField = regexp.MustCompile(`name="token" value="([^"]+)"`)

// token reads the one of a page's forms.
func (v *visitor) token(path string) string {
	v.t.Helper()
	resp := v.send("GET", path, nil, nil)
	m := tokenField.FindStringSubmatch(text(v.t, resp))
	if m == nil {
		v.t.Fatalf("GET %s: %d, no form", path, resp.StatusCode)
	}
	return m[1]
}

func (v *visitor) signIn(pw string) *http.Response {
	v.t.Helper()
	return v.send("POST", "/signin", url.Values{"token": {v.token("/signin")}, "user": {"olga"}, "password": {pw}}, nil)
}

// in is a visitor who has signed in, with the token of the forms.
func in(t testing.TB, s *Server) (*visitor, string) {
	t.Helper()
	v := visit(t, s)
	if r := v.signIn(password); r.StatusCode != http.StatusSeeOther {
		t.Fatalf("signing in: %d\n%s", r.StatusCode, text(t, r))
	}
	return v, v.token("/shares")
}

// TestSEC50 is the matrix of forged requests: only those that the page itself sends change anything.
func TestSEC50ForgedRequests(t *testing.T) {
	head := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			if r.Header.Del(name); value != "" {
				r.Header.Set(name, value)
			}
		}
	}
	both := func(f ...func(*http.Request)) func(*http.Request) {
		return func(r *http.Request) {
			for _, f := range f {
				f(r)
			}
		}
	}
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		token  string // "": the right one
		want   int
	}{
		{"as the page", nil, "", 303},
		{"an old browser", head("Sec-Fetch-Site", ""), "", 303},
		{"by another name", both(host("nas.local"), head("Origin", "https://nas.local")), "", 303},
		{"by its address", both(host("192.168.1.5"), head("Origin", "https://192.168.1.5")), "", 303},
		{"by its address and a port", both(host("192.168.1.5:8443"), head("Origin", "https://192.168.1.5:8443")), "", 303},
		{"a name with a dot", host("NAS.TEST."), "", 303},

		{"a rebound name", both(host("evil.example"), head("Origin", "https://evil.example")), "", 421},
		{"an address of another", host("192.168.1.6"), "", 421},
		{"a name that ends as ours", host("evil-nas.test"), "", 421},
		{"no host", host(""), "", 421},
		{"a host with spaces", host("nas.test evil"), "", 421},
		{"from another site", both(head("Sec-Fetch-Site", "cross-site"), head("Origin", "https://evil.example")), "", 403},
		{"from a sister site", head("Sec-Fetch-Site", "same-site"), "", 403},
		{"from another site, old browser", both(head("Sec-Fetch-Site", ""), head("Origin", "https://evil.example")), "", 403},
		{"from a sandbox, old browser", both(head("Sec-Fetch-Site", ""), head("Origin", "null")), "", 403},
		{"from another port, old browser", both(head("Sec-Fetch-Site", ""), head("Origin", "https://nas.test:444")), "", 403},
		{"without the token", nil, "none", 403},
		{"with another token", nil, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 403},
		{"from the Internet", func(r *http.Request) { r.RemoteAddr = "203.0.113.9:4000" }, "", 403},
		{"from nowhere", func(r *http.Request) { r.RemoteAddr = "" }, "", 403},
		{"JSON", head("Content-Type", "application/json"), "", 415},
		{"text, which a form of another site may be", head("Content-Type", "text/plain"), "", 415},
		{"no cookie", head("Cookie", ""), "", 303}, // to sign in
		{"GET", func(r *http.Request) { r.Method = "GET" }, "", 405},
		{"PUT", func(r *http.Request) { r.Method = "PUT" }, "", 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, b := newBox(t)
			v, token := in(t, s)
			switch c.token {
			case "none":
				token = ""
			case "":
			default:
				token = c.token
			}
			r := v.send("POST", "/shares/remove", url.Values{"token": {token}, "name": {"files"}}, c.change)
			if r.StatusCode != c.want {
				t.Errorf("status %d; want %d\n%s", r.StatusCode, c.want, text(t, r))
			}
			done := b.did()
			if changed := len(done) > 0; changed != (c.want == 303 && c.name != "no cookie") {
				t.Errorf("done: %v", done)
			}
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
			} {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s: %q", name, got)
				}
			}
			if csp := r.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("policy %q", csp)
			}
		})
	}
}

// No page changes anything by being read, and none can be read without signing in.
func TestSEC50ReadingChangesNothing(t *testing.T) {
	s, b := newBox(t)
	stranger := visit(t, s)
	owner, _ := in(t, s)
	for _, c := range changes {
		if !c.have(&s.box) {
			continue
		}
		for _, v := range []*visitor{stranger, owner} {
			if r := v.send("GET", c.form, nil, nil); r.StatusCode != http.StatusMethodNotAllowed && r.StatusCode != http.StatusNotFound {
				t.Errorf("GET %s: %d", c.form, r.StatusCode)
			}
		}
		if r := stranger.send("POST", c.form, nil, nil); r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/signin" {
			t.Errorf("a stranger's POST %s: %d", c.form, r.StatusCode)
		}
		method, path, _ := strings.Cut(c.api, " ")
		path = strings.NewReplacer("{name}", "bob", "{id}", "1").Replace(path)
		json := func(r *http.Request) { r.Header.Set("Content-Type", "application/json"); r.Body = http.NoBody }
		if r := stranger.send(method, path, nil, json); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("a stranger's %s: %d", c.api, r.StatusCode)
		}
		if r := owner.send(method, path, nil, json); r.StatusCode != http.StatusForbidden { // no token
			t.Errorf("%s without the token: %d", c.api, r.StatusCode)
		}
	}
	for _, p := range pages {
		if !p.have(&s.box) {
			continue
		}
		r := stranger.send("GET", "/"+p.name, nil, nil)
		if r.StatusCode != http.StatusSeeOther || !strings.HasPrefix(r.Header.Get("Location"), "/signin") {
			t.Errorf("a stranger's GET /%s: %d", p.name, r.StatusCode)
		}
		if r := owner.send("GET", "/"+p.name, nil, nil); r.StatusCode != http.StatusOK {
			t.Errorf("GET /%s: %d", p.name, r.StatusCode)
		}
	}
	for _, path := range []string{"/api/status", "/api/shares", "/api/logs", "/events?page=status", "/api/nothing"} {
		if r := stranger.send("GET", path, nil, nil); r.StatusCode != http.StatusUnauthorized && path != "/api/nothing" {
			t.Errorf("a stranger's GET %s: %d", path, r.StatusCode)
		}
	}
	// What this box has not, is not there.
	for _, path := range []string{"/certificates", "/activity", "/settings", "/system/update", "/ca.cer", "/pair", "/p/x", "/devices/qr.png"} {
		if r := owner.send("GET", path, nil, nil); r.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %d", path, r.StatusCode)
		}
	}
	if done := b.did(); len(done) > 0 {
		t.Errorf("done: %v", done)
	}
}

func TestCookie(t *testing.T) {
	s, b := newBox(t)
	v, token := in(t, s)
	c := v.cookies[cookieName]
	if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || len(c.Value) < 40 {
		t.Errorf("cookie %+v", c)
	}
	// The cookie from before signing in is none afterwards: nobody can be given one in advance.
	u := visit(t, s)
	u.token("/signin")
	if u.cookies[cookieName] != nil {
		t.Error("a session before signing in")
	}
	u.cookies[cookieName] = &http.Cookie{Name: cookieName, Value: "planted"}
	u.signIn(password)
	if u.cookies[cookieName].Value == "planted" {
		t.Error("a planted session")
	}
	// Another session's token is none here.
	if r := u.send("POST", "/shares/remove", url.Values{"token": {token}, "name": {"files"}}, nil); r.StatusCode != http.StatusForbidden {
		t.Errorf("another's token: %d", r.StatusCode)
	}
	// Another password ends all sessions.
	b.mu.Lock()
	b.mark = "2"
	b.mu.Unlock()
	if r := v.send("GET", "/shares", nil, nil); r.StatusCode != http.StatusSeeOther {
		t.Errorf("after another password was set: %d", r.StatusCode)
	}
	if r := u.send("POST", "/signout", url.Values{"token": {"x"}}, nil); r.StatusCode != http.StatusSeeOther {
		t.Errorf("signing out: %d", r.StatusCode)
	}
	v, token = in(t, s)
	old := *v.cookies[cookieName]
	v.send("POST", "/signout", url.Values{"token": {token}}, nil)
	v.cookies[cookieName] = &old
	if r := v.send("GET", "/shares", nil, nil); r.StatusCode != http.StatusSeeOther {
		t.Errorf("the session lives on after signing out: %d", r.StatusCode)
	}
}

func TestSessionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newBox(t)
		idle, _ := in(t, s)
		busy, _ := in(t, s)
		for range 23 {
			time.Sleep(29 * time.Minute)
			if r := busy.send("GET", "/shares", nil, nil); r.StatusCode != http.StatusOK {
				t.Fatalf("a session that is used: %d", r.StatusCode)
			}
			if r := idle.send("GET", "/events?page=none", nil, nil); r.StatusCode == http.StatusOK {
				t.Fatal("a page that there is not")
			}
		}
		if r := idle.send("GET", "/shares", nil, nil); r.StatusCode != http.StatusSeeOther {
			t.Errorf("a session that only watched: %d", r.StatusCode)
		}
		time.Sleep(lastsFor - 23*29*time.Minute + time.Minute)
		if r := busy.send("GET", "/shares", nil, nil); r.StatusCode != http.StatusSeeOther {
			t.Errorf("after twelve hours: %d", r.StatusCode)
		}
		var all []*visitor
		for range maxSessions + 5 {
			v, _ := in(t, s)
			all = append(all, v)
			time.Sleep(time.Second)
		}
		if n := len(s.sessions.list); n != maxSessions {
			t.Errorf("%d sessions", n)
		}
		if r := all[0].send("GET", "/shares", nil, nil); r.StatusCode != http.StatusSeeOther {
			t.Errorf("the oldest of too many: %d", r.StatusCode)
		}
	})
}

// TestSEC51: whoever guesses passwords waits longer and longer, over restarts too; the owner gets in meanwhile.
func TestSEC51WrongPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newBox(t)
		v := visit(t, s)
		wrong := func() int { t.Helper(); return v.signIn("guess").StatusCode }
		for i := range freeTries {
			if got := wrong(); got != http.StatusForbidden {
				t.Fatalf("try %d: %d", i+1, got)
			}
		}
		wait := firstWait
		for range 9 {
			if got := wrong(); got != http.StatusTooManyRequests {
				t.Fatalf("before %v are over: %d", wait, got)
			}
			if r := v.signIn(password); r.StatusCode != http.StatusTooManyRequests {
				t.Fatalf("even the right one is not looked at: %d", r.StatusCode)
			}
			other := visit(t, s)
			other.from = "192.168.1.99:1"
			if r := other.signIn(password); r.StatusCode != http.StatusSeeOther {
				t.Fatalf("the owner at another place: %d", r.StatusCode)
			}
			time.Sleep(wait - time.Second)
			if got := wrong(); got != http.StatusTooManyRequests {
				t.Fatalf("a second before %v: %d", wait, got)
			}
			time.Sleep(2 * time.Second)
			s, _ = New(Config{Box: s.box, Hosts: s.cfg.Hosts, Memory: b}) // switched off and on
			v.h = s.Handler()
			if got := wrong(); got != http.StatusForbidden {
				t.Fatalf("after %v: %d", wait, got)
			}
			wait = min(2*wait, longest)
		}
	})
}

// A thousand guesses from fifty addresses are a hundred that are looked at; the owner, where the owner has been before, is in at once.
func TestSEC51ManyAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newBox(t)
		owner := visit(t, s)
		owner.from = "192.168.1.2:1"
		if r := owner.signIn(password); r.StatusCode != http.StatusSeeOther {
			t.Fatal(r.StatusCode)
		}
		checked := 0
		for i := range 1000 {
			v := visit(t, s)
			v.from = fmt.Sprintf("10.0.0.%d:1", 1+i%50)
			if r := v.signIn("guess"); r.StatusCode == http.StatusForbidden {
				checked++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if checked > manyTries+5 {
			t.Errorf("%d guesses were looked at", checked)
		}
		again := visit(t, s)
		again.from = owner.from
		if r := again.signIn(password); r.StatusCode != http.StatusSeeOther {
			t.Errorf("the owner meanwhile: %d", r.StatusCode)
		}
	})
}

func TestLimiterForgetsAndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(nil)
		for i := range 3 * maxSources {
			l.try(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
			time.Sleep(longestAll)
		}
		if len(l.sources) > maxSources {
			t.Errorf("%d sources", len(l.sources))
		}
		for range maxFriends + 9 {
			l.right(netip.AddrFrom4([4]byte{172, 16, 0, byte(len(l.friends))}))
		}
		if len(l.friends) > maxFriends {
			t.Errorf("%d friends", len(l.friends))
		}
		for _, junk := range []string{"", "{", `{"sources":{"x":null}}`, `{"sources":[]}`, `{"all":{"until":"9999-01-01T00:00:00Z"}}`} {
			l := newLimiter(&shelf{tries: []byte(junk)})
			if wait := l.try(netip.MustParseAddr("10.0.0.1")); wait > longest {
				t.Errorf("%s: wait %v", junk, wait)
			}
		}
	})
}

// The first setup: by the code alone, which is good once, and no more when it is done.
func TestSetup(t *testing.T) {
	s, b := newBox(t)
	b.due = true
	v := visit(t, s)
	if r := v.send("GET", "/", nil, nil); r.Header.Get("Location") != "/setup" {
		t.Errorf("a new box sends to %q", r.Header.Get("Location"))
	}
	path, digits := s.SetupCode()
	for range 3 { // programs that look at addresses in advance
		v.send("GET", path, nil, nil)
	}
	if again, _ := s.SetupCode(); again != path {
		t.Fatal("reading the address has used the code up")
	}
	if r := v.send("POST", "/setup/name", url.Values{"name": {"x"}}, nil); r.Header.Get("Location") != "/setup" || len(b.did()) > 0 {
		t.Error("a step without the code")
	}
	enter := func(v *visitor, code string) int {
		t.Helper()
		return v.send("POST", "/setup/code", url.Values{"token": {v.token("/setup")}, "code": {code}}, nil).StatusCode
	}
	if got := v.send("POST", "/setup/code", url.Values{"code": {digits}}, nil).StatusCode; got != http.StatusForbidden {
		t.Errorf("the code without the form's token: %d", got)
	}
	if got := enter(v, digits[:4]+" "+digits[4:]); got != http.StatusSeeOther {
		t.Fatalf("the code: %d", got)
	}
	other := visit(t, s)
	if got := enter(other, digits); got != http.StatusForbidden {
		t.Errorf("the code once more: %d", got)
	}
	if got := enter(other, strings.TrimPrefix(path, "/s/")); got != http.StatusForbidden {
		t.Errorf("the other code of the two: %d", got)
	}
	token := v.token("/setup")
	for _, step := range []struct {
		path string
		form url.Values
		want int
	}{
		{"/setup/finish", nil, 303}, // too early: back to where it is
		{"/setup/name", url.Values{"name": {"bad"}}, 422},
		{"/setup/name", url.Values{"name": {"nas.test"}}, 303},
		{"/setup/nothing", nil, 303},
		{"/setup/owner", url.Values{"owner": {"<b>olga"}, "password": {"secret secret"}}, 303},
		{"/setup/disks", url.Values{"place": {"d"}}, 303},
		{"/setup/share", url.Values{"share": {"files"}}, 303},
		{"/setup/outside", url.Values{"outside": {"true"}, "outside_name": {"N.Example.org"}}, 303},
	} {
		form := url.Values{"token": {token}}
		for k, val := range step.form {
			form[k] = val
		}
		if r := v.send("POST", step.path, form, nil); r.StatusCode != step.want {
			t.Errorf("%s: %d", step.path, r.StatusCode)
		}
		page := text(t, v.send("GET", "/setup", nil, nil))
		if strings.Contains(page, "secret secret") || strings.Contains(page, "<b>olga") {
			t.Errorf("%s: the page has the password, or a stranger's markup, in it", step.path)
		}
	}
	if len(b.did()) > 0 {
		t.Errorf("before the last step: %v", b.did())
	}
	if r := v.send("POST", "/setup/finish", url.Values{"token": {"wrong"}}, nil); r.StatusCode != http.StatusForbidden && len(b.did()) > 0 {
		t.Errorf("the last step without a token: %d", r.StatusCode)
	}
	if r := v.send("POST", "/setup/finish", url.Values{"token": {token}}, nil); r.Header.Get("Location") != "/setup" {
		t.Fatalf("the last step: %d %s", r.StatusCode, text(t, r))
	}
	if r := v.send("GET", "/setup", nil, nil); !strings.HasPrefix(r.Header.Get("Location"), "/restarting?mark=") {
		t.Fatalf("after the last step: %d %s", r.StatusCode, text(t, r))
	}
	want := Plan{Name: "nas.test", Owner: "<b>olga", Password: "secret secret", Place: "d", Share: "files", Outside: true, OutsideName: "n.example.org"}
	if b.plan != want {
		t.Errorf("plan %+v", b.plan)
	}
	// It is closed for good: neither the session, nor a code of now, opens it again.
	path, digits = s.SetupCode()
	for what, r := range map[string]*http.Response{
		"the page":    v.send("GET", "/setup", nil, nil),
		"a step":      v.send("POST", "/setup/name", url.Values{"token": {token}, "name": {"x"}}, nil),
		"the address": v.send("GET", path, nil, nil),
		"the code":    v.send("POST", "/setup/code", url.Values{"token": {token}, "code": {digits}}, nil),
	} {
		if to := r.Header.Get("Location"); r.StatusCode != http.StatusSeeOther || to != "/signin" && to != "/setup" {
			t.Errorf("%s after it was done: %d %s", what, r.StatusCode, to)
		}
	}
	if done := b.did(); done[0] != "set up" || len(done) > 2 {
		t.Errorf("done: %v", done)
	}
}

// Long work of the setup shows how far it is, is done once however often it is asked for, and the box starts again only when the
// browser knows of it. When it fails it can be tried again.
func TestSetupTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newBox(t)
		b.due, b.hold = true, make(chan struct{})
		v := visit(t, s)
		_, digits := s.SetupCode()
		v.send("POST", "/setup/code", url.Values{"token": {v.token("/setup")}, "code": {digits}}, nil)
		token := url.Values{"token": {v.token("/setup")}, "name": {"nas.test"}}
		for _, step := range steps[:len(steps)-1] {
			v.send("POST", "/setup/"+step, token, nil)
		}
		finish := func() string {
			t.Helper()
			begin := time.Now()
			r := v.send("POST", "/setup/finish", token, nil)
			if took := time.Since(begin); took > soon {
				t.Errorf("the browser waits for %v", took)
			}
			return r.Header.Get("Location")
		}
		for range 2 {
			if to := finish(); to != "/setup" {
				t.Fatalf("it goes on at %q", to)
			}
			page := text(t, v.send("GET", "/setup", nil, nil))
			if !strings.Contains(page, "Preparing &lt;disks&gt;.") || !strings.Contains(page, `value="40"`) || !strings.Contains(page, `http-equiv="refresh"`) {
				t.Fatalf("the page does not say how far it is:\n%s", page)
			}
		}
		b.mu.Lock()
		b.fail = errors.New("the disk is gone")
		b.mu.Unlock()
		close(b.hold)
		synctest.Wait()
		if page := text(t, v.send("GET", "/setup", nil, nil)); !strings.Contains(page, "The disk is gone.") || !strings.Contains(page, "Is this right?") {
			t.Errorf("why it failed is not said:\n%s", page)
		}
		b.mu.Lock()
		b.fail, b.done = nil, nil
		b.mu.Unlock()
		if to := finish(); to != "/setup" {
			t.Fatalf("once more it goes on at %q", to)
		}
		time.Sleep(5 * time.Second)
		if done := b.did(); !slices.Equal(done, []string{"set up"}) {
			t.Errorf("before the browser knows: %q", done)
		}
		if to := v.send("GET", "/setup", nil, nil).Header.Get("Location"); !strings.HasPrefix(to, "/restarting?") {
			t.Errorf("after it is done it goes on at %q", to)
		}
		synctest.Wait()
		if done := b.did(); !slices.Equal(done, []string{"set up", "begin"}) {
			t.Errorf("when the browser knows: %q", done)
		}
		if to := v.send("GET", "/setup", nil, nil).Header.Get("Location"); to != "/signin" {
			t.Errorf("and then: %q", to)
		}
	})
}

// A code that is guessed at changes; nobody gets through a fraction of all codes worth speaking of.
func TestSEC52SetupCodeGuessed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newBox(t)
		b.due = true
		_, first := s.SetupCode()
		seen := map[string]bool{first: true}
		tried := 0
		for i := range 2000 {
			v := visit(t, s)
			v.from = fmt.Sprintf("10.0.%d.%d:1", i%4, i%250)
			r := v.send("POST", "/setup/code", url.Values{"token": {v.token("/setup")}, "code": {fmt.Sprintf("%08d", i)}}, nil)
			if r.StatusCode == http.StatusSeeOther {
				t.Fatalf("guessed %08d", i)
			}
			if r.StatusCode == http.StatusForbidden {
				tried++
			}
			_, now := s.SetupCode()
			seen[now] = true
			time.Sleep(time.Second)
		}
		if tried > 200 || len(seen) < tried/codeTries {
			t.Errorf("%d guesses were looked at, over %d codes", tried, len(seen))
		}
	})
}

func TestCodes(t *testing.T) {
	n := 0
	c := newCodes(func() { n++ })
	link, digits := c.now()
	if len(link) != 22 || len(digits) != 8 {
		t.Fatalf("codes %q, %q", link, digits)
	}
	for _, wrong := range []string{"", " ", "-", digits + "0", digits[:7], "x" + digits, link[:21]} {
		if c.use(wrong) {
			t.Errorf("%q was taken", wrong)
		}
	}
	if again, _ := c.now(); again == link || n != 1 {
		t.Errorf("after %d wrong ones: changed %d times", codeTries, n)
	}
	link, _ = c.now()
	if !c.use(link) || c.use(link) {
		t.Error("a code is good once")
	}
}

// The forms of the page and the JSON of the API ask the box for the same.
func TestFormsAndAPI(t *testing.T) {
	for _, c := range []struct {
		form  string
		value url.Values
		api   string
		body  string
		want  string
	}{
		{
			"/shares/add",
			url.Values{"name": {"a"}, "path": {"/srv/a"}, "restricted": {"true"}, "may.olga": {"write"}, "may.bob": {"read"}, "may.eve": {"none"}},
			"POST /api/shares", `{"name":"a","path":"/srv/a","restricted":true,"read":["bob"],"write":["olga"]}`, "add share a /srv/a [bob] [olga] true",
		},
		{"/shares/add", url.Values{"name": {" a "}, "may.bob": {"read"}}, "POST /api/shares", `{"name":"a"}`, "add share a  [] [] false"},
		{"/shares/set", url.Values{"name": {"FILES"}, "read_only": {"on"}}, "PUT /api/shares/files", `{"read_only":true}`, "set share files [] [] true"},
		{"/shares/remove", url.Values{"name": {"files"}}, "DELETE /api/shares/files", ``, "remove share files"},
		{"/users/add", url.Values{"name": {"eve"}, "password": {"p"}}, "POST /api/users", `{"name":"eve","password":"p"}`, "add user eve"},
		{"/users/password", url.Values{"name": {"bob"}, "password": {"p"}}, "POST /api/users/bob/password", `{"password":"p"}`, "password bob"},
		{"/users/set", url.Values{"name": {"bob"}, "disabled": {"true"}}, "PUT /api/users/bob", `{"disabled":true}`, "disabled bob true"},
		{"/users/set", url.Values{"name": {"bob"}, "owner": {"true"}}, "PUT /api/users/bob", `{"owner":true}`, "owner bob true"},
		{"/users/remove", url.Values{"name": {"bob"}}, "DELETE /api/users/bob", ``, "remove user bob"},
		{"/devices/pair", url.Values{"user": {"bob"}}, "POST /api/pairing", `{"user":"bob"}`, "pair for bob"},
		{"/devices/answer", url.Values{"id": {"7"}, "accept": {"true"}}, "POST /api/pairing/7/answer", `{"accept":true}`, "answer 7 true"},
		{"/devices/answer", url.Values{"id": {"7"}, "accept": {"false"}}, "POST /api/pairing/7/answer", `{}`, "answer 7 false"},
		{"/devices/stop", url.Values{"id": {"7"}}, "DELETE /api/pairing/7", ``, "stop 7"},
		{"/devices/revoke", url.Values{"id": {"d1"}}, "DELETE /api/devices/d1", ``, "revoke d1"},
		{"/devices/revoke-all", nil, "POST /api/devices/revoke-all", ``, "revoke all"},
		{"/system/restart", nil, "POST /api/restart", ``, "restart"},
		{"/system/shutdown", nil, "POST /api/shutdown", ``, "shutdown"},
		{"/system/reset", url.Values{"again": {password}}, "POST /api/factory-reset", `{"again":"` + password + `"}`, "reset"},
	} {
		s, b := newBox(t)
		v, token := in(t, s)
		form := url.Values{"token": {token}}
		for k, val := range c.value {
			form[k] = val
		}
		if r := v.send("POST", c.form, form, nil); r.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: %d\n%s", c.form, r.StatusCode, text(t, r))
		}
		method, path, _ := strings.Cut(c.api, " ")
		r := v.send(method, path, nil, func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Postern-Token", token)
			r.Body = httptest.NewRequest("POST", "/", strings.NewReader(c.body)).Body
		})
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", c.api, r.StatusCode, text(t, r))
		}
		if got := b.did(); !slices.Equal(got, []string{c.want, c.want}) {
			t.Errorf("%s and %s asked for %q; want %q twice", c.form, c.api, got, c.want)
		}
		for _, by := range b.by {
			if by.User != "olga" || by.From != netip.MustParseAddr("192.168.1.20") {
				t.Errorf("%s: done by %+v", c.form, by)
			}
		}
		// At the machine itself nobody signs in, and there is nothing but the API.
		w := httptest.NewRecorder()
		req := httptest.NewRequest(method, "http://postern"+path, strings.NewReader(c.body))
		req.Header.Set("Content-Type", "application/json")
		s.Local().ServeHTTP(w, req)
		if got := b.did(); w.Code != http.StatusOK || len(got) != 3 || got[2] != c.want {
			t.Errorf("local %s: %d, %q", c.api, w.Code, got)
		}
	}
	s, _ := newBox(t)
	w := httptest.NewRecorder()
	s.Local().ServeHTTP(w, httptest.NewRequest("GET", "http://postern/shares", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("a page through the socket: %d", w.Code)
	}
}

// The API says what there is, in JSON that reads back.
func TestAPIReads(t *testing.T) {
	s, _ := newBox(t)
	v, _ := in(t, s)
	var got struct {
		Name   string
		Shares []struct{ Name, Health string }
		Users  []struct{ Name string }
	}
	r := v.send("GET", "/api/status", nil, nil)
	if err := json.Unmarshal([]byte(text(t, r)), &got); err != nil || got.Name != "nas.test" || len(got.Shares) != 1 || got.Shares[0].Health != "good" {
		t.Errorf("status: %v %+v", err, got)
	}
	for _, bad := range []struct {
		kind, body string
		want       int
	}{
		{"text/plain", `{}`, 415},
		{"application/json", `[]`, 400},
		{"application/json", `{"name":{}}`, 400},
		{"application/json", `{"read":[1]}`, 400},
		{"application/json", `{"name":"a\u0000b"}`, 400},
		{"application/json", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413},
	} {
		r := v.send("POST", "/api/shares", nil, func(r *http.Request) {
			r.Header.Set("Content-Type", bad.kind)
			r.Header.Set("X-Postern-Token", v.token("/shares"))
			r.Body = httptest.NewRequest("POST", "/", strings.NewReader(bad.body)).Body
		})
		if r.StatusCode != bad.want {
			t.Errorf("%s %.30s: %d", bad.kind, bad.body, r.StatusCode)
		}
	}
}

// What cannot be done is said on the page, with what was typed, and nothing is lost; what can be undone is, once.
func TestRefusedAndUndone(t *testing.T) {
	s, b := newBox(t)
	v, token := in(t, s)
	b.fail = errors.New("the disk is <full>; delete something")
	r := v.send("POST", "/shares/add", url.Values{"token": {token}, "name": {`<i>"x"`}, "comment": {"kept & shown"}}, nil)
	page := text(t, r)
	if r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(page, "The disk is &lt;full&gt;; delete something.") ||
		!strings.Contains(page, "kept &amp; shown") || strings.Contains(page, "<i>") {
		t.Errorf("%d\n%s", r.StatusCode, page)
	}
	b.fail = nil
	v.send("POST", "/shares/remove", url.Values{"token": {token}, "name": {"files"}}, nil)
	if page := text(t, v.send("GET", "/shares", nil, nil)); !strings.Contains(page, `action="/undo"`) {
		t.Error("no undo is offered")
	}
	for range 2 {
		v.send("POST", "/undo", url.Values{"token": {token}, "page": {"shares"}}, nil)
	}
	if got := b.did(); len(got) != 3 || got[2] != "add share files /srv/files [] [] false" {
		t.Errorf("done: %q", got)
	}
	// What cannot be undone wants the password again.
	b.done = nil
	if r := v.send("POST", "/system/reset", url.Values{"token": {token}, "again": {"wrong"}}, nil); r.StatusCode != http.StatusUnprocessableEntity || len(b.did()) > 0 {
		t.Errorf("a factory reset with a wrong password: %d, %q", r.StatusCode, b.did())
	}
}

// TestSEC59: what strangers have chosen is text on a page, and nothing else.
func TestSEC59Escaped(t *testing.T) {
	s, b := newBox(t)
	evil := `"><script>alert(1)</script><img src=x onerror=alert(1)>` + "\u202e\x1b[2J"
	b.state.Name = evil
	b.state.Shares = []ui.Share{{Name: evil, Path: evil, Comment: evil, Restricted: true, Read: []string{evil}}}
	b.state.Users = append(b.state.Users, ui.User{Name: evil})
	b.state.Devices = []ui.Device{{ID: evil, Name: evil, User: evil}}
	b.state.Alarms = []ui.Alarm{{ID: evil, Text: evil, Advice: evil, Health: ui.Failed}}
	b.state.Disks = []ui.Disk{{Bay: evil, Model: evil}}
	b.state.Pairing = &ui.Pairing{ID: evil, Phase: ui.Asking, Device: evil, User: evil, Code: evil, URL: "javascript:alert(1)"}
	v, _ := in(t, s)
	for _, p := range pages {
		if !p.have(&s.box) {
			continue
		}
		page := text(t, v.send("GET", "/"+p.name, nil, nil))
		if strings.Contains(page, "<script>alert") || strings.Contains(page, "<img src=x") || strings.Contains(page, "<script>a line") {
			t.Errorf("/%s has it as markup", p.name)
		}
		for _, forbidden := range []string{" style=", " onclick=", " onerror=alert(1)>", "javascript:"} {
			if i := strings.Index(page, forbidden); i >= 0 && forbidden != " onerror=alert(1)>" && !strings.Contains(page[max(0, i-40):i], "<code>") {
				t.Errorf("/%s has %q", p.name, forbidden)
			}
		}
	}
}

func TestLocalNetwork(t *testing.T) {
	near := []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/64")}
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "::1": true, "10.1.2.3": true, "192.168.0.9": true, "172.31.0.1": true, "169.254.1.1": true, "fe80::1%eth0": true, "fd00::5": true,
		"::ffff:192.168.0.9": true, "2001:db8:1::9": true,
		"2001:db8:2::9": false, "8.8.8.8": false, "172.32.0.1": false, "::ffff:8.8.8.8": false, "100.64.0.1": false, "0.0.0.0": false, "::": false, "224.0.0.1": false,
	} {
		if got := LocalNetwork(netip.MustParseAddr(addr), near); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
	if LocalNetwork(netip.Addr{}, near) {
		t.Error("no address is local")
	}
}

// The page is small, asks nobody else, and says nothing that is not in the file of words.
func TestEmbedded(t *testing.T) {
	total := int64(0)
	used := map[string]bool{}
	key := regexp.MustCompile(`\{\{t "([a-zA-Z.]+)"`)
	err := fs.WalkDir(embedded, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(embedded, path)
		if err != nil {
			return err
		}
		total += int64(len(b))
		text := string(b)
		if path != "static/icon.svg" && regexp.MustCompile(`(src|href|url\(|fetch\(|import)\W*['"(]?\s*(https?:)?//`).MatchString(text) {
			t.Errorf("%s asks another server", path)
		}
		if strings.HasSuffix(path, ".html") && regexp.MustCompile(`<[^>]+ (style|on[a-z]+)=|<script>|<style`).MatchString(text) {
			t.Errorf("%s has what the policy forbids", path)
		}
		for _, m := range key.FindAllStringSubmatch(text, -1) {
			used[m[1]] = true
			if words[m[1]] == "" {
				t.Errorf("%s: no words for %q", path, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", total)
	if total > 100<<10 {
		t.Errorf("the page is %d bytes; at most 100 KiB", total)
	}
	// Keys that are put together, and those of notices.
	for _, prefix := range []string{"title.", "wizard.", "health.", "keys.", "pair.", "group.", "set.", "net.by."} {
		for k := range words {
			if strings.HasPrefix(k, prefix) {
				used[k] = true
			}
		}
	}
	for _, k := range []string{
		"share.added", "share.changed", "share.removed", "user.added", "user.password", "user.changed", "user.enabled", "user.disabled", "user.removed",
		"pairing.stopped", "pairing.accepted", "pairing.refused", "device.revoked", "device.promoted", "device.demoted", "device.allRevoked", "cert.renewed", "cert.installed", "cert.own",
		"recovery.made", "recovery.done", "system.restarting", "system.off", "update.done", "stick.begun", "undone", "never",
	} {
		if words[k] == "" {
			t.Errorf("no words for %q", k)
		}
		used[k] = true
	}
	for _, p := range pages {
		if words["title."+p.name] == "" {
			t.Errorf("no title for %s", p.name)
		}
	}
	for k := range words {
		if !used[k] {
			t.Errorf("nobody says %q", k)
		}
	}
}

// What people read stands in the words file, so that another language is another file: no template has text between its tags or in
// what is read out, and no script says anything. Names are the same in all languages.
func TestAllWordsInOneFile(t *testing.T) {
	names := regexp.MustCompile(`Postern|Windows 11|Linux|\bMac\b|iPhone, iPad, Android|SHA-256|Mbit/s|smbclient.*|smb://.*|sudo mount.*|certutil.*|postern-\w+\.cmd|ca\.pem|utf-8`)
	actions := regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	spoken := regexp.MustCompile(`(?:title|alt|aria-label|value|placeholder)="([^"]*)"`)
	tags := regexp.MustCompile(`(?s)<[^>]*>`)
	letters := regexp.MustCompile(`\pL{2,}`)
	pages, err := fs.Glob(embedded, "pages/*.html")
	if err != nil || len(pages) < 10 {
		t.Fatal(pages, err)
	}
	for _, path := range pages {
		b, err := embedded.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := actions.ReplaceAllString(string(b), "")
		for _, m := range spoken.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[0], "value=") && !strings.Contains(m[1], " ") || strings.Contains(m[0], "placeholder=") && strings.ContainsAny(m[1], ".") {
				continue // what is sent, or an example of an address
			}
			if letters.MatchString(names.ReplaceAllString(m[1], "")) {
				t.Errorf("%s: %s", path, m[0])
			}
		}
		for line := range strings.Lines(tags.ReplaceAllString(text, "\n")) {
			if letters.MatchString(names.ReplaceAllString(line, "")) {
				t.Errorf("%s: %q", path, strings.TrimSpace(line))
			}
		}
	}
	script, err := embedded.ReadFile("static/page.js")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`(?m)^\s*//.*$`).ReplaceAllString(string(script), "")
	for _, m := range regexp.MustCompile("'([^']*)'|\"([^\"]*)\"|`([^`]*)`").FindAllStringSubmatch(code, -1) {
		if said := m[1] + m[2] + m[3]; said != "use strict" && regexp.MustCompile(`\pL+ \pL+|^\p{Lu}\pL+$`).MatchString(said) && said != "POST" {
			t.Errorf("page.js says %q", said)
		}
	}
}

// Streams are few, end with their session, and bring what has changed.
func TestEvents(t *testing.T) {
	s, b := newBox(t)
	v, token := in(t, s)
	srv := httptest.NewUnstartedServer(nil)
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { r.Host = "nas.test"; s.Handler().ServeHTTP(w, r) })
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	srv.StartTLS()
	defer srv.Close()
	open := func() (*http.Response, context.CancelFunc) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+"/events?page=status", nil)
		r.AddCookie(v.cookies[cookieName])
		resp, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return resp, cancel
	}
	first, _ := open()
	buf := make([]byte, 64<<10)
	n, err := first.Body.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "data: ") || !strings.Contains(string(buf[:n]), "All is well") {
		t.Fatalf("%v %q", err, buf[:n])
	}
	b.mu.Lock()
	b.state.Alarms = []ui.Alarm{{ID: "x", Text: "Disk 2 is failing", Advice: "Replace it", Health: ui.Failed}}
	b.mu.Unlock()
	got := ""
	for !strings.Contains(got, "Disk 2 is failing") {
		n, err := first.Body.Read(buf)
		if err != nil {
			t.Fatalf("%v; so far %q", err, got)
		}
		got += string(buf[:n])
	}
	for range maxStreamsSession - 1 {
		if r, _ := open(); r.StatusCode != http.StatusOK {
			t.Fatalf("another: %d", r.StatusCode)
		}
	}
	if r, cancel := open(); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", r.StatusCode)
	} else {
		cancel()
	}
	v.send("POST", "/signout", url.Values{"token": {token}}, nil)
	for { // the stream ends with the session
		if _, err := first.Body.Read(buf); err != nil {
			break
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{}`, `{"name":"a","read":["x"],"n":1,"b":true,"z":null}`, `[`, `{"a":{"b":1}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		v, err := readJSON(httptest.NewRecorder(), r)
		if err == nil {
			shareOf(v)
			for _, texts := range v {
				for _, text := range texts {
					if len(text) > maxField || strings.ContainsRune(text, 0) {
						t.Errorf("let through: %q", text)
					}
				}
			}
		}
	})
}

func FuzzForm(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", "a=b&c=%00")
	f.Add("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\n\r\nhello\r\n--x--\r\n")
	f.Add("multipart/form-data; boundary=x", "--x\r\n")
	f.Fuzz(func(t *testing.T, kind, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		v, err := readForm(httptest.NewRecorder(), r)
		n := 0
		for _, texts := range v {
			n += len(texts)
		}
		if err == nil && n > maxFields {
			t.Errorf("%d fields", n)
		}
	})
}

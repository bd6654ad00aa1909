package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/ui"
)

func (b *shelf) Settings(context.Context) ([]Setting, error) {
	return []Setting{
		{Key: "name", Group: "name", Kind: KindText, Value: "nas.test"},
		{Key: "linux", Group: "network", Kind: KindSwitch, Value: "true"},
		{Key: "outside", Group: "page", Kind: KindSwitch, Value: "false"},
		{Key: "log", Group: "log", Kind: KindChoice, Value: "info", Choices: []string{"info", "debug"}},
	}, nil
}

func (b *shelf) Set(ctx context.Context, values map[string]string) (bool, error) {
	return true, b.note(ctx, "set %v", values)
}

func (b *shelf) Install(ctx context.Context, r io.Reader) error {
	text, err := io.ReadAll(r)
	return errors.Join(err, b.note(ctx, "install %d bytes", len(text)))
}
func (b *shelf) RolledBack() (string, string) { return "1.7", "it did <not> serve" }

func (b *shelf) NewCode(ctx context.Context) (string, error) { return "AAAA-BBBB", b.note(ctx, "code") }
func (b *shelf) Noted(ctx context.Context) error             { return b.note(ctx, "noted") }
func (b *shelf) State() (bool, bool)                         { return true, false }

// fullBox has what newBox has not.
func fullBox(t *testing.T) (*Server, *shelf) {
	t.Helper()
	s, b := newBox(t)
	cfg := s.cfg
	cfg.Box.Settings, cfg.Box.Updates, cfg.Box.Recovery = b, b, b
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, b
}

// Only settings that are others than before are set, and a switch that is off is one although browsers do not send it.
func TestSettings(t *testing.T) {
	for _, c := range []struct {
		name string
		form url.Values
		want []string
	}{
		{"nothing", url.Values{"name": {"nas.test"}, "had.linux": {"1"}, "linux": {"on"}, "had.outside": {"1"}, "log": {"info"}}, nil},
		{"a switch off", url.Values{"had.linux": {"1"}}, []string{"set map[linux:false]"}},
		{"a switch on", url.Values{"had.outside": {"1"}, "outside": {"on"}}, []string{"set map[outside:true]"}},
		{"a text", url.Values{"name": {" attic.test "}, "unknown": {"x"}}, []string{"set map[name:attic.test]"}},
	} {
		s, b := fullBox(t)
		v, token := in(t, s)
		c.form.Set("token", token)
		if r := v.send("POST", "/settings/set", c.form, nil); r.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: %d", c.name, r.StatusCode)
		}
		if got := b.did(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q; want %q", c.name, got, c.want)
		}
	}
}

// A recovery code is shown once, to who gives the password again, and kept by no page.
func TestRecoveryCodeOnce(t *testing.T) {
	s, b := fullBox(t)
	v, token := in(t, s)
	v.send("POST", "/system/recovery", url.Values{"token": {token}, "again": {"wrong"}}, nil)
	if len(b.did()) > 0 {
		t.Fatal("made without the password")
	}
	v.send("POST", "/system/recovery", url.Values{"token": {token}, "again": {password}}, nil)
	first, second := text(t, v.send("GET", "/system", nil, nil)), text(t, v.send("GET", "/system", nil, nil))
	if !strings.Contains(first, "AAAA-BBBB") || strings.Contains(second, "AAAA-BBBB") {
		t.Error("the code is shown never, or more than once")
	}
	if !strings.Contains(second, "it did &lt;not&gt; serve") {
		t.Error("an update that was taken back is not told")
	}
}

// An update on a USB stick is offered and installed when the owner says so; one that is of no use is told, without a button.
func TestStick(t *testing.T) {
	s, b := fullBox(t)
	v, token := in(t, s)
	if got := text(t, v.send("GET", "/system", nil, nil)); strings.Contains(got, "stick") {
		t.Error("a stick where there is none")
	}
	b.state.Stick = &ui.Stick{Version: "v9.<1>", Problem: "it was taken out"}
	for path, want := range map[string]string{"/status": `href="/system"`, "/system": `action="/system/stick"`} {
		if got := text(t, v.send("GET", path, nil, nil)); !strings.Contains(got, "v9.&lt;1&gt;") || !strings.Contains(got, want) {
			t.Errorf("%s does not offer it:\n%s", path, got)
		}
	}
	if len(b.did()) > 0 {
		t.Fatalf("nobody has said yes: %v", b.did())
	}
	if r := v.send("POST", "/system/stick", url.Values{"token": {token}}, nil); r.StatusCode != http.StatusSeeOther || !slices.Equal(b.did(), []string{"install stick"}) {
		t.Errorf("%d, did %v", r.StatusCode, b.did())
	}
	b.state.Stick = &ui.Stick{Problem: "it is for <another> box"}
	got := text(t, v.send("GET", "/system", nil, nil))
	if !strings.Contains(got, "&lt;another&gt; box") || strings.Contains(got, "/system/stick") || strings.Contains(text(t, v.send("GET", "/status", nil, nil)), "stick") {
		t.Errorf("of a stick that is of no use:\n%s", got)
	}
}

// What the kernel said before it stopped is on the page of logs and in the API, and in no answer that everything asks for.
func TestCrash(t *testing.T) {
	s, b := fullBox(t)
	v, _ := in(t, s)
	get := func(path string) string { return text(t, v.send("GET", path, nil, nil)) }
	if got := get("/logs") + get("/api/crash"); strings.Contains(got, "stopped by itself") || !strings.HasSuffix(got, "null\n") {
		t.Errorf("a crash where there was none:\n%s", got)
	}
	b.state.Crash = &ui.Crash{Found: time.Unix(1e9, 0), Text: "Kernel panic: <script>"}
	if got := get("/logs"); !strings.Contains(got, "Kernel panic: &lt;script&gt;") {
		t.Errorf("%s", got)
	}
	if got := get("/api/crash"); !strings.Contains(got, "Kernel panic") || !strings.Contains(got, "2001-09-09") {
		t.Errorf("%s", got)
	}
	if got := get("/api/status"); strings.Contains(got, "Kernel panic") || !strings.Contains(got, "2001-09-09") {
		t.Errorf("%s", got)
	}
}

// upload is a form with a file, its parts in this order.
func upload(t *testing.T, parts ...[2]string) (body []byte, kind string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		if p[0] == "file" {
			f, err := w.CreateFormFile("file", "update.bundle")
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(f, p[1])
			continue
		}
		if err := w.WriteField(p[0], p[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), w.FormDataContentType()
}

// A large file is read only of who has the form's token, and one at a time.
func TestUpload(t *testing.T) {
	s, b := fullBox(t)
	v, token := in(t, s)
	send := func(parts ...[2]string) *http.Response {
		t.Helper()
		body, kind := upload(t, parts...)
		return v.send("POST", "/system/update", nil, func(r *http.Request) {
			r.Header.Set("Content-Type", kind)
			r.Body = httptest.NewRequest("POST", "/", bytes.NewReader(body)).Body
		})
	}
	bundle := strings.Repeat("x", 3*maxBody)
	for _, c := range []struct {
		name  string
		parts [][2]string
		want  int
	}{
		{"the file before the token", [][2]string{{"file", bundle}, {"token", token}}, http.StatusForbidden},
		{"a wrong token", [][2]string{{"token", "x"}, {"file", bundle}}, http.StatusForbidden},
		{"no file", [][2]string{{"token", token}}, http.StatusUnprocessableEntity},
	} {
		if r := send(c.parts...); r.StatusCode != c.want {
			t.Errorf("%s: %d\n%s", c.name, r.StatusCode, text(t, r))
		}
	}
	if len(b.did()) > 0 {
		t.Errorf("installed: %q", b.did())
	}
	s.uploads <- struct{}{}
	if r := send([2]string{"token", token}, [2]string{"file", bundle}); r.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("two at a time: %d", r.StatusCode)
	}
	<-s.uploads
	if r := send([2]string{"token", token}, [2]string{"file", bundle}); r.StatusCode != http.StatusSeeOther {
		t.Errorf("an update: %d\n%s", r.StatusCode, text(t, r))
	}
	if got := b.did(); !slices.Equal(got, []string{fmt.Sprintf("install %d bytes", len(bundle))}) {
		t.Errorf("installed: %q", got)
	}
}

// The overview names the way from outside, and what is special about it.
func TestOutside(t *testing.T) {
	s, b := fullBox(t)
	v, _ := in(t, s)
	for want, o := range map[string]ui.Reach{
		"Reachable from elsewhere as nas.example.net, UDP port 8443 (203.0.113.7): 443 is &lt;taken&gt;": {
			State: ui.Yes, Name: "nas.example.net", Address: netip.MustParseAddr("203.0.113.7"), Port: 8443, Reason: "443 is <taken>",
		},
		"Reachable from elsewhere as 203.0.113.7<":        {State: ui.Yes, Address: netip.MustParseAddr("203.0.113.7"), Port: 443},
		"Not reachable from elsewhere: the router is so<": {State: ui.No, Name: "nas.example.net", Reason: "the router is so"},
		"lets SMB over QUIC through: nas.example.net<":    {Name: "nas.example.net", Port: 443},
	} {
		b.state.Outside = o
		if got := text(t, v.send("GET", "/status", nil, nil)); !strings.Contains(got, want) {
			t.Errorf("%+v: nothing of %q in\n%s", o, want, got)
		}
	}
	b.state.Outside = ui.Reach{Port: 443}
	if got := text(t, v.send("GET", "/status", nil, nil)); strings.Contains(got, "elsewhere") {
		t.Errorf("nothing is known, and it says\n%s", got)
	}
}

// A pairer is at one stage of a pairing.
type pairer struct {
	http.Handler
	look Visit
}

func (g *pairer) Visit(context.Context, netip.Addr, string, string) (*http.Cookie, error) {
	return nil, errors.ErrUnsupported
}
func (g *pairer) Look(*http.Request) (Visit, error) { return g.look, nil }

// A device is told the name for everywhere if there is one, and only then that it works from anywhere; phones, which need TCP, the
// one at home.
func TestVisitNames(t *testing.T) {
	s, _ := fullBox(t)
	cfg := s.cfg
	g := &pairer{Handler: http.NotFoundHandler()}
	cfg.Box.Pairings = g
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	v := visit(t, s)
	home := Visit{Ways: Ways{Server: "attic.local", Home: "attic.local", Share: "films"}}
	both := Visit{Ways: Ways{Server: "nas.example.net", Home: "attic.local", Share: "films", Anywhere: true, Port: "8443", TCP: "445"}}
	one := Visit{Ways: Ways{Server: "nas.example.net", Home: "nas.example.net", Share: "films", Anywhere: true}}
	for _, c := range []struct {
		look     Visit
		phase    ui.Phase
		has, not string
	}{
		{home, ui.Paired, `in this network as</p><p><code>\\attic.local\films</code></p>`, "anywhere"},
		{both, ui.Paired, `from anywhere as</p><p><code>\\nas.example.net\films</code> (UDP port 8443)</p>`, "nothing"},
		{both, ui.Paired, `<code>\\attic.local\films</code>`, "nothing"},
		{one, ui.Paired, `from anywhere as</p><p><code>\\nas.example.net\films</code></p>`, "in this network"},
		{both, ui.Preparing, "smb://attic.local/films", "smb://nas"},
		{both, ui.Preparing, "smbclient //nas.example.net/films -U USER --option", "//attic.local/films -U USER --option"},
		{both, ui.Preparing, "smbclient //attic.local/films -U USER<", "smb://nas"},
	} {
		g.look = c.look
		g.look.Phase = c.phase
		if got := text(t, v.send("GET", "/pair", nil, nil)); !strings.Contains(got, c.has) || strings.Contains(got, c.not) {
			t.Errorf("%+v: want %q, not %q:\n%s", g.look, c.has, c.not, got)
		}
	}
}

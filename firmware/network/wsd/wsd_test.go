package wsd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/network"
	"github.com/postern-nas/postern/firmware/network/multicast"
	"github.com/postern-nas/postern/firmware/network/netlab"
	"github.com/postern-nas/postern/firmware/watch"
)

func TestMain(m *testing.M) { netlab.Main(m) }

var box = Config{Name: "ATTIC", UUID: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, SMB: true, Page: 8443}

const boxID = "01020304-0506-0708-090a-0b0c0d0e0f10"

// ask is a request as Windows writes one, with prefixes of its own.
func ask(action, to, body string) string {
	return fmt.Sprintf(`<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="%s" xmlns:a="%s" xmlns:d="%s" xmlns:p="%s"><s:Header>`+
		`<a:To>%s</a:To><a:Action>%s</a:Action><a:MessageID>urn:uuid:11111111-2222-3333-4444-555555555555</a:MessageID></s:Header><s:Body>%s</s:Body></s:Envelope>`,
		nsSOAP, nsAddress, nsDiscovery, nsProfile, to, action, body)
}

var (
	probe   = ask(nsDiscovery+"/Probe", everyone, "<d:Probe><d:Types>p:Device</d:Types></d:Probe>")
	resolve = ask(nsDiscovery+"/Resolve", everyone, "<d:Resolve><a:EndpointReference><a:Address>urn:uuid:"+boxID+"</a:Address></a:EndpointReference></d:Resolve>")
	get     = ask(actionGet, "urn:uuid:"+boxID, "")
)

func TestParse(t *testing.T) {
	m, err := parse([]byte(probe))
	if err != nil || m.action != nsDiscovery+"/Probe" || len(m.types) != 1 || m.types[0] != "Device" || m.to != everyone || m.id == "" {
		t.Errorf("%+v (%v)", m, err)
	}
	if m, err = parse([]byte(resolve)); err != nil || m.endpoint != "urn:uuid:"+boxID {
		t.Errorf("%+v (%v)", m, err)
	}
	for n := range probe {
		if m, err := parse([]byte(probe[:n])); err == nil {
			t.Errorf("took %d of %d bytes: %+v", n, len(probe), m)
		}
	}
	for name, text := range map[string]string{
		"entities":         `<!DOCTYPE x [<!ENTITY a "aaaa">]>` + probe,
		"own entity":       strings.Replace(probe, "p:Device", "&a;", 1),
		"another root":     `<x>` + probe + `</x>`,
		"two roots":        probe + "<x/>",
		"deep":             strings.Replace(probe, "<d:Probe>", strings.Repeat("<x>", 100)+strings.Repeat("</x>", 100)+"<d:Probe>", 1),
		"long":             strings.Replace(probe, "p:Device", strings.Repeat("p:Device ", 10_000), 1),
		"many":             strings.Replace(probe, "<d:Probe>", strings.Repeat("<x/>", 2000)+"<d:Probe>", 1),
		"UTF-16":           strings.Replace(probe, "utf-8", "utf-16", 1),
		"without an id":    strings.Replace(probe, "a:MessageID", "a:Other", 2),
		"another envelope": strings.Replace(probe, nsSOAP, "urn:x", 1),
	} {
		if m, err := parse([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{probe, resolve, get} {
		f.Add([]byte(s))
	}
	var networks watch.Value[network.State]
	r := New(box, &networks, slog.New(slog.DiscardHandler))
	port := multicast.Port{Name: "x", Index: 1, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		if e, ok := r.reply(m, port, netip.MustParseAddr("192.0.2.2")); ok {
			if _, err := parse(e.bytes()); err != nil {
				t.Errorf("%v: %s", err, e.bytes())
			}
		}
	})
}

func TestReply(t *testing.T) {
	var networks watch.Value[network.State]
	r := New(box, &networks, slog.New(slog.DiscardHandler))
	port := multicast.Port{Addrs: []netip.Addr{netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1")}}
	for name, c := range map[string]struct{ text, from, want string }{
		"a device":          {probe, "192.0.2.2", "http://192.0.2.1:5357/" + boxID},
		"anything":          {strings.Replace(probe, "<d:Types>p:Device</d:Types>", "", 1), "192.0.2.2", "ProbeMatches"},
		"a computer":        {strings.Replace(probe, "p:Device", "p:Device x:Computer", 1), "fe80::2", "http://[fe80::1]:5357/"},
		"a printer":         {strings.Replace(probe, "p:Device", "p:Device x:PrintDeviceType", 1), "192.0.2.2", ""},
		"in a place":        {strings.Replace(probe, "</d:Types>", "</d:Types><d:Scopes>urn:attic</d:Scopes>", 1), "192.0.2.2", ""},
		"us":                {resolve, "192.0.2.2", "ResolveMatches"},
		"another":           {strings.Replace(resolve, "0102", "ffff", 1), "192.0.2.2", ""},
		"a greeting":        {strings.Replace(probe, "/Probe", "/Hello", 1), "192.0.2.2", ""},
		"a name with marks": {strings.Replace(probe, "11111111-2222", "&lt;&quot;", 1), "192.0.2.2", "&lt;&#34;"},
	} {
		m, err := parse([]byte(c.text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		e, ok := r.reply(m, port, netip.MustParseAddr(c.from))
		if ok != (c.want != "") || !strings.Contains(string(e.bytes()), c.want) {
			t.Errorf("%s: %v %s", name, ok, e.bytes())
		}
	}
	for range 3 * remembered {
		r.known(newID())
	}
	if len(r.seen) > remembered || r.known("x") || !r.known("x") {
		t.Error("does not remember, or too much")
	}
}

// TestDevice: without SMB on TCP it is no computer, whose shares nobody could open, but a device that has a page.
func TestDevice(t *testing.T) {
	var networks watch.Value[network.State]
	device := box
	device.SMB = false
	port := multicast.Port{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	for _, c := range []struct {
		cfg                 Config
		asked               string
		found, category, at bool
	}{
		{box, "p:Device", true, true, true},
		{box, "x:Computer", true, true, true},
		{device, "p:Device", true, false, true},
		{device, "x:Computer", false, false, true},
		{Config{Name: "ATTIC", SMB: true}, "p:Device", true, true, false},
	} {
		r := New(c.cfg, &networks, slog.New(slog.DiscardHandler))
		r.ports = []multicast.Port{port}
		m, err := parse([]byte(strings.Replace(probe, "p:Device", c.asked, 1)))
		if err != nil {
			t.Fatal(err)
		}
		e, ok := r.reply(m, port, netip.MustParseAddr("192.0.2.2"))
		if ok != c.found || ok && strings.Contains(string(e.bytes()), "pub:Computer") != c.category {
			t.Errorf("%+v, asked for %s: %v %s", c.cfg, c.asked, ok, e.bytes())
		}
		told := r.metadata(r.pageURL(port.Addrs[0]))
		if strings.Contains(told, "Computer") != c.category || strings.Contains(told, "<wsdp:PresentationUrl>https://192.0.2.1:8443/</wsdp:PresentationUrl>") != c.at {
			t.Errorf("%+v: %s", c.cfg, told)
		}
	}
}

// TestPageURL: the page's address is one of the same port that a browser takes.
func TestPageURL(t *testing.T) {
	var networks watch.Value[network.State]
	r := New(box, &networks, slog.New(slog.DiscardHandler))
	addrs := func(texts ...string) (p multicast.Port) {
		for _, text := range texts {
			p.Addrs = append(p.Addrs, netip.MustParseAddr(text))
		}
		return p
	}
	r.ports = []multicast.Port{
		addrs("fe80::1", "fd00::1", "169.254.1.1", "192.0.2.1"), addrs("fe80::2", "fd00::2"), addrs("fe80::3", "169.254.3.3"), addrs("fe80::4"),
	}
	for at, want := range map[string]string{
		"fe80::1": "https://192.0.2.1:8443/", "192.0.2.1": "https://192.0.2.1:8443/", "fe80::2": "https://[fd00::2]:8443/",
		"fe80::3": "https://169.254.3.3:8443/", "fe80::4": "", "192.0.2.9": "",
	} {
		if got := r.pageURL(netip.MustParseAddr(at)); got != want {
			t.Errorf("at %s: %q, want %q", at, got, want)
		}
	}
}

// respond runs a responder on port0.
func respond(t *testing.T) {
	t.Helper()
	netlab.Up(t, "port0", "192.0.2.1/24")
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	o := &network.Observer{Log: log}
	r := New(box, &o.State, log)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- o.Run(ctx) }()
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestWSDD: Debian's WS-Discovery client, which looks as Windows does, finds the box and who it is.
func TestWSDD(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "peer0", "192.0.2.2/24")
	wsdd, err := exec.LookPath("wsdd")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no wsdd: apt-get install --no-install-recommends wsdd")
		}
		t.Skip("skipped: no wsdd (Debian: wsdd)")
	}
	respond(t)
	r, w := io.Pipe()
	peer.StartTo(t, w, wsdd, "--discovery", "--no-host", "--ipv4only", "--interface", "peer0", "--shortlog", "-v")
	found := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			fmt.Fprintln(t.Output(), lines.Text())
			if strings.Contains(lines.Text(), "discovered ") {
				select {
				case found <- lines.Text():
				default:
				}
			}
		}
	}()
	t.Cleanup(func() { r.Close() })
	select {
	case line := <-found:
		if !strings.Contains(line, "ATTIC in Workgroup:WORKGROUP on 192.0.2.1") {
			t.Error(line)
		}
	case <-time.After(time.Minute):
		t.Error("not found")
	}
}

// TestPage: metadata for neighbors who ask rightly, and nothing else.
func TestPage(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "peer0", "192.0.2.2/24")
	respond(t)
	post := func(path, body string) (code int, text string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			r, err := http.Post("http://192.0.2.1:5357"+path, "application/soap+xml", strings.NewReader(body))
			if err != nil {
				if time.Now().After(deadline) {
					t.Fatal(err)
				}
				continue
			}
			defer r.Body.Close()
			var b bytes.Buffer
			_, _ = io.Copy(&b, r.Body)
			if r.StatusCode == http.StatusForbidden && time.Now().Before(deadline) {
				continue // it does not know its address yet
			}
			return r.StatusCode, b.String()
		}
	}
	if code, text := post("/"+boxID, get); code != 200 || !strings.Contains(text, "<pub:Computer>ATTIC/Workgroup:WORKGROUP</pub:Computer>") ||
		!strings.Contains(text, "<wsdp:PresentationUrl>https://192.0.2.1:8443/</wsdp:PresentationUrl>") {
		t.Errorf("%d %s", code, text)
	}
	for name, c := range map[string]struct {
		path, body string
		code       int
	}{
		"elsewhere":  {"/x", get, 404},
		"no request": {"/" + boxID, probe, 400},
		"another's":  {"/" + boxID, strings.Replace(get, boxID, "x", 1), 400},
		"too long":   {"/" + boxID, get + strings.Repeat(" ", maxMessage), 400},
		"nothing":    {"/" + boxID, "", 400},
	} {
		if code, text := post(c.path, c.body); code != c.code {
			t.Errorf("%s: %d %s", name, code, text)
		}
	}
	if r, err := http.Get("http://192.0.2.1:5357/" + boxID); err != nil || r.StatusCode != 404 {
		t.Errorf("%v (%v)", r, err)
	}
}

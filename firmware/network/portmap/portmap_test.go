package portmap

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/postern-nas/postern/firmware/network"
	"github.com/postern-nas/postern/firmware/network/netlab"
	"github.com/postern-nas/postern/firmware/watch"
)

func TestMain(m *testing.M) { netlab.Main(m) }

var (
	router = netip.MustParseAddr("192.0.2.1")
	own    = netip.MustParseAddr("192.0.2.9")
)

func log(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// answer is a PCP server's to a request.
func answer(request []byte, code byte, life uint32, external string, port uint16) []byte {
	b := append([]byte(nil), request...)
	b[1], b[2], b[3] = pcpMap|pcpReply, 0, code
	binary.BigEndian.PutUint32(b[4:], life)
	clear(b[8:24])
	binary.BigEndian.PutUint16(b[42:], port)
	a := netip.MustParseAddr(external).As16()
	copy(b[44:], a[:])
	return b
}

func TestPCPRequest(t *testing.T) {
	p := newPCP(router, own, 443)
	b := p.request(2 * time.Hour)
	want := "\x02\x01\x00\x00\x00\x00\x1c\x20" + strings.Repeat("\x00", 10) + "\xff\xff\xc0\x00\x02\x09" + string(p.nonce[:]) +
		"\x11\x00\x00\x00\x01\xbb\x01\xbb" + strings.Repeat("\x00", 10) + "\xff\xff\x00\x00\x00\x00"
	if string(b) != want {
		t.Errorf("% x", b)
	}
	m, err := p.read(answer(b, 0, 3600, "203.0.113.5", 443))
	if err != nil || m.life != time.Hour || m.external.String() != "203.0.113.5:443" {
		t.Errorf("%+v (%v)", m, err)
	}
	good := answer(b, 0, 3600, "203.0.113.5", 443)
	for n := range good {
		if m, err := p.read(good[:n]); err == nil {
			t.Errorf("took %d bytes: %+v", n, m)
		}
	}
	for _, at := range []int{24, 35, 36, 40, 41} { // another's
		bad := append([]byte(nil), good...)
		bad[at] ^= 1
		if _, err := p.read(bad); !errors.Is(err, errNotOurs) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
	if _, err := p.read([]byte{0, 0x81, 0, 1, 0, 0, 0, 0}); !errors.Is(err, errSilent) { // NAT-PMP's "unsupported version"
		t.Error(err)
	}
	var r refusal
	if _, err := p.read(answer(b, 2, 3600, "0.0.0.0", 0)); !errors.As(err, &r) || r.code != 2 || r.words == "" {
		t.Error(err)
	}
}

func FuzzPCP(f *testing.F) {
	p := newPCP(router, own, 443)
	p.nonce = [12]byte{}
	f.Add(answer(p.request(time.Hour), 0, 3600, "203.0.113.5", 443))
	f.Add([]byte{0, 0x81, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := p.read(b)
		if err == nil && (m.life <= 0 || m.life > 24*time.Hour || m.external.Port() == 0) {
			t.Errorf("%+v", m)
		}
	})
}

func FuzzLocation(f *testing.F) {
	u := &upnp{router: router}
	f.Add([]byte("HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: http://192.0.2.1:5000/rootDesc.xml\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if at := u.location(b); at != nil && at.Hostname() != router.String() {
			t.Error(at)
		}
	})
}

func TestLocation(t *testing.T) {
	u := &upnp{router: router}
	for text, ok := range map[string]bool{
		"HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: http://192.0.2.1:5000/d.xml\r\n\r\n":   true,
		"HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: http://192.0.2.2:5000/d.xml\r\n\r\n":   false,
		"HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: file:///etc/passwd\r\n\r\n":            false,
		"HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:MediaServer:1\r\nLOCATION: http://192.0.2.1:5000/d.xml\r\n\r\n":             false,
		"HTTP/1.1 404 No\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: http://192.0.2.1:5000/d.xml\r\n\r\n":   false,
		"NOTIFY * HTTP/1.1\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: http://192.0.2.1:5000/d.xml\r\n\r\n": false,
	} {
		if got := u.location([]byte(text)); (got != nil) != ok {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// scripted is a way that does what a test says.
type scripted struct {
	label   string
	mu      sync.Mutex
	answers []func() (mapping, error)
	asked   int
	removed bool
}

func (s *scripted) name() string { return s.label }
func (s *scripted) add(context.Context) (mapping, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.answers[min(s.asked, len(s.answers)-1)]
	s.asked++
	return a()
}

func (s *scripted) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *scripted) remove(context.Context) error { s.removed = true; return nil }

func gives(addr string, port uint16, life time.Duration) func() (mapping, error) {
	return func() (mapping, error) {
		return mapping{netip.AddrPortFrom(netip.MustParseAddr(addr), port), life}, nil
	}
}

func fails(err error) func() (mapping, error) {
	return func() (mapping, error) { return mapping{}, err }
}

// TestMapper: renewed in time, tried again after a failure, taken back at the end; and what the owner hears.
func TestMapper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var networks watch.Value[network.State]
		first := &scripted{label: "one", answers: []func() (mapping, error){fails(errSilent)}}
		second := &scripted{label: "two", answers: []func() (mapping, error){
			fails(refusal{"it does not allow this box to open ports", 606}), gives("203.0.113.5", 443, time.Hour), gives("203.0.113.5", 443, time.Hour), fails(errSilent), gives("100.64.7.7", 443, 0),
		}}
		m := New(443, &networks, log(t))
		m.gateway = func() (netip.Addr, netip.Addr, error) { return router, own, nil }
		m.ways = func(netip.Addr, netip.Addr, uint16) []way { return []way{first, second} }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		state := func(after time.Duration) State {
			time.Sleep(after)
			synctest.Wait()
			s, _ := m.State.Get()
			return s
		}
		if s := state(time.Second); s.Mapped || !strings.Contains(s.Problem, "refuses: it does not allow") || !strings.Contains(s.Problem, own.String()) {
			t.Errorf("%+v", s)
		}
		if s := state(retryFirst); !s.Mapped || s.By != "two" || !s.Public || s.Problem != "" || s.Until.IsZero() {
			t.Errorf("%+v", s)
		}
		if state(31 * time.Minute); second.times() != 3 {
			t.Errorf("asked %d times", second.times())
		}
		if s := state(29*time.Minute + 4*time.Second); s.Mapped || !strings.Contains(s.Problem, "switch UPnP or NAT-PMP on") {
			t.Errorf("%+v", s)
		}
		if s := state(retryFirst + time.Second); !s.Mapped || s.Public || !strings.Contains(s.Problem, "carrier-grade") {
			t.Errorf("%+v", s)
		}
		cancel()
		if err := <-done; err != nil || !second.removed {
			t.Errorf("%v, taken back %v", err, second.removed)
		}
	})
}

func TestWords(t *testing.T) {
	for external, c := range map[string]struct {
		public bool
		want   string
	}{
		"203.0.113.5:443": {true, ""}, "203.0.113.5:50000": {true, "24H2"}, "10.1.2.3:443": {false, "behind another router"},
		"192.168.1.5:443": {false, "behind another router"}, "100.100.1.1:443": {false, "carrier-grade"}, "0.0.0.0:443": {false, "no connection"},
		"127.0.0.1:443": {false, "another router"},
	} {
		var networks watch.Value[network.State]
		m := New(443, &networks, log(t))
		m.mapped(router, &scripted{}, mapping{external: netip.MustParseAddrPort(external)})
		if s, _ := m.State.Get(); s.Public != c.public || (s.Problem == "") != (c.want == "") || !strings.Contains(s.Problem, c.want) {
			t.Errorf("%s: %+v", external, s)
		}
	}
}

// home is a network with a router, which is the peer.
func home(t *testing.T) *netlab.Peer {
	t.Helper()
	peer := netlab.New(t)
	peer.Cable(t, "port0", "lan0", "192.0.2.1/24")
	netlab.Up(t, "port0", "192.0.2.9/24")
	link, err := netlink.LinkByName("port0")
	if err == nil {
		err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP("192.0.2.1")})
	}
	if err != nil {
		t.Fatal(err)
	}
	return peer
}

// serve answers UDP packets on the router.
func serve(t *testing.T, peer *netlab.Peer, addr string, reply func([]byte) []byte) {
	t.Helper()
	peer.Do(t, func() error {
		u, err := net.ListenPacket("udp4", addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { u.Close() })
		go func() {
			for b := make([]byte, 2048); ; {
				n, from, err := u.ReadFrom(b)
				if err != nil {
					return
				}
				if r := reply(b[:n]); r != nil {
					_, _ = u.WriteTo(r, from)
				}
			}
		}()
		return nil
	})
}

// run runs a mapper until f says that its state will do, and then to its end.
func run(t *testing.T, f func(State) bool) State {
	t.Helper()
	var networks watch.Value[network.State]
	m := New(443, &networks, log(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	limit, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	for version := uint64(0); ; {
		s, v, err := m.State.Wait(limit, version)
		if err != nil {
			t.Fatalf("%+v", s)
		}
		if version = v; f(s) {
			return s
		}
	}
}

func TestGateway(t *testing.T) {
	home(t)
	if r, o, err := network.Gateway(); err != nil || r != router || o != own {
		t.Errorf("%v %v (%v)", r, o, err)
	}
}

// TestPCPRouter: a router that speaks PCP, and loses the first packet; what it gave is taken back.
func TestPCPRouter(t *testing.T) {
	peer := home(t)
	var mu sync.Mutex
	var lives []uint32
	serve(t, peer, "192.0.2.1:5351", func(b []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		lives = append(lives, binary.BigEndian.Uint32(b[4:]))
		if len(lives) == 1 {
			return nil
		}
		return answer(b, 0, 3600, "203.0.113.5", 443)
	})
	s := run(t, func(s State) bool { return s.Mapped })
	if s.By != "PCP" || s.External.String() != "203.0.113.5:443" || !s.Public || s.Router != router {
		t.Errorf("%+v", s)
	}
	time.Sleep(100 * time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	if !slices.Contains(lives, 0) {
		t.Errorf("not taken back: %v", lives)
	}
}

// TestNATPMPRouter: a router that knows only the older protocol, and is behind a provider's translation.
func TestNATPMPRouter(t *testing.T) {
	peer := home(t)
	serve(t, peer, "192.0.2.1:5351", func(b []byte) []byte {
		switch {
		case b[0] != 0:
			return []byte{0, 0x80 | b[1], 0, 1, 0, 0, 0, 9} // RFC 6886 3.5: unsupported version
		case b[1] == 0:
			return []byte{0, 0x80, 0, 0, 0, 0, 0, 9, 100, 64, 0, 7}
		case b[1] == 1:
			return append([]byte{0, 0x81, 0, 0, 0, 0, 0, 9, b[4], b[5], b[6], b[7]}, 0, 0, 0x0e, 0x10)
		}
		return nil
	})
	s := run(t, func(s State) bool { return s.Mapped })
	if s.By != "NAT-PMP" || s.Public || !strings.Contains(s.Problem, "100.64.0.7") {
		t.Errorf("%+v", s)
	}
}

const description = `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion><device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><friendlyName>router</friendlyName><UDN>uuid:1</UDN><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><UDN>uuid:2</UDN><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><UDN>uuid:3</UDN><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<controlURL>CONTROL</controlURL><eventSubURL>/e</eventSubURL><SCPDURL>/s.xml</SCPDURL></service></serviceList></device></deviceList></device></deviceList></device></root>`

// igd runs a UPnP router; do answers an action with its name and body by a status and the XML inside the body.
func igd(t *testing.T, peer *netlab.Peer, control string, do func(action, body string) (int, string)) {
	t.Helper()
	peer.Do(t, func() error {
		l, err := net.Listen("tcp4", "192.0.2.1:5000")
		if err != nil {
			return err
		}
		s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path == "/d.xml" {
				fmt.Fprint(w, strings.Replace(description, "CONTROL", control, 1))
				return
			}
			b := make([]byte, 1<<16)
			n, _ := q.Body.Read(b)
			_, action, _ := strings.Cut(strings.Trim(q.Header.Get("Soapaction"), `"`), "#")
			code, inside := do(action, string(b[:n]))
			w.WriteHeader(code)
			fmt.Fprintf(w, `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>%s</s:Body></s:Envelope>`, inside)
		})}
		go func() { _ = s.Serve(l) }()
		t.Cleanup(func() { s.Close() })
		return nil
	})
	serve(t, peer, "192.0.2.1:1900", func(b []byte) []byte {
		if !strings.Contains(string(b), "InternetGatewayDevice:1") {
			return nil
		}
		return []byte("HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: http://192.0.2.1:5000/d.xml\r\n\r\n")
	})
}

func fault(code int) (int, string) {
	return 500, fmt.Sprintf(`<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>%d</errorCode><errorDescription>no</errorDescription></UPnPError></detail></s:Fault>`, code)
}

func fine(action, inside string) (int, string) {
	return 200, fmt.Sprintf(`<u:%sResponse xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1">%s</u:%sResponse>`, action, inside, action)
}

// TestUPnPRouter: routers with the peculiarities that are known of them.
func TestUPnPRouter(t *testing.T) {
	for name, c := range map[string]struct {
		control string
		add     func(body string, n int) (int, string)
		mapped  bool
		problem string
	}{
		"plain": {"/c", func(string, int) (int, string) { return fine("AddPortMapping", "") }, true, ""},
		"for ever only": {"/c", func(body string, _ int) (int, string) {
			if !strings.Contains(body, "<NewLeaseDuration>0<") {
				return fault(upnpPermanent)
			}
			return fine("AddPortMapping", "")
		}, true, ""},
		"taken": {"/c", func(body string, _ int) (int, string) {
			if strings.Contains(body, "<NewExternalPort>443<") {
				return fault(upnpConflict)
			}
			return fine("AddPortMapping", "")
		}, true, "another device at home has port 443"},
		"refuses":   {"/c", func(string, int) (int, string) { return fault(606) }, false, "does not allow this box"},
		"nonsense":  {"/c", func(string, int) (int, string) { return 200, "<x" }, false, "does not say how"},
		"elsewhere": {"http://192.0.2.77/c", func(string, int) (int, string) { return fine("AddPortMapping", "") }, false, "does not say how"},
	} {
		t.Run(name, func(t *testing.T) {
			peer := home(t)
			var mu sync.Mutex
			n, deleted := 0, false
			igd(t, peer, c.control, func(action, body string) (int, string) {
				mu.Lock()
				defer mu.Unlock()
				switch action {
				case "AddPortMapping":
					n++
					if !strings.Contains(body, "<NewInternalClient>192.0.2.9<") || !strings.Contains(body, "<NewProtocol>UDP<") {
						t.Errorf("asked %s", body)
					}
					return c.add(body, n)
				case "GetExternalIPAddress":
					return fine(action, "<NewExternalIPAddress>203.0.113.5</NewExternalIPAddress>")
				case "DeletePortMapping":
					deleted = true
					return fine(action, "")
				}
				return fault(401)
			})
			s := run(t, func(s State) bool { return s.Mapped || s.Problem != "" })
			if s.Mapped != c.mapped || s.Public != c.mapped || (s.Problem == "") != (c.problem == "") || !strings.Contains(s.Problem, c.problem) || c.mapped && s.By != "UPnP" {
				t.Errorf("%+v", s)
			}
			mu.Lock()
			defer mu.Unlock()
			if deleted != c.mapped {
				t.Errorf("taken back: %v", deleted)
			}
		})
	}
}

// TestNoRouter: nobody answers in any way.
func TestNoRouter(t *testing.T) {
	home(t)
	if s := run(t, func(s State) bool { return s.Problem != "" }); s.Mapped || !strings.Contains(s.Problem, "forward UDP port 443 to 192.0.2.9 by hand") {
		t.Errorf("%+v", s)
	}
}

// TestMiniupnpd: Debian's router daemon, which half of all home routers run, in each of its three protocols.
func TestMiniupnpd(t *testing.T) {
	program, err := exec.LookPath("miniupnpd")
	nft, nerr := exec.LookPath("nft")
	if err := errors.Join(err, nerr); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no miniupnpd: apt-get install --no-install-recommends miniupnpd-nftables nftables")
		}
		t.Skip("skipped: no miniupnpd (Debian: miniupnpd-nftables, nftables)")
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	pcp := "enable_natpmp" // which later versions call otherwise
	if later := "enable_pcp_pmp"; bytes.Contains(binary, []byte(later)) {
		pcp = later
	}
	for name, enable := range map[string]string{"PCP": "enable_upnp=no\n" + pcp + "=yes\n", "UPnP": "enable_upnp=yes\n" + pcp + "=no\n"} {
		t.Run(name, func(t *testing.T) {
			peer := home(t)
			wan := netlink.NewVeth(netlink.LinkAttrs{Name: "wan0"})
			wan.PeerName = "provider"
			if err := errors.Join(peer.LinkAdd(wan), peer.LinkSetUp(wan)); err != nil {
				t.Fatal(err)
			}
			peer.Address(t, "wan0", "203.0.114.5/24")
			rules := "table inet filter { chain forward { type filter hook forward priority 0; jump miniupnpd; }; chain miniupnpd { }; " +
				"chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }; chain prerouting_miniupnpd { }; " +
				"chain postrouting { type nat hook postrouting priority 100; jump postrouting_miniupnpd; }; chain postrouting_miniupnpd { }; }"
			peer.Do(t, func() error {
				cmd := exec.Command(nft, "-f", "-")
				cmd.Stdin = strings.NewReader(rules)
				if out, err := cmd.CombinedOutput(); err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
			conf := filepath.Join(t.TempDir(), "conf")
			text := "ext_ifname=wan0\nlistening_ip=lan0\nport=0\nuuid=00000000-0000-0000-0000-000000000001\nsecure_mode=yes\nsystem_uptime=yes\n" +
				"lease_file=" + conf + ".leases\nallow 1-65535 192.0.2.0/24 1-65535\n" + enable
			if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			said, w := io.Pipe()
			t.Cleanup(func() { said.Close() })
			peer.StartTo(t, w, program, "-d", "-f", conf, "-P", conf+".pid")
			listens := make(chan bool)
			go func() {
				once := sync.OnceFunc(func() { close(listens) })
				for lines := bufio.NewScanner(said); lines.Scan(); {
					fmt.Fprintln(t.Output(), lines.Text())
					if strings.Contains(strings.ToLower(lines.Text()), "listening ") {
						once()
					}
				}
			}()
			select {
			case <-listens:
			case <-time.After(time.Minute):
				t.Fatal("miniupnpd does not listen")
			}
			mapped := func() string {
				var out []byte
				peer.Do(t, func() error {
					out, _ = exec.Command(nft, "list", "ruleset").CombinedOutput()
					return nil
				})
				return string(out)
			}
			var during string
			s := run(t, func(s State) bool {
				if s.Mapped {
					during = mapped()
				}
				return s.Mapped
			})
			if s.By != name || s.External.String() != "203.0.114.5:443" || !s.Public || s.Problem != "" {
				t.Errorf("%+v", s)
			}
			if !strings.Contains(during, "dnat ip to 192.0.2.9:443") {
				t.Errorf("the router has %s", during)
			}
			for deadline := time.Now().Add(10 * time.Second); strings.Contains(mapped(), "192.0.2.9:443"); time.Sleep(100 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("not taken back: %s", mapped())
				}
			}
		})
	}
}

package network

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"

	"github.com/postern-nas/postern/firmware/network/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// patience is for what takes a second or ten on a machine that does nothing else.
const patience = 90 * time.Second

// manage runs a manager whose one port is "port0".
func manage(t *testing.T, cfg Config) *Manager {
	t.Helper()
	cfg.Resolv = filepath.Join(t.TempDir(), "resolv.conf")
	if len(cfg.Ports) == 0 {
		cfg.Ports = []PortConfig{{Name: "port0"}}
	}
	m := New(cfg, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return m
}

// until waits for a state.
func until(t *testing.T, m *Manager, what string, f func(Port) bool) Port {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for version := uint64(0); ; {
		s, v, err := m.State.Wait(ctx, version)
		if err != nil {
			t.Fatalf("never %s: %+v", what, s)
		}
		version = v
		if len(s.Ports) == 1 && f(s.Ports[0]) {
			return s.Ports[0]
		}
	}
}

func has(p Port, s Source) bool {
	return slices.ContainsFunc(p.Addresses, func(a Address) bool { return a.Source == s && a.Prefix.Addr().Is4() })
}

// dnsmasq is Debian's DHCP server on the peer.
func dnsmasq(t *testing.T, peer *netlab.Peer, args ...string) (leases string) {
	t.Helper()
	path, err := exec.LookPath("dnsmasq")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no dnsmasq: apt-get install --no-install-recommends dnsmasq-base")
		}
		t.Skip("skipped: no dnsmasq (Debian: dnsmasq-base)")
	}
	leases = filepath.Join(t.TempDir(), "leases")
	peer.Start(t, path, append([]string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=router0", "--bind-interfaces", "--no-ping",
		"--user=root", "--pid-file=", "--dhcp-leasefile=" + leases, "--dhcp-authoritative",
	}, args...)...)
	return leases
}

// TestDHCP: a port gets all it needs from a real server, keeps it while the cable is out, and is forgotten when it goes.
func TestDHCP(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "router0", "192.0.2.1/24")
	leases := dnsmasq(t, peer, "--dhcp-range=192.0.2.50,192.0.2.60,1h", "--dhcp-option=option:dns-server,192.0.2.1,192.0.2.2",
		"--dhcp-option=option:ntp-server,192.0.2.3")
	m := manage(t, Config{Hostname: "attic"})
	p := until(t, m, "an address by DHCP", func(p Port) bool { return has(p, DHCP) })
	select {
	case <-m.Ready():
	case <-time.After(patience):
		t.Error("an address, and not ready")
	}
	if s, _ := m.State.Get(); len(s.Addresses()) == 0 {
		t.Error("ready, and no address")
	}
	if p.Mode != DHCP || p.Gateway.String() != "192.0.2.1" || fmt.Sprint(p.NTP) != "[192.0.2.3]" || p.Problem != "" ||
		time.Until(p.Until) < 50*time.Minute || !p.Cable || p.MAC == "" {
		t.Errorf("%+v", p)
	}
	if b, err := os.ReadFile(m.cfg.Resolv); err != nil || string(b) != "nameserver 192.0.2.1\nnameserver 192.0.2.2\n" {
		t.Errorf("%q (%v)", b, err)
	}
	if b, err := os.ReadFile(leases); err != nil || !strings.Contains(string(b), " attic ") {
		t.Errorf("the server knows us as %q (%v)", b, err)
	}
	routes, err := netlink.RouteGet(net.ParseIP("203.0.113.9"))
	if err != nil || len(routes) != 1 || !routes[0].Gw.Equal(net.ParseIP("192.0.2.1")) {
		t.Errorf("%v (%v)", routes, err)
	}
	addr := p.Addresses[0].Prefix

	their, err := peer.LinkByName("router0")
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.LinkSetDown(their); err != nil {
		t.Fatal(err)
	}
	if p = until(t, m, "without a cable", func(p Port) bool { return !p.Cable }); p.Problem == "" || len(p.Addresses) > 0 {
		t.Errorf("%+v", p)
	}
	if err := peer.LinkSetUp(their); err != nil {
		t.Fatal(err)
	}
	p = until(t, m, "with the address of before", func(p Port) bool { return has(p, DHCP) && p.Problem == "" })
	if p.Addresses[0].Prefix != addr {
		t.Errorf("%v, before %v", p.Addresses, addr)
	}

	link, err := netlink.LinkByName("port0")
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for version := uint64(0); ; {
		s, v, err := m.State.Wait(ctx, version)
		if err != nil {
			t.Fatalf("the port is still there: %+v", s)
		}
		if version = v; len(s.Ports) == 0 {
			break
		}
	}
	peer.Cable(t, "port0", "router0", "192.0.2.1/24") // and is found again; dnsmasq has lost its port for good
	until(t, m, "there again", func(p Port) bool { return p.Cable })
}

// TestNobodyAnswers: without a server the port chooses an address, and gives it up for a server's.
func TestNobodyAnswers(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "router0", "192.0.2.1/24", "169.254.1.1/16")
	m := manage(t, Config{Hostname: "attic"})
	p := until(t, m, "link-local", func(p Port) bool { return has(p, LinkLocal) })
	if !strings.Contains(p.Problem, "no DHCP server") {
		t.Errorf("%+v", p)
	}
	server(t, peer, &offers{addr: "192.0.2.70"})
	p = until(t, m, "an address by DHCP", func(p Port) bool { return has(p, DHCP) && !has(p, LinkLocal) })
	if p.Problem != "" {
		t.Errorf("%+v", p)
	}
}

// TestConflict: a port whose first link-local address another machine has takes another.
func TestLinkLocalConflict(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "router0")
	link, err := netlink.LinkByName("port0")
	if err != nil {
		t.Fatal(err)
	}
	first := choose(dice([6]byte(link.Attrs().HardwareAddr)))
	peer.Address(t, "router0", first.String()+"/16")
	m := manage(t, Config{Hostname: "attic"})
	p := until(t, m, "link-local", func(p Port) bool { return has(p, LinkLocal) })
	for _, a := range p.Addresses {
		if a.Prefix.Addr() == first {
			t.Errorf("took %v, which another has", first)
		}
	}
}

func TestStatic(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "router0", "192.0.2.1/24")
	cfg := PortConfig{
		Name: "port0", Address: netip.MustParsePrefix("192.0.2.9/24"), Gateway: netip.MustParseAddr("192.0.2.1"),
		DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
	}
	m := manage(t, Config{Ports: []PortConfig{cfg}})
	p := until(t, m, "static", func(p Port) bool { return has(p, Static) })
	if p.Mode != Static || p.Gateway != cfg.Gateway || p.Problem != "" {
		t.Errorf("%+v", p)
	}
	if b, err := os.ReadFile(m.cfg.Resolv); err != nil || string(b) != "nameserver 192.0.2.53\n" {
		t.Errorf("%q (%v)", b, err)
	}
}

// A port that is set otherwise has what it is set to, and nothing of before.
func TestConfigure(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "router0", "192.0.2.1/24")
	first := PortConfig{
		Name: "port0", Address: netip.MustParsePrefix("192.0.2.9/24"), Gateway: netip.MustParseAddr("192.0.2.1"),
		DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
	}
	m := manage(t, Config{Ports: []PortConfig{first}})
	at := func(c PortConfig) {
		t.Helper()
		p := until(t, m, c.Address.String(), func(p Port) bool {
			return slices.ContainsFunc(p.Addresses, func(a Address) bool { return a == Address{c.Address, Static} })
		})
		if p.Mode != Static || p.Gateway != c.Gateway || !slices.Equal(p.DNS, c.DNS) {
			t.Errorf("%+v", p)
		}
		for _, a := range p.Addresses {
			if a.Prefix.Addr().Is4() && a.Prefix != c.Address {
				t.Errorf("it still has %v", a.Prefix)
			}
		}
	}
	at(first)
	second := PortConfig{Name: "port0", Address: netip.MustParsePrefix("198.51.100.7/25")}
	m.Configure([]PortConfig{second})
	at(second)
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if r.Gw != nil {
			t.Errorf("a route of before: %v", r)
		}
	}
	m.Configure([]PortConfig{first})
	at(first)
	m.Configure([]PortConfig{{Name: "port0"}}) // DHCP; nobody answers
	until(t, m, "alone", func(p Port) bool { return p.Mode == DHCP && has(p, LinkLocal) && !has(p, Static) })
}

func TestStaticTaken(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "router0", "192.0.2.9/24")
	m := manage(t, Config{Ports: []PortConfig{{Name: "port0", Address: netip.MustParsePrefix("192.0.2.9/24")}}})
	p := until(t, m, "static", func(p Port) bool { return has(p, Static) })
	if !strings.Contains(p.Problem, "another machine has") {
		t.Errorf("%+v", p)
	}
}

// offers is what a DHCP server of the test's does.
type offers struct {
	addr     string
	time     time.Duration
	nakRenew bool

	declined chan string
	renewals chan bool
}

// server runs a DHCP server on the peer's port.
func server(t *testing.T, peer *netlab.Peer, o *offers) {
	t.Helper()
	handle := func(c net.PacketConn, from net.Addr, m *dhcpv4.DHCPv4) {
		reply := func(kind dhcpv4.MessageType) {
			r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.ParseIP(o.addr)),
				dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP("192.0.2.1"))), dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32))),
				dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(max(o.time, time.Minute))))
			if err == nil {
				_, err = c.WriteTo(r.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort})
			}
			if err != nil {
				t.Log(err)
			}
		}
		switch m.MessageType() {
		case dhcpv4.MessageTypeDiscover:
			reply(dhcpv4.MessageTypeOffer)
		case dhcpv4.MessageTypeRequest:
			renewal := !m.ClientIPAddr.IsUnspecified()
			if renewal && o.nakRenew {
				reply(dhcpv4.MessageTypeNak)
			} else {
				reply(dhcpv4.MessageTypeAck)
			}
			if renewal && o.renewals != nil {
				select {
				case o.renewals <- true:
				default:
				}
			}
		case dhcpv4.MessageTypeDecline:
			o.declined <- m.RequestedIPAddress().String()
		}
	}
	peer.Do(t, func() error {
		s, err := server4.NewServer("router0", &net.UDPAddr{IP: net.IPv4zero, Port: dhcpv4.ServerPort}, handle)
		if err != nil {
			return err
		}
		go s.Serve() //nolint:errcheck // it ends with the test
		t.Cleanup(func() { s.Close() })
		return nil
	})
}

// TestDecline: an address that another machine has is given back, and the box goes on without it.
func TestDecline(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "router0", "192.0.2.1/24", "192.0.2.70/24")
	o := &offers{addr: "192.0.2.70", declined: make(chan string, 16)}
	server(t, peer, o)
	m := manage(t, Config{Hostname: "attic"})
	select {
	case got := <-o.declined:
		if got != "192.0.2.70" {
			t.Errorf("declined %s", got)
		}
	case <-time.After(patience):
		t.Fatal("not declined")
	}
	p := until(t, m, "alone", func(p Port) bool { return p.Problem != "" })
	if has(p, DHCP) || !strings.Contains(p.Problem, "192.0.2.70") {
		t.Errorf("%+v", p)
	}
}

// TestHold is renewal in its three forms, without waiting for the half of a minute: the lease is made short behind
// readLease's bounds.
func TestHold(t *testing.T) {
	for name, nak := range map[string]bool{"renewed": false, "taken back": true} {
		t.Run(name, func(t *testing.T) {
			peer := netlab.New(t)
			peer.Cable(t, "port0", "router0", "192.0.2.1/24")
			o := &offers{addr: "192.0.2.70", nakRenew: nak, renewals: make(chan bool, 1)}
			server(t, peer, o)
			netlab.Up(t, "port0")
			m := New(Config{Resolv: filepath.Join(t.TempDir(), "r")}, slog.New(slog.NewTextHandler(t.Output(), nil)))
			link, err := netlink.LinkByName("port0")
			if err != nil {
				t.Fatal(err)
			}
			p := m.newPort(link.Attrs())
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			l, err := p.request(ctx)
			if err == nil {
				err = p.take(l)
			}
			if err != nil {
				t.Fatal(err)
			}
			l.time = 2 * time.Second
			held, stop := context.WithCancel(ctx)
			done := make(chan bool)
			go func() { p.hold(held, l); close(done) }()
			select {
			case <-o.renewals:
			case <-ctx.Done():
				t.Fatal("not renewed")
			}
			if nak {
				<-done
			} else {
				select {
				case <-done:
					t.Error("gave up a lease that was renewed")
				case <-time.After(2 * time.Second):
				}
			}
			stop()
			<-done
			if p.have.IsValid() == nak {
				t.Errorf("has %v", p.have)
			}
		})
	}
}

func TestReadLease(t *testing.T) {
	ip := func(s string) net.IP { return net.ParseIP(s).To4() }
	read := func(addr string, options ...dhcpv4.Option) (lease, error) {
		t.Helper()
		var m []dhcpv4.Modifier
		for _, o := range options {
			m = append(m, dhcpv4.WithOption(o))
		}
		ack, err := dhcpv4.New(append(m, dhcpv4.WithYourIP(ip(addr)))...)
		if err != nil {
			t.Fatal(err)
		}
		return readLease(&nclient4.Lease{ACK: ack})
	}
	servers := []net.IP{ip("0.0.0.0"), ip("10.0.0.2"), ip("10.0.0.3"), ip("127.0.0.1"), ip("10.0.0.4"), ip("10.0.0.5")}
	l, err := read("10.0.0.9", dhcpv4.OptSubnetMask(net.CIDRMask(24, 32)), dhcpv4.OptRouter(ip("192.168.0.1"), ip("10.0.0.1")),
		dhcpv4.OptDNS(servers...), dhcpv4.OptNTPServers(servers...), dhcpv4.OptIPAddressLeaseTime(2*time.Hour))
	if err != nil || l.addr.String() != "10.0.0.9/24" || l.router.String() != "10.0.0.1" || len(l.dns) != 3 || len(l.ntp) != 3 ||
		l.time != 2*time.Hour {
		t.Errorf("%+v (%v)", l, err)
	}
	for want, option := range map[time.Duration]dhcpv4.Option{
		minLease:  dhcpv4.OptIPAddressLeaseTime(time.Second),
		maxLease:  dhcpv4.OptIPAddressLeaseTime(365 * 24 * time.Hour),
		time.Hour: dhcpv4.OptHostName("no time at all"),
	} {
		if l, err := read("10.0.0.9", option); err != nil || l.time != want || l.addr.String() != "10.0.0.9/8" || l.router.IsValid() {
			t.Errorf("%+v (%v), want %v", l, err, want)
		}
	}
	for _, bad := range []string{"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"} {
		if l, err := read(bad); err == nil {
			t.Errorf("took %s: %+v", bad, l)
		}
	}
}

func TestState(t *testing.T) {
	at := func(s string) Address { return Address{Prefix: netip.MustParsePrefix(s)} }
	s := State{Ports: []Port{
		{Name: "a", Addresses: []Address{at("fe80::1/64"), at("fd00::1/64"), at("169.254.1.1/16")}, Problem: "no cable"},
		{Name: "b", Addresses: []Address{at("192.0.2.1/24"), at("192.0.2.2/24")}, NTP: []netip.Addr{netip.MustParseAddr("192.0.2.3")}},
	}}
	if got := fmt.Sprint(s.Addresses()); got != "[192.0.2.1 192.0.2.2 fd00::1 169.254.1.1 fe80::1]" {
		t.Error(got)
	}
	if got := fmt.Sprint(s.Networks()); got != "[fe80::/64 fd00::/64 169.254.0.0/16 192.0.2.0/24]" {
		t.Error(got)
	}
	if got := fmt.Sprint(s.Problems(), s.NTP()); got != "[a: no cable] [192.0.2.3]" {
		t.Error(got)
	}
}

package network

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"

	"github.com/postern-nas/postern/firmware/network/netlab"
)

const (
	dns6    = "2001:db8:1::53"
	ntp6    = "2001:db8:1::123"
	router6 = "2001:db8:1::1"
)

// TestRouters: what a real router announces, and what a real DHCPv6 server behind it knows, is used.
func TestRouters(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string // dnsmasq's
		leased bool     // there is an address by DHCPv6
		ntp    string
		dns    string
	}{
		"announced": {[]string{"--dhcp-range=2001:db8:1::,ra-only"}, false, "[]", dns6},
		"stateless": {[]string{"--dhcp-range=2001:db8:1::,ra-stateless", "--dhcp-option=option6:ntp-server,[" + ntp6 + "]"}, false, "[" + ntp6 + "]", dns6},
		"managed":   {[]string{"--dhcp-range=2001:db8:1::50,2001:db8:1::5f,64,1h", "--dhcp-option=option6:sntp-server,[" + ntp6 + "]"}, true, "[" + ntp6 + "]", dns6},
	} {
		t.Run(name, func(t *testing.T) {
			peer := netlab.New(t)
			peer.Cable(t, "port0", "router0", router6+"/64")
			dnsmasq(t, peer, append([]string{
				"--enable-ra", "--ra-param=router0,10", "--dhcp-option=option6:dns-server,[" + dns6 + "]", "--dhcp-option=option6:domain-search,Attic.Example",
			}, c.args...)...)
			m := manage(t, Config{Hostname: "attic"})
			p := until(t, m, "told all", func(p Port) bool {
				return len(p.DNS) > 0 && len(p.Search) > 0 && fmt.Sprint(p.NTP) == c.ntp && slices.ContainsFunc(p.Addresses, func(a Address) bool {
					return a.Prefix.Addr().IsGlobalUnicast() && a.Prefix.Addr().Is6() && (a.Source == DHCP) == c.leased
				})
			})
			if fmt.Sprint(p.DNS, p.Search) != "["+c.dns+"] [attic.example]" {
				t.Errorf("%+v", p)
			}
			for _, a := range p.Addresses {
				if a.Source == DHCP && (a.Prefix.Bits() != 128 || !netip.MustParsePrefix("2001:db8:1::50/124").Contains(a.Prefix.Addr())) {
					t.Errorf("leased %v", a)
				}
			}
			if b, err := os.ReadFile(m.cfg.Resolv); err != nil || string(b) != "nameserver "+c.dns+"\nsearch attic.example\n" {
				t.Errorf("%q (%v)", b, err)
			}
		})
	}
}

// TestStaticDNS: name servers that the owner has named are all there are.
func TestStaticDNS(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "router0", "192.0.2.1/24", router6+"/64")
	dnsmasq(t, peer, "--enable-ra", "--dhcp-range=2001:db8:1::,ra-stateless", "--dhcp-option=option6:dns-server,["+dns6+"]", "--dhcp-option=option6:ntp-server,["+ntp6+"]")
	m := manage(t, Config{Ports: []PortConfig{{Name: "port0", Address: netip.MustParsePrefix("192.0.2.9/24"), DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")}}}})
	p := until(t, m, "told all", func(p Port) bool { return len(p.NTP) > 0 && has(p, Static) })
	if fmt.Sprint(p.DNS, p.NTP) != "[192.0.2.53] ["+ntp6+"]" {
		t.Errorf("%+v", p)
	}
}

// lease6Lab is a port with a lease of a dnsmasq's, whose server end the test ends.
func lease6Lab(t *testing.T, ctx context.Context) (p *port, l lease6, end func()) {
	t.Helper()
	peer := netlab.New(t)
	peer.Cable(t, "port0", "router0", router6+"/64")
	dnsmasq(t, peer, "--dhcp-range=2001:db8:1::50,2001:db8:1::5f,64,1h")
	netlab.Up(t, "port0", "fe80::9/64")
	m := New(Config{Resolv: filepath.Join(t.TempDir(), "r")}, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})))
	link, err := netlink.LinkByName("port0")
	if err != nil {
		t.Fatal(err)
	}
	p = m.newPort(link.Attrs())
	for ctx.Err() == nil {
		if l, err = p.ask6(ctx, managed); err == nil && l.addr.IsValid() {
			break
		}
		t.Log(err)
		sleep(ctx, time.Second)
	}
	if err := p.take6(ctx, l); err != nil || !p.have6.IsValid() {
		t.Fatalf("%v: %+v", err, l)
	}
	return p, l, func() {
		their, err := peer.LinkByName("router0")
		if err == nil {
			err = peer.AddrDel(their, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(router6 + "/64"))})
		}
		if err == nil {
			err = peer.LinkSetDown(their)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func has6(t *testing.T, addr netip.Addr) bool {
	t.Helper()
	link, err := netlink.LinkByName("port0")
	if err != nil {
		t.Fatal(err)
	}
	list, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(list, func(a netlink.Addr) bool { return a.IP.Equal(addr.AsSlice()) })
}

// TestHold6: a lease is renewed when it is time, by the same server or any, and is lost at its end if nobody answers.
func TestHold6(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p, l, end := lease6Lab(t, ctx)
	for kind, rebind := range map[dhcpv6.MessageType]time.Duration{dhcpv6.MessageTypeRenew: time.Hour, dhcpv6.MessageTypeRebind: 0} {
		if again, err := p.again6(ctx, kind, l); err != nil || again.addr != l.addr {
			t.Errorf("%v: %+v (%v)", kind, again, err)
		}
		l.rebind = rebind
	}
	stranger := l
	stranger.addr = netip.MustParseAddr("2001:db8:9::9")
	if again, err := p.again6(ctx, dhcpv6.MessageTypeRenew, stranger); err == nil {
		t.Errorf("renewed an address of nowhere: %+v", again)
	}
	end()
	l.renew, l.rebind, l.valid = 100*time.Millisecond, 200*time.Millisecond, time.Second
	p.hold6(ctx, l)
	if ctx.Err() != nil || p.have6.IsValid() || has6(t, l.addr) {
		t.Errorf("still has %v", p.have6)
	}
	if s := p.m.six["port0"]; len(s.dhcp.source) > 0 {
		t.Errorf("%+v", s)
	}
}

// TestTaken6: an address that another machine has is not kept.
func TestTaken6(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "router0", router6+"/64", "2001:db8:1::70/64")
	netlab.Up(t, "port0", "fe80::9/64")
	m := New(Config{Resolv: filepath.Join(t.TempDir(), "r")}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	link, err := netlink.LinkByName("port0")
	if err != nil {
		t.Fatal(err)
	}
	p := m.newPort(link.Attrs())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	taken := netip.MustParsePrefix("2001:db8:1::70/128")
	l := lease6{addr: taken.Addr(), valid: time.Hour, preferred: time.Hour}
	if err := p.apply6(ctx, taken, l); err != errTaken || has6(t, taken.Addr()) {
		t.Errorf("%v", err)
	}
	free := netip.MustParsePrefix("2001:db8:1::71/128")
	if err := p.apply6(ctx, free, l); err != nil || !has6(t, free.Addr()) {
		t.Errorf("%v", err)
	}
}

// TestAnnounced: name servers and domains stay as long as their router says, and no more of them than there is room for.
func TestAnnounced(t *testing.T) {
	now := time.Unix(1e9, 0)
	addr := netip.MustParseAddr
	say := func(life time.Duration, servers ...string) ndp.Option {
		o := &ndp.RecursiveDNSServer{Lifetime: life}
		for _, s := range servers {
			o.Servers = append(o.Servers, addr(s))
		}
		return o
	}
	search := func(life time.Duration, names ...string) ndp.Option {
		return &ndp.DNSSearchList{Lifetime: life, DomainNames: names}
	}
	var a announced
	for i, step := range []struct {
		after   time.Duration
		options []ndp.Option
		want    string
	}{
		{0, nil, "[] []"},
		{0, []ndp.Option{say(time.Minute, "fe80::1", "fd00::1"), search(time.Hour, "Lan.", "home.arpa")}, "[fe80::1%port0 fd00::1] [lan home.arpa]"},
		{30 * time.Second, []ndp.Option{say(time.Minute, "fd00::1")}, "[fe80::1%port0 fd00::1] [lan home.arpa]"},
		{30 * time.Second, nil, "[fd00::1] [lan home.arpa]"}, // the first was told for a minute
		{0, []ndp.Option{search(0, "lan")}, "[fd00::1] [home.arpa]"},
		{0, []ndp.Option{say(0, "fd00::1", "fd00::9")}, "[] [home.arpa]"},
		{0, []ndp.Option{say(ndp.Infinity, "::", "ff02::1", "::1", "::ffff:192.0.2.1", "fd00::2", "fd00::3", "fd00::2", "fd00::4", "fd00::5")}, "[fd00::2 fd00::3 fd00::4] [home.arpa]"},
		{100 * 24 * time.Hour, nil, "[fd00::2 fd00::3 fd00::4] []"},
	} {
		now = now.Add(step.after)
		a.take(&ndp.RouterAdvertisement{Options: step.options}, "port0", now)
		if k := a.known(); fmt.Sprint(k.dns, k.search) != step.want {
			t.Errorf("step %d: %v %v, want %s", i, k.dns, k.search, step.want)
		}
	}
	if at := a.expires(); !at.After(now) {
		t.Errorf("expires %v", at)
	}
}

func TestDomains(t *testing.T) {
	long := strings.Repeat("a", 63)
	for list, want := range map[string]string{
		"":                             "[]",
		"Example.ORG. lan":             "[example.org lan]",
		"lan lan":                      "[lan]",
		". .. a..b -":                  "[-]",
		"ex\nnameserver x/y a;b *.c":   "[ex nameserver]", // of what a file would be made of, names are left
		long + "." + long + " " + long: "[" + long + "." + long + " " + long + "]",
		long + "a":                     "[]",
		"a b c d e f g h":              "[a b c d e f]",
	} {
		var names []string
		for n := range strings.FieldsSeq(list) {
			names = append(names, n)
		}
		if got := fmt.Sprint(domains(names)); got != want {
			t.Errorf("%q: %s, want %s", list, got, want)
		}
	}
	if got := domains([]string{"a\nnameserver 6.6.6.6", "a b", long + "." + long + "." + long + "." + long + "." + long}); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

// offer6 is an answer with an address.
func offer6(addr string, change func(*dhcpv6.Message, *dhcpv6.OptIANA)) *dhcpv6.Message {
	m, err := dhcpv6.NewMessage(dhcpv6.WithServerID(&dhcpv6.DUIDOpaque{Data: []byte("server")}), dhcpv6.WithClientID(&dhcpv6.DUIDOpaque{Data: []byte("us")}))
	if err != nil {
		panic(err)
	}
	m.MessageType = dhcpv6.MessageTypeReply
	ia := &dhcpv6.OptIANA{T1: 10 * time.Minute, T2: 20 * time.Minute}
	ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: netip.MustParseAddr(addr).AsSlice(), PreferredLifetime: 30 * time.Minute, ValidLifetime: time.Hour})
	if change != nil {
		change(m, ia)
	}
	m.AddOption(ia)
	return m
}

func TestReadLease6(t *testing.T) {
	l, err := readLease6(offer6("2001:db8::9", nil))
	if err != nil || l.addr.String() != "2001:db8::9" || l.valid != time.Hour || l.preferred != 30*time.Minute || l.renew != 10*time.Minute || l.rebind != 20*time.Minute {
		t.Errorf("%+v (%v)", l, err)
	}
	life := func(preferred, valid, t1, t2 time.Duration) func(*dhcpv6.Message, *dhcpv6.OptIANA) {
		return func(_ *dhcpv6.Message, ia *dhcpv6.OptIANA) {
			a := ia.Options.OneAddress()
			a.PreferredLifetime, a.ValidLifetime, ia.T1, ia.T2 = preferred, valid, t1, t2
		}
	}
	const ever = 0xffffffff * time.Second
	l, err = readLease6(offer6("2001:db8::9", life(ever, ever, 0, 0)))
	if err != nil || l.valid != maxLease || l.preferred != maxLease || l.renew != maxLease/2 || l.rebind != maxLease*4/5 {
		t.Errorf("for ever: %+v (%v)", l, err)
	}
	l, err = readLease6(offer6("2001:db8::9", life(time.Second, time.Second, ever, ever)))
	if err != nil || l.valid != minLease || l.renew != minLease/2 || l.rebind > l.valid {
		t.Errorf("for a second: %+v (%v)", l, err)
	}
	refused := func(code iana.StatusCode, in bool) func(*dhcpv6.Message, *dhcpv6.OptIANA) {
		return func(m *dhcpv6.Message, ia *dhcpv6.OptIANA) {
			s := &dhcpv6.OptStatusCode{StatusCode: code}
			if in {
				ia.Options.Add(s)
			} else {
				m.AddOption(s)
			}
		}
	}
	for name, m := range map[string]*dhcpv6.Message{
		"none": offer6("::", nil), "multicast": offer6("ff02::1", nil), "link-local": offer6("fe80::1", nil), "loopback": offer6("::1", nil),
		"IPv4": offer6("::ffff:192.0.2.1", nil), "over": offer6("2001:db8::9", life(0, 0, 0, 0)), "odd": offer6("2001:db8::9", life(2*time.Hour, time.Hour, 0, 0)),
		"no address free": offer6("2001:db8::9", refused(iana.StatusNoAddrsAvail, true)), "fails": offer6("2001:db8::9", refused(iana.StatusUnspecFail, false)),
	} {
		if l, err := readLease6(m); err == nil {
			t.Errorf("%s: %+v", name, l)
		}
	}
	bare, err := dhcpv6.NewMessage()
	if err != nil {
		t.Fatal(err)
	}
	if k := readKnown(bare); k.refresh != refreshDefault || len(k.dns)+len(k.ntp)+len(k.search) > 0 {
		t.Errorf("%+v", k)
	}
}

// FuzzReadLease6: whatever a server says, what is taken of it is within bounds.
func FuzzReadLease6(f *testing.F) {
	f.Add(offer6("2001:db8::9", nil).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv6.MessageFromBytes(b)
		if err != nil {
			return
		}
		l, err := readLease6(m)
		if len(l.dns) > maxServers || len(l.ntp) > maxServers || len(l.search) > maxSearch || l.refresh < refreshLeast || l.refresh > refreshMost {
			t.Errorf("%+v", l)
		}
		if err == nil && (l.valid < minLease || l.valid > maxLease || l.renew <= 0 || l.renew > l.rebind || l.rebind > l.valid || !l.addr.IsGlobalUnicast()) {
			t.Errorf("%+v", l)
		}
	})
}

// FuzzAnnounced: the same for a router.
func FuzzAnnounced(f *testing.F) {
	seed, err := ndp.MarshalMessage(&ndp.RouterAdvertisement{OtherConfiguration: true, Options: []ndp.Option{
		&ndp.RecursiveDNSServer{Lifetime: time.Hour, Servers: []netip.Addr{netip.MustParseAddr("fd00::1")}},
		&ndp.DNSSearchList{Lifetime: time.Hour, DomainNames: []string{"example.org"}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ndp.ParseMessage(b)
		ra, ok := m.(*ndp.RouterAdvertisement)
		if err != nil || !ok {
			return
		}
		var a announced
		a.take(ra, "port0", time.Unix(1e9, 0))
		if k := a.known(); len(k.dns) > maxServers || len(k.search) > maxSearch || strings.ContainsAny(strings.Join(k.search, ""), "\n \x00") {
			t.Errorf("%+v", k)
		}
	})
}

package firewall

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/network/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

var update = flag.Bool("update", false, "write testdata anew")

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

// cases are the configurations whose rules are written down in testdata.
var cases = map[string]Config{
	"nothing": {},
	"usual":   {QUIC: 443, Page: 443, Networks: prefixes("192.168.1.0/24", "2001:db8:1:2::/64")},
	"everything": {
		QUIC: 8443, Page: 443, SMB: 445, Discovery: true, PortMap: true,
		Networks: prefixes("192.168.1.0/24", "10.0.0.0/8", "198.51.100.0/24", "fd00::/64", "fe80::/64", "192.168.1.0/24"),
		Local:    prefixes("203.0.113.0/24"),
	},
	"page outside": {QUIC: 443, Page: 443, Outside: true},
}

// text is the rules chain by chain, as in a file for nft -f.
func text(rules []Rule) string {
	var b strings.Builder
	for _, c := range chains {
		fmt.Fprintf(&b, "chain %s\n", c.name)
		for _, r := range rules {
			if r.Chain == c.name {
				fmt.Fprintf(&b, "\t%s\n", r)
			}
		}
	}
	return b.String()
}

func TestRules(t *testing.T) {
	for name, c := range cases {
		path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "_")+".txt")
		got := text(Rules(c))
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// TestNoNetBIOS: whatever is served, the ports of NetBIOS stay shut, and SMB over TCP is never for everybody.
func TestNoNetBIOS(t *testing.T) {
	for name, c := range cases {
		for _, r := range Rules(c) {
			if r.To >= 137 && r.To <= 139 {
				t.Errorf("%s: %v", name, r)
			}
			if r.To == 445 && r.Verdict != Local {
				t.Errorf("%s: %v", name, r)
			}
			if r.Chain == Local && !r.Source.IsValid() {
				t.Errorf("%s: local is everybody: %v", name, r)
			}
		}
	}
}

func TestLocals(t *testing.T) {
	var many []netip.Prefix
	for i := range 200 {
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16))
	}
	if n := len(locals(Config{Networks: many})); n != maxNetworks {
		t.Error(n)
	}
	got := locals(Config{Networks: prefixes("0.0.0.0/0", "::/0", "198.51.100.0/24", "2000::/3", "172.16.3.4/24")})
	if want := prefixes("169.254.0.0/16", "172.16.3.0/24", "fe80::/10"); !slices.Equal(got, want) {
		t.Error(got)
	}
}

// TestKernel: the kernel has the rules that were computed, as nft tells them, and the next set takes their place.
func TestKernel(t *testing.T) {
	netlab.Need(t)
	nft, err := exec.LookPath("nft")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no nft: apt-get install --no-install-recommends nftables")
		}
		t.Skip("skipped: no nft (Debian: nftables)")
	}
	t.Cleanup(func() {
		if err := Remove(); err != nil {
			t.Error(err)
		}
	})
	for name, c := range cases {
		rules := Rules(c)
		if err := Apply(rules); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out, err := exec.Command(nft, "list", "table", "inet", table).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var got []string
		policies := 0
		for line := range strings.Lines(string(out)) {
			line = strings.TrimSpace(strings.NewReplacer("meta l4proto icmp ", "", "meta l4proto ipv6-icmp ", "", " burst 5 packets", "").Replace(line))
			switch {
			case strings.HasPrefix(line, "type filter"):
				if strings.Contains(line, "policy drop") {
					policies++
				}
			case strings.HasPrefix(line, "chain "):
				got = append(got, strings.TrimSuffix(line, " {"))
			case line != "" && line != "}" && !strings.HasPrefix(line, "table "):
				got = append(got, line)
			}
		}
		var want []string
		for line := range strings.Lines(text(rules)) {
			want = append(want, strings.TrimSpace(line))
		}
		if !slices.Equal(got, want) || policies != 2 {
			t.Errorf("%s: %d chains drop; the kernel has\n%s\nand not\n%s", name, policies, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestPackets: what is served answers those it is for, from a machine of the local network and from one behind a router.
func TestPackets(t *testing.T) {
	peer := netlab.New(t)
	peer.Cable(t, "port0", "peer0", "192.168.7.2/24", "198.51.100.2/24", "2001:db8:7::2/64", "2001:db8:9::2/64")
	netlab.Up(t, "port0", "192.168.7.1/24", "198.51.100.1/24", "2001:db8:7::1/64", "2001:db8:9::1/64")
	if err := Apply(Rules(Config{QUIC: 443, Page: 8443, SMB: 445, Networks: prefixes("192.168.7.0/24", "198.51.100.0/24", "2001:db8:7::/64")})); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Remove(); err != nil {
			t.Error(err)
		}
	})
	for _, port := range []string{"8443", "445", "139", "22"} {
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
	}
	for _, port := range []string{"443", "137", "5353"} { // echoes
		u, err := net.ListenPacket("udp", ":"+port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { u.Close() })
		go func() {
			for b := make([]byte, 64); ; {
				n, from, err := u.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = u.WriteTo(b[:n], from)
			}
		}()
	}
	// The peer's address in a network, and ours.
	type way struct{ from, to string }
	near, far := []way{{"192.168.7.2", "192.168.7.1"}, {"2001:db8:7::2", "2001:db8:7::1"}}, []way{{"198.51.100.2", "198.51.100.1"}, {"2001:db8:9::2", "2001:db8:9::1"}}
	for _, c := range []struct {
		what       string
		ways       []way
		kind, port string
		open       bool
	}{
		{"QUIC from near", near, "udp", "443", true},
		{"QUIC from far", far, "udp", "443", true},
		{"the page from near", near, "tcp", "8443", true},
		{"the page from far", far, "tcp", "8443", false},
		{"SMB from near", near, "tcp", "445", true},
		{"SMB from far", far, "tcp", "445", false},
		{"NetBIOS sessions", near, "tcp", "139", false},
		{"NetBIOS names", near, "udp", "137", false},
		{"anything", near, "tcp", "22", false},
		{"mDNS that is off", near, "udp", "5353", false},
	} {
		for _, w := range c.ways {
			peer.Do(t, func() error {
				if err := exchange(c.kind, w.from, net.JoinHostPort(w.to, c.port), c.open); (err == nil) != c.open {
					t.Errorf("%s, %s to %s: %v", c.what, w.from, w.to, err)
				}
				return nil
			})
		}
	}
	// What leaves is free, and its answer comes in.
	peer.Do(t, func() error {
		l, err := net.Listen("tcp4", "198.51.100.2:80")
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			if c, err := l.Accept(); err == nil {
				c.Close()
			}
		}()
		return nil
	})
	conn, err := net.DialTimeout("tcp4", "198.51.100.2:80", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// exchange connects, and over UDP hears an echo. What is not open is not waited for as long.
func exchange(kind, from, to string, open bool) error {
	wait := 500 * time.Millisecond
	if open {
		wait = 10 * time.Second
	}
	d := net.Dialer{Timeout: wait, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	if kind == "udp" {
		d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
	}
	conn, err := d.Dial(kind, to)
	if err != nil || kind == "tcp" {
		if err == nil {
			conn.Close()
		}
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 64))
	return err
}

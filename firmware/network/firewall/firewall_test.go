package firewall

import (
	"errors"
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
	peer.Cable(t, "port0", "peer0", "192.168.7.2/24", "198.51.100.2/24")
	netlab.Up(t, "port0", "192.168.7.1/24", "198.51.100.1/24")
	if err := Apply(Rules(Config{QUIC: 443, Page: 8443, SMB: 445, Networks: prefixes("192.168.7.0/24", "198.51.100.0/24")})); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Remove(); err != nil {
			t.Error(err)
		}
	})
	for _, port := range []string{"8443", "445", "139", "22"} {
		l, err := net.Listen("tcp4", ":"+port)
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
		u, err := net.ListenPacket("udp4", ":"+port)
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
	for _, c := range []struct {
		what, from, to string
		open           bool
	}{
		{"QUIC from near", "192.168.7.2", "udp 192.168.7.1:443", true},
		{"QUIC from far", "198.51.100.2", "udp 198.51.100.1:443", true},
		{"the page from near", "192.168.7.2", "tcp 192.168.7.1:8443", true},
		{"the page from far", "198.51.100.2", "tcp 198.51.100.1:8443", false},
		{"SMB from near", "192.168.7.2", "tcp 192.168.7.1:445", true},
		{"SMB from far", "198.51.100.2", "tcp 198.51.100.1:445", false},
		{"NetBIOS sessions", "192.168.7.2", "tcp 192.168.7.1:139", false},
		{"NetBIOS names", "192.168.7.2", "udp 192.168.7.1:137", false},
		{"anything", "192.168.7.2", "tcp 192.168.7.1:22", false},
		{"mDNS that is off", "192.168.7.2", "udp 192.168.7.1:5353", false},
	} {
		wait := 10 * time.Second
		if !c.open {
			wait = 500 * time.Millisecond
		}
		peer.Do(t, func() error {
			kind, addr, _ := strings.Cut(c.to, " ")
			d := net.Dialer{Timeout: wait}
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(c.from)}
			if kind == "udp" {
				d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(c.from)}
			}
			conn, err := d.Dial(kind+"4", addr)
			if err == nil && kind == "udp" {
				_, err = conn.Write([]byte("hello"))
				err = errors.Join(err, conn.SetReadDeadline(time.Now().Add(wait)))
				if err == nil {
					_, err = conn.Read(make([]byte, 64))
				}
			}
			if conn != nil {
				conn.Close()
			}
			if (err == nil) != c.open {
				t.Errorf("%s: %v", c.what, err)
			}
			return nil
		})
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

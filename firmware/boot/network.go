package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
)

const (
	// maxLinks bounds how many Ethernet ports are brought up.
	maxLinks = 16
	// askAgain and askAgainMost are the pauses between questions that nobody answered.
	askAgain, askAgainMost = 2 * time.Second, time.Minute
	// A lease is kept for what the server says, within these: nobody makes us ask each second, or keep an address for a
	// year. RFC 2131 leaves both to the client.
	minLease, maxLease = time.Minute, 7 * 24 * time.Hour
	// maxServers is how many name servers are taken: the resolver's own bound.
	maxServers = 3
)

// network brings up every Ethernet port and keeps it with an address by DHCP (RFC 2131). IPv6 comes from the kernel, by
// router advertisements. ready is closed at the first address.
func network(ctx context.Context, log *slog.Logger) (ready <-chan struct{}) {
	first := make(chan struct{})
	var once sync.Once
	if lo, err := netlink.LinkByName("lo"); err != nil {
		log.Warn("loopback", "error", err)
	} else if err := netlink.LinkSetUp(lo); err != nil {
		log.Warn("loopback", "error", err)
	}
	ports, err := ports(os.DirFS("/sys"))
	if err != nil || len(ports) == 0 {
		log.Warn("no network port", "error", err)
	}
	for _, p := range ports {
		go keep(ctx, p, func() { once.Do(func() { close(first) }) }, log.With("port", p))
	}
	return first
}

// ports are the names of the Ethernet interfaces that are hardware.
func ports(sys fs.FS) (names []string, err error) {
	paths, err := fs.Glob(sys, "class/net/*/type")
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		dir := path.Dir(p)
		kind, err := fs.ReadFile(sys, p)
		if err != nil || strings.TrimSpace(string(kind)) != "1" { // ARPHRD_ETHER
			continue
		}
		if _, err := fs.Stat(sys, path.Join(dir, "device")); err == nil && len(names) < maxLinks {
			names = append(names, path.Base(dir))
		}
	}
	return names, nil
}

// keep asks for an address, and again when half of the lease is over, until ctx is done. The kernel takes an address
// away whose lease has ended.
func keep(ctx context.Context, port string, got func(), log *slog.Logger) {
	pause := askAgain
	told := false
	for ctx.Err() == nil {
		l, err := ask(ctx, port)
		if err == nil {
			err = apply(port, l)
		}
		next := pause
		if err == nil {
			if !told {
				log.Info("address", "ip", l.addr.String(), "router", l.router, "lease", l.time)
			}
			told = true
			got()
			pause, next = askAgain, l.time/2
		} else {
			if pause == askAgain && ctx.Err() == nil {
				log.Warn("no address; asking again", "error", err)
			}
			told, pause = false, min(2*pause, askAgainMost)
		}
		select {
		case <-ctx.Done():
		case <-time.After(next):
		}
	}
}

// A lease is what of a server's answer is used.
type lease struct {
	addr    net.IPNet
	router  net.IP // nil for none
	servers []net.IP
	time    time.Duration
}

func ask(ctx context.Context, port string) (lease, error) {
	link, err := netlink.LinkByName(port)
	if err != nil {
		return lease{}, err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return lease{}, err
	}
	c, err := nclient4.New(port) // a raw socket that sees every packet: it is closed as soon as there is an answer
	if err != nil {
		return lease{}, err
	}
	answer, err := c.Request(ctx, dhcpv4.WithOption(dhcpv4.OptHostName("postern")))
	if err := errors.Join(err, c.Close()); err != nil {
		return lease{}, err
	}
	return readLease(answer.ACK)
}

// readLease takes what makes sense from an answer.
func readLease(ack *dhcpv4.DHCPv4) (l lease, err error) {
	l.addr = net.IPNet{IP: ack.YourIPAddr.To4(), Mask: ack.SubnetMask()}
	if l.addr.IP == nil || !l.addr.IP.IsGlobalUnicast() {
		return l, fmt.Errorf("the DHCP server offers %v", ack.YourIPAddr)
	}
	if ones, bits := l.addr.Mask.Size(); bits != 32 || ones == 0 {
		l.addr.Mask = l.addr.IP.DefaultMask()
	}
	for _, r := range ack.Router() {
		if r = r.To4(); l.router == nil && r != nil && l.addr.Contains(r) {
			l.router = r
		}
	}
	for _, s := range ack.DNS() {
		if s = s.To4(); s != nil && s.IsGlobalUnicast() && len(l.servers) < maxServers {
			l.servers = append(l.servers, s)
		}
	}
	l.time = min(max(ack.IPAddressLeaseTime(time.Hour), minLease), maxLease)
	return l, nil
}

// apply gives the port its address, and the machine its router and name servers.
func apply(port string, l lease) error {
	link, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	seconds := int(l.time / time.Second)
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: &l.addr, ValidLft: seconds, PreferedLft: seconds}); err != nil {
		return fmt.Errorf("address %v: %w", &l.addr, err)
	}
	if l.router != nil {
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: l.router}); err != nil {
			return fmt.Errorf("router %v: %w", l.router, err)
		}
	}
	var text strings.Builder
	for _, s := range l.servers {
		fmt.Fprintf(&text, "nameserver %s\n", s)
	}
	return os.WriteFile("/etc/resolv.conf", []byte(text.String()), 0o644)
}

package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// askAgain and askAgainMost are the pauses between questions that nobody answered.
const askAgain, askAgainMost = 2 * time.Second, time.Minute

// A port keeps one port with an address. Its fields belong to keep, of which one runs at a time.
type port struct {
	m        *Manager
	name     string
	index    int
	hostname string
	static   bool
	cfg      PortConfig
	log      *slog.Logger

	have      netip.Prefix // the IPv4 address that we gave it; invalid: none
	last      netip.Addr   // that the DHCP server gave last
	chosen    netip.Addr   // that we chose ourselves last
	conflicts int
	have6     netip.Addr // the address that a DHCPv6 server gave it, keepLease6's alone; invalid: none
}

func (m *Manager) newPort(a *netlink.LinkAttrs) *port {
	cfg, _ := m.configured(a.Name)
	return &port{
		m: m, name: a.Name, index: a.Index, hostname: m.cfg.Hostname, cfg: cfg, static: cfg.Address.IsValid(),
		log: m.log.With("port", a.Name),
	}
}

// keep runs while there is a cable. The addresses stay when it is pulled: most often it is back in a moment, and whoever
// had a connection has it still.
func (p *port) keep(ctx context.Context) {
	p.m.note(p.name, func(n *note) { n.problem = "" })
	var six sync.WaitGroup
	six.Go(func() { p.keep6(ctx) })
	defer six.Wait()
	if p.static {
		p.keepStatic(ctx)
	} else {
		p.keepLease(ctx)
	}
}

func (p *port) keepStatic(ctx context.Context) {
	addr := p.cfg.Address
	problem := ""
	if e, closeIt, err := openEther(p.name); err != nil {
		p.log.Warn("not looked whether the address is free", "error", err)
	} else {
		if err := check(ctx, e, addr.Addr()); errors.Is(err, errConflict) {
			problem = fmt.Sprintf("another machine has the address %s too; give one of them another", addr.Addr())
			p.log.Warn("address", "ip", addr, "error", err)
		}
		closeIt()
	}
	if ctx.Err() != nil {
		return
	}
	if err := p.apply(addr, p.cfg.Gateway, 0); err != nil {
		p.log.Error("address", "ip", addr, "error", err)
		problem = fmt.Sprintf("the address %s cannot be set: %v", addr, err)
	} else {
		p.log.Info("address", "ip", addr, "router", p.cfg.Gateway, "by", "configuration")
	}
	p.m.note(p.name, func(n *note) {
		*n = note{source: map[netip.Prefix]Source{addr: Static}, gateway: p.cfg.Gateway, dns: p.cfg.DNS, problem: problem}
	})
	<-ctx.Done()
}

// keepLease asks for an address until there is one, chooses one itself meanwhile, and renews it before it ends.
func (p *port) keepLease(ctx context.Context) {
	pause := askAgain
	for ctx.Err() == nil {
		l, err := p.request(ctx)
		if err == nil {
			err = p.take(l)
		}
		if err == nil {
			pause = askAgain
			p.hold(ctx, l)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if pause == askAgain {
			p.log.Warn("no address by DHCP; asking again", "error", err)
		}
		p.alone(ctx, err, pause/2+rand.N(pause))
		pause = min(2*pause, askAgainMost)
	}
}

// alone gives the port a link-local address and keeps it for a time, after which DHCP is asked again. The address stays
// until there is another: whoever found the box by it goes on.
func (p *port) alone(ctx context.Context, why error, limit time.Duration) {
	problem := "no DHCP server answers, so the box chose an address itself; machines on this cable reach it, the Internet does not"
	if !errors.Is(why, nclient4.ErrNoResponse) {
		problem = fmt.Sprintf("no address by DHCP (%v), so the box chose one itself", why)
	}
	p.m.note(p.name, func(n *note) { n.problem = problem })
	e, closeIt, err := openEther(p.name)
	if err != nil {
		p.log.Warn("no link-local address", "error", err)
		sleep(ctx, limit)
		return
	}
	defer closeIt()
	r := dice(e.mac)
	for range p.conflicts { // further along: not the same addresses again
		choose(r)
	}
	begin := time.Now()
	if !p.chosen.IsValid() || p.have.Addr() != p.chosen {
		addr, err := claim(ctx, e, r, p.chosen, &p.conflicts)
		if err != nil {
			if ctx.Err() == nil {
				p.log.Warn("no link-local address", "error", err)
				sleep(ctx, limit)
			}
			return
		}
		prefix := netip.PrefixFrom(addr, 16)
		if err := p.apply(prefix, netip.Addr{}, 0); err != nil {
			p.log.Warn("no link-local address", "error", err)
			sleep(ctx, limit)
			return
		}
		p.chosen = addr
		p.log.Info("address", "ip", prefix, "by", "ourselves, as nobody gave one")
		p.m.note(p.name, func(n *note) { *n = note{source: map[netip.Prefix]Source{prefix: LinkLocal}, problem: problem} })
	}
	held, cancel := context.WithTimeout(ctx, max(time.Second, limit-time.Since(begin)))
	defer cancel()
	if err := defend(held, e, p.chosen); errors.Is(err, errConflict) {
		p.log.Warn("gave the link-local address up", "ip", p.chosen, "error", err)
		p.conflicts++
		p.drop()
		p.chosen = netip.Addr{}
	}
}

// take uses a lease.
func (p *port) take(l lease) error {
	fresh := p.have != l.addr
	if err := p.apply(l.addr, l.router, l.time); err != nil {
		return err
	}
	if fresh {
		p.log.Info("address", "ip", l.addr, "router", l.router, "lease", l.time)
	}
	p.last = l.addr.Addr()
	p.m.note(p.name, func(n *note) {
		*n = note{
			source: map[netip.Prefix]Source{l.addr: DHCP}, gateway: l.router, dns: l.dns, ntp: l.ntp,
			until: time.Now().Add(l.time).Round(time.Second),
		}
	})
	return nil
}

// hold keeps a lease and returns when it is lost, or ctx is done. The kernel takes an address away whose lease has ended.
func (p *port) hold(ctx context.Context, l lease) {
	end := time.Now().Add(l.time)
	for {
		left := time.Until(end)
		if left <= 0 {
			p.log.Warn("the lease has ended and nobody renews it", "ip", l.addr)
			p.drop()
			return
		}
		sleep(ctx, max(left/2, min(left, 10*time.Second)))
		if ctx.Err() != nil {
			return
		}
		renewed, err := p.renew(ctx, l)
		var nak *nclient4.ErrNak
		switch {
		case errors.As(err, &nak):
			p.log.Warn("the DHCP server takes the address back", "ip", l.addr)
			p.drop()
			return
		case err != nil:
			p.log.Debug("the lease is not renewed yet", "error", err)
			continue
		}
		if err := p.take(renewed); err != nil {
			p.log.Warn("address", "error", err)
			return
		}
		l, end = renewed, time.Now().Add(renewed.time)
	}
}

// metric makes the first port's router the one that is used.
func (p *port) metric() int { return 100 + p.index }

// apply gives the port its address, and takes the one before away if it was another. limit 0 is for ever.
func (p *port) apply(addr netip.Prefix, router netip.Addr, limit time.Duration) error {
	link, err := netlink.LinkByIndex(p.index)
	if err != nil {
		return err
	}
	seconds := int(limit / time.Second)
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(addr), ValidLft: seconds, PreferedLft: seconds}); err != nil {
		return fmt.Errorf("address %v: %w", addr, err)
	}
	if p.have.IsValid() && p.have != addr {
		p.drop()
	}
	p.have = addr
	if !router.IsValid() {
		return nil
	}
	route := &netlink.Route{LinkIndex: p.index, Gw: router.AsSlice(), Priority: p.metric(), Src: addr.Addr().AsSlice()}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("router %v: %w", router, err)
	}
	return nil
}

// drop takes our address away, and with it the routes that begin at it.
func (p *port) drop() {
	if !p.have.IsValid() {
		return
	}
	link, err := netlink.LinkByIndex(p.index)
	if err == nil {
		err = netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(p.have)})
	}
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		p.log.Debug("address not taken away", "ip", p.have, "error", err)
	}
	p.have = netip.Prefix{}
	p.m.note(p.name, func(n *note) { *n = note{problem: n.problem} })
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

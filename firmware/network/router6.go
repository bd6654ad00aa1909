package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
)

const (
	// solicits is how often routers are asked to speak up, and solicitPause how far apart (RFC 4861 section 10).
	solicits, solicitPause = 3, 4 * time.Second
	// maxSearch bounds the domains that names are completed with, and maxDomains their bytes: the resolver's own bounds.
	maxSearch, maxDomains = 6, 256
)

// What a port asks a DHCPv6 server for. Of two routers that differ the one that wants more counts, as long as the cable is in.
type mode6 int

const (
	nothing6    mode6 = iota
	information       // the O flag: name and time servers
	managed           // the M flag: an address too
)

// known is what one of IPv6's two sources, routers and DHCP server, says of a network.
type known struct {
	source   map[netip.Prefix]Source
	dns, ntp []netip.Addr
	search   []string
}

// keep6 listens to routers while there is a cable, and asks the DHCP server that they tell of. Addresses of theirs the kernel
// makes, and routes.
func (p *port) keep6(ctx context.Context) {
	for pause := askAgain; ctx.Err() == nil; pause = min(2*pause, askAgainMost) {
		if err := p.hearRouters(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("routers of IPv6 are not heard", "error", err)
			sleep(ctx, pause)
		}
	}
}

// openRouters opens a socket for router advertisements. It is not bound to an address: there may be none yet.
func openRouters(name string) (*ndp.Conn, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	c, _, err := ndp.Listen(ifi, ndp.Unspecified)
	if err != nil {
		return nil, err
	}
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterAdvertisement)
	err = errors.Join(c.SetICMPFilter(&only), c.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true))
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (p *port) hearRouters(ctx context.Context) error {
	c, err := openRouters(p.name)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	var dhcp asker
	defer func() { dhcp.end() }()
	var all announced
	asked, next := 0, time.Now()
	for {
		if now := time.Now(); asked < solicits && !now.Before(next) {
			// The kernel asks too when a port comes up. It may have done so before we listened. Without an address yet, this fails.
			_ = c.WriteTo(&ndp.RouterSolicitation{}, nil, netip.MustParseAddr("ff02::2"))
			asked, next = asked+1, now.Add(solicitPause)
		}
		until := all.expires()
		if asked < solicits && (until.IsZero() || next.Before(until)) {
			until = next
		}
		if err := c.SetReadDeadline(until); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		ra, err := p.advertisement(c)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			all.forget(time.Now())
		case err != nil:
			return err
		case ra != nil:
			asked = solicits
			all.take(ra, p.name, time.Now())
			if m := modeOf(ra); m > dhcp.mode {
				dhcp.end()
				dhcp = p.startDHCP6(ctx, m)
			}
		}
		p.m.note6(p.name, func(n *note6) { n.router = all.known() })
	}
}

// advertisement reads one, or nil for what is none: a router's comes from the link itself and has crossed no other (RFC 4861
// section 6.1.2).
func (p *port) advertisement(c *ndp.Conn) (*ndp.RouterAdvertisement, error) {
	m, control, from, err := c.ReadFrom()
	if err != nil {
		return nil, err
	}
	ra, ok := m.(*ndp.RouterAdvertisement)
	if !ok || control == nil || control.IfIndex != p.index || control.HopLimit != ndp.HopLimit || !from.IsLinkLocalUnicast() {
		return nil, nil
	}
	return ra, nil
}

func modeOf(ra *ndp.RouterAdvertisement) mode6 {
	switch {
	case ra.ManagedConfiguration:
		return managed
	case ra.OtherConfiguration:
		return information
	}
	return nothing6
}

// announced is what routers have said, for as long as they said (RFC 8106 section 5).
type announced struct {
	dns    []lasting[netip.Addr]
	search []lasting[string]
}

type lasting[T comparable] struct {
	value T
	until time.Time
}

// take notes an advertisement's name servers and domains. A lifetime of 0 takes one back.
func (a *announced) take(ra *ndp.RouterAdvertisement, port string, now time.Time) {
	a.forget(now)
	for _, o := range ra.Options {
		switch o := o.(type) {
		case *ndp.RecursiveDNSServer:
			for _, s := range o.Servers {
				if s = s.Unmap().WithZone(""); !useful6(s) {
					continue
				}
				if s.IsLinkLocalUnicast() {
					s = s.WithZone(port)
				}
				a.dns = last(a.dns, s, o.Lifetime, now, maxServers)
			}
		case *ndp.DNSSearchList:
			for _, d := range domains(o.DomainNames) {
				a.search = last(a.search, d, o.Lifetime, now, maxSearch)
			}
		}
	}
}

// last has a value stay for a time. The first ones that were told stay the first; those above most are left out.
func last[T comparable](list []lasting[T], value T, life time.Duration, now time.Time, most int) []lasting[T] {
	i := slices.IndexFunc(list, func(l lasting[T]) bool { return l.value == value })
	switch {
	case life <= 0 && i >= 0:
		return slices.Delete(list, i, i+1)
	case life <= 0:
		return list
	case i >= 0:
		list[i].until = now.Add(life)
		return list
	case len(list) < most:
		return append(list, lasting[T]{value, now.Add(life)})
	}
	return list
}

// forget drops what is over.
func (a *announced) forget(now time.Time) {
	a.dns = slices.DeleteFunc(a.dns, func(l lasting[netip.Addr]) bool { return !now.Before(l.until) })
	a.search = slices.DeleteFunc(a.search, func(l lasting[string]) bool { return !now.Before(l.until) })
}

// expires is when the first of it is over; zero for never.
func (a *announced) expires() (first time.Time) {
	sooner := func(t time.Time) {
		if first.IsZero() || t.Before(first) {
			first = t
		}
	}
	for _, l := range a.dns {
		sooner(l.until)
	}
	for _, l := range a.search {
		sooner(l.until)
	}
	return first
}

func (a *announced) known() (k known) {
	for _, l := range a.dns {
		k.dns = append(k.dns, l.value)
	}
	for _, l := range a.search {
		k.search = append(k.search, l.value)
	}
	return k
}

// useful6 says whether a server can be at an address.
func useful6(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && (a.IsGlobalUnicast() || a.IsLinkLocalUnicast())
}

// domains are those of a list that are names and can be written into the resolver's file.
func domains(list []string) (all []string) {
	total := 0
	for _, d := range list {
		d = strings.ToLower(strings.TrimSuffix(d, "."))
		label := func(l string) bool {
			return l != "" && len(l) <= 63 && strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
		}
		parts := strings.Split(d, ".")
		if total+len(d)+1 > maxDomains || len(all) == maxSearch || slices.ContainsFunc(parts, func(l string) bool { return !label(l) }) {
			continue
		}
		if !slices.Contains(all, d) {
			all, total = append(all, d), total+len(d)+1
		}
	}
	return all
}

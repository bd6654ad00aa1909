package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

const (
	// How often and how long each question is put before link-local is begun with.
	tries, answerTime = 3, 2 * time.Second
	// A lease is kept for what the server says, within these: nobody makes us ask each second, or keep an address for a
	// year. RFC 2131 leaves both to the client.
	minLease, maxLease = time.Minute, 7 * 24 * time.Hour
	// maxServers is how many name servers are taken, the resolver's own bound, and how many time servers.
	maxServers = 3
)

// A lease is what of a server's answer is used.
type lease struct {
	addr     netip.Prefix
	router   netip.Addr // invalid: none
	dns, ntp []netip.Addr
	time     time.Duration

	raw *nclient4.Lease // to renew it
}

// dhcpClient opens a raw socket that sees every packet: it is closed as soon as there is an answer. It reads in front of
// the firewall, which therefore needs no hole for DHCP.
func (p *port) ask(ctx context.Context, f func(*nclient4.Client) (*nclient4.Lease, error)) (lease, error) {
	c, err := nclient4.New(p.name, nclient4.WithTimeout(answerTime), nclient4.WithRetry(tries))
	if err != nil {
		return lease{}, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	raw, err := f(c)
	if stop() {
		err = errors.Join(err, c.Close())
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return lease{}, err
	}
	return readLease(raw)
}

// options are what every question of ours carries.
func (p *port) options(more ...dhcpv4.Modifier) []dhcpv4.Modifier {
	return append([]dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptHostName(p.hostname)),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionNTPServers),
	}, more...)
}

// request asks for an address, for the one before if there was one (RFC 2131 3.1), and does not take one that another
// machine answers for (4.4.1).
func (p *port) request(ctx context.Context) (lease, error) {
	var more []dhcpv4.Modifier
	if p.last.IsValid() {
		more = append(more, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(p.last.AsSlice())))
	}
	l, err := p.ask(ctx, func(c *nclient4.Client) (*nclient4.Lease, error) {
		offer, err := c.DiscoverOffer(ctx, p.options(more...)...)
		if err != nil {
			return nil, err
		}
		return c.RequestFromOffer(ctx, offer, p.options()...)
	})
	if err != nil {
		return l, err
	}
	e, closeIt, err := openEther(p.name)
	if err != nil {
		return l, err
	}
	defer closeIt()
	if err := check(ctx, e, l.addr.Addr()); err != nil {
		if errors.Is(err, errConflict) {
			p.decline(l)
			err = fmt.Errorf("the DHCP server offers %s, and %w", l.addr.Addr(), err)
		}
		return l, err
	}
	return l, nil
}

// renew asks to keep a lease. All servers hear it, so it is both of RFC 2131's RENEWING and REBINDING.
func (p *port) renew(ctx context.Context, old lease) (lease, error) {
	return p.ask(ctx, func(c *nclient4.Client) (*nclient4.Lease, error) {
		return c.Renew(ctx, old.raw, p.options()...)
	})
}

// decline tells the server that its address is taken (RFC 2131 3.1.5). There is no answer to it.
func (p *port) decline(l lease) {
	m, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeDecline), dhcpv4.WithHwAddr(l.raw.ACK.ClientHWAddr),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(l.addr.Addr().AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(l.raw.ACK.ServerIdentifier())))
	if err != nil {
		return
	}
	c, err := nclient4.New(p.name, nclient4.WithTimeout(50*time.Millisecond), nclient4.WithRetry(1))
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.SendAndRead(context.Background(), nclient4.DefaultServers, m, nil)
}

// readLease takes what makes sense from an answer.
func readLease(raw *nclient4.Lease) (l lease, err error) {
	ack := raw.ACK
	ip, ok := netip.AddrFromSlice(ack.YourIPAddr)
	if ip = ip.Unmap(); !ok || !ip.Is4() || !ip.IsGlobalUnicast() {
		return l, fmt.Errorf("the DHCP server offers %v", ack.YourIPAddr)
	}
	ones, bits := ack.SubnetMask().Size()
	if bits != 32 || ones == 0 {
		ones, _ = net.IP(ip.AsSlice()).DefaultMask().Size()
	}
	l.addr, l.raw = netip.PrefixFrom(ip, ones), raw
	for _, r := range addrs(ack.Router()) {
		if !l.router.IsValid() && l.addr.Masked().Contains(r) {
			l.router = r
		}
	}
	l.dns, l.ntp = addrs(ack.DNS()), addrs(ack.NTPServers())
	l.time = min(max(ack.IPAddressLeaseTime(time.Hour), minLease), maxLease)
	return l, nil
}

// addrs are the sensible ones of a list, and not too many.
func addrs(list []net.IP) (all []netip.Addr) {
	for _, s := range list {
		a, ok := netip.AddrFromSlice(s)
		if a = a.Unmap(); ok && a.Is4() && a.IsGlobalUnicast() && len(all) < maxServers {
			all = append(all, a)
		}
	}
	return all
}

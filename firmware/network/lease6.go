package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// What a server says without an address is asked for again after this, unless it says when, within the bounds (RFC 8415
	// sections 7.6 and 21.23).
	refreshDefault, refreshLeast, refreshMost = 24 * time.Hour, 10 * time.Minute, 7 * 24 * time.Hour
	// Pauses between questions that nobody answers: a network without a server has it for days.
	askAgain6, askAgainMost6 = 4 * time.Second, 10 * time.Minute
	// freeTime is how long the kernel may take to find out whether another machine has an address.
	freeTime = 5 * time.Second
)

var (
	errTaken   = errors.New("another machine has the address")
	errRefused = errors.New("the DHCPv6 server refuses")
)

// A lease6 is what of a DHCPv6 server's answer is used.
type lease6 struct {
	known
	addr             netip.Addr // invalid: none was asked for
	preferred, valid time.Duration
	renew, rebind    time.Duration // from its beginning
	refresh          time.Duration // without an address
	server           dhcpv6.DUID
}

// An asker is the client beside a port's keeper.
type asker struct {
	mode   mode6
	cancel context.CancelFunc // nil: none runs
	done   chan struct{}
}

func (a *asker) end() {
	if a.cancel != nil {
		a.cancel()
		<-a.done
	}
}

func (p *port) startDHCP6(ctx context.Context, mode mode6) asker {
	a := asker{mode: mode, done: make(chan struct{})}
	ctx, a.cancel = context.WithCancel(ctx)
	go func() {
		defer close(a.done)
		p.keepLease6(ctx, mode)
	}()
	return a
}

// keepLease6 asks until there is an answer, and again when that says.
func (p *port) keepLease6(ctx context.Context, mode mode6) {
	for pause := askAgain6; ctx.Err() == nil; {
		l, err := p.ask6(ctx, mode)
		if err == nil {
			err = p.take6(ctx, l)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if pause == askAgain6 {
				p.log.Warn("no answer by DHCPv6; asking again", "error", err)
			}
			sleep(ctx, pause)
			pause = min(2*pause, askAgainMost6)
		case l.addr.IsValid():
			pause = askAgain6
			p.hold6(ctx, l)
		default:
			pause = askAgain6
			sleep(ctx, l.refresh)
		}
	}
}

// client6 opens what asks, and says who we are: by the port's own address, so that a server knows the box again.
func (p *port) client6() (*nclient6.Client, dhcpv6.DUID, error) {
	ifi, err := net.InterfaceByName(p.name)
	if err != nil {
		return nil, nil, err
	}
	own, err := dhcpv6.GetLinkLocalAddr(p.name)
	if err != nil {
		return nil, nil, err
	}
	// The number and not the name: package net remembers for a minute which number a name had.
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{IP: own, Port: dhcpv6.DefaultClientPort, Zone: strconv.Itoa(p.index)})
	if err != nil {
		return nil, nil, err
	}
	c, err := nclient6.NewWithConn(conn, ifi.HardwareAddr, nclient6.WithTimeout(answerTime), nclient6.WithRetry(tries))
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return c, &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: ifi.HardwareAddr}, nil
}

// wanted6 are what every question asks for.
var wanted6 = []dhcpv6.OptionCode{
	dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList, dhcpv6.OptionNTPServer, dhcpv6.OptionSNTPServerList,
	dhcpv6.OptionInformationRefreshTime,
}

// question is a message of a kind, with what all have (RFC 8415 section 18.2).
func question(kind dhcpv6.MessageType, us dhcpv6.DUID, more ...dhcpv6.Option) (*dhcpv6.Message, error) {
	m, err := dhcpv6.NewMessage(dhcpv6.WithClientID(us), dhcpv6.WithRequestedOptions(wanted6...))
	if err != nil {
		return nil, err
	}
	m.MessageType = kind
	m.AddOption(dhcpv6.OptElapsedTime(0))
	for _, o := range more {
		m.AddOption(o)
	}
	return m, nil
}

// answer sends a question to all servers, and returns the first answer to us that will do.
func answer(ctx context.Context, c *nclient6.Client, q *dhcpv6.Message, kind dhcpv6.MessageType, will func(*dhcpv6.Message) bool) (*dhcpv6.Message, error) {
	us := q.Options.ClientID()
	return c.SendAndRead(ctx, c.RemoteAddr(), q, func(m *dhcpv6.Message) bool {
		return m != nil && m.MessageType == kind && m.Options.ServerID() != nil && m.Options.ClientID() != nil &&
			m.Options.ClientID().Equal(us) && (will == nil || will(m))
	})
}

// association is an IA_NA: the address we have, or none yet. Its name is the port's, the same each time.
func (p *port) association(have netip.Addr) *dhcpv6.OptIANA {
	i := &dhcpv6.OptIANA{IaId: [4]byte{byte(p.index >> 24), byte(p.index >> 16), byte(p.index >> 8), byte(p.index)}}
	if have.IsValid() {
		i.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: have.AsSlice()})
	}
	return i
}

// ask6 asks for what mode says. Where the server gives no address, what else it knows is asked for.
func (p *port) ask6(ctx context.Context, mode mode6) (lease6, error) {
	c, us, err := p.client6()
	if err != nil {
		return lease6{}, err
	}
	defer c.Close()
	if mode == managed {
		l, err := p.request6(ctx, c, us)
		if err == nil || ctx.Err() != nil {
			return l, err
		}
		p.log.Info("no address by DHCPv6", "error", err)
	}
	q, err := question(dhcpv6.MessageTypeInformationRequest, us)
	if err != nil {
		return lease6{}, err
	}
	reply, err := answer(ctx, c, q, dhcpv6.MessageTypeReply, nil)
	if err != nil {
		return lease6{}, err
	}
	l := readKnown(reply)
	if mode == managed { // there may be addresses soon
		l.refresh = refreshLeast
	}
	return l, nil
}

// request6 asks for an address: SOLICIT, ADVERTISE, REQUEST, REPLY.
func (p *port) request6(ctx context.Context, c *nclient6.Client, us dhcpv6.DUID) (lease6, error) {
	q, err := question(dhcpv6.MessageTypeSolicit, us, p.association(p.have6))
	if err != nil {
		return lease6{}, err
	}
	offer, err := answer(ctx, c, q, dhcpv6.MessageTypeAdvertise, func(m *dhcpv6.Message) bool { _, err := readLease6(m); return err == nil })
	if err != nil {
		return lease6{}, err
	}
	offered, err := readLease6(offer)
	if err != nil {
		return lease6{}, err
	}
	if q, err = question(dhcpv6.MessageTypeRequest, us, dhcpv6.OptServerID(offered.server), p.association(offered.addr)); err != nil {
		return lease6{}, err
	}
	reply, err := answer(ctx, c, q, dhcpv6.MessageTypeReply, nil)
	if err != nil {
		return lease6{}, err
	}
	return readLease6(reply)
}

// again6 is RENEW, to the server that gave a lease, REBIND, to any, or DECLINE.
func (p *port) again6(ctx context.Context, kind dhcpv6.MessageType, l lease6) (lease6, error) {
	c, us, err := p.client6()
	if err != nil {
		return lease6{}, err
	}
	defer c.Close()
	more := []dhcpv6.Option{p.association(l.addr)}
	if kind != dhcpv6.MessageTypeRebind {
		more = append(more, dhcpv6.OptServerID(l.server))
	}
	q, err := question(kind, us, more...)
	if err != nil {
		return lease6{}, err
	}
	reply, err := answer(ctx, c, q, dhcpv6.MessageTypeReply, nil)
	if err != nil || kind == dhcpv6.MessageTypeDecline {
		return lease6{}, err
	}
	return readLease6(reply)
}

// readKnown takes what makes sense of an answer beside an address.
func readKnown(m *dhcpv6.Message) (l lease6) {
	l.server = m.Options.ServerID()
	l.dns = addrs6(m.Options.DNS())
	l.ntp = addrs6(append(m.Options.NTPServers(), m.Options.SNTP()...))
	if d := m.Options.DomainSearchList(); d != nil {
		l.search = domains(d.Labels)
	}
	l.refresh = min(max(m.Options.InformationRefreshTime(refreshDefault), refreshLeast), refreshMost)
	return l
}

// readLease6 takes what makes sense of an answer that brings an address.
func readLease6(m *dhcpv6.Message) (lease6, error) {
	l := readKnown(m)
	ia := m.Options.OneIANA()
	if ia == nil {
		return l, fmt.Errorf("%w an address", errRefused)
	}
	for _, s := range []*dhcpv6.OptStatusCode{m.Options.Status(), ia.Options.Status()} {
		if s != nil && s.StatusCode != iana.StatusSuccess {
			return l, fmt.Errorf("%w: %v", errRefused, s.StatusCode)
		}
	}
	for _, a := range ia.Options.Addresses() {
		ip, ok := netip.AddrFromSlice(a.IPv6Addr)
		if !ok || !useful6(ip) || ip.IsLinkLocalUnicast() || a.ValidLifetime <= 0 || a.PreferredLifetime > a.ValidLifetime {
			continue
		}
		l.addr = ip
		l.valid = min(max(a.ValidLifetime, minLease), maxLease)
		l.preferred = min(max(a.PreferredLifetime, minLease), l.valid)
		l.renew, l.rebind = ia.T1, ia.T2
		if l.renew <= 0 || l.rebind < l.renew || l.rebind > l.valid { // ours to choose (RFC 8415 section 14.2)
			l.renew, l.rebind = l.preferred/2, l.preferred*4/5
		}
		return l, nil
	}
	return l, fmt.Errorf("%w an address", errRefused)
}

// addrs6 are the sensible ones of a list, and not too many.
func addrs6(list []net.IP) (all []netip.Addr) {
	for _, s := range list {
		a, ok := netip.AddrFromSlice(s)
		if ok && useful6(a) && !a.IsLinkLocalUnicast() && !slices.Contains(all, a) && len(all) < maxServers {
			all = append(all, a)
		}
	}
	return all
}

// take6 uses a lease. An address that another machine has is given back.
func (p *port) take6(ctx context.Context, l lease6) error {
	k := l.known
	if l.addr.IsValid() {
		prefix := netip.PrefixFrom(l.addr, 128)
		err := p.apply6(ctx, prefix, l)
		if errors.Is(err, errTaken) {
			p.log.Warn("address", "ip", prefix, "error", err)
			if _, err := p.again6(ctx, dhcpv6.MessageTypeDecline, l); err != nil {
				p.log.Info("the DHCPv6 server does not hear that an address is taken", "error", err)
			}
		}
		if err != nil {
			return err
		}
		if p.have6 != l.addr {
			p.log.Info("address", "ip", prefix, "by", "DHCPv6", "lease", l.valid)
			p.drop6()
		}
		p.have6 = l.addr
		k.source = map[netip.Prefix]Source{prefix: DHCP}
	}
	p.m.note6(p.name, func(n *note6) { n.dhcp = k })
	return nil
}

// apply6 gives the port an address and waits until the kernel has found it to be free.
func (p *port) apply6(ctx context.Context, prefix netip.Prefix, l lease6) error {
	link, err := netlink.LinkByIndex(p.index)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, freeTime)
	defer cancel()
	seen := make(chan netlink.AddrUpdate, 64)
	err = netlink.AddrSubscribeWithOptions(seen, ctx.Done(), netlink.AddrSubscribeOptions{ErrorCallback: func(error) {}})
	if err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: ipNet(prefix), ValidLft: int(l.valid / time.Second), PreferedLft: int(l.preferred / time.Second)}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("address %v: %w", prefix, err)
	}
	for {
		select {
		case u, ok := <-seen:
			ip, _ := netip.AddrFromSlice(u.LinkAddress.IP)
			switch {
			case !ok:
				return errors.New("the kernel does not say whether an address is free")
			case u.LinkIndex != p.index || ip != prefix.Addr():
			case !u.NewAddr: // one with a lifetime is taken away then
				return errTaken
			case u.Flags&unix.IFA_F_TENTATIVE == 0:
				return nil
			}
		case <-ctx.Done():
			return nil // it says so too when it is taken, later
		}
	}
}

// hold6 keeps a lease and returns when it is lost, or ctx is done. The kernel takes an address away whose lease has ended.
func (p *port) hold6(ctx context.Context, l lease6) {
	begin, next := time.Now(), l.renew
	for {
		sleep(ctx, next-time.Since(begin))
		since := time.Since(begin)
		if ctx.Err() != nil {
			return
		}
		if since >= l.valid {
			p.log.Warn("the lease has ended and nobody renews it", "ip", l.addr)
			p.lose6()
			return
		}
		kind := dhcpv6.MessageTypeRenew
		if since >= l.rebind {
			kind = dhcpv6.MessageTypeRebind
		}
		renewed, err := p.again6(ctx, kind, l)
		if err == nil {
			err = p.take6(ctx, renewed)
		}
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errRefused), errors.Is(err, errTaken):
			p.log.Warn("the DHCPv6 server takes the address back", "ip", l.addr, "error", err)
			p.lose6()
			return
		case err != nil:
			p.log.Debug("the lease is not renewed yet", "error", err)
			next = since + min(max((l.valid-since)/4, 10*time.Second), askAgainMost6)
		default:
			l, begin, next = renewed, time.Now(), renewed.renew
		}
	}
}

// drop6 takes our address by DHCPv6 away.
func (p *port) drop6() {
	if !p.have6.IsValid() {
		return
	}
	link, err := netlink.LinkByIndex(p.index)
	if err == nil {
		err = netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(p.have6, 128))})
	}
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		p.log.Debug("address not taken away", "ip", p.have6, "error", err)
	}
	p.have6 = netip.Addr{}
}

func (p *port) lose6() {
	p.drop6()
	p.m.note6(p.name, func(n *note6) { n.dhcp = known{} })
}

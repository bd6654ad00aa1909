// Package multicast speaks to groups on the local network, port by port, over IPv4 and IPv6: what mDNS and WS-Discovery
// have in common.
package multicast

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/network"
)

// maxPacket is the most that is read of one.
const maxPacket = 32 << 10

// A Port is one that we speak on.
type Port struct {
	Name     string
	Index    int
	Addrs    []netip.Addr
	Networks []netip.Prefix
}

// OnLink says whether an address is a neighbor's on this port.
func (p Port) OnLink(a netip.Addr) bool {
	a = a.WithZone("")
	return a.IsLinkLocalUnicast() || slices.ContainsFunc(p.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// Ports are those that have a cable and an address.
func Ports(s network.State) (all []Port) {
	for _, p := range s.Ports {
		q := Port{Name: p.Name, Index: indexOf(p.Name)}
		for _, a := range p.Addresses {
			q.Addrs = append(q.Addrs, a.Prefix.Addr())
			q.Networks = append(q.Networks, a.Prefix.Masked())
		}
		if q.Index > 0 && len(q.Addrs) > 0 && p.Cable {
			all = append(all, q)
		}
	}
	return all
}

// Equal compares two lists of ports.
func Equal(a, b []Port) bool {
	return slices.EqualFunc(a, b, func(a, b Port) bool {
		return a.Name == b.Name && a.Index == b.Index && slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.Networks, b.Networks)
	})
}

func indexOf(name string) int {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0
	}
	return i.Index
}

// A Packet is one that came in.
type Packet struct {
	Port int // index
	From netip.AddrPort
	Data []byte
}

// A Group is where and how far to speak.
type Group struct {
	V4, V6 string // addresses of the groups
	Port   uint16 // UDP
	Hops   int    // that a packet lives
}

// Sockets are joined to a group. Without IPv6 there is only the first. Use Open.
type Sockets struct {
	group4, group6 *net.UDPAddr

	v4 *ipv4.PacketConn
	v6 *ipv6.PacketConn
	in chan Packet

	mu     sync.Mutex
	joined []int
	done   chan struct{}
	wg     sync.WaitGroup
}

// Open binds the group's port, beside others on this machine who do the same, and joins nothing yet.
func Open(g Group) (*Sockets, error) {
	port := strconv.Itoa(int(g.Port))
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) { // another responder may be on this machine
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		})
		return errors.Join(failed, err)
	}}
	u4, err := lc.ListenPacket(context.Background(), "udp4", net.JoinHostPort("0.0.0.0", port))
	if err != nil {
		return nil, err
	}
	s := &Sockets{
		v4: ipv4.NewPacketConn(u4), in: make(chan Packet, 64), done: make(chan struct{}),
		group4: &net.UDPAddr{IP: net.ParseIP(g.V4), Port: int(g.Port)}, group6: &net.UDPAddr{IP: net.ParseIP(g.V6), Port: int(g.Port)},
	}
	if err := errors.Join(s.v4.SetControlMessage(ipv4.FlagInterface, true), s.v4.SetMulticastTTL(g.Hops), s.v4.SetTTL(g.Hops), s.v4.SetMulticastLoopback(true)); err != nil {
		u4.Close()
		return nil, err
	}
	s.wg.Go(func() {
		b := make([]byte, maxPacket)
		for {
			n, cm, from, err := s.v4.ReadFrom(b)
			if err != nil {
				return
			}
			if cm != nil {
				s.hand(cm.IfIndex, from, b[:n])
			}
		}
	})
	if u6, err := lc.ListenPacket(context.Background(), "udp6", net.JoinHostPort("::", port)); err == nil {
		s.v6 = ipv6.NewPacketConn(u6)
		_ = errors.Join(s.v6.SetControlMessage(ipv6.FlagInterface, true), s.v6.SetMulticastHopLimit(g.Hops), s.v6.SetHopLimit(g.Hops), s.v6.SetMulticastLoopback(true))
		s.wg.Go(func() {
			b := make([]byte, maxPacket)
			for {
				n, cm, from, err := s.v6.ReadFrom(b)
				if err != nil {
					return
				}
				if cm != nil {
					s.hand(cm.IfIndex, from, b[:n])
				}
			}
		})
	}
	go func() { s.wg.Wait(); close(s.in) }()
	return s, nil
}

func (s *Sockets) hand(index int, from net.Addr, b []byte) {
	u, ok := from.(*net.UDPAddr)
	if !ok {
		return
	}
	ap := u.AddrPort()
	p := Packet{index, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), slices.Clone(b)}
	select {
	case s.in <- p:
	case <-s.done:
	default: // a storm: who asked asks again
	}
}

// Packets is closed when the sockets are. Of a storm some are lost.
func (s *Sockets) Packets() <-chan Packet { return s.in }

// Join joins the group on these ports and leaves it on others.
func (s *Sockets) Join(ports []Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var now []int
	for _, p := range ports {
		now = append(now, p.Index)
		if slices.Contains(s.joined, p.Index) {
			continue
		}
		ifi := &net.Interface{Index: p.Index, Name: p.Name}
		_ = s.v4.JoinGroup(ifi, s.group4) // a port without one of the two has only the other
		if s.v6 != nil {
			_ = s.v6.JoinGroup(ifi, s.group6)
		}
	}
	for _, i := range s.joined {
		if !slices.Contains(now, i) {
			_ = s.v4.LeaveGroup(&net.Interface{Index: i}, s.group4)
			if s.v6 != nil {
				_ = s.v6.LeaveGroup(&net.Interface{Index: i}, s.group6)
			}
		}
	}
	s.joined = now
}

// Send multicasts on a port, over IPv4 where it has such an address and IPv6 likewise, or sends to one address if that is
// valid. What does not leave is lost, as packets are.
func (s *Sockets) Send(p Port, b []byte, to netip.AddrPort) {
	has := func(four bool) bool {
		return slices.ContainsFunc(p.Addrs, func(a netip.Addr) bool { return a.Is4() == four })
	}
	if to.IsValid() {
		if to.Addr().Is4() {
			_, _ = s.v4.WriteTo(b, &ipv4.ControlMessage{IfIndex: p.Index}, net.UDPAddrFromAddrPort(to))
		} else if s.v6 != nil {
			_, _ = s.v6.WriteTo(b, &ipv6.ControlMessage{IfIndex: p.Index}, net.UDPAddrFromAddrPort(to))
		}
		return
	}
	if has(true) {
		_, _ = s.v4.WriteTo(b, &ipv4.ControlMessage{IfIndex: p.Index}, s.group4)
	}
	if s.v6 != nil && has(false) {
		_, _ = s.v6.WriteTo(b, &ipv6.ControlMessage{IfIndex: p.Index}, s.group6)
	}
}

// Close leaves the groups.
func (s *Sockets) Close() {
	close(s.done)
	s.v4.Close()
	if s.v6 != nil {
		s.v6.Close()
	}
}

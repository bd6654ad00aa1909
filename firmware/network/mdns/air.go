package mdns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// mdnsPort and groups are RFC 6762 3.
const mdnsPort = 5353

var (
	group4 = &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: mdnsPort}
	group6 = &net.UDPAddr{IP: net.ParseIP("ff02::fb"), Port: mdnsPort}
)

func indexOf(name string) int {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0
	}
	return i.Index
}

// sockets are the real air. Without IPv6 there is only the first.
type sockets struct {
	v4 *ipv4.PacketConn
	v6 *ipv6.PacketConn
	in chan packet

	mu     sync.Mutex
	joined []int
	done   chan struct{}
	wg     sync.WaitGroup
}

func openAir() (air, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) { // another responder may be on this machine
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		})
		return errors.Join(failed, err)
	}}
	u4, err := lc.ListenPacket(context.Background(), "udp4", "0.0.0.0:5353")
	if err != nil {
		return nil, err
	}
	s := &sockets{v4: ipv4.NewPacketConn(u4), in: make(chan packet, 64), done: make(chan struct{})}
	if err := errors.Join(s.v4.SetControlMessage(ipv4.FlagInterface, true), s.v4.SetMulticastTTL(255), s.v4.SetTTL(255), s.v4.SetMulticastLoopback(true)); err != nil {
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
	if u6, err := lc.ListenPacket(context.Background(), "udp6", "[::]:5353"); err == nil {
		s.v6 = ipv6.NewPacketConn(u6)
		_ = errors.Join(s.v6.SetControlMessage(ipv6.FlagInterface, true), s.v6.SetMulticastHopLimit(255), s.v6.SetHopLimit(255), s.v6.SetMulticastLoopback(true))
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

func (s *sockets) hand(index int, from net.Addr, b []byte) {
	u, ok := from.(*net.UDPAddr)
	if !ok {
		return
	}
	ap := u.AddrPort()
	p := packet{index, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), slices.Clone(b)}
	select {
	case s.in <- p:
	case <-s.done:
	default: // a storm: who asked asks again
	}
}

func (s *sockets) Packets() <-chan packet { return s.in }

func (s *sockets) Join(ports []port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var now []int
	for _, p := range ports {
		now = append(now, p.index)
		if slices.Contains(s.joined, p.index) {
			continue
		}
		ifi := &net.Interface{Index: p.index, Name: p.name}
		_ = s.v4.JoinGroup(ifi, group4) // a port without one of the two has only the other
		if s.v6 != nil {
			_ = s.v6.JoinGroup(ifi, group6)
		}
	}
	for _, i := range s.joined {
		if !slices.Contains(now, i) {
			_ = s.v4.LeaveGroup(&net.Interface{Index: i}, group4)
			if s.v6 != nil {
				_ = s.v6.LeaveGroup(&net.Interface{Index: i}, group6)
			}
		}
	}
	s.joined = now
}

// Send speaks IPv4 where the port has such an address, and IPv6 likewise.
func (s *sockets) Send(p port, b []byte, to netip.AddrPort) {
	has := func(four bool) bool {
		return slices.ContainsFunc(p.addrs, func(a netip.Addr) bool { return a.Is4() == four })
	}
	if to.IsValid() {
		if to.Addr().Is4() {
			_, _ = s.v4.WriteTo(b, &ipv4.ControlMessage{IfIndex: p.index}, net.UDPAddrFromAddrPort(to))
		} else if s.v6 != nil {
			_, _ = s.v6.WriteTo(b, &ipv6.ControlMessage{IfIndex: p.index}, net.UDPAddrFromAddrPort(to))
		}
		return
	}
	if has(true) {
		_, _ = s.v4.WriteTo(b, &ipv4.ControlMessage{IfIndex: p.index}, group4)
	}
	if s.v6 != nil && has(false) {
		_, _ = s.v6.WriteTo(b, &ipv6.ControlMessage{IfIndex: p.index}, group6)
	}
}

func (s *sockets) Close() {
	close(s.done)
	s.v4.Close()
	if s.v6 != nil {
		s.v6.Close()
	}
}

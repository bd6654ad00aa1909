package quictest

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// An Impairment is what a packet socket does to packets, each way.
type Impairment struct {
	Loss  float64       // share of packets lost, 0 to 1
	Delay time.Duration // added to each packet that is sent
	Seed  uint64        // of the dice
}

// Impair makes a packet socket lose and delay packets. Closing it closes packets.
func Impair(packets net.PacketConn, how Impairment) net.PacketConn {
	return &impaired{PacketConn: packets, how: how, dice: rand.New(rand.NewPCG(how.Seed, 1))}
}

type impaired struct {
	net.PacketConn
	how Impairment

	mu   sync.Mutex
	dice *rand.Rand
}

func (c *impaired) lost() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dice.Float64() < c.how.Loss
}

func (c *impaired) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, addr, err := c.PacketConn.ReadFrom(p)
		if err != nil || !c.lost() {
			return n, addr, err
		}
	}
}

func (c *impaired) WriteTo(p []byte, addr net.Addr) (int, error) {
	switch {
	case c.lost():
	case c.how.Delay == 0:
		return c.PacketConn.WriteTo(p, addr)
	default:
		late := append([]byte(nil), p...)
		time.AfterFunc(c.how.Delay, func() { _, _ = c.PacketConn.WriteTo(late, addr) })
	}
	return len(p), nil
}

// Disguise makes a server's packet socket see each client under the address that as gives for its real one, so that
// one machine can play many. as must be a one-to-one function.
func Disguise(packets net.PacketConn, as func(netip.AddrPort) netip.AddrPort) net.PacketConn {
	return &disguised{PacketConn: packets, as: as, real: make(map[netip.AddrPort]net.Addr)}
}

type disguised struct {
	net.PacketConn
	as func(netip.AddrPort) netip.AddrPort

	mu   sync.Mutex
	real map[netip.AddrPort]net.Addr
}

func (c *disguised) ReadFrom(p []byte) (int, net.Addr, error) {
	n, addr, err := c.PacketConn.ReadFrom(p)
	udp, ok := addr.(*net.UDPAddr)
	if err != nil || !ok {
		return n, addr, err
	}
	mask := c.as(udp.AddrPort())
	c.mu.Lock()
	c.real[mask] = addr
	c.mu.Unlock()
	return n, net.UDPAddrFromAddrPort(mask), nil
}

func (c *disguised) WriteTo(p []byte, addr net.Addr) (int, error) {
	if udp, ok := addr.(*net.UDPAddr); ok {
		c.mu.Lock()
		real, ok := c.real[udp.AddrPort()]
		c.mu.Unlock()
		if ok {
			addr = real
		}
	}
	return c.PacketConn.WriteTo(p, addr)
}

package network

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// An arp is a packet of the Address Resolution Protocol for IPv4 on Ethernet (RFC 826).
type arp struct {
	op        uint16
	senderMAC [6]byte
	sender    netip.Addr // 0.0.0.0 in a probe (RFC 5227 1.1)
	targetMAC [6]byte
	target    netip.Addr
}

// Operations.
const (
	arpRequest = 1
	arpReply   = 2
)

// arpSize is what one takes on Ethernet, without padding.
const arpSize = 28

var errARP = errors.New("not an ARP packet for IPv4 on Ethernet")

func (a arp) bytes() []byte {
	b := make([]byte, 0, arpSize)
	b = binary.BigEndian.AppendUint16(b, 1) // Ethernet
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IP)
	b = append(b, 6, 4) // lengths of the two kinds of address
	b = binary.BigEndian.AppendUint16(b, a.op)
	b = append(b, a.senderMAC[:]...)
	b = append(b, a.sender.AsSlice()...)
	b = append(b, a.targetMAC[:]...)
	return append(b, a.target.AsSlice()...)
}

func parseARP(b []byte) (a arp, err error) {
	if len(b) < arpSize || binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != unix.ETH_P_IP || b[4] != 6 || b[5] != 4 {
		return a, errARP
	}
	a.op = binary.BigEndian.Uint16(b[6:])
	copy(a.senderMAC[:], b[8:])
	a.sender = netip.AddrFrom4([4]byte(b[14:18]))
	copy(a.targetMAC[:], b[18:])
	a.target = netip.AddrFrom4([4]byte(b[24:28]))
	return a, nil
}

// probe asks who has an address without claiming it; announce claims it (RFC 5227 2.1.1, 2.3).
func probe(mac [6]byte, addr netip.Addr) arp {
	return arp{op: arpRequest, senderMAC: mac, sender: netip.IPv4Unspecified(), target: addr}
}

func announce(mac [6]byte, addr netip.Addr) arp {
	return arp{op: arpRequest, senderMAC: mac, sender: addr, target: addr}
}

// taken says whether a packet shows that another than mac has addr, or wants it at this moment.
func (a arp) taken(mac [6]byte, addr netip.Addr) bool {
	if a.senderMAC == mac {
		return false
	}
	return a.sender == addr || a.op == arpRequest && a.sender.IsUnspecified() && a.target == addr
}

// An ether is the ARP traffic of one port.
type ether struct {
	mac  [6]byte
	send func(arp) error
	in   <-chan arp // closed at the end
}

// openEther listens to the ARP traffic of a port until closed.
func openEther(port string) (e ether, closeIt func(), err error) {
	ifi, err := net.InterfaceByName(port)
	if err != nil {
		return e, nil, err
	}
	c, err := packet.Listen(ifi, packet.Datagram, unix.ETH_P_ARP, nil)
	if err != nil {
		return e, nil, err
	}
	in := make(chan arp, 64)
	copy(e.mac[:], ifi.HardwareAddr)
	e.in = in
	everyone := &packet.Addr{HardwareAddr: net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	e.send = func(a arp) error {
		if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		_, err := c.WriteTo(a.bytes(), everyone)
		return err
	}
	go func() {
		defer close(in)
		for b := make([]byte, 128); ; {
			n, _, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if a, err := parseARP(b[:n]); err == nil {
				select {
				case in <- a:
				default: // a storm: what is lost will be said again
				}
			}
		}
	}()
	return e, func() { c.Close() }, nil
}

package portmap

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"
)

// Numbers of RFC 6887 7 and 11, and of RFC 6886.
const (
	pcpPort     = 5351
	pcpVersion  = 2
	pcpMap      = 1
	pcpReply    = 0x80
	pcpHeader   = 24
	pcpSize     = pcpHeader + 36
	protocolUDP = 17
)

// results are what a router's refusals mean (RFC 6887 7.4).
var pcpResults = map[byte]string{
	2: "it does not allow this box to open ports", 3: "it did not understand the request", 7: "its network is down",
	8: "it has no room for another open port", 10: "it has no room for another open port", 11: "the port is taken",
	12: "it sees the box at another address than it has, as through a second router", 13: "it is too busy",
}

// pcp is the Port Control Protocol.
type pcp struct {
	router netip.AddrPort
	own    netip.Addr
	port   uint16
	nonce  [12]byte
}

func newPCP(router, own netip.Addr, port uint16) *pcp {
	p := &pcp{router: netip.AddrPortFrom(router, pcpPort), own: own, port: port}
	rand.Read(p.nonce[:])
	return p
}

func (p *pcp) name() string { return "PCP" }

// request asks for a life of so long; none ends it.
func (p *pcp) request(life time.Duration) []byte {
	b := make([]byte, pcpSize)
	b[0], b[1] = pcpVersion, pcpMap
	binary.BigEndian.PutUint32(b[4:], uint32(life/time.Second))
	own := p.own.As16()
	copy(b[8:], own[:])
	copy(b[24:], p.nonce[:])
	b[36] = protocolUDP
	binary.BigEndian.PutUint16(b[40:], p.port)
	any4 := netip.MustParseAddr("0.0.0.0").As16()
	if life > 0 {
		binary.BigEndian.PutUint16(b[42:], p.port)
	}
	copy(b[44:], any4[:])
	return b
}

var errNotOurs = errors.New("not an answer to us")

// read takes an answer apart. errNotOurs is one to something else, to be waited past.
func (p *pcp) read(b []byte) (m mapping, err error) {
	if len(b) < 4 {
		return m, errNotOurs
	}
	if b[0] != pcpVersion { // a router that knows NAT-PMP alone says so (RFC 6887 9, RFC 6886 3.5)
		return m, errSilent
	}
	if b[1] != pcpMap|pcpReply || len(b) < pcpHeader {
		return m, errNotOurs
	}
	switch code := b[3]; {
	case code == 1 || code == 4 || code == 5: // version, opcode or option not supported
		return m, errSilent
	case code != 0:
		words := pcpResults[code]
		if words == "" {
			words = "it gives no reason"
		}
		return m, refusal{words, int(code)}
	}
	if len(b) < pcpSize || [12]byte(b[24:36]) != p.nonce || b[36] != protocolUDP || binary.BigEndian.Uint16(b[40:]) != p.port {
		return m, errNotOurs
	}
	m.life = time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Second
	m.external = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[44:60])).Unmap(), binary.BigEndian.Uint16(b[42:]))
	if m.life <= 0 || m.external.Port() == 0 {
		return m, errNotOurs
	}
	m.life = min(m.life, 24*time.Hour)
	return m, nil
}

// pauses are how long each packet is waited for, as NAT-PMP's (RFC 6886 3.1); PCP's own would make the owner wait.
var pauses = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}

func (p *pcp) add(ctx context.Context) (mapping, error) { return p.ask(ctx, p.request(lifetime)) }

func (p *pcp) remove(ctx context.Context) error {
	c, err := p.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for range 2 { // there is an answer, and nobody to be interested
		if _, err := c.Write(p.request(0)); err != nil {
			return err
		}
	}
	return nil
}

func (p *pcp) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.own, 0))} // from elsewhere nothing is taken
	return d.DialContext(ctx, "udp", p.router.String())
}

func (p *pcp) ask(ctx context.Context, request []byte) (m mapping, err error) {
	c, err := p.dial(ctx)
	if err != nil {
		return m, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	for _, pause := range pauses {
		if _, err := c.Write(request); err != nil {
			return m, errors.Join(errSilent, err)
		}
		if err := c.SetReadDeadline(time.Now().Add(pause)); err != nil {
			return m, err
		}
		for b := make([]byte, 1100); ; { // RFC 6887 7
			n, err := c.Read(b)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				break
			}
			if err != nil { // nobody listens there
				return m, errors.Join(errSilent, err)
			}
			if m, err = p.read(b[:n]); !errors.Is(err, errNotOurs) {
				return m, err
			}
		}
	}
	return m, errSilent
}

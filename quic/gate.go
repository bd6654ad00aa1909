package quic

import (
	"net"
	"net/netip"
	"sync"
)

// A gate counts who is on his way in and who is in, and says no when it is enough. An arrival passes three points:
// enter (its first packet), settle (its stream is open), leave (its connection is over, whether it settled or not).
type gate struct {
	limits Limits

	mu       sync.Mutex
	shut     bool
	arriving int
	inside   int // arriving or settled
	sources  map[netip.Prefix]*source
	entered  sync.WaitGroup // one for each inside; grows only under mu while not shut
}

// source is what one prefix has inside. It is forgotten when that is nothing.
type source struct {
	arriving int
	inside   int
}

// A pass is one arrival's entry in the books.
type pass struct {
	prefix  netip.Prefix
	settled bool
	left    bool
}

func newGate(limits Limits) *gate {
	return &gate{limits: limits, sources: make(map[netip.Prefix]*source)}
}

// prefixOf is the source an address is counted under: what one customer of a provider usually holds.
func prefixOf(addr net.Addr) netip.Prefix {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := udp.AddrPort().Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// suspicious reports whether a newcomer must prove its address before it gets in.
func (g *gate) suspicious(addr net.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limits.RetryAbove < 0 || g.arriving >= g.limits.RetryAbove {
		return true
	}
	// A packet can carry anybody's address. Without this, a handful of them would keep its owner out.
	s := g.sources[prefixOf(addr)]
	return s != nil && s.arriving >= (g.limits.HandshakesPerPrefix+1)/2
}

// enter lets an arrival in, or says why not.
func (g *gate) enter(addr net.Addr) (*pass, Reason) {
	prefix := prefixOf(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources[prefix]
	if s == nil {
		s = &source{}
	}
	switch {
	case g.shut:
		return nil, ReasonClosing
	case g.inside >= g.limits.Conns:
		return nil, ReasonConns
	case g.limits.ConnsPerPrefix > 0 && s.inside >= g.limits.ConnsPerPrefix:
		return nil, ReasonPrefixConns
	case g.arriving >= g.limits.Handshakes:
		return nil, ReasonHandshakes
	case s.arriving >= g.limits.HandshakesPerPrefix:
		return nil, ReasonPrefixHandshakes
	}
	g.sources[prefix] = s
	s.arriving++
	s.inside++
	g.arriving++
	g.inside++
	g.entered.Add(1)
	return &pass{prefix: prefix}, ""
}

// settle moves an arrival out of the arriving. It reports false if it has left already.
func (g *gate) settle(p *pass) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.left {
		return false
	}
	if !p.settled {
		p.settled = true
		g.arriving--
		g.sources[p.prefix].arriving--
	}
	return true
}

// leave strikes an arrival from the books. It reports whether it had settled.
func (g *gate) leave(p *pass) (settled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.left {
		return p.settled
	}
	p.left = true
	s := g.sources[p.prefix]
	if !p.settled {
		g.arriving--
		s.arriving--
	}
	g.inside--
	s.inside--
	if s.inside == 0 {
		delete(g.sources, p.prefix)
	}
	g.entered.Done()
	return p.settled
}

// close refuses everybody from now on.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
}

func (g *gate) closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// count gives how many are arriving and how many have settled.
func (g *gate) count() (arriving, settled int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.arriving, g.inside - g.arriving
}

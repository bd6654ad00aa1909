package web

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// How many connections the page has at one time: enough for an owner's family of browsers, each of which opens six.
const (
	maxConns       = 64
	maxConnsSource = 24
)

// LocalNetwork reports whether peer is on the network of the box itself: the machine itself, a private or link-local address
// (RFC 1918, RFC 3927, RFC 4193, RFC 4291), or one in the range of an interface. Who comes through a router that puts its own
// address in the place of theirs cannot be told from who is at home; such a router forwards only what its owner told it to.
func LocalNetwork(peer netip.Addr, interfaces []netip.Prefix) bool {
	peer = peer.Unmap().WithZone("")
	if peer.IsLoopback() || peer.IsPrivate() || peer.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range interfaces {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// A door lets in a bounded number of connections, and only from where they may come.
type door struct {
	net.Listener
	may func(netip.Addr) bool

	mu   sync.Mutex
	in   int
	from map[netip.Prefix]int
}

func newDoor(l net.Listener, may func(netip.Addr) bool) *door {
	return &door{Listener: l, may: may, from: make(map[netip.Prefix]int)}
}

// Accept implements net.Listener. Whoever is not let in learns nothing, not even our certificate.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer := address(c.RemoteAddr().String())
		if !peer.IsValid() || !d.may(peer) || !d.enter(household(peer)) {
			_ = c.Close()
			continue
		}
		return &guest{Conn: c, door: d, from: household(peer)}, nil
	}
}

func (d *door) enter(from netip.Prefix) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.in >= maxConns || d.from[from] >= maxConnsSource {
		return false
	}
	d.in++
	d.from[from]++
	return true
}

func (d *door) leave(from netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.in--
	if d.from[from]--; d.from[from] == 0 {
		delete(d.from, from)
	}
}

type guest struct {
	net.Conn
	door *door
	from netip.Prefix
	once sync.Once
}

func (g *guest) Close() error {
	g.once.Do(func() { g.door.leave(g.from) })
	return g.Conn.Close()
}

// address takes the address out of one with a port.
func address(hostport string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// household is what counts as one source: an IPv4 address, or an IPv6 /64.
func household(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits)
	return p
}

// Times of HTTP: what a slow phone needs, and no more.
const (
	headerTime = 10 * time.Second
	bodyTime   = 30 * time.Second
	answerTime = time.Minute
	idleTime   = 2 * time.Minute
	uploadTime = 30 * time.Minute // of an update, over a poor radio link
)

// Sizes.
const (
	maxHeader  = 16 << 10
	maxBody    = 64 << 10
	maxUpload  = 2 << 30 // an update
	maxRestore = 64 << 20
)

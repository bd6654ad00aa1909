package pairing

import (
	"net"
	"net/netip"
)

// Local reports whether addr is in a network that one of this machine's interfaces is in, or is this machine's own. What a
// router forwards from outside has the address it came from, unless the router hides it behind its own: then it cannot be
// told from the router, which is why a forwarded page must not offer pairing at all.
func Local(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return false
	}
	if addr.IsLoopback() || addr.IsLinkLocalUnicast() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && onLink(p, addr) {
			return true
		}
	}
	return false
}

// onLink reports whether addr is in the network of an interface. One that claims a large part of all addresses, as some
// tunnels do, says nothing about who is near.
func onLink(p netip.Prefix, addr netip.Addr) bool {
	least := 48
	if p.Addr().Unmap().Is4() {
		least = 8
	}
	if p.Addr().Is4In6() {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Bits() >= least && p.Masked().Contains(addr)
}

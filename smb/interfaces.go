package smb

import (
	"net/netip"

	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// An Interface is an address of the server's, as clients choose among them.
type Interface struct {
	Index     uint32 // of the network interface that has it; several addresses may share one
	LinkSpeed uint64 // bits a second
	Addr      netip.Addr
}

const (
	// maxInterfaces bounds what a client is told of: their answer fits into one page of 16 KiB.
	maxInterfaces = 64
	// someLinkSpeed is what we say of a link that we know nothing of. Clients only compare.
	someLinkSpeed = 1_000_000_000
)

// networkInterfaces is [MS-SMB2] 3.3.5.15.11: where further channels can be opened.
func (c *control) networkInterfaces() ([]byte, error) {
	if !c.conn.info.Multichannel {
		return nil, because(nt.FSDriverRequired, "no further channels on this connection")
	}
	if c.req.FileID != wire.NoFileID {
		return nil, because(nt.InvalidParameter, "a question to the server, asked of a file")
	}
	here, err := netip.ParseAddrPort(c.conn.nc.LocalAddr().String())
	if err != nil {
		return nil, because(nt.NotSupported, "local address %v", c.conn.nc.LocalAddr())
	}
	var list []wire.NetworkInterface
	for _, i := range c.conn.srv.reachableFrom(here.Addr().Unmap().WithZone("")) {
		list = append(list, wire.NetworkInterface{Index: i.Index, LinkSpeed: i.LinkSpeed, Addr: i.Addr})
	}
	return wire.AppendNetworkInterfaces(nil, list), nil
}

// reachableFrom lists the addresses for a client that came to here. The one it came to is always among them. Who came
// from this very machine, or by a link-local address, is told no other: nobody else reaches those, and it need not reach
// what others do.
func (s *Server) reachableFrom(here netip.Addr) []Interface {
	own := Interface{Index: 1, LinkSpeed: someLinkSpeed, Addr: here}
	private := func(a netip.Addr) bool { return a.IsLoopback() || a.IsLinkLocalUnicast() }
	if s.cfg.Interfaces == nil || private(here) {
		return []Interface{own}
	}
	var list []Interface
	known := false
	for _, i := range s.cfg.Interfaces() {
		i.Addr = i.Addr.Unmap().WithZone("")
		if len(list) == maxInterfaces-1 || !i.Addr.IsGlobalUnicast() {
			continue
		}
		if i.LinkSpeed == 0 {
			i.LinkSpeed = someLinkSpeed
		}
		known = known || i.Addr == here
		list = append(list, i)
	}
	if !known { // a translated address, for example: what the client cannot reach it gives up on by itself
		list = append(list, own)
	}
	return list
}

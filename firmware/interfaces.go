package main

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/postern-nas/postern/smb"
)

// addresses tells clients where else they find us, for SMB Multichannel.
type addresses struct {
	listen string // the address that TCP listens on; "" is off
	log    *slog.Logger
}

// interfaces lists what clients may open further channels to: the addresses of all interfaces that are up, or the one that
// we listen on. Those who come by QUIC are told the same: it is the local network that channels are for.
func (a addresses) interfaces() []smb.Interface {
	all, err := net.Interfaces()
	if err != nil {
		a.log.Warn("network interfaces cannot be listed", "error", err)
		return nil
	}
	only, _ := netip.ParseAddrPort(a.listen) // else it is a name, or all addresses
	var list []smb.Interface
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away while we looked
		}
		speed := linkSpeed("/sys/class/net", i.Name)
		for _, addr := range addrs {
			p, err := netip.ParsePrefix(addr.String())
			if err != nil {
				continue
			}
			ip := p.Addr().Unmap()
			if o := only.Addr(); o.IsValid() && !o.IsUnspecified() && o.Unmap() != ip {
				continue
			}
			list = append(list, smb.Interface{Index: uint32(i.Index), LinkSpeed: speed, Addr: ip})
		}
	}
	return list
}

// linkSpeed is what the kernel says an interface does, in bits a second; 0 where it does not know, as of a bridge or a
// wireless one. dir is /sys/class/net.
func linkSpeed(dir, name string) uint64 {
	b, err := os.ReadFile(filepath.Join(dir, name, "speed"))
	if err != nil {
		return 0
	}
	mbit, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 32)
	if err != nil || mbit <= 0 {
		return 0
	}
	return uint64(mbit) * 1_000_000
}

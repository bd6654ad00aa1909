package network

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/watch"
)

// An Observer says what addresses a machine has that somebody else takes care of, as on a laptop.
type Observer struct {
	State watch.Value[State]
	Log   *slog.Logger
}

// Run is the service.
func (o *Observer) Run(ctx context.Context) error {
	events, err := openChanges()
	if err != nil {
		return err
	}
	defer events.Close()
	poke, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- follow(events, func() {
			select {
			case poke <- struct{}{}:
			default:
			}
		})
	}()
	supervise.Healthy(ctx)
	for {
		now, err := observe()
		if err != nil {
			return err
		}
		if old, version := o.State.Get(); version == 0 || !old.equal(now) {
			o.State.Set(now)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return fmt.Errorf("network events: %w", err)
		case <-poke:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settle):
		}
	}
}

// observe lists the ports that reach others.
func observe() (s State, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return s, fmt.Errorf("list of ports: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		if a.RawFlags&unix.IFF_RUNNING == 0 || a.RawFlags&unix.IFF_LOOPBACK != 0 || len(s.Ports) == 4*maxPorts {
			continue
		}
		p := Port{Name: a.Name, MAC: a.HardwareAddr.String(), Cable: true}
		list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			continue // it has just gone, which is announced too
		}
		for _, addr := range list {
			if prefix, ok := prefixOf(addr); ok && addr.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
				p.Addresses = append(p.Addresses, Address{prefix, Other})
			}
		}
		slices.SortFunc(p.Addresses, func(a, b Address) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
		s.Ports = append(s.Ports, p)
	}
	slices.SortFunc(s.Ports, func(a, b Port) int { return strings.Compare(a.Name, b.Name) })
	return s, nil
}

// Gateway returns the router that the kernel sends what is for elsewhere to, and our address towards it.
func Gateway() (router, own netip.Addr, err error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return router, own, err
	}
	best := -1
	for i, r := range routes {
		ones := 0
		if r.Dst != nil {
			ones, _ = r.Dst.Mask.Size()
		}
		if ones == 0 && r.Gw != nil && (best < 0 || r.Priority < routes[best].Priority) {
			best = i
		}
	}
	if best < 0 {
		return router, own, fmt.Errorf("there is no router")
	}
	router, _ = netip.AddrFromSlice(routes[best].Gw)
	router = router.Unmap()
	towards, err := netlink.RouteGet(routes[best].Gw)
	if err != nil || len(towards) == 0 {
		return router, own, fmt.Errorf("no way to the router %s: %w", router, err)
	}
	own, _ = netip.AddrFromSlice(towards[0].Src)
	return router, own.Unmap(), nil
}

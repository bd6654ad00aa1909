package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/tools/postern/netns"
)

// Links are two networks, of servers and of clients, and three ways between them: a pair of Ethernet interfaces, a
// WireGuard tunnel through it, and a pair of tunnels whose packets this process forwards, late and not all of them.
type links struct {
	server, client *netns.Net
	impairment     *impairment
	tunnel         *wireguard

	stops []func() error
}

// The servers' addresses. A client's end in one.
const (
	onWire      = "10.77.0.2"
	onWireGuard = "10.77.1.2"
	onLossy     = "10.77.2.2"
)

// What the lossy way does to each packet, in each direction.
const (
	lossyDelay = 25 * time.Millisecond
	lossyShare = 0.01
	lossySeed  = 1
)

// newLinks makes them. It takes root.
func newLinks() (l *links, err error) {
	l = &links{}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	for _, n := range []**netns.Net{&l.server, &l.client} {
		if *n, err = netns.New(); err != nil {
			return l, err
		}
		l.stops = append(l.stops, (*n).Close)
	}
	if err := l.wire(); err != nil {
		return l, fmt.Errorf("a pair of Ethernet interfaces: %w", err)
	}
	if err := l.wireGuard(); err != nil {
		return l, fmt.Errorf("WireGuard: %w", err)
	}
	if err := l.lossy(); err != nil {
		return l, fmt.Errorf("the impaired link: %w", err)
	}
	return l, nil
}

func (l *links) close() error {
	var errs []error
	for _, stop := range slices.Backward(l.stops) {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

// congestion is what Linux and Windows have by default, whatever this machine has.
const congestion = "cubic"

// wire joins the networks by a pair of Ethernet interfaces.
func (l *links) wire() error {
	const name = "wire"
	err := l.client.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1500, TxQLen: 1000}, PeerName: name, PeerNamespace: netlink.NsFd(l.server.Fd()),
		})
	})
	if err != nil {
		return err
	}
	return errors.Join(
		l.server.Do(func() error { return address(name, onWire) }),
		l.client.Do(func() error { return address(name, clientOf(onWire)) }))
}

// lossy joins them by a pair of tunnels and begins to forward between these.
func (l *links) lossy() error {
	var ends [2]*os.File
	for i, n := range []*netns.Net{l.server, l.client} {
		err := n.Do(func() (err error) {
			ends[i], err = openTUN("lossy")
			return err
		})
		if err != nil {
			return err
		}
		l.stops = append(l.stops, ends[i].Close)
	}
	err := errors.Join(
		l.server.Do(func() error { return address("lossy", onLossy) }),
		l.client.Do(func() error { return address("lossy", clientOf(onLossy)) }))
	if err != nil {
		return err
	}
	l.impairment = newImpairment(lossyDelay, lossyShare, lossySeed)
	l.impairment.start(ends[0], ends[1])
	return nil
}

// clientOf is the client's end of a server's address.
func clientOf(server string) string { return server[:len(server)-1] + "1" }

// address gives an interface of this network its address, sets it up, and has TCP work through it as it usually does.
func address(name, ip string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(ip + "/24")
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.AddrAdd(link, addr), netlink.LinkSetUp(link)); err != nil {
		return err
	}
	routes, err := netlink.RouteList(link, netlink.FAMILY_V4)
	for i := range routes {
		routes[i].Congctl, routes[i].Flags = congestion, 0 // that nobody is at the other end yet is no flag to set
		err = errors.Join(err, netlink.RouteReplace(&routes[i]))
	}
	return err
}

// openTUN makes a tunnel interface of this network. What is read from the file is one packet as the kernel sends it, no
// larger than the MTU: the tunnel offers no segmentation. Its queue is long, so that packets are lost only on purpose.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true) // only now: the poller takes no file that is no interface yet
	}
	if err == nil {
		var link netlink.Link
		if link, err = netlink.LinkByName(name); err == nil {
			err = errors.Join(netlink.LinkSetMTU(link, 1500), netlink.LinkSetTxQLen(link, maxQueue))
		}
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "tun"), nil
}

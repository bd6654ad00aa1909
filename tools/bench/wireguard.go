package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/postern-nas/postern/tools/postern/netns"
)

// wireGuardMTU is what is left of 1500 bytes with the largest header around it, as wg-quick has it.
const wireGuardMTU = 1420

const wireGuardPort = 51820

// A wireguard is a tunnel: the kernel's, or where it has none two processes of wireguard-go.
type wireguard struct {
	kernel bool
	pids   map[*netns.Net]int // of the processes
}

// String is how the tunnel is made.
func (w *wireguard) String() string {
	if w.kernel {
		return "the kernel's"
	}
	return "wireguard-go at both ends, because this kernel has none"
}

// wireGuard joins the two networks by a tunnel through the wire.
func (l *links) wireGuard() error {
	var keys [2]wgtypes.Key
	for i := range keys {
		var err error
		if keys[i], err = wgtypes.GeneratePrivateKey(); err != nil {
			return err
		}
	}
	l.tunnel = &wireguard{kernel: true, pids: map[*netns.Net]int{}}
	nets, ips, wires := []*netns.Net{l.server, l.client}, []string{onWireGuard, clientOf(onWireGuard)}, []string{onWire, clientOf(onWire)}
	for i, n := range nets {
		name := fmt.Sprintf("wg%d-%d", os.Getpid(), i) // sockets of wireguard-go are named by it, for the whole machine
		err := n.Do(func() error {
			return netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: wireGuardMTU, TxQLen: 1000}})
		})
		if errors.Is(err, unix.EOPNOTSUPP) {
			l.tunnel.kernel = false
			err = l.userWireGuard(n, name)
		}
		if err != nil {
			return err
		}
		err = n.Do(func() error {
			if err := configureWireGuard(name, keys[i], keys[1-i].PublicKey(), wires[1-i], ips[1-i]); err != nil {
				return err
			}
			return address(name, ips[i])
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func configureWireGuard(name string, own, peer wgtypes.Key, endpoint, ip string) error {
	c, err := wgctrl.New()
	if err != nil {
		return err
	}
	port := wireGuardPort
	return errors.Join(c.ConfigureDevice(name, wgtypes.Config{
		PrivateKey: &own, ListenPort: &port, ReplacePeers: true,
		Peers: []wgtypes.PeerConfig{{
			PublicKey: peer, Endpoint: &net.UDPAddr{IP: net.ParseIP(endpoint), Port: port},
			AllowedIPs: []net.IPNet{{IP: net.ParseIP(ip), Mask: net.CIDRMask(32, 32)}},
		}},
	}), c.Close())
}

// userWireGuard starts wireguard-go in a network.
func (l *links) userWireGuard(n *netns.Net, name string) error {
	cmd, out, err := child(nil, n, "child-wireguard", name)
	if err != nil {
		return err
	}
	l.tunnel.pids[n] = cmd.Process.Pid
	l.stops = append(l.stops, func() error {
		err := cmd.Process.Kill()
		_ = cmd.Wait() // killed, as it says
		if gone := os.Remove("/var/run/wireguard/" + name + ".sock"); !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return err
	})
	said, err := out.ReadString('\n')
	if strings.TrimSpace(said) != "up" {
		return fmt.Errorf("wireguard-go does not come up: %w", err)
	}
	return nil
}

// serveWireGuard is the child: one end of a tunnel, by the name of its interface. It says when it can be configured.
func serveWireGuard(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: INTERFACE")
	}
	t, err := tun.CreateTUN(args[0], wireGuardMTU)
	if err != nil {
		return err
	}
	dev := device.NewDevice(t, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "wireguard-go: "))
	defer dev.Close()
	sock, err := ipc.UAPIOpen(args[0])
	if err != nil {
		return err
	}
	l, err := ipc.UAPIListen(args[0], sock)
	if err != nil {
		return err
	}
	fmt.Println("up")
	for {
		c, err := l.Accept()
		if err != nil {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		go dev.IpcHandle(c)
	}
}

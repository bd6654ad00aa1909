// Command badinit is the first process of images that an update should not have brought: tests put it in the place of
// /init, with a word in the file /bad.
//
//	panic   ends, and with it the kernel
//	hang    arms the watchdog and does nothing more
//	port    takes the ports that the server needs, and becomes the server (/init.good)
//	deaf    becomes the server, and has the kernel drop all that is for it as soon as it listens
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

func main() {
	if os.Args[0] == deafens {
		fmt.Println("badinit: the server is deaf now:", deafen())
		return
	}
	word, _ := os.ReadFile("/bad")
	if err := be(strings.TrimSpace(string(word))); err != nil {
		fmt.Println("badinit:", err)
	}
}

func be(bad string) error {
	fmt.Println("badinit:", bad)
	switch bad {
	case "hang":
		if err := armWatchdog(10); err != nil {
			return err
		}
		for {
			time.Sleep(time.Hour)
		}
	case "port":
		for _, port := range []int{443, 8443} {
			if err := take(port); err != nil {
				return err
			}
		}
		return becomeServer()
	case "deaf":
		std := []*os.File{os.Stdin, os.Stdout, os.Stderr}
		_, err := os.StartProcess("/init", []string{deafens}, &os.ProcAttr{Files: std})
		return errors.Join(err, becomeServer())
	}
	return nil
}

func becomeServer() error { return syscall.Exec("/init.good", []string{"/init"}, os.Environ()) }

// deafens is the name of a process beside the server.
const deafens = "deafen"

// deafen waits until UDP port 443 is listened to, and has nothing come there any more. The server's own firewall is another
// table, and both have to let a packet pass.
func deafen() error {
	for {
		// Linux, Documentation/networking/proc_net_tcp.rst; UDP's is like it.
		if table, err := os.ReadFile("/proc/net/udp6"); err == nil && strings.Contains(string(table), ":01BB ") {
			break
		}
		time.Sleep(time.Second)
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: deafens})
	ch := c.AddChain(&nftables.Chain{
		Name: "input", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{443 >> 8, 443 & 0xff}},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	return c.Flush()
}

// take binds a UDP port for this process and what it becomes.
func take(port int) error {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM, 0) // no SOCK_CLOEXEC: it stays
	if err != nil {
		return err
	}
	return unix.Bind(s, &unix.SockaddrInet6{Port: port})
}

// armWatchdog leaves the software watchdog running.
func armWatchdog(seconds int) error {
	if err := unix.Mount("devtmpfs", "/dev", "devtmpfs", 0, ""); err != nil {
		return err
	}
	f, err := os.Open("/lib/modules/softdog.ko")
	if err != nil {
		return err
	}
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
		return err
	}
	dog, err := unix.Open("/dev/watchdog", unix.O_WRONLY, 0) // no os.File: nothing closes it
	if err != nil {
		return err
	}
	return unix.IoctlSetPointerInt(dog, unix.WDIOC_SETTIMEOUT, seconds)
}

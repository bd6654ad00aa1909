// Command badinit is the first process of images that an update should not have brought: tests put it in the place of
// /init, with a word in the file /bad.
//
//	panic   ends, and with it the kernel
//	hang    arms the watchdog and does nothing more
//	port    takes the ports that the server needs, and becomes the server (/init.good)
package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
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
		return syscall.Exec("/init.good", []string{"/init"}, os.Environ())
	}
	return nil
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

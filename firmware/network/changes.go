package network

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watched are the multicast groups of rtnetlink whose news are a reason to look again (rtnetlink(7)).
const watched = 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1)

// openChanges returns a socket on which the kernel announces changes of links and addresses.
func openChanges() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("network events: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: watched}); err != nil {
		return nil, fmt.Errorf("network events: %w", errors.Join(err, unix.Close(fd)))
	}
	return os.NewFile(uintptr(fd), "network events"), nil
}

// follow calls changed for each announcement until the file is closed. What it says is not read: looking tells.
func follow(f *os.File, changed func()) error {
	for b := make([]byte, 16<<10); ; {
		_, err := f.Read(b)
		if err != nil && !errors.Is(err, unix.ENOBUFS) { // some were lost: also a reason to look
			return err
		}
		changed()
	}
}

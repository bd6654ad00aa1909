package storage

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openEvents returns a socket on which the kernel announces devices (NETLINK_KOBJECT_UEVENT, its own group).
func openEvents() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("kernel events: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return nil, fmt.Errorf("kernel events: %w", errors.Join(err, unix.Close(fd)))
	}
	return os.NewFile(uintptr(fd), "kernel events"), nil
}

// follow calls changed for each announcement about a block device until the file is closed.
func follow(f *os.File, changed func()) error {
	for b := make([]byte, 16<<10); ; {
		n, err := f.Read(b)
		lost := errors.Is(err, unix.ENOBUFS)
		if err != nil && !lost {
			return err
		}
		if lost || isBlock(b[:n]) {
			changed()
		}
	}
}

// isBlock says whether an announcement, which is strings with a zero byte behind each, is about one.
func isBlock(b []byte) bool {
	const want = "\x00SUBSYSTEM=block\x00"
	for i := range len(b) - len(want) + 1 {
		if string(b[i:i+len(want)]) == want {
			return true
		}
	}
	return false
}

package main

import (
	"net"

	"golang.org/x/sys/unix"
)

// heard is smb.ConnInfo's Heard of a TCP connection: the kernel counts segments, and knows what it has sent and not seen
// acknowledged. nil where the connection has no socket.
func heard(c net.Conn) func() (packets uint64, owes bool) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nil
	}
	return func() (packets uint64, owes bool) {
		// A socket that is closed owes nothing.
		_ = raw.Control(func(fd uintptr) {
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				packets, owes = uint64(info.Segs_in), info.Unacked > 0
			}
		})
		return packets, owes
	}
}

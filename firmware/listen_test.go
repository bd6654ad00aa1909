package main

import (
	"context"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a dead client has open is free for others in a bounded time, whether or not something is being sent to it.
func TestPatient(t *testing.T) {
	lc := patient()
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	get := func(level, option int) (n int) {
		t.Helper()
		failed := raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), level, option) })
		if failed != nil || err != nil {
			t.Fatal(failed, err)
		}
		return n
	}
	if got := time.Duration(get(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)) * time.Millisecond; got != deadWithin {
		t.Errorf("what is not acknowledged is sent again for %v", got)
	}
	idle, every, probes := get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE), get(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL), get(unix.IPPROTO_TCP, unix.TCP_KEEPCNT)
	if on := get(unix.SOL_SOCKET, unix.SO_KEEPALIVE); on == 0 || time.Duration(idle+every*probes)*time.Second > deadWithin {
		t.Errorf("a silent peer is noticed after %d s and %d probes of %d s each; on: %d", idle, probes, every, on)
	}
}

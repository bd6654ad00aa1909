package main

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connected is a connection over loopback, both ends of which end with the test.
func connected(t *testing.T, lc *net.ListenConfig) (client, server net.Conn) {
	t.Helper()
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// What a dead client has open is free for others in a bounded time, whether or not something is being sent to it.
func TestPatient(t *testing.T) {
	lc := patient()
	_, c := connected(t, &lc)
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

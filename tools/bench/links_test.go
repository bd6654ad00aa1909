package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/tools/postern/netns"
)

// TestMain runs the children, as main does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && children[os.Args[1]] != nil {
		main()
		return
	}
	os.Exit(m.Run())
}

// A stretch is an end of an impaired link: packets that go in come from a channel, and what comes out is kept.
type stretch struct {
	in  chan []byte
	mu  sync.Mutex
	out [][]byte
	at  []time.Time
}

func (s *stretch) Read(b []byte) (int, error) {
	p, ok := <-s.in
	if !ok {
		return 0, io.EOF
	}
	return copy(b, p), nil
}

func (s *stretch) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out, s.at = append(s.out, bytes.Clone(b)), append(s.at, time.Now())
	return len(b), nil
}

// carry sends n packets through an impairment with the seed, one a millisecond with one of IPv6 before each, and returns
// which arrived.
func carry(t *testing.T, seed uint64, n int, loss float64) (arrived []byte) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, b := &stretch{in: make(chan []byte)}, &stretch{in: make(chan []byte)}
		m := newImpairment(25*time.Millisecond, loss, seed)
		m.start(a, b)
		sent := make([]time.Time, n)
		for i := range n {
			sent[i] = time.Now()
			a.in <- []byte{0x60}
			a.in <- []byte{0x45, byte(i >> 8), byte(i)}
			time.Sleep(time.Millisecond)
		}
		close(a.in)
		close(b.in)
		time.Sleep(time.Second)
		synctest.Wait()
		for i, p := range b.out {
			k := int(p[1])<<8 | int(p[2])
			if took := b.at[i].Sub(sent[k]); took != 25*time.Millisecond {
				t.Fatalf("packet %d took %v", k, took)
			}
			arrived = append(arrived, p...)
		}
		l := m.lines[0]
		if got := l.carried.Load() + l.lost.Load(); got != int64(n) || l.full.Load() != 0 || len(a.out) != 0 {
			t.Errorf("%d packets: %v", n, m)
		}
	})
	return arrived
}

// Packets arrive late, in order, and without one in a hundred, always the same ones for the same seed.
func TestImpairment(t *testing.T) {
	const n = 10_000
	first := carry(t, 1, n, 0.01)
	if lost := n - len(first)/3; lost < n/200 || lost > n/50 {
		t.Errorf("%d of %d are lost, want about one in a hundred", lost, n)
	}
	if !bytes.Equal(first, carry(t, 1, n, 0.01)) {
		t.Error("the same seed loses others")
	}
	if bytes.Equal(first, carry(t, 2, n, 0.01)) {
		t.Error("another seed loses the same")
	}
	if all := carry(t, 1, 100, 0); len(all) != 300 {
		t.Errorf("%d of 100 arrive where none is lost", len(all)/3)
	}
}

// What comes faster than it may wait is lost, and the others arrive.
func TestImpairmentBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &stretch{in: make(chan []byte)}, &stretch{in: make(chan []byte)}
		m := newImpairment(time.Second, 0, 1)
		m.start(a, b)
		const more = 1000
		for range maxQueue + more {
			a.in <- []byte{0x45}
		}
		close(a.in)
		close(b.in)
		time.Sleep(time.Minute)
		synctest.Wait()
		// The writer holds one while it waits.
		if full := m.lines[0].full.Load(); full < more-1 || full > more || int64(len(b.out)) != maxQueue+more-full {
			t.Errorf("%d arrive: %v", len(b.out), m)
		}
	})
}

// The three ways between two networks carry datagrams, the impaired one late.
func TestLinks(t *testing.T) {
	netns.Require(t)
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("skipped: %v", err)
	}
	l, err := newLinks()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	}()
	t.Logf("WireGuard: %v", l.tunnel)
	for _, way := range []string{onWire, onWireGuard, onLossy} {
		if took := echo(t, l, way); way == onLossy && took < 2*lossyDelay {
			t.Errorf("%s: back after %v", way, took)
		}
	}
}

// echo sends a datagram to the server's side and back, again until it comes: one in a hundred may be lost, and a tunnel
// takes its time to begin. It returns how long the last one took.
func echo(t *testing.T, l *links, ip string) time.Duration {
	t.Helper()
	var server, c net.PacketConn
	err := l.server.Do(func() (err error) {
		server, err = net.ListenPacket("udp4", ip+":7")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	err = l.client.Do(func() (err error) {
		c, err = net.ListenPacket("udp4", clientOf(ip)+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(b[:n], from) // lost ones are sent again
		}
	}()
	b := make([]byte, 2000)
	for range 20 {
		began := time.Now()
		if _, err := c.WriteTo(make([]byte, 1200), server.LocalAddr()); err != nil {
			t.Fatalf("%s: %v", ip, err)
		}
		if err := c.SetReadDeadline(began.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, _, err := c.ReadFrom(b)
		if err == nil {
			if n != 1200 {
				t.Fatalf("%s: %d bytes came back", ip, n)
			}
			return time.Since(began)
		}
		if !os.IsTimeout(err) && err != unix.ECONNREFUSED {
			t.Fatalf("%s: %v", ip, err)
		}
	}
	t.Fatalf("%s: nothing comes back", ip)
	return 0
}

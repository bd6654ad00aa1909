package main

import (
	"net"
	"testing"
	"time"
)

// What comes counts, acknowledgments too, and who has acknowledged all owes nothing. (A peer that acknowledges nothing takes
// a packet filter: smbtorture's tests of channels have one.)
func TestHeard(t *testing.T) {
	_, c := connected(t, new(net.ListenConfig))
	ask := heard(c)
	before, _ := ask()
	if _, err := c.Write([]byte("break")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		after, owes := ask()
		if after > before && !owes {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d packets before, %d after; owes one: %v", before, after, owes)
		}
	}
	c.Close()
	if n, owes := ask(); n != 0 || owes {
		t.Errorf("of a closed socket: %d packets, owes one: %v", n, owes)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if heard(a) != nil {
		t.Error("a pipe has a socket")
	}
}

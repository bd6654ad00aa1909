package network

import (
	"net/netip"
	"testing"
)

// vector is a reply as it is on the wire: 192.0.2.7 is at 02:00:00:00:00:07, told to 192.0.2.1.
var vector = []byte("\x00\x01\x08\x00\x06\x04\x00\x02\x02\x00\x00\x00\x00\x07\xc0\x00\x02\x07\x02\x00\x00\x00\x00\x01\xc0\x00\x02\x01")

func TestARP(t *testing.T) {
	want := arp{
		op: arpReply, senderMAC: [6]byte{2, 0, 0, 0, 0, 7}, sender: netip.MustParseAddr("192.0.2.7"),
		targetMAC: [6]byte{2, 0, 0, 0, 0, 1}, target: netip.MustParseAddr("192.0.2.1"),
	}
	got, err := parseARP(vector)
	if err != nil || got != want {
		t.Errorf("%+v (%v)", got, err)
	}
	if b := want.bytes(); string(b) != string(vector) {
		t.Errorf("% x", b)
	}
	for n := range vector {
		if _, err := parseARP(vector[:n]); err == nil {
			t.Errorf("took %d bytes of it", n)
		}
	}
	for _, at := range []int{0, 1, 2, 3, 4, 5} {
		bad := append([]byte(nil), vector...)
		bad[at] ^= 0x10
		if _, err := parseARP(bad); err == nil {
			t.Errorf("took another protocol, byte %d", at)
		}
	}
}

func TestTaken(t *testing.T) {
	us, them, addr := [6]byte{2, 1}, [6]byte{2, 2}, netip.MustParseAddr("169.254.3.4")
	other := netip.MustParseAddr("169.254.3.5")
	for name, c := range map[string]struct {
		a    arp
		want bool
	}{
		"has it":             {arp{op: arpReply, senderMAC: them, sender: addr, target: other}, true},
		"claims it":          {announce(them, addr), true},
		"probes for it":      {probe(them, addr), true},
		"asks for it":        {arp{op: arpRequest, senderMAC: them, sender: other, target: addr}, false},
		"probes for another": {probe(them, other), false},
		"our own":            {announce(us, addr), false},
	} {
		if got := c.a.taken(us, addr); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzARP(f *testing.F) {
	f.Add(vector)
	f.Add(vector[:27])
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseARP(b)
		if err != nil {
			return
		}
		if string(a.bytes()) != string(b[:arpSize]) {
			t.Errorf("% x became % x", b, a.bytes())
		}
	})
}

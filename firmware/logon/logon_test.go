package logon

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/smb/auth"
)

// desk tries passwords and counts which were checked.
type desk struct {
	*Limiter
	t       *testing.T
	checked map[string]int // by address
	told    atomic.Int32
}

func newDesk(t *testing.T, change func(*Config)) *desk {
	d := &desk{t: t, checked: make(map[string]int)}
	cfg := Config{
		Exists:  func(user string) bool { return strings.EqualFold(user, "alice") || strings.EqualFold(user, "bob") },
		Local:   func(a netip.Addr) bool { return a.IsPrivate() },
		Limited: func(string, netip.Addr) { d.told.Add(1) },
	}
	if change != nil {
		change(&cfg)
	}
	d.Limiter = New(cfg)
	return d
}

// try is one logon. It reports whether the password was looked at.
func (d *desk) try(user, from string, right bool, cert *x509.Certificate) bool {
	remote := netip.AddrPortFrom(netip.MustParseAddr(from), 1024).String()
	done, err := d.Guard(d.t.Context(), user, auth.Channel{RemoteAddr: remote, Peer: cert})
	if err != nil {
		return false
	}
	d.checked[from]++
	done(right)
	return true
}

func (d *desk) total() (n int) {
	for _, c := range d.checked {
		n += c
	}
	return n
}

// C-11: a thousand wrong passwords from fifty addresses, and the owner from wherever he is.
func TestGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, nil)
		paired := &x509.Certificate{Raw: []byte("paired")}
		if !d.try("alice", "198.51.100.7", true, nil) { // from where the owner usually is
			t.Fatal("the owner is not let in")
		}
		begin := time.Now()
		clear(d.checked)
		for range 20 {
			for i := range 50 {
				d.try("alice", fmt.Sprintf("203.0.113.%d", i), false, nil)
				time.Sleep(20 * time.Millisecond)
			}
		}
		took := time.Since(begin)
		allowed := Account.Burst + int(took/Account.Every) + 50 // the first of each, out of the reserve
		if n := d.total(); n > allowed || n < Account.Burst {
			t.Errorf("%d passwords were checked in %v, %d are allowed", n, took, allowed)
		}
		if d.told.Load() != 1 {
			t.Errorf("told %d times", d.told.Load())
		}
		for name, ok := range map[string]bool{
			"from where he was before":     d.try("alice", "198.51.100.7", true, nil),
			"from home":                    d.try("alice", "192.168.1.2", true, nil),
			"from a new address":           d.try("alice", "198.51.100.99", true, nil),
			"from a new IPv6 network":      d.try("ALICE", "2001:db8:1::1", true, nil),
			"another account":              d.try("bob", "198.51.100.98", true, nil),
			"a paired device among the 50": d.try("alice", "203.0.113.7", true, paired),
		} {
			if !ok {
				t.Errorf("the owner is locked out: %s", name)
			}
		}
		// For a day: it is not the burst alone that is bounded.
		clear(d.checked)
		begin = time.Now()
		for time.Since(begin) < 24*time.Hour {
			for i := range 50 {
				d.try("alice", fmt.Sprintf("203.0.113.%d", i), false, nil)
			}
			time.Sleep(time.Minute)
		}
		if n := d.total(); n > 24*20+Account.Burst {
			t.Errorf("%d were checked in a day", n)
		}
	})
}

// One address gets one a second, however many accounts it tries, and its right password counts for nothing meanwhile.
func TestOneSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, nil)
		for range 600 {
			d.try(fmt.Sprint("user", time.Now().UnixNano()), "203.0.113.1", false, nil)
			time.Sleep(100 * time.Millisecond)
		}
		if n := d.checked["203.0.113.1"]; n > 65 {
			t.Errorf("%d in a minute", n)
		}
		// All of an IPv6 /64 is one source.
		for i := range 100 {
			d.try("bob", fmt.Sprintf("2001:db8::%x", i+1), false, nil)
		}
		n := 0
		for from, c := range d.checked {
			if strings.HasPrefix(from, "2001:db8::") {
				n += c
			}
		}
		if n > Source.Burst {
			t.Errorf("%d from one /64", n)
		}
	})
}

// A stolen paired device is bounded, too.
func TestOneDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, nil)
		cert := &x509.Certificate{Raw: []byte("stolen")}
		for i := range 600 {
			d.try("alice", fmt.Sprintf("203.0.113.%d", i%250), false, cert)
			time.Sleep(100 * time.Millisecond)
		}
		if n := d.total(); n > Device.Burst+60 {
			t.Errorf("%d in a minute", n)
		}
	})
}

// Right passwords cost nothing: a program may log on as often as it likes.
func TestRightPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, nil)
		for i := range 1000 {
			if !d.try("alice", "203.0.113.1", true, nil) {
				t.Fatalf("refused after %d", i)
			}
		}
	})
}

// What is remembered is bounded, whatever names and addresses strangers make up, and they push out nobody that is known.
func TestMemory(t *testing.T) {
	d := newDesk(t, nil)
	d.try("alice", "198.51.100.7", true, nil)
	for i := range 3 * maxFailed {
		addr := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 16), byte(i >> 8), byte(i)})
		d.try([]string{"alice", "x", strings.Repeat("y", i%300)}[i%3], addr.String(), false, nil)
	}
	if a, b, c, e := len(d.sources.items), len(d.failed.items), len(d.known.items), len(d.accounts); a > maxSources || b > maxFailed || c != 1 || e > 2 {
		t.Error(a, b, c, e)
	}
	if len(d.sources.items) != d.sources.order.Len() || len(d.failed.items) != d.failed.order.Len() {
		t.Error("the books differ")
	}
	if !d.try("alice", "198.51.100.7", true, nil) {
		t.Error("the owner is locked out")
	}
}

func TestNTLM(t *testing.T) {
	cert := &x509.Certificate{Raw: []byte("paired")}
	for mode, want := range map[NTLM][2]error{
		"": {nil, nil}, NTLMEverybody: {nil, nil}, NTLMPaired: {ErrPaired, nil}, NTLMNobody: {ErrOff, ErrOff},
	} {
		d := newDesk(t, func(c *Config) { c.NTLM = mode })
		for i, peer := range []*x509.Certificate{nil, cert} {
			if _, err := d.Guard(t.Context(), "alice", auth.Channel{RemoteAddr: "192.0.2.1:1", Peer: peer}); !errors.Is(err, want[i]) {
				t.Errorf("%q with %v: %v", mode, peer, err)
			}
		}
	}
	// An address that cannot be read is one source.
	d := newDesk(t, nil)
	for range 100 {
		_, _ = d.Guard(t.Context(), "alice", auth.Channel{RemoteAddr: "pipe"})
	}
	if len(d.sources.items) != 1 {
		t.Error(len(d.sources.items))
	}
}

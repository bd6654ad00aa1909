package mdns

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/postern-nas/postern/firmware/network"
	"github.com/postern-nas/postern/firmware/network/netlab"
	"github.com/postern-nas/postern/firmware/watch"
)

func TestMain(m *testing.M) { netlab.Main(m) }

var offered = []Service{
	{Type: "_smb._tcp", Port: 445},
	{Type: "_https._tcp", Port: 443, Text: []string{"path=/"}},
	{Type: "_device-info._tcp", Text: []string{"model=RackMac"}},
}

// A bench is a responder on a wire that the test holds the other end of. Its port is the loopback, whatever its number.
type bench struct {
	t    *testing.T
	r    *Responder
	in   chan packet
	out  chan sent
	stop context.CancelFunc
	done chan error
}

type sent struct {
	m  message
	to netip.AddrPort
}

func (b *bench) Join([]port)            {}
func (b *bench) Packets() <-chan packet { return b.in }
func (b *bench) Close()                 {}
func (b *bench) Send(_ port, data []byte, to netip.AddrPort) {
	m, err := parse(data)
	if err != nil {
		b.t.Errorf("sent what cannot be read: %v", err)
	}
	b.out <- sent{m, to}
}

var (
	ours   = netip.MustParsePrefix("192.0.2.1/24")
	theirs = netip.MustParseAddrPort("192.0.2.9:5353")
)

func newBench(t *testing.T) *bench {
	var networks watch.Value[network.State]
	networks.Set(network.State{Ports: []network.Port{{Name: "lo", Cable: true, Addresses: []network.Address{{Prefix: ours}}}}})
	b := &bench{t: t, in: make(chan packet), out: make(chan sent, 1000), done: make(chan error)}
	b.r = New(Config{Host: "attic", Services: offered}, &networks, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(t.Context())
	b.stop = cancel
	go func() { b.done <- b.r.run(ctx, b) }()
	t.Cleanup(func() {
		cancel()
		if err := <-b.done; err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) say(from netip.AddrPort, m reply) {
	b.t.Helper()
	data, err := m.pack()
	if err != nil {
		b.t.Fatal(err)
	}
	b.in <- packet{Port: loopback(b.t), From: from, Data: data}
}

// heard is all that was sent so far.
func (b *bench) heard() (all []sent) {
	synctest.Wait()
	for {
		select {
		case s := <-b.out:
			all = append(all, s)
		default:
			return all
		}
	}
}

func (b *bench) name() string { n, _ := b.r.Name.Get(); return n }

// won lets the name be won and forgets what was said for it.
func (b *bench) won() {
	b.t.Helper()
	time.Sleep(5 * time.Second)
	if b.name() == "" {
		b.t.Fatal("no name")
	}
	b.heard()
}

func loopback(t *testing.T) int {
	i, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	return i.Index
}

func ask(name string, kind dnsmessage.Type) reply {
	return reply{questions: []question{{name: name, kind: kind}}}
}

func find(list []record, name string, kind dnsmessage.Type) int {
	return slices.IndexFunc(list, func(r record) bool { return strings.EqualFold(r.name, name) && r.kind == kind })
}

func TestProbeAndAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		time.Sleep(5 * time.Second)
		all := b.heard()
		if len(all) != probeNum+announceNum || b.name() != "attic" {
			t.Fatalf("%d packets, name %q", len(all), b.name())
		}
		for i, s := range all {
			switch probe := i < probeNum; {
			case s.to.IsValid() || s.m.response == probe:
				t.Errorf("%d: %+v", i, s)
			case probe && (len(s.m.questions) != 1+len(offered) || find(s.m.authority, "attic.local.", dnsmessage.TypeA) < 0):
				t.Errorf("%d: %+v", i, s.m)
			case !probe && (find(s.m.answers, "attic._smb._tcp.local.", dnsmessage.TypeSRV) < 0 || find(s.m.answers, "1.2.0.192.in-addr.arpa.", dnsmessage.TypePTR) < 0):
				t.Errorf("%d: %+v", i, s.m)
			}
		}
		b.stop()
		gone := b.heard()
		if len(gone) != 1 || slices.ContainsFunc(gone[0].m.answers, func(r record) bool { return r.ttl != 0 }) {
			t.Errorf("goodbye: %+v", gone)
		}
	})
}

func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.say(theirs, ask("attic.local.", dnsmessage.TypeA))
		if all := b.heard(); len(all) > 1 || len(all) == 1 && all[0].m.response {
			t.Errorf("answered before the name is won: %+v", all)
		}
		b.won()
		for name, c := range map[string]struct {
			q       reply
			from    string
			want    dnsmessage.Type // 0: no answer
			further dnsmessage.Type
			direct  bool
		}{
			"address":             {ask("ATTIC.local.", dnsmessage.TypeA), "", dnsmessage.TypeA, 0, false},
			"no IPv6":             {ask("attic.local.", dnsmessage.TypeAAAA), "", typeNSEC, 0, false},
			"a service's machine": {ask("_smb._tcp.local.", dnsmessage.TypePTR), "", dnsmessage.TypePTR, dnsmessage.TypeSRV, false},
			"all types":           {ask("_services._dns-sd._udp.local.", dnsmessage.TypePTR), "", dnsmessage.TypePTR, 0, false},
			"the place":           {ask("attic._smb._tcp.local.", dnsmessage.TypeSRV), "", dnsmessage.TypeSRV, dnsmessage.TypeA, false},
			"the text":            {ask("attic._https._tcp.local.", dnsmessage.TypeTXT), "", dnsmessage.TypeTXT, 0, false},
			"backwards":           {ask("1.2.0.192.in-addr.arpa.", dnsmessage.TypePTR), "", dnsmessage.TypePTR, 0, false},
			"another's name":      {ask("cellar.local.", dnsmessage.TypeA), "", 0, 0, false},
			"a plain resolver":    {reply{id: 77, questions: []question{{name: "attic.local.", kind: dnsmessage.TypeA}}}, "192.0.2.9:1234", dnsmessage.TypeA, 0, true},
			"to one alone":        {reply{questions: []question{{name: "attic.local.", kind: dnsmessage.TypeA, unicast: true}}}, "", dnsmessage.TypeA, 0, true},
			"from elsewhere":      {ask("attic.local.", dnsmessage.TypeA), "198.51.100.1:5353", 0, 0, false},
			"known": {reply{
				questions: []question{{name: "attic.local.", kind: dnsmessage.TypeA}},
				answers:   []record{{"attic.local.", dnsmessage.TypeA, hostTTL, true, ours.Addr().AsSlice()}},
			}, "", 0, 0, false},
			"known for too long": {reply{
				questions: []question{{name: "attic.local.", kind: dnsmessage.TypeA}},
				answers:   []record{{"attic.local.", dnsmessage.TypeA, hostTTL/2 - 1, true, ours.Addr().AsSlice()}},
			}, "", dnsmessage.TypeA, 0, false},
		} {
			time.Sleep(2 * again)
			from := theirs
			if c.from != "" {
				from = netip.MustParseAddrPort(c.from)
			}
			b.say(from, c.q)
			time.Sleep(200 * time.Millisecond)
			all := b.heard()
			if c.want == 0 {
				if len(all) > 0 {
					t.Errorf("%s: answered %+v", name, all)
				}
				continue
			}
			if len(all) != 1 || find(all[0].m.answers, c.q.questions[0].name, c.want) < 0 || all[0].to.IsValid() != c.direct {
				t.Errorf("%s: %+v", name, all)
				continue
			}
			if c.further != 0 && !slices.ContainsFunc(all[0].m.answers, func(r record) bool { return r.kind == c.further }) {
				t.Errorf("%s: without %v: %+v", name, c.further, all[0].m)
			}
			if c.q.id != 0 {
				a := all[0].m.answers[0]
				if all[0].m.id != c.q.id || len(all[0].m.questions) != 1 || a.unique || a.ttl > legacyTTL {
					t.Errorf("%s: %+v", name, all[0].m)
				}
			}
		}
		time.Sleep(2 * again)
		for range 50 { // one who asks too often
			b.say(theirs, ask("attic.local.", dnsmessage.TypeA))
		}
		if all := b.heard(); len(all) != 1 {
			t.Errorf("%d answers within a second", len(all))
		}
	})
}

// TestConflict: a name that another machine has, before or after we won it, is given up for the next; a machine that says
// the same as we do is no other.
func TestConflict(t *testing.T) {
	claim := func(name string, addr netip.Addr) reply {
		return reply{response: true, answers: []record{{name, dnsmessage.TypeA, hostTTL, true, addr.AsSlice()}}}
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		time.Sleep(400 * time.Millisecond) // it probes
		b.say(theirs, claim("Attic.local.", theirs.Addr()))
		b.won()
		if b.name() != "attic-2" {
			t.Errorf("called %q", b.name())
		}
		b.say(theirs, claim("attic-2.local.", ours.Addr()))
		b.say(netip.MustParseAddrPort("192.0.2.9:1234"), claim("attic-2.local.", theirs.Addr()))
		b.say(netip.MustParseAddrPort("198.51.100.1:5353"), claim("attic-2.local.", theirs.Addr()))
		b.say(theirs, claim("attic.local.", theirs.Addr()))
		time.Sleep(time.Second)
		if all := b.heard(); len(all) > 0 || b.name() != "attic-2" {
			t.Errorf("called %q, said %+v", b.name(), all)
		}
		b.say(theirs, reply{response: true, answers: []record{{"attic 2._smb._tcp.local.", dnsmessage.TypeTXT, otherTTL, true, packText([]string{"theirs"})}}})
		time.Sleep(5 * time.Second)
		all := b.heard()
		if b.name() != "attic-3" || len(all) == 0 || all[0].m.answers[0].ttl != 0 {
			t.Errorf("called %q, said %+v", b.name(), all[0])
		}
		for range 40 { // somebody wants them all
			synctest.Wait()
			b.say(theirs, claim(b.r.names.hostName(), theirs.Addr()))
			time.Sleep(300 * time.Millisecond)
		}
		synctest.Wait()
		n := b.r.tries
		if n > 3+manyConflicts+15 {
			t.Errorf("%d names in twelve seconds", n)
		}
	})
}

// TestTie: of two that probe at once the one whose records come first in order waits, and then sees whose name it is.
func TestTie(t *testing.T) {
	probeBy := func(addr string) reply {
		return reply{
			questions: []question{{name: "attic.local.", kind: dnsmessage.TypeALL}},
			authority: []record{{"attic.local.", dnsmessage.TypeA, hostTTL, true, netip.MustParseAddr(addr).AsSlice()}},
		}
	}
	for addr, waits := range map[string]bool{"192.0.2.0": false, "192.0.2.9": true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			time.Sleep(300 * time.Millisecond)
			b.heard()
			begin := time.Now()
			b.say(theirs, probeBy(addr))
			for b.name() == "" {
				time.Sleep(10 * time.Millisecond)
			}
			if took := time.Since(begin); (took > loserPause) != waits || b.name() != "attic" {
				t.Errorf("against %s: %q after %v", addr, b.name(), took)
			}
		})
	}
}

func TestParse(t *testing.T) {
	whole, err := reply{
		response: true, answers: serviceRecords(names{"attic", "attic"}, offered),
		further: hostRecords(names{"attic", "attic"}, []netip.Addr{ours.Addr(), netip.MustParseAddr("fd00::1")}),
	}.pack()
	if err != nil {
		t.Fatal(err)
	}
	m, err := parse(whole)
	if err != nil || len(m.answers) < 15 {
		t.Fatalf("%+v (%v)", m, err)
	}
	i := find(m.answers, "attic._smb._tcp.local.", dnsmessage.TypeSRV)
	if i < 0 || string(m.answers[i].body) != "\x00\x00\x00\x00\x01\xbd\x05attic\x05local\x00" {
		t.Errorf("%+v", m.answers)
	}
	for n := range whole {
		if _, err := parse(whole[:n]); err == nil {
			t.Errorf("took %d of %d bytes", n, len(whole))
		}
	}
	loop := append([]byte{0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 'a', 0, 0, 12, 0, 1, 0, 0, 0, 9, 0, 2}, 0xc0, 25)
	if _, err := parse(loop); err == nil {
		t.Error("took a name that leads to itself")
	}
}

func FuzzParse(f *testing.F) {
	for _, m := range []reply{ask("attic.local.", dnsmessage.TypeA), {response: true, answers: serviceRecords(names{"a", "a"}, offered)}} {
		b, err := m.pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	var networks watch.Value[network.State]
	r := New(Config{Host: "attic", Services: offered}, &networks, slog.New(slog.DiscardHandler))
	r.ports, r.air = []port{{Name: "lo", Index: 1, Addrs: []netip.Addr{ours.Addr()}, Networks: []netip.Prefix{ours.Masked()}}}, silent{}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, probing := range []bool{true, false} {
			r.hear(packet{Port: 1, From: theirs, Data: b}, probing, !probing)
		}
		if len(r.waiting) > maxWaiting {
			t.Error("waits for ever")
		}
		r.waiting = nil
	})
}

type silent struct{ air }

func (silent) Send(port, []byte, netip.AddrPort) {}

func TestPackets(t *testing.T) {
	var many []Service
	for i := range 40 {
		many = append(many, Service{Type: "_t" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + "._tcp", Port: 1, Text: []string{strings.Repeat("x", 200)}})
	}
	all := serviceRecords(names{"attic", "attic"}, many)
	packets, err := reply{response: true, answers: all, further: all}.packets()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, b := range packets {
		m, err := parse(b)
		if err != nil || len(b) > sendMost {
			t.Errorf("%d bytes (%v)", len(b), err)
		}
		n += len(m.answers)
	}
	if n < len(all) {
		t.Errorf("%d of %d", n, len(all))
	}
}

// Package portmap asks the router to pass SMB over QUIC on to this box, so that it is reached from outside: by PCP (RFC
// 6887), NAT-PMP (RFC 6886) or UPnP's Internet Gateway Device, in this order, whichever the router understands. It does so
// only when the owner has said so, renews what it got, and takes it back at the end.
//
// Whether that is enough shows in the router's own address: behind a provider's translation nobody outside can reach it,
// and the owner is told so in plain words.
package portmap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/postern-nas/postern/firmware/network"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/watch"
)

const (
	// lifetime is what is asked for; a router may give less.
	lifetime = 2 * time.Hour
	// A mapping is renewed at half of its life, within these. After a failure it is tried again, later each time.
	renewLeast, renewMost = 30 * time.Second, time.Hour
	retryFirst, retryMost = 15 * time.Second, 30 * time.Minute
	// removeTime bounds taking it back.
	removeTime = 3 * time.Second
	// roundTime bounds asking in all three ways.
	roundTime = 30 * time.Second
)

// State is how it stands.
type State struct {
	Mapped   bool           // the router passes it on
	By       string         // "PCP", "NAT-PMP" or "UPnP"
	Router   netip.Addr     // invalid: there is none
	External netip.AddrPort // where the box is reached from outside, if it is; invalid: not known
	Public   bool           // External is an address of the Internet's
	Until    time.Time      // when the router forgets it unless it is renewed
	Problem  string         // one or two sentences for the owner; "" if all is well
}

// A mapping is what a router gave.
type mapping struct {
	external netip.AddrPort // its address may be missing
	life     time.Duration  // 0: for ever
}

// A way is one of the protocols, for one router.
type way interface {
	name() string
	// add asks for the mapping or renews it.
	add(ctx context.Context) (mapping, error)
	// remove takes it back.
	remove(ctx context.Context) error
}

// errSilent says that a router does not know a protocol: nobody answers, or "not supported".
var errSilent = errors.New("no answer")

// A refusal is a router that knows the protocol and says no.
type refusal struct {
	words string // for the owner
	code  int
}

func (r refusal) Error() string { return fmt.Sprintf("%s (code %d)", r.words, r.code) }

// A Mapper is the service. Use New.
type Mapper struct {
	State watch.Value[State]

	port     uint16
	log      *slog.Logger
	networks *watch.Value[network.State]
	gateway  func() (router, own netip.Addr, err error)
	ways     func(router, own netip.Addr, port uint16) []way
}

// New returns a Mapper for a UDP port of this box.
func New(port uint16, networks *watch.Value[network.State], log *slog.Logger) *Mapper {
	return &Mapper{port: port, log: log, networks: networks, gateway: network.Gateway, ways: func(router, own netip.Addr, port uint16) []way {
		return []way{newPCP(router, own, port), newNATPMP(router, own, port), &upnp{router: router, own: own, port: port, log: log}}
	}}
}

// Run is the service.
func (m *Mapper) Run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	go func() {
		for version := uint64(0); ; {
			_, v, err := m.networks.Wait(ctx, version)
			if err != nil {
				return
			}
			version = v
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	supervise.Healthy(ctx)
	var used way
	var router, own netip.Addr
	defer func() {
		if used != nil {
			m.takeBack(ctx, used)
		}
	}()
	retry := retryFirst
	for {
		r, o, err := m.gateway()
		if r != router || o != own { // another network: the old router has forgotten us soon
			used, router, own, retry = nil, r, o, retryFirst
		}
		var wait time.Duration
		if err != nil {
			m.set(State{Problem: "there is no router, so nobody outside can reach the box: look at the network cable"})
			wait = retry
		} else {
			used, wait = m.round(ctx, router, own, used)
			if used == nil {
				wait = retry
				retry = min(2*retry, retryMost)
			} else {
				retry = retryFirst
			}
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		case <-changed:
			t.Stop()
		}
	}
}

// round asks in the way that worked before, or in all of them, and says how long to wait for the next.
func (m *Mapper) round(ctx context.Context, router, own netip.Addr, used way) (way, time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, roundTime)
	defer cancel()
	ways := []way{used}
	if used == nil {
		ways = m.ways(router, own, m.port)
	}
	var no *refusal
	for _, w := range ways {
		got, err := w.add(ctx)
		if ctx.Err() != nil {
			break
		}
		if err == nil {
			return w, m.mapped(router, w, got)
		}
		m.log.Debug("port mapping", "by", w.name(), "router", router, "error", err)
		var r refusal
		if errors.As(err, &r) && no == nil {
			no = &r
		}
	}
	s := State{Router: router, Problem: fmt.Sprintf("the router %s does not say how to open a port: switch UPnP or NAT-PMP on in it, "+
		"or forward UDP port %d to %s by hand", router, m.port, own)}
	if no != nil {
		s.Problem = fmt.Sprintf("the router %s refuses: %s; or forward UDP port %d to %s by hand", router, no.words, m.port, own)
	}
	if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		m.set(s)
	}
	return nil, 0
}

// mapped says what came of it, and how long to wait until it is renewed.
func (m *Mapper) mapped(router netip.Addr, w way, got mapping) time.Duration {
	s := State{Mapped: true, By: w.name(), Router: router, External: got.external}
	wait := renewMost
	if got.life > 0 {
		s.Until = time.Now().Add(got.life)
		wait = min(max(got.life/2, renewLeast), renewMost)
	}
	a := got.external.Addr()
	switch {
	case !a.IsValid() || a.IsUnspecified():
		s.Problem = "the router has opened the port, and does not say which address it has: it may have no connection now"
	case shared.Contains(a):
		s.Problem = fmt.Sprintf("your provider shares one public address among many homes (the router has %s, carrier-grade NAT): "+
			"nobody outside can reach the box by IPv4; ask the provider for a public address, or use IPv6", a)
	case a.IsPrivate() || !a.IsGlobalUnicast():
		s.Problem = fmt.Sprintf("the router is behind another router (it has the address %s): open the port there too, "+
			"or make one of them a mere bridge", a)
	default:
		s.Public = true
		if got.external.Port() != m.port {
			s.Problem = fmt.Sprintf("another device at home has port %d of the router: from outside the box is reached at port %d, "+
				"which Windows 11 knows from version 24H2 on", m.port, got.external.Port())
		}
	}
	m.set(s)
	return wait
}

// shared is for providers' translation (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

func (m *Mapper) set(s State) {
	old, version := m.State.Get()
	if version == 0 || old.Problem != s.Problem || old.Mapped != s.Mapped || old.External != s.External {
		m.log.Info("from outside", "mapped", s.Mapped, "by", s.By, "external", s.External, "problem", s.Problem)
	}
	m.State.Set(s)
}

func (m *Mapper) takeBack(ctx context.Context, w way) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	if err := w.remove(ctx); err != nil {
		m.log.Info("the router keeps the port open until it forgets", "error", err)
	}
}

// Package logon bounds how many passwords can be tried. A logon that is over a bound is refused without a check, and looks
// to its client like one with a wrong password; each refusal is answered late in any case (smb.Config.FailedLogonDelay).
//
// Whoever guesses must not lock the owner out. So a bound on an account counts strangers only: neither a client that shows
// the certificate of a paired device, nor an address from which the account has logged on before, nor the local network
// has a part in it, and an address that has not failed at the account yet is let try once out of a reserve.
package logon

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/postern-nas/postern/smb/auth"
)

// Errors of Guard: for logs. A client does not see them.
var (
	ErrLimited = errors.New("too many failed logons: not checked")
	ErrOff     = errors.New("logons with NTLM are switched off")
	ErrPaired  = errors.New("logons with NTLM are for paired devices only")
)

// Who may log on with NTLM.
type NTLM string

const (
	NTLMEverybody NTLM = "everybody"
	NTLMPaired    NTLM = "paired" // who shows a client certificate that was let in
	NTLMNobody    NTLM = "nobody"
)

// A Rate is how many checks there may be: Burst at once, and one more in each Every.
type Rate struct {
	Burst int
	Every time.Duration
}

// The rates. Of strangers at most Account.Burst + 1 h / Account.Every, 30, are checked in an hour for each account, beside
// one each out of the reserve.
var (
	Source  = Rate{5, time.Second}       // one address (IPv4) or /64 (IPv6), whatever the account
	Known   = Rate{10, 30 * time.Second} // an address for an account that has logged on from it
	Device  = Rate{10, time.Second}      // one client certificate
	Account = Rate{10, 3 * time.Minute}  // strangers, for one account
	Reserve = Rate{60, 10 * time.Second} // strangers that have not failed at that account yet
	Local   = Rate{20, 30 * time.Second} // the local network, for one account
	Global  = Rate{20, time.Second / 20} // strangers, in all
)

// Bounds of what is remembered.
const (
	maxSources = 4096
	maxFailed  = 8192
	maxKnown   = 1024
	maxDevices = 512
	knownFor   = 30 * 24 * time.Hour
	tellEvery  = 10 * time.Minute
)

// A Config says what a Limiter works with.
type Config struct {
	NTLM NTLM // "": NTLMEverybody
	// Exists reports whether there is an account of a name, without regard to case. Names of no account share their bounds:
	// nobody can push an account's out by inventing names.
	Exists func(user string) bool
	// Local reports whether an address is in the local network; nil: none is.
	Local func(netip.Addr) bool
	// Limited is told when checks for an account begin to be refused, and every ten minutes while they are.
	Limited func(user string, from netip.Addr)
}

// A Limiter counts. Use New.
type Limiter struct {
	cfg Config

	mu       sync.Mutex
	sources  table[netip.Prefix, bucket]
	devices  table[[sha256.Size]byte, bucket]
	known    table[pair, acquaintance]
	failed   table[pair, struct{}]
	accounts map[string]*account // of those that exist, and "" for the others
	global   bucket
}

// pair is an account and where somebody wants to log on to it from.
type pair struct {
	user string
	from netip.Prefix
}

type acquaintance struct {
	bucket
	last time.Time
}

type account struct {
	strangers, reserve, local bucket
	told                      time.Time
}

// New makes a Limiter.
func New(cfg Config) *Limiter {
	if cfg.Local == nil {
		cfg.Local = func(netip.Addr) bool { return false }
	}
	if cfg.Limited == nil {
		cfg.Limited = func(string, netip.Addr) {}
	}
	return &Limiter{
		cfg:     cfg,
		sources: newTable[netip.Prefix, bucket](maxSources), devices: newTable[[sha256.Size]byte, bucket](maxDevices),
		known: newTable[pair, acquaintance](maxKnown), failed: newTable[pair, struct{}](maxFailed),
		accounts: make(map[string]*account),
	}
}

// Guard is ntlm.Config.Guard.
func (l *Limiter) Guard(_ context.Context, user string, ch auth.Channel) (done func(right bool), err error) {
	switch {
	case l.cfg.NTLM == NTLMNobody:
		return nil, ErrOff
	case l.cfg.NTLM == NTLMPaired && ch.Peer == nil:
		return nil, ErrPaired
	}
	name := ""
	if l.cfg.Exists(user) {
		name = strings.ToUpper(user)
	}
	from, addr := prefix(ch.RemoteAddr)
	p := pair{name, from}
	now := time.Now()

	l.mu.Lock()
	defer l.mu.Unlock()
	if ch.Peer != nil {
		b := l.devices.get(sha256.Sum256(ch.Peer.Raw))
		// It makes no acquaintance: who else is at its address has not its certificate.
		return l.checked(pair{}, now, []*bucket{b}, b.take(Device, now))
	}
	if k := l.known.peek(p); k != nil && now.Sub(k.last) < knownFor {
		return l.checked(p, now, []*bucket{&k.bucket}, k.take(Known, now))
	}
	a := l.accounts[name]
	if a == nil {
		if len(l.accounts) > 2*maxKnown { // accounts that are gone meanwhile
			clear(l.accounts)
		}
		a = new(account)
		l.accounts[name] = a
	}
	source := l.sources.get(from)
	if !source.take(Source, now) {
		return nil, ErrLimited
	}
	taken := []*bucket{source}
	switch {
	case l.cfg.Local(addr):
		if !a.local.take(Local, now) {
			return nil, l.limited(a, user, addr, now)
		}
		return l.checked(p, now, append(taken, &a.local), true)
	case a.strangers.take(Account, now):
		taken = append(taken, &a.strangers)
	case l.failed.peek(p) == nil && name != "" && a.reserve.take(Reserve, now):
		taken = append(taken, &a.reserve)
	default:
		return nil, l.limited(a, user, addr, now)
	}
	return l.checked(p, now, append(taken, &l.global), l.global.take(Global, now))
}

// limited notes that an account's bound is reached. l.mu is held.
func (l *Limiter) limited(a *account, user string, from netip.Addr, now time.Time) error {
	if now.Sub(a.told) >= tellEvery {
		a.told = now
		go l.cfg.Limited(user, from) // not under our lock
	}
	return ErrLimited
}

// checked returns what Guard does, for tokens that were taken. Right passwords cost none.
func (l *Limiter) checked(p pair, now time.Time, taken []*bucket, ok bool) (func(bool), error) {
	if !ok {
		return nil, ErrLimited
	}
	return func(right bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !right {
			if p.user != "" {
				l.failed.get(p)
			}
			return
		}
		for _, b := range taken {
			b.tokens++ // take has counted it; more than a burst there never is
		}
		l.failed.drop(p)
		if p.user != "" {
			l.known.get(p).last = now
		}
	}, nil
}

// prefix is the source that an address is counted under, as package quic counts them.
func prefix(remote string) (netip.Prefix, netip.Addr) {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}, netip.Addr{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits)
	return p, addr
}

// bucket is a bucket of tokens. The zero one is full.
type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) take(r Rate, now time.Time) bool {
	if b.at.IsZero() {
		b.tokens = float64(r.Burst)
	} else {
		b.tokens += float64(now.Sub(b.at)) / float64(r.Every)
	}
	b.tokens, b.at = min(b.tokens, float64(r.Burst)), now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// A table is a map of bounded size that forgets what was not asked for for the longest time.
type table[K comparable, V any] struct {
	max   int
	items map[K]*list.Element
	order *list.List // the newest in front
}

type item[K comparable, V any] struct {
	key K
	v   V
}

func newTable[K comparable, V any](max int) table[K, V] {
	return table[K, V]{max: max, items: make(map[K]*list.Element), order: list.New()}
}

// peek returns the value of a key, or nil.
func (t *table[K, V]) peek(k K) *V {
	e := t.items[k]
	if e == nil {
		return nil
	}
	t.order.MoveToFront(e)
	return &e.Value.(*item[K, V]).v
}

// get returns the value of a key, a zero one if there was none.
func (t *table[K, V]) get(k K) *V {
	if v := t.peek(k); v != nil {
		return v
	}
	if len(t.items) >= t.max {
		t.drop(t.order.Back().Value.(*item[K, V]).key)
	}
	e := t.order.PushFront(&item[K, V]{key: k})
	t.items[k] = e
	return &e.Value.(*item[K, V]).v
}

func (t *table[K, V]) drop(k K) {
	if e := t.items[k]; e != nil {
		t.order.Remove(e)
		delete(t.items, k)
	}
}

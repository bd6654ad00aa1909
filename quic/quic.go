// Package quic carries SMB: a Listener takes QUIC connections with ALPN "smb" ([MS-SMB2] 2.1, RFC 9000, RFC 9001)
// and hands out each one's single stream as a net.Conn, with what the peer proved on the way in.
//
// One packet's way: gate (may this address begin a handshake?), hello (which server name, which certificate, is a
// client certificate asked?), arrival (handshake done, stream awaited), Conn. Whoever falls out on that way is
// counted and logged with the reason in refuse.go; nobody else's connection waits for it.
package quic

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// ALPN is the one application protocol that is spoken here ([MS-SMB2] 2.1).
const ALPN = "smb"

// What a peer may have in flight towards us. quic-go opens the window at the first size and doubles it towards the
// second only while the server keeps reading fast. So a connection that is not being read holds at most
// initialWindow of memory, and one that was fast and then stalled at most maxWindow; the growth of all connections
// together is bounded by Limits.Window.
//
// 4 MiB because Samba's client crashes (an assertion in its QUIC library, seen in 4.24.7) when it runs into the end of
// the window in the middle of a packet: in 4 of 10 uploads with 2 MiB, in none of 30 with 4.
const (
	initialWindow = 4 << 20
	maxWindow     = 16 << 20
)

// A Config says what a Listener serves and what it puts up with. Store is needed; zero values of the rest mean the
// defaults named beside them.
type Config struct {
	Store  *Store
	Logger *slog.Logger // slog.Default()
	Limits Limits

	// Judged is told what became of each client's certificate, for an audit log. It must not wait. nil: nobody is told.
	Judged func(Judgement)

	// IdleTimeout ends a connection whose peer has gone silent: 90 s, at least 60 s. The smaller of both sides'
	// values counts.
	IdleTimeout time.Duration
	// KeepAlive is the distance of our pings on a quiet connection: 10 s. NATs forget a UDP flow after as little
	// as 30 s, and Windows sends no pings of its own.
	KeepAlive time.Duration
	// HandshakeTimeout ends a handshake that hears nothing for this time, or is not done after twice of it: 5 s.
	HandshakeTimeout time.Duration
	// StreamTimeout is how long a finished handshake may wait before its stream's first byte: 10 s.
	StreamTimeout time.Duration

	// ResetKey makes stateless resets (RFC 9000 section 10.3): kept over a restart, it lets clients of the earlier
	// process learn at once that it is gone. All zero: none are sent.
	ResetKey [32]byte
}

// Limits bound what strangers can make us hold. Zero values mean the defaults named beside them.
type Limits struct {
	// Handshakes is how many connections may be on their way in: from the first packet to the first byte of the
	// stream. 256. More are refused before any cryptography.
	Handshakes int
	// HandshakesPerPrefix is the same for one source: an IPv4 address or an IPv6 /64. 64, a household or a small office coming
	// back after a restart. Half of them are kept
	// for addresses that have answered a Retry, so that nobody is locked out by packets in his name.
	HandshakesPerPrefix int
	// RetryAbove is how many may be on their way in before new ones must prove their address first, with a Retry
	// (RFC 9000 section 8.1.2) that costs them one round trip and us no memory. 64. Negative: always.
	RetryAbove int
	// Conns is how many connections there may be in all. 4096.
	Conns int
	// ConnsPerPrefix is the same for one source. 0: no limit of its own.
	ConnsPerPrefix int
	// Window is the number of bytes by which all receive windows together may outgrow their initial 4 MiB a
	// connection. 256 MiB.
	Window int64
}

func (c Config) withDefaults() (Config, error) {
	if c.Store == nil {
		return c, errors.New("quic: a listener needs a certificate store")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 90*time.Second)
	c.KeepAlive = cmp.Or(c.KeepAlive, 10*time.Second)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, 5*time.Second)
	c.StreamTimeout = cmp.Or(c.StreamTimeout, 10*time.Second)
	if c.IdleTimeout < time.Minute {
		return c, fmt.Errorf("quic: idle timeout %v is below 60s, a Windows request's own timeout", c.IdleTimeout)
	}
	if c.KeepAlive < time.Second || c.KeepAlive > c.IdleTimeout/2 {
		return c, fmt.Errorf("quic: keep-alive %v is not between 1s and half the idle timeout", c.KeepAlive)
	}
	if c.HandshakeTimeout < 0 || c.StreamTimeout < 0 {
		return c, errors.New("quic: negative timeout")
	}

	l := &c.Limits
	l.Handshakes = cmp.Or(l.Handshakes, 256)
	l.HandshakesPerPrefix = cmp.Or(l.HandshakesPerPrefix, 64)
	l.RetryAbove = cmp.Or(l.RetryAbove, min(64, (l.Handshakes+1)/2))
	l.Conns = cmp.Or(l.Conns, 4096)
	l.Window = cmp.Or(l.Window, 256<<20)
	if l.Handshakes < 1 || l.HandshakesPerPrefix < 1 || l.Conns < 1 || l.ConnsPerPrefix < 0 || l.Window < 0 {
		return c, fmt.Errorf("quic: limits must be positive: %+v", *l)
	}
	if l.RetryAbove >= l.Handshakes && l.Handshakes > 1 {
		return c, fmt.Errorf("quic: RetryAbove %d leaves no handshakes (of %d) to proven addresses",
			l.RetryAbove, l.Handshakes)
	}
	return c, nil
}

// transport is the configuration that makes a QUIC connection look like the one a Windows server offers: one
// bidirectional stream, opened by the client, and nothing else ([MS-SMB2] 2.1 and its note 2).
func (c Config) transport() *quicgo.Config {
	return &quicgo.Config{
		HandshakeIdleTimeout: c.HandshakeTimeout,
		MaxIdleTimeout:       c.IdleTimeout,
		KeepAlivePeriod:      c.KeepAlive,

		MaxIncomingStreams:    1,
		MaxIncomingUniStreams: -1, // none; zero would mean quic-go's default of 100
		// Without this a client gets credit for a second stream as soon as its first is finished.
		RequireStreamCreditRelease: true,

		InitialStreamReceiveWindow:     initialWindow,
		MaxStreamReceiveWindow:         maxWindow,
		InitialConnectionReceiveWindow: initialWindow,
		MaxConnectionReceiveWindow:     maxWindow,
	}
}

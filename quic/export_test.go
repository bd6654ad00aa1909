package quic

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// What tests outside the package look at.

func (c Config) WithDefaults() (Config, error) { return c.withDefaults() }

func (c Config) Transport() *quicgo.Config { return c.transport() }

// Books gives what is left in the listener's tables; all zero when nobody is there.
func (l *Listener) Books() (sources, live int, window int64) {
	l.gate.mu.Lock()
	sources = len(l.gate.sources)
	l.gate.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return sources, len(l.live), l.window
}

// GrowWindow asks whether a connection's receive window may grow.
func (l *Listener) GrowWindow(c *Conn, delta uint64) bool { return l.growWindow(c.qc, delta) }

// ServerTLS is the listener's TLS configuration and a context in which a handshake with it can run.
func (l *Listener) ServerTLS() (*tls.Config, context.Context) {
	return l.serverTLS(), context.WithValue(context.Background(), arrivalKey{}, &arrival{})
}

// Gate drives a gate without a network.
type Gate struct{ *gate }

func NewGate(limits Limits) Gate { return Gate{newGate(limits)} }

func (g Gate) Enter(addr net.Addr) (leave func() bool, settle func() bool, reason Reason) {
	p, reason := g.enter(addr)
	return func() bool { return g.leave(p) }, func() bool { return g.settle(p) }, reason
}

func (g Gate) Suspicious(addr net.Addr) bool { return g.suspicious(addr) }

func (g Gate) Count() (arriving, settled int) { return g.count() }

// Refusals writes refusals at the times that now gives.
func Refusals(log *slog.Logger, now func() time.Time) (add func(Reason, net.Addr), counts func() map[Reason]uint64) {
	r := newRefusals(log)
	r.now = now
	return func(reason Reason, addr net.Addr) { r.add(reason, addr) }, r.counts
}

// MergePackets is what Listen does to its socket.
func MergePackets(packets net.PacketConn) net.PacketConn { return mergePackets(packets) }

func Segment(oob []byte, n int) int { return segment(oob, n) }

// Deadline is a stream's deadline without the stream.
func Deadline(tell func(time.Time) error) (set func(time.Time) error, end func()) {
	d := &deadline{tell: tell}
	return d.set, d.end
}

package quic

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// An arrival is what we know of a connection from its first packet on. It travels in the connection's context, so
// that the TLS callbacks and the one that ends it find it.
type arrival struct {
	id    string
	addr  net.Addr // of the first packet
	began time.Time
	pass  *pass

	// Under the Listener's mutex.
	over   bool
	window int64 // bytes granted above the initial receive window

	mu      sync.Mutex
	sent    string // server name as the client sent it
	matched string
	mapping *mapping
}

type arrivalKey struct{}

// arrive is called on a connection's first packet, before any cryptography. An error refuses it.
func (l *Listener) arrive(ctx context.Context, info *quicgo.ClientInfo) (context.Context, error) {
	pass, reason := l.gate.enter(info.RemoteAddr)
	if pass == nil {
		l.refusals.add(reason, info.RemoteAddr)
		return nil, errors.New(string(reason))
	}
	a := &arrival{id: l.newID(), addr: info.RemoteAddr, began: time.Now(), pass: pass}
	ctx = context.WithValue(ctx, arrivalKey{}, a)
	// The one place where every connection ends, however it went: quic-go cancels the context with the cause.
	context.AfterFunc(ctx, func() { l.ended(a, context.Cause(ctx)) })
	return ctx, nil
}

// ended is called once when an arrival's connection is over.
func (l *Listener) ended(a *arrival, why error) {
	l.strike(a)
	settled := l.gate.leave(a.pass)
	a.mu.Lock()
	name := clip(a.sent)
	a.mu.Unlock()
	if settled {
		l.cfg.Logger.LogAttrs(context.Background(), slog.LevelDebug, "connection over",
			slog.String("id", a.id), slog.String("client", a.addr.String()), slog.String("name", name),
			slog.Duration("after", since(a.began)), cause(why))
		return
	}
	reason := reasonFor(why)
	if reason == ReasonHandshakes && l.gate.closed() {
		reason = ReasonClosing // quic-go uses one error for both
	}
	l.unproved(a, why)
	l.refusals.add(reason, a.addr, slog.String("id", a.id), slog.String("name", name),
		slog.Duration("after", since(a.began)), cause(why))
}

// maxText bounds what a stranger's words may take of a log line, in bytes.
const maxText = 255

// cause is why a connection ended, for the log. Parts of it may be the peer's words.
func cause(err error) slog.Attr { return slog.String("cause", clip(fmt.Sprint(err))) }

func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// named keeps what the ClientHello said and what it was given.
func (a *arrival) named(sent, matched string, m *mapping) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent, a.matched, a.mapping = sent, matched, m
}

// conn makes the Conn of an arrival whose stream is open.
func (a *arrival) conn(qc *quicgo.Conn, str *quicgo.Stream) (*Conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mapping == nil {
		return nil, errors.New("quic: handshake without a server name's mapping")
	}
	state := qc.ConnectionState().TLS
	b, err := bindings(a.mapping.leaf, &state)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	if len(state.VerifiedChains) > 0 {
		chain = state.VerifiedChains[0]
	}
	c := &Conn{str: str, qc: qc, bindings: b, peer: Peer{
		ID:         a.id,
		ServerName: peerName(a.sent),
		Matched:    a.matched,
		Policy:     a.mapping.Policy,
		Chain:      chain,
		TLSVersion: state.Version,
		ALPN:       state.NegotiatedProtocol,
	}}
	c.reads.tell, c.writes.tell = str.SetReadDeadline, str.SetWriteDeadline
	return c, nil
}

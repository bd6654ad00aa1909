package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// A Reason is why a connection was not handed out, as counted in Stats and written to the log.
type Reason string

// The reasons. The first five are decided on the first packet, before any cryptography.
const (
	ReasonClosing          Reason = "the listener is closing"
	ReasonConns            Reason = "too many connections"
	ReasonPrefixConns      Reason = "too many connections from this address"
	ReasonHandshakes       Reason = "too many handshakes in progress"
	ReasonPrefixHandshakes Reason = "too many handshakes in progress from this address"

	ReasonName       Reason = "unknown server name"
	ReasonALPN       Reason = "no application protocol in common"
	ReasonClientCert Reason = "client certificate missing or not trusted"
	ReasonAccess     Reason = "client certificate denied by the access list"
	ReasonHandshake  Reason = "handshake failed"
	ReasonTimeout    Reason = "handshake timed out"
	// The client ended the handshake. Its alert follows: mostly it does not trust our certificate, or wanted one
	// for another name.
	ReasonClient Reason = "client refused us"
	// Samba's client looks at the certificate only after the handshake, and then leaves without a reason.
	ReasonClientLeft Reason = "client left before its first byte; it may not trust our certificate"
	ReasonNoStream   Reason = "no stream opened in time"
)

// TLS alerts (RFC 8446 section 6.2, RFC 7301) as they appear in QUIC, for those that have a reason of their own.
const (
	alertBadCertificate       = 42
	alertUnsupportedCert      = 43
	alertCertificateRevoked   = 44
	alertCertificateExpired   = 45
	alertCertificateUnknown   = 46
	alertUnknownCA            = 48
	alertAccessDenied         = 49
	alertInternalError        = 80
	alertUnrecognizedName     = 112
	alertCertificateRequired  = 116
	alertNoApplicationProtcol = 120
)

// alert is an error that ends a handshake with a TLS alert: crypto/tls looks for a tls.AlertError in its tree.
func alert(code uint8, err error) error {
	return &alertError{code: tls.AlertError(code), err: err}
}

type alertError struct {
	code tls.AlertError
	err  error
}

func (e *alertError) Error() string   { return e.err.Error() }
func (e *alertError) Unwrap() []error { return []error{e.code, e.err} }

// reasonFor names what ended a connection that was still arriving.
func reasonFor(cause error) Reason {
	if errors.Is(cause, ErrAccessDenied) {
		return ReasonAccess
	}
	if errors.Is(cause, errUnknownName) || errors.Is(cause, errNoName) {
		return ReasonName
	}
	if tr, ok := errors.AsType[*quicgo.TransportError](cause); ok {
		switch {
		case tr.Remote && tr.ErrorCode.IsCryptoError():
			return ReasonClient
		case tr.Remote:
			return ReasonClientLeft
		case tr.ErrorCode == quicgo.ConnectionRefused: // quic-go's queue of finished handshakes is full
			return ReasonHandshakes
		case tr.ErrorCode.IsCryptoError():
			switch uint8(tr.ErrorCode - 0x100) {
			case alertNoApplicationProtcol:
				return ReasonALPN
			case alertCertificateRequired, alertBadCertificate, alertUnsupportedCert, alertCertificateRevoked,
				alertCertificateExpired, alertCertificateUnknown, alertUnknownCA:
				return ReasonClientCert
			case alertAccessDenied:
				return ReasonAccess
			case alertUnrecognizedName:
				return ReasonName
			}
		}
		return ReasonHandshake
	}
	if app, ok := errors.AsType[*quicgo.ApplicationError](cause); ok {
		switch {
		case app.Remote:
			return ReasonClientLeft
		case app.ErrorCode == codeNoStream:
			return ReasonNoStream
		case app.ErrorCode == codeShutdown:
			return ReasonClosing
		case app.ErrorCode == codeAccess:
			return ReasonAccess
		}
		return ReasonHandshake
	}
	if t, ok := errors.AsType[net.Error](cause); ok && t.Timeout() {
		return ReasonTimeout
	}
	if errors.Is(cause, net.ErrClosed) {
		return ReasonClosing
	}
	return ReasonHandshake
}

// Lines of one reason that a quiet log gets at once, and how often one more.
const (
	logBurst = 20
	logEvery = time.Second
)

// A refusals book counts and logs. Each reason has an allowance of log lines of its own, so that a flood of one kind
// hides neither the disk from the owner nor another kind from the log.
type refusals struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	reasons map[Reason]*refused
}

type refused struct {
	count   uint64
	tokens  float64
	last    time.Time
	skipped uint64
}

func newRefusals(log *slog.Logger) *refusals {
	return &refusals{log: log, now: time.Now, reasons: make(map[Reason]*refused)}
}

// add counts one refusal and writes its line if the reason has allowance left. skipped in a line is how many of its
// kind were not written since the line before.
func (r *refusals) add(reason Reason, addr net.Addr, attrs ...slog.Attr) {
	r.mu.Lock()
	now := r.now()
	e := r.reasons[reason]
	if e == nil {
		e = &refused{tokens: logBurst, last: now}
		r.reasons[reason] = e
	}
	e.count++
	e.tokens = min(logBurst, e.tokens+float64(now.Sub(e.last))/float64(logEvery))
	e.last = now
	if e.tokens < 1 {
		e.skipped++
		r.mu.Unlock()
		return
	}
	e.tokens--
	skipped := e.skipped
	e.skipped = 0
	r.mu.Unlock()

	line := []slog.Attr{slog.String("reason", string(reason)), slog.String("client", addr.String())}
	line = append(line, attrs...)
	if skipped > 0 {
		line = append(line, slog.Uint64("skipped", skipped))
	}
	r.log.LogAttrs(context.Background(), slog.LevelWarn, "connection refused", line...)
}

func (r *refusals) counts() map[Reason]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := make(map[Reason]uint64, len(r.reasons))
	for reason, e := range r.reasons {
		m[reason] = e.count
	}
	return m
}

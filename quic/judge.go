package quic

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"

	quicgo "github.com/quic-go/quic-go"
)

// A Judgement is what became of a client's certificate: for an audit log.
type Judgement struct {
	ID         string // the connection's, as in Peer
	ServerName string // as the client sent it
	Addr       net.Addr
	// Sent are the certificates that the client sent, its own first; none if it sent none. They are trusted only if Err
	// is nil or ErrAccessDenied.
	Sent []*x509.Certificate
	// Err is why it was not let in. errors.Is(Err, ErrAccessDenied): the access list says so.
	Err error
	// Cut says that the client had been let in before, and that its connection was ended now.
	Cut bool
}

// judged reports what was decided, to who asked for it.
func (l *Listener) judged(j Judgement) {
	if l.cfg.Judged != nil {
		j.ServerName = clip(j.ServerName)
		l.cfg.Judged(j)
	}
}

// verify is called when the client's chain, if it showed one, is valid and trusted ([MS-SMB2] 3.3.5.1).
func (l *Listener) verify(a *arrival, auth *ClientAuth, state tls.ConnectionState) error {
	sent := state.PeerCertificates
	if len(sent) == 0 {
		return nil
	}
	var err error
	if auth.Access != nil {
		err = auth.Access(sent)
	}
	l.judged(Judgement{ID: a.id, ServerName: state.ServerName, Addr: a.addr, Sent: sent, Err: err})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrAccessDenied):
		return alert(alertAccessDenied, err)
	default:
		return alert(alertInternalError, fmt.Errorf("client access check: %w", err))
	}
}

// unproved reports a handshake that ended before verify could be called, if that was for the client's certificate.
func (l *Listener) unproved(a *arrival, cause error) {
	if reasonFor(cause) != ReasonClientCert {
		return
	}
	j := Judgement{ID: a.id, Addr: a.addr, Err: cause}
	if v, ok := errors.AsType[*tls.CertificateVerificationError](cause); ok {
		j.Sent = v.UnverifiedCertificates
	}
	a.mu.Lock()
	j.ServerName = a.sent
	a.mu.Unlock()
	l.judged(j)
}

// recheck ends the connections whose client would not be let in any more.
func (l *Listener) recheck() {
	type one struct {
		a  *arrival
		qc *quicgo.Conn
	}
	l.mu.Lock()
	live := make([]one, 0, len(l.live))
	for a, qc := range l.live {
		live = append(live, one{a, qc})
	}
	l.mu.Unlock()
	var ending sync.WaitGroup
	for _, c := range live {
		if err := l.stands(c.a, c.qc); err != nil {
			ending.Go(func() { l.cut(c.a, c.qc, err) })
		}
	}
	ending.Wait()
}

// stands says why a client that was let in would not be any more.
func (l *Listener) stands(a *arrival, qc *quicgo.Conn) error {
	a.mu.Lock()
	sent := a.sent
	a.mu.Unlock()
	m, matched, err := l.cfg.Store.match(sent)
	if err != nil {
		return nil // a name that went away: connections stay
	}
	auth := l.cfg.Store.auth(m, matched)
	if auth == nil {
		return nil
	}
	return auth.judge(qc.ConnectionState().TLS.PeerCertificates, a)
}

// judge is the whole of [MS-SMB2] 3.3.5.1 for a client whose handshake is done.
func (auth *ClientAuth) judge(sent []*x509.Certificate, a *arrival) error {
	if len(sent) == 0 {
		if auth.Require {
			return fmt.Errorf("%w: no certificate", ErrAccessDenied)
		}
		return nil
	}
	if auth.CAs == nil {
		return errors.New("no authority is trusted")
	}
	between := x509.NewCertPool()
	for _, c := range sent[1:] {
		between.AddCert(c)
	}
	// At the time it came: that a certificate ends does not end what it has begun.
	if _, err := sent[0].Verify(x509.VerifyOptions{
		Roots: auth.CAs, Intermediates: between, CurrentTime: a.began, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return err
	}
	if auth.Access == nil {
		return nil
	}
	return auth.Access(sent)
}

// cut ends a connection whose client is let in no more.
func (l *Listener) cut(a *arrival, qc *quicgo.Conn, why error) {
	a.mu.Lock()
	name := a.sent
	a.mu.Unlock()
	_ = qc.CloseWithError(codeAccess, "access was withdrawn")
	l.cfg.Logger.Info("connection ended: its client is let in no more", "id", a.id, "client", a.addr.String(), "why", clip(why.Error()))
	l.judged(Judgement{
		ID: a.id, ServerName: name, Addr: a.addr, Sent: qc.ConnectionState().TLS.PeerCertificates, Err: why, Cut: true,
	})
}

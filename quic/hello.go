package quic

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
)

// serverTLS is the configuration every handshake starts with; hello gives it the rest.
func (l *Listener) serverTLS() *tls.Config {
	c := tlsBase()
	c.GetConfigForClient = l.hello
	return c
}

func tlsBase() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{ALPN},
		// Samba's client takes a ticket for an error and leaves. Without tickets there is no 0-RTT either, which
		// SMB, whose requests may not be replayed, must not have.
		SessionTicketsDisabled: true,
	}
}

// hello answers a ClientHello: the server name decides on the certificate and on what the client has to show.
func (l *Listener) hello(info *tls.ClientHelloInfo) (*tls.Config, error) {
	a, ok := info.Context().Value(arrivalKey{}).(*arrival)
	if !ok {
		return nil, alert(alertInternalError, errors.New("handshake without an arrival"))
	}
	m, matched, err := l.cfg.Store.match(info.ServerName)
	a.named(info.ServerName, matched, m)
	if err != nil {
		// "If no entry is found, the server MUST terminate the connection" ([MS-SMB2] 3.3.5.1).
		return nil, alert(alertUnrecognizedName, fmt.Errorf("%w: %.255q", err, info.ServerName))
	}

	c := tlsBase()
	c.Certificates = []tls.Certificate{m.Certificate}
	if auth := m.ClientAuth; auth != nil {
		c.ClientCAs = auth.CAs
		c.ClientAuth = tls.VerifyClientCertIfGiven
		if auth.Require {
			c.ClientAuth = tls.RequireAndVerifyClientCert
		}
		c.VerifyConnection = auth.verify
	}
	return c, nil
}

// verify is called when the client's chain, if it showed one, is valid and trusted ([MS-SMB2] 3.3.5.1).
func (auth *ClientAuth) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 || auth.Access == nil {
		return nil
	}
	switch err := auth.Access(state.PeerCertificates); {
	case err == nil:
		return nil
	case errors.Is(err, ErrAccessDenied):
		return alert(alertAccessDenied, err)
	default:
		return alert(alertInternalError, fmt.Errorf("client access check: %w", err))
	}
}

// peerName is a server name as Peer gives it.
func peerName(sent string) string {
	return strings.ToLower(strings.TrimSuffix(sent, "."))
}

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
	if auth := l.cfg.Store.auth(m, matched); auth != nil {
		if auth.CAs == nil { // without this Go would take the system's
			return nil, alert(alertInternalError, errors.New("client access check: no authority is trusted"))
		}
		c.ClientCAs = auth.CAs
		c.ClientAuth = tls.VerifyClientCertIfGiven
		if auth.Require {
			c.ClientAuth = tls.RequireAndVerifyClientCert
		}
		c.VerifyConnection = func(state tls.ConnectionState) error { return l.verify(a, auth, state) }
	}
	return c, nil
}

// peerName is a server name as Peer gives it.
func peerName(sent string) string {
	return strings.ToLower(strings.TrimSuffix(sent, "."))
}

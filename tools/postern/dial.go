package postern

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/quic-go/quic-go"
)

// DialTCP connects over TCP.
func (s *Server) DialTCP(ctx context.Context) (net.Conn, error) {
	return s.within(func() (net.Conn, error) { return DialTCP(ctx, netip.Addr{}, s.TCP) })
}

// DialQUIC connects over QUIC, verifies the server's certificate by its name and CA, and opens the stream. A server
// sees the stream with the first bytes.
func (s *Server) DialQUIC(ctx context.Context) (net.Conn, error) {
	return s.within(func() (net.Conn, error) { return DialQUIC(ctx, netip.Addr{}, s.QUIC, s.Name, s.CA) })
}

// within dials in the server's network.
func (s *Server) within(dial func() (net.Conn, error)) (c net.Conn, err error) {
	if s.net == nil {
		return dial()
	}
	err = s.net.Do(func() (err error) {
		c, err = dial()
		return err
	})
	return c, err
}

// DialQUICAs is DialQUIC with a client certificate.
func (s *Server) DialQUICAs(ctx context.Context, cert *tls.Certificate) (net.Conn, error) {
	return DialQUICAs(ctx, netip.Addr{}, s.QUIC, s.Name, s.CA, cert)
}

// DialTCP connects to addr from the given source address; the zero Addr lets the system choose. On Linux every
// address of 127.0.0.0/8 is a source, so one machine can be many clients.
func DialTCP(ctx context.Context, from netip.Addr, addr string) (net.Conn, error) {
	var d net.Dialer
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return d.DialContext(ctx, "tcp", addr)
}

// DialQUIC is DialTCP's twin: TLS 1.3 with ALPN "smb", the certificate verified for name against the PEM file ca.
func DialQUIC(ctx context.Context, from netip.Addr, addr, name, ca string) (net.Conn, error) {
	return DialQUICAs(ctx, from, addr, name, ca, nil)
}

// DialQUICAs is DialQUIC of a client that shows a certificate; nil shows none. A server that does not let it in says so
// after the handshake, to the first read.
func DialQUICAs(ctx context.Context, from netip.Addr, addr, name, ca string, cert *tls.Certificate) (net.Conn, error) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", ca)
	}
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	sock, err := net.ListenUDP("udp", &net.UDPAddr{IP: from.AsSlice()})
	if err != nil {
		return nil, err
	}
	config := &tls.Config{ServerName: name, RootCAs: roots, NextProtos: []string{"smb"}, MinVersion: tls.VersionTLS13}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	tr := &quic.Transport{Conn: sock}
	conn, err := tr.Dial(ctx, to, config,
		&quic.Config{
			MaxIdleTimeout: 60 * time.Second, KeepAlivePeriod: 10 * time.Second,
			// As the server's own, so that neither direction is at a disadvantage in a benchmark.
			InitialStreamReceiveWindow: 2 << 20, MaxStreamReceiveWindow: 16 << 20,
			InitialConnectionReceiveWindow: 2 << 20, MaxConnectionReceiveWindow: 16 << 20,
		})
	if err != nil {
		return nil, errors.Join(err, tr.Close(), sock.Close())
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, errors.Join(err, conn.CloseWithError(0, ""), tr.Close(), sock.Close())
	}
	return &quicConn{Stream: stream, conn: conn, tr: tr, sock: sock}, nil
}

// A quicConn is one stream that owns its connection and its socket.
type quicConn struct {
	*quic.Stream
	conn *quic.Conn
	tr   *quic.Transport
	sock *net.UDPConn
}

func (c *quicConn) LocalAddr() net.Addr  { return c.conn.LocalAddr() }
func (c *quicConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// Close ends a Write that is under way too: one that is when its stream is closed would wait for good.
func (c *quicConn) Close() error {
	_ = c.SetWriteDeadline(time.Now())
	return errors.Join(c.Stream.Close(), c.conn.CloseWithError(0, ""), c.tr.Close(), c.sock.Close())
}

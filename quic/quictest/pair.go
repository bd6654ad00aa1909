package quictest

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/postern-nas/postern/quic"
)

// ServerName is the name that Serve's certificate is for.
const ServerName = "nas.example.com"

// A Server is a Listener on the loopback address with an authority and one name, and what a client needs to reach
// it.
type Server struct {
	*quic.Listener
	CA    *CA
	Store *quic.Store
}

// Serve starts a Server that ends with the test. change may alter its configuration first; unless it sets limits on
// handshakes there are none to speak of, as all clients of a test share one address.
func Serve(t testing.TB, change func(*quic.Config)) *Server {
	t.Helper()
	packets, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return ServeOn(t, packets, change)
}

// ServeOn is Serve on a given packet socket.
func ServeOn(t testing.TB, packets net.PacketConn, change func(*quic.Config)) *Server {
	t.Helper()
	s := &Server{CA: NewCA("Test Root"), Store: &quic.Store{}}
	if err := s.Store.Set(quic.Mapping{
		Names: []string{ServerName}, Certificate: s.CA.Leaf([]string{ServerName}), Policy: "test",
	}); err != nil {
		t.Fatal(err)
	}
	cfg := quic.Config{Store: s.Store, Logger: slog.New(slog.DiscardHandler)}
	cfg.Limits.Handshakes, cfg.Limits.HandshakesPerPrefix, cfg.Limits.RetryAbove = 4096, 4096, 2048
	if change != nil {
		change(&cfg)
	}
	var err error
	if s.Listener, err = quic.Listen(packets, cfg); err != nil {
		_ = packets.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TLS is the configuration of a client that trusts the Server.
func (s *Server) TLS() *tls.Config {
	return &tls.Config{RootCAs: s.CA.Pool(), ServerName: ServerName}
}

// Dial connects a client to the Server; it is closed with the test.
func (s *Server) Dial(t testing.TB) *Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := DialFrom(ctx, nil, s.Addr().String(), s.TLS(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Connect makes a connection and gives both its ends. The client has sent hello, which the server has read.
func (s *Server) Connect(t testing.TB) (server *quic.Conn, client *Client) {
	t.Helper()
	client = s.Dial(t)
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	server, err := s.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Abort)
	var hello [5]byte
	for n := 0; n < len(hello); {
		m, err := server.Read(hello[n:])
		if n += m; err != nil {
			t.Fatal(err)
		}
	}
	return server, client
}

// Pair is a connection of its own: Serve and Connect.
func Pair(t testing.TB) (server *quic.Conn, client *Client) {
	t.Helper()
	return Serve(t, nil).Connect(t)
}

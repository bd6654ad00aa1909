package quic_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"

	quicgo "github.com/quic-go/quic-go"

	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/quic/quictest"
)

// BenchmarkStream compares a Conn with a bare quic-go stream of the same settings: 1 MiB a write, each way, and a
// request of 128 bytes with its answer.
func BenchmarkStream(b *testing.B) {
	for _, pair := range []struct {
		name string
		make func(*testing.B) (server, client io.ReadWriter)
	}{
		{"conn", func(b *testing.B) (io.ReadWriter, io.ReadWriter) {
			server, client := quictest.Pair(b)
			return server, client
		}},
		{"bare", bare},
	} {
		b.Run(pair.name, func(b *testing.B) {
			server, client := pair.make(b)
			b.Run("in", func(b *testing.B) { pump(b, client, server) })
			b.Run("out", func(b *testing.B) { pump(b, server, client) })
			b.Run("pingpong", func(b *testing.B) {
				b.ReportAllocs()
				ask, answer := make([]byte, 128), make([]byte, 128)
				go func() {
					for range b.N {
						if _, err := io.ReadFull(server, answer); err != nil {
							return
						}
						_, _ = server.Write(answer)
					}
				}()
				for range b.N {
					_, _ = client.Write(ask)
					if _, err := io.ReadFull(client, ask); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func pump(b *testing.B, from io.Writer, to io.Reader) {
	const size = 1 << 20
	b.SetBytes(size)
	b.ReportAllocs()
	out, in := make([]byte, size), make([]byte, size)
	go func() {
		for range b.N {
			if _, err := from.Write(out); err != nil {
				return
			}
		}
	}()
	for range b.N {
		if _, err := io.ReadFull(to, in); err != nil {
			b.Fatal(err)
		}
	}
}

func bare(b *testing.B) (server, client io.ReadWriter) {
	b.Helper()
	cfg, err := quic.Config{Store: &quic.Store{}}.WithDefaults()
	if err != nil {
		b.Fatal(err)
	}
	ca := quictest.NewCA("Root")
	packets := loopback(b)
	tr := &quicgo.Transport{Conn: packets, ConnectionIDLength: 8}
	l, err := tr.Listen(&tls.Config{
		NextProtos: []string{"smb"}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		Certificates: []tls.Certificate{ca.Leaf([]string{quictest.ServerName})},
	}, cfg.Transport())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = l.Close()
		_ = tr.Close()
		_ = packets.Close()
	})
	c, err := quictest.Dial(context.Background(), packets.LocalAddr().(*net.UDPAddr).String(),
		&tls.Config{RootCAs: ca.Pool(), ServerName: quictest.ServerName})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	qc, err := l.Accept(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		b.Fatal(err)
	}
	str, err := qc.AcceptStream(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(str, make([]byte, 5)); err != nil {
		b.Fatal(err)
	}
	return str, c
}

// BenchmarkHandshake is a whole visit: handshake, stream, one byte each way, close.
func BenchmarkHandshake(b *testing.B) {
	s := quictest.Serve(b, nil)
	go func() {
		for {
			c, err := s.Accept(context.Background())
			if err != nil {
				return
			}
			go func() {
				_, _ = io.CopyN(struct{ io.Writer }{c}, struct{ io.Reader }{c}, 1)
				_ = c.Close()
			}()
		}
	}()
	b.ReportAllocs()
	for range b.N {
		c, err := quictest.Dial(context.Background(), s.Addr().String(), s.TLS())
		if err != nil {
			b.Fatal(err)
		}
		if err := ping(c, "x"); err != nil {
			b.Fatal(err)
		}
		_ = c.Close()
	}
}

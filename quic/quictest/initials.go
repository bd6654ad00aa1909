package quictest

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// Initials makes the first packets of n different connections to a server name: what a flood of clients sends that
// never answer. Each is a whole ClientHello.
func Initials(n int, name string) ([][]byte, error) {
	sink := &sink{closed: make(chan struct{})}
	transport := &quicgo.Transport{Conn: sink}
	defer func() {
		_ = transport.Close()
		_ = sink.Close()
	}()
	config := &tls.Config{
		ServerName: name, NextProtos: []string{"smb"}, InsecureSkipVerify: true,
		CurvePreferences: []tls.CurveID{tls.X25519}, // a post-quantum share would need a second packet
	}
	all := make([][]byte, 0, n)
	for range n {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		sink.catch(func(p []byte) {
			all = append(all, p)
			cancel()
		})
		_, err := transport.Dial(ctx, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}, config, nil)
		sink.catch(nil)
		cancel()
		if !errors.Is(err, context.Canceled) {
			return nil, err
		}
	}
	return all, nil
}

// A sink is a packet socket that receives nothing and gives each first packet after catch to a function.
type sink struct {
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	next func([]byte)
}

func (s *sink) catch(f func([]byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = f
}

func (s *sink) WriteTo(p []byte, _ net.Addr) (int, error) {
	s.mu.Lock()
	f := s.next
	s.next = nil
	s.mu.Unlock()
	if f != nil {
		f(append([]byte(nil), p...))
	}
	return len(p), nil
}

func (s *sink) ReadFrom([]byte) (int, net.Addr, error) {
	<-s.closed
	return 0, nil, net.ErrClosed
}

func (s *sink) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// SetReadDeadline is how a closing transport ends its read.
func (s *sink) SetReadDeadline(t time.Time) error {
	if !t.IsZero() {
		return s.Close()
	}
	return nil
}

func (s *sink) SetDeadline(t time.Time) error    { return s.SetReadDeadline(t) }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) LocalAddr() net.Addr              { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9} }
func (s *sink) SetReadBuffer(int) error          { return nil }
func (s *sink) SetWriteBuffer(int) error         { return nil }

package quictest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// A Client is the far end of a connection: the stream as a net.Conn, and the QUIC connection below it for tests that
// do what SMB clients do not. The server learns of the stream with the first Write.
type Client struct {
	*quicgo.Stream
	QUIC *quicgo.Conn

	transport *quicgo.Transport
	packets   net.PacketConn
	once      sync.Once
}

var _ net.Conn = (*Client)(nil)

// Dial connects to an SMB over QUIC server from a socket of its own. config needs RootCAs and ServerName; what else
// SMB over QUIC demands is filled in where it is unset.
func Dial(ctx context.Context, addr string, config *tls.Config) (net.Conn, error) {
	return DialFrom(ctx, nil, addr, config, nil)
}

// DialFrom is Dial from a given packet socket, which the Client then owns, and with a given QUIC configuration. Nil
// for either stands for Dial's own.
func DialFrom(ctx context.Context, packets net.PacketConn, addr string, config *tls.Config, qconf *quicgo.Config,
) (*Client, error) {
	remote, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	if packets == nil {
		local := &net.UDPAddr{}
		if remote.IP.IsLoopback() {
			local.IP = remote.IP
		}
		if packets, err = net.ListenUDP("udp", local); err != nil {
			return nil, err
		}
	}
	config = config.Clone()
	if config.NextProtos == nil {
		config.NextProtos = []string{"smb"}
	}
	if qconf == nil {
		qconf = &quicgo.Config{
			MaxIdleTimeout: time.Minute, KeepAlivePeriod: 10 * time.Second,
			InitialStreamReceiveWindow: 2 << 20, MaxStreamReceiveWindow: 16 << 20,
			InitialConnectionReceiveWindow: 2 << 20, MaxConnectionReceiveWindow: 16 << 20,
		}
	}
	c := &Client{transport: &quicgo.Transport{Conn: packets}, packets: packets}
	if c.QUIC, err = c.transport.Dial(ctx, remote, config, qconf); err != nil {
		c.drop()
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	if c.Stream, err = c.QUIC.OpenStream(); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return c, nil
}

func (c *Client) drop() {
	_ = c.transport.Close()
	_ = c.packets.Close()
}

// Close ends the connection at once, as Windows does, and leaves nothing running.
func (c *Client) Close() error {
	c.once.Do(func() {
		_ = c.QUIC.CloseWithError(0, "")
		c.drop()
	})
	return nil
}

// CloseWrite ends our direction of the stream and no more.
func (c *Client) CloseWrite() error { return c.Stream.Close() }

// Vanish goes away without a word, like a client that lost its power.
func (c *Client) Vanish() { c.once.Do(c.drop) }

// LocalAddr is the address packets are sent from.
func (c *Client) LocalAddr() net.Addr { return c.QUIC.LocalAddr() }

// RemoteAddr is the server's address.
func (c *Client) RemoteAddr() net.Addr { return c.QUIC.RemoteAddr() }

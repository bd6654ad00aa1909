package quic

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// Application error codes of our CONNECTION_CLOSE frames. [MS-SMB2] names none; a client that sees one has nothing
// to do but to reconnect.
const (
	codeDone     quicgo.ApplicationErrorCode = 0
	codeNoStream quicgo.ApplicationErrorCode = 1
	codeShutdown quicgo.ApplicationErrorCode = 2
	codeInternal quicgo.ApplicationErrorCode = 3
	codeAccess   quicgo.ApplicationErrorCode = 4
)

// A Peer is what is known of the client when its Conn is handed out.
type Peer struct {
	// ID names the connection in logs; it is unique over restarts.
	ID string
	// ServerName is the name the client asked for (SNI) in lower case without a final dot; "" if it sent none and
	// was given the store's default.
	ServerName string
	// Matched is the name in the store that ServerName matched: itself, or "*.example.com".
	Matched string
	// Policy is the Policy of the Mapping that served the name.
	Policy string
	// Chain is the client's certificate, leaf first, up to a trusted root, verified and let in by the access
	// list; nil if it showed none.
	Chain []*x509.Certificate
	// TLSVersion is tls.VersionTLS13, always; ALPN is "smb", always. They are here to be logged.
	TLSVersion uint16
	ALPN       string
}

// A Conn is one client's connection: its one stream as a net.Conn. Reads and writes go to the QUIC stream itself;
// one of each may run at a time. RemoteAddr follows the client when it migrates to another address.
type Conn struct {
	str      *quicgo.Stream
	qc       *quicgo.Conn
	peer     Peer
	bindings [][]byte

	reads, writes deadline

	closed    atomic.Bool
	closeOnce sync.Once
}

var _ net.Conn = (*Conn)(nil)

// Peer says who is at the other end.
func (c *Conn) Peer() Peer { return c.peer }

// Bindings are this connection's channel bindings, each as the application_data of a gss_channel_bindings_struct
// (RFC 2744 section 3.11), with addresses unset:
//
//	"tls-server-end-point:" + hash   RFC 5929 section 4: of the certificate we served, by the hash of its
//	                                 signature algorithm (SHA-256 for MD5 and SHA-1): 32, 48 or 64 bytes
//	"tls-exporter:" + 32 bytes       RFC 9266: exporter "EXPORTER-Channel-Binding", no context
//
// A client that binds its authentication to the channel must have used one of them.
func (c *Conn) Bindings() [][]byte { return c.bindings }

// Read reads from the stream. io.EOF is the end of the stream, or a client that closed the connection in peace.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.str.Read(p)
	if err != nil {
		err = c.failure("read", err)
	}
	return n, err
}

// Write writes to the stream. It returns when all of p but the last packet's worth has been sent, and does not keep
// p.
func (c *Conn) Write(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, c.failure("write", net.ErrClosed)
	}
	n, err := c.str.Write(p)
	if err != nil {
		err = c.failure("write", err)
	}
	return n, err
}

// failure gives a stream's error the form that callers of a net.Conn know.
func (c *Conn) failure(op string, err error) error {
	switch {
	case c.closed.Load():
		err = net.ErrClosed
	case err == io.EOF:
		return io.EOF
	case op == "read" && peaceful(err):
		return io.EOF
	}
	return &net.OpError{Op: op, Net: "quic", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// peaceful reports whether err is the peer's CONNECTION_CLOSE without an error in it.
func peaceful(err error) bool {
	if app, ok := errors.AsType[*quicgo.ApplicationError](err); ok {
		return app.Remote && app.ErrorCode == 0
	}
	if tr, ok := errors.AsType[*quicgo.TransportError](err); ok {
		return tr.Remote && tr.ErrorCode == quicgo.NoError
	}
	return false
}

// Close ends both directions at once for its own side, so that pending calls return net.ErrClosed, then gives the
// client a moment (a few round trips, at most a second) to fetch what was already written, and ends the connection.
// Nothing of the connection is left running when it returns. Further calls wait for the first and do nothing.
func (c *Conn) Close() error {
	c.closed.Store(true)
	c.closeOnce.Do(func() {
		// A deadline in the past wakes a pending Read or Write without a word to the peer: a RESET or STOP_SENDING
		// could overtake our last response.
		c.reads.end()
		c.writes.end()
		_ = c.str.Close()
		linger := min(4*c.qc.ConnectionStats().SmoothedRTT+100*time.Millisecond, time.Second)
		t := time.NewTimer(linger)
		defer t.Stop()
		select {
		case <-c.qc.Context().Done():
		case <-t.C:
		}
		_ = c.qc.CloseWithError(codeDone, "")
	})
	return nil
}

// Abort ends the connection now, without a chance for the client to fetch what is on its way.
func (c *Conn) Abort() {
	c.closed.Store(true)
	_ = c.qc.CloseWithError(codeDone, "")
	_ = c.Close()
}

// LocalAddr is the address that the client's first packet was sent to.
func (c *Conn) LocalAddr() net.Addr { return c.qc.LocalAddr() }

// RemoteAddr is the client's present address.
func (c *Conn) RemoteAddr() net.Addr { return c.qc.RemoteAddr() }

// SetDeadline sets both deadlines, as for any net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline bounds present and future Reads; zero lifts the bound.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.reads.set(t)
}

// SetWriteDeadline bounds present and future Writes; zero lifts the bound.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.writes.set(t)
}

// Done is closed when the connection is over, whoever ended it.
func (c *Conn) Done() <-chan struct{} { return c.qc.Context().Done() }

package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// A selfCheck looks at the server as a client does: an update is good only if that works, and a box that goes on without an
// answer is started again.
type selfCheck struct {
	kept  bool // the state outlives a restart
	ring  *keys.Ring
	name  string   // that the certificate has to be for
	addr  net.Addr // of QUIC
	looks *looks   // where it looks from
}

// lookWithin bounds one look.
const lookWithin = 20 * time.Second

// check says what is not as it should be.
func (s *selfCheck) check(ctx context.Context) error {
	if !s.kept {
		return errors.New("the state is in memory only")
	}
	if k, _ := s.ring.State().Get(); !k.Open {
		return fmt.Errorf("the keys are not open: %s", k.Text)
	}
	if _, err := s.look(ctx); err != nil {
		return fmt.Errorf("it does not answer itself over QUIC: %w", err)
	}
	return nil
}

// look connects and says whether that worked, and what did not after that.
func (s *selfCheck) look(ctx context.Context) (connected bool, err error) {
	s.looks.turn.Lock()
	defer s.looks.turn.Unlock()
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	return s.negotiate(ctx)
}

// looks are where the server's looks at itself come from. What they do is in no log: nobody has come, and one look a minute
// would leave no room for those who have. The zero looks has none.
type looks struct {
	turn sync.Mutex // one at a time
	last atomic.Pointer[string]
}

func (l *looks) from(addr net.Addr) {
	text := addr.String()
	l.last.Store(&text)
}

// ours says whether a connection from there is a look.
func (l *looks) ours(addr string) bool {
	last := l.last.Load()
	return last != nil && *last == addr
}

// unheard is a log without looks: the servers name a client's address in attributes of these keys.
type unheard struct {
	slog.Handler
	looks *looks
}

func (u unheard) look(a slog.Attr) bool {
	return (a.Key == "client" || a.Key == "remote") && u.looks.ours(a.Value.String())
}

func (u unheard) Handle(ctx context.Context, r slog.Record) error {
	for a := range r.Attrs {
		if u.look(a) {
			return nil
		}
	}
	return u.Handler.Handle(ctx, r)
}

func (u unheard) WithAttrs(attrs []slog.Attr) slog.Handler {
	if slices.ContainsFunc(attrs, u.look) {
		return slog.DiscardHandler
	}
	return unheard{u.Handler.WithAttrs(attrs), u.looks}
}

func (u unheard) WithGroup(name string) slog.Handler {
	return unheard{u.Handler.WithGroup(name), u.looks}
}

// certificateRequired is TLS's alert of that name as QUIC sends it (RFC 9001 4.8): the server asks clients for a
// certificate, and has none of its own to show. So it serves.
const certificateRequired = 0x100 + 116

// negotiate connects as a client, and asks the server which SMB it speaks.
func (s *selfCheck) negotiate(ctx context.Context) (connected bool, err error) {
	to, ok := s.addr.(*net.UDPAddr)
	if !ok {
		return false, fmt.Errorf("%v is no UDP address", s.addr)
	}
	at := *to
	if at.IP.IsUnspecified() {
		at.IP = net.IPv4(127, 0, 0, 1)
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Zone: at.Zone})
	if err != nil {
		return false, err
	}
	defer socket.Close()
	s.looks.from(socket.LocalAddr())
	// That the certificate is for the name is what can be wrong here. Who signed it is the owner's choice, and the clock may
	// not be right yet.
	verify := func(state tls.ConnectionState) error { return state.PeerCertificates[0].VerifyHostname(s.name) }
	conn, err := quic.Dial(ctx, socket, &at, &tls.Config{
		ServerName: s.name, NextProtos: []string{"smb"}, MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, VerifyConnection: verify,
	}, &quic.Config{HandshakeIdleTimeout: lookWithin})
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	stream, err := conn.OpenStreamSync(ctx)
	if err == nil {
		defer context.AfterFunc(ctx, func() { _ = stream.SetDeadline(time.Unix(1, 0)) })()
		err = askDialect(stream)
	}
	var alert *quic.TransportError
	if errors.As(err, &alert) && alert.ErrorCode == certificateRequired {
		return true, nil
	}
	return true, err
}

// askDialect sends a NEGOTIATE for 3.1.1 and reads the answer, [MS-SMB2] 2.2.3, 2.2.4 and 2.1.
func askDialect(rw io.ReadWriter) error {
	salt := make([]byte, 32)
	_, _ = rand.Read(salt) // never fails
	integrity := wire.PreauthIntegrity{HashAlgorithms: []uint16{wire.HashSHA512}, Salt: salt}
	body := wire.NegotiateRequest{
		SecurityMode: wire.SigningEnabled, Dialects: []uint16{wire.Dialect311},
		Contexts: []wire.NegotiateContext{{Type: wire.ContextPreauthIntegrity, Data: integrity.Append(nil)}},
	}
	head := wire.Header{Command: wire.CmdNegotiate, Credits: 1}
	msg := body.Append(head.Append(make([]byte, 4)))
	binary.BigEndian.PutUint32(msg, uint32(len(msg)-4))
	if _, err := rw.Write(msg); err != nil {
		return err
	}
	length := make([]byte, 4)
	if _, err := io.ReadFull(rw, length); err != nil {
		return err
	}
	const most = 64 << 10
	n := binary.BigEndian.Uint32(length)
	if n > most {
		return fmt.Errorf("an answer of %d bytes", n)
	}
	reply := make([]byte, n)
	if _, err := io.ReadFull(rw, reply); err != nil {
		return err
	}
	if err := head.Decode(reply); err != nil {
		return err
	}
	if head.Status != nt.Success {
		return fmt.Errorf("NEGOTIATE: %v", head.Status)
	}
	return nil
}

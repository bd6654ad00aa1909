package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/wire"
)

// A selfCheck looks at the server as a client does: an update is good only if that works.
type selfCheck struct {
	kept bool // the state outlives a restart
	ring *keys.Ring
	name string   // that the certificate has to be for
	addr net.Addr // of QUIC
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
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	if err := negotiate(ctx, s.addr, s.name); err != nil {
		return fmt.Errorf("it does not answer itself over QUIC: %w", err)
	}
	return nil
}

// certificateRequired is TLS's alert of that name as QUIC sends it (RFC 9001 4.8): the server asks clients for a
// certificate, and has none of its own to show. So it serves.
const certificateRequired = 0x100 + 116

// negotiate connects as a client, and asks the server which SMB it speaks.
func negotiate(ctx context.Context, addr net.Addr, name string) error {
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return err
	}
	host := "127.0.0.1"
	if a, ok := addr.(*net.UDPAddr); ok && !a.IP.IsUnspecified() {
		host = a.IP.String()
	}
	// That the certificate is for the name is what can be wrong here. Who signed it is the owner's choice, and the clock may
	// not be right yet.
	verify := func(state tls.ConnectionState) error { return state.PeerCertificates[0].VerifyHostname(name) }
	conn, err := quic.DialAddr(ctx, net.JoinHostPort(host, port), &tls.Config{
		ServerName: name, NextProtos: []string{"smb"}, MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, VerifyConnection: verify,
	}, &quic.Config{})
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	stream, err := conn.OpenStreamSync(ctx)
	if err == nil {
		defer context.AfterFunc(ctx, func() { _ = stream.SetDeadline(time.Unix(1, 0)) })()
		err = askDialect(stream)
	}
	var alert *quic.TransportError
	if errors.As(err, &alert) && alert.ErrorCode == certificateRequired {
		return nil
	}
	return err
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

package cert

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// handshakeTime bounds a handshake with ourselves. A TPM that signs has a second; one that is busy, some more.
const handshakeTime = 20 * time.Second

// Handshake proves that chain can be served as name: a TLS 1.3 handshake with ourselves, in which the key signs and the
// certificate arrives and covers the name. Who issued it is the clients' affair.
func Handshake(chain tls.Certificate, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	defer cancel()
	here, there, err := pair()
	if err != nil {
		return err
	}
	defer here.Close()
	defer there.Close()
	server := tls.Server(there, &tls.Config{Certificates: []tls.Certificate{chain}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true})
	client := tls.Client(here, &tls.Config{
		ServerName: name, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true, // no chain to a root is asked for here; the rest of what it skips is below
		VerifyConnection: func(s tls.ConnectionState) error {
			leaf := s.PeerCertificates[0]
			if !bytes.Equal(leaf.Raw, chain.Certificate[0]) {
				return errors.New("another certificate arrived")
			}
			return leaf.VerifyHostname(name)
		},
	})
	served := make(chan error, 1)
	go func() { served <- server.HandshakeContext(ctx) }()
	err = client.HandshakeContext(ctx)
	if err != nil {
		_ = here.Close() // so that the other end does not wait for us
	}
	if err = errors.Join(err, <-served); err != nil {
		return fmt.Errorf("a handshake with it as %s: %w", name, err)
	}
	return nil
}

// pair is two ends of a connection that nobody else can reach. Unlike net.Pipe's they have buffers: an end that complains
// while the other still talks does not wait for it.
func pair() (a, b net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "handshake")
		c, e := net.FileConn(f) // of a copy
		err = errors.Join(err, e, f.Close())
		ends[i] = c
	}
	if err != nil {
		for _, c := range ends {
			if c != nil {
				_ = c.Close()
			}
		}
		return nil, nil, err
	}
	return ends[0], ends[1], nil
}

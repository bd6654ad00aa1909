package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/tools/postern/netns"
)

// The bare target is Postern's own QUIC listener with nothing behind it: what the transport gives at best. A
// request is 'R' or 'W' and a length of 8 bytes; the server sends that many bytes, or takes them and answers with
// one.

const bareName = "bare.test"

// children are what the bench runs as processes of their own.
var children = map[string]func(args []string) error{
	"child-bare":      serveBare,
	"child-reader":    readFor,
	"child-wireguard": serveWireGuard,
}

// child starts this program as one of children, in a network if not nil, and returns it with what it prints.
func child(stdin *os.File, n *netns.Net, args ...string) (cmd *exec.Cmd, out *bufio.Reader, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	argv := append([]string{self}, args...)
	if n != nil {
		argv = append(n.Enter(), argv...)
	}
	cmd = exec.Command(argv[0], argv[1:]...)
	if stdin != nil {
		cmd.Stdin = stdin
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return cmd, bufio.NewReader(pipe), cmd.Start()
}

// startBare starts the child, in a network if not nil, and returns its certificate's file and the port it listens on.
func startBare(dir string, n *netns.Net) (pid int, ca, port string, stop func() error, err error) {
	host := "127.0.0.1"
	if n != nil {
		host = ""
	}
	ca = filepath.Join(dir, "bare-ca"+host+".pem")
	cmd, out, err := child(nil, n, "child-bare", ca, net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, "", "", nil, err
	}
	addr, err := out.ReadString('\n')
	if err == nil {
		_, port, err = net.SplitHostPort(strings.TrimSpace(addr))
	}
	if err != nil {
		return 0, "", "", nil, errors.Join(err, cmd.Wait())
	}
	return cmd.Process.Pid, ca, port, func() error {
		if err := cmd.Process.Kill(); err != nil {
			return err
		}
		_ = cmd.Wait() // killed, as it says
		return nil
	}, nil
}

// serveBare is the child: it writes its certificate to the file it is told, listens where it is told, and prints its
// address.
func serveBare(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: FILE ADDRESS")
	}
	cert, err := selfSigned(bareName)
	if err != nil {
		return err
	}
	var store quic.Store
	if err := store.Set(quic.Mapping{Names: []string{bareName}, Certificate: cert}); err != nil {
		return err
	}
	l, err := quic.ListenAddr(args[1], quic.Config{Store: &store, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	if err := os.WriteFile(args[0], block, 0o600); err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept(context.Background())
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_ = answerBare(c) // ends when the client leaves
		}()
	}
}

func answerBare(c io.ReadWriter) error {
	data := make([]byte, block)
	fillRandom(data)
	for {
		var req [9]byte
		if _, err := io.ReadFull(c, req[:]); err != nil {
			return err
		}
		n := int64(binary.BigEndian.Uint64(req[1:]))
		if req[0] == 'W' {
			if _, err := io.CopyBuffer(sink{}, io.LimitReader(c, n), data); err != nil {
				return err
			}
			n = 1
		}
		for n > 0 {
			m, err := c.Write(data[:min(n, block)])
			if err != nil {
				return err
			}
			n -= int64(m)
		}
	}
}

// sink takes everything. Unlike io.Discard it leaves the reading to a buffer of the caller's.
type sink struct{}

func (sink) Write(b []byte) (int, error) { return len(b), nil }

func bareRequest(c io.Writer, kind byte, n int64) error {
	_, err := c.Write(binary.BigEndian.AppendUint64([]byte{kind}, uint64(n)))
	return err
}

func bareWrite(_ context.Context, s *session, size sizes) (done, error) {
	if err := bareRequest(s.bare, 'W', size.file); err != nil {
		return done{}, err
	}
	data := make([]byte, block)
	for n := size.file; n > 0; n -= block {
		if _, err := s.bare.Write(data[:min(n, block)]); err != nil {
			return done{}, err
		}
	}
	_, err := io.ReadFull(s.bare, data[:1])
	return moved(size.file), err
}

func bareRead(_ context.Context, s *session, size sizes) (done, error) {
	if err := bareRequest(s.bare, 'R', size.file); err != nil {
		return done{}, err
	}
	n, err := io.CopyBuffer(sink{}, io.LimitReader(s.bare, size.file), make([]byte, block))
	if err == nil && n != size.file {
		err = io.ErrUnexpectedEOF
	}
	return moved(n), err
}

// selfSigned makes a certificate that is its own authority, for clients that are Go's.
func selfSigned(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

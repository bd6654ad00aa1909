package vm

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/quic-go/quic-go"
)

// guest is the address that QEMU's network gives the machine. Only the machine itself is reached by it.
const guest = "10.0.2.15"

// What the machine's console says of its server.
const (
	nameLine      = `^Postern serves \\\\([^\\]+)\\`
	authorityLine = `^ +SHA-256 ([0-9A-F]{64})`
)

// FromHere passes on to out what the machine's console says, with the addresses, ports and files by which this host's
// programs reach it: the machine knows neither that its ports are forwarded, nor that the certificate of its authority lies
// in the folder dir, where SaveAuthority puts it. Each Write is a line. m.QUIC must be known.
func (m *Machine) FromHere(out io.Writer, dir string) io.Writer {
	return fromHere{out, m.translation(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.cer"))}
}

type fromHere struct {
	out io.Writer
	say *strings.Replacer
}

func (w fromHere) Write(line []byte) (int, error) {
	if _, err := w.say.WriteString(w.out, string(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// translation makes of the words that firmware prints for a demonstration (firmware/demo.go, face.go) those that are true
// on this host.
func (m *Machine) translation(pemFile, cerFile string) *strings.Replacer {
	address, port := reachedAt(m.QUIC)
	pairs := []string{
		guest + ", UDP port 443", address + ", UDP port " + port,
		`"` + guest + " ", `"` + address + " ", // the line for a hosts file
		"transports=quic:443'", "transports=quic:" + port + "'",
		"which is /state/", "which is the machine's /state/",
		"/state/ca.pem", pemFile, "/state/ca.cer", cerFile,
		"https://" + guest, m.Page(),
	}
	if port != "443" {
		pairs = append(pairs, "-TransportType QUIC ", "-TransportType QUIC -QuicPort "+port+" ")
	}
	return strings.NewReplacer(pairs...)
}

// Page is the address of the machine's page for a browser on this host, without a path. The page answers to its names, and
// not to an address that it does not have.
func (m *Machine) Page() string {
	address, port := reachedAt(m.HTTPS)
	name := "localhost"
	if a, err := netip.ParseAddr(address); err == nil && !a.IsLoopback() && !unspecified(m.HTTPS) {
		name = "postern.local"
	}
	if port == "443" {
		return "https://" + name
	}
	return "https://" + net.JoinHostPort(name, port)
}

// reachedAt takes a forwarded address apart: where others reach it, and its port.
func reachedAt(forwarded string) (address, port string) {
	address, port, _ = net.SplitHostPort(forwarded)
	if !unspecified(forwarded) {
		return address, port
	}
	// Nothing is sent: the kernel says by which of its addresses it would reach a stranger (one of RFC 5737's).
	conn, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		return "127.0.0.1", port
	}
	defer conn.Close()
	address, _, _ = net.SplitHostPort(conn.LocalAddr().String())
	return address, port
}

// unspecified reports whether a forwarded address is any of this host's.
func unspecified(forwarded string) bool {
	host, _, _ := net.SplitHostPort(forwarded)
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}

// SaveAuthority waits until the machine serves and has said what its authority's certificate is, gets that from it, and
// writes it into dir: ca.pem, and ca.cer for Windows.
func (m *Machine) SaveAuthority(ctx context.Context, dir string) error {
	name, err := m.Wait(ctx, nameLine)
	if err != nil {
		return err
	}
	sum, err := m.Wait(ctx, authorityLine)
	if err != nil {
		return err
	}
	found, err := authority(ctx, m.QUIC, name[1], sum[1])
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: found.Raw}), 0o644),
		os.WriteFile(filepath.Join(dir, "ca.cer"), found.Raw, 0o644))
}

// authority takes the certificate with that SHA-256 from the chain of the server at addr, and believes it for nothing else.
func authority(ctx context.Context, addr, name, sum string) (found *x509.Certificate, err error) {
	conn, err := quic.DialAddr(ctx, addr, &tls.Config{
		ServerName: name, NextProtos: []string{"smb"}, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			for _, c := range state.PeerCertificates {
				if fmt.Sprintf("%X", sha256.Sum256(c.Raw)) == sum {
					found = c
				}
			}
			return nil
		},
	}, nil)
	if err != nil {
		return nil, err
	}
	if err := conn.CloseWithError(0, ""); err != nil {
		return nil, err
	}
	if found == nil {
		return nil, fmt.Errorf("no certificate of %s has the SHA-256 %s, which its console named", addr, sum)
	}
	return found, nil
}

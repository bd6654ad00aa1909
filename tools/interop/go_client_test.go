package interop

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	smb2 "github.com/cloudsoda/go-smb2"

	"github.com/postern-nas/postern/tools/peers/peers"
	"github.com/postern-nas/postern/tools/postern"
)

// The tests in go_*_test.go drive a running postern with the Go client library cloudsoda/go-smb2, over a QUIC
// stream and over TCP. The library takes any net.Conn, so a link is all that differs.

// A link is one way to a server.
type link struct {
	name string
	dial func(context.Context) (net.Conn, error)
}

// A goTarget is what the Go client's tests work on: one share, the folder behind it, and one user.
type goTarget struct {
	dir            string // the share's folder on this machine
	share          string
	user, password string
	links          []link
}

// startGo starts a postern with one read-write share and returns it with its target. With -smbd the server is
// Samba's, reached over TCP alone, and srv is nil.
func startGo(t *testing.T) (srv *postern.Server, tgt goTarget) {
	t.Helper()
	tgt = goTarget{share: "disk", user: alice, password: alicePassword}
	if *againstSMBD {
		smbd := peers.Require(t).RunSMBD(t, peers.SMBDOptions{
			Users: map[string]string{tgt.user: tgt.password}, Shares: []string{tgt.share},
			Global: []string{"server signing = mandatory"},
		})
		tgt.dir = smbd.Shares[tgt.share].Host
		tgt.links = []link{{"tcp", func(ctx context.Context) (net.Conn, error) {
			return postern.DialTCP(ctx, netip.Addr{}, smbd.Addr)
		}}}
		return nil, tgt
	}
	tgt.dir = t.TempDir()
	srv = postern.Run(t, postern.Config{
		Shares: []postern.Share{{Name: tgt.share, Path: tgt.dir}},
		Users:  []postern.User{{Name: tgt.user, Password: tgt.password}},
	})
	tgt.links = []link{{"quic", srv.DialQUIC}, {"tcp", srv.DialTCP}}
	return srv, tgt
}

// eachLink runs f as one subtest a transport, each with a server of its own.
func eachLink(t *testing.T, f func(t *testing.T, srv *postern.Server, tgt goTarget, l link)) {
	for _, name := range []string{"quic", "tcp"} {
		t.Run(name, func(t *testing.T) {
			if *againstSMBD && name == "quic" {
				t.Skip("smbd has no QUIC here")
			}
			srv, tgt := startGo(t)
			i := slices.IndexFunc(tgt.links, func(l link) bool { return l.name == name })
			f(t, srv, tgt, tgt.links[i])
		})
	}
}

// needsPostern skips what watches or kills the server's process.
func needsPostern(t *testing.T) {
	if *againstSMBD {
		t.Skip("works on a postern only")
	}
}

// logon connects, logs on and mounts the share.
func (tgt goTarget) logon(ctx context.Context, l link) (*smb2.Session, *smb2.Share, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	conn, err := l.dial(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("dial: %w", err)
	}
	d := smb2.Dialer{Initiator: &smb2.NTLMInitiator{User: tgt.user, Password: tgt.password}}
	sess, err := d.DialConn(ctx, conn, serverName)
	if err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("logon: %w", err)
	}
	share, err := sess.WithContext(ctx).Mount(tgt.share)
	if err != nil {
		_ = sess.WithContext(ctx).Logoff()
		return nil, nil, fmt.Errorf("mount: %w", err)
	}
	return sess, share, nil
}

// mount is logon for the test's own goroutine; the session ends with the test.
func (tgt goTarget) mount(t *testing.T, l link) *smb2.Share {
	t.Helper()
	sess, share, err := tgt.logon(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := share.Umount(); err != nil {
			t.Errorf("umount: %v", err)
		}
		if err := sess.Logoff(); err != nil {
			t.Errorf("logoff: %v", err)
		}
	})
	return share
}

// pattern returns n bytes that depend on seed alone. Every aligned 8 bytes are different within and between seeds,
// so that data at a wrong place, or of another file, is seen.
func pattern(seed uint64, n int) []byte {
	b := make([]byte, n)
	fillPattern(b, seed, 0)
	return b
}

// fillPattern writes the bytes of pattern(seed, ...) from offset off, a multiple of 8, into b.
func fillPattern(b []byte, seed uint64, off int64) {
	x := seed*0x9E3779B97F4A7C15 + uint64(off/8)
	for i := range b {
		if i%8 == 0 && i > 0 {
			x++
		}
		z := x // the finalizer of splitmix64: a bijection, so different words stay different
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		z ^= z >> 31
		b[i] = byte(z >> (8 * (i % 8)))
	}
}

// onDisk reads a file of the share through the file system.
func (tgt goTarget) onDisk(t *testing.T, name ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{tgt.dir}, name...)...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

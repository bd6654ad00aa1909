package interop

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/quic/quictest"
	"github.com/postern-nas/postern/tools/peers/peers"
	"github.com/postern-nas/postern/tools/postern"
)

// startSMBD gives the tests a server that is known to work, for -smbd. It knows no special shares, and its log is its
// own. QUIC, which Debian's smbd cannot speak, is ours before it.
func startSMBD(t *testing.T, p *peers.Peers, users []postern.User, shares []share) []*sambaTarget {
	t.Helper()
	o := peers.SMBDOptions{Users: map[string]string{}}
	for _, u := range users {
		o.Users[u.Name] = u.Password
	}
	for _, s := range shares {
		if !s.readOnly && !s.encrypt && s.only == "" {
			o.Shares = append(o.Shares, s.name)
		}
	}
	s := p.RunSMBD(t, o)
	tcp := &sambaTarget{
		peers: p, transport: "tcp", connect: []string{"--option=client smb transports=tcp:" + portOf(t, s.Addr)},
		tcp: s.Addr, shares: map[string]string{}, log: s.Log,
	}
	for name, f := range s.Shares {
		tcp.shares[name] = f.Host
	}
	over := *tcp
	over.transport = "quic"
	relay := startRelay(t, s.Addr)
	over.ca = p.TempDir(t).Sub("ca.pem")
	if err := os.WriteFile(over.ca.Host, relay.ca, 0o644); err != nil {
		t.Fatal(err)
	}
	over.log = relay.log.String
	over.connect = append(trust(over.ca), "--option=client smb transports=quic:"+portOf(t, relay.addr))
	return []*sambaTarget{&over, tcp}
}

// A relay takes SMB over QUIC with our listener and passes it on over TCP.
type relay struct {
	addr string
	ca   []byte // PEM
	log  *logBuffer
}

func startRelay(t *testing.T, to string) relay {
	t.Helper()
	r := relay{log: new(logBuffer)}
	ca := quictest.NewCA("Relay")
	r.ca = ca.PEM()
	store := new(quic.Store)
	if err := store.Set(quic.Mapping{Names: []string{serverName}, Certificate: ca.Leaf([]string{serverName})}); err != nil {
		t.Fatal(err)
	}
	l, err := quic.ListenAddr("127.0.0.1:0", quic.Config{Store: store, Logger: slog.New(slog.NewTextHandler(r.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	var all sync.WaitGroup
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
	})
	all.Go(func() {
		for {
			client, err := l.Accept(context.Background())
			if err != nil {
				return // closed
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				t.Error(err)
				client.Close()
				return
			}
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				all.Go(func() {
					defer way[1].Close()
					io.Copy(way[1], way[0])
				})
			}
		}
	})
	return r
}

// A logBuffer is written to and read at once.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

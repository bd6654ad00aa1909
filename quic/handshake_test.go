package quic_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/quic/quictest"
)

func TestHandshake(t *testing.T) {
	noLeaks(t)
	var log record
	s := quictest.Serve(t, func(c *quic.Config) { c.Logger = log.logger() })
	inter := s.CA.Sub("Test Intermediate")
	if err := s.Store.Set(
		quic.Mapping{
			Names: []string{"nas.example.com"}, Certificate: s.CA.Leaf([]string{"nas.example.com"}), Policy: "one",
		},
		quic.Mapping{
			Names: []string{"*.Wild.example.com"}, Certificate: inter.Leaf([]string{"*.wild.example.com"}),
			Policy: "wild",
		},
	); err != nil {
		t.Fatal(err)
	}
	other := quictest.NewCA("Other Root")
	for _, test := range []struct {
		name    string
		sni     string
		change  func(*tls.Config)
		matched string // "" if the handshake fails
		policy  string
		alert   int // what the client gets, or -1 if it is the client who leaves
		reason  quic.Reason
		logged  string
	}{
		{name: "exact", sni: "nas.example.com", matched: "nas.example.com", policy: "one"},
		{name: "case", sni: "NAS.Example.com", matched: "nas.example.com", policy: "one"},
		{name: "wildcard", sni: "a.wild.example.com", matched: "*.wild.example.com", policy: "wild"},
		{name: "wildcard, two labels", sni: "a.b.wild.example.com", alert: 112, reason: quic.ReasonName},
		{name: "wildcard, no label", sni: "wild.example.com", alert: 112, reason: quic.ReasonName},
		{name: "unknown name", sni: "other.example.com", alert: 112, reason: quic.ReasonName, logged: "other.example.com"},
		{
			name: "no name", sni: "nas.example.com", alert: 112, reason: quic.ReasonName, logged: "no server name",
			change: func(c *tls.Config) { c.ServerName, c.InsecureSkipVerify = "127.0.0.1", true },
		},
		{
			name: "other ALPN", sni: "nas.example.com", alert: 120, reason: quic.ReasonALPN, logged: "h3",
			change: func(c *tls.Config) { c.NextProtos = []string{"h3", "smb2"} },
		},
		{
			name: "no ALPN", sni: "nas.example.com", alert: 120, reason: quic.ReasonALPN,
			change: func(c *tls.Config) { c.NextProtos = []string{} },
		},
		{
			name: "one ALPN of several", sni: "nas.example.com", matched: "nas.example.com", policy: "one",
			change: func(c *tls.Config) { c.NextProtos = []string{"h3", "smb"} },
		},
		{
			name: "client does not trust us", sni: "nas.example.com", alert: -1, reason: quic.ReasonClient,
			logged: "certificate", change: func(c *tls.Config) { c.RootCAs = other.Pool() },
		},
		{
			name: "client takes our certificate for revoked", sni: "nas.example.com", alert: -1, reason: quic.ReasonClient,
			change: func(c *tls.Config) {
				c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return tls.AlertError(44) }
			},
			logged: "revoked",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := s.TLS()
			config.ServerName = test.sni
			if test.change != nil {
				test.change(config)
			}
			before := s.Stats().Refused[test.reason]
			c, err := dial(t, s, config)
			if test.matched == "" {
				if err == nil {
					t.Fatal("handshake succeeded")
				}
				if test.alert >= 0 && !strings.Contains(err.Error(), quicgo.TransportErrorCode(0x100+test.alert).String()) {
					t.Errorf("client got %v, want alert %d", err, test.alert)
				}
				eventually(t, func() bool { return s.Stats().Refused[test.reason] == before+1 }, func() string {
					return fmt.Sprintf("want one %q more than %d in %v", test.reason, before, s.Stats().Refused)
				})
				log.line(t, "reason=\""+string(test.reason)+"\"", "client=127.0.0.1:", test.logged)
				empty(t, s)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			server, err := s.Accept(within(t, 5*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			defer server.Abort()
			p := server.Peer()
			if p.ServerName != strings.ToLower(test.sni) || p.Matched != test.matched || p.Policy != test.policy ||
				p.TLSVersion != tls.VersionTLS13 || p.ALPN != "smb" || p.Chain != nil || p.ID == "" {
				t.Errorf("peer is %+v", p)
			}
			if c.QUIC.ConnectionState().TLS.DidResume {
				t.Error("a session was resumed")
			}
		})
	}
	if log.String() == "" || strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestDefaultMapping(t *testing.T) {
	noLeaks(t)
	s := quictest.Serve(t, nil)
	cert := s.CA.Leaf([]string{"nas.example.com"})
	if err := s.Store.Set(quic.Mapping{
		Names: []string{"nas.example.com"}, Certificate: cert, Default: true, Policy: "d",
	}); err != nil {
		t.Fatal(err)
	}
	config := s.TLS()
	config.ServerName, config.InsecureSkipVerify = "127.0.0.1", true // an address is never sent as a name
	c, err := dial(t, s, config)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("x"))
	server, err := s.Accept(within(t, 5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Abort()
	if p := server.Peer(); p.ServerName != "" || p.Matched != "" || p.Policy != "d" {
		t.Errorf("peer is %+v", p)
	}
	config.ServerName = "other.example.com"
	if _, err := dial(t, s, config); err == nil {
		t.Error("the default was served to an unknown name")
	}
}

// TLS 1.2 does not exist inside QUIC, and no QUIC client can be made to offer it. So our configuration is asked
// outside of QUIC.
func TestOnlyTLS13(t *testing.T) {
	noLeaks(t)
	s := quictest.Serve(t, nil)
	for _, test := range []struct {
		max uint16
		ok  bool
	}{{tls.VersionTLS12, false}, {tls.VersionTLS13, true}} {
		config, ctx := s.ServerTLS()
		a, b := net.Pipe()
		client := s.TLS()
		client.MaxVersion, client.NextProtos = test.max, []string{"smb"}
		done := make(chan error, 1)
		go func() {
			done <- tls.Client(b, client).HandshakeContext(ctx)
			_ = b.Close()
		}()
		err := tls.Server(a, config).HandshakeContext(ctx)
		_ = a.Close()
		<-done
		if (err == nil) != test.ok {
			t.Errorf("client with at most %s: %v", tls.VersionName(test.max), err)
		}
	}
}

func TestNoTickets(t *testing.T) {
	noLeaks(t)
	s := quictest.Serve(t, nil)
	echo(t, s)
	config := s.TLS()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	for range 3 {
		c, err := dial(t, s, config)
		if err != nil {
			t.Fatal(err)
		}
		if err := ping(c, "hello"); err != nil {
			t.Fatal(err)
		}
		if c.QUIC.ConnectionState().TLS.DidResume {
			t.Fatal("the session was resumed")
		}
	}
}

func TestBindings(t *testing.T) {
	noLeaks(t)
	server, client := quictest.Pair(t)
	state := client.QUIC.ConnectionState().TLS
	end := sha256.Sum256(state.PeerCertificates[0].Raw) // an ECDSA P-256 authority signs with SHA-256
	exported, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]byte{
		append([]byte("tls-server-end-point:"), end[:]...),
		append([]byte("tls-exporter:"), exported...),
	}
	have := server.Bindings()
	if len(have) != 2 || !bytes.Equal(have[0], want[0]) || !bytes.Equal(have[1], want[1]) {
		t.Errorf("bindings\n%x, want\n%x", have, want)
	}
}

func TestConfig(t *testing.T) {
	store := &quic.Store{}
	c, err := quic.Config{Store: store}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	q := c.Transport()
	if q.MaxIdleTimeout < time.Minute || q.KeepAlivePeriod < 5*time.Second || q.KeepAlivePeriod > 15*time.Second {
		t.Errorf("idle %v, keep-alive %v: not fit for NAT", q.MaxIdleTimeout, q.KeepAlivePeriod)
	}
	if q.MaxIncomingStreams != 1 || q.MaxIncomingUniStreams >= 0 || !q.RequireStreamCreditRelease ||
		q.EnableDatagrams || q.Allow0RTT || q.HandshakeIdleTimeout != 5*time.Second {
		t.Errorf("transport %+v", q)
	}
	if q.InitialStreamReceiveWindow != 4<<20 || q.MaxStreamReceiveWindow != 16<<20 ||
		q.InitialConnectionReceiveWindow < q.InitialStreamReceiveWindow ||
		q.MaxConnectionReceiveWindow < q.MaxStreamReceiveWindow {
		t.Errorf("windows %+v", q)
	}
	if l := c.Limits; l.Handshakes != 256 || l.HandshakesPerPrefix != 64 || l.RetryAbove != 64 || l.Conns != 4096 {
		t.Errorf("limits %+v", l)
	}

	for name, bad := range map[string]quic.Config{
		"no store":        {},
		"short idle":      {Store: store, IdleTimeout: 30 * time.Second},
		"rare keep-alive": {Store: store, KeepAlive: time.Minute},
		"hot keep-alive":  {Store: store, KeepAlive: time.Millisecond},
		"negative limit":  {Store: store, Limits: quic.Limits{Conns: -1}},
		"no room":         {Store: store, Limits: quic.Limits{Handshakes: 10, RetryAbove: 10}},
		"timeout":         {Store: store, StreamTimeout: -1},
	} {
		if _, err := bad.WithDefaults(); err == nil {
			t.Errorf("%s: no error", name)
		}
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if l, err := quic.Listen(packets, bad); err == nil {
			t.Errorf("%s: it listens", name)
			_ = l.Close()
		}
		_ = packets.Close()
	}
}

// A connection that is quiet longer than its idle timeout lives by our pings.
func TestKeepAlive(t *testing.T) {
	noLeaks(t)
	s := quictest.Serve(t, func(c *quic.Config) { c.KeepAlive = time.Second })
	echo(t, s)
	c, err := quictest.DialFrom(within(t, 5*time.Second), nil, s.Addr().String(), s.TLS(),
		&quicgo.Config{MaxIdleTimeout: 1500 * time.Millisecond}) // and no pings of its own, as Windows
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := ping(c, "before"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2500 * time.Millisecond)
	if err := ping(c, "after"); err != nil {
		t.Errorf("after silence: %v", err)
	}
}

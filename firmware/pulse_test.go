package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/supervise"
)

// TestPulse: a box whose server is silent is unwell after some minutes, whatever its services say of themselves; one that
// refuses, that has others' work to do, or that is silent once in a while is not.
func TestPulse(t *testing.T) {
	hangs := func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, lookWithin)
		defer cancel()
		<-ctx.Done()
		return false, ctx.Err()
	}
	silent := func(connected bool) func(int) (bool, error) {
		return func(int) (bool, error) { return connected, &quicgo.IdleTimeoutError{} }
	}
	for name, c := range map[string]struct {
		look         func(n int) (connected bool, err error) // nil: hangs
		came, served uint64                                  // each minute
		ill          bool
	}{
		"answers": {look: func(int) (bool, error) { return true, nil }},
		"refuses": {look: func(int) (bool, error) {
			return false, &quicgo.TransportError{Remote: true, ErrorCode: quicgo.ConnectionRefused}
		}},
		"answers every third time":        {look: func(n int) (bool, error) { return true, map[bool]error{false: &quicgo.IdleTimeoutError{}}[n%3 == 0] }},
		"is flooded":                      {look: silent(false), came: 1000},
		"serves others":                   {look: silent(true), served: 1},
		"hangs":                           {ill: true},
		"is silent":                       {look: silent(false), ill: true},
		"takes connections and is silent": {look: silent(true), came: 1000, ill: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			look := hangs
			if n := 0; c.look != nil {
				look = func(context.Context) (bool, error) { n++; return c.look(n) }
			}
			began := time.Now()
			minutes := func(each uint64) func() uint64 {
				return func() uint64 { return each * uint64(time.Since(began)/time.Minute) }
			}
			var g supervise.Group
			for _, service := range []string{"quic", "smb"} {
				g.Add(service, func(ctx context.Context) error { supervise.Healthy(ctx); <-ctx.Done(); return nil })
			}
			p := newPulse(look, minutes(c.came), minutes(c.served), slog.New(slog.DiscardHandler))
			g.Add("pulse", p.run)
			well := well(&g, p)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- g.Run(ctx) }()
			time.Sleep(silentAfter - time.Second)
			if err := well(); err != nil {
				t.Errorf("%s: too early: %v", name, err)
			}
			ill := 0
			for range 360 { // an hour, as the watchdog asks
				time.Sleep(10 * time.Second)
				if well() != nil {
					ill++
				}
			}
			if c.ill != (ill > 0) || c.ill && ill < 358 {
				t.Errorf("%s: unwell %d times of 360: %v", name, ill, well())
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSelfCheck: the look that an update is found good by, and that keeps a box going, works against a server, and finds what
// is wrong with one.
func TestSelfCheck(t *testing.T) {
	b := start(t, t.TempDir())
	addr, err := net.ResolveUDPAddr("udp", b.address("quic"))
	if err != nil {
		t.Fatal(err)
	}
	open := keys.New(keys.Options{Dir: t.TempDir(), Want: keys.OnDisk})
	if err := open.Open(); err != nil {
		t.Fatal(err)
	}
	shut := keys.New(keys.Options{Dir: t.TempDir(), Want: keys.Sealed})
	if shut.Open() == nil {
		t.Fatal("sealed without a chip")
	}
	for name, c := range map[string]struct {
		selfCheck
		want string
	}{
		"all well":            {selfCheck{true, open, "postern.local", addr, new(looks)}, ""},
		"state in memory":     {selfCheck{false, open, "postern.local", addr, new(looks)}, "in memory only"},
		"keys shut":           {selfCheck{true, shut, "postern.local", addr, new(looks)}, "keys are not open"},
		"a name of another":   {selfCheck{true, open, "other.example", addr, new(looks)}, "does not answer itself"},
		"not yet known where": {selfCheck{true, open, "postern.local", nil, new(looks)}, "no UDP address"},
	} {
		if err := c.check(t.Context()); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSilence: a port where nobody answers, and a server that takes connections and says nothing, are silent; one that
// refuses is not.
func TestSilence(t *testing.T) {
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	authority, err := cert.OpenAuthority(t.TempDir(), "box.example", time.Now(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	chain, _, err := authority.Server([]string{"box.example"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		protocol          string // of a server; "": nobody
		connected, silent bool
	}{
		"nobody": {"", false, true},
		"mute":   {"smb", true, true},
		"web":    {"h3", false, false},
	} {
		to, patience := nobody.LocalAddr(), time.Second
		if c.protocol != "" {
			patience = time.Minute
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if c.protocol != "" {
			l, err := quicgo.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{chain}, NextProtos: []string{c.protocol}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			to = l.Addr()
			go func() { // it hears the question, and then no more is waited for
				conn, err := l.Accept(ctx)
				if err != nil {
					return
				}
				if stream, err := conn.AcceptStream(ctx); err == nil {
					_, _ = stream.Read(make([]byte, 1))
					cancel()
				}
			}()
		}
		connected, err := (&selfCheck{addr: to, name: "box.example", looks: new(looks)}).look(ctx)
		cancel()
		if connected != c.connected || err == nil || timedOut(err) != c.silent {
			t.Errorf("%s: connected %v, %v", name, connected, err)
		}
	}
}

// TestUnheard: what a look does is in no log, and everything else is.
func TestUnheard(t *testing.T) {
	var out bytes.Buffer
	l := new(looks)
	log := slog.New(unheard{slog.NewTextHandler(&out, nil), l}).WithGroup("g").With("x", 1)
	said := func(what string, want bool) {
		t.Helper()
		if got := strings.Contains(out.String(), what); got != want {
			t.Errorf("%q in the log: %v", what, got)
		}
	}
	from := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7}
	log.With("remote", from.String()).Info("before")
	l.from(from)
	log.With("remote", from.String()).Info("opened")
	log.Info("refused", "why", 1, "client", from.String())
	log.Info("other", "client", "127.0.0.1:8")
	log.With("remote", "127.0.0.1:8").Info("third")
	said("before", true)
	said("opened", false)
	said("refused", false)
	said("other", true)
	said("third", true)
}

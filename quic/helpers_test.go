package quic_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/quic/quictest"
)

// noLeaks fails the test if goroutines of its making are left when everything else of it is cleaned up. It must be
// called first.
func noLeaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// A record keeps what is logged.
type record struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

func (r *record) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

// line waits for a log line with all of the words in it.
func (r *record) line(t *testing.T, words ...string) string {
	t.Helper()
	var found string
	eventually(t, func() bool {
		for line := range strings.Lines(r.String()) {
			ok := true
			for _, w := range words {
				ok = ok && strings.Contains(line, w)
			}
			if ok {
				found = line
				return true
			}
		}
		return false
	}, func() string { return "no log line with " + strings.Join(words, " and ") + " in:\n" + r.String() })
	return found
}

// eventually waits up to ten seconds for something to be so.
func eventually(t *testing.T, so func() bool, complaint func() string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if so() {
			return
		}
		if time.Now().After(end) {
			t.Fatal(complaint())
		}
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// empty waits until the listener's books show nobody, which is how leaks of its counters would be seen.
func empty(t *testing.T, s *quictest.Server) {
	t.Helper()
	var stats quic.Stats
	var sources, live int
	var window int64
	eventually(t, func() bool {
		stats = s.Stats()
		sources, live, window = s.Books()
		return stats.Handshakes == 0 && stats.Active == 0 && sources == 0 && live == 0 && window == 0
	}, func() string {
		return strings.TrimSpace(slog.AnyValue(struct {
			Stats         quic.Stats
			Sources, Live int
			Window        int64
		}{stats, sources, live, window}).String()) + ": the books are not empty"
	})
}

// echo serves every connection by sending back what it reads, until the listener closes.
func echo(t *testing.T, s *quictest.Server) {
	t.Helper()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := s.Accept(context.Background())
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Abort()
				_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
			})
		}
	})
	t.Cleanup(func() {
		_ = s.Close()
		all.Wait()
	})
}

// ping sends words over a connection to an echo and wants them back.
func ping(c io.ReadWriter, words string) error {
	if _, err := io.WriteString(c, words); err != nil {
		return err
	}
	back := make([]byte, len(words))
	if _, err := io.ReadFull(c, back); err != nil {
		return err
	}
	if string(back) != words {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// dial is quictest.DialFrom without frills.
func dial(t *testing.T, s *quictest.Server, config *tls.Config) (*quictest.Client, error) {
	t.Helper()
	c, err := quictest.DialFrom(within(t, 5*time.Second), nil, s.Addr().String(), config, nil)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

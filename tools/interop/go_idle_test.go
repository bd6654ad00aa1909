package interop

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/postern"
)

// TestSEC44IdleConnections opens 1,000 connections, each from an address of its own, that finish the handshake
// (TCP's or QUIC's) and then say nothing, or send one byte a second of a frame that announces a megabyte.
//
// Stated bound: the server's resident memory grows by at most 128 KiB for each connection it holds (of which QUIC
// may have 96 KiB) and 32 MiB in all. A client that was there before is served all along, every such connection is
// gone within 45 s, and afterwards a new client gets in.
func TestSEC44IdleConnections(t *testing.T) {
	needsPostern(t)
	if testing.Short() {
		t.Skip("takes 45 s")
	}
	eachLink(t, func(t *testing.T, srv *postern.Server, tgt goTarget, l link) {
		t.Parallel() // almost all of the time is waiting
		goIdle(t, srv, tgt, l)
	})
}

func goIdle(t *testing.T, srv *postern.Server, tgt goTarget, l link) {
	const (
		conns   = 1_000
		each    = 128 << 10
		slack   = 32 << 20
		dropped = 45 * time.Second
		grace   = 3 * time.Second // of a loaded test machine
	)
	share := tgt.mount(t, l)
	if err := share.WriteFile("before.bin", pattern(1, 1<<20), 0o666); err != nil {
		t.Fatal(err)
	}
	base := rss(t, srv.PID())

	var open, refused atomic.Int64
	var late sync.Map // connection number -> how long it lived
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	started := time.Now()
	dialing := make(chan struct{}, 32)
	for i := range conns {
		wg.Go(func() {
			dialing <- struct{}{}
			dialed := time.Now()
			c, err := dialFrom(ctx, srv, l, netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}))
			<-dialing
			if err != nil {
				refused.Add(1)
				return
			}
			defer c.Close()
			open.Add(1)
			defer open.Add(-1)
			// The chatty ones first: over QUIC a stream that is not open yet counts as a handshake, of which few
			// are let in.
			if lived := idle(c, dialed, i < conns/2); lived > dropped+grace {
				late.Store(i, lived)
			}
		})
	}
	gone := make(chan struct{})
	go func() { wg.Wait(); close(gone) }()

	var peak, held int64
	var slowest time.Duration
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-gone:
			waiting = false
		case <-tick.C:
			held = max(held, open.Load())
			peak = max(peak, rss(t, srv.PID()))
			asked := time.Now()
			if _, err := share.Stat("before.bin"); err != nil {
				t.Fatalf("the client that was there before: %v", err)
			}
			slowest = max(slowest, time.Since(asked))
		}
	}
	t.Logf("held %d of %d, %d refused; all gone after %.0f s; slowest stat %v",
		held, conns, refused.Load(), time.Since(started).Seconds(), slowest)
	t.Logf("memory %.1f MiB, peak %.1f MiB: %.1f KiB for a held connection",
		mib(base), mib(peak), float64(peak-base)/1024/float64(max(held, 1)))
	if held == 0 {
		t.Error("no connection was held: the test shows nothing")
	}
	if bound := base + slack + held*each; peak > bound && !raced(t) {
		t.Errorf("resident memory rose to %.1f MiB, bound %.1f MiB", mib(peak), mib(bound))
	}
	late.Range(func(i, lived any) bool {
		t.Errorf("connection %d lived for %v", i, lived)
		return true
	})
	if slowest > 5*time.Second {
		t.Errorf("a stat took %v meanwhile", slowest)
	}
	sess, _, err := tgt.logon(t.Context(), l)
	if err != nil {
		t.Fatalf("a new client afterwards: %v", err)
	}
	if err := sess.Logoff(); err != nil {
		t.Error(err)
	}
}

// dialFrom connects from the given loopback address. Over QUIC the handshake is done and the stream open; the
// server learns of the stream with its first byte.
func dialFrom(ctx context.Context, srv *postern.Server, l link, from netip.Addr) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if l.name == "quic" {
		return postern.DialQUIC(ctx, from, srv.QUIC, srv.Name, srv.CA)
	}
	return postern.DialTCP(ctx, from, srv.TCP)
}

// idle says nothing, or one byte a second, until the server hangs up or a minute has passed, and returns the time
// since dialed.
func idle(c net.Conn, dialed time.Time, drip bool) time.Duration {
	_ = c.SetDeadline(dialed.Add(time.Minute))
	if drip {
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			frame := append([]byte{0, 0x10, 0, 0}, make([]byte, 100)...)
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for _, b := range frame {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				select {
				case <-stop:
					return
				case <-tick.C:
				}
			}
		}()
	}
	var b [256]byte
	for {
		if _, err := c.Read(b[:]); err != nil {
			return time.Since(dialed)
		}
	}
}

// raced reports whether what rss says of the server says nothing.
func raced(t *testing.T) bool {
	t.Helper()
	yes, err := postern.Raced()
	if err != nil {
		t.Fatal(err)
	}
	if yes {
		t.Log("the server has the race detector in it: it is slow, and its memory says nothing")
	}
	return yes
}

// rss returns a process's resident memory in bytes.
func rss(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("process %d has no VmRSS", pid)
	return 0
}

func mib(b int64) float64 { return float64(b) / (1 << 20) }

package interop

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/bench/client"
	"github.com/postern-nas/postern/tools/postern"
)

// TestSEC44IdleClients lets 1,000 clients, each from an address of its own, log on, connect to a share, and then do
// nothing.
//
// Stated bound: the server's resident memory grows by at most 96 KiB for each, and 16 MiB in all for what its collector
// has not looked at. Every one of them is served afterwards.
func TestSEC44IdleClients(t *testing.T) {
	needsPostern(t)
	eachLink(t, func(t *testing.T, srv *postern.Server, tgt goTarget, l link) {
		const (
			clients = 1_000
			each    = 96 << 10
			slack   = 16 << 20
		)
		if err := tgt.mount(t, l).WriteFile("there.bin", nil, 0o666); err != nil {
			t.Fatal(err)
		}
		base := rss(t, srv.PID())
		shares := make([]*client.Share, clients)
		all(16, clients, func(i int) {
			c, err := logonFrom(t.Context(), srv, tgt, l, netip.AddrFrom4([4]byte{127, 2, byte(i >> 8), byte(i)}))
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			if shares[i], err = c.Mount(tgt.share); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
		if t.Failed() {
			return
		}
		var peak int64
		for range 10 {
			peak = max(peak, rss(t, srv.PID()))
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("memory %.1f MiB, with %d clients %.1f MiB: %.1f KiB for one",
			mib(base), clients, mib(peak), float64(peak-base)/1024/clients)
		if bound := int64(base + clients*each + slack); peak > bound && !raced(t) {
			t.Errorf("resident memory rose to %.1f MiB, bound %.1f MiB", mib(peak), mib(bound))
		}
		all(16, clients, func(i int) {
			f, err := shares[i].Open("there.bin", client.ForStat)
			if err == nil {
				err = f.Close()
			}
			if err != nil {
				t.Errorf("client %d afterwards: %v", i, err)
			}
		})
	})
}

// all calls f with 0 to n-1, some at a time.
func all(atOnce, n int, f func(i int)) {
	var wg sync.WaitGroup
	for first := range atOnce {
		wg.Go(func() {
			for i := first; i < n; i += atOnce {
				f(i)
			}
		})
	}
	wg.Wait()
}

// logonFrom logs on from the given loopback address with the client that costs little.
func logonFrom(ctx context.Context, srv *postern.Server, tgt goTarget, l link, from netip.Addr) (*client.Client, error) {
	conn, err := dialFrom(ctx, srv, l, from)
	if err != nil {
		return nil, err
	}
	return client.Dial(conn, tgt.user, tgt.password, client.Signed)
}

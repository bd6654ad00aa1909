package interop

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	smb2 "github.com/cloudsoda/go-smb2"

	"github.com/postern-nas/postern/tools/postern"
)

// TestGoKill ends the server with SIGKILL while four clients write, starts it again and reconnects: every byte
// that a FLUSH answered for is there, and every file is the beginning of what its client wrote, with nothing
// foreign in it. (SIGKILL leaves the page cache alone: this proves what the server itself holds back, not the
// disk.)
func TestGoKill(t *testing.T) {
	needsPostern(t)
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	eachLink(t, func(t *testing.T, srv *postern.Server, tgt goTarget, l link) {
		for round := range rounds {
			t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) { goKill(t, srv, tgt, l, round) })
		}
	})
}

// A flushWriter appends to one file and knows how far it got.
type flushWriter struct {
	name    string
	seed    uint64
	sent    atomic.Int64 // bytes handed to WRITE
	flushed atomic.Int64 // bytes before the end of the last FLUSH that succeeded
}

func goKill(t *testing.T, srv *postern.Server, tgt goTarget, l link, round int) {
	pid := srv.PID()
	writers := make([]*flushWriter, 4)
	conns := make([]net.Conn, len(writers))
	var wg sync.WaitGroup
	for i := range writers {
		w := &flushWriter{name: fmt.Sprintf("round-%d-writer-%d.bin", round, i), seed: rand.Uint64()}
		writers[i] = w
		dial := l.dial
		sess, share, err := tgt.logon(t.Context(), link{l.name, func(ctx context.Context) (net.Conn, error) {
			c, err := dial(ctx)
			conns[i] = c
			return c, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		f, err := share.Create(w.name)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			err := w.run(f)
			if srv.PID() == pid {
				t.Errorf("%s: %v before the server was killed", w.name, err)
			}
			_ = sess.Logoff() // the server is gone; this frees the client's side
		})
	}
	time.Sleep(500*time.Millisecond + rand.N(time.Second))
	if err := srv.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A client that sends something learns from the new process that the old one is gone. One that waits for a
	// response and only pings does not (quic-go answers no small packet with a stateless reset) and would run into
	// its idle timeout, so it is told.
	learned := make(chan struct{})
	go func() { wg.Wait(); close(learned) }()
	select {
	case <-learned:
	case <-time.After(2 * time.Second):
		for _, c := range conns {
			c.Close()
		}
		<-learned
	}

	share := tgt.mount(t, l)
	for _, w := range writers {
		got, err := share.ReadFile(w.name)
		if err != nil {
			t.Errorf("%s: %v", w.name, err)
			continue
		}
		sent, flushed := w.sent.Load(), w.flushed.Load()
		t.Logf("%s: %d KiB sent, %d KiB flushed, %d KiB there", w.name, sent>>10, flushed>>10, len(got)>>10)
		if flushed == 0 {
			t.Errorf("%s: nothing was flushed before the kill: the test shows nothing", w.name)
		}
		if int64(len(got)) < flushed || int64(len(got)) > sent {
			t.Errorf("%s: %d bytes are there; %d were flushed, %d sent", w.name, len(got), flushed, sent)
		}
		if want := pattern(w.seed, len(got)); string(got) != string(want) {
			t.Errorf("%s: %s", w.name, difference(got, want))
		}
	}
	// What was made must also be removable: no handle of the dead server's lingers.
	for _, w := range writers {
		if err := share.Remove(w.name); err != nil && !os.IsNotExist(err) {
			t.Errorf("remove: %v", err)
		}
	}
}

// run writes pieces in order, flushing after every few, until the connection breaks.
func (w *flushWriter) run(f *smb2.File) error {
	rng := rand.New(rand.NewPCG(w.seed, 0))
	for {
		for range 1 + rng.IntN(4) {
			piece := make([]byte, 8*(1+rng.IntN(16<<10)))
			off := w.sent.Load()
			fillPattern(piece, w.seed, off)
			w.sent.Add(int64(len(piece)))
			if _, err := f.WriteAt(piece, off); err != nil {
				return err
			}
		}
		sent := w.sent.Load()
		if err := f.Sync(); err != nil {
			return err
		}
		w.flushed.Store(sent)
	}
}

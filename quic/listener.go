package quic

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// A Listener accepts SMB connections on one UDP socket.
type Listener struct {
	cfg      Config
	gate     *gate
	refusals *refusals
	packets  net.PacketConn
	tr       *quicgo.Transport
	ql       *quicgo.Listener

	idPrefix string // of connection IDs: differs from process to process
	nextID   atomic.Uint64
	accepted atomic.Uint64
	retries  atomic.Uint64

	ready chan *Conn // settled, waiting for Accept

	// stopping ends Accept and those who wait for a stream; its cause is what Accept returns.
	stopping  context.Context
	stop      context.CancelCauseFunc
	waiters   sync.WaitGroup // the accept loop, and one for each handshaken connection that awaits its stream
	stopOnce  sync.Once
	closeOnce sync.Once

	mu     sync.Mutex
	live   map[*arrival]*quicgo.Conn // handshake done, not over
	window int64                     // bytes by which receive windows outgrew their initial size
}

// Stats are a Listener's counters. Handshakes and Active go up and down, the rest only up.
type Stats struct {
	Handshakes int    // connections on their way in: first packet seen, stream not open yet
	Active     int    // connections with an open stream
	Accepted   uint64 // handed out by Accept
	Retries    uint64 // newcomers asked to prove their address
	Refused    map[Reason]uint64
}

// ListenAddr listens on a UDP address such as ":443".
func ListenAddr(addr string, cfg Config) (*Listener, error) {
	packets, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("quic: %w", err)
	}
	l, err := Listen(packets, cfg)
	if err != nil {
		_ = packets.Close()
		return nil, err
	}
	return l, nil
}

// Listen serves SMB over QUIC on a packet socket, which the Listener then owns. A *net.UDPConn is read and written
// in batches; anything else works packet by packet.
func Listen(packets net.PacketConn, cfg Config) (*Listener, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("quic: %w", err)
	}
	l := &Listener{
		cfg:      cfg,
		gate:     newGate(cfg.Limits),
		refusals: newRefusals(cfg.Logger),
		packets:  packets,
		idPrefix: hex.EncodeToString(id[:]),
		ready:    make(chan *Conn),
		live:     make(map[*arrival]*quicgo.Conn),
	}
	l.stopping, l.stop = context.WithCancelCause(context.Background())

	l.tr = &quicgo.Transport{
		Conn: mergePackets(packets),
		// quic-go's own four bytes collide once in a while among the IDs of some thousand connections.
		ConnectionIDLength:  8,
		VerifySourceAddress: l.verifySource,
		ConnContext:         l.arrive,
	}
	if cfg.ResetKey != [32]byte{} {
		key := quicgo.StatelessResetKey(cfg.ResetKey)
		l.tr.StatelessResetKey = &key
	}
	transport := cfg.transport()
	transport.AllowConnectionWindowIncrease = l.growWindow
	quietBuffers()
	l.ql, err = l.tr.Listen(l.serverTLS(), transport)
	if err != nil {
		l.stop(err)
		return nil, fmt.Errorf("quic: %w", err)
	}
	warnBuffers(packets, cfg.Logger)
	cfg.Store.join(l)
	l.waiters.Go(l.acceptLoop)
	return l, nil
}

// Addr is the address the Listener's socket is bound to.
func (l *Listener) Addr() net.Addr { return l.packets.LocalAddr() }

// Stats gives the counters as they are now.
func (l *Listener) Stats() Stats {
	arriving, settled := l.gate.count()
	return Stats{
		Handshakes: arriving,
		Active:     settled,
		Accepted:   l.accepted.Load(),
		Retries:    l.retries.Load(),
		Refused:    l.refusals.counts(),
	}
}

// Accept waits for the next connection whose handshake is done, whose client was let in, and whose stream is open.
// No connection is waited for that is not all of this already. Accept returns net.ErrClosed after Close or Shutdown,
// the socket's error if that failed, or ctx's error. A Conn must be closed by who accepted it.
func (l *Listener) Accept(ctx context.Context) (*Conn, error) {
	if l.stopping.Err() != nil {
		return nil, context.Cause(l.stopping)
	}
	select {
	case c := <-l.ready:
		l.accepted.Add(1)
		return c, nil
	case <-l.stopping.Done():
		return nil, context.Cause(l.stopping)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Shutdown stops accepting, waits until the accepted connections have ended by themselves or ctx is done, then
// closes what is left as Close does. It returns ctx's error if it had to close any.
func (l *Listener) Shutdown(ctx context.Context) error {
	l.stopAccepting()
	over := make(chan struct{})
	go func() {
		l.gate.entered.Wait()
		close(over)
	}()
	var err error
	select {
	case <-over:
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = l.Close()
	<-over
	return err
}

// Close stops accepting, ends every connection now, and closes the socket. Nothing of the Listener is left running
// when it returns.
func (l *Listener) Close() error {
	l.stopAccepting()
	l.closeOnce.Do(func() {
		l.cfg.Store.leave(l)
		l.endLive()
		l.gate.entered.Wait()
		_ = l.tr.Close()
		_ = l.packets.Close()
	})
	return nil
}

// stopAccepting refuses newcomers, gives up on those still on their way in, and leaves the accepted alone.
func (l *Listener) stopAccepting() {
	l.stopOnce.Do(func() {
		l.gate.close()
		_ = l.ql.Close() // refuses handshakes in flight, and waits for them
		l.stop(net.ErrClosed)
		l.waiters.Wait()
	})
}

func (l *Listener) endLive() {
	l.mu.Lock()
	var ending sync.WaitGroup
	for _, qc := range l.live {
		ending.Go(func() { _ = qc.CloseWithError(codeShutdown, "server is shutting down") })
	}
	l.mu.Unlock()
	ending.Wait()
}

// verifySource decides whether a newcomer gets a Retry instead of a handshake.
func (l *Listener) verifySource(addr net.Addr) bool {
	if !l.gate.suspicious(addr) {
		return false
	}
	l.retries.Add(1)
	return true
}

// acceptLoop takes connections as their handshakes finish and lets each wait for its stream by itself. How many may
// wait is bounded by the gate: until its stream opens, a connection counts as on its way in.
func (l *Listener) acceptLoop() {
	for {
		// Not l.stopping: a closed quic-go listener gives out what is left in its queue first, and we must see all
		// of it to end it.
		qc, err := l.ql.Accept(context.Background())
		if err != nil {
			l.stop(err) // does nothing if it is our own doing
			return
		}
		a, ok := qc.Context().Value(arrivalKey{}).(*arrival)
		if !ok || !l.enlist(a, qc) {
			_ = qc.CloseWithError(codeShutdown, "")
			continue
		}
		l.waiters.Go(func() { l.await(a, qc) })
	}
}

// enlist makes Close find a connection. It reports false if the connection is over.
func (l *Listener) enlist(a *arrival, qc *quicgo.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.over {
		return false
	}
	l.live[a] = qc
	return true
}

// strike undoes enlist and growWindow.
func (l *Listener) strike(a *arrival) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.over = true
	delete(l.live, a)
	l.window -= a.window
	a.window = 0
}

// growWindow lets a connection's receive window grow while all of them stay within Limits.Window.
func (l *Listener) growWindow(qc *quicgo.Conn, delta uint64) bool {
	a, ok := qc.Context().Value(arrivalKey{}).(*arrival)
	if !ok || delta > maxWindow {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.over || l.window+int64(delta) > l.cfg.Limits.Window {
		return false
	}
	l.window += int64(delta)
	a.window += int64(delta)
	return true
}

// await waits for a connection's stream and hands it to Accept.
func (l *Listener) await(a *arrival, qc *quicgo.Conn) {
	// The access list may have changed since the handshake looked at it. From here on Recheck finds the connection.
	if err := l.stands(a, qc); err != nil {
		l.cut(a, qc, err)
		return
	}
	ctx, cancel := context.WithTimeout(l.stopping, l.cfg.StreamTimeout)
	defer cancel()
	str, err := qc.AcceptStream(ctx)
	if err != nil {
		code, why := codeNoStream, "no stream opened in time"
		if l.stopping.Err() != nil {
			code, why = codeShutdown, "server is shutting down"
		}
		_ = qc.CloseWithError(code, why)
		return
	}
	c, err := a.conn(qc, str)
	if err != nil {
		_ = qc.CloseWithError(codeInternal, err.Error())
		return
	}
	if !l.gate.settle(a.pass) {
		return
	}
	select {
	case l.ready <- c:
	case <-qc.Context().Done():
	case <-l.stopping.Done():
		_ = qc.CloseWithError(codeShutdown, "server is shutting down")
	}
}

// newID names a connection.
func (l *Listener) newID() string {
	return fmt.Sprintf("%s-%d", l.idPrefix, l.nextID.Add(1))
}

// since rounds a duration for the log.
func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }

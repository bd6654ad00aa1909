package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/smb"
)

// refused reports whether an address cannot be had: its port is taken or needs more rights.
func refused(err error) bool {
	return errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EADDRINUSE)
}

// hint says what an owner can do about it.
func hint(err error) string {
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "; ports below 1024 need root, -quic and -tcp take others"
	case errors.Is(err, syscall.EADDRINUSE):
		return "; another program has this port, -quic and -tcp take others"
	}
	return ""
}

// quicFace hands connections over QUIC to the server.
type quicFace struct {
	addr        string
	sessions    config.Sessions
	cfg         quic.Config
	server      *smb.Server
	door        *door
	connections context.Context
	log         *slog.Logger

	l     *quic.Listener // nil: not listening
	stats atomic.Pointer[quic.Listener]
}

func (f *quicFace) listen() (err error) {
	if f.l, err = quic.ListenAddr(f.addr, f.cfg); err != nil {
		return fmt.Errorf("QUIC on UDP %s: %w%s", f.addr, err, hint(err))
	}
	f.stats.Store(f.l)
	f.log.Info("listening", "transport", "quic", "address", f.l.Addr().String())
	return nil
}

// came counts the connections that were let in, and those that were not because there are so many. One that got no answer
// counts as neither.
func (f *quicFace) came() uint64 {
	n := f.stats.Load().Stats()
	all := n.Accepted + n.Retries
	for _, crowd := range []quic.Reason{quic.ReasonConns, quic.ReasonPrefixConns, quic.ReasonHandshakes, quic.ReasonPrefixHandshakes} {
		all += n.Refused[crowd]
	}
	return all
}

// run is the service. When it is started again after a failure, it listens again.
func (f *quicFace) run(ctx context.Context) error {
	if f.l == nil {
		if err := f.listen(); err != nil {
			return err
		}
	}
	defer func() {
		_ = f.l.Close()
		f.l = nil
	}()
	supervise.Healthy(ctx)
	for {
		c, err := f.l.Accept(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		peer := c.Peer()
		info := smb.ConnInfo{
			ID: peer.ID, Transport: "quic", Secure: true, ServerName: peer.ServerName, Bindings: c.Bindings(),
			Multichannel: f.sessions.Multichannel, Anonymous: f.sessions.Anonymous, Heard: c.Heard,
		}
		go func() {
			f.door.admit(&info, peer, hostOf(c.RemoteAddr().String())) // may wait for the disk, once in a while
			_ = f.server.ServeConn(f.connections, c, info)             // logs how it ended
		}()
	}
}

// tcpFace hands connections over TCP to the server.
type tcpFace struct {
	addr        string
	sessions    config.Sessions
	server      *smb.Server
	connections context.Context
	log         *slog.Logger
	gate        gate

	l net.Listener // nil: not listening
}

// deadWithin bounds how long a TCP peer that answers no more keeps what it has open from others. Shorter, and a Wi-Fi
// that is out for a minute would cost clients their open files.
const deadWithin = 2 * time.Minute

// patient sets it up on a listening socket; its connections have it from there. Probes find out about a peer with which
// nothing is under way. Where something is, such as a break that it should hear of, there are none, and without a bound of
// its own the kernel would send that again for a quarter of an hour.
func patient() net.ListenConfig {
	const idle, probes = deadWithin / 2, 4
	return net.ListenConfig{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: idle, Interval: (deadWithin - idle) / probes, Count: probes},
		Control: func(_, _ string, c syscall.RawConn) (err error) {
			failed := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadWithin/time.Millisecond))
			})
			return errors.Join(failed, err)
		},
	}
}

func (f *tcpFace) listen() (err error) {
	lc := patient()
	if f.l, err = lc.Listen(f.connections, "tcp", f.addr); err != nil {
		return fmt.Errorf("TCP on %s: %w%s", f.addr, err, hint(err))
	}
	f.log.Info("listening", "transport", "tcp", "address", f.l.Addr().String())
	return nil
}

// run is the service. When it is started again after a failure, it listens again.
func (f *tcpFace) run(ctx context.Context) error {
	if f.l == nil {
		if err := f.listen(); err != nil {
			return err
		}
	}
	l := f.l
	defer func() { f.l = nil }()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	defer l.Close()
	supervise.Healthy(ctx)
	var told time.Time
	for id := 1; ; id++ {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return nil
		}
		if errors.Is(err, syscall.ECONNABORTED) {
			continue // it left before we looked
		}
		if err != nil {
			return err // also when descriptors run out: the supervisor waits before it tries again
		}
		from := source(c.RemoteAddr())
		if why := f.gate.enter(from); why != "" {
			_ = c.Close()
			if now := time.Now(); now.Sub(told) > 10*time.Second {
				told = now
				f.log.Warn("connection refused", "transport", "tcp", "client", c.RemoteAddr().String(), "why", why, "refused", f.gate.refusals())
			}
			continue
		}
		info := smb.ConnInfo{
			ID: fmt.Sprintf("tcp-%d", id), Transport: "tcp", Pipes: smb.AllPipes.Always,
			Multichannel: f.sessions.Multichannel, Anonymous: f.sessions.Anonymous, Heard: heard(c),
		}
		go func() {
			defer f.gate.leave(from)
			_ = f.server.ServeConn(f.connections, c, info) // logs how it ended
		}()
	}
}

// A gate counts connections, in all and from each source. The zero gate is closed.
type gate struct {
	total, each int // how many may be in

	mu     sync.Mutex
	in     int
	from   map[netip.Prefix]int
	turned uint64
}

// enter lets one more in from a source, or says why not.
func (g *gate) enter(from netip.Prefix) (why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.in >= g.total:
		why = "too many connections"
	case g.from[from] >= g.each:
		why = "too many connections from this address"
	}
	if why != "" {
		g.turned++
		return why
	}
	if g.from == nil {
		g.from = make(map[netip.Prefix]int)
	}
	g.in++
	g.from[from]++
	return ""
}

func (g *gate) leave(from netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.in--
	if g.from[from]--; g.from[from] == 0 {
		delete(g.from, from)
	}
}

// refusals returns how many were not let in since the start.
func (g *gate) refusals() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.turned
}

// source is what counts as one client: an IPv4 address, or an IPv6 /64, which is what one household gets.
func source(addr net.Addr) netip.Prefix {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip := ap.Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits) // bits are right
	return p
}

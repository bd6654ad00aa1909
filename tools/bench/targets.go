package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/postern-nas/postern/tools/bench/client"
	"github.com/postern-nas/postern/tools/peers/peers"
	"github.com/postern-nas/postern/tools/postern"
	"github.com/postern-nas/postern/tools/postern/netns"
)

// A target is one server, reached in one way.
type target struct {
	name   string
	dial   func(ctx context.Context, from netip.Addr) (net.Conn, error) // from the zero Addr: from any
	dir    string                                                       // the share's folder on this machine
	pid    int
	beside []int // processes whose CPU is the server's too
	ours   []int // processes whose CPU is the client's too
	bare   bool  // speaks bare.go's protocol instead of SMB
	memory memory
	fresh  func(context.Context) (t *target, stop func() error, err error) // another such server, with nothing in it

	protection client.Protection
	signing    string // the algorithm that was agreed on, once a session was
}

// Names of the columns.
const (
	posternQUIC      = "Postern QUIC"
	posternTCP       = "Postern TCP"
	posternTCPSigned = "Postern TCP, signed"
	posternTCPSealed = "Postern TCP, sealed"
	sambaTCP         = "Samba TCP"
	sambaTCPSigned   = "Samba TCP, signed"
	sambaTCPSealed   = "Samba TCP, sealed"
	bareQUIC         = "bare QUIC"

	// Through the pair of Ethernet interfaces.
	wirePosternQUIC    = "Postern QUIC, wire"
	wireSambaWireGuard = "Samba, WireGuard"
	wireBareQUIC       = "bare QUIC, wire"

	// The same servers over the impaired link.
	lossyPosternQUIC = "Postern QUIC, lossy"
	lossyPosternTCP  = "Postern TCP, lossy"
	lossySambaTCP    = "Samba TCP, lossy"
	lossyBareQUIC    = "bare QUIC, lossy"
)

var (
	localTargets = []string{
		posternQUIC, posternTCP, posternTCPSigned, posternTCPSealed, sambaTCP, sambaTCPSigned, sambaTCPSealed, bareQUIC,
	}
	wireTargets  = []string{wirePosternQUIC, wireSambaWireGuard, wireBareQUIC}
	lossyTargets = []string{lossyPosternQUIC, lossyPosternTCP, lossySambaTCP, lossyBareQUIC}
)

const (
	shareName = "share"
	user      = "alice"
	password  = "correct horse battery"
)

// distantSamba is smbd's port where it has Postern beside it.
const distantSamba = "1445"

// A hall is where the targets run, until close.
type hall struct {
	dir      string // for state, shares and profiles
	peers    *peers.Peers
	links    *links
	targets  []*target
	profiles *profiles // nil: none are taken
	notes    []string  // for the report
	stops    []func() error
}

func (h *hall) close() error {
	var errs []error
	for _, f := range slices.Backward(h.stops) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// note tells whoever waits, and the report.
func (h *hall) note(format string, args ...any) {
	h.notes = append(h.notes, fmt.Sprintf(format, args...))
	progress("%s", h.notes[len(h.notes)-1])
}

// start starts the targets that wanted selects, each in processes of its own. One that does not start is noted, and
// missing. close is its caller's, even after an error.
func (h *hall) start(ctx context.Context, wanted func(name string) bool) (err error) {
	any := func(names ...string) bool { return slices.ContainsFunc(names, wanted) }
	if any(sambaTCP, sambaTCPSigned, sambaTCPSealed, wireSambaWireGuard, lossySambaTCP) {
		if err := h.build(ctx); err != nil {
			h.note("Samba is missing from this run: %v.", err)
		}
	}
	for _, name := range localTargets {
		if wanted(name) {
			progress("starting %s", name)
			if err := h.local(ctx, name); err != nil {
				h.note("%s is missing: %v.", name, err)
			}
		}
	}
	if names := slices.Concat(wireTargets, lossyTargets); any(names...) {
		progress("starting networks of their own")
		if err := h.distant(ctx, wanted); err != nil {
			h.note("%s: missing, or some of them: %v.", strings.Join(names, "; "), err)
		}
	}
	if len(h.targets) == 0 {
		return errors.New("no target is selected, or none could be started")
	}
	return nil
}

// build gets the peers.
func (h *hall) build(ctx context.Context) error {
	p, err := peers.Build(ctx, os.Stderr)
	if err != nil {
		return err
	}
	version, err := p.Command(ctx, "smbd", "--version").Output()
	if err != nil {
		return fmt.Errorf("smbd --version: %w", err)
	}
	h.peers = p
	h.note("smbd: %s, its defaults but for signing and encryption.", strings.TrimSpace(string(version)))
	return nil
}

// local starts one target on loopback.
func (h *hall) local(ctx context.Context, name string) error {
	t := &target{name: name, protection: protectionOf(name)}
	switch name {
	case posternQUIC, posternTCP, posternTCPSigned, posternTCPSealed:
		srv, err := h.postern(ctx, name, nil)
		if err != nil {
			return err
		}
		h.stops = append(h.stops, srv.Stop)
		t.of(srv)
		t.fresh = func(ctx context.Context) (*target, func() error, error) {
			srv, err := h.postern(ctx, name+", fresh", nil)
			if err != nil {
				return nil, nil, err
			}
			again := &target{name: name, protection: t.protection}
			again.of(srv)
			return again, srv.Stop, nil
		}
	case bareQUIC:
		pid, ca, port, stop, err := startBare(h.dir, nil)
		if err != nil {
			return err
		}
		h.stops = append(h.stops, stop)
		t.pid, t.bare, t.dial = pid, true, dialQUIC("127.0.0.1:"+port, bareName, ca)
	default:
		if h.peers == nil {
			return nil // noted already
		}
		smbd, err := h.samba(ctx, name, nil)
		if err != nil {
			return err
		}
		t.pid, t.dir = smbd.Pid, smbd.Shares[shareName].Host
		t.dial = func(ctx context.Context, from netip.Addr) (net.Conn, error) {
			return postern.DialTCP(ctx, from, smbd.Addr)
		}
	}
	h.targets = append(h.targets, t)
	return nil
}

// of has the target be this server.
func (t *target) of(srv *postern.Server) {
	t.pid, t.dir = srv.PID(), filepath.Join(filepath.Dir(srv.State), "share")
	t.dial = func(ctx context.Context, from netip.Addr) (net.Conn, error) {
		return postern.DialTCP(ctx, from, srv.TCP)
	}
	if t.name == posternQUIC {
		t.dial = dialQUIC(srv.QUIC, srv.Name, srv.CA)
	}
}

// dialQUIC dials one server.
func dialQUIC(addr, name, ca string) func(context.Context, netip.Addr) (net.Conn, error) {
	return func(ctx context.Context, from netip.Addr) (net.Conn, error) {
		return postern.DialQUIC(ctx, from, addr, name, ca)
	}
}

func (h *hall) postern(ctx context.Context, name string, n *netns.Net) (*postern.Server, error) {
	dir := filepath.Join(h.dir, strings.ReplaceAll(name, " ", "-"))
	share := filepath.Join(dir, "share")
	if err := os.MkdirAll(share, 0o755); err != nil {
		return nil, err
	}
	srv, err := postern.New(dir, postern.Config{
		Shares: []postern.Share{{Name: shareName, Path: share, Encrypt: name == posternTCPSealed}},
		Users:  []postern.User{{Name: user, Password: password}},
		TCP:    map[client.Protection]string{client.Plain: "require_signing = false\n"}[protectionOf(strings.TrimSuffix(name, ", fresh"))],
		Extra:  "[limits]\nconnections = 4096\nconnections_per_client = 4096\n",
		Net:    n,
	})
	if err != nil {
		return nil, err
	}
	if err := srv.Start(ctx); err != nil {
		return nil, err
	}
	return srv, nil
}

func (h *hall) samba(ctx context.Context, name string, n *netns.Net) (*peers.SMBD, error) {
	o := peers.SMBDOptions{Users: map[string]string{user: password}, Shares: []string{shareName}, Encrypt: "off", Net: n}
	switch name {
	case sambaTCPSigned:
		o.Global = []string{"server signing = mandatory"}
	case sambaTCPSealed:
		o.Encrypt = "required"
	}
	if n != nil {
		o.Port, _ = strconv.Atoi(distantSamba)
		o.Listen = []string{onWire + "/24", onWireGuard + "/24", onLossy + "/24"}
	}
	smbd, err := h.peers.StartSMBD(ctx, o)
	if err != nil {
		return nil, err
	}
	h.stops = append(h.stops, smbd.Close)
	return smbd, nil
}

// distant makes the links, and one server of each kind behind them.
func (h *hall) distant(ctx context.Context, wanted func(string) bool) (err error) {
	if h.links, err = newLinks(); err != nil {
		return err
	}
	h.stops = append(h.stops, h.links.close)
	add := func(t *target, ip, port string, dial func(ctx context.Context, addr string) (net.Conn, error)) {
		if !wanted(t.name) {
			return
		}
		t.protection = protectionOf(t.name)
		t.dial = func(ctx context.Context, _ netip.Addr) (c net.Conn, err error) {
			err = h.links.client.Do(func() (err error) {
				c, err = dial(ctx, net.JoinHostPort(ip, port))
				return err
			})
			return c, err
		}
		h.targets = append(h.targets, t)
	}
	tcp := func(ctx context.Context, addr string) (net.Conn, error) {
		return postern.DialTCP(ctx, netip.Addr{}, addr)
	}
	quic := func(name, ca string) func(context.Context, string) (net.Conn, error) {
		return func(ctx context.Context, addr string) (net.Conn, error) {
			return dialQUIC(addr, name, ca)(ctx, netip.Addr{})
		}
	}
	if slices.ContainsFunc([]string{wirePosternQUIC, lossyPosternQUIC, lossyPosternTCP}, wanted) {
		srv, err := h.postern(ctx, lossyPosternTCP, h.links.server)
		if err != nil {
			return err
		}
		h.stops = append(h.stops, srv.Stop)
		dir := filepath.Join(filepath.Dir(srv.State), "share")
		add(&target{name: wirePosternQUIC, pid: srv.PID(), dir: dir}, onWire, "443", quic(srv.Name, srv.CA))
		add(&target{name: lossyPosternQUIC, pid: srv.PID(), dir: dir}, onLossy, "443", quic(srv.Name, srv.CA))
		add(&target{name: lossyPosternTCP, pid: srv.PID(), dir: dir}, onLossy, "445", tcp)
	}
	if h.peers != nil && (wanted(wireSambaWireGuard) || wanted(lossySambaTCP)) {
		smbd, err := h.samba(ctx, lossySambaTCP, h.links.server)
		if err != nil {
			return err
		}
		dir := smbd.Shares[shareName].Host
		t := &target{name: wireSambaWireGuard, pid: smbd.Pid, dir: dir}
		if w := h.links.tunnel; !w.kernel {
			t.beside, t.ours = []int{w.pids[h.links.server]}, []int{w.pids[h.links.client]}
		}
		add(t, onWireGuard, distantSamba, tcp)
		add(&target{name: lossySambaTCP, pid: smbd.Pid, dir: dir}, onLossy, distantSamba, tcp)
	}
	if wanted(wireBareQUIC) || wanted(lossyBareQUIC) {
		pid, ca, port, stop, err := startBare(h.dir, h.links.server)
		if err != nil {
			return err
		}
		h.stops = append(h.stops, stop)
		add(&target{name: wireBareQUIC, pid: pid, bare: true}, onWire, port, quic(bareName, ca))
		add(&target{name: lossyBareQUIC, pid: pid, bare: true}, onLossy, port, quic(bareName, ca))
	}
	h.note("WireGuard: %v, through the same pair of interfaces as QUIC.", h.links.tunnel)
	return nil
}

// open connects, and logs on where there is something to log on to. Its caller closes the session.
func (t *target) open(ctx context.Context, from netip.Addr) (*session, error) {
	conn, err := t.dial(ctx, from)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // a server that does not answer is not waited for
	if t.bare {
		return &session{target: t, bare: conn, close: sync.OnceValue(conn.Close)}, nil
	}
	c, err := client.Dial(conn, user, password, t.protection)
	if err != nil {
		return nil, fmt.Errorf("logon: %w", err)
	}
	t.signing = c.Signing().String()
	share, err := c.Mount(shareName)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &session{target: t, client: c, share: share, close: c.Close}, nil
}

// selected says whether a name contains one of the words, separated by commas. No words select everything.
func selected(words, name string) bool {
	return words == "" || slices.ContainsFunc(strings.Split(words, ","), func(word string) bool {
		return strings.Contains(strings.ToLower(name), strings.ToLower(strings.TrimSpace(word)))
	})
}

// protectionOf is what a column's requests have around them.
func protectionOf(name string) client.Protection {
	switch name {
	case posternTCP, sambaTCP, wireSambaWireGuard, lossyPosternTCP, lossySambaTCP:
		return client.Plain
	case posternTCPSealed, sambaTCPSealed:
		return client.Sealed
	}
	return client.Signed
}

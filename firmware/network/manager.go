package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/watch"
)

// maxPorts bounds how many Ethernet ports are taken up.
const maxPorts = 16

// settle is how long to wait for more to change before looking: one plug brings a dozen announcements.
const settle = 20 * time.Millisecond

// A PortConfig says what one port is set to. The zero Address is DHCP.
type PortConfig struct {
	Name    string
	Address netip.Prefix
	Gateway netip.Addr // invalid: none
	DNS     []netip.Addr
}

func (p PortConfig) equal(o PortConfig) bool {
	return p.Name == o.Name && p.Address == o.Address && p.Gateway == o.Gateway && slices.Equal(p.DNS, o.DNS)
}

// A Config is what an owner may choose.
type Config struct {
	Hostname string       // what the DHCP server is told; one label
	Ports    []PortConfig // ports that are not here, and are hardware, take DHCP
	Resolv   string       // the resolver's file; "" for /etc/resolv.conf
}

// A Manager keeps the ports. Use New.
type Manager struct {
	State watch.Value[State]

	cfg   Config
	log   *slog.Logger
	poke  chan struct{} // size 1: something may have changed
	ready chan struct{}
	once  sync.Once

	mu    sync.Mutex
	notes map[string]note // by port
	six   map[string]note6
	ports []PortConfig
}

// Configure sets ports otherwise, from now on; those that are not in the list take DHCP. Nothing is kept over a restart.
func (m *Manager) Configure(ports []PortConfig) {
	m.mu.Lock()
	m.ports = slices.Clone(ports)
	m.mu.Unlock()
	m.changed()
}

// Configured is what the ports are set to.
func (m *Manager) Configured() []PortConfig {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.ports)
}

// A note is what a port's keeper knows of it and the kernel does not.
type note struct {
	source   map[netip.Prefix]Source
	gateway  netip.Addr
	dns, ntp []netip.Addr
	until    time.Time
	problem  string
}

// A note6 is the same for IPv6.
type note6 struct{ router, dhcp known }

// New returns a Manager that does nothing until Run.
func New(cfg Config, log *slog.Logger) *Manager {
	if cfg.Resolv == "" {
		cfg.Resolv = "/etc/resolv.conf"
	}
	return &Manager{cfg: cfg, log: log, poke: make(chan struct{}, 1), ready: make(chan struct{}), notes: map[string]note{}, six: map[string]note6{}, ports: cfg.Ports}
}

// Ready is closed when there is a first address that people use: any but a link-local one of IPv6.
func (m *Manager) Ready() <-chan struct{} { return m.ready }

// Run is the service.
func (m *Manager) Run(ctx context.Context) error {
	if lo, err := netlink.LinkByName("lo"); err != nil {
		m.log.Warn("loopback", "error", err)
	} else if err := netlink.LinkSetUp(lo); err != nil {
		m.log.Warn("loopback", "error", err)
	}
	tune("/proc/sys/net", m.log)
	events, err := openChanges() // before the first look, so that nothing is missed between
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- follow(events, m.changed) }()
	defer events.Close()

	keepers := make(map[int]*keeper) // by the link's index
	defer func() {
		for _, k := range keepers {
			k.end()
		}
	}()
	supervise.Healthy(ctx)
	for {
		if err := m.look(ctx, keepers); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return fmt.Errorf("network events: %w", err)
		case <-m.poke:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settle):
		}
	}
}

// changed asks for another look.
func (m *Manager) changed() {
	select {
	case m.poke <- struct{}{}:
	default:
	}
}

// A keeper looks after one port while it has a cable.
type keeper struct {
	port   *port
	cancel context.CancelFunc // nil: no cable
	done   chan struct{}
}

func (k *keeper) end() {
	if k.cancel != nil {
		k.cancel()
		<-k.done
		k.cancel = nil
	}
}

// look compares what there is with what is kept.
func (m *Manager) look(ctx context.Context, keepers map[int]*keeper) error {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list of ports: %w", err)
	}
	if err != nil {
		m.changed() // it changed while we read
	}
	var now State
	seen := map[int]bool{}
	for _, l := range links {
		a := l.Attrs()
		if !m.ours(l) || len(seen) == maxPorts {
			continue
		}
		seen[a.Index] = true
		k := keepers[a.Index]
		if k != nil && k.port.name != a.Name { // renamed
			k.end()
			k = nil
		}
		if k == nil {
			k = &keeper{port: m.newPort(a)}
			keepers[a.Index] = k
			m.log.Info("a network port", "port", a.Name, "address", a.HardwareAddr.String())
		}
		if cfg, _ := m.configured(a.Name); !k.port.cfg.equal(cfg) { // the owner has set it otherwise
			k.end()
			k.port.drop()
			k.port.cfg, k.port.static = cfg, cfg.Address.IsValid()
		}
		if a.RawFlags&unix.IFF_UP == 0 {
			if err := netlink.LinkSetUp(l); err != nil {
				m.log.Warn("a port does not come up", "port", a.Name, "error", err)
			}
		}
		cable := a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0
		switch {
		case cable && k.cancel == nil:
			var kctx context.Context
			kctx, k.cancel = context.WithCancel(ctx)
			k.done = make(chan struct{})
			go func(done chan struct{}) {
				defer close(done)
				k.port.keep(kctx)
			}(k.done)
		case !cable && k.cancel != nil:
			m.log.Info("the cable is out", "port", a.Name)
			k.end()
		}
		now.Ports = append(now.Ports, m.snapshot(l, k.port.static, cable))
	}
	for i, k := range keepers {
		if !seen[i] {
			m.log.Info("a network port has gone", "port", k.port.name)
			k.end()
			delete(keepers, i)
			m.mu.Lock()
			delete(m.notes, k.port.name)
			delete(m.six, k.port.name)
			m.mu.Unlock()
		}
	}
	slices.SortFunc(now.Ports, func(a, b Port) int { return strings.Compare(a.Name, b.Name) })
	m.publish(now)
	return nil
}

// ours says whether a link is a port to look after: hardware, or named in the configuration.
func (m *Manager) ours(l netlink.Link) bool {
	a := l.Attrs()
	if a.EncapType != "ether" || a.Flags&unix.IFF_LOOPBACK != 0 || a.MasterIndex != 0 {
		return false
	}
	if _, ok := m.configured(a.Name); ok {
		return true
	}
	_, err := os.Stat(filepath.Join("/sys/class/net", a.Name, "device"))
	return err == nil
}

func (m *Manager) configured(name string) (PortConfig, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.ports, func(p PortConfig) bool { return p.Name == name })
	if i < 0 {
		return PortConfig{Name: name}, false
	}
	return m.ports[i], true
}

// snapshot puts together what the kernel and the keeper know of a port.
func (m *Manager) snapshot(l netlink.Link, static, cable bool) Port {
	a := l.Attrs()
	m.mu.Lock()
	n, six := m.notes[a.Name], m.six[a.Name]
	m.mu.Unlock()
	p := Port{
		Name: a.Name, MAC: a.HardwareAddr.String(), Cable: cable, Mode: DHCP,
		Gateway: n.gateway, DNS: n.dns, NTP: n.ntp, Until: n.until, Problem: n.problem,
	}
	if static {
		p.Mode = Static
	}
	for _, k := range []known{six.dhcp, six.router} { // in this order: RFC 8106 section 5.3.1
		if !static || len(n.dns) == 0 { // what the owner has named is all there is
			p.DNS, p.Search = union(p.DNS, k.dns), union(p.Search, k.search)
		}
		p.NTP = union(p.NTP, k.ntp)
	}
	if !cable {
		p.Problem = "no cable, or nothing at its other end"
		p.Gateway, p.DNS, p.NTP, p.Search, p.Until = netip.Addr{}, nil, nil, nil, time.Time{}
		return p // it has addresses, and nobody reaches them
	}
	if b, err := os.ReadFile(filepath.Join("/sys/class/net", a.Name, "speed")); err == nil {
		if mbit, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			p.Mbit = max(0, mbit)
		}
	}
	list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		m.changed()
	}
	for _, addr := range list {
		prefix, ok := prefixOf(addr)
		if !ok || addr.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
			continue
		}
		source, known := n.source[prefix]
		leased := six.dhcp.source[prefix]
		switch {
		case known:
		case leased != "":
			source = leased
		case prefix.Addr().IsLinkLocalUnicast():
			source = LinkLocal
		case prefix.Addr().Is6() && addr.Flags&unix.IFA_F_PERMANENT == 0:
			source = Router
		default:
			source = Other
		}
		p.Addresses = append(p.Addresses, Address{prefix, source})
	}
	slices.SortFunc(p.Addresses, func(a, b Address) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	return p
}

// union is both lists, each thing once. Neither is changed.
func union[T comparable](a, b []T) []T {
	all := slices.Clone(a)
	for _, v := range b {
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

func prefixOf(a netlink.Addr) (netip.Prefix, bool) {
	ip, ok := netip.AddrFromSlice(a.IP)
	ones, _ := a.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), ones), ok
}

// publish sets the state if it is another, and what hangs on it.
func (m *Manager) publish(now State) {
	old, version := m.State.Get()
	if version > 0 && old.equal(now) {
		return
	}
	if err := writeResolv(m.cfg.Resolv, now); err != nil {
		m.log.Warn("name servers", "error", err)
	}
	m.State.Set(now)
	for _, a := range now.Addresses() {
		if a.Is4() || !a.IsLinkLocalUnicast() { // the kernel makes IPv6's own before anybody has answered
			m.once.Do(func() { close(m.ready) })
		}
	}
}

// writeResolv names the resolver's servers and domains: those of all ports, the first port's first.
func writeResolv(path string, s State) error {
	var text strings.Builder
	n := 0
	for _, p := range s.Ports {
		for _, a := range p.DNS {
			if line := "nameserver " + a.String() + "\n"; n < maxServers && !strings.Contains(text.String(), line) {
				text.WriteString(line)
				n++
			}
		}
	}
	var search []string
	for _, p := range s.Ports {
		search = union(search, p.Search)
	}
	if search = domains(search); len(search) > 0 {
		text.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	if old, err := os.ReadFile(path); err == nil && string(old) == text.String() {
		return nil
	}
	return state.Write(path, []byte(text.String()), 0o644)
}

// note changes what is known of a port and asks for a look.
func (m *Manager) note(port string, f func(*note)) {
	m.mu.Lock()
	n := m.notes[port]
	f(&n)
	m.notes[port] = n
	m.mu.Unlock()
	m.changed()
}

// note6 is note for IPv6.
func (m *Manager) note6(port string, f func(*note6)) {
	m.mu.Lock()
	n := m.six[port]
	f(&n)
	m.six[port] = n
	m.mu.Unlock()
	m.changed()
}

// tuned are switches of the kernel's, under net: of several ports in one network each answers for its own address only;
// a route over a port without a cable is none; nobody on the network bends our routes.
var tuned = [][2]string{
	{"ipv4/conf/all/arp_ignore", "1"},
	{"ipv4/conf/all/arp_announce", "2"},
	{"ipv4/conf/all/ignore_routes_with_linkdown", "1"},
	{"ipv4/conf/all/accept_redirects", "0"},
	{"ipv4/conf/default/accept_redirects", "0"},
	{"ipv4/conf/all/secure_redirects", "0"},
	{"ipv4/conf/all/send_redirects", "0"},
	{"ipv6/conf/all/accept_redirects", "0"},
	{"ipv6/conf/default/accept_redirects", "0"},
}

func tune(dir string, log *slog.Logger) {
	for _, t := range tuned {
		path := filepath.Join(dir, t[0])
		if err := os.WriteFile(path, []byte(t[1]), 0); err != nil {
			log.Debug("a switch of the kernel's stays", "switch", path, "error", err)
		}
	}
}

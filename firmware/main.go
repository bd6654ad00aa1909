// Postern: a NAS that serves its folders as SMB inside QUIC.
//
// This file is the only place where concrete meets concrete, in the order the data flows: configuration, accounts,
// certificates, shares, the SMB server, QUIC, TCP. The rest of the package is what a line here stands for.
package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/handles"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/observe"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/quic"
	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
)

func main() {
	if boot.IsInit() {
		boot.Main(serveBox, os.Stderr)
	}
	os.Exit(command(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// serve runs the server until ctx is done. Logs go to logs, and what a person at the terminal wants to know to out.
func serve(ctx context.Context, o options, out, logs io.Writer) error {
	s := &serving{o: o, out: out, logs: logs}
	defer s.close()
	for _, step := range []func(context.Context) error{
		s.settings, s.secrets, s.accounts, s.certificates, s.doors, s.folders, s.sessions, s.listen, s.show,
	} {
		if err := step(ctx); errors.Is(err, errStopped) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return s.run()
}

// errStopped ends a start that is not wanted any more.
var errStopped = errors.New("stopped")

// A serving is what serve has put together so far: each of its steps, in their order, works with what those before it left.
type serving struct {
	o         options
	out, logs io.Writer
	closers   []func()

	cfg   *config.Config
	lines *observe.Ring
	log   *slog.Logger

	ring  *keys.Ring
	users *account.Store
	guest demo

	names     []string
	authority *cert.Authority
	certs     *certificates

	site *pageFace
	door *door

	shares  []smb.Share
	shared  *sharing
	handles *handles.Store
	server  *smb.Server

	quic  *quicFace
	tcp   *tcpFace
	looks looks // of the server at itself

	ctx    context.Context // of the services, which may end all of it
	face   *face
	around *reach
}

// later has something done when the server ends, before what was asked for earlier.
func (s *serving) later(do func()) { s.closers = append(s.closers, do) }

func (s *serving) close() {
	for _, do := range slices.Backward(s.closers) {
		do()
	}
}

// settings takes the state folder and reads the configuration.
func (s *serving) settings(context.Context) error {
	unlock, err := openState(s.o)
	if err != nil {
		return err
	}
	s.later(unlock)
	if s.cfg, err = loadConfig(s.o); err != nil {
		return err
	}
	s.o.override(s.cfg)
	if s.o.machine != nil && s.o.machine.Open {
		guarded(s.cfg)
	}
	s.lines = observe.NewRing(1000)
	s.log = slog.New(observe.In(s.cfg.Box.Zone, observe.Handler(io.MultiWriter(s.logs, s.lines), s.cfg.LogLevel, s.cfg.LogFormat)))
	if s.o.machine != nil {
		for _, text := range s.o.machine.Troubles {
			s.log.Warn("the owner is told", "what", text)
		}
	}
	return nil
}

// secrets opens the keys. Nothing is served before: neither as somebody else, nor with passwords that cannot be read.
func (s *serving) secrets(ctx context.Context) error {
	ring, letGo, err := serverKeys(s.o, s.cfg, s.log)
	if err != nil {
		return err
	}
	s.ring = ring
	s.later(letGo)
	if err := waitForKeys(ctx, s.o, s.cfg, ring, s.log); ctx.Err() != nil {
		return errStopped
	} else if err != nil {
		return err
	}
	if done, err := finishRestore(s.o.state, ring, s.log); err != nil {
		return err
	} else if done { // with what is there now
		return errAgain
	}
	s.o.done("keys")
	if !s.o.box || s.o.demo {
		tellCode(s.out, ring)
	}
	return nil
}

func (s *serving) accounts(context.Context) (err error) {
	if s.users, err = account.OpenWith(s.ring, s.o.state, s.log); err != nil || !s.o.demo {
		return err
	}
	s.guest, err = openDemo(s.o.state, s.users)
	return err
}

func (s *serving) certificates(context.Context) (err error) {
	s.names = serverNames(s.cfg, s.o.demo)
	if s.authority, err = cert.OpenAuthorityWith(s.ring, s.o.state, s.cfg.Name, time.Now(), s.log); err != nil {
		return err
	}
	s.certs = &certificates{
		authority: s.authority, keys: s.ring, dir: s.o.state, names: s.names, file: s.cfg.CertificateFile, key: s.cfg.KeyFile,
		store: new(quic.Store), log: s.log,
	}
	if err := s.certs.refresh(time.Now()); err != nil {
		return err
	}
	s.o.done("certificate")
	return nil
}

// doors says who gets in.
func (s *serving) doors(context.Context) (err error) {
	s.site = newPageFace(s.cfg, s.o)
	s.door, err = openDoor(s.o.state, s.cfg, s.users, s.authority, func() []string { return s.site.urls(s.cfg.Names) }, s.log)
	if err != nil {
		return err
	}
	s.later(func() { s.door.Close() })
	s.door.access.Serve(s.certs.store)
	return nil
}

func (s *serving) folders(ctx context.Context) (err error) {
	if s.o.machine != nil {
		s.o.machine.AwaitPools(ctx)
	}
	if s.shares, err = openShares(s.cfg, s.users, s.log); err != nil {
		return err
	}
	s.shared = &sharing{dir: s.o.state, served: s.cfg.Shares}
	s.o.done("shares")
	return nil
}

// sessions makes the SMB server.
func (s *serving) sessions(context.Context) (err error) {
	if s.handles, err = handles.Open(s.o.state, s.log); err != nil {
		return err
	}
	s.later(func() { s.handles.Close() })
	cfg, everybody := s.cfg, people{s.users, s.cfg.NetBIOS}
	s.server, err = smb.NewServer(smb.Config{
		Name: cfg.NetBIOS, Comment: "Postern", GUID: s.users.GUID(), Shares: s.shares, Handles: s.handles, Names: everybody, Accounts: everybody,
		Sharing: s.shared,
		Mechanisms: []auth.Mechanism{ntlm.New(ntlm.Config{
			Computer: cfg.NetBIOS, DNSName: cfg.Name, Accounts: s.users, ServerNames: func() []string { return targets(cfg, s.names) },
			MICOptional: cfg.LinuxClients, Anonymous: cfg.QUICSessions.Anonymous || cfg.TCPSessions.Anonymous, Guard: s.door.limits.Guard,
			Log: s.log,
		})},
		RequireEncryption: cfg.RequireEncryption, SigningOptional: cfg.SigningOptional, MemoryBudget: cfg.MemoryBudget,
		MaxOpens: openFiles(cfg.Connections, s.log), Compression: cfg.Compression, FailedLogonDelay: cfg.Logon.FailedDelay,
		Audit: s.door.heard, Barred: s.door.access.Barred, Interfaces: addresses{cfg.TCP, s.log}.interfaces,
		Log: slog.New(unheard{s.log.Handler(), &s.looks}),
	})
	if err != nil {
		return err
	}
	s.door.access.Then(func() { s.server.EndBarred() })
	return nil
}

func (s *serving) listen(ctx context.Context) error {
	connections, hangUp := context.WithCancel(context.WithoutCancel(ctx)) // they end after the listening has
	s.later(hangUp)
	cfg := s.cfg
	s.quic = &quicFace{
		addr: cfg.QUIC, sessions: cfg.QUICSessions, server: s.server, door: s.door, connections: connections, log: s.log,
		cfg: quic.Config{
			Store: s.certs.store, Logger: slog.New(unheard{s.log.Handler(), &s.looks}), ResetKey: s.users.DerivedKey("quic stateless reset"),
			Limits: quic.Limits{Conns: cfg.Connections, ConnsPerPrefix: cfg.ConnectionsPerClient},
			Judged: func(j quic.Judgement) {
				if !s.looks.ours(j.Addr.String()) {
					s.door.judged(j)
				}
			},
		},
	}
	err := s.quic.listen()
	if err != nil && s.o.demo && refused(err) {
		s.quic.addr = demoAddress
		err = s.quic.listen()
	}
	if err != nil {
		return err
	}
	s.tcp = &tcpFace{
		addr: cfg.TCP, sessions: cfg.TCPSessions, server: s.server, connections: connections, log: s.log,
		gate: gate{total: cfg.Connections, each: cfg.ConnectionsPerClient},
	}
	if cfg.TCP != "" {
		if err := s.tcp.listen(); err != nil {
			return errors.Join(err, s.quic.l.Close())
		}
	}
	return nil
}

// show makes what an owner sees, and has the box found.
func (s *serving) show(ctx context.Context) (err error) {
	ctx, end := context.WithCancelCause(ctx)
	s.ctx = ctx
	s.later(func() { end(nil) })
	s.face, err = openFace(faceParts{
		o: s.o, cfg: s.cfg, users: s.users, shared: s.shared, server: s.server, store: s.certs.store, authority: s.authority,
		quic: s.quic.l.Addr(), certs: s.certs, ring: s.ring, door: s.door, site: s.site, lines: s.lines, end: end, log: s.log,
	})
	if err != nil {
		return err
	}
	s.later(s.face.close)
	s.around = newReach(s.o, s.cfg, [16]byte(s.users.GUID()), s.certs, s.quic.l.Addr(), s.face.addr(), s.tcp.address(), s.log)
	s.face.w.more = append(s.face.w.more, s.around.tell)
	s.around.open() // before anybody is told where to connect
	return nil
}

// greet tells a person at the terminal where to begin.
func (s *serving) greet() {
	if s.o.demo {
		s.guest.explain(s.out, s.cfg, s.authority, s.quic.l.Addr())
	}
	s.face.explain(s.out)
}

// run runs all services until they are to end.
func (s *serving) run() error {
	services := supervise.Group{Log: s.log}
	if s.o.machine == nil {
		s.greet()
	} else {
		s.onMachine(&services)
	}
	services.Add("upkeep", s.upkeep)
	services.Add("keys", func(ctx context.Context) error { s.ring.Watch(ctx); return nil })
	services.Add("quic", s.quic.run)
	if s.cfg.TCP != "" {
		services.Add("tcp", s.tcp.run)
	}
	if s.door.syslog != nil {
		services.Add("syslog", s.door.syslog.Run)
	}
	s.face.addTo(&services)
	s.around.addTo(&services)
	if u := s.o.updates; u != nil {
		u.Tell(s.door.updated)
		s.later(func() { u.Tell(nil) })
	}
	services.Add("smb", func(ctx context.Context) error { return until(ctx, s.server, s.log) })
	err := services.Run(s.ctx)
	s.log.Info("stopped")
	return errors.Join(err, wanted(context.Cause(s.ctx)))
}

// onMachine is what a machine that runs nothing else has besides.
func (s *serving) onMachine(services *supervise.Group) {
	m := s.o.machine
	m.Steps.Listening(s.log)
	services.Add("greeting", func(ctx context.Context) error {
		m.AwaitAddress(ctx, s.log)
		s.greet()
		return nil
	})
	services.Add("pools", newPoolShares(m.Disks, s.shared, s.server, s.shares, s.log).run)
	check := &selfCheck{kept: m.Kept, ring: s.ring, name: s.names[0], addr: s.quic.l.Addr(), looks: &s.looks}
	if s.o.updates != nil {
		joinUpdates(s.o.updates, s.o.state, s.cfg, s.ring, check)
	}
	p := newPulse(check.look, s.quic.came, s.served, s.log)
	services.Add("pulse", p.run)
	m.Watch(well(services, p))
}

// served counts the bytes of files that clients get and give.
func (s *serving) served() uint64 {
	n := s.server.Stats()
	return n.Read + n.Written
}

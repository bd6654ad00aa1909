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
	"time"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/handles"
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
	unlock, err := openState(o)
	if err != nil {
		return err
	}
	defer unlock()

	cfg, err := loadConfig(o)
	if err != nil {
		return err
	}
	o.override(cfg)
	lines := observe.NewRing(1000)
	log := slog.New(observe.In(cfg.Box.Zone, observe.Handler(io.MultiWriter(logs, lines), cfg.LogLevel, cfg.LogFormat)))

	if o.machine != nil {
		for _, text := range o.machine.Troubles {
			log.Warn("the owner is told", "what", text)
		}
	}
	keyring, letGo, err := serverKeys(o, cfg, log)
	if err != nil {
		return err
	}
	defer letGo()
	// Nothing is served before the keys are open: neither as somebody else, nor with passwords that cannot be read.
	if err := waitForKeys(ctx, o, cfg, keyring, log); ctx.Err() != nil {
		return nil
	} else if err != nil {
		return err
	}
	if done, err := finishRestore(o.state, keyring, log); err != nil {
		return err
	} else if done { // with what is there now
		return errAgain
	}
	o.done("keys")
	if !o.box || o.demo {
		tellCode(out, keyring)
	}

	users, err := account.OpenWith(keyring, o.state, log)
	if err != nil {
		return err
	}
	var guest demo
	if o.demo {
		if guest, err = openDemo(o.state, users); err != nil {
			return err
		}
	}

	names := serverNames(cfg, o.demo)
	authority, err := cert.OpenAuthorityWith(keyring, o.state, cfg.Name, time.Now(), log)
	if err != nil {
		return err
	}
	certs := &certificates{
		authority: authority, keys: keyring, dir: o.state, names: names, file: cfg.CertificateFile, key: cfg.KeyFile,
		store: new(quic.Store), log: log,
	}
	if err := certs.refresh(time.Now()); err != nil {
		return err
	}

	o.done("certificate")

	site := newPageFace(cfg, o)
	gates, err := openDoor(o.state, cfg, users, authority, func() []string { return site.urls(cfg.Names) }, log)
	if err != nil {
		return err
	}
	defer gates.Close()
	gates.access.Serve(certs.store)

	if o.machine != nil {
		o.machine.AwaitPools(ctx)
	}
	shares, err := openShares(cfg, users, log)
	if err != nil {
		return err
	}
	o.done("shares")
	open, err := handles.Open(o.state, log)
	if err != nil {
		return err
	}
	defer open.Close()
	everybody := people{users, cfg.NetBIOS}
	shared := &sharing{dir: o.state, served: cfg.Shares}
	server, err := smb.NewServer(smb.Config{
		Name: cfg.NetBIOS, Comment: "Postern", GUID: users.GUID(), Shares: shares, Handles: open, Names: everybody, Accounts: everybody,
		Sharing: shared,
		Mechanisms: []auth.Mechanism{ntlm.New(ntlm.Config{
			Computer: cfg.NetBIOS, DNSName: cfg.Name, Accounts: users, ServerNames: func() []string { return targets(cfg, names) },
			MICOptional: cfg.LinuxClients, Anonymous: cfg.QUICSessions.Anonymous || cfg.TCPSessions.Anonymous, Guard: gates.limits.Guard,
			Log: log,
		})},
		RequireEncryption: cfg.RequireEncryption, SigningOptional: cfg.SigningOptional, MemoryBudget: cfg.MemoryBudget,
		MaxOpens: openFiles(cfg.Connections, log), Compression: cfg.Compression,
		FailedLogonDelay: cfg.Logon.FailedDelay, Audit: gates.heard, Barred: gates.access.Barred, Interfaces: addresses{cfg.TCP, log}.interfaces, Log: log,
	})
	if err != nil {
		return err
	}

	gates.access.Then(func() { server.EndBarred() })

	connections, hangUp := context.WithCancel(context.WithoutCancel(ctx)) // they end after the listening has
	defer hangUp()
	overQUIC := &quicFace{
		addr: cfg.QUIC, sessions: cfg.QUICSessions, server: server, door: gates, connections: connections, log: log,
		cfg: quic.Config{
			Store: certs.store, Logger: log, Judged: gates.judged, ResetKey: users.DerivedKey("quic stateless reset"),
			Limits: quic.Limits{Conns: cfg.Connections, ConnsPerPrefix: cfg.ConnectionsPerClient},
		},
	}
	if err := overQUIC.listen(); err != nil && o.demo && refused(err) {
		overQUIC.addr = demoAddress
		err = overQUIC.listen()
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	overTCP := &tcpFace{
		addr: cfg.TCP, sessions: cfg.TCPSessions, server: server, connections: connections, log: log,
		gate: gate{total: cfg.Connections, each: cfg.ConnectionsPerClient},
	}
	if cfg.TCP != "" {
		if err := overTCP.listen(); err != nil {
			return errors.Join(err, overQUIC.l.Close())
		}
	}

	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	face, err := openFace(faceParts{
		o: o, cfg: cfg, users: users, shared: shared, server: server, store: certs.store, authority: authority, quic: overQUIC.l.Addr(),
		certs: certs, ring: keyring, door: gates, site: site, lines: lines, end: end, log: log,
	})
	if err != nil {
		return err
	}
	defer face.close()

	around := newReach(o, cfg, [16]byte(users.GUID()), certs, overQUIC.l.Addr(), face.addr(), overTCP.address(), log)
	face.w.more = append(face.w.more, around.tell)
	around.open() // before anybody is told where to connect

	greet := func() {
		if o.demo {
			guest.explain(out, cfg, authority, overQUIC.l.Addr())
		}
		face.explain(out)
	}
	services := supervise.Group{Log: log}
	if o.machine == nil {
		greet()
	} else {
		o.machine.Steps.Listening(log)
		services.Add("greeting", func(ctx context.Context) error { o.machine.AwaitAddress(ctx, log); greet(); return nil })
	}
	services.Add("upkeep", func(ctx context.Context) error { return upkeep(ctx, o.hangups, keyring, users, certs, server, log) })
	services.Add("keys", func(ctx context.Context) error { keyring.Watch(ctx); return nil })
	services.Add("quic", overQUIC.run)
	if cfg.TCP != "" {
		services.Add("tcp", overTCP.run)
	}
	if gates.syslog != nil {
		services.Add("syslog", gates.syslog.Run)
	}
	face.addTo(&services)
	around.addTo(&services)
	if o.machine != nil {
		services.Add("pools", newPoolShares(o.machine.Disks, shared, server, shares, log).run)
		o.machine.Watch(well(&services))
	}
	if o.updates != nil {
		check := &selfCheck{kept: o.machine.Kept, ring: keyring, name: names[0], addr: overQUIC.l.Addr()}
		joinUpdates(o.updates, o.state, cfg, keyring, check)
	}
	services.Add("smb", func(ctx context.Context) error { return until(ctx, server, log) })
	err = services.Run(ctx)
	log.Info("stopped")
	return errors.Join(err, wanted(context.Cause(ctx)))
}

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
	"strings"

	"github.com/postern-nas/postern/tools/bench/client"
	"github.com/postern-nas/postern/tools/peers/peers"
	"github.com/postern-nas/postern/tools/postern"
)

// A target is one server, reached in one way.
type target struct {
	name   string
	dial   func(context.Context) (net.Conn, error)
	dir    string // the share's folder on this machine
	pid    int
	bare   bool // speaks bare.go's protocol instead of SMB
	memory memory

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
)

const (
	shareName = "share"
	user      = "alice"
	password  = "correct horse battery"
)

// start starts what only selects, each target in processes of its own. Notes are for the report. stop is never nil.
func start(ctx context.Context, only string) (targets []*target, notes []string, stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for _, f := range slices.Backward(stops) {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	dir, err := os.MkdirTemp("", "postern-bench-")
	if err != nil {
		return nil, nil, stop, err
	}
	stops = append(stops, func() error { return os.RemoveAll(dir) })
	wanted := func(name string) bool { return selected(only, name) }

	for _, name := range []string{posternQUIC, posternTCP, posternTCPSigned, posternTCPSealed} {
		if !wanted(name) {
			continue
		}
		progress("starting %s", name)
		t, end, err := startPostern(ctx, name, filepath.Join(dir, strings.ReplaceAll(name, " ", "-")))
		if err != nil {
			return nil, nil, stop, fmt.Errorf("%s: %w", name, err)
		}
		stops, targets = append(stops, end), append(targets, t)
	}
	unwanted := func(name string) bool { return !wanted(name) }
	if samba := slices.DeleteFunc([]string{sambaTCP, sambaTCPSigned, sambaTCPSealed}, unwanted); len(samba) > 0 {
		p, err := peers.Build(ctx, os.Stderr)
		if err != nil {
			note := fmt.Sprintf("Samba is missing from this run: %v.", err)
			progress("%s", note)
			notes = append(notes, note)
			samba = nil
		} else {
			version, err := p.Command(ctx, "smbd", "--version").Output()
			if err != nil {
				return nil, nil, stop, fmt.Errorf("smbd --version: %w", err)
			}
			notes = append(notes, "smbd: "+strings.TrimSpace(string(version))+", its defaults but for signing and encryption.")
		}
		for _, name := range samba {
			progress("starting %s", name)
			t, end, err := startSamba(ctx, p, name)
			if err != nil {
				return nil, nil, stop, fmt.Errorf("%s: %w", name, err)
			}
			stops, targets = append(stops, end), append(targets, t)
		}
	}
	if wanted(bareQUIC) {
		progress("starting %s", bareQUIC)
		t, end, err := startBare(dir)
		if err != nil {
			return nil, nil, stop, fmt.Errorf("%s: %w", bareQUIC, err)
		}
		stops, targets = append(stops, end), append(targets, t)
	}
	if len(targets) == 0 {
		return nil, nil, stop, fmt.Errorf("-targets %q selects nothing", only)
	}
	return targets, notes, stop, nil
}

func startPostern(ctx context.Context, name, dir string) (*target, func() error, error) {
	t := &target{name: name, dir: filepath.Join(dir, "share"), protection: protectionOf(name)}
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return nil, nil, err
	}
	srv, err := postern.New(dir, postern.Config{
		Shares: []postern.Share{{Name: shareName, Path: t.dir, Encrypt: name == posternTCPSealed}},
		Users:  []postern.User{{Name: user, Password: password}},
		TCP:    map[bool]string{true: "require_signing = false\n"}[name == posternTCP],
	})
	if err != nil {
		return nil, nil, err
	}
	if err := srv.Start(ctx); err != nil {
		return nil, nil, err
	}
	t.pid, t.dial = srv.PID(), srv.DialTCP
	if name == posternQUIC {
		t.dial = srv.DialQUIC
	}
	return t, srv.Stop, nil
}

func startSamba(ctx context.Context, p *peers.Peers, name string) (*target, func() error, error) {
	o := peers.SMBDOptions{Users: map[string]string{user: password}, Shares: []string{shareName}, Encrypt: "off"}
	switch name {
	case sambaTCPSigned:
		o.Global = []string{"server signing = mandatory"}
	case sambaTCPSealed:
		o.Encrypt = "required"
	}
	smbd, err := p.StartSMBD(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	return &target{
		name: name, dir: smbd.Shares[shareName].Host, pid: smbd.Pid, protection: protectionOf(name),
		dial: func(ctx context.Context) (net.Conn, error) { return postern.DialTCP(ctx, netip.Addr{}, smbd.Addr) },
	}, smbd.Close, nil
}

// open connects, and logs on where there is something to log on to. Its caller closes the session.
func (t *target) open(ctx context.Context) (*session, error) {
	conn, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	if t.bare {
		return &session{bare: conn}, nil
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
	return &session{client: c, share: share}, nil
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
	case posternTCP, sambaTCP:
		return client.Plain
	case posternTCPSealed, sambaTCPSealed:
		return client.Sealed
	}
	return client.Signed
}

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	smb2 "github.com/cloudsoda/go-smb2"

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
	wire   atomic.Int32 // protection of requests as seen on the wire
}

// Names of the columns.
const (
	posternQUIC      = "Postern QUIC"
	posternTCP       = "Postern TCP"
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
	wanted := func(name string) bool {
		if only == "" {
			return true
		}
		return slices.ContainsFunc(strings.Split(only, ","), func(word string) bool {
			return strings.Contains(strings.ToLower(name), strings.ToLower(strings.TrimSpace(word)))
		})
	}

	for _, name := range []string{posternQUIC, posternTCP, posternTCPSealed} {
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
	t := &target{name: name, dir: filepath.Join(dir, "share")}
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return nil, nil, err
	}
	srv, err := postern.New(dir, postern.Config{
		Shares: []postern.Share{{Name: shareName, Path: t.dir, Encrypt: name == posternTCPSealed}},
		Users:  []postern.User{{Name: user, Password: password}},
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
		name: name, dir: smbd.Shares[shareName].Host, pid: smbd.Pid,
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
	// With its default of 128 credits the client now and then spends two more than it was granted when eight reads of
	// 1 MiB take them all: it does not count what its handshake cost. Postern lets it; smbd drops it.
	d := smb2.Dialer{MaxCreditBalance: 1024, Initiator: &smb2.NTLMInitiator{User: user, Password: password}}
	sess, err := d.DialConn(ctx, &wireConn{conn, &t.wire}, "nas.test")
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("logon: %w", err)
	}
	share, err := sess.WithContext(ctx).Mount(shareName)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mount: %w", err), sess.Logoff())
	}
	return &session{sess: sess, share: share}, nil
}

// What protects the requests on the wire.
const (
	unseen = iota
	plain
	signed
	sealed
)

// A wireConn looks at how file requests are protected, so that the table says what was, not what was configured.
// The library writes a frame's four length bytes and its message with one Write each.
type wireConn struct {
	net.Conn
	protection *atomic.Int32
}

func (c *wireConn) Write(b []byte) (int, error) {
	if len(b) >= 64 {
		const create, flagSigned = 0x0005, 0x8
		switch magic := string(b[:4]); {
		case magic == "\xFDSMB":
			c.protection.Store(sealed)
		case magic == "\xFESMB" && binary.LittleEndian.Uint16(b[12:]) >= create:
			if binary.LittleEndian.Uint32(b[16:])&flagSigned != 0 {
				c.protection.Store(signed)
			} else {
				c.protection.Store(plain)
			}
		}
	}
	return c.Conn.Write(b)
}

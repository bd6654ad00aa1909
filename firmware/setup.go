package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/vfs/osfs"
)

// stateLock is what a server holds as long as it uses a state folder.
const stateLock = "postern.lock"

// openState makes the state folder ready, on the first run with a configuration and the folder it shares, and keeps
// others out of it.
func openState(o options) (unlock func(), err error) {
	if err := os.MkdirAll(o.state, 0o700); err != nil {
		return nil, err
	}
	if unlock, err = state.Lock(o.state, stateLock, false); err != nil {
		return nil, err
	}
	path := filepath.Join(o.state, config.FileName)
	_, err = os.Stat(path)
	first := errors.Is(err, fs.ErrNotExist)
	if first || o.demo {
		err = os.MkdirAll(filepath.Join(o.state, "disk"), 0o700)
	}
	if first && err == nil {
		err = state.Write(path, []byte(config.DefaultFile), 0o600)
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// serverNames returns the names for the certificate. In a demonstration the machine is also reached by its own.
func serverNames(cfg *config.Config, demo bool) []string {
	names := slices.Clone(cfg.Names)
	if demo {
		names = append(names, "localhost")
		if host, err := os.Hostname(); err == nil && config.DNSName(host) {
			names = append(names, strings.ToLower(host))
		}
	}
	var once []string
	for _, n := range names {
		if !slices.Contains(once, n) {
			once = append(once, n)
		}
	}
	return once
}

// targets returns what a client may call this server in its logon: its names, and with TCP also its addresses.
func targets(cfg *config.Config, names []string) []string {
	all := append(slices.Clone(names), cfg.NetBIOS)
	if cfg.TCP == "" {
		return all
	}
	all = append(all, "localhost")
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // not checked
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			all = append(all, n.IP.String())
		}
	}
	return all
}

// openShares opens the folders that are served.
func openShares(cfg *config.Config, users *account.Store, log *slog.Logger) (shares []smb.Share, err error) {
	known := users.Users()
	for _, s := range cfg.Shares {
		share, err := openShare(s)
		if err != nil && (len(s.Folder) > 0 || inPool(s.Path)) { // a client's doing, or a disk's: no reason not to start
			log.Error("a share is not served", "error", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, name := range s.Users() {
			if !slices.ContainsFunc(known, func(u account.User) bool { return strings.EqualFold(u.Name, name) }) {
				log.Warn("a share names a user who does not exist", "share", s.Name, "user", name)
			}
		}
		shares = append(shares, share)
	}
	if len(shares) == 0 {
		log.Warn("there is no share in " + config.FileName)
	}
	if len(known) == 0 {
		log.Warn("there is no user yet: postern -state ... user add NAME")
	}
	return shares, nil
}

// openShare opens the folder of one share.
func openShare(s config.Share) (smb.Share, error) {
	share := smb.Share{
		Name: s.Name, Comment: s.Comment, Rights: rights(s), Encrypt: s.Encrypt, Hidden: s.Hidden,
		AccessBasedEnumeration: s.HideUnreadable,
		ContinuouslyAvailable:  s.Continuous,
		NoStreams:              s.NoStreams,
		HideFiles:              s.HideFiles,
		ShortNames:             s.ShortNames,
		WithoutNotify:          s.WithoutNotify,
		KeepACLFlags:           s.KeepACLFlags,
		POSIX:                  s.POSIX,
		Compress:               s.Compress,
		TimeMachine:            s.TimeMachine,
		TimeMachineQuota:       s.TimeMachineQuota,
		Links:                  s.Links,
	}
	if len(s.Links) > 0 {
		return share, nil
	}
	options := []osfs.Option{osfs.WithLabel(s.Name), osfs.WithFolder(s.Folder...)}
	if s.Snapshots != "" {
		options = append(options, osfs.WithSnapshots(s.Snapshots, s.SnapshotInside))
	}
	if err := poolThere(s.Path); err != nil {
		return smb.Share{}, fmt.Errorf("share %s: %w", s.Name, err)
	}
	volume, err := osfs.New(s.Path, options...)
	if err != nil {
		return smb.Share{}, fmt.Errorf("share %s: %w", s.Name, err)
	}
	share.Volume, share.Close = volume, volume.Close
	return share, nil
}

// rights turns a share's lists into what the SMB server asks.
func rights(s config.Share) func(*auth.Identity) dtyp.Access {
	return func(id *auth.Identity) dtyp.Access {
		switch read, write := s.Access(id.User); {
		case write:
			return dtyp.FileAll
		case read:
			return dtyp.FileRead | dtyp.FileExecute
		}
		return 0
	}
}

// upkeep renews the certificate in time, and on a hangup signal reads certificates, users, and the rules of who gets in again.
func (s *serving) upkeep(ctx context.Context) error {
	ring, users, certs, server, log := s.ring, s.users, s.certs, s.server, s.log
	supervise.Healthy(ctx)
	// Not by the day: a box without a battery clock may have learned of a new year a minute after its start.
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.o.hangups:
			if err := ring.Reload(); err != nil {
				log.Error("the keys are as before", "error", err)
			}
			if err := users.Reload(); err != nil {
				log.Error("users are as before", "error", err)
			}
			if err := s.door.reread(s.o.state); err != nil {
				log.Error("the rules of who gets in over QUIC are as before", "error", err)
			}
			ended := server.EndSessions(func(id *auth.Identity) bool { return !users.Stands(id) })
			log.Info("users, certificates and [access] read again", "users", len(users.Users()), "sessions_ended", ended)
		}
		if err := certs.refresh(time.Now()); err != nil {
			log.Error("the certificate is as before", "error", err)
		}
	}
}

// until ends the server's connections when ctx is done. It is the last service, so it is stopped first: while they
// end, the transports beneath still work.
func until(ctx context.Context, server *smb.Server, log *slog.Logger) error {
	supervise.Healthy(ctx)
	<-ctx.Done()
	log.Info("stopping")
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(limit); err != nil {
		log.Warn("connections were cut", "error", err)
	}
	return nil
}

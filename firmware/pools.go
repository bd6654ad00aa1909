package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/storage"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/smb"
)

// inPool says whether a path is in a pool, there or not.
func inPool(path string) bool { return strings.HasPrefix(path, config.Pools+"/") }

// poolThere is an error on a box if the pool that a path is in is not mounted: the folder would be in memory then, and gone
// with the next restart.
func poolThere(path string) error {
	if !inPool(path) || !boot.IsInit() {
		return nil
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(path, config.Pools+"/"), "/")
	root, err := os.Stat(config.Pools)
	if err != nil {
		return fmt.Errorf("the pool %s is not there", name)
	}
	pool, err := os.Stat(filepath.Join(config.Pools, name))
	if err != nil || pool.Sys().(*syscall.Stat_t).Dev == root.Sys().(*syscall.Stat_t).Dev {
		return fmt.Errorf("the pool %s is not there", name)
	}
	return nil
}

// A poolShares serves the shares of a pool when it comes, and ends them when it goes, so that clients hear at once that
// their files are not there and do not wait for a disk.
type poolShares struct {
	disks  *storage.Manager
	shares *sharing
	server *smb.Server
	served map[string]string // share to the pool's mount that it is served from; "": to none; no entry: added since we began
	log    *slog.Logger
}

func newPoolShares(disks *storage.Manager, shares *sharing, server *smb.Server, now []smb.Share, log *slog.Logger) *poolShares {
	p := &poolShares{disks: disks, shares: shares, server: server, served: map[string]string{}, log: log}
	mounts := p.mounts()
	for _, s := range shares.list() {
		p.served[s.Name] = ""
		for _, open := range now {
			if open.Name == s.Name {
				p.served[s.Name] = mountOf(mounts, s.Path)
			}
		}
	}
	return p
}

// mounts are where pools are now, with a number that another mount of the same pool does not have.
func (p *poolShares) mounts() map[string]string {
	all := map[string]string{}
	s, _ := p.disks.State.Get()
	for _, pool := range s.Pools {
		if pool.Path == "" {
			continue
		}
		if st, err := os.Stat(pool.Path); err == nil {
			all[pool.Path] = fmt.Sprint(pool.UUID, " ", st.Sys().(*syscall.Stat_t).Dev)
		}
	}
	return all
}

func mountOf(mounts map[string]string, path string) string {
	for at, id := range mounts {
		if path == at || strings.HasPrefix(path, at+"/") {
			return id
		}
	}
	return ""
}

// run is the service.
func (p *poolShares) run(ctx context.Context) error {
	supervise.Healthy(ctx)
	for version := uint64(0); ; {
		_, v, err := p.disks.State.Wait(ctx, version)
		if err != nil {
			return nil
		}
		version = v
		mounts, list := p.mounts(), p.shares.list()
		maps.DeleteFunc(p.served, func(name, _ string) bool {
			return !slices.ContainsFunc(list, func(s config.Share) bool { return s.Name == name })
		})
		for _, s := range list {
			if inPool(s.Path) {
				p.follow(s, mountOf(mounts, s.Path))
			}
		}
	}
}

// follow serves one share from a mount, or not at all if that is "".
func (p *poolShares) follow(s config.Share, mount string) {
	was, known := p.served[s.Name]
	if !known && mount != "" { // whoever added it serves it
		p.served[s.Name] = mount
		return
	}
	if known && was == mount {
		return
	}
	if !known || was != "" {
		p.log.Warn("a share ends: its pool has gone", "share", s.Name)
		if err := p.server.RemoveShare(s.Name); err != nil {
			p.log.Error("a share does not end", "share", s.Name, "error", err)
		}
		p.served[s.Name] = ""
	}
	if mount == "" {
		return
	}
	made, err := openShare(s)
	if err == nil {
		if err = p.server.AddShare(made); err != nil {
			err = errors.Join(err, made.Close())
		}
	}
	if err != nil {
		p.log.Error("a share is not served", "share", s.Name, "error", err)
		return
	}
	p.served[s.Name] = mount
	p.log.Info("a share is served: its pool has come", "share", s.Name)
}

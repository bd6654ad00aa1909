package storage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountTime bounds a mount. A journal of a large disk may be long; a disk that does not answer may never.
const mountTime = 60 * time.Second

// mountFlags: nothing on a pool is a program or a device of this box.
const mountFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME

// Adopt mounts a pool that is there, now and at each start.
func (m *Manager) Adopt(ctx context.Context, id string) error { return m.adopt(ctx, id) }

func (m *Manager) adopt(ctx context.Context, id string) error {
	disks, err := scan(m.config())
	if err != nil {
		return err
	}
	contents := m.lookAll(ctx, disks)
	m.mu.Lock()
	m.disks = disks
	pools := m.assemble(contents)
	i := slices.IndexFunc(pools, func(p Pool) bool { return p.UUID == id && len(p.Disks) > 0 })
	if i < 0 {
		m.mu.Unlock()
		return errors.New("the pool is not there any more")
	}
	p := pools[i]
	if _, err := checkName(p.Name); err != nil {
		p.Name = "pool-" + p.UUID[:8]
	}
	if len(m.known) >= maxKnown {
		m.mu.Unlock()
		return errors.New("there are too many pools; forget one that is not used any more")
	}
	m.known[id] = p.Name
	if err := m.saveLocked(); err != nil {
		delete(m.known, id)
		m.mu.Unlock()
		return fmt.Errorf("it cannot be remembered: %w", err)
	}
	m.mu.Unlock()
	if p.Path != "" {
		return nil
	}
	if p.copied {
		return errors.New("two of the disks say that they are the same one: take the copy away")
	}
	if err := m.mountPool(ctx, p); err != nil {
		return err
	}
	m.rescan()
	return nil
}

// Forget unmounts a pool and does not mount it again. What is on it stays.
func (m *Manager) Forget(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := m.mounts[id]; at != "" {
		if err := unix.Unmount(at, 0); errors.Is(err, unix.EBUSY) {
			return errors.New("the pool is in use: remove its shares first")
		} else if err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
		_ = os.Remove(at) // empty, as it is no mount point any more
		delete(m.mounts, id)
	}
	delete(m.known, id)
	err := m.saveLocked()
	m.rescan()
	return err
}

// mountPool mounts a pool in its folder. A mirror that lacks a disk is mounted all the same, and says so.
func (m *Manager) mountPool(ctx context.Context, p Pool) error {
	at := filepath.Join(m.cfg.Root, p.Name)
	if err := os.MkdirAll(m.cfg.Root, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(at, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	device := filepath.Join(m.cfg.Dev, p.Disks[0])
	var options []string
	switch p.Kind {
	case "btrfs":
		for _, d := range p.Disks {
			options = append(options, "device="+filepath.Join(m.cfg.Dev, d))
		}
		if p.Missing > 0 {
			options = append(options, "degraded")
		}
	case "ext4":
		options = append(options, "errors=remount-ro")
	}
	m.setProblem(p.UUID, "")
	done := make(chan error, 1)
	go func() { done <- unix.Mount(device, at, p.Kind, mountFlags, strings.Join(options, ",")) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-time.After(mountTime):
		err = errSlow
		go func() { // should it come about after all, nobody reckons with it
			if <-done == nil {
				_ = unix.Unmount(at, unix.MNT_DETACH)
			}
		}()
	}
	if err != nil {
		_ = os.Remove(at) // nothing is to be written beside the pool
		m.setProblem(p.UUID, mountFailure(p, err))
		return fmt.Errorf("mount %s: %w", at, err)
	}
	m.mu.Lock()
	m.mounts[p.UUID] = at
	m.lacking[p.UUID] = p.Missing > 0
	m.mu.Unlock()
	m.log.Info("a pool is mounted", "pool", p.Name, "at", at, "disks", p.Disks, "missing", p.Missing)
	return nil
}

// mountFailure says it for the owner.
func mountFailure(p Pool, err error) string {
	switch {
	case errors.Is(err, unix.ENODEV):
		return "this image has no driver for " + p.Kind
	case p.Missing > 0:
		return fmt.Sprintf("%d of its disks are missing, and it cannot be read without them", p.Missing)
	case errors.Is(err, errSlow):
		return "its disks do not answer"
	}
	return fmt.Sprintf("its file system is damaged (%v): keep its disks as they are and ask for help", err)
}

func (m *Manager) setProblem(id, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if text == "" {
		delete(m.problems, id)
	} else {
		m.problems[id] = text
	}
}

// letGo takes a pool whose disks have gone out of the tree. Who has files of it open gets errors from them.
func (m *Manager) letGo(p Pool) {
	if err := unix.Unmount(p.Path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		m.log.Warn("a pool does not unmount", "pool", p.Name, "error", err)
	}
	_ = os.Remove(p.Path)
	m.mu.Lock()
	delete(m.mounts, p.UUID)
	m.mu.Unlock()
}

// Close writes everything out and unmounts the pools, for as long as that may take together. What is still in use becomes
// read-only, which is as good.
func (m *Manager) Close(limit time.Duration) error {
	m.mu.Lock()
	mounts := make(map[string]string, len(m.mounts))
	for id, at := range m.mounts {
		mounts[id] = at
	}
	m.mu.Unlock()
	done := make(chan error, len(mounts))
	for _, at := range mounts {
		go func() {
			err := unix.Unmount(at, 0)
			if errors.Is(err, unix.EBUSY) {
				err = unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_RDONLY|mountFlags, "")
				if err != nil {
					err = errors.Join(err, unix.Unmount(at, unix.MNT_DETACH))
				}
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", at, err)
			}
			done <- err
		}()
	}
	over := time.NewTimer(limit)
	defer over.Stop()
	var errs []error
	for range mounts {
		select {
		case err := <-done:
			errs = append(errs, err)
		case <-over.C:
			return errors.Join(append(errs, fmt.Errorf("pools are not unmounted within %v", limit))...)
		}
	}
	return errors.Join(errs...)
}

// measure fills in what a mounted pool says of itself. m.mu is held.
func (m *Manager) measure(p *Pool) {
	p.Path = m.mounts[p.UUID]
	p.Health = Good
	switch {
	case m.problems[p.UUID] != "":
		p.Health, p.Problem = Failed, m.problems[p.UUID]
	case p.copied:
		p.Health, p.Problem = Failed, "a copy of one of its disks is there too, and the two cannot be told apart: take the copy away"
	case p.Known && len(p.Disks) == 0:
		p.Health, p.Problem = Failed, "its disks are not there: look whether they are plugged in"
	case p.Missing > 0 && m.mounts[p.UUID] == "" && !m.awaited[p.UUID].IsZero():
		p.Health, p.Problem = Warning, fmt.Sprintf("%d of its disks are missing; it waits a moment for them", p.Missing)
	case p.Missing == 0 && m.lacking[p.UUID] && m.mounts[p.UUID] != "":
		p.Health, p.Problem = Warning, "it was mounted before all of its disks were there, and does not use the late one: restart the box"
	case p.Missing > 0:
		p.Health, p.Problem = Warning, fmt.Sprintf("%d of its disks are missing: what is on it is on the others alone; replace them", p.Missing)
	}
	if p.Path == "" || len(p.Disks) == 0 {
		return
	}
	var st unix.Statfs_t
	if err := unix.Statfs(p.Path, &st); err == nil {
		p.Total, p.Free = int64(st.Blocks)*st.Bsize, int64(st.Bavail)*st.Bsize
		if st.Flags&unix.ST_RDONLY != 0 {
			p.Health, p.Problem = Failed, "it has become read-only after an error: restart the box, and look at its disks' health"
		}
	}
	if p.Kind != "btrfs" {
		return
	}
	dir := filepath.Join(m.cfg.Sys, "fs/btrfs", p.UUID)
	if _, err := os.Stat(filepath.Join(dir, "allocation/data/raid1")); err == nil {
		p.Mirror = true
	}
	errorsSeen := int64(0)
	devices, _ := filepath.Glob(filepath.Join(dir, "devinfo/*/error_stats")) // the pattern is good
	for _, d := range devices {
		words := strings.Fields(attr(filepath.Dir(d), "error_stats"))
		for i := 1; i < len(words); i += 2 {
			n, _ := strconv.ParseInt(words[i], 10, 64)
			errorsSeen += n
		}
	}
	if errorsSeen > 0 && p.Health == Good {
		p.Health, p.Problem = Warning, fmt.Sprintf("its disks have made %d errors: look at their health", errorsSeen)
	}
}

// mounted says where a device is mounted in this namespace, as /proc has it; "" if it is not.
func mounted(path string) string {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if words := strings.Fields(s.Text()); len(words) > 1 && words[0] == path {
			return words[1]
		}
	}
	return ""
}

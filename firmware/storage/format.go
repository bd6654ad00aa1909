package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// minDisk is the least that btrfs makes a pool of without complaint.
const minDisk = 128 << 20

// A Choice is one disk as its owner saw it. Both have to be those of a disk that is there: names of the kernel's move, and
// a disk may be swapped between looking and saying yes.
type Choice struct{ Name, ID string }

// A Request asks for a new pool.
type Request struct {
	Name   string // of the pool, and of its folder
	Disks  []Choice
	Mirror bool // every byte on two disks
	Erase  bool // also what the disks hold is given up
}

// ErrHolds says that a disk holds something, and that nobody said to give it up.
var ErrHolds = errors.New("is not empty")

// Format makes a pool and mounts it. It returns when the request is refused, or when the work has begun: how that goes is
// in the State's Job. Canceling ctx stops it, and leaves the disks empty. One is made at a time.
func (m *Manager) Format(ctx context.Context, r Request) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.job != nil && !m.job.Done {
		return fmt.Errorf("the pool %s is being made; wait for it or stop it", m.job.Pool)
	}
	name, devices, err := m.accept(r)
	if err != nil {
		return err
	}
	ctx, m.stopJob = context.WithCancel(ctx)
	m.job = &Job{Pool: name, Step: "preparing"}
	m.publishLocked()
	go m.make(ctx, name, devices, r.Mirror)
	return nil
}

// StopFormat stops what Format began, if it still runs.
func (m *Manager) StopFormat() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopJob != nil {
		m.stopJob()
	}
}

// accept checks a request against what is there. The disks are looked at anew: m.mu is held.
func (m *Manager) accept(r Request) (name string, devices []string, err error) {
	if name, err = checkName(r.Name); err != nil {
		return "", nil, err
	}
	for _, p := range m.pools {
		if p.Name == name {
			return "", nil, fmt.Errorf("there is a pool called %s; choose another name", name)
		}
	}
	switch {
	case len(r.Disks) == 0:
		return "", nil, errors.New("choose a disk")
	case r.Mirror && len(r.Disks) < 2:
		return "", nil, errors.New("a mirror needs two disks or more")
	case !r.Mirror && len(r.Disks) > 1:
		return "", nil, errors.New("a pool of several disks has to be a mirror: without, one broken disk takes everything along")
	}
	now, err := scan(m.cfg)
	if err != nil {
		return "", nil, err
	}
	for i, choice := range r.Disks {
		if slices.Contains(r.Disks[:i], choice) {
			return "", nil, fmt.Errorf("the disk %s is chosen twice", choice.Name)
		}
		at := slices.IndexFunc(now, func(d device) bool { return d.Name == choice.Name })
		if at < 0 {
			return "", nil, fmt.Errorf("the disk %s is not there any more", choice.Name)
		}
		if err := m.formattable(now[at], choice, r.Erase); err != nil {
			return "", nil, fmt.Errorf("the disk %s %w", describe(now[at].Disk), err)
		}
		devices = append(devices, choice.Name)
	}
	return name, devices, nil
}

// describe is how an owner knows a disk.
func describe(d Disk) string {
	text := d.Name
	if d.Bay != "" {
		text = "in bay " + d.Bay
	}
	if d.Model != "" {
		text += " (" + d.Model + ")"
	}
	return text
}

func (m *Manager) formattable(d device, c Choice, erase bool) error {
	switch {
	case d.ID == "":
		return errors.New("has no serial number: it cannot be told from another, so it is not formatted")
	case d.ID != c.ID:
		return fmt.Errorf("is not the one that was chosen: it has the serial number %s, not %s", d.ID, printable(c.ID))
	case d.System:
		return errors.New("is the one that the box itself is on")
	case d.ReadOnly:
		return errors.New("is write-protected")
	case d.Bytes < minDisk:
		return fmt.Errorf("is too small; %d MiB are needed", minDisk>>20)
	}
	for _, p := range m.pools {
		if p.Path != "" && slices.Contains(p.Disks, d.Name) {
			return fmt.Errorf("belongs to the pool %s, which is in use", p.Name)
		}
	}
	for _, name := range append([]string{d.Name}, d.Parts...) {
		if at := mounted(filepath.Join(m.cfg.Dev, name)); at != "" {
			return fmt.Errorf("is in use, at %s", at)
		}
	}
	holds, err := m.holds(d)
	if err != nil {
		return fmt.Errorf("cannot be read (%w)", err)
	}
	if len(holds) > 0 && !erase {
		return fmt.Errorf("%w: it holds %s; say that it may be erased, or take another", ErrHolds, strings.Join(holds, " and "))
	}
	return nil
}

// holds looks at a disk and its partitions now.
func (m *Manager) holds(d device) (all []string, err error) {
	for _, name := range append([]string{d.Name}, d.Parts...) {
		c, err := m.look(name)
		if err != nil {
			return nil, err
		}
		if c.words != "" {
			all = append(all, c.words)
		}
	}
	return all, nil
}

// checkName takes a name that can be a folder, a label and an argument.
func checkName(name string) (string, error) {
	f := folder(name)
	if f == "" || f != strings.ToLower(name) || strings.HasPrefix(f, "-") || len(f) > 32 {
		return "", fmt.Errorf(`%q cannot be a pool's name: take a short word such as "data"`, printable(name))
	}
	return f, nil
}

// make does the work of Format, and says how it went.
func (m *Manager) make(ctx context.Context, name string, devices []string, mirror bool) {
	err := m.makePool(ctx, name, devices, mirror)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopJob()
	j := Job{Pool: name, Step: "ready", Percent: 100, Done: true}
	if err != nil {
		j.Step, j.Percent, j.Error = "stopped", m.job.Percent, failure(err)
		m.log.Error("a pool was not made", "pool", name, "disks", devices, "error", err)
	} else {
		m.log.Info("a pool was made", "pool", name, "disks", devices, "mirror", mirror)
	}
	m.job = &j
	m.publishLocked()
	m.rescan()
}

// failure says it for the owner.
func failure(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return "stopped, as you said; the disks are empty"
	case errors.Is(err, context.DeadlineExceeded):
		return "it took too long: a disk is very slow or broken; look at its health"
	case errors.Is(err, unix.EBUSY):
		return "a disk is in use by something else; restart the box and try again"
	case errors.Is(err, unix.EIO):
		return "a disk has errors; look at its health, and take another"
	case errors.Is(err, errNoProgram):
		return "this image cannot make pools (" + err.Error() + ")"
	}
	return err.Error()
}

func (m *Manager) step(text string, percent int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.job = &Job{Pool: m.job.Pool, Step: text, Percent: percent}
	m.publishLocked()
}

func (m *Manager) makePool(ctx context.Context, name string, devices []string, mirror bool) error {
	var paths []string
	for i, d := range devices {
		m.step("clearing "+d, 30*i/len(devices))
		path := filepath.Join(m.cfg.Dev, d)
		if err := clearDisk(ctx, path); err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
		paths = append(paths, path)
	}
	args := []string{"--quiet", "--label", name, "--csum", "xxhash", "--data", "single", "--metadata", "dup"}
	if mirror {
		args = []string{"--quiet", "--label", name, "--csum", "xxhash", "--data", "raid1", "--metadata", "raid1"}
	}
	m.step("making the file system", 30)
	if _, err := run(ctx, formatTime, "mkfs.btrfs", append(append(args, "--"), paths...)...); err != nil {
		for _, p := range paths { // half a pool is none
			if cerr := clearDisk(context.WithoutCancel(ctx), p); cerr != nil {
				err = errors.Join(err, cerr)
			}
		}
		return err
	}
	m.step("looking whether it is right", 80)
	found := map[string]bool{}
	for _, d := range devices {
		c, err := m.look(d)
		if err != nil {
			return err
		}
		if c.kind != "btrfs" || c.label != name || c.disks != uint64(len(devices)) {
			return fmt.Errorf("%s holds %q after it was formatted: the disk does not keep what is written to it", d, c.words)
		}
		found[c.uuid] = true
	}
	if len(found) != 1 {
		return errors.New("the disks do not belong together after they were formatted")
	}
	m.step("mounting it", 90)
	for id := range found {
		return m.adopt(ctx, id)
	}
	return nil
}

// clearDisk overwrites what says what a disk is, at both ends, with nobody else using it.
func clearDisk(ctx context.Context, path string) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0) // O_EXCL: not while it is mounted
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	for _, offset := range []int64{0, max(0, size-edge)} {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, err := f.WriteAt(make([]byte, min(edge, size)), offset); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// So that the kernel forgets partitions. A disk without any says no, and that is well.
	_ = unix.IoctlSetInt(fd, unix.BLKRRPART, 0)
	return nil
}

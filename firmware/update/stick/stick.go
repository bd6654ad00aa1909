// Package stick finds an update on a USB stick that was put in, says so, and installs it when the owner says yes.
//
// What a stranger may have put on a stick meets as little of the box as can be: of each partition one name in the root is
// looked up, and nothing is listed; it is mounted read-only and only for as long as that takes; no more than a manifest is
// read before its signature was right, and then no more than an update may have. Each look has a bound of time.
package stick

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/storage"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/watch"
	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/images/bundle"
)

// FileName is the one name that is looked for, in the root: as `make bundle` calls it.
func FileName(board string) string { return "postern-" + board + ".postern" }

const (
	// maxSticks and maxParts bound what is looked at.
	maxSticks, maxParts = 4, 8
	// maxBundle is what an update may have: an image, and what is in front of it.
	maxBundle = images.MaxUKI + bundle.MaxFeed
	// lookTime is how long a stick may take to be mounted and read at its beginning.
	lookTime = 30 * time.Second
	// takenOn is how long Install waits for a refusal before it leaves the rest to the status of the update.
	takenOn = 3 * time.Second
)

// Why nothing is installed.
var (
	ErrNone = errors.New("there is no update on a USB stick any more; put the stick in again")
	ErrGone = errors.New("the USB stick does not read, or was taken out")
	ErrBusy = errors.New("the USB stick is being read; try again in a minute")
)

// A State says what was found. The zero State is nothing.
type State struct {
	Device  string         // the kernel's name of the partition
	Release bundle.Release // zero: none that can be installed, because of
	Problem string         // a sentence for the owner; with a Release, why it was not installed
}

// A Config is what a Watcher works with.
type Config struct {
	Board  string
	Disks  *watch.Value[storage.State]
	Driver func(kind string) // loads a file system's driver; nil: the kernel has them
	Dev    string            // folder of device files; "" for /dev
	At     string            // folder to mount at; it is made

	// Examine says which release a bundle brings, or why that cannot be installed.
	Examine func(io.Reader) (bundle.Release, error)
	// Install installs a bundle if it brings that release.
	Install func(context.Context, io.Reader, bundle.Release) error
}

// A Watcher looks at sticks as they come. Use New.
type Watcher struct {
	State watch.Value[State]

	cfg  Config
	log  *slog.Logger
	seen []string // sticks that are there and were looked at
	one  sync.Mutex
}

// New returns a Watcher that does nothing until Run.
func New(cfg Config, log *slog.Logger) *Watcher {
	if cfg.Dev == "" {
		cfg.Dev = "/dev"
	}
	if cfg.Driver == nil {
		cfg.Driver = func(string) {}
	}
	return &Watcher{cfg: cfg, log: log}
}

// Run is the service. It waits until the storage tells of another disk.
func (w *Watcher) Run(ctx context.Context) error {
	supervise.Healthy(ctx)
	for version := uint64(0); ; {
		s, v, err := w.cfg.Disks.Wait(ctx, version)
		if err != nil {
			return nil
		}
		version = v
		w.look(ctx, parts(s))
	}
}

// parts are the partitions that may be a stick's, of disks that the box has no other use for. A stick need not have a
// table of partitions.
func parts(s storage.State) (all []string) {
	n := 0
	for _, d := range s.Disks {
		used := slices.ContainsFunc(s.Pools, func(p storage.Pool) bool { return p.UUID == d.Pool && d.Pool != "" && p.Known })
		if !d.USB && !d.Removable || d.System || used || n == maxSticks {
			continue
		}
		n++
		if len(d.Parts) == 0 {
			all = append(all, d.Name)
		}
		all = append(all, d.Parts[:min(len(d.Parts), maxParts)]...)
	}
	return all
}

// look looks at what has come, and forgets what has gone. The first update counts.
func (w *Watcher) look(ctx context.Context, now []string) {
	last, _ := w.State.Get()
	if last.Device != "" && !slices.Contains(now, last.Device) {
		w.log.Info("the USB stick with an update has gone", "device", last.Device)
		last = State{}
		w.State.Set(last)
		w.seen = nil // another one may be there still
	}
	w.seen = slices.DeleteFunc(w.seen, func(p string) bool { return !slices.Contains(now, p) })
	for _, device := range now {
		if slices.Contains(w.seen, device) || last.Release.Number > 0 || ctx.Err() != nil {
			continue
		}
		w.seen = append(w.seen, device)
		var found State
		err := within(ctx, lookTime, func() error {
			return w.with(device, func(f io.Reader) (err error) {
				found.Release, err = w.cfg.Examine(f)
				return err
			})
		})
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNoStick):
			continue
		case errors.Is(err, ErrBusy): // an update is being installed; there is another look
			w.seen = w.seen[:len(w.seen)-1]
			continue
		case err != nil:
			found = State{Problem: sentence(err)}
		}
		found.Device = device
		w.log.Info("an update lies on a USB stick", "device", device, "update", found.Release.String(), "problem", found.Problem)
		last = found
		w.State.Set(found)
	}
}

// within runs f for so long. What has not ended by then goes on, and what it has to say is lost.
func within(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ErrGone
	}
}

// sentence is a reason that can be shown: what was read of a stick is in none of them but as %q.
func sentence(err error) string {
	for _, gone := range []error{unix.EIO, unix.ENXIO, unix.ENODEV, unix.ENOMEDIUM, unix.EUCLEAN} {
		if errors.Is(err, gone) {
			return ErrGone.Error()
		}
	}
	return err.Error()
}

// Install installs what was found; the owner has said yes. It returns when that has failed, or has begun well: how it goes
// on is in the update's status and, if it fails, in the State.
func (w *Watcher) Install(ctx context.Context) error {
	found, _ := w.State.Get()
	if found.Release.Number == 0 {
		return ErrNone
	}
	ctx = context.WithoutCancel(ctx) // whoever has said yes may look away
	ended := make(chan error, 1)
	go func() {
		err := w.with(found.Device, func(f io.Reader) error { return w.cfg.Install(ctx, f, found.Release) })
		if err != nil {
			err = errors.New(sentence(err))
			w.log.Warn("the update on the USB stick is not installed", "error", err)
			if now, _ := w.State.Get(); now.Device == found.Device {
				now.Problem = err.Error()
				w.State.Set(now)
			}
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-time.After(takenOn):
		return nil
	}
}

// errNoStick: nothing that can be mounted.
var errNoStick = errors.New("no file system of a stick's")

// with mounts a partition, opens the file on it, calls f with no more of it than an update may have, and lets go of it.
func (w *Watcher) with(device string, f func(io.Reader) error) (err error) {
	if !w.one.TryLock() {
		return ErrBusy
	}
	defer w.one.Unlock()
	if err := os.MkdirAll(w.cfg.At, 0o700); err != nil {
		return err
	}
	if err := w.mount(filepath.Join(w.cfg.Dev, device)); err != nil {
		return err
	}
	defer func() {
		if err := unix.Unmount(w.cfg.At, 0); err != nil { // lazily then: it is read-only, and nothing of it can be lost
			w.log.Warn("a USB stick does not unmount", "device", device, "error", errors.Join(err, unix.Unmount(w.cfg.At, unix.MNT_DETACH)))
		}
	}()
	file, err := open(w.cfg.At, FileName(w.cfg.Board))
	if err != nil {
		return err
	}
	defer file.Close()
	return f(io.LimitReader(file, maxBundle))
}

// kinds are the file systems of sticks, with what the kernel is to do when one is damaged: a volume may ask for a panic.
// An ext4's journal is not replayed, for that would write.
var kinds = []struct{ name, options string }{
	{"vfat", "errors=remount-ro"}, {"exfat", "errors=remount-ro"}, {"ext4", "errors=remount-ro,noload"},
}

const mountFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_SILENT

func (w *Watcher) mount(device string) error {
	for _, k := range kinds {
		w.cfg.Driver(k.name)
		err := unix.Mount(device, w.cfg.At, k.name, mountFlags, k.options)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENODEV): // of another kind, or of none that this kernel knows
		case errors.Is(err, unix.EBUSY): // somebody has it
			return errNoStick
		default:
			w.log.Info("a USB stick does not mount", "device", device, "kind", k.name, "error", err)
			return errNoStick
		}
	}
	return errNoStick
}

// open opens a file in a folder: itself and no link, there and not on another volume, and neither a folder nor a device.
func open(dir, name string) (*os.File, error) {
	d, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(d)
	fd, err := unix.Openat2(d, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EACCES) {
		return nil, fmt.Errorf("%s on the USB stick is no file", name)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s on the USB stick is no file", name)
	case info.Size() > maxBundle:
		err = fmt.Errorf("%s on the USB stick has %d MiB: too large for an update", name, info.Size()>>20)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

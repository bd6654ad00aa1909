package keys

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// How long it takes until what may pass by itself is tried again: at first, and at most.
const (
	firstRetry = 2 * time.Second
	lastRetry  = 2 * time.Minute
)

// Wait opens the keys, however long that takes. What keeps them shut is logged and in State. It tries again when it was
// recovered from, when again says so, when a vault was put back or a TPM appears, and from time to time if it could be over
// by itself. It returns ctx's error.
func (r *Ring) Wait(ctx context.Context, again <-chan os.Signal) error {
	told := ""
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		appeared, stop := appears(ctx, r.path(vaultFile), r.o.Device)
		err := r.Open()
		if err == nil {
			stop()
			return nil
		}
		var p *Problem
		if !errors.As(err, &p) {
			stop()
			return err
		}
		if err.Error() != told {
			told = err.Error()
			r.log.Error("the server's keys are shut, and nothing is served", "trouble", string(p.Trouble), "error", err)
		}
		var retry <-chan time.Time
		if p.Passing() {
			retry = time.After(pause)
		}
		select {
		case <-ctx.Done():
			stop()
			return ctx.Err()
		case <-r.kick:
		case <-again:
			told = "" // who asks again wants to hear again
		case <-appeared:
		case <-retry:
		}
		stop()
	}
}

// Watch seals plain keys as soon as a TPM appears. It returns when they are sealed, or when that is not wanted, or when ctx
// is done.
func (r *Ring) Watch(ctx context.Context) {
	for {
		r.mu.Lock()
		waiting := r.open && r.where == OnDisk && r.o.Want == Auto && r.o.Device != ""
		r.mu.Unlock()
		if !waiting || ctx.Err() != nil {
			return
		}
		appeared, stop := appears(ctx, r.o.Device)
		if _, err := os.Stat(r.o.Device); err == nil && r.moveIn() {
			stop()
			return
		}
		select {
		case <-ctx.Done():
		case <-appeared:
		}
		stop()
	}
}

// moveIn seals what is in plain files.
func (r *Ring) moveIn() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	unlock, err := r.lock()
	if err == nil {
		defer unlock()
		err = r.found()
	}
	if err != nil {
		r.log.Error("a TPM is there, but the keys could not be sealed with it", "device", r.o.Device, "error", err)
		r.key, r.vault, r.secrets = nil, nil, nil
		return false
	}
	r.tell()
	return true
}

// appears tells when something happens to one of the files: it is made, renamed to, or gets other rights. The channel is
// nil if the system cannot say; stop ends it.
func appears(ctx context.Context, paths ...string) (<-chan struct{}, func()) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, func() {}
	}
	f := os.NewFile(uintptr(fd), "inotify")
	var names []string
	for _, p := range paths {
		if p == "" {
			continue
		}
		if _, err := unix.InotifyAddWatch(fd, filepath.Dir(p), unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ATTRIB); err == nil {
			names = append(names, filepath.Base(p))
		}
	}
	changed := make(chan struct{}, 1)
	go func() {
		b := make([]byte, 64*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
		for {
			n, err := f.Read(b)
			if err != nil {
				return // closed
			}
			for at := 0; at+unix.SizeofInotifyEvent <= n; {
				size := int(uint32(b[at+12]) | uint32(b[at+13])<<8 | uint32(b[at+14])<<16 | uint32(b[at+15])<<24)
				end := at + unix.SizeofInotifyEvent + size
				if end > n {
					break
				}
				name := strings.TrimRight(string(b[at+unix.SizeofInotifyEvent:end]), "\x00")
				if slices.Contains(names, name) {
					select {
					case changed <- struct{}{}:
					default:
					}
				}
				at = end
			}
		}
	}()
	unhook := context.AfterFunc(ctx, func() { _ = f.Close() })
	return changed, func() {
		unhook()
		_ = f.Close()
	}
}

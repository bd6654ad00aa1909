package boot

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// watchdogTimeout is how long the hardware waits for a sign of life before it resets the box. Not every chip counts as
	// far; they take what they can.
	watchdogTimeout = 60 * time.Second
	// bootGrace is how long a box may take until it serves before nobody feeds the watchdog any more, and unwellGrace how
	// long it may be unwell after that: much longer than a service takes to be started again.
	bootGrace, unwellGrace = 5 * time.Minute, 3 * time.Minute
)

// A watchdog is the hardware that resets a box that hangs. It is fed while the box is well, and not otherwise.
type watchdog struct {
	log *slog.Logger

	mu    sync.Mutex
	well  func() error // nil: it does not serve yet
	since time.Time    // when it began to be unwell
	why   error        // nil: it is well
	file  *os.File     // nil: there is no such hardware
}

// openWatchdog arms the hardware; there need be none. How long it waits is in the log.
func openWatchdog(path string, log *slog.Logger) *watchdog {
	w := &watchdog{log: log}
	w.watch(nil)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		log.Info("no watchdog: a box that hangs stays so until somebody looks", "error", err)
		return w
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, int(watchdogTimeout/time.Second)); err != nil {
		log.Warn("the watchdog keeps its own time", "error", err)
	}
	timeout, err := unix.IoctlGetInt(int(f.Fd()), unix.WDIOC_GETTIMEOUT)
	log.Info("watchdog", "seconds", timeout, "error", err)
	w.file = f
	return w
}

// run feeds it until ctx is done.
func (w *watchdog) run(ctx context.Context) {
	if w.file == nil {
		return
	}
	told := false
	tick := time.NewTicker(watchdogTimeout / 6)
	defer tick.Stop()
	for {
		why := w.hungry(time.Now())
		if why == nil {
			w.feed()
		} else if !told {
			w.log.Error("the box is unwell for too long; the watchdog resets it", "error", why)
		}
		told = why != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// watch says how the box does from now on. well is asked every ten seconds; nil begins the boot's time anew.
func (w *watchdog) watch(well func() error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.well = well; well == nil {
		w.since, w.why = time.Now(), fmt.Errorf("it has not begun to serve within %v", bootGrace)
	}
}

// hungry says why the watchdog is not to be fed; nil if it is.
func (w *watchdog) hungry(now time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	grace := bootGrace
	if w.well != nil {
		grace = unwellGrace
		before := w.why
		w.why = w.well()
		if w.why != nil && before == nil {
			w.since = now
		}
	}
	if w.why != nil && now.Sub(w.since) > grace {
		return w.why
	}
	return nil
}

// feed gives the sign of life.
func (w *watchdog) feed() {
	if w.file == nil {
		return
	}
	if _, err := w.file.Write([]byte{0}); err != nil {
		w.log.Warn("the watchdog", "error", err)
	}
}

// close ends it. Before a restart the hardware stays armed, so that it also watches over what starts next; before the
// power goes off it is told to stop ("V", Linux, Documentation/watchdog/watchdog-api.rst), else some boards come back.
func (w *watchdog) close(restart bool) {
	if w.file == nil {
		return
	}
	w.feed()
	if !restart {
		if _, err := w.file.WriteString("V"); err != nil {
			w.log.Warn("the watchdog", "error", err)
		}
		w.file.Close()
	}
}

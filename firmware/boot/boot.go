// Package boot is what postern does as the first process of a box: it mounts what Linux offers, loads the drivers that
// the image brought, finds its state, asks for an address, and then runs the same server as on a laptop, until the power
// button or an error ends it. Nothing that is absent or slow keeps it from trying: every wait has a bound, and what came
// of it is on the console.
//
// It relies on the kernel's devtmpfs, and on an initramfs as tools/mkimage writes it. There is no other process on the
// box, so there are no orphans to reap.
package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long to wait for what may never come.
const (
	stateWait = 30 * time.Second // disks on slow buses have been seen to take ten
	tpmWait   = 5 * time.Second  // its driver tests the chip first
	leaseWait = 10 * time.Second // it goes on without one, and asks again by itself
)

// A Box is what the server needs to know of the machine.
type Box struct {
	State string // folder of all that outlives a restart
	Demo  bool   // the image is one to try: make a user and print how to connect
}

// IsInit says whether this process is the first of a box, and not of a container.
func IsInit() bool { return os.Getpid() == 1 && os.Args[0] == "/init" }

// Main brings the box up, runs serve until it is time to stop, and turns the machine off or starts it again. It does not
// return.
func Main(serve func(context.Context, Box) error, logs io.Writer) {
	log := slog.New(slog.NewTextHandler(logs, nil))
	ctx, off := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		s := <-signals
		log.Info("stopping", "signal", s)
		if s == syscall.SIGINT { // the kernel's answer to Ctrl-Alt-Del
			off(errRestart)
		}
		off(errPowerOff)
	}()
	err := up(ctx, func() { off(errPowerOff) }, serve, log)
	if err != nil && ctx.Err() == nil {
		// To start again would only come here again. Whoever reads this turns it off, or takes the power away.
		log.Error("the box does not serve; the power button turns it off", "error", err)
		<-ctx.Done()
	}
	down(log, errors.Is(context.Cause(ctx), errRestart))
}

var (
	errPowerOff = errors.New("power off")
	errRestart  = errors.New("restart")
)

// up does everything in order. powerOff is called when the owner asks for it.
func up(ctx context.Context, powerOff func(), serve func(context.Context, Box) error, log *slog.Logger) error {
	if err := mountKernel(); err != nil {
		return err
	}
	raiseLimits("/proc/sys", log)
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	demo := flagged(string(line), "postern.demo")
	// Open before the drivers are loaded, so that nothing that they announce is missed.
	events, err := openEvents()
	if err != nil {
		return err
	}
	defer events.Close()
	if err := loadModules("/lib/modules", log); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("postern")); err != nil {
		log.Warn("host name", "error", err)
	}
	go powerButton("/dev/input", powerOff, log)

	ready := network(ctx, log)
	if err := mountState(ctx, events, log); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if err := events.wait(ctx, tpmWait, func() bool { return exists("/dev/tpmrm0") }); err != nil {
		log.Warn("no TPM", "error", err)
	} else {
		logPCRs(os.DirFS("/sys"), log)
	}
	select {
	case <-ready:
	case <-time.After(leaseWait):
		log.Warn("no address yet; serving all the same")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	log.Info("up", "uptime", uptime(), "clock", time.Now().UTC().Format(time.RFC3339))
	return serve(ctx, Box{State: stateDir, Demo: demo})
}

// flagged says whether the kernel's command line has the word.
func flagged(line, word string) bool {
	for _, w := range strings.Fields(line) {
		if w == word {
			return true
		}
	}
	return false
}

// down ends everything in order. What cannot be ended is told and left.
func down(log *slog.Logger, restart bool) {
	log.Info("stopping", "peak_memory", procLine("/proc/self/status", "VmHWM"), "all_memory", procLine("/proc/meminfo", "MemTotal"),
		"available_memory", procLine("/proc/meminfo", "MemAvailable"), "uptime", uptime())
	// Read-only is as good as unmounted: all is written and the journal empty. The server's folders are still open here.
	err := unix.Mount("", stateDir, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil && !errors.Is(err, unix.EINVAL) { // not mounted
		log.Error("the state is not read-only", "error", err)
	}
	unix.Sync()
	how := unix.LINUX_REBOOT_CMD_POWER_OFF
	if restart {
		how = unix.LINUX_REBOOT_CMD_RESTART
	}
	log.Error("the machine does not stop", "error", unix.Reboot(how))
	select {}
}

// uptime is how long the kernel runs.
func uptime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano()).Round(time.Millisecond)
}

// procLine is what a file of lines "name: value" says of name; "" if nothing.
func procLine(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

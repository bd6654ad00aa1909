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

	"github.com/postern-nas/postern/firmware/boot/clock"
	"github.com/postern-nas/postern/firmware/boot/steps"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/network"
	"github.com/postern-nas/postern/firmware/network/firewall"
	"github.com/postern-nas/postern/firmware/storage"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/images"
)

// How long to wait for what may never come.
const (
	stateWait = 30 * time.Second // disks on slow buses have been seen to take ten
	tpmWait   = 5 * time.Second  // its driver tests the chip first
	leaseWait = 10 * time.Second // only to say the address; it listens before it has one
	disksWait = 20 * time.Second // a pool with a long journal takes longer, and comes by itself
	clockWait = 3 * time.Second  // only at the first start, and where there is no battery clock
)

// A Box is what the server needs to know of the machine. Network, Clock and Disks say at any time how they do.
type Box struct {
	State string // folder of all that outlives a restart
	Kept  bool   // it does; false: memory stands in
	Open  bool   // there is no firewall, so what cannot guard itself is not to be served
	Demo  bool   // the image is one to try: make a user and print how to connect

	Network  *network.Manager
	Clock    *clock.Clock
	Disks    *storage.Manager
	Crash    *Crash       // what the kernel said before it stopped by itself, before this start; nil: it did not
	Troubles []string     // of this start, a sentence each, for the owner
	Steps    *steps.Steps // of this start
	// Drivers is closed when those are loaded, too, that a box needs for its file systems and not to listen.
	Drivers <-chan struct{}

	// Driver loads the driver of a kind of file system, if the image carries one.
	Driver func(kind string)
	// Watch tells the hardware's watchdog whom to ask how the server does, from now on. A box that is unwell for minutes
	// is started again. nil: the server is starting, and has as long for that as at the boot.
	Watch func(well func() error)
	// PowerOff and Restart end the server in order, and then the machine's run.
	PowerOff, Restart func()
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
	m := &machine{log: log, powerOff: func() { off(errPowerOff) }, restart: func() { off(errRestart) }}
	err := m.up(ctx, serve)
	if err != nil && ctx.Err() == nil {
		// To start again would only come here again. Whoever reads this turns it off, or takes the power away. The watchdog
		// tries a restart first, if there is one: it is not told that all is well.
		log.Error("the box does not serve; the power button turns it off", "error", err)
		<-ctx.Done()
	}
	m.down(errors.Is(context.Cause(ctx), errRestart))
}

var (
	errPowerOff = errors.New("power off")
	errRestart  = errors.New("restart")
)

// A machine is what boot holds on to.
type machine struct {
	log               *slog.Logger
	powerOff, restart func()

	watchdog *watchdog // nil: not looked for yet
	clock    *clock.Clock
	disks    *storage.Manager
	idle     func() // stops what runs beside the server; nil: nothing does
}

// up does everything in order, serves, and returns when that ends.
func (m *machine) up(ctx context.Context, serve func(context.Context, Box) error) error {
	log := m.log
	if err := mountKernel(); err != nil {
		return err
	}
	start := steps.New(steps.Began("/dev/kmsg"))
	sealRoot(log)
	start.Done("mounts")
	raiseLimits("/proc/sys", log)
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	// Open before the drivers are loaded, so that nothing that they announce is missed.
	events, err := openEvents()
	if err != nil {
		return err
	}
	defer events.Close()
	drivers := openDrivers("/lib/modules", log)
	first, late, err := moduleFiles("/lib/modules", drivers.aliases())
	if err != nil {
		return err
	}
	loadModules(first, log)
	start.Done("modules")
	drivers.plug("/sys")
	start.Done("drivers")
	m.watchdog = openWatchdog("/dev/watchdog", log)
	fed, starve := context.WithCancel(context.WithoutCancel(ctx))
	defer starve() // down feeds it a last time
	go m.watchdog.run(fed)
	go runShell("/dev/console", log)
	go powerButton("/dev/input", m.powerOff, log)

	box := Box{
		State: stateDir, Demo: flagged(string(line), "postern.demo"), Driver: drivers.filesystem, Watch: m.watchdog.watch,
		PowerOff: m.powerOff, Restart: m.restart, Steps: start,
	}
	trouble := func(text string) {
		if text != "" {
			box.Troubles = append(box.Troubles, text)
		}
	}
	text := shutOut(log)
	box.Open = text != ""
	trouble(text)
	start.Done("firewall")
	if box.Kept, text, err = mountState(ctx, events, log); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	trouble(text)
	if box.Kept {
		trouble(makeRoom(stateDir, log))
	}
	if err := mixSeed(stateDir, "/dev/urandom"); err != nil {
		log.Warn("randomness", "error", err)
	}
	start.Done("state")
	cfg := config.LoadBox(stateDir)
	if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
		log.Warn("host name", "error", err)
	}
	m.clock = clock.Open(clock.Config{Dir: stateDir, Servers: cfg.TimeServers}, log)
	if box.Crash = collectCrash("/sys/fs/pstore", stateDir, time.Now(), log); box.Crash != nil {
		trouble("the box stopped by itself and has started again; what it said last is among the logs")
	}
	box.Clock, box.Network = m.clock, network.New(networkConfig(cfg), log)
	m.disks = storage.New(storage.Config{
		Dir: stateDir, CheckEvery: time.Duration(cfg.CheckMinutes) * time.Minute, WarnCelsius: cfg.WarnCelsius,
		Driver: drivers.filesystem,
	}, log)
	box.Disks = m.disks
	box.Drivers = m.loadLate(late, start.Over())
	m.idle = m.beside(box)
	go tellMemory(ctx, start.Over(), log)

	if err := events.wait(ctx, tpmWait, func() bool { return exists("/dev/tpmrm0") }); err != nil {
		log.Warn("no TPM", "error", err)
	} else {
		logPCRs(os.DirFS("/sys"), log)
	}
	start.Done("tpm")
	if s, _ := m.clock.State.Get(); s.Trust == clock.Guessed && !s.Seen { // a first certificate of the wrong year helps nobody
		if err := await(ctx, clockWait, m.clock.Settled()); err != nil {
			return err
		}
	}
	log.Info("up", "uptime", steps.Uptime(), "clock", time.Now().UTC().Format(time.RFC3339))
	return serve(ctx, box)
}

// shutOut lets nobody in, before there is a network; the server opens what it serves. Without a firewall it says what the
// owner should know, one sentence.
func shutOut(log *slog.Logger) (trouble string) {
	err := firewall.Apply(firewall.Rules(firewall.Config{}))
	if err == nil {
		return ""
	}
	log.Error("no firewall", "error", err)
	return "the firewall does not work: until it does, there is no SMB over TCP, and the box tells nobody its name; " +
		"files over QUIC and the page guard themselves"
}

// AwaitPools waits for the pools that the owner has named to be mounted, or to have failed to be: their shares should be
// there from the first moment for clients that come back to files they had open. Without pools there is nothing to wait for.
func (b *Box) AwaitPools(ctx context.Context) {
	if b.Disks.Expects() {
		_ = await(ctx, disksWait, b.Disks.Ready())
	}
}

// AwaitAddress waits for an address that people use, for what names it to them. A box serves without.
func (b *Box) AwaitAddress(ctx context.Context, log *slog.Logger) {
	if await(ctx, leaseWait, b.Network.Ready()) == nil && len(b.network().Addresses()) == 0 {
		log.Warn("no address yet; serving all the same")
	}
}

// await waits for done, a while. Only ctx's end is an error.
func await(ctx context.Context, limit time.Duration, done <-chan struct{}) error {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// loadLate loads drivers when the box listens, or at once where it waits for pools. done is closed then.
func (m *machine) loadLate(files []string, listens <-chan struct{}) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		if !m.disks.Expects() {
			_ = await(context.Background(), lateAfter, listens)
		}
		loadModules(files, m.log)
	}()
	return done
}

// beside runs what the box does beside serving, and returns what stops it.
func (m *machine) beside(box Box) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	services := supervise.Group{Log: m.log}
	services.Add("network", box.Network.Run)
	services.Add("clock", m.clock.Run)
	services.Add("disks", func(ctx context.Context) error {
		select {
		case <-box.Drivers:
			return m.disks.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	services.Add("time servers", func(ctx context.Context) error {
		supervise.Healthy(ctx)
		for version := uint64(0); ; {
			s, v, err := box.Network.State.Wait(ctx, version)
			if err != nil {
				return nil
			}
			version = v
			m.clock.Found(s.NTP())
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := services.Run(ctx); err != nil {
			m.log.Error("stopping", "error", err)
		}
	}()
	return func() { cancel(); <-done }
}

func (b Box) network() network.State {
	s, _ := b.Network.State.Get()
	return s
}

func networkConfig(b config.BoxFile) network.Config {
	c := network.Config{Hostname: b.Hostname, Resolv: images.ResolverFile}
	for _, p := range b.Ports {
		c.Ports = append(c.Ports, network.PortConfig(p))
	}
	return c
}

// idleAfter is how long after its start a box tells what memory it takes: when what only the start needed is free again.
const idleAfter = time.Minute

// tellMemory does so once.
func tellMemory(ctx context.Context, listens <-chan struct{}, log *slog.Logger) {
	select {
	case <-listens:
	case <-ctx.Done():
		return
	}
	select {
	case <-time.After(idleAfter):
		log.Info("memory", "postern", procLine("/proc/self/status", "VmRSS"), "of_it_anonymous", procLine("/proc/self/status", "RssAnon"),
			"machine", procLine("/proc/meminfo", "MemTotal"), "available", procLine("/proc/meminfo", "MemAvailable"))
	case <-ctx.Done():
	}
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
func (m *machine) down(restart bool) {
	log := m.log
	log.Info("stopping", "peak_memory", procLine("/proc/self/status", "VmHWM"), "all_memory", procLine("/proc/meminfo", "MemTotal"),
		"available_memory", procLine("/proc/meminfo", "MemAvailable"), "uptime", steps.Uptime())
	if m.idle != nil {
		m.idle() // also keeps the time
	}
	if m.disks != nil {
		if err := m.disks.Close(disksWait); err != nil {
			log.Error("pools", "error", err)
		}
	}
	// Read-only is as good as unmounted: all is written and the journal empty. The server's folders are still open here.
	err := unix.Mount("", stateDir, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil && !errors.Is(err, unix.EINVAL) { // not mounted
		log.Error("the state is not read-only", "error", err)
	}
	unix.Sync()
	if m.watchdog != nil {
		m.watchdog.close(restart)
	}
	how := unix.LINUX_REBOOT_CMD_POWER_OFF
	if restart {
		how = unix.LINUX_REBOOT_CMD_RESTART
	}
	log.Error("the machine does not stop", "error", unix.Reboot(how))
	select {}
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

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/audit"
	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/observe"
	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/firmware/update/slot"
	"github.com/postern-nas/postern/firmware/update/stick"
	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/images/bundle"
	"github.com/postern-nas/postern/tpm"
	"github.com/postern-nas/postern/ui"
)

// Where a box has its boot partition and a USB stick while they are needed, and its firmware's variables.
const (
	bootMount    = "/run/boot"
	stickMount   = "/run/stick"
	firmwareVars = "/sys/firmware/efi/efivars"
	bootIDFile   = "/proc/sys/kernel/random/boot_id"
)

// runningRelease is what the image whose root is at root calls itself.
func runningRelease(root string) (r bundle.Release, err error) {
	text, err := os.ReadFile(filepath.Join(root, update.ReleaseFile))
	if err == nil {
		r, err = bundle.ParseRelease(text)
	}
	if err != nil {
		return r, fmt.Errorf("the image does not say what it is: %w", err)
	}
	return r, nil
}

// boxUpdates is the updater of the box whose root is at root, before anything else of the server runs.
func boxUpdates(root, stateDir string, log *slog.Logger) (update.Options, error) {
	o := update.Options{Dir: stateDir, Log: log, Waits: true}
	var err error
	if o.Running, err = runningRelease(root); err != nil {
		return o, err
	}
	text, err := os.ReadFile(filepath.Join(root, update.KeysFile))
	if err == nil {
		o.Trusted, err = bundle.ParseKeys(string(text))
	}
	if err != nil {
		return o, fmt.Errorf("the image does not say whose updates it takes: %w", err)
	}
	board, ok := images.FindBoard(o.Running.Board)
	partition := bootPartition(stateDir)
	switch {
	case !ok:
		return o, fmt.Errorf("the image is for a board %q, which there is none of", o.Running.Board)
	case board.Script:
		o.Slots = slot.NewScript(partition, images.UBootFolder, firmwareVars)
	case board.Loader:
		o.Slots = slot.NewLoader(partition, images.SlotFolder, firmwareVars)
	}
	if id, err := os.ReadFile(bootIDFile); err == nil {
		o.Boot = strings.TrimSpace(string(id))
	}
	return o, nil
}

func bootPartition(stateDir string) slot.Partition {
	return slot.Partition{State: stateDir, At: bootMount}
}

// bootUpdates opens the updater of a box, and what looks for updates on sticks, and runs them beside the server, from now
// until ctx is done.
func bootUpdates(ctx context.Context, b boot.Box, log *slog.Logger) (*update.Updater, *stick.Watcher, error) {
	o, err := boxUpdates("/", b.State, log)
	if err != nil {
		return nil, nil, err
	}
	// Its driver is a module, so it is not among the first mounts. Without it there is no telling which slot runs, but on
	// boards whose firmware has no variables that is so anyway.
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY
	if err := unix.Mount("efivarfs", firmwareVars, "efivarfs", flags, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		log.Info("no variables of the firmware's", "error", err)
	}
	if lacksApproval(b.State, o.Running.Number) {
		for _, module := range bootDrivers { // which are not loaded yet: a box listens first
			b.Driver(module)
		}
		if err := bootApprovals(bootPartition(b.State), b.State); err != nil { // before the updater mounts it
			log.Error("what the release key has approved of cannot be read from the boot partition", "error", err)
		}
	}
	o.Restart, o.Crash = b.Restart, func() string { return lastWords(b.Crash) }
	u, err := update.Open(o)
	if err != nil {
		return nil, nil, err
	}
	sticks := stick.New(stick.Config{
		Board: o.Running.Board, Disks: &b.Disks.State, Driver: b.Driver, At: stickMount, Examine: u.Examine, Install: u.InstallExamined,
	}, log)
	g := supervise.Group{Log: log}
	g.Add("update", u.Run)
	g.Add("sticks", sticks.Run)
	go func() {
		select {
		case <-b.Drivers: // the boot partition's file system is among them
			_ = g.Run(ctx)
		case <-ctx.Done():
		}
	}()
	return u, sticks, nil
}

// lastWords is the line of a crash that says most.
func lastWords(c *boot.Crash) string {
	if c == nil {
		return ""
	}
	last := ""
	for line := range strings.Lines(c.Text) {
		if strings.Contains(line, "Kernel panic") {
			return line
		}
		if strings.TrimSpace(line) != "" {
			last = line
		}
	}
	return last
}

// joinUpdates gives the updater what it needs of the server, now that it runs.
func joinUpdates(u *update.Updater, dir string, cfg *config.Config, ring *keys.Ring, check *selfCheck) {
	u.Join(func(o *update.Options) {
		o.Config = update.Config(cfg.Update)
		o.Healthy = check.check
		if s, _ := ring.State().Get(); s.Where == keys.Sealed || s.Where == keys.Resident {
			o.Floor = ring
		}
		o.Prepare = func(_ context.Context, m bundle.Manifest) error { return prepare(dir, ring, m) }
		o.Good = ring.Reseal
	})
}

// prepare lets the system that an update brings open the keys.
func prepare(dir string, ring *keys.Ring, m bundle.Manifest) error {
	if len(m.Approvals) > 0 {
		if err := keys.AddApprovals(filepath.Join(dir, keys.ApprovalsFile), m.Approvals); err != nil {
			return err
		}
	}
	if s, _ := ring.State().Get(); s.Where == keys.OnDisk || s.Binding == keys.ToChip {
		return nil // nothing is bound to what was measured
	}
	board, _ := images.FindBoard(m.Board)
	chain := bundle.ChainEDK2
	switch {
	case board.Script:
		chain = bundle.ChainUBoot
	case board.Loader:
		chain = bundle.ChainLoader
	}
	pcrs := tpm.PCRs{12: {}} // nothing overrides the command line
	for i, text := range m.Foretold(chain, ownTree()) {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != 32 {
			return fmt.Errorf("the update foretells %q for PCR %d", text, i)
		}
		pcrs[i] = [32]byte(b)
	}
	return ring.Allow(m.Number, pcrs)
}

// treeFile is where Linux shows the names that the machine's device tree calls itself, each with a zero behind it, the most
// exact first. There is none where the firmware brings ACPI.
const treeFile = "/sys/firmware/devicetree/base/compatible"

// ownTree is the first of them. It is the one that the image's stub has chosen its tree by (systemd-stub(7), .dtbauto).
func ownTree() string {
	b, err := os.ReadFile(treeFile)
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(string(b), "\x00")
	return name
}

// bootDrivers are the modules that mount the boot partition.
var bootDrivers = []string{"vfat", "nls_ascii", "nls_cp437"}

// lacksApproval says whether the image has a release key, and the state nothing of what that says of the release: so it is
// at a box's first start, and when its image was put on the disk by hand.
func lacksApproval(stateDir string, number uint64) bool {
	if _, err := os.Stat(keys.ReleaseFile); err != nil {
		return false
	}
	list, err := keys.ApprovalsIn(filepath.Join(stateDir, keys.ApprovalsFile))()
	return err != nil || !slices.ContainsFunc(list, func(a tpm.Approval) bool { return a.Number == number })
}

// bootApprovals keeps what the release key has approved of beside the image on the boot partition. There need be nothing.
func bootApprovals(place slot.Place, stateDir string) error {
	root, done, err := place.Open(false)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(root, images.ApprovalsFile))
	if err = errors.Join(err, done()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return keys.AddApprovals(filepath.Join(stateDir, keys.ApprovalsFile), b)
}

// pageUpdates is the updater as the page has it.
type pageUpdates struct{ *update.Updater }

// RolledBack implements web.Updates.
func (p pageUpdates) RolledBack() (version, why string) {
	if s, _ := p.Status.Get(); !s.Last.Good && !s.Last.Time.IsZero() {
		return s.Last.Release.String(), s.Last.Why
	}
	return "", ""
}

// tell puts what panel and page show into their picture of the world.
func (p pageUpdates) tell(s *ui.State) {
	now, _ := p.Status.Get()
	switch now.Phase {
	case update.Idle:
		if now.Offered.Number > 0 {
			s.Update = &ui.Update{Version: now.Offered.Version}
		}
	default:
		s.Update = &ui.Update{Version: now.Next.Version, Percent: max(1, now.Percent)}
	}
	alarm := func(id, text, advice string) {
		s.Alarms = append(s.Alarms, ui.Alarm{ID: id, Kind: ui.AlarmUpdate, Health: ui.Warning, Text: text, Advice: advice})
	}
	switch version, why := p.RolledBack(); {
	case now.Phase == update.Ready:
		alarm("update ready", "Update "+now.Next.Version+" is ready", "Restart the box to try it.")
	case version != "" && now.Phase == update.Idle && time.Since(now.Last.Time) < rolledBackTold:
		alarm("update rolled back", "Update "+version+" was rolled back", why)
	}
}

// tellStick puts an update on a USB stick into the picture, until it is being installed.
func tellStick(sticks *stick.Watcher, u *update.Updater) func(*ui.State) {
	return func(s *ui.State) {
		found, _ := sticks.State.Get()
		now, _ := u.Status.Get()
		if found.Device != "" && now.Phase == update.Idle {
			s.Stick = &ui.Stick{Version: found.Release.Version, Problem: found.Problem}
		}
	}
}

// rolledBackTold is how long panel and page speak of an update that came to nothing.
const rolledBackTold = 7 * 24 * time.Hour

// updateInstall runs `postern update install`: by the server that runs, else by itself.
func (r *remote) updateInstall(file string) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	err = r.ask(r.ctx, "/update/install", ask{ID: path}, new(struct{}))
	if errors.Is(err, errNotRunning) {
		err = r.atRest(func(ring *keys.Ring, cfg *config.Config) error { return r.installAtRest(ring, cfg, path) })
	}
	if err != nil || r.json {
		return errors.Join(err, r.showIf(err == nil, struct{}{}))
	}
	fmt.Fprintln(r.out, "The update is ready. The next restart boots it, on trial.")
	return nil
}

// installAtRest installs an update without a server.
func (r *remote) installAtRest(ring *keys.Ring, cfg *config.Config, path string) error {
	u, _, err := commandUpdates(r.o, ring, cfg, r.errs)
	if err != nil {
		return err
	}
	var unwritten error
	u.Tell(func(ctx context.Context, e update.Event) { unwritten = updatedAtRest(ctx, r.o.state, cfg, e) })
	err = u.InstallFile(context.WithValue(r.ctx, commandKey{}, true), path)
	return errors.Join(err, unwritten)
}

// updatedAtRest writes an event into the audit log of a server that does not run, and keeps it from starting meanwhile.
func updatedAtRest(ctx context.Context, dir string, cfg *config.Config, e update.Event) error {
	unlock, err := state.Lock(dir, stateLock, false)
	if err != nil {
		return err
	}
	defer unlock()
	book, err := audit.Open(audit.Config{Dir: auditDir(dir), Size: cfg.Audit.FileSize, Files: cfg.Audit.Files})
	if err != nil {
		return err
	}
	(&door{audit: book}).updated(ctx, e)
	return book.Close()
}

// commandUpdates is the updater of a command.
func commandUpdates(o options, ring *keys.Ring, cfg *config.Config, errs io.Writer) (*update.Updater, update.Options, error) {
	log := slog.New(observe.Handler(errs, slog.LevelWarn, observe.Text))
	opts, err := boxUpdates("/", o.state, log)
	if err != nil { // no box
		opts = update.Options{Dir: o.state, Log: log}
	}
	u, err := update.Open(opts)
	if err == nil {
		joinUpdates(u, o.state, cfg, ring, &selfCheck{ring: ring})
	}
	return u, opts, err
}

// updateCommand runs `postern update check` and `postern update status`.
func updateCommand(o options, verb string, inJSON bool, out, errs io.Writer) error {
	ring, cfg, err := openKeys(o, errs)
	if err != nil {
		return err
	}
	defer ring.Close()
	u, opts, err := commandUpdates(o, ring, cfg, errs)
	if err != nil {
		return err
	}
	ctx := context.Background()
	switch verb {
	case "check":
		offer, newer, err := u.Check(ctx)
		if err != nil {
			return err
		}
		if inJSON {
			found := map[string]any{"newer": newer}
			if newer {
				found["release"], found["bytes"], found["url"] = fmt.Sprint(offer.Release), offer.Size, offer.URL
			}
			return asJSON(out, found)
		}
		if !newer {
			fmt.Fprintln(out, "Nothing newer.")
			return nil
		}
		fmt.Fprintf(out, "There is %s, %d MiB: %s\n", offer.Release, offer.Size>>20, offer.URL)
		return nil
	case "status":
		s, _ := u.Status.Get()
		if opts.Slots == nil {
			return update.ErrNoBox
		}
		st, err := opts.Slots.Status()
		if err != nil {
			return err
		}
		if inJSON {
			return asJSON(out, map[string]any{
				"running": fmt.Sprint(s.Running), "board": s.Running.Board, "last": fmt.Sprint(s.Last), "slot": fmt.Sprint(st.Running),
				"trial": st.Trial, "waiting": fmt.Sprint(st.Waiting),
			})
		}
		fmt.Fprintf(out, "running  %s, for %s\nlast     %s\n", s.Running, s.Running.Board, s.Last)
		fmt.Fprintf(out, "slot     %s%s\n", st.Running, map[bool]string{true: ", on trial"}[st.Trial])
		if st.Waiting != "" {
			fmt.Fprintf(out, "waiting  %s, for a restart\n", st.Waiting)
		}
		return nil
	}
	return errUsage(fmt.Sprintf("update %s is no command", verb))
}

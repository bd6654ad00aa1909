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
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/observe"
	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/firmware/update/slot"
	"github.com/postern-nas/postern/images"
	"github.com/postern-nas/postern/images/bundle"
	"github.com/postern-nas/postern/tpm"
	"github.com/postern-nas/postern/ui"
)

// Where a box has its boot partition while it is needed, and its firmware's variables.
const (
	bootMount     = "/run/boot"
	firmwareVars  = "/sys/firmware/efi/efivars"
	bootIDFile    = "/proc/sys/kernel/random/boot_id"
	maxApprovals  = 64 << 10
	approvalsKept = 12
)

// boxUpdates is the updater of the box whose root is at root, before anything else of the server runs.
func boxUpdates(root, stateDir string, log *slog.Logger) (update.Options, error) {
	o := update.Options{Dir: stateDir, Log: log, Waits: true}
	text, err := os.ReadFile(filepath.Join(root, update.ReleaseFile))
	if err == nil {
		o.Running, err = bundle.ParseRelease(text)
	}
	if err != nil {
		return o, fmt.Errorf("the image does not say what it is: %w", err)
	}
	if text, err = os.ReadFile(filepath.Join(root, update.KeysFile)); err == nil {
		o.Trusted, err = bundle.ParseKeys(string(text))
	}
	if err != nil {
		return o, fmt.Errorf("the image does not say whose updates it takes: %w", err)
	}
	board, ok := images.FindBoard(o.Running.Board)
	partition := slot.Partition{State: stateDir, At: bootMount}
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

// bootUpdates opens the updater of a box and runs it beside the server, from now until ctx is done.
func bootUpdates(ctx context.Context, b boot.Box, log *slog.Logger) (*update.Updater, error) {
	o, err := boxUpdates("/", b.State, log)
	if err != nil {
		return nil, err
	}
	// Its driver is a module, so it is not among the first mounts. Without it there is no telling which slot runs, but on
	// boards whose firmware has no variables that is so anyway.
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY
	if err := unix.Mount("efivarfs", firmwareVars, "efivarfs", flags, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		log.Info("no variables of the firmware's", "error", err)
	}
	o.Restart, o.Crash = b.Restart, func() string { return lastWords(b.Crash) }
	u, err := update.Open(o)
	if err != nil {
		return nil, err
	}
	g := supervise.Group{Log: log}
	g.Add("update", u.Run)
	go func() {
		select {
		case <-b.Drivers: // the boot partition's file system is among them
			_ = g.Run(ctx)
		case <-ctx.Done():
		}
	}()
	return u, nil
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
		if err := addApprovals(filepath.Join(dir, keys.ApprovalsFile), m.Approvals); err != nil {
			return err
		}
	}
	if s, _ := ring.State().Get(); s.Where == keys.OnDisk || s.Binding != keys.ToBoot {
		return nil // nothing is bound to what was measured, or the release key has approved of it
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
	for i, text := range m.Measured[chain] {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != 32 {
			return fmt.Errorf("the update foretells %q for PCR %d", text, i)
		}
		pcrs[i] = [32]byte(b)
	}
	return ring.Allow(pcrs)
}

// addApprovals puts approvals into the file beside those of the running system, which may be needed again.
func addApprovals(path string, more []byte) error {
	list, err := keys.ParseApprovals(more)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err == nil && len(text) <= maxApprovals {
		if old, err := keys.ParseApprovals(text); err == nil {
			list = append(old[max(0, len(old)-approvalsKept):], list...)
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if text, err = keys.MarshalApprovals(list); err != nil {
		return err
	}
	return state.Write(path, text, 0o600)
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

// rolledBackTold is how long panel and page speak of an update that came to nothing.
const rolledBackTold = 7 * 24 * time.Hour

// updateCommand runs `postern update ...`.
func updateCommand(o options, words []string, inJSON bool, out, errs io.Writer) error {
	ring, cfg, err := openKeys(o, errs)
	if err != nil {
		return err
	}
	defer ring.Close()
	log := slog.New(observe.Handler(errs, slog.LevelWarn, observe.Text))
	opts, err := boxUpdates("/", o.state, log)
	if err != nil { // no box
		opts = update.Options{Dir: o.state, Log: log}
	}
	u, err := update.Open(opts)
	if err != nil {
		return err
	}
	joinUpdates(u, o.state, cfg, ring, &selfCheck{ring: ring})
	ctx := context.Background()
	switch words[0] {
	case "install":
		if err := u.InstallFile(ctx, words[1]); err != nil {
			return err
		}
		if inJSON {
			return asJSON(out, struct{}{})
		}
		fmt.Fprintln(out, "The update is ready. The next restart boots it, on trial.")
		return nil
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
	return errUsage(fmt.Sprintf("update %s is no command", words[0]))
}

package update

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/images/bundle"
)

const (
	// grace is how long a new system may take until it is healthy for the first time: disks on slow buses, a network
	// without DHCP, keys in a slow chip.
	grace = 5 * time.Minute
	// between is the pause between two looks, at most.
	between = 10 * time.Second
)

// Run is the service. It finds out what became of the last update, ends a trial, and then asks the feed.
func (u *Updater) Run(ctx context.Context) error {
	supervise.Healthy(ctx)
	if u.options().Slots == nil {
		<-ctx.Done()
		return nil
	}
	onTrial, err := u.lastBoot()
	if err != nil {
		return err
	}
	if onTrial {
		if err := u.trial(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
	if u.status().Phase == Restarting {
		<-ctx.Done()
		return nil
	}
	select {
	case <-u.joined:
	case <-ctx.Done():
		return nil
	}
	return u.feed(ctx)
}

// lastBoot compares what was to happen with what did.
func (u *Updater) lastBoot() (onTrial bool, err error) {
	_, end, err := u.begin(context.Background())
	if err != nil {
		return false, err
	}
	defer end()
	st, err := u.options().Slots.Status()
	if err != nil {
		return false, err
	}
	u.mu.Lock()
	t := u.record.Trial
	u.mu.Unlock()
	switch {
	case st.Trial:
		return true, u.started(t, st.Running)
	case t == nil:
		if st.Failed != "" { // whose record was lost
			err = u.rolledBack(bundle.Release{Version: st.Failed}, "what is known of it was lost")
		}
		if st.Waiting != "" {
			u.set(func(s *Status) { s.Phase, s.Percent = Ready, 100 })
			return false, err
		}
	case t.Slot == st.Running: // found good; the power went before that was written down
		return false, u.good(*t)
	case t.Slot == st.Waiting && t.Boot == u.options().Boot: // this program was restarted, and not the box
		u.set(func(s *Status) { s.Phase, s.Next, s.Percent = Ready, t.Release, 100 })
		return false, nil
	case t.Slot == st.Waiting:
		err = u.rolledBack(t.Release, "the boot loader could not start it")
		return false, errors.Join(err, u.options().Slots.Clean(true))
	case t.Slot == st.Failed:
		err = u.rolledBack(t.Release, u.why(*t))
	default:
		err = u.rolledBack(t.Release, "the power went before it was installed; nothing has changed")
	}
	return false, errors.Join(err, u.options().Slots.Clean(false))
}

// started notes that a new system came this far.
func (u *Updater) started(t *trial, running string) error {
	if t == nil || t.Slot != running {
		t = &trial{Release: u.options().Running, Slot: running}
	}
	u.set(func(s *Status) { s.Phase, s.Next, s.Percent = OnTrial, u.options().Running, 0 })
	u.log.Info("this version is on trial", "update", u.options().Running.String(), "starts before", t.Starts)
	return u.keep(func(r *record) {
		again := *t
		if again.Started == "" || again.Started != u.options().Boot {
			again.Starts++
		}
		again.Started = u.options().Boot
		r.Trial = &again
	})
}

// why says in plain words why an image was left whose tries are used up.
func (u *Updater) why(t trial) string {
	if t.Why != "" {
		return t.Why
	}
	why := "it did not start"
	if t.Starts > 0 {
		why = fmt.Sprintf("it started %d times and stopped each time before it was found good", t.Starts)
		if t.Starts == 1 {
			why = "it started and stopped before it was found good"
		}
	}
	if u.options().Crash != nil {
		if said := line(u.options().Crash(), 200); said != "" {
			why += "; the last that was heard of it: " + said
		}
	}
	return why
}

// rolledBack writes down that an update came to nothing, and tells.
func (u *Updater) rolledBack(r bundle.Release, why string) error {
	last := Outcome{Release: r, Why: why, Time: time.Now().UTC()}
	u.log.Error(last.String())
	u.set(func(s *Status) {
		s.Last, s.Err, s.Phase, s.Next, s.Percent = last, last.String(), Idle, bundle.Release{}, 0
	})
	err := u.keep(func(rec *record) {
		rec.Trial, rec.Last, rec.Untold = nil, last, true
		rec.fail(r.Number)
	})
	u.telling.Lock()
	defer u.telling.Unlock()
	u.tellRollback()
	return err
}

// good binds the secrets to this version, raises the floor and tells. It may be called again when the power went in between.
func (u *Updater) good(t trial) error {
	// In this order: keys that are sealed for the version before would be shut for good by the higher floor.
	if good := u.options().Good; good != nil {
		if err := good(); err != nil {
			u.log.Error("the version before can still open the keys", "error", err)
		}
	}
	if u.options().Floor != nil {
		if err := u.options().Floor.RaiseFloor(u.options().Running.Number); err != nil {
			u.log.Error("the TPM does not keep that older versions are refused from now on; the state does", "error", err)
		}
	}
	last := Outcome{Release: t.Release, Good: true, Time: time.Now().UTC()}
	err := u.keep(func(r *record) {
		r.Trial, r.Last, r.Untold, r.Floor = nil, last, false, max(r.Floor, u.options().Running.Number)
	})
	u.log.Info(last.String())
	u.set(func(s *Status) { s.Last, s.Phase, s.Next, s.Percent = last, Idle, bundle.Release{}, 0 })
	return errors.Join(err, u.options().Slots.Clean(false))
}

// trial waits until the system was healthy for as long as it should be, and gives it up if that does not come about.
func (u *Updater) trial(ctx context.Context) error {
	begin := time.Now()
	pause := min(between, max(u.options().Trial/4, time.Second))
	var since time.Time // healthy
	var last error
	for {
		err := u.healthy(ctx)
		if ctx.Err() != nil {
			return nil
		}
		now := time.Now()
		switch {
		case err != nil:
			if last == nil || err.Error() != last.Error() {
				u.log.Warn("this version is not healthy", "why", err)
			}
			last, since = err, time.Time{}
		case since.IsZero():
			since = now
			u.set(func(s *Status) { s.Until = now.Add(u.options().Trial) })
		}
		if !since.IsZero() && now.Sub(since) >= u.options().Trial {
			if err := u.passed(); !errors.Is(err, ErrBusy) { // somebody is being told that it is on trial
				return err
			}
		}
		if since.IsZero() && now.Sub(begin) > grace {
			return u.giveUp(last)
		}
		if !since.IsZero() {
			u.set(func(s *Status) { s.Percent = int(now.Sub(since) * 100 / u.options().Trial) })
		}
		select {
		case <-time.After(pause):
		case err := <-u.failed:
			return u.giveUp(err)
		case <-ctx.Done():
			return nil
		}
	}
}

func (u *Updater) healthy(ctx context.Context) error {
	if u.options().Healthy == nil {
		return errors.New("it does not serve yet")
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return u.options().Healthy(ctx)
}

func (u *Updater) passed() error {
	_, end, err := u.begin(context.Background())
	if err != nil {
		return err
	}
	defer end()
	if err := u.options().Slots.MarkGood(); err != nil {
		return err
	}
	u.mu.Lock()
	t := *u.record.Trial
	u.mu.Unlock()
	return u.good(t)
}

// giveUp goes back to the version before, at once instead of after all tries.
func (u *Updater) giveUp(why error) error {
	text := "it was not healthy: " + line(fmt.Sprint(why), 300)
	u.log.Error("going back to the version before", "why", text)
	err := u.keep(func(r *record) { r.Trial.Why = text })
	if err := errors.Join(err, u.options().Slots.GiveUp()); err != nil {
		// Restart all the same: a try is counted with each, and this is none that can be used.
		u.log.Error("the version could not be given up", "error", err)
	}
	return u.Restart()
}

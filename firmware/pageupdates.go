package main

import (
	"context"
	"fmt"
	"io"

	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/images/bundle"
	"github.com/postern-nas/postern/ui"
)

// pageUpdates implements web.Updates, and says on panel and page how updates do.
type pageUpdates struct{ u *update.Updater }

func (p pageUpdates) Install(ctx context.Context, r io.Reader) error { return p.u.Install(ctx, r) }

func (p pageUpdates) RolledBack() (version, why string) {
	s, _ := p.u.Status.Get()
	if s.Last.Time.IsZero() || s.Last.Good {
		return "", ""
	}
	return fmt.Sprint(s.Last.Release), s.Last.Why
}

// tell adds what is known to the State.
func (p pageUpdates) tell(s *ui.State) {
	now, _ := p.u.Status.Get()
	switch {
	case now.Phase != update.Idle && now.Phase != update.OnTrial && now.Next != (bundle.Release{}):
		s.Update = &ui.Update{Version: fmt.Sprint(now.Next), Percent: now.Percent}
	case now.Offered != (bundle.Release{}):
		s.Update = &ui.Update{Version: fmt.Sprint(now.Offered)}
	}
	if version, why := p.RolledBack(); version != "" {
		s.Alarms = append(s.Alarms, ui.Alarm{
			ID: "rolled back", Kind: ui.AlarmUpdate, Health: ui.Warning, Text: "The update " + version + " was taken back",
			Advice: "The version before runs: " + why + ".",
		})
	}
}

package update

import (
	"context"

	"github.com/postern-nas/postern/images/bundle"
)

// A Kind says what became of an update.
type Kind int

// What an owner may be asked about later.
const (
	Installed  Kind = iota // the next restart boots it
	Refused                // nothing has changed
	RolledBack             // it was tried, and the version before runs
)

// A Way is by which an update came. What its owner has brought, by page or command, has none.
type Way string

// Ways that are told of.
const (
	ByFeed  Way = "the feed"
	ByStick Way = "a USB stick"
)

// An Event is what became of one update.
type Event struct {
	Kind    Kind
	Release bundle.Release // zero: that was not known yet
	Way     Way
	Why     string // it was refused or rolled back
	Itself  bool   // nobody has asked for it
}

// String is the event without its kind.
func (e Event) String() string {
	text := "an update"
	if e.Release != (bundle.Release{}) {
		text = e.Release.String()
	}
	if e.Way != "" {
		text += " from " + string(e.Way)
	}
	if e.Why != "" {
		text += ": " + e.Why
	}
	return text
}

// A Told hears of events. ctx is of who did it; Told must not wait.
type Told func(ctx context.Context, e Event)

// maxUntold bounds what waits for somebody to be told.
const maxUntold = 64

// Tell says who is to hear of events from now on, nil for nobody. What has happened while nobody was told is told at once:
// a box finds out that it was rolled back before it has a log to write that in.
func (u *Updater) Tell(told Told) {
	u.telling.Lock()
	defer u.telling.Unlock()
	u.told = told
	if told == nil {
		return
	}
	u.tellRollback()
	for _, tell := range u.untold {
		tell(told)
	}
	u.untold = nil
}

// tell tells of an event, now or as soon as there is somebody who hears.
func (u *Updater) tell(ctx context.Context, e Event) {
	u.telling.Lock()
	defer u.telling.Unlock()
	if u.told != nil {
		u.told(ctx, e)
		return
	}
	if len(u.untold) < maxUntold {
		u.untold = append(u.untold, func(told Told) { told(context.WithoutCancel(ctx), e) })
	}
}

// tellRollback tells of the last update, if that was rolled back and nobody was told: the record remembers it, for nobody
// may have been there in the boot that found it out. u.telling is held.
func (u *Updater) tellRollback() {
	u.mu.Lock()
	last, untold := u.record.Last, u.record.Untold
	u.mu.Unlock()
	if !untold || u.told == nil {
		return
	}
	u.told(context.Background(), Event{Kind: RolledBack, Release: last.Release, Why: last.Why, Itself: true})
	if err := u.keep(func(r *record) { r.Untold = false }); err != nil {
		u.log.Error("that an update was rolled back will be told again", "error", err)
	}
}

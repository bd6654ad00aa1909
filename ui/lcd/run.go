package lcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/ui"
)

const (
	commandTime = 30 * time.Second // for Control to do what it was asked; then the panel says that it failed
	retryFirst  = 2 * time.Second  // until a lost panel is tried again; doubled each time,
	retryMost   = time.Minute      // up to this
)

// A Panel joins a display and buttons with what they show and do.
type Panel struct {
	Display board.Display // nil: Run only waits for its end
	Buttons board.Buttons // nil: the pages turn by what happens alone
	Source  ui.Source
	Control ui.Control
	Log     *slog.Logger

	now picture
}

// Run shows the State until ctx is done, and returns its error. A display that is lost is tried again, with the time
// between growing to a minute; buttons that are lost are not. It returns another error only if the Source fails.
func (p *Panel) Run(ctx context.Context) error {
	if p.Display == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	var all sync.WaitGroup
	defer all.Wait()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	states := make(chan ui.State)
	all.Go(func() { stop(p.follow(ctx, states)) })
	inputs := make(chan Input)
	if p.Buttons != nil {
		all.Go(func() { p.listen(ctx, inputs) })
	}

	r := renderer{display: p.Display, log: p.Log, copy: &p.now}
	var m Machine
	_, m.oneKey = p.Buttons.(*board.OneKey)
	var s ui.State
	select {
	case s = <-states:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var in Input
	for {
		now := time.Now()
		if r.lost && in.Event.Key != 0 {
			in = Input{Lost: true} // nobody sees what the key would do
		}
		var c Command
		m, c = m.Step(s, in, now)
		if c.Kind != None {
			all.Go(func() { p.carryOut(ctx, c, inputs) })
		}
		r.show(m, s, now)
		if at := r.wake(m, s, now); at.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(at))
		}
		in = Input{}
		select {
		case s = <-states:
		case in = <-inputs:
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// follow hands over each new State.
func (p *Panel) follow(ctx context.Context, to chan<- ui.State) error {
	var seen uint64
	for {
		s, version, err := p.Source.Next(ctx, seen)
		if err != nil {
			return err
		}
		seen = version
		select {
		case to <- s:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listen hands over each event of the buttons, and at last that they are gone.
func (p *Panel) listen(ctx context.Context, to chan<- Input) {
	for {
		e, err := p.Buttons.Next(ctx)
		in := Input{Event: e}
		if err != nil {
			in = Input{Lost: true}
			if ctx.Err() == nil {
				p.Log.Warn("the panel's buttons are gone", "err", err)
			}
		}
		select {
		case to <- in:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// carryOut does what the owner asked for.
func (p *Panel) carryOut(ctx context.Context, c Command, to chan<- Input) {
	limited, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	err := p.call(limited, c)
	in := Input{Done: true}
	if err != nil {
		in.Failed = err.Error()
		if errors.Is(err, context.DeadlineExceeded) {
			in.Failed = "it took too long"
		}
	}
	p.Log.Info("asked at the panel", "command", c.Kind.String(), "err", err)
	select {
	case to <- in:
	case <-ctx.Done():
	}
}

func (p *Panel) call(ctx context.Context, c Command) error {
	switch c.Kind {
	case StartPairing:
		return p.Control.StartPairing(ctx)
	case StopPairing:
		return p.Control.StopPairing(ctx, c.ID)
	case AcceptPairing:
		return p.Control.AnswerPairing(ctx, c.ID, true)
	case RefusePairing:
		return p.Control.AnswerPairing(ctx, c.ID, false)
	case RevokeAll:
		return p.Control.RevokeAll(ctx)
	case InstallStick:
		return p.Control.InstallStick(ctx)
	case Restart:
		return p.Control.Restart(ctx)
	case Shutdown:
		return p.Control.Shutdown(ctx)
	case FactoryReset:
		return p.Control.FactoryReset(ctx)
	}
	return fmt.Errorf("no such command: %d", c.Kind)
}

// kindNames are what commands are called in the log.
var kindNames = [...]string{
	None: "none", StartPairing: "start pairing", StopPairing: "stop pairing", AcceptPairing: "accept", RefusePairing: "refuse",
	RevokeAll: "revoke all", InstallStick: "install stick", Restart: "restart", Shutdown: "shut down", FactoryReset: "factory reset",
}

// String is a command's name in the log.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprint(uint8(k))
}

// A renderer brings pages onto a display.
type renderer struct {
	display board.Display
	log     *slog.Logger
	copy    *picture
	light   board.Brightness
	lit     bool // light is what the display was told
	moves   bool
	lost    bool
	wait    time.Duration // between tries
	next    time.Time     // when to try again
}

func (r *renderer) show(m Machine, s ui.State, now time.Time) {
	if r.lost && now.Before(r.next) {
		return
	}
	if err := r.put(m, s, now); err != nil {
		if !r.lost {
			r.log.Warn("the panel is lost; trying again", "err", err)
		}
		r.lost, r.lit = true, false
		r.wait = min(max(2*r.wait, retryFirst), retryMost)
		r.next = now.Add(r.wait)
		return
	}
	if r.lost {
		r.log.Info("the panel is back")
	}
	r.lost, r.wait = false, 0
}

func (r *renderer) put(m Machine, s ui.State, now time.Time) error {
	light := m.Light(s, now)
	r.copy.set(nil, light)
	r.moves = false
	if light != board.Off { // else nobody sees it
		page, tick := m.Page(s, now), int(now.Sub(m.since)/Tick)
		switch d := r.display.(type) {
		case board.Pixels:
			width, height := d.Size()
			var b *board.Bitmap
			b, r.moves = Draw(page, width, height, tick)
			b = wandered(b, page, int(now.Unix()/60))
			r.copy.set(b, light)
			if wish(s).UpsideDown {
				b = b.Turned()
			}
			if err := d.Draw(b); err != nil {
				return err
			}
		case board.Text:
			columns, rows := d.Size()
			var lines []string
			lines, r.moves = Layout(page, columns, rows, tick, false, d.Has)
			r.copy.set(lettered(lines), light)
			if err := d.Write(lines); err != nil {
				return err
			}
		}
	}
	if !r.lit || light != r.light {
		if err := r.display.Light(light); err != nil {
			return err
		}
		r.light, r.lit = light, true
	}
	return nil
}

// wake is when something changes by itself: the Machine, what moves on the page, the minute, or a lost panel.
func (r *renderer) wake(m Machine, s ui.State, now time.Time) time.Time {
	at := m.Wake(s, now)
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	switch {
	case r.lost:
		sooner(r.next)
	case r.moves || m.screen == onErase:
		sooner(now.Add(Tick - now.Sub(m.since)%Tick))
	case r.light != board.Off:
		sooner(now.Truncate(time.Minute).Add(time.Minute))
	}
	return at
}

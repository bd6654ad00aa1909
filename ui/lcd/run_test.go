package lcd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/boardtest"
	"github.com/postern-nas/postern/ui"
)

// source is a ui.Source that a test sets.
type source struct {
	states chan ui.State
	n      uint64
}

func (s *source) Next(ctx context.Context, seen uint64) (ui.State, uint64, error) {
	select {
	case st, ok := <-s.states:
		if !ok {
			return st, 0, io.ErrUnexpectedEOF
		}
		s.n++
		return st, s.n, nil
	case <-ctx.Done():
		return ui.State{}, 0, ctx.Err()
	}
}

// control is a ui.Control that remembers, and fails or hangs if told to.
type control struct {
	mu   sync.Mutex
	did  []string
	err  error
	hang bool
}

func (c *control) do(ctx context.Context, what string) error {
	c.mu.Lock()
	c.did = append(c.did, what)
	err, hang := c.err, c.hang
	c.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (c *control) done() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.did, ", ")
}

func (c *control) StartPairing(ctx context.Context) error           { return c.do(ctx, "start") }
func (c *control) StopPairing(ctx context.Context, id string) error { return c.do(ctx, "stop "+id) }
func (c *control) RevokeAll(ctx context.Context) error              { return c.do(ctx, "revoke") }
func (c *control) InstallStick(ctx context.Context) error           { return c.do(ctx, "stick") }
func (c *control) Restart(ctx context.Context) error                { return c.do(ctx, "restart") }
func (c *control) Shutdown(ctx context.Context) error               { return c.do(ctx, "shutdown") }
func (c *control) FactoryReset(ctx context.Context) error           { return c.do(ctx, "reset") }
func (c *control) AnswerPairing(ctx context.Context, id string, accept bool) error {
	if accept {
		return c.do(ctx, "accept "+id)
	}
	return c.do(ctx, "refuse "+id)
}

type rig struct {
	text    *boardtest.Text
	buttons *boardtest.Buttons
	source  *source
	control *control
	panel   *Panel
	log     bytes.Buffer
	end     chan error
	stop    context.CancelFunc
}

// running is a panel that runs, in a synctest bubble.
func running(t *testing.T, s ui.State) *rig {
	r := &rig{
		text: boardtest.NewText(16, 2), buttons: new(boardtest.Buttons), source: &source{states: make(chan ui.State, 8)},
		control: new(control), end: make(chan error, 1),
	}
	r.source.states <- s
	r.panel = &Panel{Display: r.text, Buttons: r.buttons, Source: r.source, Control: r.control, Log: slog.New(slog.NewTextHandler(&r.log, nil))}
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	go func() { r.end <- r.panel.Run(ctx) }()
	synctest.Wait()
	return r
}

func (r *rig) tap(keys ...board.Key) {
	r.buttons.Tap(keys...)
	synctest.Wait()
}

func (r *rig) shows(t *testing.T, first string) {
	t.Helper()
	synctest.Wait()
	if lines := r.text.Lines(); len(lines) == 0 || strings.TrimSpace(lines[0]) != first {
		t.Errorf("the panel shows %q; want %q", lines, first)
	}
}

func bubble(t *testing.T, s ui.State, f func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t, s)
		f(t, r)
		r.stop()
		if err := <-r.end; !errors.Is(err, context.Canceled) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestRunPairs(t *testing.T) {
	bubble(t, attic(), func(t *testing.T, r *rig) {
		r.tap(enter)
		r.shows(t, "Menu")
		r.tap(enter)
		if got := r.control.done(); got != "start" {
			t.Errorf("done: %s; want start", got)
		}
		r.source.states <- pairs(ui.Asking)
		time.Sleep(guard)
		synctest.Wait()
		if lines := r.text.Lines(); !strings.HasPrefix(lines[0], "482 913 ") || !strings.HasPrefix(lines[1], ">Refuse") {
			t.Errorf("the question is %q", lines)
		}
		r.tap(next, enter)
		if got := r.control.done(); got != "start, accept 7" {
			t.Errorf("done: %s", got)
		}
	})
}

func TestRunResets(t *testing.T) {
	bubble(t, attic(), func(t *testing.T, r *rig) {
		r.tap(enter, next, next, next, next, next, enter)
		r.buttons.Down(enter)
		time.Sleep(eraseAfter - time.Millisecond)
		synctest.Wait()
		if got := r.control.done(); got != "" {
			t.Errorf("done: %q", got)
		}
		r.shows(t, "Erasing in 1 s")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := r.control.done(); got != "reset" {
			t.Errorf("done: %q; want reset", got)
		}
	})
	// Buttons that end while one is down: nobody holds it any more.
	bubble(t, attic(), func(t *testing.T, r *rig) {
		r.tap(enter, next, next, next, next, next, enter)
		r.buttons.Down(enter)
		time.Sleep(time.Second)
		r.buttons.Close()
		time.Sleep(2 * eraseAfter)
		synctest.Wait()
		if got := r.control.done(); got != "" {
			t.Errorf("done: %q", got)
		}
		if !strings.Contains(r.log.String(), "buttons are gone") {
			t.Errorf("the log says %s", r.log.String())
		}
	})
}

// With a single key everything can be answered: a tap turns to the other answer, to hold it is the answer.
func TestRunOneKey(t *testing.T) {
	for name, c := range map[string]struct {
		taps int
		want string
	}{"refuse": {0, "refuse 7"}, "accept": {1, "accept 7"}, "there and back": {2, "refuse 7"}} {
		synctest.Test(t, func(t *testing.T) {
			text, key, src, did := boardtest.NewText(16, 4), new(boardtest.Buttons), &source{states: make(chan ui.State, 1)}, new(control)
			src.states <- pairs(ui.Asking)
			p := &Panel{Display: text, Buttons: &board.OneKey{Buttons: key}, Source: src, Control: did, Log: slog.New(slog.DiscardHandler)}
			ctx, stop := context.WithCancel(t.Context())
			end := make(chan error)
			go func() { end <- p.Run(ctx) }()
			time.Sleep(guard)
			for range c.taps {
				key.Tap(next)
			}
			synctest.Wait()
			if got := did.done(); got != "" {
				t.Errorf("%s: taps alone did %q", name, got)
			}
			told := false
			for range 60 { // the lines take turns
				told = told || strings.Contains(strings.Join(text.Lines(), "\n"), "hold to choose")
				time.Sleep(Tick)
				synctest.Wait()
			}
			if !told {
				t.Errorf("%s: nothing says how to choose: %q", name, text.Lines())
			}
			key.Down(next)
			time.Sleep(board.HoldAfter)
			synctest.Wait()
			if got := did.done(); got != c.want {
				t.Errorf("%s: done: %q; want %q", name, got, c.want)
			}
			key.Up(next)
			stop()
			<-end
		})
	}
}

// The countdown to the factory reset runs from when the key counts as held, and ends when it is let go.
func TestRunOneKeyResets(t *testing.T) {
	for held, want := range map[time.Duration]string{
		board.HoldAfter + eraseAfter - time.Millisecond: "", board.HoldAfter + eraseAfter: "reset",
	} {
		synctest.Test(t, func(t *testing.T) {
			text, key, src, did := boardtest.NewText(16, 2), new(boardtest.Buttons), &source{states: make(chan ui.State, 1)}, new(control)
			src.states <- attic()
			p := &Panel{Display: text, Buttons: &board.OneKey{Buttons: key}, Source: src, Control: did, Log: slog.New(slog.DiscardHandler)}
			ctx, stop := context.WithCancel(t.Context())
			end := make(chan error)
			go func() { end <- p.Run(ctx) }()
			hold := func(d time.Duration) {
				key.Down(next)
				time.Sleep(d)
				synctest.Wait()
				key.Up(next)
				synctest.Wait()
			}
			hold(time.Second) // the menu
			for range 5 {
				key.Tap(next)
			}
			hold(5 * time.Second) // its last but one; that it is held on is no answer yet
			if got := strings.TrimSpace(text.Lines()[0]); got != "Factory reset" {
				t.Errorf("it shows %q", got)
			}
			hold(held)
			if got := did.done(); got != want {
				t.Errorf("held for %v: done %q; want %q", held, got, want)
			}
			stop()
			<-end
		})
	}
}

func TestRunControlHangs(t *testing.T) {
	bubble(t, attic(), func(t *testing.T, r *rig) {
		r.control.hang = true
		r.tap(enter, enter)
		r.shows(t, "One moment")
		r.source.states <- attic() // the panel lives on
		time.Sleep(commandTime)
		r.shows(t, "Failed")
	})
}

// A panel that is lost is told of once, tried less and less often, and shows the present when it is back. Keys pressed
// meanwhile do nothing, for nobody saw what they would do.
func TestRunPanelLost(t *testing.T) {
	bubble(t, attic(), func(t *testing.T, r *rig) {
		r.text.Lose(true)
		r.tap(enter) // this one was seen; its page was not
		before := r.text.Shows()
		r.tap(enter, next, enter)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := r.control.done(); got != "" {
			t.Errorf("blind keys did %q", got)
		}
		if n := strings.Count(r.log.String(), "the panel is lost"); n != 1 {
			t.Errorf("the log says it %d times", n)
		}
		r.text.Lose(false)
		ill := ill()
		r.source.states <- ill
		time.Sleep(retryMost)
		r.shows(t, "ALARM 1/2")
		if r.text.Shows() == before || !strings.Contains(r.log.String(), "the panel is back") {
			t.Errorf("the log says %s", r.log.String())
		}
	})
}

// Nobody is there: the panel dims, goes off, and then nothing is sent any more, nor does anything wake.
func TestRunSleeps(t *testing.T) {
	bubble(t, attic(), func(t *testing.T, r *rig) {
		time.Sleep(dimAfter)
		synctest.Wait()
		if got := r.text.Brightness(); got != board.Dim {
			t.Errorf("brightness %d after a minute", got)
		}
		time.Sleep(offAfter - dimAfter)
		synctest.Wait()
		if got := r.text.Brightness(); got != board.Off {
			t.Errorf("brightness %d after ten", got)
		}
		before := r.text.Shows()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := r.text.Shows() - before; n != 0 {
			t.Errorf("%d pictures for nobody", n)
		}
		r.tap(next)
		if got := r.text.Brightness(); got != board.Bright {
			t.Errorf("brightness %d after a key", got)
		}
	})
}

// On dots the picture wanders with the minutes.
func TestRunWanders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		px, src := boardtest.NewPixels(128, 64), &source{states: make(chan ui.State, 1)}
		s := attic()
		s.Name, s.Alarms = "attic", []ui.Alarm{{ID: "x", Text: "Too hot", Health: ui.Warning}}
		src.states <- s
		ctx, stop := context.WithCancel(t.Context())
		end := make(chan error)
		go func() {
			end <- (&Panel{Display: px, Source: src, Control: new(control), Log: slog.New(slog.DiscardHandler)}).Run(ctx)
		}()
		places := make(map[string]bool)
		for range 2 * wander {
			synctest.Wait()
			places[string(px.Bitmap().Pages)] = true
			time.Sleep(time.Minute)
		}
		if len(places) != wander {
			t.Errorf("%d places; want %d", len(places), wander)
		}
		stop()
		<-end
	})
}

// Every command that the panel can carry out does what the log calls it, and no two are called the same.
func TestCommandNames(t *testing.T) {
	does := map[string]string{
		"start pairing": "start", "stop pairing": "stop 7", "accept": "accept 7", "refuse": "refuse 7", "revoke all": "revoke",
		"install stick": "stick", "restart": "restart", "shut down": "shutdown", "factory reset": "reset",
	}
	if None.String() != "none" {
		t.Errorf("no command is called %q", None)
	}
	last := None
	for kind := None + 1; ; kind++ {
		c := new(control)
		if (&Panel{Control: c}).call(t.Context(), Command{kind, "7"}) != nil {
			break
		}
		if want, known := does[kind.String()]; !known || c.done() != want {
			t.Errorf("command %d is called %q and does %q", kind, kind, c.done())
		}
		delete(does, kind.String())
		last = kind
	}
	if len(does) > 0 || last != FactoryReset {
		t.Errorf("after the last, %v, there are still %v", last, does)
	}
}

func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &source{states: make(chan ui.State)}
		close(src.states)
		p := &Panel{Display: boardtest.NewText(16, 2), Source: src, Log: slog.New(slog.DiscardHandler)}
		if err := p.Run(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Run = %v; want the source's error", err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		if err := new(Panel).Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a display: %v", err)
		}
	})
}

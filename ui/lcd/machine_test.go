package lcd

import (
	"testing"
	"time"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/ui"
)

// A play is a machine with its clock and State.
type play struct {
	t   *testing.T
	m   Machine
	s   ui.State
	now time.Time
}

func begin(t *testing.T, s ui.State) *play {
	p := &play{t: t, s: s, now: time.Unix(1_000_000, 0)}
	p.see(s)
	return p
}

func (p *play) step(in Input) (c Command) {
	p.m, c = p.m.Step(p.s, in, p.now)
	return c
}

func (p *play) see(s ui.State) {
	p.t.Helper()
	p.s = s
	if c := p.step(Input{}); c.Kind != None {
		p.t.Errorf("a State alone made it %v", c.Kind)
	}
}

func (p *play) wait(d time.Duration) Command {
	p.now = p.now.Add(d)
	return p.step(Input{})
}

func (p *play) press(k board.Key) Command {
	return p.step(Input{Event: board.Event{Key: k, Action: board.Press, At: p.now}})
}

func (p *play) release(k board.Key) Command {
	return p.step(Input{Event: board.Event{Key: k, Action: board.Release, At: p.now}})
}

// taps presses keys; all but the last must do nothing outside.
func (p *play) taps(keys ...board.Key) (c Command) {
	p.t.Helper()
	for _, k := range keys {
		if c.Kind != None {
			p.t.Errorf("%v came early", c.Kind)
		}
		c = p.press(k)
		if r := p.release(k); r.Kind != None {
			p.t.Errorf("a release made it %v", r.Kind)
		}
	}
	return c
}

func (p *play) shows(title string) {
	p.t.Helper()
	if got := p.m.Page(p.s, p.now).Title; got != title {
		p.t.Errorf("it shows %q; want %q", got, title)
	}
}

func (p *play) chosen(item string) {
	p.t.Helper()
	page := p.m.Page(p.s, p.now)
	if len(page.List) == 0 || page.List[page.Chosen] != item {
		p.t.Errorf("chosen is %d of %q; want %q", page.Chosen, page.List, item)
	}
}

const (
	next  = board.Next
	enter = board.Enter
)

func TestHomePagesTurn(t *testing.T) {
	p := begin(t, attic())
	for _, title := range []string{"Dachboden-Müller", "Storage", "From outside", "Security", "Dachboden-Müller"} {
		p.shows(title)
		p.taps(next)
	}
	p.taps(board.Previous, board.Previous)
	p.shows("Security")
	p = begin(t, fresh())
	p.shows("Welcome")
}

// An update on a USB stick is offered before everything but alarms, and installed after a yes; one that is of no use is
// not for the panel.
func TestStick(t *testing.T) {
	s := attic()
	s.Stick = &ui.Stick{Problem: "it is for another kind of box"}
	p := begin(t, s)
	p.shows("Dachboden-Müller")
	s.Stick = &ui.Stick{Version: "v2"}
	p = begin(t, s)
	p.shows("USB stick")
	p.taps(enter, next, next, enter)
	p.shows("Install update?")
	if c := p.taps(enter); c.Kind != None { // no
		t.Fatalf("installs without a yes: %v", c)
	}
	p.shows("Menu")
	if c := p.taps(next, next, enter, next, enter); c.Kind != InstallStick {
		t.Fatalf("%v", c)
	}
	p.shows("One moment")
}

// Everything in the menu, with two keys.
func TestMenu(t *testing.T) {
	for _, c := range []struct {
		name  string
		downs int
		keys  []board.Key // after Enter
		want  Kind
		said  string
	}{
		{"pair", 0, nil, StartPairing, ""},
		{"revoke", 1, []board.Key{next, enter}, RevokeAll, "All revoked"},
		{"revoke, no", 1, []board.Key{enter}, None, ""},
		{"revoke, back", 1, []board.Key{next, board.Back}, None, ""},
		{"restart", 3, []board.Key{next, enter}, Restart, "Restarting"},
		{"restart, yes and no", 3, []board.Key{next, next, enter}, None, ""},
		{"shut down", 4, []board.Key{next, enter}, Shutdown, "Shutting down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := begin(t, attic())
			p.taps(enter)
			p.shows("Menu")
			for range c.downs {
				p.taps(next)
			}
			got := p.taps(append([]board.Key{enter}, c.keys...)...)
			if got.Kind != c.want {
				t.Fatalf("it asked for %v; want %v", got.Kind, c.want)
			}
			if c.want == None {
				p.shows("Menu")
				return
			}
			p.shows("One moment")
			if again := p.taps(enter, next, enter); again.Kind != None {
				t.Errorf("while it runs it asked for %v", again.Kind)
			}
			p.step(Input{Done: true})
			if c.said == "" {
				c.said = "Dachboden-Müller"
			}
			p.shows(c.said)
			p.wait(sayFor)
			p.shows("Dachboden-Müller")
		})
	}

	p := begin(t, attic())
	p.taps(enter, next, next, enter)
	if lines := p.m.Page(p.s, p.now).Lines; len(lines) != 3 || lines[0] != "attic.example.org" || lines[2] != "fd00::20" {
		t.Errorf("addresses %q", lines)
	}
	p.taps(enter)
	p.shows("Dachboden-Müller")
	p.taps(enter, board.Previous)
	p.chosen("Back")
	p.taps(enter)
	p.shows("Dachboden-Müller")
	p.taps(enter)
	p.wait(homeAfter)
	p.shows("Dachboden-Müller")

	p = begin(t, fresh()) // before the setup nobody can be paired
	p.taps(enter)
	p.chosen("Show address")
}

func TestCommandFails(t *testing.T) {
	p := begin(t, attic())
	p.taps(enter, enter)
	p.step(Input{Done: true, Failed: "no network"})
	p.shows("Failed")
	p.taps(enter)
	p.shows("Dachboden-Müller")
	p.step(Input{Done: true, Failed: "again"}) // nothing runs: not a word
	p.shows("Dachboden-Müller")
}

func TestPairing(t *testing.T) {
	for _, c := range []struct {
		name string
		keys []board.Key
		want Command
	}{
		{"refuse is chosen first", []board.Key{enter}, Command{RefusePairing, "7"}},
		{"accept", []board.Key{next, enter}, Command{AcceptPairing, "7"}},
		{"there and back", []board.Key{next, next, enter}, Command{RefusePairing, "7"}},
		{"back refuses", []board.Key{next, board.Back}, Command{RefusePairing, "7"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := begin(t, attic())
			p.taps(enter, next) // somewhere in the menu
			p.see(pairs(ui.Asking))
			p.shows("482 913")
			p.chosen("Refuse")
			p.now = p.now.Add(guard)
			if got := p.taps(c.keys...); got != c.want {
				t.Errorf("it asked for %v; want %v", got, c.want)
			}
			p.step(Input{Done: true})
			p.see(pairs(ui.Paired))
			p.shows("Paired")
			p.now = p.now.Add(guard)
			p.taps(enter)
			p.shows("Dachboden-Müller") // waved away, though the State still has it
			p.see(attic())
			p.shows("Dachboden-Müller")
		})
	}
}

// A key on its way when the question appears does not answer it, and neither when the question changes under the finger.
func TestPairingGuard(t *testing.T) {
	p := begin(t, attic())
	p.see(pairs(ui.Asking))
	p.now = p.now.Add(guard - time.Millisecond)
	if c := p.taps(next, enter); c.Kind != None {
		t.Errorf("within the guard it asked for %v", c.Kind)
	}
	p.chosen("Refuse")
	p.now = p.now.Add(time.Millisecond)
	p.taps(next)
	p.chosen("Accept")

	for name, change := range map[string]func(*ui.Pairing){
		"id":     func(q *ui.Pairing) { q.ID = "8" },
		"device": func(q *ui.Pairing) { q.Device = "Mallory" },
		"code":   func(q *ui.Pairing) { q.Code = "000000" },
		"user":   func(q *ui.Pairing) { q.User = "root" },
	} {
		p := begin(t, pairs(ui.Asking))
		p.now = p.now.Add(guard)
		p.taps(next)
		other := pairs(ui.Asking)
		change(other.Pairing)
		p.see(other)
		if c := p.taps(enter); c.Kind != None {
			t.Errorf("another %s: it asked for %v", name, c)
		}
		p.chosen("Refuse")
	}
}

func TestPairingStops(t *testing.T) {
	p := begin(t, pairs(ui.Waiting))
	p.shows("Pair")
	p.now = p.now.Add(guard)
	if c := p.taps(next, enter); c != (Command{StopPairing, "7"}) {
		t.Errorf("it asked for %v; want to stop 7", c)
	}
	p.step(Input{Done: true, Failed: "too late"})
	p.shows("Failed") // above the pairing, which is still there
	p.wait(sayFor)
	p.shows("Pair")
	p.see(attic())
	p.shows("Dachboden-Müller")
}

// at brings it to the page of the factory reset.
func atReset(t *testing.T) *play {
	p := begin(t, attic())
	p.taps(enter, next, next, next, next, next, enter)
	p.shows("Factory reset")
	return p
}

func TestFactoryReset(t *testing.T) {
	p := atReset(t)
	p.press(enter)
	for range 9 {
		if c := p.wait(time.Second); c.Kind != None {
			t.Fatalf("%v came early", c.Kind)
		}
	}
	p.shows("Erasing in 1 s")
	if at := p.m.Wake(p.s, p.now); !at.Equal(p.now.Add(time.Second)) {
		t.Errorf("it wakes in %v; want a second", at.Sub(p.now))
	}
	if c := p.wait(time.Second); c.Kind != FactoryReset {
		t.Errorf("after ten seconds: %v", c.Kind)
	}
	if c := p.release(enter); c.Kind != None {
		t.Errorf("the release made it %v", c.Kind)
	}
	p.step(Input{Done: true})
	p.shows("Erased. Restarting")
}

// Whatever comes but the key still being held ends the countdown; a press must begin it anew.
func TestFactoryResetStops(t *testing.T) {
	asking := pairs(ui.Asking)
	for name, stop := range map[string]func(p *play){
		"let go":           func(p *play) { p.release(enter) },
		"another key":      func(p *play) { p.press(next) },
		"another released": func(p *play) { p.release(next) },
		"pressed twice":    func(p *play) { p.press(enter) },
		"buttons lost":     func(p *play) { p.step(Input{Lost: true}) },
		"someone asks":     func(p *play) { p.see(asking) },
	} {
		t.Run(name, func(t *testing.T) {
			p := atReset(t)
			p.press(enter)
			p.step(Input{Event: board.Event{Key: enter, Action: board.Hold}})
			p.wait(9 * time.Second)
			stop(p)
			for range 30 {
				if c := p.wait(time.Second); c.Kind != None {
					t.Fatalf("it was %v all the same", c.Kind)
				}
			}
		})
	}
	// The press that opened the page does not count, however long it is held.
	p := begin(t, attic())
	p.taps(enter, next, next, next, next, next)
	p.press(enter)
	if c := p.wait(eraseAfter); c.Kind != None {
		t.Errorf("holding the menu's key: %v", c.Kind)
	}
}

func TestLight(t *testing.T) {
	p := begin(t, attic())
	light := func(want board.Brightness) {
		t.Helper()
		if got := p.m.Light(p.s, p.now); got != want {
			t.Errorf("light %d; want %d", got, want)
		}
	}
	light(board.Bright)
	if at := p.m.Wake(p.s, p.now); !at.Equal(p.now.Add(dimAfter)) {
		t.Errorf("it wakes in %v; want %v", at.Sub(p.now), dimAfter)
	}
	p.wait(dimAfter)
	light(board.Dim)
	p.wait(offAfter - dimAfter)
	light(board.Off)
	if at := p.m.Wake(p.s, p.now); !at.IsZero() {
		t.Errorf("off, and it wakes in %v", at.Sub(p.now))
	}
	p.taps(next)
	light(board.Bright)
	p.shows("Dachboden-Müller") // the key only woke it
	p.taps(next)
	p.shows("Storage")

	p.wait(offAfter)
	light(board.Off)
	p.see(pairs(ui.Asking)) // lights up
	light(board.Bright)
	p.wait(offAfter)
	light(board.Dim) // and stays as long as somebody asks
	p.see(attic())
	light(board.Off)
	p.see(ill())
	light(board.Bright)
	p.shows("ALARM 1/2")
	p.wait(offAfter)
	light(board.Dim)
	p.see(ill()) // the same alarms are no news
	light(board.Dim)
	p.see(attic())
	light(board.Off)
	p.see(fresh())
	light(board.Dim)
}

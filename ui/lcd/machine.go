package lcd

import (
	"fmt"
	"strings"
	"time"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/ui"
)

// Times. Each is a named constant so that its test can say it.
const (
	dimAfter  = time.Minute      // without a key, if the State does not say otherwise
	offAfter  = 10 * time.Minute // without a key; never while there is an alarm or the setup is due
	homeAfter = time.Minute      // from a menu back to the home pages
	sayFor    = 6 * time.Second  // what came of a command

	// A question may appear while a finger is on its way to a key. Keys that come sooner are not an answer to it.
	guard = time.Second

	// How long a key is held down to erase the settings: nobody does that in passing.
	eraseAfter = 10 * time.Second
)

// A Kind of Command is what Control is asked to do.
type Kind uint8

const (
	None Kind = iota
	StartPairing
	StopPairing
	AcceptPairing
	RefusePairing
	RevokeAll
	InstallStick
	Restart
	Shutdown
	FactoryReset
)

// A Command is a call of Control. ID is the pairing's.
type Command struct {
	Kind Kind
	ID   string
}

// screen is where the owner is. A pairing lies over all of them.
type screen uint8

const (
	onHome screen = iota
	onMenu
	onAddress
	onConfirm
	onErase // the key is not held, or held since Machine.held
	onBusy  // a command runs
	onSaid  // what came of it
)

// A Machine is the panel's state. It is a value: Step makes the next one. The zero Machine shows the home pages.
type Machine struct {
	oneKey  bool // Enter is to hold the key that is Next, and the owner is told so
	screen  screen
	at      int       // the home page, or the place in the list
	item    Kind      // what is to be confirmed, or runs
	since   time.Time // when this page came
	touched time.Time // when a key was pressed, or something came that wants to be seen
	held    time.Time // onErase: since when the key is down; zero: it is up
	erase   board.Key // the key that is held
	said    string    // onSaid

	question  string    // the pairing as it was last seen, all that the owner is shown of it
	asked     time.Time // since when the owner sees the question
	dismissed string    // a finished pairing that the owner has waved away
	alarms    string    // those last seen
}

// An Input is what makes a Machine step. The zero Input only says that time has passed or the State has changed.
type Input struct {
	Event  board.Event // Key 0: none
	Lost   bool        // the buttons are gone: nothing is held any more
	Done   bool        // the command has ended,
	Failed string      // with this error
}

type choice struct {
	kind  Kind
	label string
}

// menu is what can be chosen. showAddress is no Command.
func menu(s ui.State) (items []choice) {
	if s.Setup == nil {
		items = append(items, choice{StartPairing, "Pair a device"}, choice{RevokeAll, "Revoke all"})
	}
	if updatable(s) {
		items = append(items, choice{InstallStick, "Update from USB"})
	}
	return append(items, choice{None, "Show address"}, choice{Restart, "Restart"}, choice{Shutdown, "Shut down"},
		choice{FactoryReset, "Factory reset"}, choice{None, back})
}

// updatable says whether there is an update on a USB stick to say yes to.
func updatable(s ui.State) bool { return s.Stick != nil && s.Stick.Version != "" }

const back = "Back"

var confirm = map[Kind]string{
	RevokeAll: "Revoke all?", InstallStick: "Install update?", Restart: "Restart?", Shutdown: "Shut down?",
}

var done = map[Kind]string{
	StopPairing: "Pairing stopped", RefusePairing: "Refused", RevokeAll: "All revoked", InstallStick: "Installing", Restart: "Restarting", Shutdown: "Shutting down",
	FactoryReset: "Erased. Restarting",
}

// Step takes what happened at a time and says what is to be done. The Command is to be carried out and its end told
// with Done; until then no other comes.
func (m Machine) Step(s ui.State, in Input, now time.Time) (Machine, Command) {
	if m.since.IsZero() {
		m.since, m.touched = now, now
	}
	m = m.follow(s, now)

	if in.Done && m.screen == onBusy {
		m.said = done[m.item]
		if in.Failed != "" {
			m.said = "Failed: " + in.Failed
		}
		m = m.to(onHome, 0, now)
		if m.said != "" {
			m.screen = onSaid
		}
	}
	switch {
	case m.screen == onErase && !m.held.IsZero():
		// Only the key that is held, and only that it is still held, keeps the countdown going.
		switch {
		case in.Lost, in.Event.Key != 0 && (in.Event.Key != m.erase || in.Event.Action != board.Hold):
			m.held = time.Time{}
			m.since = now
		case !now.Before(m.held.Add(eraseAfter)):
			return m.run(Command{Kind: FactoryReset}, now)
		}
		return m, Command{}
	case (m.screen == onMenu || m.screen == onAddress || m.screen == onConfirm || m.screen == onErase) && !now.Before(m.touched.Add(homeAfter)):
		m = m.to(onHome, 0, now)
	case m.screen == onSaid && !now.Before(m.since.Add(sayFor)):
		m = m.to(onHome, 0, now)
	}
	if in.Event.Key == 0 || in.Event.Action != board.Press {
		return m, Command{}
	}
	dark := m.Light(s, now) == board.Off
	m.touched = now
	if dark {
		return m, Command{} // the key that wakes the panel does nothing else: nobody saw what it would do
	}
	return m.press(s, in.Event.Key, now)
}

// follow takes note of what the State has that wants to be seen.
func (m Machine) follow(s ui.State, now time.Time) Machine {
	question := ""
	if p := s.Pairing; p != nil {
		question = fmt.Sprintf("%q %d %q %q %q %q", p.ID, p.Phase, p.Code, p.Device, p.Address, p.User)
	}
	if question != m.question {
		m.question, m.dismissed = question, ""
		if question != "" {
			m.asked, m.touched = now, now
			if m.screen != onBusy {
				m = m.to(onHome, 0, now)
			}
			m.at, m.since = 0, now
		} else if m.screen == onHome {
			m = m.to(onHome, 0, now)
		}
	}
	var alarms strings.Builder
	for _, a := range s.Alarms {
		fmt.Fprintf(&alarms, "%q %d ", a.ID, a.Health)
	}
	if alarms.String() != m.alarms {
		m.alarms = alarms.String()
		if m.alarms != "" {
			m.touched = now
		}
		if m.screen == onHome && m.question == "" {
			m = m.to(onHome, 0, now)
		}
	}
	return m
}

// pairs says whether a pairing lies over the screen.
func (m Machine) pairs(s ui.State) bool {
	return s.Pairing != nil && m.screen != onBusy && m.screen != onSaid && (m.dismissed == "" || m.dismissed != m.question)
}

func (m Machine) to(where screen, at int, now time.Time) Machine {
	m.screen, m.at, m.since, m.held, m.asked = where, at, now, time.Time{}, now
	return m
}

func (m Machine) run(c Command, now time.Time) (Machine, Command) {
	m = m.to(onBusy, 0, now)
	m.item = c.Kind
	return m, c
}

// turned is the place after a key in a list of n, which is a ring.
func turned(at, n int, k board.Key) int {
	switch k {
	case board.Next:
		return (at + 1) % n
	case board.Previous:
		return (at + n - 1) % n
	}
	return at
}

func (m Machine) press(s ui.State, k board.Key, now time.Time) (Machine, Command) {
	if m.pairs(s) {
		return m.pressPairing(*s.Pairing, k, now)
	}
	switch m.screen {
	case onHome:
		if k == board.Enter {
			return m.to(onMenu, 0, now), Command{}
		}
		return m.to(onHome, turned(m.at, len(home(s, now)), k), now), Command{}
	case onMenu:
		items := menu(s)
		m.at = min(m.at, len(items)-1)
		if k == board.Back {
			return m.to(onHome, 0, now), Command{}
		}
		if k != board.Enter {
			m.at = turned(m.at, len(items), k)
			return m, Command{}
		}
		switch item := items[m.at]; {
		case item.label == back:
			return m.to(onHome, 0, now), Command{}
		case item.kind == None:
			return m.to(onAddress, 0, now), Command{}
		case item.kind == StartPairing:
			return m.run(Command{Kind: StartPairing}, now)
		case item.kind == FactoryReset:
			return m.to(onErase, 0, now), Command{}
		default:
			m = m.to(onConfirm, 0, now)
			m.item = item.kind
			return m, Command{}
		}
	case onConfirm:
		switch {
		case k == board.Back, k == board.Enter && m.at == 0:
			return m.to(onMenu, 0, now), Command{}
		case k == board.Enter:
			return m.run(Command{Kind: m.item}, now)
		}
		m.at = turned(m.at, 2, k)
		return m, Command{}
	case onErase:
		if k == board.Enter {
			m.held, m.erase, m.since = now, k, now
			return m, Command{}
		}
		return m.to(onMenu, 0, now), Command{}
	case onAddress, onSaid:
		return m.to(onHome, 0, now), Command{}
	}
	return m, Command{} // onBusy
}

func (m Machine) pressPairing(p ui.Pairing, k board.Key, now time.Time) (Machine, Command) {
	if now.Before(m.asked.Add(guard)) {
		return m, Command{}
	}
	switch p.Phase {
	case ui.Waiting, ui.Preparing:
		if k == board.Enter || k == board.Back {
			return m.run(Command{StopPairing, p.ID}, now)
		}
	case ui.Asking:
		switch {
		case k == board.Back, k == board.Enter && m.at == 0:
			return m.run(Command{RefusePairing, p.ID}, now)
		case k == board.Enter:
			return m.run(Command{AcceptPairing, p.ID}, now)
		}
		m.at = turned(m.at, 2, k)
	case ui.Paired, ui.Refused:
		m.dismissed = m.question
		return m.to(onHome, 0, now), Command{}
	}
	return m, Command{}
}

// Page is what is shown.
func (m Machine) Page(s ui.State, now time.Time) Page {
	if m.pairs(s) {
		return pairing(*s.Pairing, min(m.at, 1)).with(m.hint(s.Pairing.Phase == ui.Asking))
	}
	switch m.screen {
	case onMenu:
		p := Page{Title: "Menu"}
		for _, i := range menu(s) {
			p.List = append(p.List, i.label)
		}
		p.Chosen = min(m.at, len(p.List)-1)
		return p
	case onAddress:
		return Page{Title: s.Name, Lines: addresses(s)}
	case onConfirm:
		return Page{Title: confirm[m.item], List: []string{"No", "Yes"}, Chosen: m.at}.with(m.hint(true))
	case onErase:
		if m.held.IsZero() {
			hold := "Hold Enter 10 s"
			if m.oneKey {
				hold = "Hold key 11 s"
			}
			return Page{Title: "Factory reset", Lines: []string{hold, "Settings go,", "files stay"}}
		}
		left := m.held.Add(eraseAfter).Sub(now)
		return Page{Title: fmt.Sprintf("Erasing in %d s", max(0, (left+time.Second-1)/time.Second)), Lines: []string{"Let go to stop"}}
	case onBusy:
		return Page{Title: "One moment"}
	case onSaid:
		first, rest, _ := strings.Cut(m.said, ": ")
		return Page{Title: first}.with(rest)
	}
	pages := home(s, now)
	return pages[min(m.at, len(pages)-1)]
}

// hint says how a single key chooses, where there is something to choose.
func (m Machine) hint(choice bool) string {
	if m.oneKey && choice {
		return "hold to choose"
	}
	return ""
}

// Light is how bright the panel is.
func (m Machine) Light(s ui.State, now time.Time) board.Brightness {
	want := wish(s)
	before := func(after time.Duration) bool { return after == 0 || now.Before(m.touched.Add(after)) }
	switch {
	case !want.Dim && (before(want.DimAfter) || m.screen == onErase && !m.held.IsZero()):
		return board.Bright
	case before(want.OffAfter), m.screen == onErase && !m.held.IsZero(), s.Setup != nil, len(s.Alarms) > 0, m.pairs(s) && s.Pairing.Phase <= ui.Issuing:
		return board.Dim
	}
	return board.Off
}

// wish is how the owner wants the panel.
func wish(s ui.State) ui.Panel {
	if s.Panel != nil {
		return *s.Panel
	}
	return ui.Panel{DimAfter: dimAfter, OffAfter: offAfter}
}

// Wake is when the Machine changes by itself, if nothing happens: a Step is due then. It is zero if never.
func (m Machine) Wake(s ui.State, now time.Time) (at time.Time) {
	want := wish(s)
	for _, t := range []struct {
		due bool
		at  time.Time
	}{
		{want.DimAfter > 0, m.touched.Add(want.DimAfter)},
		{want.OffAfter > 0, m.touched.Add(want.OffAfter)},
		{m.screen != onHome && m.screen != onBusy, m.touched.Add(homeAfter)},
		{m.screen == onSaid, m.since.Add(sayFor)},
		{m.screen == onErase && !m.held.IsZero(), m.held.Add(eraseAfter)},
	} {
		if t.due && t.at.After(now) && (at.IsZero() || t.at.Before(at)) {
			at = t.at
		}
	}
	return at
}

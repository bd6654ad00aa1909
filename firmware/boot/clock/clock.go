// Package clock gives the box the right time. At the start it takes the battery clock's (RTC), and if there is none, or it
// is behind what was seen last, the last time that was seen: never 1970, never before this program was built. Then it asks
// time servers (NTP, RFC 5905), moves the clock, and keeps it.
//
// The box serves with any clock, and believes none blindly. What depends on it: our own certificates begin two days before
// they are made and are made anew when they turn out to begin in the future (firmware/cert), so that a box that made them
// with a wrong clock comes back by itself; timeouts inside the program run on the kernel's monotonic clock, so a step
// neither drops nor revives a session. Until Trust is Network or Battery, the owner is told that dates may be wrong.
package clock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/watch"
)

// Built is before any true now.
var Built = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

const (
	// fileName is the time that was seen last, in the state folder.
	fileName = "clock"
	// ahead is how far a battery clock, or the file, may be in front of Built before it counts as broken.
	ahead = 30 * 365 * 24 * time.Hour

	// slewMost is moved by running a little faster or slower (at 500 parts in a million), more by a step.
	slewMost = 500 * time.Millisecond
	// panicAt is what a clock that was right can hardly be off by. Beyond it, three servers have to say so, twice.
	panicAt            = 1000 * time.Second
	confirmBy, confirm = 3, 2

	pollFirst, pollLeast, pollMost = 2 * time.Second, 64 * time.Second, 1024 * time.Second
	saveEvery                      = time.Hour
	// maxServers bounds how many are asked.
	maxServers = 8
)

// Trust is how far the time is to be believed.
type Trust string

// Trusts, from none to most.
const (
	Guessed Trust = "guessed" // the last time that was seen, or when the program was built
	Battery Trust = "battery" // the battery clock's
	Network Trust = "network" // time servers agreed
)

// State is what is known of the clock.
type State struct {
	Trust   Trust
	Seen    bool          // the box has kept the time before: a guess is not worse than the time that it was off
	Synced  time.Time     // when time servers agreed last; zero: never since the start
	Offset  time.Duration // how far the clock was off then
	Steps   int           // how often it jumped since the start
	Servers []Server
	Problem string // one sentence for the owner; "" if all is well
}

// A Server is a time server as it answered last.
type Server struct {
	Name   string
	Offset time.Duration // how far our clock was behind it
	Error  string        // "" if it answered
}

// A Config is where time comes from.
type Config struct {
	Dir     string   // the state folder; "" keeps nothing
	Servers []string // names or addresses
}

// A Clock keeps the time. Use Open.
type Clock struct {
	State watch.Value[State]

	cfg     Config
	log     *slog.Logger
	machine machine
	query   func(ctx context.Context, server string) (sample, error)

	mu    sync.Mutex
	more  []string // servers that the network named
	again chan struct{}

	settled chan struct{}
	once    sync.Once
	far     int // how often in a row servers have said that we are far off
}

// machine is what of the computer is read and moved.
type machine struct {
	now    func() time.Time
	step   func(time.Time) error
	slew   func(time.Duration) error
	rtc    func() (time.Time, error)
	setRTC func(time.Time) error
}

// Open sets the clock to the best guess. It does not fail: without a right to set the clock, and with no battery clock,
// the time is what it is.
func Open(cfg Config, log *slog.Logger) *Clock { return open(cfg, log, linux) }

func open(cfg Config, log *slog.Logger, m machine) *Clock {
	c := &Clock{cfg: cfg, log: log, machine: m, query: ask, again: make(chan struct{}, 1), settled: make(chan struct{})}
	floor := Built
	s := State{Trust: Battery}
	if saved, err := c.saved(); err == nil && saved.After(floor) {
		floor, s.Seen = saved, true
	} else if err != nil {
		log.Warn("the last time seen", "error", err)
	}
	now := m.now()
	rtc, err := m.rtc()
	switch {
	case err == nil && !rtc.Before(floor) && rtc.Before(Built.Add(ahead)):
		if off := rtc.Sub(now).Abs(); off > 2*time.Second {
			c.set(rtc)
		}
	case err == nil && rtc.Before(floor):
		s.Trust, s.Problem = Guessed, "the battery of the clock is empty: dates may be wrong until a time server answers"
	case err == nil:
		s.Trust, s.Problem = Guessed, fmt.Sprintf("the battery clock says %d: dates may be wrong until a time server answers", rtc.Year())
	default:
		s.Trust, s.Problem = Guessed, "there is no battery clock: dates may be wrong until a time server answers"
	}
	if s.Trust == Guessed && (now.Before(floor) || now.After(Built.Add(ahead))) {
		c.set(floor)
	}
	log.Info("clock", "time", m.now().UTC().Format(time.RFC3339), "trust", s.Trust, "battery_clock", err == nil)
	c.State.Set(s)
	return c
}

// Settled is closed when time servers have answered for the first time, and the clock was moved.
func (c *Clock) Settled() <-chan struct{} { return c.settled }

// Found tells of time servers that the network named (DHCP option 42).
func (c *Clock) Found(servers []netip.Addr) {
	var more []string
	for _, s := range servers {
		more = append(more, s.String())
	}
	c.mu.Lock()
	c.more = more
	c.mu.Unlock()
	select {
	case c.again <- struct{}{}:
	default:
	}
}

func (c *Clock) servers() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[string]bool{}
	for _, s := range append(append([]string(nil), c.more...), c.cfg.Servers...) {
		if !seen[s] && len(all) < maxServers {
			seen[s] = true
			all = append(all, s)
		}
	}
	return all
}

// Run is the service. It ends with the time in its file.
func (c *Clock) Run(ctx context.Context) error {
	supervise.Healthy(ctx)
	defer c.Save()
	saved := c.machine.now()
	for pause := pollFirst; ; {
		ok := c.round(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case ok && pause < pollLeast:
			pause = pollLeast
		default:
			pause = min(2*pause, pollMost)
		}
		if now := c.machine.now(); now.Sub(saved).Abs() > saveEvery {
			saved = now
			c.Save()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause*3/4 + rand.N(pause/2)): // not all boxes of a house at once
		case <-c.again: // there are other servers
			pause = pollFirst
		}
	}
}

// round asks all servers once and moves the clock. It says whether they agreed.
func (c *Clock) round(ctx context.Context) bool {
	names := c.servers()
	if len(names) == 0 {
		return false
	}
	samples, servers := c.askAll(ctx, names)
	if ctx.Err() != nil {
		return false
	}
	s, _ := c.State.Get()
	s.Servers = servers
	best, votes := agree(samples)
	if votes == 0 {
		if s.Trust == Guessed || s.Synced.IsZero() {
			s.Problem = "no time server answers: " + untrusted(s.Trust)
		}
		if len(samples) > 0 {
			s.Problem = "the time servers contradict each other: " + untrusted(s.Trust)
		}
		c.State.Set(s)
		return false
	}
	if why := c.move(&s, best, votes); why != "" {
		s.Problem = why
		c.log.Warn("the clock stays", "why", why, "offset", best.offset)
		c.State.Set(s)
		return false
	}
	if s.Trust != Network {
		c.log.Info("time servers agree", "offset", best.offset.Round(time.Millisecond), "servers", votes)
	}
	s.Trust, s.Synced, s.Offset, s.Problem = Network, c.machine.now(), best.offset, ""
	if err := c.machine.setRTC(c.machine.now()); err != nil {
		c.log.Debug("battery clock", "error", err)
	}
	c.State.Set(s)
	c.once.Do(func() { close(c.settled) })
	return true
}

func untrusted(t Trust) string {
	if t == Guessed {
		return "dates may be wrong"
	}
	return "the clock goes on by itself"
}

// askAll asks the servers side by side.
func (c *Clock) askAll(ctx context.Context, names []string) (samples []sample, servers []Server) {
	type answer struct {
		sample
		err error
	}
	answers := make([]answer, len(names))
	var wg sync.WaitGroup
	for i, n := range names {
		wg.Go(func() { answers[i].sample, answers[i].err = c.query(ctx, n) })
	}
	wg.Wait()
	for i, a := range answers {
		s := Server{Name: names[i], Offset: a.offset}
		if a.err != nil {
			s = Server{Name: names[i], Error: a.err.Error()}
		} else {
			samples = append(samples, a.sample)
		}
		servers = append(servers, s)
	}
	return samples, servers
}

// move brings the clock to what servers say, or says why not.
func (c *Clock) move(s *State, best sample, votes int) (why string) {
	now := c.machine.now()
	to := now.Add(best.offset)
	switch off := best.offset.Abs(); {
	case to.Before(Built):
		return fmt.Sprintf("the time servers say %s, which is before this version was made: they are not believed", to.UTC().Format(time.DateOnly))
	case off > panicAt && s.Trust != Guessed:
		if votes >= confirmBy {
			c.far++
		}
		if votes < confirmBy || c.far < confirm {
			return fmt.Sprintf("%d time servers say that the clock is off by %v; that is believed when %d say so twice", votes, off.Round(time.Second), confirmBy)
		}
		fallthrough
	case off > slewMost:
		c.log.Info("the clock jumps", "from", now.UTC().Format(time.RFC3339Nano), "by", best.offset)
		c.set(to)
		s.Steps++
	default:
		if err := c.machine.slew(best.offset); err != nil {
			c.log.Warn("the clock cannot be moved", "error", err)
		}
	}
	c.far = 0
	return ""
}

func (c *Clock) set(t time.Time) {
	if err := c.machine.step(t); err != nil {
		c.log.Warn("the clock cannot be set", "error", err)
	}
}

// saved reads the file. A damaged one is set aside; none is the zero time.
func (c *Clock) saved() (t time.Time, err error) {
	if c.cfg.Dir == "" {
		return t, nil
	}
	path := filepath.Join(c.cfg.Dir, fileName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	t, err = time.Parse(time.RFC3339, strings.TrimSpace(string(text)))
	if err == nil && t.After(Built.Add(ahead)) {
		err = fmt.Errorf("%s is too far in the future", t.Format(time.DateOnly))
	}
	if err != nil {
		aside, aerr := state.SetAside(path, time.Now())
		return time.Time{}, errors.Join(fmt.Errorf("%s is damaged, now %s: %w", path, aside, err), aerr)
	}
	return t, nil
}

// Save keeps the time for the next start.
func (c *Clock) Save() {
	if c.cfg.Dir == "" {
		return
	}
	text := c.machine.now().UTC().Format(time.RFC3339) + "\n"
	if err := state.Write(filepath.Join(c.cfg.Dir, fileName), []byte(text), 0o644); err != nil {
		c.log.Warn("the time is not kept", "error", err)
	}
}

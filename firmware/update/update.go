// Package update replaces the box's own system while it serves. A signed file (package images/bundle) comes from the
// owner's hand or from a feed, is written to the slot that does not run (package slot), is read back, and boots on trial
// from the next restart on. There it is found good when the server has answered itself for some minutes, or is left: the
// box goes back to what it ran before by itself, and says why.
//
// No release below one that this box has found good is installed: the floor rises with each, in the TPM where there is
// one, and in the state beside it.
//
// What outlives a restart stays readable for the system before, which may come back at any moment of a trial. Files of
// state have a number for their form. Fields are added, never given another meaning, and unknown ones are left alone; a
// file gets a higher number only once the system that wrote the lower one cannot come back, that is after the trial. So
// a new system reads both forms, and writes the old one until it has been found good.
package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"aead.dev/minisign"

	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/firmware/update/slot"
	"github.com/postern-nas/postern/firmware/watch"
	"github.com/postern-nas/postern/images/bundle"
)

// Where an image says what it is, and whose updates it takes; tools/mkimage writes both.
const (
	ReleaseFile = "etc/postern/release.json"
	KeysFile    = "etc/postern/update.keys"
)

// Options are what an Updater works with.
type Options struct {
	Dir     string               // of the state
	Slots   slot.Slots           // nil: this is no box, and nothing can be installed
	Running bundle.Release       // what the image calls itself
	Trusted []minisign.PublicKey // whose updates it takes
	Boot    string               // differs from boot to boot

	// Waits says that Join will come: until then nothing is healthy, and no feed is asked.
	Waits bool

	Floor   Floor                                        // nil: no TPM; the state's alone
	Healthy func(context.Context) error                  // says what is not as it should be; nil: nothing can be said
	Prepare func(context.Context, bundle.Manifest) error // called before an image may boot, to give it the secrets; nil: none
	Crash   func() string                                // what the kernel last said of a crash, in a line; nil: it cannot be known
	Good    func() error                                 // called when the running system was found good, to bind the secrets to it alone; nil: none
	Restart func()                                       // nil: the owner does it

	Config
	Client *http.Client // nil: one with bounds
	Log    *slog.Logger // nil discards
}

// Config is what the owner decides.
type Config struct {
	Feed      string        // URL; "": none
	Every     time.Duration // how often to ask it
	Automatic bool          // install what it offers, and restart
	At        string        // "15:04", UTC: when to restart for that; "" at once
	Trial     time.Duration // how long a new system has to be healthy
	Tries     int           // how often it may start until then
}

// A Floor is the lowest number that may be installed, kept where wiping the disk does not reach it.
type Floor interface {
	Floor() (uint64, error)
	RaiseFloor(to uint64) error
}

// Phases of an update.
type Phase string

// The phases, in order.
const (
	Idle       Phase = "idle"
	Receiving  Phase = "receiving" // and writing
	Checking   Phase = "checking"  // what was written
	Ready      Phase = "ready"     // the next restart boots it
	Restarting Phase = "restarting"
	OnTrial    Phase = "on trial" // the running one is new
)

// A Status says how far things are.
type Status struct {
	Phase   Phase
	Percent int
	Running bundle.Release
	Next    bundle.Release // the one that Phase is about; zero when idle
	Offered bundle.Release // newer, in the feed; zero if none
	Until   time.Time      // OnTrial: when it will be found good, if nothing happens
	Err     string         // why the last attempt came to nothing; "" if it did not
	Last    Outcome        // of the update before; its Time is zero if there was none
}

// An Outcome is what became of an update.
type Outcome struct {
	Release bundle.Release `json:"release"`
	Good    bool           `json:"good"`
	Why     string         `json:"why,omitempty"` // not Good: it was rolled back because
	Time    time.Time      `json:"time"`
}

func (o Outcome) String() string {
	switch {
	case o.Time.IsZero():
		return "no update yet"
	case o.Good:
		return fmt.Sprintf("update %s was installed", o.Release)
	}
	return fmt.Sprintf("update %s was rolled back: %s", o.Release, o.Why)
}

// Why nothing is installed.
var (
	ErrNoBox    = errors.New("this is a program on your system, and no box of its own: update it as you installed it")
	ErrBusy     = errors.New("another update is under way")
	ErrOnTrial  = errors.New("the running version is on trial itself; try again in a few minutes")
	ErrBoard    = errors.New("this update is for another kind of box")
	ErrOld      = errors.New("this update is older than what the box has run: it would bring back mistakes that are known by now")
	ErrNotNewer = errors.New("this update is not newer than what runs")
	ErrCanceled = errors.New("the update was canceled")
)

// An Updater updates one box.
type Updater struct {
	Status watch.Value[Status]
	log    *slog.Logger
	joined chan struct{} // closed when all options are there
	failed chan error    // the server has ended

	changing sync.Mutex // o
	o        Options

	mu     sync.Mutex
	now    Status
	record record
	cancel context.CancelCauseFunc // of what is under way; nil if nothing is

	telling sync.Mutex // guards what follows; mu may be taken under it
	told    Told
	untold  []func(Told)
}

// Open reads what is known. A record that cannot be read is set aside and reported.
func Open(o Options) (*Updater, error) {
	u := &Updater{o: o, log: o.Log, joined: make(chan struct{}), failed: make(chan error, 1)}
	if u.log == nil {
		u.log = slog.New(slog.DiscardHandler)
	}
	if !o.Waits {
		close(u.joined)
	}
	var err error
	if u.record, err = loadRecord(o.Dir, u.log); err != nil {
		return nil, err
	}
	u.set(func(s *Status) { s.Phase, s.Running, s.Last = Idle, o.Running, u.record.Last })
	return u, nil
}

// Join fills in what was not there yet when the Updater was opened: on a box it has to run before anything else, or a new
// system that cannot open its keys, or read its configuration, would be on trial for ever.
func (u *Updater) Join(fill func(*Options)) {
	u.changing.Lock()
	fill(&u.o)
	u.changing.Unlock()
	u.mu.Lock()
	floor, trial := u.record.Floor, u.record.Trial
	u.mu.Unlock()
	if chip := u.options().Floor; chip != nil && floor > 0 { // it may not have been there when the floor rose
		err := chip.RaiseFloor(floor)
		if good := u.options().Good; err != nil && good != nil && trial == nil && u.options().Running.Number >= floor {
			if err = good(); err == nil { // the keys were still bound to the version before
				err = chip.RaiseFloor(floor)
			}
		}
		if err != nil {
			u.log.Error("the TPM does not keep that older versions are refused", "error", err)
		}
	}
	if running, floor := u.options().Running, u.floor(); running.Number < floor {
		old := fmt.Sprintf("version %s runs, and this box has run %d: somebody has put an older one back", running, floor)
		u.log.Error(old)
		u.set(func(s *Status) { s.Err = old })
	}
	select {
	case <-u.joined:
	default:
		close(u.joined)
	}
}

// Fail says that the server has ended and will not come back. A system on trial is given up then.
func (u *Updater) Fail(why error) {
	select {
	case u.failed <- why:
	default:
	}
}

func (u *Updater) options() Options {
	u.changing.Lock()
	defer u.changing.Unlock()
	return u.o
}

// set changes the status.
func (u *Updater) set(change func(*Status)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(&u.now)
	u.Status.Set(u.now)
}

func (u *Updater) status() Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.now
}

// begin makes sure that there is one at a time, also between processes.
func (u *Updater) begin(ctx context.Context) (context.Context, func(), error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.cancel != nil {
		return nil, nil, ErrBusy
	}
	unlock, err := state.Lock(u.options().Dir, "update.lock", false)
	if errors.Is(err, state.ErrLocked) {
		return nil, nil, ErrBusy
	}
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	u.cancel = cancel
	return ctx, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.cancel = nil
		cancel(nil)
		unlock()
	}, nil
}

// Cancel ends what is being installed. Where nothing is, but an update waits for the restart, that is taken back.
func (u *Updater) Cancel() error {
	u.mu.Lock()
	cancel := u.cancel
	u.mu.Unlock()
	if cancel != nil {
		cancel(ErrCanceled)
		return nil
	}
	if u.status().Phase != Ready {
		return nil
	}
	_, end, err := u.begin(context.Background())
	if err != nil {
		return err
	}
	defer end()
	if err := u.options().Slots.Clean(true); err != nil {
		return err
	}
	u.set(func(s *Status) { s.Phase, s.Next, s.Percent = Idle, bundle.Release{}, 0 })
	return u.keep(func(r *record) { r.Trial = nil })
}

// Restart restarts the box into an update that is ready.
func (u *Updater) Restart() error {
	if u.options().Restart == nil {
		return ErrNoBox
	}
	u.set(func(s *Status) { s.Phase = Restarting })
	u.options().Restart()
	return nil
}

// InstallFile installs the bundle at path.
func (u *Updater) InstallFile(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return u.Install(ctx, f)
}

// Examine reads a bundle that lies on a stick up to its image and says which release it brings. The error says in plain
// words why it is not to be installed, and is told; ErrNotNewer, which is not, is the owner's to overrule with Install.
func (u *Updater) Examine(r io.Reader) (bundle.Release, error) {
	refuse := func(release bundle.Release, err error) (bundle.Release, error) {
		u.tell(context.Background(), Event{Kind: Refused, Release: release, Way: ByStick, Why: err.Error(), Itself: true})
		return bundle.Release{}, err
	}
	b, err := bundle.NewReader(r, u.options().Trusted)
	if err != nil {
		return refuse(bundle.Release{}, err)
	}
	if err := u.admit(b.Manifest.Release); err != nil {
		return refuse(b.Manifest.Release, err)
	}
	if running := u.options().Running; b.Manifest.Number <= running.Number {
		return bundle.Release{}, fmt.Errorf("%w: it brings %s, and %s runs", ErrNotNewer, b.Manifest.Release, running)
	}
	return b.Manifest.Release, nil
}

// InstallExamined is Install of a bundle that has to bring the release that Examine said.
func (u *Updater) InstallExamined(ctx context.Context, r io.Reader, release bundle.Release) error {
	return u.install(ctx, r, release, ByStick)
}

// Install reads a bundle to its end and installs it. When it returns nil, the next restart boots it. The error says in
// plain words why not, and is in the status too.
func (u *Updater) Install(ctx context.Context, r io.Reader) error {
	return u.install(ctx, r, bundle.Release{}, "")
}

// install also compares the bundle with what was promised, unless that is zero, and tells what became of it.
func (u *Updater) install(ctx context.Context, r io.Reader, promised bundle.Release, way Way) error {
	e := Event{Release: promised, Way: way, Itself: way == ByFeed}
	err := u.put(ctx, r, promised, &e.Release)
	if err != nil {
		e.Kind, e.Why = Refused, err.Error()
	}
	u.tell(ctx, e)
	return err
}

// put is install. came is set to the release as soon as its signature was right.
func (u *Updater) put(ctx context.Context, r io.Reader, promised bundle.Release, came *bundle.Release) (err error) {
	if u.options().Slots == nil {
		return ErrNoBox
	}
	ctx, end, err := u.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	defer func() {
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
		if err != nil {
			u.log.Warn("the update is refused", "why", err)
			u.set(func(s *Status) {
				s.Err = err.Error()
				if s.Phase != OnTrial {
					s.Phase, s.Next, s.Percent = Idle, bundle.Release{}, 0
				}
			})
		}
	}()
	if c, ok := r.(io.Closer); ok { // a read that waits for the network ends so
		defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	}
	if st, err := u.options().Slots.Status(); err != nil {
		return err
	} else if st.Trial {
		return ErrOnTrial
	}
	b, err := bundle.NewReader(&cancelable{ctx, r}, u.options().Trusted)
	if err != nil {
		return err
	}
	m := b.Manifest
	*came = m.Release
	if err := u.admit(m.Release); err != nil {
		return err
	}
	if promised.Number != 0 && promised != m.Release {
		return fmt.Errorf("%w: %s was promised, and %s came", bundle.ErrDamaged, promised, m.Release)
	}
	u.log.Info("installing an update", "update", m.Release.String(), "bytes", m.Image.Stored)
	u.set(func(s *Status) { s.Phase, s.Next, s.Percent, s.Err = Receiving, m.Release, 0, "" })
	if err := u.receive(b); err != nil {
		return errors.Join(err, u.options().Slots.Clean(false))
	}
	u.set(func(s *Status) { s.Phase, s.Percent = Checking, 90 })
	if err := u.options().Slots.Check(m.Image.Sum()); err != nil {
		return errors.Join(err, u.options().Slots.Clean(false))
	}
	if err := u.arm(ctx, m); err != nil {
		return err
	}
	u.log.Info("the update is ready; the next restart tries it", "update", m.Release.String())
	u.set(func(s *Status) { s.Phase, s.Percent, s.Offered = Ready, 100, bundle.Release{} })
	return nil
}

// admit says whether a release may be installed here.
func (u *Updater) admit(r bundle.Release) error {
	if r.Board != u.options().Running.Board {
		return fmt.Errorf("%w: for %s, and this is %s", ErrBoard, r.Board, u.options().Running.Board)
	}
	if floor := u.floor(); r.Number < floor {
		return fmt.Errorf("%w (%d, and at least %d is needed)", ErrOld, r.Number, floor)
	}
	return nil
}

// floor is the lowest number that may be installed.
func (u *Updater) floor() uint64 {
	u.mu.Lock()
	floor := u.record.Floor
	u.mu.Unlock()
	if u.options().Floor == nil {
		return floor
	}
	chip, err := u.options().Floor.Floor()
	if err != nil {
		// Nothing below the running one then: the chip's is that at most, unless the running one should not be here.
		u.log.Error("the TPM does not tell the oldest version that may be installed; none older than the running one may", "error", err)
		chip = u.options().Running.Number
	}
	return max(floor, chip)
}

// receive writes the image to the slot that does not run.
func (u *Updater) receive(b *bundle.Reader) error {
	image := b.Manifest.Image
	return u.options().Slots.Write(image.Size, func(w io.Writer) error {
		return b.WriteImage(w, func(done int64) {
			u.set(func(s *Status) { s.Percent = int(done * 90 / image.Stored) })
		})
	})
}

// arm makes the image that was stored the next to be tried. The record comes first: should the power go between, the
// record tells of an update that did not come to be, which is true.
func (u *Updater) arm(ctx context.Context, m bundle.Manifest) error {
	if u.options().Prepare != nil {
		if err := u.options().Prepare(ctx, m); err != nil {
			return errors.Join(fmt.Errorf("the new version could not be given the box's secrets: %w", err), u.options().Slots.Clean(false))
		}
	}
	if err := context.Cause(ctx); err != nil {
		return errors.Join(err, u.options().Slots.Clean(false))
	}
	next, err := u.options().Slots.Next()
	if err != nil {
		return err
	}
	err = u.keep(func(r *record) {
		r.Trial = &trial{Release: m.Release, Slot: next, From: u.options().Running, Boot: u.options().Boot, Armed: time.Now().UTC()}
	})
	if err != nil {
		return err
	}
	tries := u.options().Tries
	if tries < 1 || tries > slot.MaxTries {
		tries = slot.MaxTries
	}
	return u.options().Slots.TryNext(tries)
}

// cancelable stops reading when ctx ends. A reader that blocks is its owner's to close.
type cancelable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelable) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// line makes one line of a text that may have been anybody's.
func line(text string, most int) string {
	text = strings.Join(strings.Fields(strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return ' '
		}
		return c
	}, text)), " ")
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}

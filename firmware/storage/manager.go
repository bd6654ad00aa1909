package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/watch"
)

const (
	// fileName lists the pools that the owner has said to mount, in the state folder.
	fileName = "pools.json"
	maxKnown = 64
	// lookTime is how long a disk may take to show its ends; a disk that has to spin up takes ten seconds.
	lookTime = 20 * time.Second
	// settle is how long to wait for more to change: a disk announces itself and each of its partitions.
	settle = 300 * time.Millisecond
	// refresh is how often the room in the pools is looked at.
	refresh = time.Minute
)

var errSlow = errors.New("does not answer")

// A Manager keeps disks and pools. Use New.
type Manager struct {
	State watch.Value[State]

	cfg   Config
	log   *slog.Logger
	poke  chan struct{}
	ready chan struct{}
	once  sync.Once

	stuckMu sync.Mutex
	stuck   map[string]bool // devices that are being read, or never answered

	mu       sync.Mutex
	disks    []device
	pools    []Pool
	known    map[string]string    // UUID to name
	health   map[string]Disk      // by ID or, without one, by name
	mounts   map[string]string    // UUID to where it is
	problems map[string]string    // UUID to why it is not mounted
	awaited  map[string]time.Time // UUID to until when its missing disks are waited for
	lacking  map[string]bool      // UUIDs of pools that were mounted without a disk
	job      *Job
	stopJob  context.CancelFunc
}

// New returns a Manager that has read which pools to mount, and does nothing until Run.
func New(cfg Config, log *slog.Logger) *Manager {
	cfg.fill()
	m := &Manager{
		cfg: cfg, log: log, poke: make(chan struct{}, 1), ready: make(chan struct{}), known: map[string]string{}, health: map[string]Disk{},
		stuck: map[string]bool{}, mounts: map[string]string{}, problems: map[string]string{}, awaited: map[string]time.Time{},
		lacking: map[string]bool{},
	}
	if err := m.load(); err != nil {
		log.Error("which pools to mount", "error", err)
	}
	return m
}

// Ready is closed when the pools that are known and there have been mounted, or have failed to be.
func (m *Manager) Ready() <-chan struct{} { return m.ready }

// Expects says whether the owner has named pools to mount.
func (m *Manager) Expects() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.known) > 0
}

// SetBays says where this board's disks are plugged in, as soon as somebody has opened the board.
func (m *Manager) SetBays(bays []board.Bay) {
	m.mu.Lock()
	m.cfg.Bays = bays
	m.mu.Unlock()
	m.rescan()
}

// config is m.cfg, whose bays may change.
func (m *Manager) config() Config {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cfg
}

// Run is the service.
func (m *Manager) Run(ctx context.Context) error {
	events, err := openEvents()
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- follow(events, m.rescan) }()
	defer events.Close()
	supervise.Healthy(ctx)
	examined := make(chan struct{}, 1)
	go m.examineAll(ctx, examined)
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		m.update(ctx)
		m.once.Do(func() { close(m.ready) })
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return fmt.Errorf("kernel events: %w", err)
		case <-examined:
		case <-tick.C:
		case <-m.poke:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(settle):
			}
		}
	}
}

// rescan asks for another look.
func (m *Manager) rescan() {
	select {
	case m.poke <- struct{}{}:
	default:
	}
}

// update looks at everything, mounts what is known and has come, and lets go of what has gone.
func (m *Manager) update(ctx context.Context) {
	disks, err := scan(m.config())
	if err != nil {
		m.log.Error("disks cannot be listed", "error", err)
		return
	}
	contents := m.lookAll(ctx, disks)
	m.mu.Lock()
	m.tellChanges(disks)
	m.disks = disks
	pools := m.assemble(contents)
	busy := m.job != nil && !m.job.Done
	m.pools = pools
	m.mu.Unlock()
	for _, p := range pools {
		if busy || ctx.Err() != nil {
			break
		}
		switch {
		case p.Known && p.Path == "" && len(p.Disks) > 0:
			if p.copied || m.awaits(p) {
				continue
			}
			if err := m.mountPool(ctx, p); err != nil {
				m.log.Error("a pool does not mount", "pool", p.Name, "error", err)
			}
		case p.Path != "" && len(p.Disks) == 0:
			m.log.Error("the disks of a pool have gone", "pool", p.Name)
			m.letGo(p)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pools = m.assemble(contents)
	m.publishLocked()
}

// awaits says whether a pool's missing disks may still come. Disks that spin up appear one after the other; a mirror that
// is mounted without one writes what the late one will never have.
func (m *Manager) awaits(p Pool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.Missing == 0 {
		delete(m.awaited, p.UUID)
		return false
	}
	until, ok := m.awaited[p.UUID]
	if !ok {
		until = time.Now().Add(m.cfg.Patience)
		m.awaited[p.UUID] = until
		time.AfterFunc(m.cfg.Patience, m.rescan)
		m.log.Warn("a pool lacks disks, and waits for them", "pool", p.Name, "missing", p.Missing, "for", m.cfg.Patience)
	}
	return time.Now().Before(until)
}

// tellChanges logs disks that came and went. m.mu is held.
func (m *Manager) tellChanges(now []device) {
	in := func(list []device, d device) bool {
		return slices.ContainsFunc(list, func(o device) bool { return o.Name == d.Name && o.ID == d.ID })
	}
	for _, d := range now {
		if !in(m.disks, d) {
			m.log.Info("a disk", "name", d.Name, "model", d.Model, "id", d.ID, "bytes", d.Bytes, "bay", d.Bay)
		}
	}
	for _, d := range m.disks {
		if !in(now, d) {
			m.log.Warn("a disk has gone", "name", d.Name, "model", d.Model, "id", d.ID, "bay", d.Bay)
			m.setStuck(d.Name, false)
		}
	}
}

// lookAll looks at all disks side by side and fills in what they hold.
func (m *Manager) lookAll(ctx context.Context, disks []device) map[string]content {
	all := map[string]content{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range disks {
		wg.Go(func() {
			d := &disks[i]
			for _, name := range append([]string{d.Name}, d.parts...) {
				c, err := m.look(name)
				if err != nil {
					d.Health, d.Problem = Failed, "it does not answer: "+failure(err)
					if errors.Is(err, errSlow) {
						d.Problem = "it does not answer; the box goes on without it"
					}
					return
				}
				if c.words != "" {
					d.Holds = append(d.Holds, c.words)
				}
				mu.Lock()
				all[name] = c
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all
}

// look reads what a device holds, for as long as that may take. One that is stuck is not asked a second time.
func (m *Manager) look(name string) (content, error) {
	if m.isStuck(name) {
		return content{}, errSlow
	}
	type answer struct {
		c   content
		err error
	}
	done := make(chan answer, 1)
	m.setStuck(name, true)
	go func() {
		c, err := readDevice(filepath.Join(m.cfg.Dev, name))
		m.setStuck(name, false)
		done <- answer{c, err}
	}()
	select {
	case a := <-done:
		return a.c, a.err
	case <-time.After(lookTime):
		return content{}, errSlow
	}
}

func (m *Manager) isStuck(name string) bool {
	m.stuckMu.Lock()
	defer m.stuckMu.Unlock()
	return m.stuck[name]
}

func (m *Manager) setStuck(name string, is bool) {
	m.stuckMu.Lock()
	defer m.stuckMu.Unlock()
	if is {
		m.stuck[name] = true
	} else {
		delete(m.stuck, name)
	}
}

func readDevice(path string) (c content, err error) {
	f, err := os.Open(path)
	if err != nil {
		return c, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return c, err
	}
	return read(f, size)
}

// assemble makes pools of what devices hold. m.mu is held.
func (m *Manager) assemble(contents map[string]content) (pools []Pool) {
	by := map[string]*Pool{}
	var order []string
	for i := range m.disks {
		d := &m.disks[i]
		for _, name := range append([]string{d.Name}, d.parts...) {
			c, ok := contents[name]
			if !ok || c.kind == "" || d.System {
				continue
			}
			p := by[c.uuid]
			if p == nil {
				p = &Pool{UUID: c.uuid, Kind: c.kind, Name: folder(c.label), Total: int64(c.bytes), Missing: int(min(max(c.disks, 1), maxDisks))}
				by[c.uuid] = p
				order = append(order, c.uuid)
			}
			p.Disks = append(p.Disks, name)
			p.Missing--
			d.Pool = c.uuid
		}
	}
	for id, name := range m.known { // those that are not there are missed
		if by[id] == nil {
			by[id] = &Pool{UUID: id, Name: name}
			delete(m.awaited, id) // when one disk comes back, the others may as well
			order = append(order, id)
		}
	}
	slices.Sort(order)
	taken := map[string]bool{}
	for _, known := range []bool{true, false} { // known ones have their names first
		for _, id := range order {
			p := by[id]
			name, ok := m.known[id]
			if p.Known = ok; ok != known {
				continue
			}
			if ok {
				p.Name = name
			}
			if p.Name == "" {
				p.Name = "pool-" + p.UUID[:min(8, len(p.UUID))]
			}
			for base, n := p.Name, 2; taken[p.Name]; n++ {
				p.Name = fmt.Sprintf("%s-%d", base, n)
			}
			taken[p.Name] = true
			p.copied = p.Missing < 0 && len(p.Disks) > 0
			p.Missing = max(0, p.Missing)
			m.measure(p)
			pools = append(pools, *p)
		}
	}
	slices.SortFunc(pools, func(a, b Pool) int { return cmp.Compare(a.Name, b.Name) })
	return pools
}

// publishLocked sets the state. m.mu is held.
func (m *Manager) publishLocked() {
	s := State{Pools: slices.Clone(m.pools), Job: m.job}
	for _, d := range m.disks {
		if h, ok := m.health[d.key()]; ok && d.Health != Failed {
			d.Health, d.Celsius, d.Hours, d.Checked, d.Problem = h.Health, h.Celsius, h.Hours, h.Checked, h.Problem
			d.Model = cmp.Or(d.Model, h.Model)
		}
		s.Disks = append(s.Disks, d.Disk)
	}
	m.State.Set(s)
}

func (d device) key() string { return cmp.Or(d.ID, d.Name) }

// examineAll asks the disks how they do, one after the other, now and then.
func (m *Manager) examineAll(ctx context.Context, done chan<- struct{}) {
	if m.cfg.CheckEvery <= 0 {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-m.ready:
	}
	for told := false; ; {
		m.mu.Lock()
		disks := slices.Clone(m.disks)
		m.mu.Unlock()
		for _, d := range disks {
			if m.isStuck(d.Name) || ctx.Err() != nil {
				continue
			}
			h, err := examine(ctx, filepath.Join(m.cfg.Dev, d.Name), m.cfg.WarnCelsius)
			if errors.Is(err, errAsleep) {
				continue
			}
			if err != nil {
				if !told {
					m.log.Info("a disk does not say how it does", "name", d.Name, "error", err)
				}
				told = true
				continue
			}
			h.Checked = time.Now()
			m.mu.Lock()
			if old := m.health[d.key()]; old.Problem != h.Problem && h.Problem != "" {
				m.log.Warn("a disk's health", "name", d.Name, "model", d.Model, "id", d.ID, "problem", h.Problem)
			}
			if len(m.health) < 4*maxDisks {
				m.health[d.key()] = h
			}
			m.mu.Unlock()
		}
		select {
		case done <- struct{}{}:
		default:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(m.cfg.CheckEvery):
		}
	}
}

// load reads which pools are known. A damaged file is set aside: the pools are listed, and their owner says again.
func (m *Manager) load() error {
	if m.cfg.Dir == "" {
		return nil
	}
	path := filepath.Join(m.cfg.Dir, fileName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var list map[string]string
	if err = json.Unmarshal(b, &list); err == nil {
		for id, name := range list {
			if clean, nerr := checkName(name); nerr != nil || clean != name || !isUUID(id) || len(list) > maxKnown {
				err = fmt.Errorf("%q is no pool", id)
			}
		}
	}
	if err != nil {
		aside, aerr := state.SetAside(path, time.Now())
		return errors.Join(fmt.Errorf("%s is damaged, now %s: %w", path, aside, err), aerr)
	}
	m.known = list
	if m.known == nil {
		m.known = map[string]string{}
	}
	return nil
}

// saveLocked writes which pools are known. m.mu is held.
func (m *Manager) saveLocked() error {
	if m.cfg.Dir == "" {
		return nil
	}
	b, err := json.MarshalIndent(m.known, "", "\t")
	if err != nil {
		return err
	}
	return state.Write(filepath.Join(m.cfg.Dir, fileName), append(b, '\n'), 0o600)
}

func isUUID(s string) bool {
	return len(s) == 36 && strings.Trim(s, "0123456789abcdef-") == ""
}

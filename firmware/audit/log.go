package audit

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/postern-nas/postern/firmware/watch"
)

// A Config says where a Log is and how large it may become. Zero values mean the defaults named beside them.
type Config struct {
	Dir   string // audit.jsonl, the newest, and audit.1.jsonl to audit.N.jsonl, each older than the one before
	Size  int64  // bytes of one file: 1 MiB
	Files int    // how many there are at most: 8
	Log   *slog.Logger
	// Send gets every event after it was numbered and tamed, for example a Syslog's Send. It must not wait.
	Send func(Event)
}

const (
	queue     = 1024        // events between those who record and the disk
	syncEvery = time.Second // what a power cut may cost
	burst     = 200         // events of one kind that are recorded at once
	refill    = 5.0         // more of a kind, a second
	fileName  = "audit.jsonl"
	maxSeq    = 1 << 53 // beyond it is damage: nobody records so much
)

// A Log records events. Recording never waits for the disk.
type Log struct {
	cfg    Config
	log    *slog.Logger
	newest watch.Value[uint64]
	events chan Event
	done   chan struct{}

	mu     sync.Mutex // guards what follows
	seq    uint64
	closed bool
	kinds  map[ID]*allowance

	disk sync.Mutex // guards the files
	f    *os.File
	size int64
}

// allowance is a bucket of tokens: a flood of one kind neither fills the disk nor pushes the other kinds out.
type allowance struct {
	tokens  float64
	at      time.Time
	skipped uint64
}

// Open opens the log in cfg.Dir, which is made if it is missing, and goes on behind the last event in it.
func Open(cfg Config) (*Log, error) {
	cfg.Size = cmp.Or(cfg.Size, 1<<20)
	cfg.Files = cmp.Or(cfg.Files, 8)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Size < maxLine || cfg.Files < 1 || cfg.Files > 1000 {
		return nil, fmt.Errorf("audit: %d files of %d bytes: at least one file of %d is needed, at most 1000", cfg.Files, cfg.Size, maxLine)
	}
	l := &Log{cfg: cfg, log: cfg.Log, events: make(chan Event, queue), done: make(chan struct{}), kinds: make(map[ID]*allowance)}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	for n := 0; n < cfg.Files && l.seq == 0; n++ {
		l.seq = lastSeq(l.path(n))
	}
	l.newest.Set(l.seq)
	go l.run()
	return l, nil
}

// path is the file that is n rotations old.
func (l *Log) path(n int) string {
	if n == 0 {
		return filepath.Join(l.cfg.Dir, fileName)
	}
	return filepath.Join(l.cfg.Dir, fmt.Sprintf("audit.%d.jsonl", n))
}

// open opens the newest file, and ends a line that a power cut has left open.
func (l *Log) open() (err error) {
	if l.f, err = os.OpenFile(l.path(0), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return err
	}
	st, err := l.f.Stat()
	if err != nil {
		return err
	}
	l.size = st.Size()
	if l.size == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := l.f.ReadAt(last, l.size-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		n, err := l.f.WriteString("\n")
		l.size += int64(n)
		return err
	}
	return nil
}

// lastSeq is the number of the last whole event in a file; 0 if there is none.
func lastSeq(path string) (seq uint64) {
	_ = eachLine(path, func(line []byte) bool {
		var e struct{ Seq uint64 }
		if json.Unmarshal(line, &e) == nil && e.Seq > seq && e.Seq < maxSeq {
			seq = e.Seq
		}
		return true
	})
	return seq
}

// eachLine calls f with the lines of a file, first to last, until it returns false.
func eachLine(path string, f func(line []byte) bool) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 && !f(line) {
			return nil
		}
	}
	return nil
}

// Newest follows the number of the newest event.
func (l *Log) Newest() *watch.Value[uint64] { return &l.newest }

// Record keeps an event. It fills in time, number and name, and makes the texts harmless. It never waits: what is too much
// for the disk or of one kind is counted, and the count is recorded.
func (l *Log) Record(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	now := time.Now()
	k := l.kinds[e.ID]
	if k == nil {
		k = &allowance{tokens: burst, at: now}
		l.kinds[e.ID] = k
	}
	k.tokens = min(burst, k.tokens+refill*now.Sub(k.at).Seconds())
	k.at = now
	if k.tokens < 1 || len(l.events) == cap(l.events) {
		k.skipped++
		return
	}
	k.tokens--
	e.Skipped, k.skipped = k.skipped, 0
	if e.Time.IsZero() {
		e.Time = now
	}
	e.Time = e.Time.UTC()
	l.seq++
	e.Seq, e.Name = l.seq, e.ID.String()
	e.tame()
	l.events <- e // there is room: only Record sends, under mu
	if l.cfg.Send != nil {
		l.cfg.Send(e)
	}
}

// run writes events, and makes them durable within a second.
func (l *Log) run() {
	defer close(l.done)
	var due <-chan time.Time
	dirty := false
	for {
		select {
		case e, ok := <-l.events:
			if !ok {
				l.flush(dirty)
				return
			}
			l.keep(e)
			if !dirty {
				dirty, due = true, time.After(syncEvery)
			}
		case <-due:
			l.flush(dirty)
			dirty, due = false, nil
		}
	}
}

// keep writes one event to the newest file. An event that cannot be written is told in the other log.
func (l *Log) keep(e Event) {
	l.disk.Lock()
	line, err := e.line()
	if err == nil && l.size+int64(len(line)) > l.cfg.Size {
		err = l.rotate()
	}
	if err == nil {
		var n int
		n, err = l.f.Write(line)
		l.size += int64(n)
	}
	l.disk.Unlock()
	if err != nil {
		l.log.Error("an event is missing from the audit log", "event", e.Name, "error", err)
	}
	l.newest.Set(e.Seq)
}

// rotate makes the newest file the second newest, and so on. l.disk is held.
func (l *Log) rotate() error {
	if err := errors.Join(l.f.Sync(), l.f.Close()); err != nil {
		l.log.Error("the audit log", "error", err)
	}
	for n := l.cfg.Files - 1; n > 0; n-- {
		if err := os.Rename(l.path(n-1), l.path(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, l.open())
		}
	}
	if l.cfg.Files == 1 {
		if err := os.Remove(l.path(0)); err != nil {
			return errors.Join(err, l.open())
		}
	}
	return l.open()
}

func (l *Log) flush(dirty bool) {
	if !dirty {
		return
	}
	l.disk.Lock()
	defer l.disk.Unlock()
	if err := l.f.Sync(); err != nil {
		l.log.Error("the audit log is not safe on the disk", "error", err)
	}
}

// Flush waits until what was recorded before can be queried.
func (l *Log) Flush() {
	for {
		l.mu.Lock()
		left := len(l.events)
		want := l.seq
		l.mu.Unlock()
		if got, _ := l.newest.Get(); left == 0 && got >= want {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// Close writes what is left and closes the log. Later events are not recorded.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.events)
	l.mu.Unlock()
	<-l.done
	l.disk.Lock()
	defer l.disk.Unlock()
	return l.f.Close()
}

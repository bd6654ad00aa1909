package update

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/images/bundle"
)

const (
	recordFile = "update.json"
	// recordForm is the highest form of the file that this version reads. A version that needs another meaning of a field
	// writes a higher one, and not before its own trial is over.
	recordForm = 1
	maxRecord  = 64 << 10
	// maxFailed bounds how many failed releases are remembered.
	maxFailed = 16
)

// A record is what outlives a restart.
type record struct {
	Form  int    `json:"form"`
	Floor uint64 `json:"floor"` // lowest number that may be installed
	// Trial is an update between its installation and its end.
	Trial *trial  `json:"trial,omitempty"`
	Last  Outcome `json:"last"`
	// Untold says that Last was rolled back and nobody has been told.
	Untold bool `json:"untold,omitempty"`
	// Failed are the numbers that were rolled back: they are not installed again by themselves.
	Failed []uint64 `json:"failed,omitempty"`
}

// A trial is an update that was installed.
type trial struct {
	Release bundle.Release `json:"release"`
	Slot    string         `json:"slot"`
	From    bundle.Release `json:"from"`
	Boot    string         `json:"boot"` // that it was installed in
	Armed   time.Time      `json:"armed"`
	Starts  int            `json:"starts"`            // how often it came as far as this package
	Started string         `json:"started,omitempty"` // boot of the last of them
	Why     string         `json:"why,omitempty"`     // it was given up
}

// loadRecord reads the record of the folder. There need be none.
func loadRecord(dir string, log *slog.Logger) (record, error) {
	path := filepath.Join(dir, recordFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{Form: recordForm}, nil
	}
	if err != nil {
		return record{}, err
	}
	r, err := parseRecord(text)
	if errors.Is(err, state.ErrLater) {
		return record{}, fmt.Errorf("%s: %w", path, err)
	}
	if err != nil {
		aside, moved := state.SetAside(path, time.Now())
		log.Error("the record of updates cannot be read, and a new one is begun", "error", err, "kept as", aside)
		return record{Form: recordForm}, moved
	}
	return r, nil
}

func parseRecord(text []byte) (r record, err error) {
	if err := state.DecodeJSON(text, maxRecord, recordForm, &r); err != nil {
		return r, err
	}
	switch {
	case r.Form < 1:
		return r, fmt.Errorf("its form is %d", r.Form)
	case r.Floor > bundle.MaxNumber || len(r.Failed) > maxFailed:
		return r, errors.New("its numbers cannot be")
	}
	return r, nil
}

// keep changes the record, on the disk first.
func (u *Updater) keep(change func(*record)) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := u.record
	r.Failed = slices.Clone(r.Failed)
	if r.Trial != nil {
		t := *r.Trial
		r.Trial = &t
	}
	change(&r)
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := state.Write(filepath.Join(u.options().Dir, recordFile), append(text, '\n'), 0o600); err != nil {
		return err
	}
	u.record = r
	return nil
}

func (r *record) fail(number uint64) {
	r.Failed = append(slices.DeleteFunc(r.Failed, func(n uint64) bool { return n == number }), number)
	r.Failed = r.Failed[max(0, len(r.Failed)-maxFailed):]
}

package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/firmware/state"
)

// A backup is put in place whole or not at all, whatever moment the power goes. What is in it is written to a journal
// first, and the moment that the journal's key is kept is the one from which the backup counts: whoever starts then goes
// on with it. The journal is encrypted because there are secrets in it, which this box may keep sealed.
const (
	restoreJournal = "restore.journal"
	maxJournal     = 2 * maxBackup
)

// restoring is why serving ends: what is to be put in place.
type restoring struct{ files map[string][]byte }

func (*restoring) Error() string { return "restore a backup" }

// put puts a backup in place.
func (r *restoring) put(o options, log *slog.Logger) error {
	cfg, err := settings(o)
	if err != nil {
		return err
	}
	ring, done, err := serverKeys(o, cfg, log)
	if err != nil {
		return err
	}
	defer done()
	if now, _ := ring.State().Get(); !now.Open { // a box has kept it open
		if err := ring.Open(); err != nil {
			return err
		}
	}
	for _, step := range r.steps(o.state, ring) {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// steps are what putting a backup in place consists of. Each happens whole or not at all. Before the second nothing has
// happened that counts, and after it finishRestore does the rest.
func (r *restoring) steps(dir string, ring *keys.Ring) []func() error {
	key := make([]byte, 32)
	rand.Read(key)
	list := []func() error{
		func() error {
			sealed, err := sealJournal(r.files, key)
			if err != nil {
				return err
			}
			return state.Write(filepath.Join(dir, restoreJournal), sealed, 0o600)
		},
		func() error { return ring.Write(keys.RestoreKey, key) },
	}
	return append(list, r.replacing(dir, ring)...)
}

// replacing are the steps after the journal: they can be taken again from the first. The secrets come first, then what
// needs them, and the settings last: until then the box is found by its name from before.
func (r *restoring) replacing(dir string, ring *keys.Ring) (list []func() error) {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(r.files)), func(name string) bool { return name == config.FileName })
	for _, name := range names {
		if backupSecrets.MatchString(name) {
			list = append(list, func() error { return ring.Write(name, r.files[name]) })
		}
	}
	for _, name := range append(names, config.FileName) {
		if contents, there := r.files[name]; there && backupFiles.MatchString(name) {
			list = append(list, func() error { return state.Write(filepath.Join(dir, name), contents, 0o600) })
		}
	}
	return append(list, func() error { return ring.Remove(keys.RestoreKey) }, func() error { return gone(filepath.Join(dir, restoreJournal)) })
}

// finishRestore goes on where the power went while a backup was put in place, and reports whether there was one. The
// ring is open.
func finishRestore(dir string, ring *keys.Ring, log *slog.Logger) (done bool, err error) {
	path := filepath.Join(dir, restoreJournal)
	key, err := ring.Read(keys.RestoreKey)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, gone(path)
	case err != nil:
		return false, err
	case bytes.Count(key, []byte{0}) == len(key): // all was done, and the key was being wiped
		return false, errors.Join(ring.Remove(keys.RestoreKey), gone(path))
	}
	files, err := openJournal(path, key)
	if err != nil {
		aside, wrong := state.SetAside(path, time.Now())
		if errors.Is(wrong, fs.ErrNotExist) {
			wrong = nil
		}
		log.Error("a backup was being put in place, and what is left of it cannot be read: restore it once more", "error", err, "now", aside)
		return false, errors.Join(ring.Remove(keys.RestoreKey), wrong)
	}
	log.Warn("a backup was being put in place when the power went; it is now")
	for _, step := range (&restoring{files}).replacing(dir, ring) {
		if err := step(); err != nil {
			return false, fmt.Errorf("the backup could not be put in place: %w", err)
		}
	}
	return true, nil
}

func gone(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func journalCipher(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func sealJournal(files map[string][]byte, key []byte) ([]byte, error) {
	text, err := json.Marshal(files)
	if err != nil {
		return nil, err
	}
	aead, err := journalCipher(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, text, []byte(restoreJournal)), nil
}

func openJournal(path string, key []byte) (map[string][]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxJournal {
		return nil, fmt.Errorf("%s: %d bytes are too many", path, st.Size())
	}
	sealed, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	aead, err := journalCipher(key)
	if err != nil {
		return nil, err
	}
	text, err := aead.Open(nil, nil, sealed, []byte(restoreJournal))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return readBackup(text)
}

package boot

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/firmware/state"
)

// Room in the state folder. Whatever filled it, the box keeps spare bytes to come up with and to be set right.
const (
	spareName  = "spare"
	spareBytes = 4 << 20
	lowBytes   = 1 << 20 // below this the spare is given up
	wellBytes  = 4 * spareBytes
)

// makeRoom frees the spare bytes of a state folder that is full and says so, and sets them aside where there is room.
func makeRoom(dir string, log *slog.Logger) (trouble string) {
	path := filepath.Join(dir, spareName)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		log.Warn("room for the state", "error", err)
		return ""
	}
	free := int64(st.Bavail) * st.Bsize
	switch {
	case free < lowBytes || st.Files > 0 && st.Ffree < 16:
		err := os.Remove(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Warn("the spare room", "error", err)
		}
		log.Error("the state is full", "free", free, "files_free", st.Ffree, "spare_was_there", err == nil)
		return "the place where the box keeps its settings is full: new settings may be lost; " +
			"take a backup of the configuration and reset the box to its factory state"
	case free > wellBytes && !exists(path):
		if err := reserve(path); err != nil {
			log.Warn("the spare room", "error", err)
		}
	}
	return ""
}

func reserve(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, spareBytes), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// seedName is the file that carries randomness from one start to the next, for boxes whose hardware has little.
const (
	seedName  = "random-seed"
	seedBytes = 512
)

// mixSeed stirs the seed into the kernel's pool, without counting on it, and replaces it, so that none is used twice.
func mixSeed(dir, pool string) error {
	path := filepath.Join(dir, seedName)
	seed, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(seed) > 0 {
		f, err := os.OpenFile(pool, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(seed[:min(len(seed), seedBytes)])
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("seed: %w", err)
		}
	}
	fresh := make([]byte, seedBytes)
	rand.Read(fresh) // waits until the kernel has enough
	return state.Write(path, fresh, 0o600)
}

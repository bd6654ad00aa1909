// Package state keeps the small files that outlive a restart: identity, keys, users.
//
// A file is replaced whole or not at all, whatever moment the power goes. One that cannot be read for what it is
// gets set aside under another name and reported; it never stops the box from starting.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process holds the lock.
var ErrLocked = errors.New("in use by another process")

// Write replaces the file at path by data, durably: when it returns nil the new contents survive a power cut, and
// until then the old ones do.
func Write(path string, data []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".new-*") // 0600 from its first moment
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// AsideMark is between the name of a file that was set aside and the time of that, which has the layout AsideTime, in UTC.
const (
	AsideMark = ".corrupt-"
	AsideTime = "20060102T150405Z"
)

// SetAside renames the file at path to path.corrupt-<UTC time> and returns that name. The owner can look at it; we
// go on without it. A file that two set asides within one second both want gets a number.
func SetAside(path string, now time.Time) (string, error) {
	base := path + AsideMark + now.UTC().Format(AsideTime)
	for i := 0; i < 100; i++ {
		aside := base
		if i > 0 {
			aside = fmt.Sprintf("%s-%d", base, i)
		}
		// RENAME_NOREPLACE: an earlier find is evidence too.
		err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, aside, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return "", &os.PathError{Op: "set aside", Path: path, Err: err}
		}
		return aside, syncDir(filepath.Dir(path))
	}
	return "", &os.PathError{Op: "set aside", Path: path, Err: fs.ErrExist}
}

// Lock takes an exclusive lock named name in dir and returns what releases it. The lock dies with the process. With
// wait it waits for its turn, else a lock that is held is ErrLocked, with the holder's process id if it left one.
func Lock(dir, name string, wait bool) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		if err = unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid := make([]byte, 16)
		n, _ := f.ReadAt(pid, 0)
		f.Close()
		return nil, fmt.Errorf("%s: %w (process %s)", dir, ErrLocked, strings.TrimSpace(string(pid[:n])))
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	if err = f.Truncate(0); err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

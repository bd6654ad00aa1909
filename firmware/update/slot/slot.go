// Package slot keeps the two images that a box can boot: the one that runs, and one that is written while it does. A boot
// loader chooses: systemd-boot by the names of files ([NewLoader]), or U-Boot's script by a text ([NewScript]). An image
// that is new has a number of tries; the loader counts one before it starts it, and takes the other image when there is
// none left. So an image that panics, hangs or is switched off is left behind without anybody's doing.
//
// The power may go at any moment. FAT has no journal, so the rules are:
//
//   - What boots is never written to. An image comes under a name that no loader looks at, is read back, and gets its own
//     name last.
//   - Its clusters are taken before the first byte comes, so a cut in the long part changes no table of the filesystem.
//   - A change of names is one of a folder so small that it is one sector. No two changes that need an order are made
//     without fsync between them.
package slot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Slots are the images of one box.
type Slots interface {
	// Status says what boots, and what became of the image that TryNext named.
	Status() (Status, error)
	// Write makes room and stores an image of size bytes as fill writes it. It is durable then, and boots nowhere yet.
	Write(size int64, fill func(io.Writer) error) error
	// Check reads from the disk what Write stored, and compares.
	Check(sum [32]byte) error
	// Next is the name of the slot that TryNext will make of what is stored.
	Next() (string, error)
	// TryNext has the image that was stored booted from the next restart on, at most tries times.
	TryNext(tries int) error
	// MarkGood ends the trial of the image that runs: it boots from now on.
	MarkGood() error
	// GiveUp ends it the other way: the next restart boots the image before.
	GiveUp() error
	// Clean removes an image that failed, and what an update that was cut short left. With waiting it also takes TryNext
	// back.
	Clean(waiting bool) error
}

// A Status is what the boot loader will do, and has done.
type Status struct {
	Running string // slot that this system was booted from
	Trial   bool   // it is on trial
	Waiting string // slot that the next restart tries; "" for none
	Failed  string // slot whose tries are used up; "" for none
}

// MaxTries bounds how often an image is tried.
const MaxTries = 3

// What can be wrong.
var (
	ErrCorrupt = errors.New("what is on the boot partition is not what was written: the medium is failing")
	ErrNoImage = errors.New("no image was stored")
	ErrTrial   = errors.New("the image that runs is on trial itself; it has to be found good first")
)

// newFile is where an image is written to. No loader takes it for one, and in capitals it has one entry in a FAT folder.
const newFile = "UPDATE.NEW"

// files are what both kinds of slots have in common: a folder for images on the boot partition.
type files struct {
	place  Place
	folder string // beneath the partition's root
}

// use calls f with the folder.
func (s files) use(write bool, f func(dir string) error) (err error) {
	root, done, err := s.place.Open(write)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	return f(filepath.Join(root, filepath.FromSlash(s.folder)))
}

// Write implements Slots.
func (s files) Write(size int64, fill func(io.Writer) error) error {
	return s.use(true, func(dir string) error {
		path := filepath.Join(dir, newFile)
		if err := remove(path); err != nil {
			return err
		}
		cut()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close() // again, after an error
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
		if errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("the boot partition has no room for %d bytes: %w", size, err)
		}
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return &os.PathError{Op: "reserve", Path: path, Err: err}
		}
		if err := errors.Join(f.Sync(), syncDir(dir)); err != nil {
			return err
		}
		w := &limited{f, size}
		if err := fill(w); err != nil {
			return err
		}
		if w.left != 0 {
			return fmt.Errorf("the image is %d bytes shorter than was said", w.left)
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// limited writes no more than was said.
type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if int64(len(p)) > l.left {
		return 0, errors.New("the image is longer than was said")
	}
	cut()
	n, err := l.w.Write(p)
	l.left -= int64(n)
	return n, err
}

// Check implements Slots. The partition was unmounted after Write, so nothing of it comes from memory.
func (s files) Check(sum [32]byte) error {
	return s.use(false, func(dir string) error {
		f, err := os.Open(filepath.Join(dir, newFile))
		if errors.Is(err, os.ErrNotExist) {
			return ErrNoImage
		}
		if err != nil {
			return err
		}
		defer f.Close()
		// Where it was not mounted by us, in tests, the cache is asked to forget.
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			return err
		}
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		if [32]byte(h.Sum(nil)) != sum {
			return ErrCorrupt
		}
		return nil
	})
}

// stored says whether there is an image that Write finished, or began.
func stored(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, newFile))
	return err == nil
}

// cut is called before each change of what is on the partition; a test takes the power away there.
var cut = func() {}

// remove removes a file, if it is there, durably.
func remove(path string) error {
	cut()
	if err := os.Remove(path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	return syncDir(filepath.Dir(path))
}

// rename gives a file its name, durably.
func rename(dir, from, to string) error {
	cut()
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// A Place is where the boot partition is.
type Place interface {
	// Open gives its root folder. It stays there until done is called, and then all is on the disk.
	Open(write bool) (root string, done func() error, err error)
}

// A Folder is a boot partition that is mounted all the time.
type Folder string

// Open implements Place.
func (f Folder) Open(bool) (string, func() error, error) {
	return string(f), func() error { return nil }, nil
}

// base is a path's last part, for paths as UEFI writes them.
func base(path string) string { return path[strings.LastIndexAny(path, `\/`)+1:] }

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// What the loads work on is made through the file system.

func entry(i int) string { return fmt.Sprintf("entry-%06d.txt", i) }

// makeFile makes the large file, unless it is there.
func makeFile(t *target, size sizes) error {
	if t.bare {
		return nil
	}
	path := filepath.Join(t.dir, bigFile)
	if st, err := os.Stat(path); err == nil && st.Size() == size.file {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	data := make([]byte, block)
	fillRandom(data)
	for off := int64(0); off < size.file && err == nil; off += block {
		_, err = f.Write(data[:min(block, size.file-off)])
	}
	// For everybody, whatever the umask: smbd works as its user.
	return errors.Join(err, f.Chmod(0o666), f.Close())
}

// removeFile removes it: a load that writes it makes it.
func removeFile(t *target, _ sizes) error {
	if t.bare {
		return nil
	}
	if err := os.Remove(filepath.Join(t.dir, bigFile)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// fill makes a folder with n files in it, unless it is there with so many.
func (t *target) fill(dir string, n int) error {
	path := filepath.Join(t.dir, dir)
	if have, err := os.ReadDir(path); err == nil && len(have) == n {
		return nil
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(path, 0o777), os.Chmod(path, 0o777)); err != nil {
		return err
	}
	for i := range n {
		name := filepath.Join(path, entry(i))
		if err := os.WriteFile(name, nil, 0o666); err != nil {
			return err
		}
		if err := os.Chmod(name, 0o666); err != nil {
			return err
		}
	}
	return nil
}

func makeStat(t *target, _ sizes) error      { return t.fill("stat", statFiles) }
func makeBig(t *target, size sizes) error    { return t.fill("big", size.entries) }
func makeDoomed(t *target, size sizes) error { return t.fill("doomed", size.doomed) }

// makeEmpty makes a folder without anything in it. One that is there is put aside until the end, not removed: ext4 would
// look past the inodes of what was in it for five seconds, one by one, and be what is measured.
func makeEmpty(dir string) func(*target, sizes) error {
	return func(t *target, _ sizes) error {
		aside, err := os.MkdirTemp(filepath.Dir(t.dir), "aside-")
		if err == nil {
			err = os.Rename(filepath.Join(t.dir, dir), filepath.Join(aside, dir))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return t.fill(dir, 0)
	}
}

package state

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// CopyName is where WriteTwice keeps the copy of a file.
func CopyName(path string) string { return path + ".copy" }

// A copy begins with a line: what it is, the SHA-256 of the contents behind that line, and the file's time of change in
// nanoseconds when the copy was made.
const copyHead = "postern copy 1 %x %d\n"

// WriteTwice is Write, and keeps a copy that ReadTwice finds damage by and repairs it from: for what makes a server this
// server. Programs that know nothing of the copy may read and write the file alone; it is newer then, and counts.
func WriteTwice(path string, data []byte, mode fs.FileMode) error {
	if err := Write(path, data, mode); err != nil {
		return err
	}
	return WriteCopy(path, data, mode)
}

// WriteCopy keeps the copy alone, of a file that somebody else writes.
func WriteCopy(path string, data []byte, mode fs.FileMode) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	return Write(CopyName(path), fmt.Appendf(nil, copyHead+"%s", sha256.Sum256(data), st.ModTime().UnixNano(), data), mode)
}

// ReadTwice reads a file of WriteTwice. parse takes its contents or says what is wrong with them; it may be called twice,
// and the last call counts. A file that is damaged is set aside and made anew from its copy if that can be; told says so.
// With neither, found is false.
func ReadTwice(path string, parse func([]byte) error) (found bool, told string, err error) {
	data, changed, err := readWhole(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return false, "", err
	}
	spare, at, spareErr := ReadCopy(path)
	var bad error
	switch {
	case missing && errors.Is(spareErr, fs.ErrNotExist):
		return false, "", nil
	case missing:
		bad = errors.New("it is gone")
	case spareErr == nil && at == changed.UnixNano() && !bytes.Equal(spare, data):
		bad = errors.New("its contents have changed, and nobody has written it")
	default:
		if bad = parse(data); bad == nil {
			if spareErr != nil || at != changed.UnixNano() {
				_ = WriteCopy(path, data, 0o600) // without one it is as before
			}
			return true, "", nil
		}
	}
	aside := "nowhere"
	if !missing {
		if aside, err = SetAside(path, time.Now()); err != nil {
			return false, "", errors.Join(bad, err)
		}
	}
	if spareErr == nil {
		if spareErr = parse(spare); spareErr == nil {
			err := WriteTwice(path, spare, 0o600)
			return true, fmt.Sprintf("%s was damaged (%v), is now %s, and was made anew from its copy", path, bad, aside), err
		}
	}
	if _, err := SetAside(CopyName(path), time.Now()); err != nil && !errors.Is(err, fs.ErrNotExist) { // told once
		return false, "", err
	}
	return false, fmt.Sprintf("%s was damaged (%v) and is now %s; it has no copy (%v), so what was in it is lost", path, bad, aside, spareErr), nil
}

// readWhole reads a file and when it was changed.
func readWhole(path string) (data []byte, changed time.Time, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, changed, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, changed, err
	}
	data, err = io.ReadAll(f)
	return data, st.ModTime(), err
}

// ReadCopy reads the copy of the file at path, and when that was changed, in nanoseconds, when the copy was made. A file
// that has other contents now and still that time was changed by nobody: it is damaged.
func ReadCopy(path string) (data []byte, changed int64, err error) {
	all, err := os.ReadFile(CopyName(path))
	if err != nil {
		return nil, 0, err
	}
	head, data, _ := bytes.Cut(all, []byte("\n"))
	var sum []byte
	if _, err := fmt.Sscanf(string(head)+"\n", copyHead, &sum, &changed); err != nil {
		return nil, 0, fmt.Errorf("its first line: %w", err)
	}
	if want := sha256.Sum256(data); !bytes.Equal(sum, want[:]) {
		return nil, 0, errors.New("its checksum is wrong")
	}
	return data, changed, nil
}

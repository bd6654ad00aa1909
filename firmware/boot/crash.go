package boot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postern-nas/postern/firmware/state"
)

// Bounds of what is kept of crashes.
const (
	maxRecord  = 64 << 10  // of one file of pstore's
	maxRecords = 64        // files
	maxCrash   = 256 << 10 // of all in one crash
	keptCrash  = 5
)

// crashDir holds them in the state folder, one file each, named by when they were found.
const crashDir = "crashes"

// A Crash is what the kernel said before it last stopped by itself.
type Crash struct {
	Found time.Time // when it was found: at the start after it
	Text  string    // printable lines
}

// collectCrash moves what the kernel left in pstore (Linux, Documentation/admin-guide/pstore-blk.rst, ramoops.rst, and the
// variables of UEFI) into the state folder. It returns nil if there is none.
func collectCrash(pstore, stateDir string, now time.Time, log *slog.Logger) *Crash {
	entries, err := os.ReadDir(pstore)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		log.Warn("kernel messages of before", "error", err)
		return nil
	}
	var text strings.Builder
	var done []string
	// The parts of one panic are numbered from its end; the console's are whole.
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return -strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries[:min(len(entries), maxRecords)] {
		path := filepath.Join(pstore, e.Name())
		record, err := readRecord(path)
		if err != nil {
			log.Warn("kernel messages of before", "error", err)
			continue
		}
		if room := maxCrash - text.Len(); room > 0 {
			fmt.Fprintf(&text, "-- %s\n", printableLines(e.Name()))
			record = printableLines(record)
			text.WriteString(record[:min(len(record), room)])
			text.WriteByte('\n')
		}
		done = append(done, path)
	}
	if len(done) == 0 {
		return nil
	}
	c := &Crash{Found: now.UTC(), Text: text.String()}
	if err := keepCrash(filepath.Join(stateDir, crashDir), c); err != nil {
		log.Error("kernel messages of before are not kept", "error", err) // and stay where they are
		return c
	}
	for _, path := range done {
		if err := os.Remove(path); err != nil {
			log.Warn("kernel messages of before", "error", err)
		}
	}
	log.Warn("the kernel stopped by itself before this start; what it said is kept", "folder", crashDir, "bytes", len(c.Text))
	return c
}

func readRecord(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecord))
	return string(b), err
}

// printableLines makes text that can be shown anywhere: a panic may have been cut, or be of bits that toppled over.
func printableLines(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}

// keepCrash writes it, and lets the oldest go.
func keepCrash(dir string, c *Crash) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := state.Write(filepath.Join(dir, c.Found.Format("20060102T150405Z")+".txt"), []byte(c.Text), 0o600); err != nil {
		return err
	}
	names, err := crashes(dir)
	if err != nil {
		return err
	}
	for ; len(names) > keptCrash; names = names[1:] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, names[0])))
	}
	return err
}

// crashes lists the files, the oldest first.
func crashes(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir) // sorted
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if _, err := time.Parse("20060102T150405Z.txt", e.Name()); err == nil {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// LastCrash returns what is kept of the last crash in a state folder, nil for none.
func LastCrash(stateDir string) (*Crash, error) {
	dir := filepath.Join(stateDir, crashDir)
	names, err := crashes(dir)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	name := names[len(names)-1]
	found, err := time.Parse("20060102T150405Z.txt", name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCrash+maxRecords*256))
	return &Crash{Found: found, Text: printableLines(string(b))}, err
}

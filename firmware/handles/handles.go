// Package handles keeps the records of persistent opens (smb.HandleStore) in one journal file.
//
// An open that is made or changed is appended, one that ends is appended as an empty record: that is one write and one
// fsync for what a client waits for, and neither for what it does not. A file for each open would cost a file, a rename
// and two fsyncs of a folder; rewriting all of them for each costs more the more there are. What has gathered in the
// journal is dropped by writing it anew, as the state package does, when it has grown to twice what it is worth.
package handles

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/postern-nas/postern/firmware/state"
)

const (
	fileName = "handles.journal"
	// A record is its length and checksum, 4 bytes each, then 8 bytes of id, then what is kept; numbers are little-endian.
	// The checksum, CRC-32C, is of all that follows it.
	headSize = 16
	// maxRecord bounds what is kept of one open, in bytes, and maxJournal the file: 4,096 opens of a usual size fill it
	// to a thousandth.
	maxRecord  = 256 << 10
	maxJournal = 2 << 30
	// slack is what may gather before the journal is written anew, however little is kept.
	slack = 1 << 20
)

// magic is how a journal begins.
const magic = "postern handles 1\n"

var table = crc32.MakeTable(crc32.Castagnoli)

// errBroken says that a write failed in a way after which nobody knows what the disk has.
var errBroken = errors.New("the journal of open files cannot be written")

// A Store is a journal. Its methods may be called by any number of goroutines.
type Store struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex // guards what follows; writes under it go to the page cache only, but for those of compact
	f      *os.File
	kept   map[uint64][]byte
	worth  int64 // what kept would take in a new journal
	size   int64
	writes uint64 // how many records were appended
	broken bool

	syncing sync.Mutex // one fsync at a time; those who wait for it are served by the next one together
	synced  uint64     // how many appends are on disk; guarded by syncing
}

// Open reads the journal in dir, or begins one. What of it is not what was written is set aside and reported.
func Open(dir string, log *slog.Logger) (*Store, error) {
	s := &Store{path: filepath.Join(dir, fileName), log: log, kept: make(map[uint64][]byte)}
	st, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := s.read(st.Size()); err != nil {
			return nil, err
		}
	}
	for _, b := range s.kept {
		s.worth += headSize + int64(len(b))
	}
	if err := s.compact(); err != nil {
		return nil, err
	}
	return s, nil
}

// read takes in what the journal has.
func (s *Store) read(size int64) error {
	var b []byte
	good := size <= maxJournal
	if good {
		var err error
		if b, err = os.ReadFile(s.path); err != nil {
			return err
		}
		good = parse(b, s.kept)
	}
	if good {
		return nil
	}
	aside, err := state.SetAside(s.path, time.Now())
	if err != nil {
		return err
	}
	s.log.Error("the journal of open files is damaged; what could be read is kept", "set_aside", aside, "kept", len(s.kept))
	return nil
}

// parse reads a journal into kept, as far as it is right. An end that is cut off is right: the server ended while it
// wrote it, and told nobody of it.
func parse(b []byte, kept map[uint64][]byte) (right bool) {
	if len(b) < len(magic) {
		return len(b) == 0 || string(b) == magic[:len(b)]
	}
	if string(b[:len(magic)]) != magic {
		return false
	}
	for b = b[len(magic):]; len(b) > 0; {
		if len(b) < headSize {
			return true
		}
		n := binary.LittleEndian.Uint32(b)
		if n > maxRecord {
			return zero(b)
		}
		if uint64(len(b)) < headSize+uint64(n) {
			return true
		}
		one := b[:headSize+int(n)]
		if crc32.Checksum(one[8:], table) != binary.LittleEndian.Uint32(one[4:]) {
			return zero(b)
		}
		if id := binary.LittleEndian.Uint64(one[8:]); n == 0 {
			delete(kept, id)
		} else {
			kept[id] = one[headSize:]
		}
		b = b[len(one):]
	}
	return true
}

// zero reports whether there are only zeros, as a filesystem leaves them whose power went before the bytes were there.
func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func appendRecord(b []byte, id uint64, record []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(record)))
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, id)
	b = append(b, record...)
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(b[start+8:], table))
	return b
}

// compact writes the journal anew. mu is held, or nobody else has the Store.
func (s *Store) compact() error {
	b := []byte(magic)
	for id, record := range s.kept {
		b = appendRecord(b, id, record)
	}
	if err := state.Write(s.path, b, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if s.f != nil {
		s.f.Close()
	}
	s.f, s.size, s.broken = f, int64(len(b)), false
	return nil
}

// keep notes what is kept of id, nil for nothing. mu is held.
func (s *Store) keep(id uint64, record []byte) {
	if before := s.kept[id]; before != nil {
		s.worth -= headSize + int64(len(before))
		delete(s.kept, id)
	}
	if len(record) > 0 {
		s.kept[id] = record
		s.worth += headSize + int64(len(record))
	}
}

// append adds a record and returns its number, and the file that it is in.
func (s *Store) append(id uint64, record []byte) (uint64, *os.File, error) {
	if len(record) > maxRecord {
		return 0, nil, fmt.Errorf("record of %d bytes", len(record))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.kept[id]
	if before == nil && len(record) == 0 {
		return s.writes, s.f, nil
	}
	s.keep(id, record)
	s.writes++
	if s.broken || s.size > 2*s.worth+slack {
		err := s.compact()
		if err == nil {
			return s.writes, nil, nil
		}
		if s.broken {
			s.keep(id, before)
			return 0, nil, errors.Join(errBroken, err)
		}
		s.log.Warn("the journal of open files cannot be written anew", "error", err) // it can still be appended to
	}
	b := appendRecord(nil, id, record)
	n, err := s.f.Write(b)
	s.size += int64(n)
	if err != nil {
		s.broken = true // half a record may be there: the next one writes all anew
		s.keep(id, before)
		return 0, nil, err
	}
	return s.writes, s.f, nil
}

// Put is smb.HandleStore's. It takes record over.
func (s *Store) Put(id uint64, record []byte) error {
	if len(record) == 0 {
		return errors.New("an empty record")
	}
	number, f, err := s.append(id, record)
	if err != nil || f == nil { // in a new journal it is on disk already
		return err
	}
	s.syncing.Lock()
	defer s.syncing.Unlock()
	if s.synced >= number {
		return nil
	}
	s.mu.Lock()
	all, now := s.writes, s.f
	s.mu.Unlock()
	if now != f { // it was written anew meanwhile, with this record
		s.synced = max(s.synced, number)
		return nil
	}
	if err := f.Sync(); err != nil {
		// After a failed fsync the next one says nothing of what failed: all is written anew instead.
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.f != f {
			return nil
		}
		if again := s.compact(); again != nil {
			s.broken = true
			return errors.Join(errBroken, err, again)
		}
	}
	s.synced = max(s.synced, all)
	return nil
}

// Delete is smb.HandleStore's. Nothing waits for the disk: the end of the process loses nothing, and what a power cut
// brings back ends by itself when nobody takes it up.
func (s *Store) Delete(id uint64) error {
	_, _, err := s.append(id, nil)
	return err
}

// Load is smb.HandleStore's.
func (s *Store) Load() (map[uint64][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.kept), nil
}

// Close ends the Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.f.Close()
}

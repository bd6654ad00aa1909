package handles

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postern-nas/postern/smb"
)

var _ smb.HandleStore = (*Store)(nil)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s *Store, id uint64, record string) {
	t.Helper()
	if err := s.Put(id, []byte(record)); err != nil {
		t.Fatal(err)
	}
}

// want compares what a new Store reads from dir.
func want(t *testing.T, dir string, records map[uint64]string) {
	t.Helper()
	got, err := open(t, dir).Load()
	if err != nil {
		t.Fatal(err)
	}
	text := make(map[uint64]string)
	for id, b := range got {
		text[id] = string(b)
	}
	if !maps.Equal(text, records) {
		t.Errorf("there is %v, want %v", text, records)
	}
}

// A Store that was not closed is what a killed process leaves.
func TestStore(t *testing.T) {
	dir := t.TempDir()
	want(t, dir, map[uint64]string{})
	s := open(t, dir)
	put(t, s, 1, "one")
	put(t, s, 2, "two")
	put(t, s, 1, "another one")
	put(t, s, 3, "three")
	if err := s.Delete(2); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(99); err != nil {
		t.Error(err)
	}
	want(t, dir, map[uint64]string{1: "another one", 3: "three"})
	if st, err := os.Stat(filepath.Join(dir, fileName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	for _, n := range []int{0, maxRecord + 1} {
		if err := s.Put(5, make([]byte, n)); err == nil {
			t.Errorf("a record of %d bytes is taken", n)
		}
	}
}

// The file as it is laid out in the package's comments.
func TestVector(t *testing.T) {
	b := appendRecord(nil, 0x0123456789ABCDEF, []byte("123456789"))
	if got := hex.EncodeToString(b[:4]) + " " + hex.EncodeToString(b[8:]); got != "09000000 efcdab8967452301313233343536373839" {
		t.Error(got)
	}
	// The check value of CRC-32C is that of these nine bytes; here the id goes before them.
	if sum := binary.LittleEndian.Uint32(appendRecord(nil, 0, nil)[4:]); sum != 0x8C28B28A {
		t.Errorf("checksum of eight zeros %#x", sum)
	}
}

// Wherever the process ends while it writes, what was written before is there.
func TestCutAnywhere(t *testing.T) {
	whole := appendRecord([]byte(magic), 1, []byte("one"))
	first := len(whole)
	whole = appendRecord(whole, 2, []byte("two"))
	for n := range len(whole) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		records := map[uint64]string{}
		if n >= first {
			records[1] = "one"
		}
		want(t, dir, records)
		if list, _ := filepath.Glob(filepath.Join(dir, "*corrupt*")); len(list) != 0 {
			t.Errorf("cut at %d: set aside as damaged", n)
		}
		s := open(t, dir)
		put(t, s, 3, "three") // and goes on behind it
		records[3] = "three"
		want(t, dir, records)
	}
}

// A damaged file is set aside, and what stands before the damage is kept.
func TestDamage(t *testing.T) {
	whole := appendRecord([]byte(magic), 1, []byte("one"))
	first := len(whole)
	whole = appendRecord(whole, 2, []byte("two"))
	whole = appendRecord(whole, 3, []byte("three"))
	for i := range whole {
		dir := t.TempDir()
		b := bytes.Clone(whole)
		b[i] ^= 0x80
		if err := os.WriteFile(filepath.Join(dir, fileName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		s, err := Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := s.Load()
		s.Close()
		if (string(got[1]) == "one") != (i >= first) || string(got[3]) == "three" {
			t.Errorf("byte %d: %d records, the first %q", i, len(got), got[1])
		}
		aside, _ := filepath.Glob(filepath.Join(dir, fileName+".corrupt-*"))
		cut := len(aside) == 0 && log.Len() == 0 // a length that reaches past the end looks as if the end was cut off
		if !cut && (len(aside) != 1 || !strings.Contains(log.String(), "damaged")) {
			t.Errorf("byte %d: set aside as %q, log %q", i, aside, log.String())
		}
		if i < len(magic) && cut {
			t.Errorf("byte %d: another kind of file is taken for a journal", i)
		}
	}
	// A filesystem may leave zeros where the last record was to be.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, fileName), append(bytes.Clone(whole), make([]byte, 100)...), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, dir, map[uint64]string{1: "one", 2: "two", 3: "three"})
}

// The file does not grow for ever, nor does it lose what is kept when it is written anew.
func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, 1, "stays")
	record := strings.Repeat("x", 64<<10)
	for i := range 200 {
		put(t, s, uint64(i+2), record)
		if err := s.Delete(uint64(i + 2)); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(s.path); err != nil || st.Size() > 2*int64(len(record)+100)+slack+int64(len(record)) {
			t.Fatalf("%d bytes %v", st.Size(), err)
		}
	}
	want(t, dir, map[uint64]string{1: "stays"})
}

// A write that fails says so, and the next one that can be made mends the file.
func TestBroken(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, 1, "one")
	s.f.Close() // as a disk that is gone
	if err := s.Put(2, []byte("two")); err == nil {
		t.Fatal("written to a file that is closed")
	}
	put(t, s, 3, "three")
	want(t, dir, map[uint64]string{1: "one", 3: "three"})
}

func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var wg sync.WaitGroup
	for i := range uint64(16) {
		wg.Go(func() {
			for j := range uint64(20) {
				id := i*100 + j + 1
				if err := s.Put(id, bytes.Repeat([]byte{byte(i)}, 10_000)); err != nil {
					t.Error(err)
				}
				if j%2 == 0 {
					if err := s.Delete(id); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	got, _ := open(t, dir).Load()
	if len(got) != 160 {
		t.Errorf("%d records", len(got))
	}
	for id, b := range got {
		if !bytes.Equal(b, bytes.Repeat([]byte{byte(id / 100)}, 10_000)) {
			t.Errorf("record %d is not what was put", id)
		}
	}
}

func FuzzParse(f *testing.F) {
	whole := appendRecord([]byte(magic), 1, []byte("one"))
	f.Add(whole)
	f.Add(appendRecord(appendRecord(whole, 2, []byte("two")), 1, nil))
	f.Add(append(bytes.Clone(whole), make([]byte, 20)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		kept := make(map[uint64][]byte)
		parse(b, kept)
		total := 0
		again := []byte(magic)
		for id, record := range kept {
			total += len(record)
			again = appendRecord(again, id, record)
		}
		if total > len(b) {
			t.Fatalf("%d bytes out of %d", total, len(b))
		}
		round := make(map[uint64][]byte)
		if !parse(again, round) || fmt.Sprint(round) != fmt.Sprint(kept) {
			t.Fatal("what was kept is not what is read again")
		}
	})
}

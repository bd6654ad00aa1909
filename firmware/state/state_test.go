package state

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		out = append(out, e.Name())
	}
	return out
}

func TestWriteReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	for _, text := range []string{"a long first version", "short"} {
		if err := Write(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Fatalf("read %q, %v; want %q", got, err, text)
		}
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	if got := names(t, dir); !slices.Equal(got, []string{"key"}) {
		t.Errorf("left behind: %v", got)
	}
}

func TestFailedWriteLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil { // rename cannot replace it
		t.Fatal(err)
	}
	if err := Write(path, []byte("x"), 0o600); err == nil {
		t.Fatal("a folder was replaced")
	}
	if got := names(t, dir); !slices.Equal(got, []string{"taken"}) {
		t.Errorf("left behind: %v", got)
	}
	if err := Write(filepath.Join(dir, "no", "where"), nil, 0o600); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

func TestSetAsideKeepsEveryFind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "users.json")
	now := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	for i := range 3 {
		if err := Write(path, []byte(strconv.Itoa(i)), 0o600); err != nil {
			t.Fatal(err)
		}
		aside, err := SetAside(path, now)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(aside); string(got) != strconv.Itoa(i) {
			t.Errorf("%s holds %q", aside, got)
		}
	}
	want := []string{
		"users.json.corrupt-20261122T180000Z", "users.json.corrupt-20261122T180000Z-1", "users.json.corrupt-20261122T180000Z-2",
	}
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("found %v", got)
	}
	if _, err := SetAside(path, now); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	unlock, err := Lock(dir, "lock", false)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(dir, "lock", false)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("second lock: %v", err)
	}
	got := make(chan error)
	go func() {
		unlock, err := Lock(dir, "lock", true)
		if err == nil {
			unlock()
		}
		got <- err
	}()
	select {
	case <-got:
		t.Fatal("the waiter did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	unlock()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

package osfs

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/vfs"
)

// onFilesystems runs a test in a folder of each kind of filesystem that is to be had here.
func onFilesystems(t *testing.T, test func(*testing.T, *shed)) {
	t.Run("temporary", func(t *testing.T) { test(t, newShed(t)) })
	t.Run("tmpfs", func(t *testing.T) {
		dir, err := os.MkdirTemp("/dev/shm", "osfs")
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		test(t, newShedIn(t, dir))
	})
	t.Run("btrfs", func(t *testing.T) { test(t, newShedIn(t, btrfs(t))) })
}

// stuff fills what an object has room for in xattrs with some of size bytes, and then with smaller ones. It reports
// false where that has no end.
func (s *shed) stuff(name, with string) bool {
	s.Helper()
	n := 0
	for _, size := range []int{200, 20, 1} {
		for {
			err := unix.Setxattr(s.path(name), fmt.Sprintf("user.%s%d", with, n), make([]byte, size), 0)
			if full(err) {
				break
			}
			if err != nil {
				s.Fatal(err)
			}
			if n++; n == 1000 {
				return false
			}
		}
	}
	return true
}

// Where xattrs have no room for a stream's file besides its contents, its name takes their place at once: who looks at
// any moment, such as after a power cut, finds one or the other.
func TestStreamBecomesFileInPlace(t *testing.T) {
	onFilesystems(t, func(t *testing.T, s *shed) {
		s.file("f")
		was := bytes.Repeat([]byte("was "), 300)
		s.put("f", "s", was)
		if !s.stuff("f", "f") {
			t.Skip("there is always room here")
		}
		stop, done := make(chan struct{}), make(chan error, 1)
		go func() {
			for {
				k, found, err := findStream(s.path("f"), "s")
				if err == nil && !found {
					err = errors.New("the stream is not there")
				}
				if err == nil && k.side {
					_, err = sideName(s.path("f"), k)
				}
				if err != nil {
					done <- err
					return
				}
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
			}
		}()
		s.put("f", "s", long)
		close(stop)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := s.xattr("f", streamXattr("s")); !isMark(got) || s.xattr("f", sidePrefix+"s") != nil {
			t.Fatalf("stored as %q, so the test shows nothing", got)
		}
		s.wantSides(1)
		for range 3 {
			s.reopen()
			s.wantSides(1)
			if got := s.get("f", "S"); !bytes.Equal(got, long) {
				t.Fatalf("%d bytes", len(got))
			}
		}

		// A new name is there before the old one goes, in whatever room there is.
		s.stuff("f", "g")
		f, err := s.open("f", "s", vfs.Open)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		name := "a name that is longer than what it was called until now"
		if err := f.(vfs.Stream).RenameStream(t.Context(), name, false); !full(err) {
			t.Fatalf("renamed without room: %v", err)
		}
		if got := s.get("f", "s"); !bytes.Equal(got, long) {
			t.Fatalf("after a rename that was refused: %d bytes", len(got))
		}
		for n := range 40 {
			unix.Removexattr(s.path("f"), fmt.Sprintf("user.f%d", n))
		}
		if err := f.(vfs.Stream).RenameStream(t.Context(), name, false); err != nil {
			t.Fatal(err)
		}
		if got := s.get("f", name); !bytes.Equal(got, long) {
			t.Fatalf("renamed: %d bytes", len(got))
		}
		if s.xattr("f", streamXattr("s")) != nil {
			t.Error("the old name is there still")
		}
		if err := f.Unlink(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.wantSides(0)
	})
}

// A small stream that has no room under a new name becomes a file first, and keeps its contents.
func TestStreamRenamedWithoutRoom(t *testing.T) {
	onFilesystems(t, func(t *testing.T, s *shed) {
		s.file("f")
		was := bytes.Repeat([]byte("was "), 300)
		s.put("f", "s", was)
		if !s.stuff("f", "f") {
			t.Skip("there is always room here")
		}
		f, err := s.open("f", "s", vfs.Open)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.(vfs.Stream).RenameStream(t.Context(), "renamed", false); err != nil {
			t.Fatal(err)
		}
		if got := s.get("f", "renamed"); !bytes.Equal(got, was) {
			t.Errorf("%q", got)
		}
		if _, err := s.open("f", "s", vfs.Open); err == nil {
			t.Error("the old name is there still")
		}
		s.wantSides(1)
	})
}

// However many streams and attributes a client makes, all can be listed, opened and deleted.
func TestStreamNamesBounded(t *testing.T) {
	onFilesystems(t, func(t *testing.T, s *shed) {
		s.file("f")
		base, err := s.open("f", "", vfs.Open)
		if err != nil {
			t.Fatal(err)
		}
		defer base.Close()
		made, name := 0, func(n int) string { return fmt.Sprintf("%0200d", n) }
		for ; made < 1000; made++ {
			f, err := s.open("f", name(made), vfs.Create)
			if err != nil {
				break
			}
			f.Close()
		}
		for n := range 1000 {
			if err := base.(vfs.EAs).SetEAs(t.Context(), []fscc.EA{{Name: fmt.Sprintf("EA%0200d", n), Value: []byte("1")}}); err != nil {
				break
			}
		}
		list, err := base.(vfs.Streams).Streams(t.Context())
		if err != nil || made == 1000 || len(list) != made+1 {
			t.Fatalf("%d of %d streams listed: %v", len(list), made, err)
		}
		for n := range made {
			f, err := s.open("f", name(n), vfs.Open)
			if err == nil {
				err = f.Unlink(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	})
}

// The power fails between the steps by which a stream becomes a file.
func TestStreamPowerCut(t *testing.T) {
	was := []byte("was")
	for _, cut := range []struct {
		when  string
		steps func(s *shed, dir int, side string, object vfs.ID) error
		want  []byte
		sides int // after the search for orphans has twice found nothing that names them
	}{
		{"the file is written", func(s *shed, dir int, side string, object vfs.ID) error {
			return s.v.writeSide(dir, side, object, long)
		}, was, 0},
		{"the file is named beside the contents", func(s *shed, dir int, side string, object vfs.ID) error {
			return errors.Join(s.v.writeSide(dir, side, object, long), unix.Setxattr(s.path("f"), sidePrefix+"s", []byte(side), 0))
		}, long, 1},
		{"the file is named instead of the contents, and more of those are there", func(s *shed, dir int, side string, object vfs.ID) error {
			return errors.Join(s.v.writeSide(dir, side, object, long),
				unix.Setxattr(s.path("f"), streamMore+"1.s"+streamType, []byte("more"), 0),
				unix.Setxattr(s.path("f"), streamXattr("s"), append([]byte(side), sideHere), unix.XATTR_REPLACE))
		}, long, 1},
	} {
		t.Run(cut.when, func(t *testing.T) {
			s := newShed(t)
			s.file("f")
			s.put("f", "s", was)
			f, err := s.open("f", "", vfs.Open)
			if err != nil {
				t.Fatal(err)
			}
			dir, err := s.v.sideDir(true)
			if err == nil {
				err = cut.steps(s, dir, rand.Text(), f.(*File).id)
			}
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
			for range 3 {
				s.reopen()
				if got := s.get("f", "s"); !bytes.Equal(got, cut.want) {
					t.Fatalf("%d bytes, %.20q", len(got), got)
				}
			}
			s.wantSides(cut.sides)
		})
	}
}

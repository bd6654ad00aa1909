package vm

import (
	"bytes"
	"testing"
	"time"

	"github.com/postern-nas/postern/board"
)

// A screen is a panel that a test looks at.
type screen struct {
	keys  *board.Keys
	drawn chan []byte
}

func newScreen() *screen { return &screen{new(board.Keys), make(chan []byte, 1000)} }

func (*screen) Size() (int, int)             { return 128, 64 }
func (*screen) Light(board.Brightness) error { return nil }
func (*screen) Close() error                 { return nil }

func (s *screen) Draw(b *board.Bitmap) error {
	select {
	case s.drawn <- bytes.Clone(b.Pages):
	default: // nobody looks any more
	}
	return nil
}

// look waits for a picture that is not dark, presses a button, and waits for another picture.
func (s *screen) look(t *testing.T) {
	t.Helper()
	limit := time.After(boot)
	see := func(what string, good func([]byte) bool) (picture []byte) {
		t.Helper()
		for {
			select {
			case picture = <-s.drawn:
				if good(picture) {
					return picture
				}
			case <-limit:
				t.Fatalf("the panel never shows %s", what)
			}
		}
	}
	first := see("anything", func(p []byte) bool { return bytes.Count(p, []byte{0}) < len(p) })
	s.keys.Down(board.Next)
	s.keys.Up(board.Next)
	see("another page", func(p []byte) bool { return !bytes.Equal(p, first) })
}

// Package boardtest is hardware in memory: what was shown can be looked at, and any call can be made to fail.
package boardtest

import (
	"errors"
	"sync"

	"github.com/postern-nas/postern/board"
)

// ErrLost is what a lost part answers.
var ErrLost = errors.New("boardtest: no answer from the part")

// A Screen remembers what a display shows. It is the part of Pixels and Text that both have.
type Screen struct {
	mu     sync.Mutex
	lost   bool
	bright board.Brightness
	closed bool
	bitmap board.Bitmap
	lines  []string
	shows  int
}

// Lose makes every call fail, or no longer.
func (s *Screen) Lose(lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = lost
}

// Brightness is what Light was told last.
func (s *Screen) Brightness() board.Brightness {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bright
}

// Closed says whether the display was closed.
func (s *Screen) Closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Shows counts the pictures that arrived.
func (s *Screen) Shows() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shows
}

// Bitmap returns a copy of the picture.
func (s *Screen) Bitmap() *board.Bitmap {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bitmap
	b.Pages = append([]byte(nil), b.Pages...)
	return &b
}

// Lines returns a copy of the text.
func (s *Screen) Lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lines...)
}

// Light implements board.Display.
func (s *Screen) Light(b board.Brightness) error {
	return s.do(func() { s.bright = b })
}

// Close implements board.Display.
func (s *Screen) Close() error {
	return s.do(func() { s.closed, s.bright = true, board.Off })
}

func (s *Screen) do(f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost {
		return ErrLost
	}
	f()
	return nil
}

// Pixels is a display of dots.
type Pixels struct {
	Screen
	width, height int
}

// NewPixels returns a dark display.
func NewPixels(width, height int) *Pixels {
	p := &Pixels{width: width, height: height}
	p.bitmap = *board.NewBitmap(width, height)
	return p
}

// Size implements board.Pixels.
func (p *Pixels) Size() (width, height int) { return p.width, p.height }

// Draw implements board.Pixels. A picture of another size is an error.
func (p *Pixels) Draw(b *board.Bitmap) error {
	if b.Width != p.width || b.Height != p.height {
		return errors.New("boardtest: the picture has not the display's size")
	}
	return p.do(func() { copy(p.bitmap.Pages, b.Pages); p.shows++ })
}

// Text is a display of characters that has ASCII and what Extra names.
type Text struct {
	Screen
	Extra         string
	columns, rows int
}

// NewText returns an empty display.
func NewText(columns, rows int) *Text { return &Text{columns: columns, rows: rows} }

// Size implements board.Text.
func (t *Text) Size() (columns, rows int) { return t.columns, t.rows }

// Has implements board.Text.
func (t *Text) Has(r rune) bool {
	if r >= ' ' && r <= '~' {
		return true
	}
	for _, e := range t.Extra {
		if r == e {
			return true
		}
	}
	return false
}

// Write implements board.Text, except that it is strict: lines of another number or width, or with characters that
// the panel has not, are an error, since whoever draws can know them.
func (t *Text) Write(lines []string) error {
	if len(lines) != t.rows {
		return errors.New("boardtest: the text has not the display's rows")
	}
	for _, l := range lines {
		n := 0
		for _, r := range l {
			if n++; !t.Has(r) {
				return errors.New("boardtest: the display has not the character " + string(r))
			}
		}
		if n > t.columns {
			return errors.New("boardtest: a line is wider than the display")
		}
	}
	return t.do(func() { t.lines = append([]string(nil), lines...); t.shows++ })
}

// Buttons are keys that a test presses.
type Buttons struct{ board.Keys }

// Tap presses and releases keys, one after the other.
func (b *Buttons) Tap(keys ...board.Key) {
	for _, k := range keys {
		b.Down(k)
		b.Up(k)
	}
}

// LED remembers its light.
type LED struct {
	mu    sync.Mutex
	light board.Light
}

// Set implements board.LED.
func (l *LED) Set(to board.Light) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.light = to
	return nil
}

// Light is what Set was told last.
func (l *LED) Light() board.Light {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.light
}

var (
	_ board.Pixels  = (*Pixels)(nil)
	_ board.Text    = (*Text)(nil)
	_ board.Buttons = (*Buttons)(nil)
	_ board.LED     = (*LED)(nil)
)

package lcd

import (
	"image/png"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/ui"
)

// What is seen from elsewhere is what the panel shows: of characters as dots, dim as grey, and dark when it is off.
func TestPicture(t *testing.T) {
	bubble(t, attic(), func(t *testing.T, r *rig) {
		shown := func() (width, height int, lit byte) {
			t.Helper()
			w := httptest.NewRecorder()
			r.panel.ServeHTTP(w, httptest.NewRequest("GET", "/panel.png", nil))
			m, err := png.Decode(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			for y := range m.Bounds().Dy() {
				for x := range m.Bounds().Dx() {
					g, _, _, _ := m.At(x, y).RGBA()
					lit = max(lit, byte(g>>8))
				}
			}
			return m.Bounds().Dx(), m.Bounds().Dy(), lit
		}
		if w, h, lit := shown(); w != 16*cellWidth*board.PictureScale || h != 2*cellHeight*board.PictureScale || lit != 0xff {
			t.Errorf("a picture of %dx%d, lit %#x", w, h, lit)
		}
		time.Sleep(dimAfter + time.Second)
		if _, _, lit := shown(); lit != 0x80 {
			t.Errorf("dim: lit %#x", lit)
		}
		time.Sleep(offAfter)
		if _, _, lit := shown(); lit != 0 {
			t.Errorf("off: lit %#x", lit)
		}
		w := httptest.NewRecorder()
		r.panel.ServeHTTP(w, httptest.NewRequest("POST", "/panel.png", nil))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST: %d", w.Code)
		}
		w = httptest.NewRecorder()
		new(Panel).ServeHTTP(w, httptest.NewRequest("GET", "/panel.png", nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("a panel that shows nothing yet: %d", w.Code)
		}
	})
}

// The owner's wishes count at once.
func TestWishes(t *testing.T) {
	p := begin(t, attic())
	light := func(want board.Brightness) {
		t.Helper()
		if got := p.m.Light(p.s, p.now); got != want {
			t.Errorf("light %d; want %d", got, want)
		}
	}
	wish := func(w ui.Panel) {
		s := attic()
		s.Panel = &w
		p.see(s)
	}
	wish(ui.Panel{DimAfter: 3 * time.Minute, OffAfter: 5 * time.Minute})
	p.wait(dimAfter)
	light(board.Bright)
	p.wait(2 * time.Minute)
	light(board.Dim)
	p.wait(2 * time.Minute)
	light(board.Off)
	wish(ui.Panel{DimAfter: time.Minute})
	light(board.Dim)
	p.wait(24 * time.Hour)
	light(board.Dim)
	wish(ui.Panel{})
	light(board.Bright)
	if at := p.m.Wake(p.s, p.now); !at.IsZero() {
		t.Errorf("it never changes, and wakes in %v", at.Sub(p.now))
	}
	wish(ui.Panel{Dim: true, OffAfter: time.Minute})
	p.taps(next)
	light(board.Dim)
	p.wait(time.Minute)
	light(board.Off)
}

// Package laptop is the box that Postern is developed on: a panel drawn in the terminal, the keyboard for buttons,
// and the picture as PNG over HTTP, so that a test, or a browser, can look at it.
package laptop

import (
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/postern-nas/postern/board"
)

// The panel is as large as the commonest OLED.
const (
	width  = 128
	height = 64
	scale  = 4 // PNG dots for each of ours
)

// A Panel is a display of 128x64 dots. It implements board.Pixels and http.Handler.
type Panel struct {
	mu     sync.Mutex
	now    *board.Bitmap
	bright board.Brightness
	out    io.Writer // nil: the terminal is too small, or there is none
	art    art
}

// NewPanel returns a dark panel that draws itself at the top of a terminal of so many columns and rows, and scrolls
// what others write there below itself. Where it does not fit, or out is nil, only the PNG is left.
func NewPanel(out io.Writer, columns, rows int) (*Panel, error) {
	p := &Panel{now: board.NewBitmap(width, height), bright: board.Bright}
	for _, a := range arts {
		// Two rows of frame, one for the keys, and a few for the log.
		if out != nil && columns >= width/a.dx+2 && rows >= height/a.dy+3+4 {
			p.out, p.art = out, a
			break
		}
	}
	if p.out == nil {
		return p, nil
	}
	top := height/p.art.dy + 3
	// ECMA-48 ED, then DECSTBM (the scrolling region) and the cursor into it.
	if _, err := fmt.Fprintf(p.out, "\x1b[2J\x1b[%d;%dr\x1b[%d;1H", top+1, rows, top+1); err != nil {
		return nil, err
	}
	return p, p.paint()
}

// Size implements board.Pixels.
func (p *Panel) Size() (int, int) { return width, height }

// Draw implements board.Pixels.
func (p *Panel) Draw(b *board.Bitmap) error {
	if b.Width != width || b.Height != height {
		return errors.New("laptop: the picture has not the panel's size")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	same := string(p.now.Pages) == string(b.Pages)
	copy(p.now.Pages, b.Pages)
	if same {
		return nil
	}
	return p.paint()
}

// Light implements board.Display.
func (p *Panel) Light(to board.Brightness) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bright == to {
		return nil
	}
	p.bright = to
	return p.paint()
}

// Close gives the terminal back.
func (p *Panel) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil {
		return nil
	}
	_, err := io.WriteString(p.out, "\x1b7\x1b[r\x1b8\x1b[0m")
	p.out = nil
	return err
}

// Drawn says whether the panel is drawn in a terminal.
func (p *Panel) Drawn() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out != nil
}

// Write writes what others have to say into the terminal, below the panel: never in the middle of the panel's own drawing, which
// would tear both. Where no panel is drawn it is lost.
func (p *Panel) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil {
		return len(text), nil
	}
	return p.out.Write(text)
}

// seen is what an eye sees: nothing when the panel is off. p.mu is held.
func (p *Panel) seen() *board.Bitmap {
	if p.bright == board.Off {
		return board.NewBitmap(width, height)
	}
	return p.now
}

// paint draws the panel in the terminal, and leaves the cursor where it was. p.mu is held.
func (p *Panel) paint() error {
	if p.out == nil {
		return nil
	}
	var s strings.Builder
	s.WriteString("\x1b7\x1b[H") // DECSC, CUP
	line := strings.Repeat("─", width/p.art.dx)
	s.WriteString("┌" + line + "┐\r\n")
	for _, row := range p.art.draw(p.seen()) {
		s.WriteString("│")
		if p.bright == board.Dim {
			s.WriteString("\x1b[2m")
		}
		s.WriteString(row + "\x1b[0m│\r\n")
	}
	s.WriteString("└" + line + "┘\r\n")
	s.WriteString("Next: arrows or n   Enter: return   Back: b   hold: N, H, B until another key\x1b8")
	_, err := io.WriteString(p.out, s.String())
	return err
}

// ServeHTTP answers with the picture as PNG: lit dots white, or grey when the panel is dim.
func (p *Panel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	p.mu.Lock()
	seen, bright := p.seen(), p.bright
	m := image.NewGray(image.Rect(0, 0, width*scale, height*scale))
	lit := byte(0xff)
	if bright == board.Dim {
		lit = 0x80
	}
	for y := range height * scale {
		for x := range width * scale {
			if seen.On(x/scale, y/scale) {
				m.Pix[y*m.Stride+x] = lit
			}
		}
	}
	p.mu.Unlock()
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Cache-Control", "no-store")
	_ = png.Encode(w, m) // whoever asked has gone; nothing to tell them
}

package lcd

import (
	"image"
	"image/png"
	"net/http"
	"sync"

	"github.com/postern-nas/postern/board"
)

// pictureScale is how many dots of a picture one of the panel's is.
const pictureScale = 3

// A picture is what the panel shows now, for who looks at it from elsewhere.
type picture struct {
	mu    sync.Mutex
	dots  *board.Bitmap // nil: nothing was shown yet
	light board.Brightness
}

func (p *picture) set(dots *board.Bitmap, light board.Brightness) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.light = light; dots != nil {
		p.dots = dots
	}
}

// lettered is what a panel of characters shows, as dots.
func lettered(lines []string) *board.Bitmap {
	width := 1
	for _, l := range lines {
		width = max(width, len([]rune(l)))
	}
	b := board.NewBitmap(width*cellWidth, max(1, len(lines))*cellHeight)
	for y, l := range lines {
		for x, r := range []rune(l) {
			drawLetter(b, x*cellWidth, y*cellHeight, r)
		}
	}
	return b
}

// ServeHTTP answers with what the panel shows, as PNG: lit dots white, or grey when it is dim. It is never upside down.
func (p *Panel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	p.now.mu.Lock()
	dots, light := p.now.dots, p.now.light
	p.now.mu.Unlock()
	if dots == nil {
		http.NotFound(w, r)
		return
	}
	m := image.NewGray(image.Rect(0, 0, dots.Width*pictureScale, dots.Height*pictureScale))
	lit := map[board.Brightness]byte{board.Off: 0, board.Dim: 0x80, board.Bright: 0xff}[light]
	for i := range m.Pix {
		if dots.On(i%m.Stride/pictureScale, i/m.Stride/pictureScale) {
			m.Pix[i] = lit
		}
	}
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Cache-Control", "no-store")
	_ = png.Encode(w, m) // whoever asked has gone; nothing to tell them
}

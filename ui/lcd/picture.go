package lcd

import (
	"net/http"
	"sync"

	"github.com/postern-nas/postern/board"
)

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

// ServeHTTP answers with what the panel shows, as board.ServePicture does. It is never upside down.
func (p *Panel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.now.mu.Lock()
	dots, light := p.now.dots, p.now.light
	p.now.mu.Unlock()
	board.ServePicture(w, r, dots, light)
}

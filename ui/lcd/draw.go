package lcd

import (
	"image"

	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/font/inconsolata"
	"golang.org/x/image/math/fixed"
	"rsc.io/qr"

	"github.com/postern-nas/postern/board"
)

// The letters: Inconsolata, bold, 8 dots wide and 16 high. On the usual 0.96 inch OLED a capital is 1.7 mm high, on the
// 1.3 inch one 2.3 mm, which a good eye reads from a metre.
const (
	cellWidth  = 8
	cellHeight = 16
	ink        = 0x90 // of 255: the font has greys, and the panel has not; with more of them the dots of an ü run together

)

var face = inconsolata.Bold8x16

// The picture wanders by a few dots, minute by minute, so that no dot of an OLED is always lit. Text leaves the last
// column of cells free for it.
const wander = 5

// hasLetter says whether the font has r.
func hasLetter(r rune) bool { return inRanges(face.Ranges, r) && r != 0x7F && (r < 0x80 || r >= 0xA0) }

func inRanges(ranges []basicfont.Range, r rune) bool {
	for _, g := range ranges {
		if r >= g.Low && r < g.High {
			return true
		}
	}
	return false
}

// Draw draws a page at a tick in width by height dots. It says whether the next tick may look different.
func Draw(p Page, width, height, tick int) (*board.Bitmap, bool) {
	b := board.NewBitmap(width, height)
	columns, rows := (width-wander)/cellWidth, height/cellHeight
	drawn := p.QR != "" && drawQR(b, p.QR)
	if drawn {
		columns = (width - height) / cellWidth
	}
	lines, moves := Layout(p, columns, rows, tick, drawn, hasLetter)
	for y, l := range lines {
		x := 0
		for _, r := range l {
			drawLetter(b, x*cellWidth, y*cellHeight, r)
			x++
		}
	}
	return b, moves
}

// drawLetter draws r with its cell's upper left corner at x, y. What reaches out of the cell is cut.
func drawLetter(b *board.Bitmap, x, y int, r rune) {
	at, mask, from, _, ok := face.Glyph(fixed.P(0, face.Ascent-1), r)
	if !ok {
		return
	}
	alpha, ok := mask.(*image.Alpha)
	if !ok {
		return
	}
	for dy := at.Min.Y; dy < at.Max.Y; dy++ {
		for dx := at.Min.X; dx < at.Max.X; dx++ {
			if dx < 0 || dy < 0 || dx >= cellWidth || dy >= cellHeight {
				continue
			}
			if alpha.AlphaAt(from.X+dx-at.Min.X, from.Y+dy-at.Min.Y).A >= ink {
				b.Put(x+dx, y+dy, true)
			}
		}
	}
}

// dotsPerModule is how large a module of a QR code must be for a phone to see it: on these panels a dot is 0.17 mm.
const dotsPerModule = 2

// drawQR draws a code into the square at the right end. It draws nothing and says false where none fits that a phone
// can read: with modules of two dots and a light border of one module at least.
func drawQR(b *board.Bitmap, text string) bool {
	side := b.Height
	c, err := qr.Encode(text, qr.M)
	if err != nil || (c.Size+2)*dotsPerModule > side {
		c, err = qr.Encode(text, qr.L)
	}
	if err != nil || (c.Size+2)*dotsPerModule > side || b.Width < 2*side {
		return false
	}
	module := side / (c.Size + 2)
	left, margin := b.Width-side, (side-c.Size*module)/2
	for y := range side {
		for x := range side {
			mx, my := (x-margin)/module, (y-margin)/module
			inside := x >= margin && y >= margin && mx < c.Size && my < c.Size
			b.Put(left+x, y, !inside || !c.Black(mx, my))
		}
	}
	return true
}

// Wander moves a picture to its place of a minute. One that fills the panel, as with a QR code, stays.
func wandered(b *board.Bitmap, p Page, minute int) *board.Bitmap {
	dx := minute % (2 * wander)
	if dx >= wander {
		dx = 2*wander - 1 - dx
	}
	if dx == 0 || p.QR != "" {
		return b
	}
	return b.Shifted(dx, 0)
}

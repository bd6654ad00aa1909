package laptop

import (
	"strings"

	"github.com/postern-nas/postern/board"
)

// An art is a way to draw dots with characters, dx by dy dots each.
type art struct {
	dx, dy int
	char   func(on func(x, y int) bool) rune
}

// arts are tried in this order: half blocks give square dots that a phone reads a QR code from, Braille fits into a
// small terminal.
var arts = []art{
	{1, 2, func(on func(x, y int) bool) rune {
		switch upper, lower := on(0, 0), on(0, 1); {
		case upper && lower:
			return '█'
		case upper:
			return '▀'
		case lower:
			return '▄'
		}
		return ' '
	}},
	{2, 4, func(on func(x, y int) bool) rune {
		// Unicode 16.0, Braille Patterns: U+2800 plus a bit for each dot, numbered down the left, down the right, and
		// then the lowest row.
		bits := [4][2]rune{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}
		r := '\u2800'
		for y := range 4 {
			for x := range 2 {
				if on(x, y) {
					r |= bits[y][x]
				}
			}
		}
		return r
	}},
}

func (a art) draw(b *board.Bitmap) (rows []string) {
	for y := 0; y < b.Height; y += a.dy {
		var s strings.Builder
		for x := 0; x < b.Width; x += a.dx {
			s.WriteRune(a.char(func(dx, dy int) bool { return b.On(x+dx, y+dy) }))
		}
		rows = append(rows, s.String())
	}
	return rows
}

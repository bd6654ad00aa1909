package board

import (
	"image"
	"image/color"
)

// A Bitmap is a picture of dots that are on or off. A byte holds eight dots below each other, the lowest bit on top:
// the order of the memory in the OLED controllers, so that a page of it travels as it is.
type Bitmap struct {
	Width, Height int    // Height is a multiple of 8
	Pages         []byte // Height/8 rows of Width bytes
}

// NewBitmap returns a dark picture. It panics if height is no multiple of 8: a size is written in the source.
func NewBitmap(width, height int) *Bitmap {
	if width <= 0 || height <= 0 || height%8 != 0 {
		panic("board: a bitmap's height must be a multiple of 8")
	}
	return &Bitmap{Width: width, Height: height, Pages: make([]byte, width*height/8)}
}

// Page returns the dots of rows 8n to 8n+7. It shares memory with b.
func (b *Bitmap) Page(n int) []byte { return b.Pages[n*b.Width : (n+1)*b.Width] }

// On says whether the dot at x, y is on. Outside the picture all is dark.
func (b *Bitmap) On(x, y int) bool {
	if x < 0 || y < 0 || x >= b.Width || y >= b.Height {
		return false
	}
	return b.Pages[y/8*b.Width+x]>>(y%8)&1 != 0
}

// Put switches the dot at x, y. Outside the picture it does nothing.
func (b *Bitmap) Put(x, y int, on bool) {
	if x < 0 || y < 0 || x >= b.Width || y >= b.Height {
		return
	}
	i, bit := y/8*b.Width+x, byte(1)<<(y%8)
	b.Pages[i] &^= bit
	if on {
		b.Pages[i] |= bit
	}
}

// Shifted returns b moved right by dx and down by dy; what leaves the picture is lost.
func (b *Bitmap) Shifted(dx, dy int) *Bitmap {
	s := NewBitmap(b.Width, b.Height)
	for y := range b.Height {
		for x := range b.Width {
			if b.On(x, y) {
				s.Put(x+dx, y+dy, true)
			}
		}
	}
	return s
}

// Turned returns the picture as who stands on their head sees it.
func (b *Bitmap) Turned() *Bitmap {
	t := NewBitmap(b.Width, b.Height)
	for y := range b.Height {
		for x := range b.Width {
			t.Put(b.Width-1-x, b.Height-1-y, b.On(x, y))
		}
	}
	return t
}

// ColorModel, Bounds and At make b an image.Image: lit dots are white.
func (b *Bitmap) ColorModel() color.Model { return color.GrayModel }
func (b *Bitmap) Bounds() image.Rectangle { return image.Rect(0, 0, b.Width, b.Height) }

func (b *Bitmap) At(x, y int) color.Color {
	if b.On(x, y) {
		return color.Gray{Y: 0xff}
	}
	return color.Gray{}
}

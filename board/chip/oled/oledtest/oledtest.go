// Package oledtest plays what an OLED panel goes through in its life against a controller's transcripts.
package oledtest

import (
	"fmt"
	"testing"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/boardtest"
	"github.com/postern-nas/postern/board/chip/oled"
)

// Run plays all transcripts of the caller's testdata: both heights on both buses.
func Run(t *testing.T, open func(w oled.Wire, height int) *oled.Panel) {
	for _, wire := range []string{"i2c", "spi"} {
		for _, height := range []int{64, 32} {
			name := fmt.Sprintf("%s-128x%d", wire, height)
			t.Run(name, func(t *testing.T) {
				bus := boardtest.NewReplay(t, "testdata/"+name+".txt")
				w := oled.I2C(bus, 0x3C)
				if wire == "spi" {
					w = oled.SPI(bus.SPI())
				}
				play(bus, open(w, height))
			})
		}
	}
}

func play(bus *boardtest.Replay, p board.Pixels) {
	b := board.NewBitmap(p.Size())
	b.Put(0, 0, true)
	b.Put(127, b.Height-1, true)
	bus.Step("the first picture: init, all pages, on", 0)
	bus.Good(p.Draw(b))
	bus.Step("the same picture: nothing", 0)
	bus.Good(p.Draw(b))
	bus.Step("three dots in one page: their columns of that page", 0)
	b.Put(5, 9, true)
	b.Put(18, 15, true)
	b.Put(7, 8, true)
	bus.Good(p.Draw(b))
	bus.Step("dim", 0)
	bus.Good(p.Light(board.Dim))
	bus.Step("dim again: nothing", 0)
	bus.Good(p.Light(board.Dim))
	bus.Step("off", 0)
	bus.Good(p.Light(board.Off))
	bus.Step("a dot while off: the memory follows", 0)
	b.Put(64, 20, true)
	bus.Good(p.Draw(b))
	bus.Step("bright: init, all pages, on", 0)
	bus.Good(p.Light(board.Bright))
	bus.Step("the bus fails at the second page's data", 4)
	b.Put(1, 1, true)
	b.Put(2, 10, true)
	bus.Bad(p.Draw(b))
	bus.Step("and still at the init", 1)
	bus.Bad(p.Draw(b))
	bus.Step("it answers again: init, all pages, on", 0)
	bus.Good(p.Draw(b))
	bus.Step("a picture of another size: nothing", 0)
	bus.Bad(p.Draw(board.NewBitmap(8, 8)))
	bus.Step("close", 0)
	bus.Good(p.Close())
}

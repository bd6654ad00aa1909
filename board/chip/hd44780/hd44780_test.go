package hd44780_test

import (
	"fmt"
	"testing"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/boardtest"
	"github.com/postern-nas/postern/board/chip/hd44780"
)

// Each transcript in testdata was recorded with -update and then read against the datasheet.
func TestTranscript(t *testing.T) {
	for _, size := range [][2]int{{16, 2}, {20, 4}} {
		name := fmt.Sprintf("%dx%d", size[0], size[1])
		t.Run(name, func(t *testing.T) {
			bus := boardtest.NewReplay(t, "testdata/"+name+".txt")
			p, err := hd44780.New(bus, 0x27, size[0], size[1])
			if err != nil {
				t.Fatal(err)
			}
			play(bus, p)
		})
	}
}

func play(bus *boardtest.Replay, p board.Text) {
	bus.Step("the first text: init, all rows, on", 0)
	bus.Good(p.Write([]string{"Müller", "192.168.1.20"}))
	bus.Step("the same text: nothing", 0)
	bus.Good(p.Write([]string{"Müller", "192.168.1.20"}))
	bus.Step("one digit: its cell", 0)
	bus.Good(p.Write([]string{"Müller", "192.168.1.30"}))
	bus.Step("too long a line is cut, what it has not is a question mark", 0)
	bus.Good(p.Write([]string{"Müller", "192.168.1.30 \\~éand more that nobody sees"}))
	bus.Step("off: display and backlight", 0)
	bus.Good(p.Light(board.Off))
	bus.Step("dim: init, all rows, on", 0)
	bus.Good(p.Light(board.Dim))
	bus.Step("the bus fails at the second row", 2)
	bus.Bad(p.Write([]string{"A", "B"}))
	bus.Step("and still at the init's third transfer", 3)
	bus.Bad(p.Write([]string{"A", "B"}))
	bus.Step("it answers again: init, all rows, on", 0)
	bus.Good(p.Write([]string{"A", "B"}))
	bus.Step("close", 0)
	bus.Good(p.Close())
}

func TestSizes(t *testing.T) {
	for _, size := range [][2]int{{0, 2}, {21, 2}, {16, 0}, {16, 5}} {
		if _, err := hd44780.New(nil, 0x27, size[0], size[1]); err == nil {
			t.Errorf("a display of %v was taken", size)
		}
	}
}

func TestHas(t *testing.T) {
	p, err := hd44780.New(nil, 0x27, 16, 2)
	if err != nil {
		t.Fatal(err)
	}
	for r, want := range map[rune]bool{'A': true, 'ü': true, 'ß': true, '}': true, '\\': false, '~': false, 'é': false, '\n': false, 0: false} {
		if got := p.Has(r); got != want {
			t.Errorf("Has(%q) = %v; want %v", r, got, want)
		}
	}
}

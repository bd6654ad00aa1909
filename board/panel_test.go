package board_test

import (
	"reflect"
	"testing"

	"github.com/postern-nas/postern/board"
)

// What an owner says stands; what he leaves out is as the box's page has it for that kind, or else on the same header.
func TestWiringPanel(t *testing.T) {
	keys := []board.LineKey{{Line: board.Line{Chip: "/gpio", Offset: 5}, Key: board.Enter}}
	mine := []board.LineKey{{Line: board.Line{Chip: "/gpio", Offset: 6}, Key: board.Next}}
	w := board.Wiring{Panels: []board.Panel{
		{Kind: board.SSD1306, I2C: "/i2c", Keys: keys},
		{Kind: board.SH1106, SPI: "/spi/panel@0", Data: board.Line{Chip: "/gpio", Offset: 24}, Keys: keys},
	}}
	for name, c := range map[string]struct{ said, want board.Panel }{
		"the kind alone": {board.Panel{Kind: board.SSD1306, Height: 32}, board.Panel{Kind: board.SSD1306, Height: 32, I2C: "/i2c", Keys: keys}},
		"on SPI": {
			board.Panel{Kind: board.SH1106},
			board.Panel{Kind: board.SH1106, SPI: "/spi/panel@0", Data: board.Line{Chip: "/gpio", Offset: 24}, Keys: keys},
		},
		"other keys":        {board.Panel{Kind: board.SSD1306, Keys: mine}, board.Panel{Kind: board.SSD1306, I2C: "/i2c", Keys: mine}},
		"another place":     {board.Panel{Kind: board.SSD1306, I2C: "/dev/i2c-9"}, board.Panel{Kind: board.SSD1306, I2C: "/dev/i2c-9"}},
		"on the header":     {board.Panel{Kind: board.HD44780, Address: 0x20}, board.Panel{Kind: board.HD44780, Address: 0x20, I2C: "/i2c"}},
		"not on the header": {board.Panel{Kind: board.A125}, board.Panel{Kind: board.A125}},
	} {
		if got := w.Panel(c.said); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := (board.Wiring{}).Panel(board.Panel{Kind: board.SSD1306}); got.I2C != "" {
		t.Errorf("without a header: %+v", got)
	}
}

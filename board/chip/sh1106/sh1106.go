// Package sh1106 drives the Sino Wealth SH1106, an OLED of 128x64 or 128x32 dots, over I2C or SPI. Numbers in brackets
// are those of its datasheet's chapter "Commands", V2.3.
package sh1106

import (
	"github.com/postern-nas/postern/board/chip/oled"
)

const (
	pumpVoltage = 0x32 // [3]: 8.0 V, the value after reset
	converter   = 0xAD // [10]: followed by on or off
	converterOn = 0x8B // [10]: on while the display is
	converterNo = 0x8A // [10]

	clock50     = 0x50 // [15]: the value after reset, undivided
	precharge22 = 0x22 // [16]: the value after reset
	deselect35  = 0x35 // [18]: the value after reset

	// Its memory is 132 columns wide; glass of 128 is wired to the middle of them (datasheet, block diagram: SEG0 to
	// SEG131).
	firstColumn = 2
)

// New returns a panel of 128 by height dots, 64 or 32.
func New(w oled.Wire, height int) *oled.Panel {
	pins := byte(oled.RowsAlternate)
	if height == 32 {
		pins = oled.RowsSequential
	}
	return oled.New(w, oled.Controller{
		Init: []byte{
			oled.DisplayOff,
			oled.Clock, clock50,
			oled.Rows, byte(height - 1),
			oled.Offset, 0,
			oled.StartLine,
			pumpVoltage,
			converter, converterOn,
			oled.RemapColumn, oled.RemapRow,
			oled.RowPins, pins,
			oled.Precharge, precharge22,
			oled.Deselect, deselect35,
			oled.ShowMemory, oled.NotInverse,
		},
		Sleep:  []byte{oled.DisplayOff, converter, converterNo},
		Column: firstColumn,
	}, 128, height)
}

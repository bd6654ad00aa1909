// Package ssd1306 drives the Solomon Systech SSD1306, an OLED of 128x64 or 128x32 dots, over I2C or SPI. Pages are those
// of its datasheet, Rev 1.1, April 2008, and of the application note on the charge pump that is bound with it.
package ssd1306

import (
	"github.com/postern-nas/postern/board/chip/oled"
)

const (
	addressing = 0x20 // p. 30: followed by the mode
	byPage     = 0x02 // p. 30: page addressing, what package oled writes with
	noScroll   = 0x2E // p. 28: a scroll left running would spoil the memory
	chargePump = 0x8D // p. 62, application note 2: followed by on or off
	pumpOn     = 0x14 // p. 62
	pumpOff    = 0x10 // p. 62

	clock80     = 0x80 // p. 32: the frequency after reset, undivided
	precharge22 = 0x22 // p. 32: the value after reset
	deselect20  = 0x20 // p. 32: 0.77 of VCC, the value after reset
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
			oled.Clock, clock80,
			oled.Rows, byte(height - 1),
			oled.Offset, 0,
			oled.StartLine,
			chargePump, pumpOn,
			addressing, byPage,
			oled.RemapColumn, oled.RemapRow, // the flat cable is at the top
			oled.RowPins, pins,
			oled.Precharge, precharge22,
			oled.Deselect, deselect20,
			oled.ShowMemory, oled.NotInverse, noScroll,
		},
		Sleep: []byte{oled.DisplayOff, chargePump, pumpOff},
	}, 128, height)
}

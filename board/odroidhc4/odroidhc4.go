// Package odroidhc4 is Hardkernel's ODROID-HC4. Its display is a kit that not every box has: an SSD1306 of 128x64 dots on
// the seven-pin header. It has no buttons, and no SPI on a header for a TPM.
package odroidhc4

import (
	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/wired"
)

// Board is the box. Its nodes: Linux, arch/arm64/boot/dts/amlogic/meson-sm1-odroid-hc4.dts; the header is the bus that
// the clock (pcf8563) is on too. The two SATA ports are numbered as their controller does: which is the one in front was
// not seen on a box.
var Board = board.Board{
	Name:       "ODROID-HC4",
	Compatible: []string{"hardkernel,odroid-hc4"},
	Wiring:     wiring,
	Open:       wired.Open(wiring),
}

var wiring = board.Wiring{
	Trees:  []string{"amlogic/meson-sm1-odroid-hc4"},
	Panels: []board.Panel{{Kind: board.SSD1306, I2C: "/soc/bus@ffd00000/i2c@1d000"}},
	Status: board.Lamp{Node: "/leds/led-blue", Name: "blue:status"},
	Fans:   []string{"/pwm-fan"},
	Clock:  "/soc/bus@ffd00000/i2c@1d000/rtc@51",
	Disks:  []board.Ports{{Node: "/soc/pcie@fc000000", Device: "fc000000.pcie", SATA: 2}},
}

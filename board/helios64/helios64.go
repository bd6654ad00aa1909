// Package helios64 is Kobol's Helios64, a box for five disks. It came without a display: one can be plugged into the
// header UEXT (P2, bus 8) or P1 (bus 7). Linux's tree of it knows neither the front panel's buttons nor its disk lights.
package helios64

import (
	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/wired"
)

// Board is the box. Its nodes: Linux, arch/arm64/boot/dts/rockchip/rk3399-kobol-helios64.dts. Its headers: Kobol's
// wiki, pages "I2C", "SPI" and "GPIO". The buses of the headers and the TPM on UEXT are switched on by our own patches
// of the tree (images/rockchip.go). The five SATA ports are numbered as their controller does.
var Board = board.Board{
	Name:       "Helios64",
	Compatible: []string{"kobol,helios64"},
	Wiring:     wiring,
	Open:       wired.Open(wiring),
}

var wiring = board.Wiring{
	Trees:  []string{"rockchip/rk3399-kobol-helios64"},
	Panels: []board.Panel{{Kind: board.SSD1306, I2C: "/i2c@ff3e0000"}, {Kind: board.SSD1306, I2C: "/i2c@ff160000"}},
	Status: board.Lamp{Node: "/leds/led-0", Name: "helios64:green:status"},
	Fans:   []string{"/fan1", "/fan2"},
	Clock:  "/i2c@ff3c0000/pmic@1b",
	TPM:    "/spi@ff1e0000",
	Disks:  []board.Ports{{Node: "/pcie@f8000000", Device: "f8000000.pcie", SATA: 5}},
}

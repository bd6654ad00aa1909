// Package rockpro64 is Pine64's ROCKPro64. Pine64's NAS case gives it two disks on a SATA card in its PCIe slot.
package rockpro64

import (
	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/wired"
)

// Board is the box. Its nodes: Linux, arch/arm64/boot/dts/rockchip/rk3399-rockpro64.dtsi. Pins 3 and 5 of its header Pi-2
// are the bus i2c8, which our own patch of the tree (images/rockchip.go) switches on.
var Board = board.Board{
	Name:       "ROCKPro64",
	Compatible: []string{"pine64,rockpro64"},
	Wiring:     wiring,
	Open:       wired.Open(wiring),
}

var wiring = board.Wiring{
	Trees:  []string{"rockchip/rk3399-rockpro64", "rockchip/rk3399-rockpro64-v2"},
	Panels: []board.Panel{{Kind: board.SSD1306, I2C: "/i2c@ff3e0000"}},
	Status: board.Lamp{Node: "/leds/led-0", Name: "work"},
	Fans:   []string{"/pwm-fan"},
	Clock:  "/i2c@ff3c0000/pmic@1b",
}

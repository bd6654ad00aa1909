// Package cm3588 is FriendlyElec's CM3588 on its NAS board: four places for NVMe disks, a button, and a header of 40 pins
// where a display may be.
package cm3588

import (
	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/wired"
)

// Board is the box. Its nodes: Linux, arch/arm64/boot/dts/rockchip/rk3588-friendlyelec-cm3588-nas.dts. The bays are in
// the order of the buses' domains in that file.
var Board = board.Board{
	Name:       "CM3588 NAS",
	Compatible: []string{"friendlyarm,cm3588-nas"},
	Wiring:     wiring,
	Open:       wired.Open(wiring),
}

var wiring = board.Wiring{
	Trees:  []string{"rockchip/rk3588-friendlyelec-cm3588-nas"},
	Panels: []board.Panel{{Kind: board.SSD1306, I2C: "/i2c@feca0000"}},
	Status: board.Lamp{Node: "/leds/led-1", Name: "green:indicator"},
	// One button is all: what it means depends on how long it is held (board.OneKey).
	Keys:  []board.Button{{Node: "/gpio-keys/button-user", Code: 0x101, Key: board.Next}},
	Fans:  []string{"/pwm-fan"},
	Clock: "/i2c@fec80000/rtc@51",
	Disks: []board.Ports{
		{Node: "/pcie@fe150000", Device: "a40000000.pcie"},
		{Node: "/pcie@fe160000", Device: "a40400000.pcie"},
		{Node: "/pcie@fe170000", Device: "a40800000.pcie"},
		{Node: "/pcie@fe180000", Device: "a40c00000.pcie"},
	},
}

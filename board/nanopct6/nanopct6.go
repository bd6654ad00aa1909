// Package nanopct6 is FriendlyElec's NanoPC-T6, which became the NanoPC-T6 LTS: one place for an NVMe disk, and no display.
package nanopct6

import (
	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/wired"
)

// The boards. Their nodes: Linux, arch/arm64/boot/dts/rockchip/rk3588-nanopc-t6.dtsi.
var (
	Board = board.Board{Name: "NanoPC-T6", Compatible: []string{"friendlyarm,nanopc-t6"}, Wiring: first, Open: wired.Open(first)}
	LTS   = board.Board{Name: "NanoPC-T6 LTS", Compatible: []string{"friendlyarm,nanopc-t6-lts"}, Wiring: lts, Open: wired.Open(lts)}
)

var (
	first = wiring("rockchip/rk3588-nanopc-t6")
	lts   = wiring("rockchip/rk3588-nanopc-t6-lts")
)

func wiring(tree string) board.Wiring {
	return board.Wiring{
		Trees:  []string{tree},
		Status: board.Lamp{Node: "/leds/led-1", Name: "user-led"},
		// The button that keeps the processor in its ROM at the start means nothing later: it is the only one, and does
		// everything (board.OneKey).
		Keys:  []board.Button{{Node: "/adc-keys-0/button-maskrom", Code: 0x8d, Key: board.Next}},
		Fans:  []string{"/pwm-fan"},
		Clock: "/i2c@fec80000/rtc@51",
		Disks: []board.Ports{{Node: "/pcie@fe150000", Device: "a40000000.pcie"}},
	}
}

// Package rock5 are Radxa's ROCK 5 boards. They have neither display nor bays of their own; disks are on M.2, SATA or USB.
package rock5

import (
	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/wired"
)

// The boards. Their nodes: Linux, arch/arm64/boot/dts/rockchip/rk3588-rock-5*.dts and rk3588s-rock-5*.dts.
var (
	A     = one("ROCK 5A", "radxa,rock-5a", a)
	B     = one("ROCK 5B", "radxa,rock-5b", b)
	BPlus = one("ROCK 5B+", "radxa,rock-5b-plus", bPlus)
	C     = one("ROCK 5C", "radxa,rock-5c", c)
	T     = one("ROCK 5T", "radxa,rock-5t", t)
	ITX   = one("ROCK 5 ITX", "radxa,rock-5-itx", itx)
)

func one(name, compatible string, w board.Wiring) board.Board {
	return board.Board{Name: name, Compatible: []string{compatible}, Wiring: w, Open: wired.Open(w)}
}

var (
	a = board.Wiring{
		Trees:  []string{"rockchip/rk3588s-rock-5a"},
		Status: board.Lamp{Node: "/leds/io-led", Name: "blue:status"},
		Fans:   []string{"/pwm-fan"},
	}
	b = board.Wiring{
		Trees:  []string{"rockchip/rk3588-rock-5b"},
		Status: board.Lamp{Node: "/leds/led_rgb_b", Name: "blue:status"},
		Fans:   []string{"/pwm-fan"},
		Clock:  "/i2c@fec80000/rtc@51",
	}
	bPlus = board.Wiring{
		Trees:  []string{"rockchip/rk3588-rock-5b-plus"},
		Status: board.Lamp{Node: "/leds/led_rgb_b", Name: "blue:status"},
		Fans:   []string{"/pwm-fan"},
	}
	c = board.Wiring{
		Trees:  []string{"rockchip/rk3588s-rock-5c"},
		Status: board.Lamp{Node: "/leds/led-1", Name: "blue:heartbeat"},
		Fans:   []string{"/fan"},
	}
	t = board.Wiring{
		Trees:  []string{"rockchip/rk3588-rock-5t"},
		Status: board.Lamp{Node: "/leds/led_rgb_b", Name: "blue:status"},
		Fans:   []string{"/pwm-fan"},
	}
	itx = board.Wiring{
		Trees:  []string{"rockchip/rk3588-rock-5-itx"},
		Status: board.Lamp{Node: "/gpio-leds/power-led1", Name: "power-led1"},
		Fans:   []string{"/pwm-fan"},
		Clock:  "/i2c@fec80000/rtc@51",
	}
)

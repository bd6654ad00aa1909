// Package rpi are Raspberry Pi's 4, 400, Compute Module 4 and 5. They are no boxes with bays: disks come by USB. A
// display with keys and a TPM may sit on the 40-pin header; on a 5 the header's buses are not in Linux's tree yet.
package rpi

import (
	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/wired"
)

// Pi4 and CM4 are the board and the Compute Module on its IO board. Nodes: Linux,
// arch/arm/boot/dts/broadcom/bcm2711-rpi-4-b.dts and bcm2711-rpi-cm4-io.dts. The header's pins 3 and 5 are i2c-1, and
// SPI0 is for a TPM on its second chip select, pin 26.
var (
	Pi4 = board.Board{
		Name: "Raspberry Pi 4", Compatible: []string{"raspberrypi,4-model-b"},
		Wiring: pi4, Open: wired.Open(pi4),
	}
	CM4 = board.Board{
		Name: "Raspberry Pi CM4", Compatible: []string{"raspberrypi,4-compute-module"},
		Wiring: cm4, Open: wired.Open(cm4),
	}
	Pi400 = board.Board{
		Name: "Raspberry Pi 400", Compatible: []string{"raspberrypi,400"},
		Wiring: pi400, Open: wired.Open(pi400),
	}
	Pi5 = board.Board{
		Name: "Raspberry Pi 5", Compatible: []string{"raspberrypi,5-model-b"},
		Wiring: pi5, Open: wired.Open(pi5),
	}
)

const (
	header = "/soc/i2c@7e804000"
	spi0   = "/soc/spi@7e204000"
	pins   = "/soc/gpio@7e200000"
)

// The panels, by their makers' pages. A header without the bonnet's keys has nothing on those lines: the pull-ups hold
// them. The HAT's display is the device on SPI0's first chip select that our own patch of the tree (images/rpi.go) makes.
var (
	// bonnet is an SSD1306 on I2C, such as Adafruit's "128x64 OLED Bonnet", with a stick and two buttons.
	bonnet = board.Panel{Kind: board.SSD1306, I2C: header, Keys: []board.LineKey{
		key(5, board.Enter), key(6, board.Back), // A, B
		key(17, board.Previous), key(22, board.Next), key(27, board.Previous), key(23, board.Next), key(4, board.Enter), // the stick
	}}
	// hat is Waveshare's "1.3inch OLED HAT", with a stick and three buttons.
	hat = board.Panel{
		Kind: board.SH1106, SPI: spi0 + "/panel@0", Data: board.Line{Chip: pins, Offset: 24}, Reset: board.Line{Chip: pins, Offset: 25},
		Keys: []board.LineKey{
			key(21, board.Enter), key(20, board.Next), key(16, board.Back), // 1, 2, 3
			key(6, board.Previous), key(19, board.Next), key(5, board.Previous), key(26, board.Next), key(13, board.Enter), // the stick
		},
	}
)

func key(line int, k board.Key) board.LineKey {
	return board.LineKey{Line: board.Line{Chip: pins, Offset: line}, Key: k}
}

var (
	pi4 = board.Wiring{
		Trees:  []string{"broadcom/bcm2711-rpi-4-b"},
		Panels: []board.Panel{bonnet, hat},
		Status: board.Lamp{Node: "/leds/led-act", Name: "ACT"},
		TPM:    spi0,
	}
	cm4 = board.Wiring{
		Trees:  []string{"broadcom/bcm2711-rpi-cm4-io"},
		Panels: []board.Panel{bonnet, hat},
		Status: board.Lamp{Node: "/leds/led-act", Name: "ACT"},
		Clock:  "/i2c-mux0/i2c@1/rtc@51", // the IO board's
		TPM:    spi0,
	}
	// pi400 has one light, which is the one for power.
	pi400 = board.Wiring{
		Trees:  []string{"broadcom/bcm2711-rpi-400"},
		Panels: []board.Panel{bonnet},
		Status: board.Lamp{Node: "/leds/led-pwr", Name: "PWR"},
	}
	// pi5: bcm2712-rpi-5-b.dts, and bcm2712-d-rpi-5-b.dts for the later stepping. Its power button is left to the kernel.
	pi5 = board.Wiring{Trees: []string{"broadcom/bcm2712-rpi-5-b", "broadcom/bcm2712-d-rpi-5-b"}}
)

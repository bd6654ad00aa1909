// Package odroidhc4 is Hardkernel's ODROID-HC4. Its display is a kit that not every box has: an SSD1306 of 128x64 dots on
// the seven-pin header. It has no buttons.
package odroidhc4

import (
	"log/slog"
	"os"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/chip/hwmon"
	"github.com/postern-nas/postern/board/chip/i2cdev"
	"github.com/postern-nas/postern/board/chip/oled"
	"github.com/postern-nas/postern/board/chip/ssd1306"
)

// Board is the box. Names and bus: Linux, arch/arm64/boot/dts/amlogic/meson-sm1-odroid-hc4.dts; the header is the bus
// that the clock (pcf8563) is on too.
var Board = board.Board{
	Name:       "ODROID-HC4",
	Compatible: []string{"hardkernel,odroid-hc4"},
	Open:       open,
}

const header = "i2c@1d000"

// addresses are both that an SSD1306 can have (its datasheet, Rev 1.1, 8.1.5, p. 19): SA0 low, SA0 high.
var addresses = []uint16{0x3C, 0x3D}

func open(log *slog.Logger) *board.Hardware {
	h := new(board.Hardware)
	h.Fans, h.Sensors = hwmon.Find(hwmon.Dir)
	device, err := i2cdev.Find(os.DirFS("/sys"), header)
	if err != nil {
		log.Warn("no display", "err", err)
		return h
	}
	bus, err := i2cdev.Open(device)
	if err != nil {
		log.Warn("no display", "err", err)
		return h
	}
	for _, addr := range addresses {
		panel := ssd1306.New(oled.I2C(bus, addr), 64)
		if err = panel.Light(board.Bright); err == nil {
			h.Display = panel
			h.Closers = append(h.Closers, bus)
			return h
		}
	}
	log.Info("no display on the header", "err", err)
	bus.Close()
	return h
}

// Package wired opens the parts of a box from the page that says what is wired where.
package wired

import (
	"log/slog"
	"os"
	"path"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/chip/evkeys"
	"github.com/postern-nas/postern/board/chip/hwmon"
	"github.com/postern-nas/postern/board/chip/i2cdev"
	"github.com/postern-nas/postern/board/chip/oled"
	"github.com/postern-nas/postern/board/chip/ssd1306"
	"github.com/postern-nas/postern/board/chip/sysled"
)

// addresses are both that an SSD1306 can have (its datasheet, Rev 1.1, 8.1.5, p. 19): SA0 low, SA0 high.
var addresses = []uint16{0x3C, 0x3D}

// Open returns what a board's Open is: it opens the parts that w names and that answer.
func Open(w board.Wiring) func(*slog.Logger) *board.Hardware {
	return func(log *slog.Logger) *board.Hardware {
		h := &board.Hardware{Bays: w.Bays()}
		h.Fans, h.Sensors = hwmon.Find(hwmon.Dir)
		if w.Status.Node != "" {
			led, err := sysled.Open(sysled.Dir, w.Status.Name)
			if err == nil {
				h.Status = led
			} else {
				log.Warn("no light", "err", err)
			}
		}
		if len(w.Keys) > 0 {
			keys, err := evkeys.Open(os.DirFS("/sys"), w.Keys)
			if err == nil {
				h.Buttons = keys
			} else {
				log.Warn("no buttons", "err", err)
			}
		}
		for _, bus := range w.Displays {
			if display(h, bus, log) {
				break
			}
		}
		return h
	}
}

// display looks for a panel on a bus.
func display(h *board.Hardware, bus string, log *slog.Logger) bool {
	device, err := i2cdev.Find(os.DirFS("/sys"), path.Base(bus))
	if err != nil {
		log.Warn("no display", "err", err)
		return false
	}
	b, err := i2cdev.Open(device)
	if err != nil {
		log.Warn("no display", "err", err)
		return false
	}
	for _, addr := range addresses {
		panel := ssd1306.New(oled.I2C(b, addr), 64)
		if err = panel.Light(board.Bright); err == nil {
			h.Display = panel
			h.Closers = append(h.Closers, b)
			return true
		}
	}
	log.Info("no display on the header", "bus", bus, "err", err)
	b.Close()
	return false
}

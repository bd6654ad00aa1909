// Package wired opens the parts of a box from the page that says what is wired where.
package wired

import (
	"log/slog"
	"os"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/chip/hwmon"
	"github.com/postern-nas/postern/board/chip/sysled"
)

// Open returns what a board's Open is: it opens the parts that w names and that answer, and the panel that its owner has
// named instead.
func Open(w board.Wiring) func(board.Panel, *slog.Logger) *board.Hardware {
	return func(panel board.Panel, log *slog.Logger) *board.Hardware {
		h := &board.Hardware{Bays: w.Bays(), Air: func() ([]board.Fan, []board.Sensor) { return hwmon.Find(hwmon.Dir) }}
		if w.Status.Node != "" {
			led, err := sysled.Open(sysled.Dir, w.Status.Name)
			if err == nil {
				h.Status, err = led, led.Set(board.Blinking) // until it is known how the box is
			}
			if err != nil {
				log.Warn("no light", "err", err)
			}
		}
		f := front{h: h, sys: os.DirFS("/sys"), log: log}
		f.open(w, panel)
		return h
	}
}

// Panel opens a panel alone, on a machine of which nothing else is known.
func Panel(panel board.Panel, log *slog.Logger) *board.Hardware {
	f := front{h: new(board.Hardware), sys: os.DirFS("/sys"), log: log}
	f.open(board.Wiring{}, panel)
	return f.h
}

// Package board says what a box may have: a display, buttons, LEDs, fans, sensors, bays. Nobody asks which model it
// is: what a box lacks is nil or empty, and whoever uses it can do without.
//
// The parts are driven by the packages under chip; a package a box (laptop, qemu, odroidhc4, ...) says what is wired
// where; all is the list of boxes, matched by the device tree's "compatible".
package board

import (
	"errors"
	"io"
	"log/slog"
)

// A Board is one kind of box. It is data: what opens the parts is Open.
type Board struct {
	Name       string
	Compatible []string // device-tree names of the box, from its dts in Linux; empty: never found by itself
	Wiring     Wiring   // what is where
	// Found says that this is the box, where no device tree says what it is; nil: nothing but a device tree does.
	Found func() bool

	// Open opens the parts that answer, with the panel that its owner names. A part that does not is left out and logged; no
	// part is needed to serve files, so there is no error.
	Open func(panel Panel, log *slog.Logger) *Hardware
}

// Hardware is what was found in a box. Every field may be nil or empty.
type Hardware struct {
	Display Display
	Buttons Buttons
	Status  LED                      // the one light that says whether all is well
	Air     func() ([]Fan, []Sensor) // those that there are now: disks bring and take sensors, and drivers come late
	Bays    []Bay
	Trouble error       // what the owner has named and does not work; nil: nothing
	Closers []io.Closer // buses and lines under the parts, closed after them in reverse order
}

// Close switches display and light off and closes all parts. It is safe on nil.
func (h *Hardware) Close() error {
	if h == nil {
		return nil
	}
	var errs []error
	if h.Buttons != nil {
		errs = append(errs, h.Buttons.Close())
	}
	if h.Display != nil {
		errs = append(errs, h.Display.Close())
	}
	if h.Status != nil {
		errs = append(errs, h.Status.Set(Dark))
	}
	for i := len(h.Closers) - 1; i >= 0; i-- {
		errs = append(errs, h.Closers[i].Close())
	}
	return errors.Join(errs...)
}

// A Light is what an LED does.
type Light uint8

const (
	Dark Light = iota
	Lit
	Blinking // slowly: wait
	Flashing // fast: look
)

// An LED is one light of one colour.
type LED interface {
	Set(Light) error
}

// A Fan turns.
type Fan interface {
	Name() string
	RPM() (int, error)     // turns a minute
	Set(percent int) error // 0 to 100 of its full power
}

// A Sensor measures a temperature.
type Sensor interface {
	Name() string
	Celsius() (float64, error)
}

// A Bay is a place for a disk.
type Bay struct {
	Name  string // as printed on the box
	Port  string // words that are parts of the disk's path beneath /sys/devices, in their order (Has)
	Fault LED    // nil: the bay has none
}

package wired

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/chip/a125"
	"github.com/postern-nas/postern/board/chip/evkeys"
	"github.com/postern-nas/postern/board/chip/gpiokeys"
	"github.com/postern-nas/postern/board/chip/gpioout"
	"github.com/postern-nas/postern/board/chip/hd44780"
	"github.com/postern-nas/postern/board/chip/i2cdev"
	"github.com/postern-nas/postern/board/chip/ofnode"
	"github.com/postern-nas/postern/board/chip/oled"
	"github.com/postern-nas/postern/board/chip/sh1106"
	"github.com/postern-nas/postern/board/chip/spidev"
	"github.com/postern-nas/postern/board/chip/ssd1306"
)

// addresses are those on I2C that are tried: of OLEDs both that there are (SSD1306 datasheet, Rev 1.1, 8.1.5, p. 19: SA0
// low, SA0 high), of characters those that backpacks come with, by PCF8574 and PCF8574A (its datasheet, p. 9).
var addresses = map[string][]uint16{board.SSD1306: {0x3C, 0x3D}, board.SH1106: {0x3C, 0x3D}, board.HD44780: {0x27, 0x3F}}

// sizes are the usual ones.
var sizes = map[string][2]int{board.SSD1306: {128, 64}, board.SH1106: {128, 64}, board.HD44780: {16, 2}}

const (
	spiClock  = 4_000_000             // hertz: the SH1106 takes no more
	resetTime = 10 * time.Millisecond // both controllers take microseconds; the supply behind the pin may not
)

// A front is a box's front being opened.
type front struct {
	h   *board.Hardware
	sys fs.FS // /sys
	log *slog.Logger
}

// open opens display and keys. What its owner has named and does not open is the Hardware's Trouble.
func (f *front) open(w board.Wiring, p board.Panel) {
	named := len(p.Keys) > 0
	switch p.Kind {
	case board.NoPanel:
		return
	case "":
		for _, own := range w.Panels {
			if own.I2C == "" {
				continue
			}
			err := f.display(own, false)
			if err == nil {
				if !named {
					p.Keys = own.Keys
				}
				break
			}
			f.log.Info("no display on the header", "err", err)
		}
	default:
		p = w.Panel(p)
		f.trouble(f.display(p, true))
	}
	if err := f.keys(w, p.Keys); err != nil && named {
		f.trouble(fmt.Errorf("keys: %w", err))
	} else if err != nil {
		f.log.Warn("no buttons", "err", err)
	}
}

func (f *front) trouble(err error) {
	if err != nil {
		f.h.Trouble = errors.Join(f.h.Trouble, err)
		f.log.Warn("the panel that is named does not open", "err", err)
	}
}

// display opens a panel. Only one that is certain to be there need not answer now.
func (f *front) display(p board.Panel, certain bool) (err error) {
	if size := sizes[p.Kind]; p.Width == 0 {
		p.Width, p.Height = size[0], size[1]
	}
	begun := len(f.h.Closers)
	defer func() {
		if err == nil {
			return
		}
		for _, c := range f.h.Closers[begun:] {
			err = errors.Join(err, c.Close())
		}
		f.h.Closers = f.h.Closers[:begun]
	}()
	switch {
	case p.I2C != "":
		err = f.onI2C(p, certain)
	case p.SPI != "":
		err = f.onSPI(p)
	case p.Serial != "":
		err = f.onSerial(p)
	default:
		err = fmt.Errorf("kind: nothing says where on this box a panel of the kind %s is connected", p.Kind)
	}
	return err
}

func (f *front) onI2C(p board.Panel, certain bool) error {
	file, err := ofnode.I2C.Find(f.sys, p.I2C)
	if err != nil {
		return fmt.Errorf("i2c: %w", err)
	}
	bus, err := i2cdev.Open(file)
	if err != nil {
		return fmt.Errorf("i2c: %w", err)
	}
	f.h.Closers = append(f.h.Closers, bus)
	try := addresses[p.Kind]
	if p.Address != 0 {
		try = []uint16{p.Address}
	}
	f.h.Display, err = answering(bus, p, try)
	if err == nil {
		return nil
	}
	if !certain || f.h.Display == nil {
		f.h.Display = nil
		return fmt.Errorf("i2c: %s: %w", file, err)
	}
	f.log.Warn("the panel does not answer yet", "i2c", file, "err", err)
	return nil
}

// answering is the panel at the first address that answers; else that at the first, with what went wrong.
func answering(bus i2c.Bus, p board.Panel, try []uint16) (first board.Display, wrong error) {
	for _, addr := range try {
		var d board.Display
		if p.Kind == board.HD44780 {
			panel, err := hd44780.New(bus, addr, p.Width, p.Height)
			if err != nil {
				return nil, err
			}
			d = panel
		} else {
			d = dots(oled.I2C(bus, addr), p)
		}
		err := d.Light(board.Bright)
		if err == nil {
			return d, nil
		}
		if first == nil {
			first, wrong = d, err
		}
	}
	return first, wrong
}

// dots is an OLED on a wire.
func dots(w oled.Wire, p board.Panel) *oled.Panel {
	if p.Kind == board.SH1106 {
		return sh1106.New(w, p.Height)
	}
	return ssd1306.New(w, p.Height)
}

func (f *front) onSPI(p board.Panel) error {
	file, err := ofnode.SPI.Find(f.sys, p.SPI)
	if err != nil {
		return fmt.Errorf("spi: %w", err)
	}
	device, err := spidev.Open(file, spiClock)
	if err != nil {
		return fmt.Errorf("spi: %w", err)
	}
	f.h.Closers = append(f.h.Closers, device)
	data, err := f.pin(p.Data)
	if err != nil {
		return fmt.Errorf("data_line: %w", err)
	}
	if p.Reset.Chip != "" {
		reset, err := f.pin(p.Reset)
		if err == nil {
			err = pulse(reset)
		}
		if err != nil {
			return fmt.Errorf("reset_line: %w", err)
		}
	}
	f.h.Display = dots(oled.SPI(device, data), p)
	return nil
}

// pin takes a line that is driven.
func (f *front) pin(l board.Line) (*gpioout.Pin, error) {
	chip, err := ofnode.GPIO.Find(f.sys, l.Chip)
	if err != nil {
		return nil, err
	}
	pin, err := gpioout.Open(chip, l.Offset)
	if err != nil {
		return nil, err
	}
	f.h.Closers = append(f.h.Closers, pin)
	return pin, nil
}

// pulse resets what is behind a pin that is high.
func pulse(pin *gpioout.Pin) error {
	if err := pin.Out(gpio.Low); err != nil {
		return err
	}
	time.Sleep(resetTime)
	err := pin.Out(gpio.High)
	time.Sleep(resetTime)
	return err
}

func (f *front) onSerial(p board.Panel) error {
	panel, err := a125.Open(p.Serial, p.Swapped)
	if err != nil {
		return fmt.Errorf("serial: %w", err)
	}
	f.h.Display, f.h.Buttons = panel, panel.Buttons()
	return nil
}

// keys opens the buttons: those of the panel that are on lines, else those on its own wire, else the box's.
func (f *front) keys(w board.Wiring, lines []board.LineKey) error {
	meanings := make(map[board.Key]bool)
	switch {
	case len(lines) > 0:
		files := make([]board.LineKey, len(lines))
		for i, l := range lines {
			chip, err := ofnode.GPIO.Find(f.sys, l.Chip)
			if err != nil {
				return err
			}
			files[i], meanings[l.Key] = board.LineKey{Line: board.Line{Chip: chip, Offset: l.Offset}, Key: l.Key}, true
		}
		k, err := gpiokeys.Open(files)
		if err != nil {
			return err
		}
		f.h.Buttons = k
	case f.h.Buttons != nil || len(w.Keys) == 0:
		return nil
	default:
		k, err := evkeys.Open(f.sys, w.Keys)
		if err != nil {
			return err
		}
		f.h.Buttons = k
		for _, b := range w.Keys {
			meanings[b.Key] = true
		}
	}
	if len(meanings) == 1 {
		f.h.Buttons = &board.OneKey{Buttons: f.h.Buttons}
	}
	return nil
}

// Package oled is what the SSD1306 and the SH1106 have in common: a memory of pages, eight rows each, that is written
// page by page ("page addressing mode"), over I2C or SPI. What differs is in their own packages.
package oled

import (
	"errors"
	"fmt"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"

	"github.com/postern-nas/postern/board"
)

// Commands that both controllers have. The pages are those of the SSD1306's datasheet, Rev 1.1 (April 2008), table 9-1;
// the SH1106's has the same codes in its chapter "Commands" (V2.3; its command's number is in brackets).
const (
	ColumnLow   = 0x00 // p. 30 [1]: or'ed with the column's low four bits
	ColumnHigh  = 0x10 // p. 30 [2]: or'ed with its high four bits
	StartLine   = 0x40 // p. 31 [4]: or'ed with the memory row shown on top, here 0
	Contrast    = 0x81 // p. 28 [5]: followed by 0 to 255
	RemapColumn = 0xA1 // p. 31 [6]: the memory's column 0 is at the right end of the driver
	ShowMemory  = 0xA4 // p. 28 [7]: not "all dots on"
	NotInverse  = 0xA6 // p. 28 [8]: a one is a lit dot
	Rows        = 0xA8 // p. 31 [9]: followed by the number of rows less one
	DisplayOff  = 0xAE // p. 28 [11]: sleep; the memory keeps its contents
	DisplayOn   = 0xAF // p. 28 [11]
	Page        = 0xB0 // p. 30 [12]: or'ed with the page
	RemapRow    = 0xC8 // p. 31 [13]: row 0 at the bottom of the driver
	Offset      = 0xD3 // p. 31 [14]: followed by the vertical shift
	Clock       = 0xD5 // p. 32 [15]: followed by frequency and divider
	Precharge   = 0xD9 // p. 32 [16]: followed by two times in clocks
	RowPins     = 0xDA // p. 31 [17]: followed by how rows are wired
	Deselect    = 0xDB // p. 32 [18]: followed by the level of rows that are not driven
)

// The values of RowPins: glass with 64 rows has even and odd ones on two sides, glass with 32 has not.
const (
	RowsAlternate  = 0x12 // SSD1306 p. 31, and table 10-3
	RowsSequential = 0x02
)

// How bright: the OLED lasts the longer the dimmer it is, and both can be read in a dark room.
const (
	contrastBright = 0x8F
	contrastDim    = 0x01
)

// A Controller is what is special about a chip.
type Controller struct {
	Init   []byte // commands after power-on that leave the display off
	Sleep  []byte // commands that end its work
	Column int    // the memory's column of the glass's leftmost dots
}

// A Wire carries commands and data to a chip.
type Wire interface {
	Command(b ...byte) error
	Data(b []byte) error
}

// The I2C control byte: SSD1306 datasheet 8.1.5.2, p. 20: Co is 0, so that only one comes, and D/C# says what follows.
const (
	controlCommand = 0x00
	controlData    = 0x40
)

type i2cWire struct{ dev i2c.Dev }

// I2C returns the wire to the chip at addr, 0x3C or 0x3D (SSD1306 datasheet 8.1.5, p. 19).
func I2C(bus i2c.Bus, addr uint16) Wire { return &i2cWire{i2c.Dev{Bus: bus, Addr: addr}} }

func (w *i2cWire) Command(b ...byte) error {
	return w.dev.Tx(append([]byte{controlCommand}, b...), nil)
}

func (w *i2cWire) Data(b []byte) error { return w.dev.Tx(append([]byte{controlData}, b...), nil) }

// A Pin is the line that tells commands from data.
type Pin interface{ Out(gpio.Level) error }

type spiWire struct {
	c  conn.Conn
	dc Pin
}

// SPI returns the wire by four-wire SPI, mode 0, at most 10 MHz: dc is low for commands (SSD1306 datasheet 8.1.3,
// p. 17). The SH1106 takes 4 MHz.
func SPI(c conn.Conn, dc Pin) Wire { return &spiWire{c, dc} }

func (w *spiWire) Command(b ...byte) error { return w.send(gpio.Low, b) }
func (w *spiWire) Data(b []byte) error     { return w.send(gpio.High, b) }

func (w *spiWire) send(l gpio.Level, b []byte) error {
	if err := w.dc.Out(l); err != nil {
		return err
	}
	return w.c.Tx(b, nil)
}

// A Panel implements board.Pixels.
type Panel struct {
	wire   Wire
	chip   Controller
	want   *board.Bitmap
	bright board.Brightness

	ready bool             // set up, and the next two are true; false after any error
	shown *board.Bitmap    // what the chip's memory holds
	light board.Brightness // how bright it is
}

// New returns a panel of width by height dots. Nothing is sent yet: the first Draw or Light sets the chip up.
func New(w Wire, chip Controller, width, height int) *Panel {
	return &Panel{
		wire: w, chip: chip, bright: board.Bright,
		want: board.NewBitmap(width, height), shown: board.NewBitmap(width, height),
	}
}

// Size implements board.Pixels.
func (p *Panel) Size() (width, height int) { return p.want.Width, p.want.Height }

// Draw implements board.Pixels.
func (p *Panel) Draw(b *board.Bitmap) error {
	if b.Width != p.want.Width || b.Height != p.want.Height {
		return errors.New("oled: the picture has not the panel's size")
	}
	copy(p.want.Pages, b.Pages)
	return p.send()
}

// Light implements board.Display.
func (p *Panel) Light(to board.Brightness) error {
	p.bright = to
	return p.send()
}

// Close switches the panel off.
func (p *Panel) Close() error {
	p.ready = false
	return p.wire.Command(p.chip.Sleep...)
}

// send makes the chip show what it should. After an error nobody knows what it took, or whether it lost its power, so
// that the next send begins anew. It does so too when the panel is switched on again: one that lost its power
// meanwhile does not say so.
func (p *Panel) send() error {
	fresh := !p.ready || p.light == board.Off && p.bright != board.Off
	p.ready = false
	if fresh {
		if err := p.wire.Command(p.chip.Init...); err != nil {
			return fmt.Errorf("oled: set up: %w", err)
		}
	}
	for n := range p.want.Height / 8 {
		first, last := changed(p.shown.Page(n), p.want.Page(n))
		if fresh {
			first, last = 0, p.want.Width // after power-on the memory holds anything
		}
		if first == last {
			continue
		}
		at := p.chip.Column + first
		if err := p.wire.Command(Page|byte(n), ColumnLow|byte(at&0xF), ColumnHigh|byte(at>>4)); err != nil {
			return fmt.Errorf("oled: page %d: %w", n, err)
		}
		if err := p.wire.Data(p.want.Page(n)[first:last]); err != nil {
			return fmt.Errorf("oled: page %d: %w", n, err)
		}
		copy(p.shown.Page(n), p.want.Page(n))
	}
	if fresh || p.light != p.bright {
		command := []byte{DisplayOff}
		switch p.bright {
		case board.Dim:
			command = []byte{Contrast, contrastDim, DisplayOn}
		case board.Bright:
			command = []byte{Contrast, contrastBright, DisplayOn}
		}
		if err := p.wire.Command(command...); err != nil {
			return fmt.Errorf("oled: brightness: %w", err)
		}
		p.light = p.bright
	}
	p.ready = true
	return nil
}

// changed returns the first place where a and b differ and the one after the last; they are equal if nothing differs.
func changed(a, b []byte) (first, last int) {
	for first < len(a) && a[first] == b[first] {
		first++
	}
	for last = len(a); last > first && a[last-1] == b[last-1]; {
		last--
	}
	return first, last
}

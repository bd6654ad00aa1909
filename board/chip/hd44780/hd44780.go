// Package hd44780 drives character displays with a Hitachi HD44780U or one of its many likes, behind the PCF8574 on the
// usual I2C backpack. Pages are those of the datasheets: Hitachi ADE-207-272(Z) '99.9, Rev. 0.0, and NXP PCF8574, Rev. 5.
package hd44780

import (
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/postern-nas/postern/board"
)

// Instructions: HD44780U, table 6, p. 24.
const (
	entryMode     = 0x06 // the cursor moves right, the display does not shift
	displayOff    = 0x08
	displayOn     = 0x0C // without a cursor
	functionSet8  = 0x3  // the high half: eight bits wide
	functionSet4  = 0x2  // the high half: four bits wide
	functionLines = 0x28 // four bits wide, two lines, 5x8 dots; a display of four rows is two lines folded
	setAddress    = 0x80 // or'ed with the address in the display's memory
)

// The backpack's wiring: port bits of the PCF8574 (its datasheet, p. 6) to the display's pins. The data is on the four
// high bits.
const (
	pinRS        = 1 << 0 // a character and not an instruction
	pinE         = 1 << 2 // the display takes the data when this falls
	pinBacklight = 1 << 3
)

// How long the chip takes: Figure 24, p. 46. All else it does in 37 us (table 6), less than a byte takes on an I2C bus of
// 100 kHz; there are six bytes to a character.
const (
	waitReset  = 5 * time.Millisecond   // "more than 4.1 ms"
	waitReset2 = 200 * time.Microsecond // "more than 100 us"
)

// rowAddress is where rows begin in the display's memory: p. 11, a second line begins at 0x40; of four rows the third and
// fourth continue the first two, 20 characters on.
var rowAddress = [4]byte{0x00, 0x40, 0x14, 0x54}

// rom is where the character ROM A00 (table 4, p. 17) differs from ASCII. It has yen for the backslash, and arrows for
// the tilde and delete.
var rom = map[rune]byte{
	'ä': 0xE1, 'ß': 0xE2, 'µ': 0xE4, 'ñ': 0xEE, 'ö': 0xEF, 'ü': 0xF5, '°': 0xDF, '→': 0x7E, '←': 0x7F, '¥': 0x5C, '·': 0xA5,
}

// A Panel implements board.Text.
type Panel struct {
	dev           i2c.Dev
	columns, rows int
	want          [][]byte // codes of the ROM
	bright        board.Brightness

	ready bool // set up, and the next two are true; false after any error
	shown [][]byte
	light board.Brightness
}

// New returns the display of 16x2 or 20x4 characters at addr: 0x20 to 0x27, or 0x38 to 0x3F with a PCF8574A (p. 9 of its
// datasheet). Nothing is sent yet.
func New(bus i2c.Bus, addr uint16, columns, rows int) (*Panel, error) {
	if columns < 1 || columns > 20 || rows < 1 || rows > len(rowAddress) {
		return nil, errors.New("hd44780: the display's memory has room for 4 rows of 20")
	}
	p := &Panel{dev: i2c.Dev{Bus: bus, Addr: addr}, columns: columns, rows: rows, bright: board.Bright}
	for range rows {
		p.want, p.shown = append(p.want, blank(columns)), append(p.shown, blank(columns))
	}
	return p, nil
}

func blank(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = ' '
	}
	return b
}

// Size implements board.Text.
func (p *Panel) Size() (columns, rows int) { return p.columns, p.rows }

// Has implements board.Text.
func (p *Panel) Has(r rune) bool {
	_, ok := code(r)
	return ok
}

func code(r rune) (byte, bool) {
	if c, ok := rom[r]; ok {
		return c, true
	}
	if r >= ' ' && r < '~' && r != '\\' {
		return byte(r), true
	}
	return '?', false
}

// Write implements board.Text.
func (p *Panel) Write(lines []string) error {
	for y := range p.want {
		copy(p.want[y], blank(p.columns))
		if y >= len(lines) {
			continue
		}
		x := 0
		for _, r := range lines[y] {
			if x == p.columns {
				break
			}
			p.want[y][x], _ = code(r)
			x++
		}
	}
	return p.send()
}

// Light implements board.Display. The backlight is on or off: dim is on.
func (p *Panel) Light(to board.Brightness) error {
	p.bright = to
	return p.send()
}

// Close switches display and backlight off.
func (p *Panel) Close() error {
	p.ready, p.bright = false, board.Off
	return p.dev.Tx(p.instruction(nil, displayOff), nil)
}

// send makes the display show what it should; after an error it begins anew. It does so too when the panel is switched on
// again: one that lost its power meanwhile does not say so.
func (p *Panel) send() error {
	fresh := !p.ready || p.light == board.Off && p.bright != board.Off
	p.ready = false
	if fresh {
		if err := p.reset(); err != nil {
			return fmt.Errorf("hd44780: set up: %w", err)
		}
	}
	for y, want := range p.want {
		first, last := 0, p.columns
		for !fresh && first < last && want[first] == p.shown[y][first] {
			first++
		}
		for !fresh && last > first && want[last-1] == p.shown[y][last-1] {
			last--
		}
		if first == last {
			continue
		}
		b := p.instruction(nil, setAddress|(rowAddress[y]+byte(first)))
		for _, c := range want[first:last] {
			b = p.half(b, pinRS, c>>4)
			b = p.half(b, pinRS, c&0xF)
		}
		if err := p.dev.Tx(b, nil); err != nil {
			return fmt.Errorf("hd44780: row %d: %w", y, err)
		}
		copy(p.shown[y], want)
	}
	if fresh || p.light != p.bright {
		on := byte(displayOn)
		if p.bright == board.Off {
			on = displayOff
		}
		if err := p.dev.Tx(p.instruction(nil, on), nil); err != nil {
			return fmt.Errorf("hd44780: brightness: %w", err)
		}
		p.light = p.bright
	}
	p.ready = true
	return nil
}

// reset is the "initializing by instruction" of figure 24, p. 46, which works from any state, even from between the two
// halves of a byte. It leaves the display off, and the memory as it is: clearing would take longer than writing it.
func (p *Panel) reset() error {
	for _, s := range []struct {
		half byte
		wait time.Duration
	}{{functionSet8, waitReset}, {functionSet8, waitReset2}, {functionSet8, waitReset2}, {functionSet4, waitReset2}} {
		if err := p.dev.Tx(p.half(nil, 0, s.half), nil); err != nil {
			return err
		}
		time.Sleep(s.wait)
	}
	b := p.instruction(nil, functionLines)
	b = p.instruction(b, displayOff)
	b = p.instruction(b, entryMode)
	return p.dev.Tx(b, nil)
}

func (p *Panel) instruction(b []byte, i byte) []byte {
	return p.half(p.half(b, 0, i>>4), 0, i&0xF)
}

// half appends what puts four bits on the display's pins: before E rises (RS must be there earlier: t_AS of the bus
// timing characteristics), while it is high, and after it fell.
func (p *Panel) half(b []byte, rs, bits byte) []byte {
	port := bits<<4 | rs
	if p.bright != board.Off {
		port |= pinBacklight
	}
	return append(b, port, port|pinE, port)
}

// Package a125 drives the panel of many QNAP boxes: 16x2 characters and the buttons ENTER and SELECT, on a serial line
// of 1200 baud. There is no datasheet; the protocol is what free programs agree on (qcontrol's a125.c, lcdproc's
// icp_a106.c, zopieux's notes on the TS-453 Pro).
package a125

import (
	"fmt"
	"io"

	"go.bug.st/serial"

	"github.com/postern-nas/postern/board"
)

// What the box sends: 0x4D and a command.
const (
	toPanel   = 0x4D
	writeLine = 0x0C // row, 0x20, then the 16 characters
	allOfLine = 0x20
	backlight = 0x5E // 1 or 0
)

// What the panel sends: 0x53 and what it is about.
const (
	fromPanel   = 0x53
	buttons     = 0x05 // high, low byte: the buttons that are down
	buttonEnter = 1 << 0
	buttonOther = 1 << 1 // SELECT
)

const (
	columns = 16
	rows    = 2
	baud    = 1200
)

// A Panel implements board.Text and, by its Keys, board.Buttons.
type Panel struct {
	port   io.ReadWriteCloser
	swap   bool
	want   [rows][columns]byte
	bright board.Brightness

	ready bool // the next two are true; false after any error
	shown [rows][columns]byte
	light bool

	keys *Keys
}

// Keys are the panel's two buttons.
type Keys struct{ board.Keys }

// Open opens the panel on a serial port, /dev/ttyS1 on the boxes that have it. On some boxes the two buttons are swapped.
func Open(path string, swapped bool) (*Panel, error) {
	port, err := serial.Open(path, &serial.Mode{BaudRate: baud, DataBits: 8, Parity: serial.NoParity, StopBits: serial.OneStopBit})
	if err != nil {
		return nil, fmt.Errorf("a125: %s: %w", path, err)
	}
	return New(port, swapped), nil
}

// New returns the panel on a line. It reads the buttons until the line fails or the panel is closed.
func New(port io.ReadWriteCloser, swapped bool) *Panel {
	p := &Panel{port: port, swap: swapped, bright: board.Bright, keys: new(Keys)}
	for y := range p.want {
		for x := range p.want[y] {
			p.want[y][x] = ' '
		}
	}
	go p.listen()
	return p
}

// Buttons returns the panel's keys. They end when the line does.
func (p *Panel) Buttons() board.Buttons { return p.keys }

// Size implements board.Text.
func (p *Panel) Size() (int, int) { return columns, rows }

// Has implements board.Text. What lies outside ASCII in its ROM nobody has written down.
func (p *Panel) Has(r rune) bool { return r >= ' ' && r <= '}' && r != '\\' }

// Write implements board.Text.
func (p *Panel) Write(lines []string) error {
	for y := range p.want {
		x := 0
		if y < len(lines) {
			for _, r := range lines[y] {
				if x == columns {
					break
				}
				if !p.Has(r) {
					r = '?'
				}
				p.want[y][x] = byte(r)
				x++
			}
		}
		for ; x < columns; x++ {
			p.want[y][x] = ' '
		}
	}
	return p.send()
}

// Light implements board.Display. The backlight is on or off: dim is on.
func (p *Panel) Light(to board.Brightness) error {
	p.bright = to
	return p.send()
}

// Close empties the panel, for its characters can be read without the light, and closes the line.
func (p *Panel) Close() error {
	p.bright = board.Off
	err := p.Write(nil)
	if e := p.port.Close(); err == nil {
		err = e
	}
	return err
}

// send makes the panel show what it should. A line of text takes a sixth of a second: only those go that changed, whole,
// because what a shorter one does differs by source. After an error it sends all.
func (p *Panel) send() error {
	fresh := !p.ready
	p.ready = false
	for y := range p.want {
		if !fresh && p.want[y] == p.shown[y] {
			continue
		}
		if _, err := p.port.Write(append([]byte{toPanel, writeLine, byte(y), allOfLine}, p.want[y][:]...)); err != nil {
			return fmt.Errorf("a125: line %d: %w", y, err)
		}
		p.shown[y] = p.want[y]
	}
	if on := p.bright != board.Off; fresh || on != p.light {
		b := []byte{toPanel, backlight, 0}
		if on {
			b[2] = 1
		}
		if _, err := p.port.Write(b); err != nil {
			return fmt.Errorf("a125: backlight: %w", err)
		}
		p.light = on
	}
	p.ready = true
	return nil
}

// listen reads what the panel says.
func (p *Panel) listen() {
	defer p.keys.Close()
	var d decoder
	buf := make([]byte, 64)
	for {
		n, err := p.port.Read(buf)
		for _, b := range buf[:n] {
			if down, said := d.next(b); said {
				p.press(down)
			}
		}
		if err != nil {
			return
		}
	}
}

// press tells what buttons are down.
func (p *Panel) press(down byte) {
	enter, other := byte(buttonEnter), byte(buttonOther)
	if p.swap {
		enter, other = other, enter
	}
	for _, k := range []struct {
		bit byte
		key board.Key
	}{{enter, board.Enter}, {other, board.Next}} {
		if down&k.bit != 0 {
			p.keys.Down(k.key)
		} else {
			p.keys.Up(k.key)
		}
	}
}

// A decoder finds the buttons in what the panel sends. All else (its id, acknowledgements, noise) it passes over: the
// next 0x53 begins anew, and none of the bytes after buttons can be one.
type decoder struct {
	state byte // bytes of a buttons message seen
}

// next takes a byte. It says true when a message about buttons is complete.
func (d *decoder) next(b byte) (down byte, said bool) {
	switch {
	case b == fromPanel:
		d.state = 1
	case d.state == 1 && b == buttons, d.state == 2 && b == 0:
		d.state++
	case d.state == 3:
		d.state = 0
		return b & (buttonEnter | buttonOther), b&^(buttonEnter|buttonOther) == 0
	default:
		d.state = 0
	}
	return 0, false
}

package config

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-nas/postern/board"
)

// maxKeys is more buttons than any panel has.
const maxKeys = 16

// panelSizes are those that a kind comes in.
var panelSizes = map[string][]string{
	board.SSD1306: {"128x64", "128x32"}, board.SH1106: {"128x64", "128x32"}, board.HD44780: {"16x2", "20x4"}, board.A125: {"16x2"},
}

// usualSerial is where QNAP's boxes have their panel.
const usualSerial = "/dev/ttyS1"

var (
	device   = regexp.MustCompile(`^(/[A-Za-z0-9@,._+-]+)+$`)
	gpioLine = regexp.MustCompile(`^((?:/[A-Za-z0-9@,._+-]+)+):([0-9]{1,3})$`)
)

var keyNames = map[string]board.Key{"next": board.Next, "enter": board.Enter, "previous": board.Previous, "back": board.Back}

// connected checks what panel is connected, and where.
func (c *checker) connected(r rawPanel) (p board.Panel) {
	kind := c.oneOf("panel.kind", r.Kind, string(Auto), board.NoPanel, board.SSD1306, board.SH1106, board.HD44780, board.A125)
	if kind != string(Auto) {
		p.Kind = kind
	}
	sizes := panelSizes[kind]
	p.I2C = c.place("panel.i2c", r.I2C, kind, board.SSD1306, board.SH1106, board.HD44780)
	p.SPI = c.place("panel.spi", r.SPI, kind, board.SSD1306, board.SH1106)
	p.Serial = c.place("panel.serial", r.Serial, kind, board.A125)
	if p.I2C != "" && p.SPI != "" {
		c.fail("panel.spi", "a panel is either on I2C or on SPI")
	}
	if kind == board.A125 && p.Serial == "" {
		p.Serial = usualSerial
	}
	if r.Size != "" && slices.Contains(sizes, r.Size) {
		width, height, _ := strings.Cut(r.Size, "x")
		p.Width, _ = strconv.Atoi(width)
		p.Height, _ = strconv.Atoi(height)
	} else if r.Size != "" {
		c.fail("panel.size", "%q is no size of this kind of panel; they are %s", r.Size, orNone(sizes))
	}
	p.Address = c.i2cAddress(r.Address, kind)
	p.Data, p.Reset = c.line("panel.data_line", r.DataLine), c.line("panel.reset_line", r.ResetLine)
	for at, l := range map[place]board.Line{"panel.data_line": p.Data, "panel.reset_line": p.Reset} {
		if l.Chip != "" && p.SPI == "" {
			c.fail(at, "belongs to a panel on SPI; say which in panel.spi")
		}
	}
	if p.SPI != "" && r.DataLine == "" {
		c.fail("panel.data_line", "missing: the GPIO line that tells commands from data")
	}
	if p.Swapped = r.SwapKeys; p.Swapped && kind != board.A125 {
		c.fail("panel.swap_keys", "is for an a125; name other keys in panel.keys")
	}
	p.Keys = c.panelKeys(r.Keys)
	return p
}

// place checks a device, which belongs to panels of these kinds.
func (c *checker) place(at place, name, kind string, kinds ...string) string {
	switch {
	case name == "":
	case !slices.Contains(kinds, kind):
		c.fail(at, "belongs to panels of the kind %s; panel.kind says %q", strings.Join(kinds, ", "), kind)
	case !device.MatchString(name):
		c.fail(at, `%q must be a device as "/dev/i2c-1", or a node of the device tree`, name)
	}
	return name
}

// i2cAddress checks an address: OLEDs have two, PCF8574 and PCF8574A eight each.
func (c *checker) i2cAddress(n int64, kind string) uint16 {
	const at = "panel.address"
	switch oled := n == 0x3C || n == 0x3D; {
	case n == 0:
	case kind == board.SSD1306, kind == board.SH1106:
		if !oled {
			c.fail(at, "must be 0x3C or 0x3D")
		}
	case kind != board.HD44780:
		c.fail(at, "belongs to a panel on I2C; panel.kind says %q", kind)
	case n&^7 != 0x20 && n&^7 != 0x38:
		c.fail(at, "must be from 0x20 to 0x27 or from 0x38 to 0x3F")
	}
	return uint16(min(max(n, 0), 0x7F))
}

// line reads a GPIO line; "" is none.
func (c *checker) line(at place, text string) (l board.Line) {
	if text == "" {
		return l
	}
	m := gpioLine.FindStringSubmatch(text)
	if m == nil {
		c.fail(at, `%q must be a line of a GPIO chip, as in "/dev/gpiochip0:24"`, text)
		return l
	}
	l.Chip = m[1]
	l.Offset, _ = strconv.Atoi(m[2])
	return l
}

// panelKeys reads the buttons.
func (c *checker) panelKeys(list []string) (keys []board.LineKey) {
	const at = "panel.keys"
	if len(list) > maxKeys {
		c.fail(at, "must be at most %d", maxKeys)
		return nil
	}
	for _, text := range list {
		name, line, _ := strings.Cut(text, " ")
		key, known := keyNames[name]
		if !known || line == "" {
			c.fail(at, `%q must be next, enter, previous or back, and a line, as in "next /dev/gpiochip0:20"`, text)
			continue
		}
		k := board.LineKey{Line: c.line(at, line), Key: key}
		if slices.ContainsFunc(keys, func(other board.LineKey) bool { return other.Line == k.Line }) {
			c.fail(at, "%s is named twice", line)
		}
		keys = append(keys, k)
	}
	return keys
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "for a panel whose kind is named"
	}
	return strings.Join(list, ", ")
}

// onlyPanel says whether something is wrong, and all of it with the panel.
func (c *checker) onlyPanel() bool {
	elsewhere := slices.ContainsFunc(c.errs, func(err error) bool {
		var e *Error
		return !errors.As(err, &e) || !strings.HasPrefix(e.Key, "panel.")
	})
	return len(c.errs) > 0 && !elsewhere
}

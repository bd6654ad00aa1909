package board

// Kinds of panels.
const (
	SSD1306 = "ssd1306" // dots, on I2C or SPI
	SH1106  = "sh1106"  // the same
	HD44780 = "hd44780" // characters, on I2C behind a PCF8574
	A125    = "a125"    // 16x2 characters with two keys of its own, on a serial line
	NoPanel = "none"
)

// A Panel says what display is connected, where, and with what keys. A box's page names those that are made for it, and
// its owner any other. Devices are named by their files ("/dev/i2c-1") or by their nodes in the device tree
// ("/soc/i2c@7e804000"): files are numbered in the order in which drivers come. The zero Panel is what the box's page has.
type Panel struct {
	Kind          string // "": whichever answers of those that the box's page names
	Width, Height int    // in dots or characters; 0: as usual for the kind

	// One of these is where it is; none: where the box's page says.
	I2C     string
	Address uint16 // on the bus; 0: the first that answers of those that the kind can have
	SPI     string
	Serial  string

	Data    Line // SPI: tells commands from data
	Reset   Line // SPI: low for a moment at the start; it may be none
	Swapped bool // A125: its two keys

	Keys []LineKey // none: those that the box has otherwise
}

// A Line is a GPIO line by its chip and its number there. The zero Line is none.
type Line struct {
	Chip   string
	Offset int
}

// A LineKey is a button between a line and ground.
type LineKey struct {
	Line
	Key Key
}

// Panel returns p with what the box's page knows and p does not say: where such a panel is, and its keys. Without a place
// of its own kind it is on the header that displays are plugged into.
func (w Wiring) Panel(p Panel) Panel {
	if p.I2C != "" || p.SPI != "" || p.Serial != "" {
		return p
	}
	for _, own := range w.Panels {
		if own.Kind == p.Kind {
			p.I2C, p.SPI, p.Serial, p.Data, p.Reset = own.I2C, own.SPI, own.Serial, own.Data, own.Reset
			if len(p.Keys) == 0 {
				p.Keys = own.Keys
			}
			return p
		}
	}
	for _, own := range w.Panels {
		if own.I2C != "" && p.Kind != A125 {
			p.I2C = own.I2C
			return p
		}
	}
	return p
}

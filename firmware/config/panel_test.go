package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/postern-nas/postern/board"
)

// TestPanelKinds: what each kind needs to be told, and no more.
func TestPanelKinds(t *testing.T) {
	for doc, want := range map[string]board.Panel{
		"":                 {},
		`kind = "auto"`:    {},
		`kind = "none"`:    {Kind: board.NoPanel},
		`kind = "ssd1306"`: {Kind: board.SSD1306},
		`kind = "a125"`:    {Kind: board.A125, Serial: "/dev/ttyS1"},
		"kind = \"a125\"\nserial = \"/dev/ttyUSB0\"\nswap_keys = true": {Kind: board.A125, Serial: "/dev/ttyUSB0", Swapped: true},
		"kind = \"hd44780\"\nsize = \"20x4\"\ni2c = \"/dev/i2c-3\"\naddress = 0x3f": {
			Kind: board.HD44780, Width: 20, Height: 4, I2C: "/dev/i2c-3", Address: 0x3F,
		},
		"kind = \"sh1106\"\ni2c = \"/soc/i2c@7e804000\"\naddress = 61": {Kind: board.SH1106, I2C: "/soc/i2c@7e804000", Address: 0x3D},
		`keys = ["enter /dev/gpiochip0:999"]`:                          {Keys: []board.LineKey{{Line: board.Line{Chip: "/dev/gpiochip0", Offset: 999}, Key: board.Enter}}},
	} {
		cfg, err := Parse("postern.toml", []byte("version = 1\n[panel]\n"+doc+"\n"), home(t))
		if err != nil {
			t.Errorf("%s\n\t%v", doc, err)
			continue
		}
		if got := cfg.Box.Panel.Connected; !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n\t%+v", doc, got)
		}
	}
}

// TestPanelMistakes: each names its place.
func TestPanelMistakes(t *testing.T) {
	many := `keys = [` + strings.Repeat(`"next /dev/gpiochip0:1", `, maxKeys) + `"next /dev/gpiochip0:2"]`
	for doc, want := range map[string]string{
		`kind = "tv"`: `panel.kind: "tv" must be one of auto, none, ssd1306, sh1106, hd44780, a125`,
		`kind = 1`:    "panel.kind: must be a text",
		`kind = "ssd1306"
size = "16x2"`: `panel.size: "16x2" is no size of this kind of panel; they are 128x64, 128x32`,
		`size = "128x64"`: "panel.size: ",
		`kind = "ssd1306"
i2c = "i2c-1"`: `panel.i2c: "i2c-1" must be a device`,
		`kind = "ssd1306"
i2c = "/dev/../etc x"`: "panel.i2c: ",
		`i2c = "/dev/i2c-1"`: `panel.i2c: belongs to panels of the kind ssd1306, sh1106, hd44780; panel.kind says "auto"`,
		`kind = "hd44780"
spi = "/dev/spidev0.0"
data_line = "/dev/gpiochip0:1"`: "panel.spi: belongs to panels of the kind ssd1306, sh1106",
		`kind = "sh1106"
spi = "/dev/spidev0.0"`: "panel.data_line: missing",
		`kind = "sh1106"
i2c = "/dev/i2c-1"
spi = "/dev/spidev0.0"
data_line = "/dev/gpiochip0:1"`: "panel.spi: a panel is either",
		`kind = "sh1106"
data_line = "/dev/gpiochip0:1"`: "panel.data_line: belongs to a panel on SPI",
		`kind = "sh1106"
reset_line = "25"`: `panel.reset_line: "25" must be a line of a GPIO chip`,
		`kind = "ssd1306"
address = 0x27`: "panel.address: must be 0x3C or 0x3D",
		`kind = "hd44780"
address = 0x3138`: "panel.address: must be from 0x20",
		`kind = "hd44780"
address = -1`: "panel.address: must be from 0x20",
		`address = 60`: "panel.address: belongs to a panel on I2C",
		`kind = "ssd1306"
serial = "/dev/ttyS1"`: "panel.serial: belongs to panels of the kind a125",
		`swap_keys = true`:                                           "panel.swap_keys: is for an a125",
		`keys = ["down /dev/gpiochip0:1"]`:                           "panel.keys: \"down /dev/gpiochip0:1\" must be next",
		`keys = ["next"]`:                                            "panel.keys: ",
		`keys = ["next /dev/gpiochip0"]`:                             "panel.keys: ",
		`keys = ["next /dev/gpiochip0:1000000"]`:                     "panel.keys: ",
		`keys = ["next /dev/gpiochip0:1", "enter /dev/gpiochip0:1"]`: "panel.keys: /dev/gpiochip0:1 is named twice",
		many: "panel.keys: must be at most 16",
	} {
		_, err := Parse("postern.toml", []byte("version = 1\n[panel]\n"+doc+"\n"), home(t))
		if err == nil || !strings.HasPrefix(err.Error(), "postern.toml:") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n\t%v", doc, err)
		}
	}
}

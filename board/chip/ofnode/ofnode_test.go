package ofnode

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for link, node := range map[string]string{
		"bus/i2c/devices/i2c-0/of_node":              "/soc/bus@ffd00000/i2c@1c000",
		"bus/i2c/devices/i2c-1/of_node":              "/soc/bus@ffd00000/i2c@1d000",
		"bus/i2c/devices/i2c-2/of_node":              "/i2c@1d000",
		"bus/i2c/devices/1-0051/of_node":             "/soc/bus@ffd00000/i2c@1d000/rtc@51",
		"class/spidev/spidev0.0/device/of_node":      "/soc/spi@7e204000/panel@0",
		"bus/gpio/devices/gpiochip1/of_node":         "/soc/gpio@7e200000",
		"class/input/event0/device/device/of_node":   "/adc-keys",
		"class/input/event1/device/device/of_node":   "/gpio-keys",
		"class/input/event2/device/device/something": "/else",
	} {
		at := filepath.Join(dir, link)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o777), os.Symlink("../../.."+tree+node, at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "bus/i2c/devices/i2c-7"), 0o777); err != nil { // on a USB stick: no node
		t.Fatal(err)
	}
	for _, c := range []struct {
		class      Class
		name, want string
	}{
		{I2C, "/soc/bus@ffd00000/i2c@1d000", "/dev/i2c-1"},
		{I2C, "/i2c@1d000", "/dev/i2c-2"}, // the same name elsewhere in the tree
		{I2C, "/dev/i2c-9", "/dev/i2c-9"},
		{I2C, "/soc/bus@ffd00000/i2c@5000", ""},
		{I2C, "i2c@1d000", ""}, // no path
		{SPI, "/soc/spi@7e204000/panel@0", "/dev/spidev0.0"},
		{GPIO, "/soc/gpio@7e200000", "/dev/gpiochip1"},
		{GPIO, "/soc/bus@ffd00000/i2c@1d000", ""},
		{Input, "/gpio-keys", "/dev/input/event1"},
		{Input, "/else", ""},
	} {
		got, err := c.class.Find(os.DirFS(dir), c.name)
		if got != c.want || (c.want == "") != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	if _, err := I2C.Find(os.DirFS(t.TempDir()), "/i2c@1d000"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without I2C: %v", err)
	}
}

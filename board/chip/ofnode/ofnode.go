// Package ofnode finds device files by nodes of the device tree: the files' numbers depend on which driver came first.
package ofnode

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// A Class is where the kernel lists devices of one kind.
type Class struct {
	pattern string // of the devices, beneath /sys
	link    string // from there to the device's node (Documentation/ABI/testing/sysfs-devices)
	files   string // where their files are
}

// The kinds.
var (
	I2C   = Class{"bus/i2c/devices/i2c-*", "of_node", "/dev/"}
	SPI   = Class{"class/spidev/spidev*", "device/of_node", "/dev/"}
	GPIO  = Class{"bus/gpio/devices/gpiochip*", "of_node", "/dev/"}
	Input = Class{"class/input/event*", "device/device/of_node", "/dev/input/"}
)

// tree is where the kernel shows the device tree.
const tree = "/firmware/devicetree/base"

// Find returns the device file of the node with that path, such as "/soc/i2c@7e804000". A name that begins with /dev/ is
// a file already. sys is /sys as a file system.
func (c Class) Find(sys fs.FS, name string) (string, error) {
	if strings.HasPrefix(name, "/dev/") {
		return name, nil
	}
	devices, err := fs.Glob(sys, c.pattern)
	if err != nil {
		return "", fmt.Errorf("ofnode: %w", err)
	}
	for _, d := range devices {
		to, err := fs.ReadLink(sys, path.Join(d, c.link))
		if err == nil && strings.HasSuffix(to, tree+name) {
			return c.files + path.Base(d), nil
		}
	}
	return "", fmt.Errorf("ofnode: no device %s: %w", name, fs.ErrNotExist)
}

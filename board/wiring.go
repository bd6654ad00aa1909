package board

import "strings"

// Wiring is what a box has, by the names that its device tree gives to it: the page of literals that a package a box
// consists of. Paths of nodes begin at the root: "/soc/i2c@7e804000". Every node that is named here is looked for in
// Linux's own trees by a test, in tools/mkimage.
type Wiring struct {
	// Trees are the box's device trees, in Linux beneath arch/arm64/boot/dts and without their ending. All that is named
	// below is in each of them.
	Trees []string
	// Panels are displays that may be plugged in, with the keys that they bring. Those on I2C are looked for, in this order;
	// one on SPI does not answer, so it has to be named.
	Panels []Panel
	Status Lamp     // the light that says "all is well"; none if its Node is ""
	Keys   []Button // of the kernel's gpio-keys
	Fans   []string // nodes of pwm-fan
	Clock  string   // node of the chip that keeps the time without power; "" if there is none
	TPM    string   // node of the SPI bus for a TPM on a header; "" if Linux's trees have none, or the box has no header
	Disks  []Ports  // where disks are plugged in, in the order of the bays' numbers
}

// A Lamp is an LED: its node, and the name that Linux makes of it (its label, else its colour and function, else its
// node's name: Documentation/leds/leds-class.rst).
type Lamp struct{ Node, Name string }

// A Button is one of gpio-keys: its node, the code that Linux sends for it (linux,code), and what it means here.
type Button struct {
	Node string
	Code uint16
	Key  Key
}

// Ports are one controller's places for disks.
type Ports struct {
	Node   string // of the controller or, where that is on PCIe, of the bus
	Device string // the name of that node's device in Linux: its first address, a dot, its name
	SATA   int    // ports, if it is a SATA controller; 0: it leads to one disk
}

// Bays returns a box's bays, numbered from 1.
func (w Wiring) Bays() (bays []Bay) {
	for _, p := range w.Disks {
		for n := range max(p.SATA, 1) {
			port := p.Device
			if p.SATA > 0 {
				port += " ata" + digit(n+1)
			}
			bays = append(bays, Bay{Name: digit(len(bays) + 1), Port: port})
		}
	}
	return bays
}

func digit(n int) string { return string('0' + rune(n)) }

// Has says whether the disk with that path beneath /sys/devices is in the bay: the words of Port are parts of it, in
// their order.
func (b Bay) Has(device string) bool {
	parts := strings.Split(device, "/")
	for word := range strings.FieldsSeq(b.Port) {
		for len(parts) > 0 && parts[0] != word {
			parts = parts[1:]
		}
		if len(parts) == 0 {
			return false
		}
	}
	return b.Port != ""
}

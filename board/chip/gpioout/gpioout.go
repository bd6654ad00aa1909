// Package gpioout is a GPIO line that is driven, through the kernel's character device (Documentation/userspace-api/gpio/
// chardev.rst): what displays on SPI need beside the bus.
package gpioout

import (
	"fmt"

	"github.com/warthog618/go-gpiocdev"
	"periph.io/x/conn/v3/gpio"
)

// A Pin is such a line.
type Pin struct{ line *gpiocdev.Line }

// Open takes a line of a chip, by the chip's file, and drives it high.
func Open(chip string, offset int) (*Pin, error) {
	line, err := gpiocdev.RequestLine(chip, offset, gpiocdev.AsOutput(1), gpiocdev.WithConsumer("postern"))
	if err != nil {
		return nil, fmt.Errorf("gpioout: line %d of %s: %w", offset, chip, err)
	}
	return &Pin{line}, nil
}

// Out is the part of gpio.PinOut that displays need.
func (p *Pin) Out(l gpio.Level) error {
	value := 0
	if l {
		value = 1
	}
	return p.line.SetValue(value)
}

// Close gives the line back.
func (p *Pin) Close() error { return p.line.Close() }

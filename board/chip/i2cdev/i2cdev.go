// Package i2cdev opens an I2C bus of the kernel (Documentation/i2c/dev-interface.rst). It knows only writing, which is
// all that displays need.
package i2cdev

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// slave is I2C_SLAVE of include/uapi/linux/i2c-dev.h: the address that is written to from now on.
const slave = 0x0703

// A Bus is an i2c.Bus that writes. It is used by one goroutine at a time.
type Bus struct {
	f    *os.File
	addr uint16 // the one that is set; 0: none is
}

// Open opens a bus by its device file, such as /dev/i2c-2.
func Open(device string) (*Bus, error) {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("i2cdev: %w", err)
	}
	return &Bus{f: f}, nil
}

// Tx implements i2c.Bus. The kernel waits for the bus, by default a second.
func (b *Bus) Tx(addr uint16, w, r []byte) error {
	if len(r) > 0 {
		return errors.New("i2cdev: reading is not supported")
	}
	if b.addr != addr {
		if err := unix.IoctlSetInt(int(b.f.Fd()), slave, int(addr)); err != nil {
			return fmt.Errorf("i2cdev: address %#x: %w", addr, err)
		}
		b.addr = addr
	}
	_, err := b.f.Write(w)
	return err
}

// String names the bus.
func (b *Bus) String() string { return b.f.Name() }

// SetSpeed implements i2c.Bus. The speed is the device tree's business.
func (b *Bus) SetSpeed(physic.Frequency) error {
	return errors.New("i2cdev: the kernel sets the speed")
}

// Close closes the bus.
func (b *Bus) Close() error { return b.f.Close() }

var _ i2c.Bus = (*Bus)(nil)

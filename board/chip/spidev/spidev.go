// Package spidev opens a device on an SPI bus of the kernel (Documentation/spi/spidev.rst). It knows only writing, which
// is all that displays need.
package spidev

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3"
)

// Requests of include/uapi/linux/spi/spidev.h: the mode (a byte), and the clock in hertz (four).
const (
	writeMode  = 0x40016b01
	writeSpeed = 0x40046b04
)

// maxTransfer is what spidev takes in one piece if it is not told otherwise (its parameter bufsiz).
const maxTransfer = 4096

// A Device implements conn.Conn for writing.
type Device struct{ f *os.File }

// Open opens a device by its file, such as /dev/spidev0.0: mode 0, clocked with at most that many hertz.
func Open(file string, hertz uint32) (*Device, error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("spidev: %w", err)
	}
	if err := errors.Join(unix.IoctlSetPointerInt(int(f.Fd()), writeMode, 0), unix.IoctlSetPointerInt(int(f.Fd()), writeSpeed, int(hertz))); err != nil {
		f.Close()
		return nil, fmt.Errorf("spidev: %s: %w", file, err)
	}
	return &Device{f}, nil
}

// Tx implements conn.Conn.
func (d *Device) Tx(w, r []byte) error {
	if len(r) > 0 {
		return errors.New("spidev: reading is not supported")
	}
	for len(w) > 0 {
		n := min(len(w), maxTransfer)
		if _, err := d.f.Write(w[:n]); err != nil {
			return err
		}
		w = w[n:]
	}
	return nil
}

// Duplex implements conn.Conn.
func (d *Device) Duplex() conn.Duplex { return conn.Half }

// String names the device.
func (d *Device) String() string { return d.f.Name() }

// Close closes the device.
func (d *Device) Close() error { return d.f.Close() }

var _ conn.Conn = (*Device)(nil)

// Package evkeys are buttons that the kernel has taken by itself, as gpio-keys of the device tree: it tells of them as
// an input device (Documentation/input/input.rst, "evdev").
package evkeys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/chip/ofnode"
)

const (
	// eventSize is struct input_event of include/uapi/linux/input.h on a machine of 64 bits: a time of two words, then
	// type, code and value.
	eventSize = 24
	typeAt    = 16
	codeAt    = 18
	valueAt   = 20

	typeKey  = 1 // EV_KEY
	released = 0
	pressed  = 1 // 2 is the kernel's repetition
)

// Keys implements board.Buttons.
type Keys struct {
	board.Keys
	buttons []board.Button
	device  *os.File
}

// Open finds the input device that the buttons' node belongs to, and listens. sys is /sys as a file system.
func Open(sys fs.FS, buttons []board.Button) (*Keys, error) {
	name, err := ofnode.Input.Find(sys, path.Dir(buttons[0].Node))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("evkeys: %w", err)
	}
	k := &Keys{buttons: buttons, device: f}
	go k.listen()
	return k, nil
}

// listen turns events into presses and releases, until the device is closed or gone.
func (k *Keys) listen() {
	defer k.Keys.Close()
	b := make([]byte, 64*eventSize) // the kernel hands out whole events
	for {
		n, err := k.device.Read(b)
		if err != nil {
			return
		}
		k.take(b[:n])
	}
}

// take reads events.
func (k *Keys) take(b []byte) {
	le := binary.LittleEndian
	for ; len(b) >= eventSize; b = b[eventSize:] {
		if le.Uint16(b[typeAt:]) != typeKey {
			continue
		}
		for _, button := range k.buttons {
			if button.Code != le.Uint16(b[codeAt:]) {
				continue
			}
			switch le.Uint32(b[valueAt:]) {
			case pressed:
				k.Down(button.Key)
			case released:
				k.Up(button.Key)
			}
		}
	}
}

// Close ends the events.
func (k *Keys) Close() error { return errors.Join(k.device.Close(), k.Keys.Close()) }

// Package sysled are the LEDs that the kernel knows, under /sys/class/leds (Documentation/ABI/testing/sysfs-class-led).
package sysled

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/postern-nas/postern/board"
)

// Dir is where the kernel shows its LEDs.
const Dir = "/sys/class/leds"

// An LED implements board.LED.
type LED struct {
	dir string
	max string // what is written to have it as bright as it goes
}

// Open takes the LED of that name in dir, which is Dir but for tests.
func Open(dir, name string) (*LED, error) {
	l := &LED{dir: filepath.Join(dir, name)}
	b, err := os.ReadFile(filepath.Join(l.dir, "max_brightness"))
	if err != nil {
		return nil, fmt.Errorf("sysled: %w", err)
	}
	l.max = strings.TrimSpace(string(b))
	return l, nil
}

// How long it is on, and off, in milliseconds.
const (
	slow = "500"
	fast = "125"
)

// Set implements board.LED. The kernel does the blinking, by its trigger "timer" (Documentation/leds/leds-class.rst).
func (l *LED) Set(to board.Light) error {
	// Setting a trigger begins with the light as it was; brightness after "none" stays.
	switch to {
	case board.Blinking:
		return l.blink(slow)
	case board.Flashing:
		return l.blink(fast)
	case board.Lit:
		if err := l.write("trigger", "none"); err != nil {
			return err
		}
		return l.write("brightness", l.max)
	default:
		if err := l.write("trigger", "none"); err != nil {
			return err
		}
		return l.write("brightness", "0")
	}
}

// blink sets the trigger first: the files for its times come with it.
func (l *LED) blink(ms string) error {
	for _, s := range [][2]string{{"trigger", "timer"}, {"delay_on", ms}, {"delay_off", ms}} {
		if err := l.write(s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

func (l *LED) write(file, value string) error {
	f, err := os.OpenFile(filepath.Join(l.dir, file), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("sysled: %w", err)
	}
	_, err = f.WriteString(value)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("sysled: %w", err)
	}
	return nil
}

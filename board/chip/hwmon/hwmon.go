// Package hwmon are the fans and temperatures that the kernel knows, under /sys/class/hwmon
// (Documentation/hwmon/sysfs-interface.rst).
package hwmon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/postern-nas/postern/board"
)

// Dir is where the kernel shows its monitors.
const Dir = "/sys/class/hwmon"

// maxParts bounds what is taken of a box: a board has a handful, and each is read again and again.
const maxParts = 32

// Find returns all fans whose power can be set, and all temperatures, of the monitors in dir, which is Dir but for tests.
// A monitor that cannot be read has none.
func Find(dir string) (fans []board.Fan, sensors []board.Sensor) {
	monitors, err := filepath.Glob(filepath.Join(dir, "hwmon*"))
	if err != nil {
		return nil, nil // the pattern is wrong; no directory named so has monitors
	}
	for _, m := range monitors {
		name, err := text(filepath.Join(m, "name"))
		if err != nil {
			continue
		}
		for n := 1; n <= maxParts; n++ { // the kernel counts from 1, with holes
			number := strconv.Itoa(n)
			if _, err := os.Stat(filepath.Join(m, "pwm"+number)); err == nil && len(fans) < maxParts {
				fans = append(fans, &Fan{name + " " + number, m, number})
			}
			input := filepath.Join(m, "temp"+number+"_input")
			if _, err := os.Stat(input); err == nil && len(sensors) < maxParts {
				label, err := text(filepath.Join(m, "temp"+number+"_label"))
				if err != nil {
					label = number
				}
				sensors = append(sensors, &Sensor{name + " " + label, input})
			}
		}
	}
	return fans, sensors
}

// A Fan implements board.Fan.
type Fan struct{ name, dir, number string }

// Name implements board.Fan.
func (f *Fan) Name() string { return f.name }

// RPM implements board.Fan. A fan without a third wire cannot be read.
func (f *Fan) RPM() (int, error) { return number(filepath.Join(f.dir, "fan"+f.number+"_input")) }

// Set implements board.Fan. It takes the fan from what else steers it, as far as that can be said: pwmN_enable 1 is "by
// hand".
func (f *Fan) Set(percent int) error {
	if percent < 0 || percent > 100 {
		return fmt.Errorf("hwmon: %d%% of a fan", percent)
	}
	pwm := filepath.Join(f.dir, "pwm"+f.number)
	if _, err := os.Stat(pwm + "_enable"); err == nil {
		if err := write(pwm+"_enable", "1"); err != nil {
			return err
		}
	}
	return write(pwm, strconv.Itoa((percent*255+50)/100)) // pwmN is 0 to 255
}

// A Sensor implements board.Sensor.
type Sensor struct{ name, input string }

// Name implements board.Sensor.
func (s *Sensor) Name() string { return s.name }

// Celsius implements board.Sensor.
func (s *Sensor) Celsius() (float64, error) {
	n, err := number(s.input) // in thousandths of a degree
	return float64(n) / 1000, err
}

func text(file string) (string, error) {
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}

func number(file string) (int, error) {
	s, err := text(file)
	if err != nil {
		return 0, fmt.Errorf("hwmon: %w", err)
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("hwmon: %s: %w", file, err)
	}
	return n, nil
}

func write(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("hwmon: %w", err)
	}
	_, err = f.WriteString(value)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("hwmon: %w", err)
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/gpio"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/chip/gpioout"
	"github.com/postern-nas/postern/board/wired"
)

const (
	patience = time.Minute           // for events that have to come
	finger   = 50 * time.Millisecond // how long a key stays as it is: longer than contacts bounce
)

// A chip is one that Linux simulates (Documentation/admin-guide/gpio/gpio-sim.rst).
type chip struct{ file, lines string }

// simulated makes it.
func simulated() (c chip, err error) {
	const config = "/sys/kernel/config"
	if err := load("configfs", "gpio-sim"); err != nil {
		return c, err
	}
	if err := unix.Mount("configfs", config, "configfs", 0, ""); err != nil && err != unix.EBUSY {
		return c, fmt.Errorf("%s: %w", config, err)
	}
	device := config + "/gpio-sim/panel"
	bank := device + "/bank0"
	if err := errors.Join(os.Mkdir(device, 0o700), os.Mkdir(bank, 0o700)); err != nil {
		return c, err
	}
	if err := errors.Join(os.WriteFile(bank+"/num_lines", []byte("8"), 0), os.WriteFile(device+"/live", []byte("1"), 0)); err != nil {
		return c, err
	}
	read := func(path string) string {
		text, e := os.ReadFile(path)
		err = errors.Join(err, e)
		return strings.TrimSpace(string(text))
	}
	name := read(bank + "/chip_name")
	return chip{"/dev/" + name, filepath.Join("/sys/devices/platform", read(device+"/dev_name"), name)}, err
}

// pull is what a finger does to a line: "pull-down" when it presses, "pull-up" when it lets go.
func (c chip) pull(line int, to string) error {
	return os.WriteFile(fmt.Sprintf("%s/sim_gpio%d/pull", c.lines, line), []byte(to), 0)
}

func (c chip) value(line int) string {
	text, err := os.ReadFile(fmt.Sprintf("%s/sim_gpio%d/value", c.lines, line))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

// pressKeys presses two keys and then a single one, and drives a line.
func pressKeys() error {
	c, err := simulated()
	if err != nil {
		return err
	}
	on := func(line int, k board.Key) board.LineKey {
		return board.LineKey{Line: board.Line{Chip: c.file, Offset: line}, Key: k}
	}
	// A tap is a press and a release, and what is held is told of by itself. Of a single key nothing is known before it is let
	// go, or held.
	if err := c.press("two", 3, [4]int{1, 1, 2, 1}, on(2, board.Enter), on(3, board.Next)); err != nil {
		return err
	}
	if err := c.press("one", 3, [4]int{0, 2, 1, 1}, on(3, board.Back)); err != nil {
		return err
	}
	pin, err := gpioout.Open(c.file, 5)
	if err != nil {
		return err
	}
	fmt.Println("smallinit: line 5 is", c.value(5))
	if err := pin.Out(gpio.Low); err != nil {
		return err
	}
	fmt.Println("smallinit: line 5 is", c.value(5))
	return pin.Close()
}

// press opens keys as a box does, taps and then holds the one on a line, and says what events there are: so many are
// waited for after each move of the finger.
func (c chip) press(what string, line int, events [4]int, keys ...board.LineKey) error {
	h := wired.Panel(board.Panel{Keys: keys}, slog.Default())
	if h.Trouble != nil {
		return h.Trouble
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, n := range events {
		if err := c.pull(line, []string{"pull-down", "pull-up"}[i%2]); err != nil {
			return err
		}
		for range n {
			e, err := h.Buttons.Next(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			fmt.Println("smallinit:", what, "key", e.Key, "action", e.Action)
		}
		time.Sleep(finger)
	}
	return nil
}

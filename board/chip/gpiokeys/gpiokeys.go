// Package gpiokeys are buttons on GPIO lines, read through the kernel's character device (Documentation/userspace-api/
// gpio/chardev.rst): edges arrive as events, nothing polls.
package gpiokeys

import (
	"fmt"
	"io"
	"time"

	"github.com/warthog618/go-gpiocdev"

	"github.com/postern-nas/postern/board"
)

// debounce is how long a line must be quiet: contacts bounce for some milliseconds, fingers take fifty.
const debounce = 10 * time.Millisecond

// A Line is one button.
type Line struct {
	Offset int // on its chip
	Key    board.Key
}

// Keys implements board.Buttons.
type Keys struct {
	board.Keys
	lines []Line
	hold  io.Closer
}

// Open takes lines of a chip ("gpiochip0", or its path). A button connects its line to ground, the pull-up is the chip's.
func Open(chip string, lines []Line) (*Keys, error) {
	k := &Keys{lines: lines}
	offsets := make([]int, len(lines))
	for i, l := range lines {
		offsets[i] = l.Offset
	}
	// Both edges in one option: asked for one by one the second would replace the first.
	hold, err := gpiocdev.RequestLines(chip, offsets, gpiocdev.AsInput, gpiocdev.AsActiveLow, gpiocdev.WithPullUp,
		gpiocdev.WithBothEdges, gpiocdev.WithDebounce(debounce), gpiocdev.WithConsumer("postern"), gpiocdev.WithEventHandler(k.edge))
	if err != nil {
		return nil, fmt.Errorf("gpiokeys: %s: %w", chip, err)
	}
	k.hold = hold
	return k, nil
}

// edge takes an event of the kernel. The lines are active low, so that "rising" is the finger going down.
func (k *Keys) edge(e gpiocdev.LineEvent) {
	for _, l := range k.lines {
		if l.Offset != e.Offset {
			continue
		}
		if e.Type == gpiocdev.LineEventRisingEdge {
			k.Down(l.Key)
		} else {
			k.Up(l.Key)
		}
	}
}

// Close gives the lines back.
func (k *Keys) Close() error {
	err := k.hold.Close()
	if e := k.Keys.Close(); err == nil {
		err = e
	}
	return err
}

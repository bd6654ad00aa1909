// Package gpiokeys are buttons on GPIO lines, read through the kernel's character device (Documentation/userspace-api/
// gpio/chardev.rst): edges arrive as events, nothing polls.
package gpiokeys

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/warthog618/go-gpiocdev"

	"github.com/postern-nas/postern/board"
)

// debounce is how long a line must be quiet: contacts bounce for some milliseconds, fingers take fifty.
const debounce = 10 * time.Millisecond

// Keys implements board.Buttons.
type Keys struct {
	board.Keys
	hold []io.Closer // the lines, a chip each
}

// Open takes lines, whose chips are named by their files. A button connects its line to ground, the pull-up is the chip's.
func Open(keys []board.LineKey) (*Keys, error) {
	k := new(Keys)
	chips := make(map[string]map[int]board.Key)
	for _, l := range keys {
		if chips[l.Chip] == nil {
			chips[l.Chip] = make(map[int]board.Key)
		}
		chips[l.Chip][l.Offset] = l.Key
	}
	for chip, lines := range chips {
		// Both edges in one option: asked for one by one the second would replace the first.
		hold, err := gpiocdev.RequestLines(chip, slices.Sorted(maps.Keys(lines)), gpiocdev.AsInput, gpiocdev.AsActiveLow, gpiocdev.WithPullUp,
			gpiocdev.WithBothEdges, gpiocdev.WithDebounce(debounce), gpiocdev.WithConsumer("postern"), gpiocdev.WithEventHandler(k.edges(lines)))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("gpiokeys: %s: %w", chip, err), k.Close())
		}
		k.hold = append(k.hold, hold)
	}
	return k, nil
}

// edges returns what takes the kernel's events of a chip. The lines are active low, so that "rising" is the finger going
// down.
func (k *Keys) edges(lines map[int]board.Key) gpiocdev.EventHandler {
	return func(e gpiocdev.LineEvent) {
		key, ours := lines[e.Offset]
		switch {
		case !ours:
		case e.Type == gpiocdev.LineEventRisingEdge:
			k.Down(key)
		default:
			k.Up(key)
		}
	}
}

// Close gives the lines back.
func (k *Keys) Close() error {
	var errs []error
	for _, h := range k.hold {
		errs = append(errs, h.Close())
	}
	return errors.Join(append(errs, k.Keys.Close())...)
}

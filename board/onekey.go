package board

import "context"

// OneKey makes do with a single button, whatever it is called: a tap is Next, and to hold it is Enter, pressed from
// HoldAfter until it is let go.
type OneKey struct {
	Buttons
	held bool
	next []Event // the rest of a tap
}

// Next implements Buttons.
func (o *OneKey) Next(ctx context.Context) (Event, error) {
	if len(o.next) > 0 {
		e := o.next[0]
		o.next = nil
		return e, nil
	}
	for {
		e, err := o.Buttons.Next(ctx)
		if err != nil {
			return e, err
		}
		switch {
		case e.Action == Hold:
			o.held = true
			return Event{Enter, Press, e.At}, nil
		case e.Action == Release && o.held:
			o.held = false
			return Event{Enter, Release, e.At}, nil
		case e.Action == Release:
			o.next = []Event{{Next, Release, e.At}}
			return Event{Next, Press, e.At}, nil
		}
		// A press: what it becomes shows when it ends, or lasts.
	}
}

package board

import (
	"context"
	"io"
	"sync"
	"time"
)

// A Key is what a button means. Two are enough for everything: Next and Enter. Boxes with more have the others too.
type Key uint8

const (
	Next     Key = iota + 1 // forwards: down, right, SELECT
	Enter                   // do it
	Previous                // up, left
	Back
)

// An Action is what happens to a key.
type Action uint8

const (
	Press Action = iota + 1
	Hold         // still down HoldAfter after its press
	Release
)

// HoldAfter is how long a key is down before it counts as held: longer than anybody's tap.
const HoldAfter = 800 * time.Millisecond

// An Event is one thing that happened to one key.
type Event struct {
	Key    Key
	Action Action
	At     time.Time
}

// Buttons are the keys of a box.
type Buttons interface {
	// Next waits for the next event. It returns ctx's error, or io.EOF once the buttons are closed or lost for good.
	Next(ctx context.Context) (Event, error)
	Close() error
}

// maxEvents is how many events wait for a reader. Nobody presses that many keys ahead; beyond it the oldest goes, so
// that a Release is never the one that is lost on arrival.
const maxEvents = 32

// Keys makes events from keys that go down and up: it leaves out what says nothing new, adds Hold, and keeps the
// events until they are read. Drivers embed it. The zero value is ready; it must not be copied.
type Keys struct {
	mu     sync.Mutex
	down   map[Key]*time.Timer
	events []Event
	closed bool
	wake   chan struct{} // closed when there is something to read; nil while nobody waits
}

// Down says that key k is pressed. Said twice, the second does nothing.
func (k *Keys) Down(key Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, is := k.down[key]; is || k.closed {
		return
	}
	if k.down == nil {
		k.down = make(map[Key]*time.Timer)
	}
	k.put(Event{key, Press, time.Now()})
	var t *time.Timer
	t = time.AfterFunc(HoldAfter, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.down[key] == t { // and not released meanwhile, or pressed anew
			k.put(Event{key, Hold, time.Now()})
		}
	})
	k.down[key] = t
}

// Up says that key k is not pressed. Said of a key that was not down it does nothing.
func (k *Keys) Up(key Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t, is := k.down[key]; is {
		t.Stop()
		delete(k.down, key)
		k.put(Event{key, Release, time.Now()})
	}
}

// put adds an event; k.mu is held.
func (k *Keys) put(e Event) {
	if len(k.events) == maxEvents {
		k.events = append(k.events[:0], k.events[1:]...)
	}
	k.events = append(k.events, e)
	k.rouse()
}

func (k *Keys) rouse() {
	if k.wake != nil {
		close(k.wake)
		k.wake = nil
	}
}

// Next implements Buttons. Events that came before Close are still read.
func (k *Keys) Next(ctx context.Context) (Event, error) {
	for {
		k.mu.Lock()
		if len(k.events) > 0 {
			e := k.events[0]
			k.events = k.events[1:]
			k.mu.Unlock()
			return e, nil
		}
		if k.closed {
			k.mu.Unlock()
			return Event{}, io.EOF
		}
		if k.wake == nil {
			k.wake = make(chan struct{})
		}
		wake := k.wake
		k.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// Close ends the events: a key that is down counts as released, for nobody will see its release.
func (k *Keys) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, t := range k.down {
		t.Stop()
		k.put(Event{key, Release, time.Now()})
	}
	k.down, k.closed = nil, true
	k.rouse()
	return nil
}

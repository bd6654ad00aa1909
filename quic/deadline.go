package quic

import (
	"net"
	"sync"
	"time"
)

// A deadline is that of a stream's reads or writes. quic-go makes a timer for every call that has to wait with one set,
// and who serves files sets one for each 64 KiB that come. So the stream is told of a deadline only when it has come, by
// a timer that moves once in a while: where it goes off too early it is set again.
type deadline struct {
	tell func(time.Time) error // the stream

	mu    sync.Mutex
	at    time.Time // zero: none
	told  bool      // the stream: at has come
	timer *time.Timer
	rings time.Time // when timer goes off; zero: it does not
	over  bool
}

// set moves the deadline; zero lifts it.
func (d *deadline) set(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return net.ErrClosed
	}
	d.at = t
	if d.told {
		d.told = false
		if err := d.tell(time.Time{}); err != nil {
			return err
		}
	}
	return d.wind()
}

// wind sees to it that the timer goes off in time, or tells the stream if it is time. Its caller holds mu.
func (d *deadline) wind() error {
	if d.at.IsZero() || !d.rings.IsZero() && !d.rings.After(d.at) {
		return nil
	}
	left := time.Until(d.at)
	switch {
	case left <= 0:
		d.told = true
		return d.tell(d.at)
	case d.timer == nil:
		d.timer = time.AfterFunc(left, d.ring)
	default:
		d.timer.Reset(left)
	}
	d.rings = d.at
	return nil
}

// ring is what the timer does.
func (d *deadline) ring() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rings = time.Time{}
	if !d.over && !d.told {
		_ = d.wind() // of a stream that is closed, which nobody waits for
	}
}

// end tells the stream that its time is up, for good.
func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if d.timer != nil {
		d.timer.Stop()
	}
	_ = d.tell(time.Unix(1, 0))
}

// Package watch lets many readers follow one value: the newest wins, and a slow reader skips what it missed.
package watch

import (
	"context"
	"sync"
)

// A Value holds the newest T. The zero Value holds the zero T at version 0. It must not be copied.
type Value[T any] struct {
	mu      sync.Mutex
	v       T
	version uint64
	changed chan struct{} // closed by the next Set; nil while nobody waits
}

// Set makes v the newest value and wakes who waits.
func (w *Value[T]) Set(v T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.v, w.version = v, w.version+1
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// Get returns the newest value and its version, to be handed to Wait.
func (w *Value[T]) Get() (v T, version uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.v, w.version
}

// Wait returns the newest value as soon as its version is not seen. It returns ctx's error if that comes first.
func (w *Value[T]) Wait(ctx context.Context, seen uint64) (v T, version uint64, err error) {
	for {
		w.mu.Lock()
		if w.version != seen {
			defer w.mu.Unlock()
			return w.v, w.version, nil
		}
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return v, seen, ctx.Err()
		}
	}
}

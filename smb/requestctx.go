package smb

import (
	"context"
	"sync"
	"time"
)

// A lifetime is a request's context: it ends with its connection, by CANCEL, or when the request is done. It lies in the
// request, and costs nothing until somebody waits for its end, which few requests do.
type lifetime struct {
	parent context.Context // the connection's

	mu   sync.Mutex // guards what follows
	over bool
	wait context.Context // nil until asked for
	end  context.CancelFunc
}

func (l *lifetime) Deadline() (time.Time, bool) { return l.parent.Deadline() }

func (l *lifetime) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wait == nil {
		l.wait, l.end = context.WithCancel(l.parent)
		if l.over {
			l.end()
		}
	}
	return l.wait.Done()
}

func (l *lifetime) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return context.Canceled
	}
	return l.parent.Err()
}

// Value lets contexts that are made of this one find the context that they wait for.
func (l *lifetime) Value(key any) any {
	l.mu.Lock()
	from := l.wait
	l.mu.Unlock()
	if from == nil {
		from = l.parent
	}
	return from.Value(key)
}

// cancel ends it. It may be called more than once.
func (l *lifetime) cancel() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.end != nil {
		l.end()
	}
}

// waitedFor reports whether somebody has asked for its end, and may hold on to it.
func (l *lifetime) waitedFor() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wait != nil
}

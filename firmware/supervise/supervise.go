// Package supervise keeps services running: one that fails or panics is started again after a pause that grows,
// and all are stopped in reverse order of their start.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// A Service runs until ctx is done and then returns. Before that nil means that it has finished for good; an error
// asks to be started again. It calls Healthy(ctx) when it does its work.
type Service func(ctx context.Context) error

// How long the pauses are, and how long a service has to stay healthy to begin again with the shortest. A pause is
// at most maxPause; half of it is left to chance, so that services that fell together do not rise together.
const (
	minPause    = 100 * time.Millisecond
	maxPause    = time.Minute
	steady      = time.Minute
	stopTimeout = 10 * time.Second
)

// A State says how a service does.
type State struct {
	Name     string
	Running  bool
	Healthy  bool
	Restarts int
	Panics   int
	Err      error // why it last ended; nil if it never did
}

// A Group is a list of services. The zero Group is empty. Add and Run belong to one goroutine, Add first; States may
// be asked by any.
type Group struct {
	Log *slog.Logger // nil discards

	mu       sync.Mutex
	services []*service
}

type service struct {
	group *Group
	run   Service
	state State     // under group.mu
	since time.Time // when it became healthy; under group.mu
}

type key struct{}

// Healthy reports that the service that ctx was given to does its work. Elsewhere it does nothing.
func Healthy(ctx context.Context) {
	s, ok := ctx.Value(key{}).(*service)
	if !ok {
		return
	}
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	if s.state.Running && !s.state.Healthy {
		s.state.Healthy, s.since = true, time.Now()
	}
}

// Add lists a service. Those it needs are added before it.
func (g *Group) Add(name string, run Service) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.services = append(g.services, &service{group: g, run: run, state: State{Name: name}})
}

// States returns how each service does, in the order of Add.
func (g *Group) States() []State {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]State, len(g.services))
	for i, s := range g.services {
		out[i] = s.state
	}
	return out
}

// Run starts the services in the order of Add and keeps them running until ctx is done. Then it stops them one after
// another, the last one first. A service that does not stop in ten seconds is left behind and named in the error.
func (g *Group) Run(ctx context.Context) error {
	log := g.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	type running struct {
		*service
		stop context.CancelFunc
		done chan struct{}
	}
	var all []running
	for _, s := range g.services {
		// Not a child of ctx's end: a service is stopped only when those that were added after it have stopped.
		sctx, stop := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), key{}, s))
		defer stop()
		r := running{s, stop, make(chan struct{})}
		all = append(all, r)
		go func() {
			defer close(r.done)
			s.keep(sctx, log)
		}()
	}
	<-ctx.Done()
	var left error
	for i := len(all) - 1; i >= 0; i-- {
		all[i].stop()
		select {
		case <-all[i].done:
		case <-time.After(stopTimeout):
			left = errors.Join(left, fmt.Errorf("service %s did not stop", all[i].state.Name))
		}
	}
	return left
}

// keep runs the service again and again until ctx is done or it has finished.
func (s *service) keep(ctx context.Context, log *slog.Logger) {
	pause := minPause
	for {
		s.set(func(st *State) { st.Running, st.Healthy = true, false })
		err := s.once(ctx)
		var wasSteady bool
		s.set(func(st *State) {
			wasSteady = st.Healthy && time.Since(s.since) >= steady
			st.Running, st.Healthy, st.Err = false, false, err
		})
		if ctx.Err() != nil || err == nil {
			return
		}
		if wasSteady {
			pause = minPause
		}
		wait := pause/2 + rand.N(pause/2+1)
		log.Error("service failed, starting it again", "service", s.state.Name, "error", err, "in", wait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		s.set(func(st *State) { st.Restarts++ })
		pause = min(2*pause, maxPause)
	}
}

// once runs the service and turns a panic into an error that carries the stack.
func (s *service) once(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.set(func(st *State) { st.Panics++ })
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return s.run(ctx)
}

func (s *service) set(f func(*State)) {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	f(&s.state)
}

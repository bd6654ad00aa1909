package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/postern-nas/postern/firmware/supervise"
)

// How often the server looks at itself, and after how long without an answer a box is unwell: several looks are in vain by
// then. The watchdog has patience of its own after that.
const (
	lookEvery   = time.Minute
	silentAfter = 3 * time.Minute
)

// A pulse finds out whether the server still answers, for the watchdog. Only silence is unwell. An answer that is not the
// wanted one is one; and a server that does others' work has too much of it, and a restart would not make that less.
type pulse struct {
	look func(context.Context) (connected bool, err error)
	// came counts connections that were dealt with, and served what sessions get done. Any goroutine may call them.
	came, served func() uint64
	log          *slog.Logger

	mu    sync.Mutex
	heard time.Time // when it was last known to answer
	why   error     // of the last look in vain
}

func newPulse(look func(context.Context) (bool, error), came, served func() uint64, log *slog.Logger) *pulse {
	return &pulse{look: look, came: came, served: served, log: log, heard: time.Now(), why: errors.New("it is not looked at")}
}

// run is the service.
func (p *pulse) run(ctx context.Context) error {
	supervise.Healthy(ctx)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	came, served := p.came(), p.served()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		connected, err := p.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wasCame, wasServed := came, served
		came, served = p.came(), p.served()
		// Who connects does not get further because others connect too; but while they come in, nothing hangs there.
		works := served != wasServed || !connected && came != wasCame
		if err == nil || !timedOut(err) || works {
			p.answered()
			continue
		}
		p.log.Warn("the server does not answer itself", "connected", connected, "error", err)
		p.mu.Lock()
		p.why = err
		p.mu.Unlock()
	}
}

func (p *pulse) answered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = time.Now()
}

func timedOut(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// well is for the watchdog. It counts time and not looks, because one of them may hang, too.
func (p *pulse) well() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if silent := time.Since(p.heard); silent > silentAfter {
		return fmt.Errorf("the server has not answered itself for %v: %w", silent.Round(time.Second), p.why)
	}
	return nil
}

package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/config"
)

// serveBox is serve on a machine that runs nothing else. What could take the box back to the version before runs first.
func serveBox(ctx context.Context, b boot.Box) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	boundMemory(log)
	u, sticks, err := bootUpdates(ctx, b, log)
	if err != nil {
		log.Error("this box cannot be updated", "error", err)
	}
	b.Steps.Done("updates")
	o := options{state: b.State, demo: b.Demo, box: true, machine: &b, panel: panelAuto, updates: u, sticks: sticks}
	if err = serveAgain(ctx, o, os.Stdout, os.Stderr); err != nil && u != nil {
		u.Fail(err)
	}
	return err
}

// guarded leaves of what is served what needs no firewall in front of it: QUIC, and the page, which looks where its visitors
// come from.
func guarded(cfg *config.Config) {
	cfg.TCP, cfg.Box.Discovery = "", config.Off
}

// done notes a part of a box's start.
func (o options) done(step string) {
	if o.machine != nil {
		o.machine.Steps.Done(step)
	}
}

package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/postern-nas/postern/firmware/boot"
)

// serveBox is serve on a machine that runs nothing else. What could take the box back to the version before runs first.
func serveBox(ctx context.Context, b boot.Box) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	u, err := bootUpdates(ctx, b, log)
	if err != nil {
		log.Error("this box cannot be updated", "error", err)
	}
	return serve(ctx, options{state: b.State, demo: b.Demo, box: true, kept: b.Kept, watch: b.Watch, updates: u}, os.Stdout, os.Stderr)
}

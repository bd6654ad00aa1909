package main

import (
	"context"
	"os"

	"github.com/postern-nas/postern/firmware/boot"
)

// serveBox is serve on a machine that runs nothing else.
func serveBox(ctx context.Context, b boot.Box) error {
	return serve(ctx, options{state: b.State, demo: b.Demo, box: true}, os.Stdout, os.Stderr)
}

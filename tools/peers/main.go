// Command peers builds the foreign programs that tests and benchmarks talk to (package
// [github.com/postern-nas/postern/tools/peers/peers]) into a cache outside the checkout, or finds them there, and
// prints the chroot's path.
//
//	go run ./tools/peers            build what is missing
//	go run ./tools/peers CMD ARG... build what is missing, then run CMD in the chroot
//
// Exit status: 0 ready, 1 failed, 3 not root and so impossible; with CMD, that of CMD. (`go run` itself turns every
// failure into 1; `go build -o` first, where the difference matters.)
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/postern-nas/postern/tools/peers/peers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := peers.Build(ctx, os.Stderr)
	switch {
	case errors.Is(err, peers.ErrNotRoot):
		fmt.Fprintln(os.Stderr, "peers:", err)
		fmt.Fprintln(os.Stderr, "peers: without them the tests in tools/interop are skipped")
		os.Exit(3)
	case err != nil:
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
	if len(os.Args) == 1 {
		fmt.Println(p.Root)
		return
	}
	cmd := p.Command(ctx, os.Args[1], os.Args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

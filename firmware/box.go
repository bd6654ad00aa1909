package main

import (
	"context"
	"log/slog"
	"net"
	"os"

	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/network/firewall"
)

// serveBox is serve on a machine that runs nothing else. What could take the box back to the version before runs first.
func serveBox(ctx context.Context, b boot.Box) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	u, err := bootUpdates(ctx, b, log)
	if err != nil {
		log.Error("this box cannot be updated", "error", err)
	}
	err = serve(ctx, options{state: b.State, demo: b.Demo, box: true, kept: b.Kept, watch: b.Watch, updates: u}, os.Stdout, os.Stderr)
	if err != nil && u != nil {
		u.Fail(err)
	}
	return err
}

// openFirewall lets clients in, now that somebody answers them.
func openFirewall(quic net.Addr, log *slog.Logger) {
	var c firewall.Config
	if a, ok := quic.(*net.UDPAddr); ok {
		c.QUIC = uint16(a.Port)
	}
	if err := firewall.Apply(firewall.Rules(c)); err != nil {
		log.Error("the firewall does not open", "error", err)
	}
}

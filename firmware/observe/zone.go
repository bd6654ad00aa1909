package observe

import (
	"context"
	"log/slog"
	"time"
)

// In returns a handler that tells times as the clocks of a zone show them, by its IANA name; "" leaves the system's.
func In(zone string, h slog.Handler) slog.Handler {
	l, err := time.LoadLocation(zone)
	if zone == "" || err != nil {
		return h
	}
	return zoned{h, l}
}

type zoned struct {
	slog.Handler
	zone *time.Location
}

func (z zoned) Handle(ctx context.Context, r slog.Record) error {
	r.Time = r.Time.In(z.zone)
	return z.Handler.Handle(ctx, r)
}

func (z zoned) WithAttrs(a []slog.Attr) slog.Handler { return zoned{z.Handler.WithAttrs(a), z.zone} }

func (z zoned) WithGroup(name string) slog.Handler { return zoned{z.Handler.WithGroup(name), z.zone} }

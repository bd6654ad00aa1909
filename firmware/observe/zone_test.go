package observe

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

func TestZone(t *testing.T) {
	var b bytes.Buffer
	h := In("Asia/Kathmandu", Handler(&b, slog.LevelInfo, Text)).WithGroup("g").WithAttrs([]slog.Attr{slog.Int("a", 1)})
	r := slog.NewRecord(time.Date(2026, 7, 1, 9, 20, 0, 0, time.UTC), slog.LevelInfo, "told", 0)
	if err := h.Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.HasPrefix(got, "time=2026-07-01T15:05:00.000+05:45 ") || !strings.Contains(got, "g.a=1") {
		t.Error(got)
	}
	plain := Handler(&b, slog.LevelInfo, Text)
	for _, none := range []string{"", "Mars/Olympus"} {
		if In(none, plain) != plain {
			t.Errorf("zone %q changes something", none)
		}
	}
}

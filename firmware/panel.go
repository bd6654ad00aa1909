package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/laptop"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/ui"
	"github.com/postern-nas/postern/ui/lcd"
)

// What -panel says.
const (
	panelAuto = "auto" // in a terminal yes, else no
	panelOn   = "on"
	panelOff  = "off"
)

// newPanel joins what the machine has with what it shows; nil if it has none.
func newPanel(h *board.Hardware, s ui.Source, c *ownerControl, log *slog.Logger) *lcd.Panel {
	if h == nil || h.Display == nil {
		return nil
	}
	p := &lcd.Panel{Display: h.Display, Source: s, Control: c, Log: log}
	if h.Buttons != nil {
		p.Buttons = h.Buttons
	}
	return p
}

// panelOf is how the panel is to be.
func panelOf(p config.Panel) *ui.Panel {
	minutes := func(n int) time.Duration { return time.Duration(n) * time.Minute }
	return &ui.Panel{Dim: p.Dim, DimAfter: minutes(p.DimMinutes), OffAfter: minutes(p.OffMinutes), UpsideDown: p.UpsideDown}
}

// panelService shows the box on its panel. What becomes of the panel is no reason to stop serving.
func panelService(p *lcd.Panel) supervise.Service {
	return func(ctx context.Context) error {
		supervise.Healthy(ctx)
		err := p.Run(ctx)
		if ctx.Err() != nil || errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
}

// beside returns where lines go that are meant for the terminal: below the panel, if one is drawn there, so that neither spoils
// the other.
func beside(h *board.Hardware, w io.Writer) io.Writer {
	if p, ok := h.Display.(*laptop.Panel); ok && p.Drawn() {
		return p
	}
	return w
}

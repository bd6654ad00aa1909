package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/all"
	"github.com/postern-nas/postern/board/laptop"
	"github.com/postern-nas/postern/board/uefi"
	"github.com/postern-nas/postern/board/wired"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/heat"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/ui"
)

// openHardware finds what the machine has: on a box by its device tree, elsewhere the panel that its owner names, or the
// terminal. It is opened once, however often serving begins again: a terminal has one keyboard.
func openHardware(o options, log *slog.Logger) *board.Hardware {
	if o.panel == panelOff {
		return new(board.Hardware)
	}
	panel := config.LoadBox(o.state).Panel.Connected
	if !o.box {
		if o.panel == panelAuto && panel.Kind != "" && panel.Kind != board.NoPanel {
			return wired.Panel(panel, log)
		}
		if o.panel == panelAuto && (!isTerminal(os.Stdout) || !isTerminal(os.Stdin)) {
			return new(board.Hardware)
		}
		return laptop.Board.Open(panel, log)
	}
	names, err := all.Compatible()
	if err != nil {
		log.Warn("the device tree cannot be read", "error", err)
	}
	b, ok := all.Find(names)
	if !ok {
		log.Info("this board is not known", "compatible", strings.Join(names, " "))
		b = uefi.Board
	}
	log.Info("board", "name", b.Name)
	return b.Open(panel, log)
}

// tellHardware says what the owner has named and does not work.
func tellHardware(h *board.Hardware) func(*ui.State) {
	return func(s *ui.State) {
		if h != nil && h.Trouble != nil {
			s.Alarms = append(s.Alarms, ui.Alarm{
				ID: "panel", Health: ui.Warning, Text: "The panel that is named does not open",
				Advice: fmt.Sprintf("Look at [panel] in %s: %v.", config.FileName, h.Trouble),
			})
		}
	}
}

// keepCool looks after a box's temperature until stop is called. On a machine that does other things its system does.
func (o *options) keepCool(ctx context.Context, log *slog.Logger) (stop func()) {
	if !o.box || o.hardware.Air == nil {
		return func() {}
	}
	o.heat = &heat.Keeper{Air: o.hardware.Air, Log: log}
	ctx, cancel := context.WithCancel(ctx)
	services := supervise.Group{Log: log}
	services.Add("heat", o.heat.Run)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = services.Run(ctx) // it ends with ctx alone
	}()
	return func() { cancel(); <-done }
}

// tellHeat says what is too hot, and what cannot be measured any more.
func tellHeat(k *heat.Keeper) func(*ui.State) {
	return func(s *ui.State) {
		now, _ := k.State.Get()
		if now.Hot != "" {
			s.Alarms = append(s.Alarms, ui.Alarm{
				ID: "heat", Kind: ui.AlarmHeat, Health: ui.Warning, Text: fmt.Sprintf("The box is too hot: %.0f °C (%s)", now.Celsius, now.Hot),
				Advice: "Look after its fan and the air around it.",
			})
		}
		if now.Blind != "" {
			s.Alarms = append(s.Alarms, ui.Alarm{
				ID: "sensor", Kind: ui.AlarmHeat, Health: ui.Warning, Text: "A temperature cannot be read: " + now.Blind,
				Advice: "The fans run at full speed. Restart the box; if it stays so, have it looked at.",
			})
		}
	}
}

// light shows on the box's one light how it is: lit when all is well, flashing when its owner should look, and blinking
// from the start until that is known and when it ends.
func light(led board.LED, source ui.Source, log *slog.Logger) supervise.Service {
	return func(ctx context.Context) error {
		supervise.Healthy(ctx)
		shown := board.Blinking
		set := func(to board.Light) {
			if to == shown {
				return
			}
			shown = to
			if err := led.Set(to); err != nil {
				log.Warn("the light cannot be set", "err", err)
			}
		}
		defer set(board.Blinking)
		for seen := uint64(0); ; {
			s, version, err := source.Next(ctx, seen)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			seen = version
			if slices.ContainsFunc(s.Alarms, urgent) {
				set(board.Flashing)
			} else {
				set(board.Lit)
			}
		}
	}
}

// urgent says whether an alarm is one to come and look for. The others can wait, some for years.
func urgent(a ui.Alarm) bool {
	return a.Health == ui.Failed || a.Kind == ui.AlarmDisk || a.Kind == ui.AlarmHeat
}

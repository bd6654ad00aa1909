package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/boardtest"
	"github.com/postern-nas/postern/firmware/config"
	"github.com/postern-nas/postern/firmware/heat"
	"github.com/postern-nas/postern/ui"
)

// named writes a configuration with a panel of QNAP's on a serial line, and returns what is found of it.
func named(t *testing.T, dir, serial string) *board.Hardware {
	t.Helper()
	write(t, filepath.Join(dir, config.FileName), fmt.Appendf(nil, "version = 1\n[panel]\nkind = \"a125\"\nserial = %q\n", serial))
	h := openHardware(options{state: dir, panel: panelAuto}, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { h.Close() })
	return h
}

// TestNamedPanel: a panel that the configuration names shows the server, and its keys turn the pages.
func TestNamedPanel(t *testing.T) {
	dir := t.TempDir()
	ours, path := boardtest.Terminal(t)
	h := named(t, dir, path)
	if h.Display == nil || h.Trouble != nil {
		t.Fatalf("%+v", h)
	}
	shown := make(chan string, 100)
	go func() {
		defer close(shown)
		for cell := make([]byte, 1); ; { // M, 0x0C, row, 0x20, 16 characters
			line := make([]byte, 19)
			if _, err := io.ReadFull(ours, cell); err != nil {
				return
			}
			if cell[0] != 'M' {
				continue
			}
			if _, err := io.ReadFull(ours, line[:1]); err != nil {
				return
			}
			if line[0] != 0x0C {
				continue
			}
			if _, err := io.ReadFull(ours, line[1:]); err != nil {
				return
			}
			if line[1] == 0 {
				shown <- strings.TrimSpace(string(line[3:]))
			}
		}
	}()
	launchWith(t, options{state: dir, quic: "127.0.0.1:0", tcp: "127.0.0.1:0", page: "127.0.0.1:0", hardware: h})
	first := ""
	for first == "" { // it begins with an empty panel
		first = <-shown
	}
	for range 20 {
		if _, err := ours.WriteString("S\x05\x00\x02S\x05\x00\x00"); err != nil { // SELECT
			t.Fatal(err)
		}
		if next := <-shown; next != first {
			t.Logf("%q, and then %q", first, next)
			return
		}
	}
	t.Errorf("a key turns no page from %q", first)
}

// TestNamedPanelMissing: the server has no panel, and its owner reads where the mistake is.
func TestNamedPanelMissing(t *testing.T) {
	h := named(t, t.TempDir(), "/dev/none/ttyS9")
	if h.Display != nil || h.Buttons != nil {
		t.Fatalf("%+v", h)
	}
	var s ui.State
	tellHardware(h)(&s)
	if len(s.Alarms) != 1 || s.Alarms[0].Health != ui.Warning {
		t.Fatalf("%+v", s.Alarms)
	}
	for _, want := range []string{"[panel] in postern.toml", "serial: ", "/dev/none/ttyS9"} {
		if !strings.Contains(s.Alarms[0].Advice, want) {
			t.Errorf("nothing of %q in %q", want, s.Alarms[0].Advice)
		}
	}
	var well ui.State
	tellHardware(nil)(&well)
	tellHardware(new(board.Hardware))(&well)
	if len(well.Alarms) > 0 {
		t.Errorf("%+v", well.Alarms)
	}
}

// TestLight: it blinks until something is known, and when it ends; it is lit when all is well and flashes when somebody
// should come and look.
func TestLight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		led, source := new(boardtest.LED), new(shutSource)
		if err := led.Set(board.Blinking); err != nil { // as it is opened
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- light(led, source, slog.New(slog.DiscardHandler))(ctx) }()
		shows := func(what string, want board.Light) {
			t.Helper()
			synctest.Wait()
			if got := led.Light(); got != want {
				t.Errorf("%s: %d; want %d", what, got, want)
			}
		}
		shows("booting", board.Blinking)
		for _, c := range []struct {
			alarm ui.Alarm
			want  board.Light
		}{
			{ui.Alarm{Kind: ui.AlarmSpace, Health: ui.Warning}, board.Lit},
			{ui.Alarm{Kind: ui.AlarmHeat, Health: ui.Warning}, board.Flashing},
			{ui.Alarm{Kind: ui.AlarmUpdate, Health: ui.Warning}, board.Lit},
			{ui.Alarm{Kind: ui.AlarmDisk, Health: ui.Warning}, board.Flashing},
			{ui.Alarm{Health: ui.Failed}, board.Flashing},
		} {
			source.state.Set(ui.State{Alarms: []ui.Alarm{{}, c.alarm}})
			shows(fmt.Sprintf("%+v", c.alarm), c.want)
		}
		source.state.Set(ui.State{})
		shows("serving", board.Lit)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		shows("the end", board.Blinking)
	})
}

// A light that fails is no reason to end.
type darkness struct{}

func (darkness) Set(board.Light) error { return errors.New("burnt out") }

func TestLightFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		source := new(shutSource)
		source.state.Set(ui.State{})
		if err := light(darkness{}, source, slog.New(slog.DiscardHandler))(ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestTellHeat: what is too hot, and what cannot be measured, is an alarm each, and of a kind that the light shows.
func TestTellHeat(t *testing.T) {
	k := new(heat.Keeper)
	tell := func() (all []ui.Alarm) {
		var s ui.State
		tellHeat(k)(&s)
		return s.Alarms
	}
	if got := tell(); len(got) > 0 {
		t.Errorf("nothing is hot: %+v", got)
	}
	k.State.Set(heat.State{Hot: "soc_thermal 1", Celsius: 86.6, Blind: "lm75 1"})
	got := tell()
	if len(got) != 2 || !urgent(got[0]) || !urgent(got[1]) || got[0].ID == got[1].ID {
		t.Fatalf("%+v", got)
	}
	if got[0].Kind != ui.AlarmHeat || got[0].Text != "The box is too hot: 87 °C (soc_thermal 1)" || !strings.Contains(got[1].Text, "lm75 1") {
		t.Errorf("%+v", got)
	}
}

// A fan that remembers.
type turning struct{ percent chan int }

func (turning) Name() string            { return "fan 1" }
func (turning) RPM() (int, error)       { return 0, errors.New("no third wire") }
func (f turning) Set(percent int) error { f.percent <- percent; return nil }

type warm struct{}

func (warm) Name() string              { return "cpu_thermal 1" }
func (warm) Celsius() (float64, error) { return 90, nil }

// TestKeepCool: a box's fans are steered, and another machine's left alone.
func TestKeepCool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fan := turning{make(chan int, 10)}
		h := &board.Hardware{Air: func() ([]board.Fan, []board.Sensor) { return []board.Fan{fan}, []board.Sensor{warm{}} }}
		for _, box := range []bool{false, true} {
			o := options{box: box, hardware: h}
			stop := o.keepCool(t.Context(), slog.New(slog.DiscardHandler))
			synctest.Wait()
			if (o.heat != nil) != box || (len(fan.percent) > 0) != box {
				t.Errorf("on a box %v: %d times", box, len(fan.percent))
			}
			if box {
				if s, _ := o.heat.State.Get(); s.Hot == "" {
					t.Errorf("%+v", s)
				}
			}
			stop()
		}
	})
}

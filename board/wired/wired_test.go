package wired

import (
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/boardtest"
)

// TestTrouble: what is named and not there is told with the key that names it, and the box has no panel.
func TestTrouble(t *testing.T) {
	const none = "/dev/none" // a folder that is not there
	line := func(n int) board.Line { return board.Line{Chip: none + "/gpiochip9", Offset: n} }
	for want, p := range map[string]board.Panel{
		"i2c: ":                          {Kind: board.SSD1306, I2C: none + "/i2c-9"},
		"ofnode: no device /soc/i2c@1: ": {Kind: board.HD44780, I2C: "/soc/i2c@1"},
		"spi: ":                          {Kind: board.SH1106, SPI: none + "/spidev9.0", Data: line(24)},
		"serial: ":                       {Kind: board.A125, Serial: none + "/ttyS9"},
		"kind: ":                         {Kind: board.SH1106},
		"keys: ":                         {Kind: "", Keys: []board.LineKey{{Line: line(1), Key: board.Enter}}},
	} {
		h := Panel(p, slog.New(slog.DiscardHandler))
		if h.Display != nil || h.Buttons != nil || len(h.Closers) > 0 || h.Trouble == nil || !strings.Contains(h.Trouble.Error(), want) {
			t.Errorf("%s%+v", want, h)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, p := range []board.Panel{{}, {Kind: board.NoPanel}} {
		if h := Panel(p, slog.New(slog.DiscardHandler)); h.Display != nil || h.Trouble != nil {
			t.Errorf("%+v: %+v", p, h)
		}
	}
}

// TestSerial: a named A125 on a pseudoterminal, whose other end reads what it shows and presses its keys.
func TestSerial(t *testing.T) {
	ours, path := boardtest.Terminal(t)
	h := Panel(board.Panel{Kind: board.A125, Serial: path}, slog.New(slog.DiscardHandler))
	if h.Trouble != nil {
		t.Fatal(h.Trouble)
	}
	text, ok := h.Display.(board.Text)
	if !ok {
		t.Fatalf("%T is no display of characters", h.Display)
	}
	if err := text.Write([]string{"postern", "192.168.1.20"}); err != nil {
		t.Fatal(err)
	}
	want := "M\x0c\x00 postern         M\x0c\x01 192.168.1.20    M^\x01"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(ours, got); err != nil || string(got) != want {
		t.Errorf("it was sent %q, %v; want %q", got, err, want)
	}
	if _, err := ours.Write([]byte("S\x05\x00\x02S\x05\x00\x00")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []board.Action{board.Press, board.Release} {
		if e, err := h.Buttons.Next(t.Context()); err != nil || e.Key != board.Next || e.Action != want {
			t.Errorf("%+v, %v; want next, %d", e, err, want)
		}
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

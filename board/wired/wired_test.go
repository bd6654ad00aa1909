package wired

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"periph.io/x/conn/v3/physic"

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

// A bus is one on which a chip answers at some addresses. It remembers what each was sent first.
type bus struct {
	answers []uint16
	first   map[uint16][]byte
}

func (b *bus) String() string                  { return "bus" }
func (b *bus) SetSpeed(physic.Frequency) error { return nil }
func (b *bus) Tx(addr uint16, w, _ []byte) error {
	if b.first[addr] == nil {
		b.first[addr] = bytes.Clone(w)
	}
	if !slices.Contains(b.answers, addr) {
		return errors.New("no answer")
	}
	return nil
}

// TestAnswering: each kind is driven as what it is, at the address where it answers, and at the first where none does.
func TestAnswering(t *testing.T) {
	for _, c := range []struct {
		kind    string
		try     []uint16
		answers []uint16
		at      uint16
		begins  []byte // what the chip is sent first
		size    [2]int
	}{
		{board.SSD1306, nil, []uint16{0x3C, 0x3D}, 0x3C, []byte{0x00, 0xAE, 0xD5, 0x80}, [2]int{128, 64}},
		{board.SSD1306, nil, []uint16{0x3D}, 0x3D, []byte{0x00, 0xAE, 0xD5, 0x80}, [2]int{128, 32}},
		{board.SH1106, nil, []uint16{0x3C}, 0x3C, []byte{0x00, 0xAE, 0xD5, 0x50}, [2]int{128, 64}},
		{board.HD44780, nil, []uint16{0x3F}, 0x3F, []byte{0x38, 0x3C, 0x38}, [2]int{20, 4}},
		{board.HD44780, []uint16{0x21}, []uint16{0x21, 0x27}, 0x21, []byte{0x38, 0x3C, 0x38}, [2]int{16, 2}},
		{board.HD44780, nil, nil, 0x27, []byte{0x38, 0x3C, 0x38}, [2]int{16, 2}},
	} {
		try := c.try
		if try == nil {
			try = addresses[c.kind]
		}
		b := &bus{c.answers, make(map[uint16][]byte)}
		d, err := answering(b, board.Panel{Kind: c.kind, Width: c.size[0], Height: c.size[1]}, try)
		if d == nil || (err == nil) != (len(c.answers) > 0) {
			t.Errorf("%+v: %v, %v", c, d, err)
			continue
		}
		if !bytes.HasPrefix(b.first[c.at], c.begins) {
			t.Errorf("%s at %#x is sent % x first", c.kind, c.at, b.first[c.at])
		}
		b.first = make(map[uint16][]byte)
		_ = d.Light(board.Dim) // which fails where none answers, and goes to the same place
		if len(b.first) != 1 || b.first[c.at] == nil {
			t.Errorf("%s goes on at %v, not at %#x", c.kind, b.first, c.at)
		}
		if got := sizeOf(d); got != c.size {
			t.Errorf("%s has the size %v, not %v", c.kind, got, c.size)
		}
	}
}

func sizeOf(d board.Display) (size [2]int) {
	if s, ok := d.(interface{ Size() (int, int) }); ok {
		size[0], size[1] = s.Size()
	}
	return size
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

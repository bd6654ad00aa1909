package main

import (
	"bytes"
	"fmt"
	"log/slog"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/wired"
)

// showPanels draws on panels that hang on an I2C bus of the kernel's, and says what they show.
func showPanels() error {
	oleds := map[string]*oledChip{board.SSD1306: {at: 0}, board.SH1106: {at: 2}}
	text := &textChip{}
	b := new(bridge)
	bus, err := plug(b)
	if err != nil {
		return err
	}
	for _, kind := range []string{board.SSD1306, board.SH1106} {
		chip := oleds[kind]
		b.put(0x3D, chip.take) // the second place that is tried
		h := wired.Panel(board.Panel{Kind: kind, I2C: bus}, slog.Default())
		dots, ok := h.Display.(board.Pixels)
		if !ok {
			return fmt.Errorf("%s: %v", kind, h.Trouble)
		}
		picture := board.NewBitmap(dots.Size())
		for i := range picture.Pages {
			picture.Pages[i] = byte(i*7 + i/128)
		}
		if err := dots.Draw(picture); err != nil {
			return err
		}
		fmt.Println("smallinit:", kind, "lit", chip.on, "as drawn", bytes.Equal(chip.picture(), picture.Pages))
		picture.Put(77, 33, !picture.On(77, 33))
		if err := dots.Draw(picture); err != nil {
			return err
		}
		fmt.Println("smallinit:", kind, "changed as drawn", bytes.Equal(chip.picture(), picture.Pages))
		b.put(0, nil) // its plug is pulled
		fmt.Println("smallinit:", kind, "lost", dots.Light(board.Dim) != nil)
		b.put(0x3D, chip.take)
		*chip = oledChip{at: chip.at}
		err := dots.Light(board.Dim)
		fmt.Println("smallinit:", kind, "back", err == nil, "lit", chip.on, "as drawn", bytes.Equal(chip.picture(), picture.Pages))
		if err := h.Close(); err != nil {
			return err
		}
		fmt.Println("smallinit:", kind, "closed, lit", chip.on)
	}
	b.put(0x27, text.take)
	h := wired.Panel(board.Panel{Kind: board.HD44780, I2C: bus, Width: 20, Height: 4}, slog.Default())
	panel, ok := h.Display.(board.Text)
	if !ok {
		return fmt.Errorf("%s: %v", board.HD44780, h.Trouble)
	}
	if err := panel.Write([]string{"postern", "192.168.1.20", "third", "fourth"}); err != nil {
		return err
	}
	for _, row := range []int{0x00, 0x40, 0x14, 0x54} {
		fmt.Printf("smallinit: %s shows %q\n", board.HD44780, text.memory[row:row+20])
	}
	return h.Close()
}

// An oledChip is the memory of an SSD1306 or SH1106 that is written page by page.
type oledChip struct {
	at           int // the column of the glass's first dots
	memory       [8][132]byte
	page, column int
	on           bool
	parameter    bool // the next byte of a command belongs to the one before
}

func (c *oledChip) take(w []byte) {
	if w[0] == 0x40 { // data
		for _, b := range w[1:] {
			c.memory[c.page][c.column%132] = b
			c.column++
		}
		return
	}
	for _, b := range w[1:] {
		switch {
		case c.parameter:
			c.parameter = false
		case b < 0x10:
			c.column = c.column&^0x0F | int(b)
		case b < 0x20:
			c.column = c.column&0x0F | int(b&0x0F)<<4
		case b&^7 == 0xB0:
			c.page = int(b & 7)
		case b == 0xAE, b == 0xAF:
			c.on = b == 0xAF
		case bytes.IndexByte([]byte{0x20, 0x81, 0x8D, 0xA8, 0xAD, 0xD3, 0xD5, 0xD9, 0xDA, 0xDB}, b) >= 0:
			c.parameter = true
		}
	}
}

// picture is what the glass shows, as in a board.Bitmap.
func (c *oledChip) picture() (pages []byte) {
	for _, p := range c.memory {
		pages = append(pages, p[c.at:c.at+128]...)
	}
	return pages
}

// A textChip is an HD44780 behind a PCF8574: bit 0 says that it is a character, and the four high bits count when bit 2
// falls.
type textChip struct {
	last   byte
	wide   bool // halves come in pairs: the interface has been made four bits wide
	high   byte // the first of a pair
	second bool
	at     int
	memory [128]byte
}

func (c *textChip) take(w []byte) {
	for _, b := range w {
		if c.last&4 != 0 && b&4 == 0 {
			c.half(c.last>>4, c.last&1 != 0)
		}
		c.last = b
	}
}

func (c *textChip) half(half byte, character bool) {
	if !c.wide {
		c.wide = half == 2
		return
	}
	if !c.second {
		c.high, c.second = half, true
		return
	}
	c.second = false
	switch b := c.high<<4 | half; {
	case character:
		c.memory[c.at&127] = b
		c.at++
	case b >= 0x80:
		c.at = int(b & 0x7F)
	}
}

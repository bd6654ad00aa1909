package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/postern-nas/postern/board"
)

// PortName is what the serial port is called that the panel is on.
const PortName = "postern.panel"

// ports is where Linux lists virtual serial ports (drivers/char/virtio_console.c).
const ports = "/sys/class/virtio-ports"

// The panel is as large as the laptop's. What the machine sends is pictures, each a byte of brightness and the dots as in a
// board.Bitmap; what it gets is a byte for a key and one for what happens to it.
const (
	width, height = 128, 64
	picture       = 1 + width*height/8
	event         = 2
)

// patience is how long the other side may take to read a picture.
const patience = 5 * time.Second

// findPort returns the device of the port in a folder of ports; "" for none.
func findPort(dir string) string {
	found, _ := filepath.Glob(filepath.Join(dir, "*", "name")) // the pattern is good
	for _, path := range found {
		if name, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(name)) == PortName {
			return filepath.Base(filepath.Dir(path))
		}
	}
	return ""
}

// A port is what the panel is on: a file, in tests a connection.
type port interface {
	io.ReadWriteCloser
	SetWriteDeadline(time.Time) error
}

// A panel is the machine's end. It implements board.Pixels.
type panel struct {
	keys *board.Keys

	mu   sync.Mutex
	port port
	sent [picture]byte
	now  [picture]byte
	lost error // half a picture may have gone: what follows would be read wrongly
}

func openPanel(path string) (*panel, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return newPanel(f), nil
}

func newPanel(f port) *panel {
	p := &panel{port: f, keys: new(board.Keys)}
	p.now[0] = byte(board.Bright)
	go func() {
		defer p.keys.Close()
		for e := make([]byte, event); ; {
			if _, err := io.ReadFull(f, e); err != nil {
				return
			}
			switch key := board.Key(e[0]); {
			case key < board.Next || key > board.Back:
			case board.Action(e[1]) == board.Press:
				p.keys.Down(key)
			case board.Action(e[1]) == board.Release:
				p.keys.Up(key)
			}
		}
	}()
	return p
}

// Size implements board.Pixels.
func (p *panel) Size() (int, int) { return width, height }

// Draw implements board.Pixels.
func (p *panel) Draw(b *board.Bitmap) error {
	if b.Width != width || b.Height != height {
		return errors.New("qemu: the picture has not the panel's size")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	copy(p.now[1:], b.Pages)
	return p.send()
}

// Light implements board.Display.
func (p *panel) Light(to board.Brightness) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now[0] = byte(to)
	return p.send()
}

// send sends the picture if it is another one. p.mu is held.
func (p *panel) send() error {
	if p.lost != nil || p.sent == p.now {
		return p.lost
	}
	err := p.port.SetWriteDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = p.port.Write(p.now[:])
	}
	if err != nil {
		p.lost = fmt.Errorf("qemu: the panel is lost: %w", err)
		return p.lost
	}
	p.sent = p.now
	return nil
}

// Close implements board.Display.
func (p *panel) Close() error {
	err := p.Light(board.Off)
	if p.lost != nil {
		err = nil // nobody looks
	}
	return errors.Join(err, p.port.Close())
}

// Show is the other end, for who has started the machine: it draws on display what the machine sends, and tells it of
// buttons, which may be nil. It returns when conn ends, with nil at its orderly end, and closes it when ctx is done.
func Show(ctx context.Context, conn io.ReadWriteCloser, display board.Pixels, buttons board.Buttons) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if buttons != nil {
		go func() {
			for {
				e, err := buttons.Next(ctx)
				if err != nil {
					return
				}
				if e.Action == board.Hold {
					continue // the machine finds out by itself
				}
				if _, err := conn.Write([]byte{byte(e.Key), byte(e.Action)}); err != nil {
					return
				}
			}
		}()
	}
	b := make([]byte, picture)
	for {
		_, err := io.ReadFull(conn, b)
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := display.Light(min(board.Brightness(b[0]), board.Bright)); err != nil {
			return err
		}
		if err := display.Draw(&board.Bitmap{Width: width, Height: height, Pages: b[1:]}); err != nil {
			return err
		}
	}
}

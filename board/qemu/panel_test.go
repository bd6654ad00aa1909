package qemu

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-nas/postern/board"
)

func TestFindPort(t *testing.T) {
	dir := t.TempDir()
	add := func(port, name string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, port), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, port, "name"), []byte(name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := findPort(dir); got != "" {
		t.Errorf("found %q where there is none", got)
	}
	add("vport0p1", "org.qemu.guest_agent.0")
	add("vport0p2", PortName)
	if got := findPort(dir); got != "vport0p2" {
		t.Errorf("found %q", got)
	}
}

// A screen tells of what is drawn on it.
type screen struct{ drawn chan drawn }

type drawn struct {
	light board.Brightness
	pages string
}

func (s *screen) Size() (int, int) { return width, height }
func (s *screen) Close() error     { return nil }
func (s *screen) Light(b board.Brightness) error {
	s.drawn <- drawn{light: b}
	return nil
}

func (s *screen) Draw(b *board.Bitmap) error {
	s.drawn <- drawn{pages: string(b.Pages)}
	return nil
}

// TestPanel joins both ends: pictures and brightness come over once each, keys go back, what is no key is left out, and a
// side that ends is noticed.
func TestPanel(t *testing.T) {
	machine, host := net.Pipe()
	p := newPanel(machine)
	s, keys := &screen{make(chan drawn, 16)}, new(board.Keys)
	ended := make(chan error, 1)
	go func() { ended <- Show(t.Context(), host, s, keys) }()

	b := board.NewBitmap(width, height)
	b.Put(3, 5, true)
	for range 2 { // the same picture travels once
		if err := p.Draw(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Light(board.Dim); err != nil {
		t.Fatal(err)
	}
	for _, want := range []drawn{
		{light: board.Bright}, {pages: string(b.Pages)}, {light: board.Dim}, {pages: string(b.Pages)},
	} {
		if got := <-s.drawn; got != want {
			t.Errorf("drawn %v %d, want %v", got.light, len(got.pages), want.light)
		}
	}
	keys.Down(99)
	keys.Down(board.Enter)
	keys.Up(board.Enter)
	for _, want := range []board.Action{board.Press, board.Release} {
		if e, err := p.keys.Next(t.Context()); err != nil || e.Key != board.Enter || e.Action != want {
			t.Errorf("%+v (%v), want %v", e, err, want)
		}
	}
	if err := p.Draw(board.NewBitmap(64, 64)); err == nil {
		t.Error("a picture of another size is taken")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := <-s.drawn; got.light != board.Off {
		t.Errorf("it is left lit: %v", got.light)
	}
}

// TestPanelLost: half a picture would shift all that follow, so after an error nothing more is sent.
func TestPanelLost(t *testing.T) {
	machine, host := net.Pipe()
	p := newPanel(machine)
	b := board.NewBitmap(width, height)
	b.Put(0, 0, true)
	host.Close()
	if err := p.Draw(b); err == nil {
		t.Error("drawn for nobody")
	}
	if err := p.Draw(b); err == nil {
		t.Error("drawn for nobody, the second time")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// TestShowEnds: with its context, though the machine says nothing; and at half a picture with an error.
func TestShowEnds(t *testing.T) {
	machine, host := net.Pipe()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if err := Show(ctx, host, &screen{make(chan drawn, 4)}, nil); err != nil {
		t.Error(err)
	}
	machine, host = net.Pipe()
	go func() {
		_, _ = machine.Write(bytes.Repeat([]byte{1}, picture/2))
		machine.Close()
	}()
	if err := Show(t.Context(), host, &screen{make(chan drawn, 4)}, nil); err == nil {
		t.Error("half a picture is no error")
	}
}

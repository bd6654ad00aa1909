package a125

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/boardtest"
)

// line is a serial line: writes go to a transcript, reads come from a pipe.
type line struct {
	*boardtest.Replay
	io.ReadCloser
}

func TestTranscript(t *testing.T) {
	bus := boardtest.NewReplay(t, "testdata/panel.txt")
	r, _ := io.Pipe()
	p := New(line{bus, r}, false)
	bus.Step("the first text: both lines and the light", 0)
	bus.Good(p.Write([]string{"postern", "192.168.1.20"}))
	bus.Step("the same text: nothing", 0)
	bus.Good(p.Write([]string{"postern", "192.168.1.20"}))
	bus.Step("one digit: its line", 0)
	bus.Good(p.Write([]string{"postern", "192.168.1.30"}))
	bus.Step("too long a line is cut, what it has not is a question mark", 0)
	bus.Good(p.Write([]string{"Müller and more that nobody sees", "192.168.1.30"}))
	bus.Step("off", 0)
	bus.Good(p.Light(board.Off))
	bus.Step("dim: on", 0)
	bus.Good(p.Light(board.Dim))
	bus.Step("the line fails at the second line", 2)
	bus.Bad(p.Write([]string{"A", "B"}))
	bus.Step("it works again: all", 0)
	bus.Good(p.Write([]string{"A", "B"}))
	bus.Step("close", 0)
	bus.Good(p.Close())
	if _, err := p.Buttons().Next(t.Context()); err != io.EOF {
		t.Errorf("buttons after close: %v; want EOF", err)
	}
}

type press struct {
	key    board.Key
	action board.Action
}

func TestButtons(t *testing.T) {
	sent := "\x53\x05\x00\x01" + "\x53\xfa" + "\x53\x05\x00\x03" + "noise\x53\x01\x00\x53" + // the id ends early
		"\x53\x05\x00\x80" + // no such button: not a word is believed
		"\x53\x05\x00\x02" + "\x53\xfb\x06" + "\x53\x05\x00\x00"
	for _, swapped := range []bool{false, true} {
		first, second := board.Enter, board.Next
		if swapped {
			first, second = second, first
		}
		want := []press{{first, board.Press}, {second, board.Press}, {first, board.Release}, {second, board.Release}}
		t.Run(fmt.Sprint(swapped), func(t *testing.T) {
			r, w := io.Pipe()
			p := New(line{nil, r}, swapped)
			go func() {
				io.WriteString(w, sent)
				w.Close()
			}()
			var got []press
			for {
				e, err := p.Buttons().Next(context.Background())
				if err == io.EOF {
					break
				}
				got = append(got, press{e.Key, e.Action})
			}
			if !slices.Equal(got, want) {
				t.Errorf("events %v; want %v", got, want)
			}
		})
	}
}

func TestOpenNothing(t *testing.T) {
	if _, err := Open(t.TempDir()+"/ttyS1", false); err == nil {
		t.Error("a port that is not there was opened")
	}
}

// Whatever the line carries, the decoder only ever names the two buttons.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("\x53\x05\x00\x01\x53\x05\x00\x00"))
	f.Add([]byte("\x53\x01\x00\x53\x53\xfb\x06\x53\x05"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		var d decoder
		for _, b := range sent {
			if down, said := d.next(b); said && down > 3 || d.state > 3 {
				t.Errorf("down %#x, state %d", down, d.state)
			}
		}
	})
}

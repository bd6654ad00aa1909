package gpiokeys

import (
	"slices"
	"testing"

	"github.com/warthog618/go-gpiocdev"

	"github.com/postern-nas/postern/board"
)

type press struct {
	key    board.Key
	action board.Action
}

func TestEdges(t *testing.T) {
	k := new(Keys)
	edge := k.edges(map[int]board.Key{4: board.Next, 17: board.Enter})
	for _, e := range []gpiocdev.LineEvent{
		{Offset: 17, Type: gpiocdev.LineEventRisingEdge},
		{Offset: 4, Type: gpiocdev.LineEventRisingEdge},
		{Offset: 17, Type: gpiocdev.LineEventFallingEdge},
		{Offset: 17, Type: gpiocdev.LineEventFallingEdge}, // the rise between was lost
		{Offset: 5, Type: gpiocdev.LineEventRisingEdge},   // not ours
	} {
		edge(e)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	var got []press
	for {
		e, err := k.Next(t.Context())
		if err != nil {
			break
		}
		got = append(got, press{e.Key, e.Action})
	}
	want := []press{{board.Enter, board.Press}, {board.Next, board.Press}, {board.Enter, board.Release}, {board.Next, board.Release}}
	if !slices.Equal(got, want) {
		t.Errorf("events %v; want %v", got, want)
	}
}

func TestOpenNothing(t *testing.T) {
	if _, err := Open([]board.LineKey{{Line: board.Line{Chip: t.TempDir() + "/gpiochip0", Offset: 1}, Key: board.Enter}}); err == nil {
		t.Error("a chip that is not there was opened")
	}
}

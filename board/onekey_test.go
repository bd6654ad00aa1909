package board_test

import (
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/boardtest"
)

// A tap is Next when it ends, a long press Enter from the moment it counts as held, whatever the key is called.
func TestOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tap, long = 100 * time.Millisecond, 10 * time.Second
		keys := new(boardtest.Buttons)
		one := &board.OneKey{Buttons: keys}
		begin := time.Now()
		go func() {
			for _, d := range []time.Duration{tap, long, tap, tap} {
				keys.Down(board.Back)
				time.Sleep(d)
				keys.Up(board.Back)
			}
			keys.Down(board.Back) // and then the keys are lost
			keys.Close()
		}()
		var got []board.Event
		for {
			e, err := one.Next(t.Context())
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				break
			}
			got = append(got, e)
		}
		var want []board.Event
		add := func(k board.Key, down, up time.Duration) {
			want = append(want, board.Event{Key: k, Action: board.Press, At: begin.Add(down)}, board.Event{Key: k, Action: board.Release, At: begin.Add(up)})
		}
		add(board.Next, tap, tap)
		add(board.Enter, tap+board.HoldAfter, tap+long)
		add(board.Next, 2*tap+long, 2*tap+long)
		add(board.Next, 3*tap+long, 3*tap+long)
		add(board.Next, 3*tap+long, 3*tap+long)
		if !slices.Equal(got, want) {
			t.Errorf("events\n%v; want\n%v", got, want)
		}
	})
}

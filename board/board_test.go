package board_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/board"
)

// drain reads what is there without waiting.
func drain(t *testing.T, k *board.Keys) (all []board.Event) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for {
		e, err := k.Next(ctx)
		if err != nil {
			return all
		}
		all = append(all, e)
	}
}

func actions(events []board.Event) (a []board.Action) {
	for _, e := range events {
		a = append(a, e.Action)
	}
	return a
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(k *board.Keys)
		want []board.Action
	}{
		{"tap", func(k *board.Keys) { k.Down(board.Enter); k.Up(board.Enter) }, []board.Action{board.Press, board.Release}},
		{"a moment before held", func(k *board.Keys) {
			k.Down(board.Enter)
			time.Sleep(board.HoldAfter - time.Millisecond)
			k.Up(board.Enter)
			time.Sleep(board.HoldAfter)
		}, []board.Action{board.Press, board.Release}},
		{"held", func(k *board.Keys) {
			k.Down(board.Enter)
			time.Sleep(board.HoldAfter + time.Millisecond)
			k.Up(board.Enter)
		}, []board.Action{board.Press, board.Hold, board.Release}},
		{"bounces", func(k *board.Keys) {
			k.Down(board.Enter)
			k.Down(board.Enter)
			k.Up(board.Enter)
			k.Up(board.Enter)
		}, []board.Action{board.Press, board.Release}},
		{"pressed anew within the time of the first", func(k *board.Keys) {
			k.Down(board.Enter)
			time.Sleep(board.HoldAfter / 2)
			k.Up(board.Enter)
			k.Down(board.Enter)
			time.Sleep(board.HoldAfter/2 + time.Millisecond)
			k.Up(board.Enter)
		}, []board.Action{board.Press, board.Release, board.Press, board.Release}},
		{"closed while down", func(k *board.Keys) {
			k.Down(board.Enter)
			k.Close()
			k.Down(board.Next)
			time.Sleep(2 * board.HoldAfter)
		}, []board.Action{board.Press, board.Release}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var k board.Keys
				c.play(&k)
				synctest.Wait()
				if got := actions(drain(t, &k)); !slices.Equal(got, c.want) {
					t.Errorf("actions = %v; want %v", got, c.want)
				}
			})
		})
	}
}

// Nobody reads: the queue stays within its bound, and the newest, a release, is in it.
func TestKeysNobodyReads(t *testing.T) {
	var k board.Keys
	for range 1000 {
		k.Down(board.Next)
		k.Up(board.Next)
	}
	all := drain(t, &k)
	if len(all) != 32 || all[len(all)-1].Action != board.Release {
		t.Errorf("%d events, the last %v; want 32 and a release", len(all), all[len(all)-1])
	}
}

func TestKeysWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k board.Keys
		got := make(chan board.Event)
		end := make(chan error)
		go func() {
			for {
				e, err := k.Next(t.Context())
				if err != nil {
					end <- err
					return
				}
				got <- e
			}
		}()
		synctest.Wait()
		k.Down(board.Back)
		if e := <-got; e.Key != board.Back || e.Action != board.Press {
			t.Errorf("event = %+v; want Back pressed", e)
		}
		if e := <-got; e.Action != board.Hold {
			t.Errorf("event = %+v; want Back held", e)
		}
		k.Close()
		if e := <-got; e.Action != board.Release {
			t.Errorf("event = %+v; want Back released", e)
		}
		if err := <-end; !errors.Is(err, io.EOF) {
			t.Errorf("after Close: %v; want EOF", err)
		}
	})
}

func TestBitmap(t *testing.T) {
	b := board.NewBitmap(16, 16)
	b.Put(3, 9, true)
	if b.Page(1)[3] != 1<<1 || !b.On(3, 9) || b.On(3, 8) {
		t.Errorf("Put(3, 9): pages %x", b.Pages)
	}
	for _, out := range [][2]int{{-1, 0}, {0, -1}, {16, 0}, {0, 16}} {
		b.Put(out[0], out[1], true)
		if b.On(out[0], out[1]) {
			t.Errorf("dot %v is outside and on", out)
		}
	}
	if s := b.Turned(); !s.On(b.Width-1-3, b.Height-1-9) || !slices.Equal(s.Turned().Pages, b.Pages) {
		t.Error("Turned twice is not the same")
	}
	if s := b.Shifted(1, -2); !s.On(4, 7) || s.On(3, 9) {
		t.Error("Shifted(1, -2) does not move the dot to 4, 7")
	}
	if s := b.Shifted(13, 0); slices.Max(s.Pages) != 0 {
		t.Error("a dot moved out is still there")
	}
	b.Put(3, 9, false)
	if slices.Max(b.Pages) != 0 {
		t.Errorf("cleared: pages %x", b.Pages)
	}
}

type closer struct {
	name string
	said *[]string
}

func (c closer) Close() error { *c.said = append(*c.said, c.name); return nil }

func TestHardwareClose(t *testing.T) {
	var none *board.Hardware
	if err := none.Close(); err != nil {
		t.Error(err)
	}
	if err := new(board.Hardware).Close(); err != nil {
		t.Error(err)
	}
	var said []string
	h := &board.Hardware{Closers: []io.Closer{closer{"bus", &said}, closer{"line", &said}}}
	if err := h.Close(); err != nil || !slices.Equal(said, []string{"line", "bus"}) {
		t.Errorf("closed %v, %v; want line, bus", said, err)
	}
}

package watch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestNewestWins(t *testing.T) {
	var w Value[string]
	if v, n := w.Get(); v != "" || n != 0 {
		t.Fatalf("zero Value: %q, %d", v, n)
	}
	w.Set("a")
	w.Set("b")
	v, n, err := w.Wait(t.Context(), 0)
	if v != "b" || n != 2 || err != nil {
		t.Fatalf("Wait = %q, %d, %v; want the newest at once", v, n, err)
	}
}

func TestWaitWakesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Value[int]
		got := make(chan int, 3)
		for range 3 {
			go func() {
				v, _, err := w.Wait(t.Context(), 0)
				if err != nil {
					t.Error(err)
				}
				got <- v
			}()
		}
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("Wait returned before Set")
		}
		w.Set(7)
		for range 3 {
			if v := <-got; v != 7 {
				t.Errorf("woken with %d", v)
			}
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Value[int]
		w.Set(1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, n, err := w.Wait(ctx, 1)
			if n != 1 {
				t.Errorf("version %d after cancel", n)
			}
			done <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatalf("Wait = %v", err)
		}
	})
}

package supervise

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// run starts g and returns what stops it and gives Run's error.
func run(t *testing.T, g *Group) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var starts []time.Time
		g.Add("sick", func(ctx context.Context) error {
			starts = append(starts, time.Now())
			return errors.New("still sick")
		})
		stop := run(t, &g)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		want := minPause
		for i := 1; i < len(starts); i++ {
			if d := starts[i].Sub(starts[i-1]); d < want/2 || d > want {
				t.Errorf("pause %d was %v, want %v to %v", i, d, want/2, want)
			}
			want = min(2*want, maxPause)
		}
		if n := len(starts); n < 15 || n > 40 {
			t.Errorf("%d starts in ten minutes", n)
		}
		if st := g.States()[0]; st.Restarts != len(starts)-1 || st.Running || st.Err == nil {
			t.Errorf("state %+v after %d starts", st, len(starts))
		}
	})
}

func TestSteadyServiceBeginsAgainWithShortPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var ended, begun []time.Time
		g.Add("daily", func(ctx context.Context) error {
			begun = append(begun, time.Now())
			if len(begun) > 10 { // the pause has grown by now
				Healthy(ctx)
				select {
				case <-time.After(steady):
				case <-ctx.Done():
				}
			}
			ended = append(ended, time.Now())
			return errors.New("gone")
		})
		stop := run(t, &g)
		time.Sleep(time.Hour)
		synctest.Wait()
		stop()
		if grown := begun[10].Sub(ended[9]); grown < 10*time.Second {
			t.Errorf("pause before the tenth restart was only %v", grown)
		}
		if d := begun[11].Sub(ended[10]); d > minPause {
			t.Errorf("pause after a steady minute was %v", d)
		}
	})
}

func TestPanicIsCountedAndRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		g.Add("wild", func(ctx context.Context) error {
			if g.States()[0].Panics < 2 {
				var p *int
				*p = 1
			}
			Healthy(ctx)
			<-ctx.Done()
			return ctx.Err()
		})
		calm := 0
		g.Add("calm", func(ctx context.Context) error { calm++; <-ctx.Done(); return nil })
		stop := run(t, &g)
		time.Sleep(time.Second)
		synctest.Wait()
		st := g.States()[0]
		if st.Panics != 2 || st.Restarts != 2 || !st.Healthy || !st.Running {
			t.Errorf("state %+v", st)
		}
		if st.Err == nil || !strings.Contains(st.Err.Error(), "nil pointer") || !strings.Contains(st.Err.Error(), "supervise_test.go") {
			t.Errorf("the error does not tell the panic and where it was: %v", st.Err)
		}
		if calm != 1 {
			t.Errorf("the other service was started %d times", calm)
		}
		stop()
	})
}

func TestFinishedServiceIsLeftInPeace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		n := 0
		g.Add("once", func(context.Context) error { n++; return nil })
		stop := run(t, &g)
		time.Sleep(time.Hour)
		synctest.Wait()
		stop()
		if n != 1 {
			t.Errorf("started %d times", n)
		}
	})
}

func TestStopsInReverseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var order []string
		for _, name := range []string{"disk", "smb", "quic"} {
			g.Add(name, func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second) // the next may not begin to stop meanwhile
				order = append(order, name)
				return nil
			})
		}
		stop := run(t, &g)
		synctest.Wait()
		start := time.Now()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if want := []string{"quic", "smb", "disk"}; !slices.Equal(order, want) {
			t.Errorf("stopped %v, want %v", order, want)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("took %v: not one after another", d)
		}
	})
}

func TestStubbornServiceIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		release := make(chan struct{})
		first := false
		g.Add("first", func(ctx context.Context) error { <-ctx.Done(); first = true; return nil })
		g.Add("deaf", func(context.Context) error { <-release; return nil })
		stop := run(t, &g)
		synctest.Wait()
		err := stop()
		if err == nil || err.Error() != "service deaf did not stop" {
			t.Errorf("Run = %v", err)
		}
		if !first {
			t.Error("a deaf service kept another from being stopped")
		}
		close(release)
	})
}

func TestHealthyElsewhere(t *testing.T) {
	Healthy(t.Context()) // no service: nothing happens
}

package quic_test

import (
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/quic"
)

// A stream is told of a deadline when it has come, and not of those that were moved before.
func TestDeadlineIsToldWhenItComes(t *testing.T) {
	type told struct {
		after time.Duration
		up    bool // time is up, or has been given again
	}
	const s = time.Second
	for _, test := range []struct {
		name string
		do   func(set func(time.Duration))
		want []told
	}{
		{"it comes", func(set func(time.Duration)) { set(3 * s) }, []told{{3 * s, true}}},
		{"it has come already", func(set func(time.Duration)) { set(-s) }, []told{{0, true}}},
		{"it is lifted", func(set func(time.Duration)) { set(3 * s); time.Sleep(s); set(0) }, nil},
		{"it moves away", func(set func(time.Duration)) {
			for range 10 {
				set(3 * s)
				time.Sleep(2 * s)
			}
		}, []told{{21 * s, true}}},
		{"it comes nearer", func(set func(time.Duration)) { set(60 * s); time.Sleep(s); set(s) }, []told{{2 * s, true}}},
		{"it comes nearer and moves away", func(set func(time.Duration)) { set(60 * s); set(s); set(30 * s) }, []told{{30 * s, true}}},
		{"lifted and set again", func(set func(time.Duration)) { set(10 * s); set(0); time.Sleep(s); set(5 * s) }, []told{{6 * s, true}}},
		{"after it came", func(set func(time.Duration)) { set(s); time.Sleep(2 * s); set(3 * s) }, []told{{s, true}, {2 * s, false}, {5 * s, true}}},
		{"lifted after it came", func(set func(time.Duration)) { set(s); time.Sleep(2 * s); set(0) }, []told{{s, true}, {2 * s, false}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var got []told
				set, end := quic.Deadline(func(at time.Time) error {
					got = append(got, told{time.Since(began), !at.IsZero()})
					return nil
				})
				test.do(func(d time.Duration) {
					at := time.Now().Add(d)
					if d == 0 {
						at = time.Time{}
					}
					if err := set(at); err != nil {
						t.Fatal(err)
					}
				})
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if !slices.Equal(got, test.want) {
					t.Errorf("told %v, want %v", got, test.want)
				}
				got = nil
				end()
				if err := set(time.Now().Add(time.Minute)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("after the end: %v", err)
				}
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if len(got) != 1 || !got[0].up {
					t.Errorf("at the end told %v", got)
				}
			})
		})
	}
}

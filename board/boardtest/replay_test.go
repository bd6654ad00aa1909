package boardtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// spy is a test that may fail.
type spy struct {
	testing.TB
	said string
	last func()
}

func (s *spy) Helper()                   {}
func (s *spy) Cleanup(f func())          { s.last = f }
func (s *spy) Failed() bool              { return s.said != "" }
func (s *spy) Errorf(f string, a ...any) { s.said += fmt.Sprintf(f, a...) + "\n" }
func (s *spy) Fatalf(f string, a ...any) { s.Errorf(f, a...); panic(s) }

// A transcript that is not followed to the byte and to its end fails the test.
func TestReplayFails(t *testing.T) {
	if *Update {
		t.Skip("with -update transcripts are written, not compared")
	}
	file := filepath.Join(t.TempDir(), "bus.txt")
	if err := os.WriteFile(file, []byte("# two steps\n-- one\n3c 00 ae # off\n! 3c 40 00*3 01\n-- two\n3c 07\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	off, data := []byte{0, 0xae}, []byte{0x40, 0, 0, 0, 1}
	for _, c := range []struct {
		name string
		play func(r *Replay)
		want string // in what the test says; empty: it passes
	}{
		{"as written", func(r *Replay) {
			r.Step("one", 2)
			if err := r.Tx(0x3c, off, nil); err != nil {
				t.Error(err)
			}
			if err := r.Tx(0x3c, data, nil); err != errBus {
				t.Errorf("the transfer that fails: %v", err)
			}
			r.Step("two", 0)
			r.Tx(0x3c, []byte{7}, nil)
		}, ""},
		{"a transfer is left over", func(r *Replay) { r.Step("one", 0); r.Tx(0x3c, off, nil); r.Step("two", 0) }, "expected playback to be empty"},
		{"a step is left over", func(r *Replay) { r.Step("one", 2); r.Tx(0x3c, off, nil); r.Tx(0x3c, data, nil) }, "steps left over: 1"},
		{"another byte", func(r *Replay) { r.Step("one", 0); r.Tx(0x3c, []byte{0, 0xaf}, nil) }, "unexpected write"},
		{"another address", func(r *Replay) { r.Step("one", 0); r.Tx(0x3d, off, nil) }, "unexpected addr"},
		{"one too many", func(r *Replay) {
			r.Step("one", 2)
			r.Tx(0x3c, off, nil)
			r.Tx(0x3c, data, nil)
			r.Tx(0x3c, off, nil)
		}, "unexpected Tx"},
		{"another transfer fails", func(r *Replay) { r.Step("one", 1); r.Tx(0x3c, off, nil) }, "it fails is false in the transcript"},
		{"another step", func(r *Replay) { r.Step("two", 0) }, "has no step"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &spy{TB: t}
			func() {
				defer func() {
					if e := recover(); e != nil && e != any(s) {
						panic(e)
					}
				}()
				r := NewReplay(s, file)
				c.play(r)
				s.last()
			}()
			if c.want == "" && s.said != "" || !strings.Contains(s.said, c.want) {
				t.Errorf("it says %q; want %q", s.said, c.want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	for _, text := range []string{"3c 00", "-- a\nxx 00", "-- a\n3c 0", "-- a\n3c 00*x"} {
		if _, err := parse(text); err == nil {
			t.Errorf("%q was taken for a transcript", text)
		}
	}
	for _, w := range [][]byte{{}, {1}, {0, 0, 0}, {0, 0, 0, 0}, {1, 2, 2, 2, 2, 2, 3}} {
		steps, err := parse("-- a\n3c " + format(w))
		if err != nil || string(steps[0].ops[0].W) != string(w) {
			t.Errorf("%x became %v, %v", w, steps, err)
		}
	}
}

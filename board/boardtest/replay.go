package boardtest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"
)

// Update is the flag -update of tests: what is compared with testdata is written there instead.
var Update = flag.Bool("update", false, "write testdata anew from what the code does; read the difference")

// A Replay is a bus on which a transcript is played back, step by step: what a driver sends must be what is written
// there, no byte more, and at a step's end nothing may be left. It is an I2C bus, and by SPI and Serial the others.
//
// A transcript has a line "-- name" for each step, and below it a line for each transfer: the address (on SPI 0 for
// commands and 1 for data, on a serial line 0) and the bytes in hex, "00*128" for many of the same. A transfer that
// begins with "!" fails. "#" begins a comment.
type Replay struct {
	t     testing.TB
	file  string
	steps []step
	at    int // the step that plays, -1 before the first
	play  *i2ctest.Playback
	fail  int // transfers until one fails; 0: none does
	log   bytes.Buffer
}

type step struct {
	name  string
	ops   []i2ctest.IO
	fails []bool // by op
}

// errBus is what a transfer that fails returns.
var errBus = errors.New("boardtest: no answer on the bus")

// NewReplay reads a transcript. With -update it records one instead.
func NewReplay(t testing.TB, file string) *Replay {
	t.Helper()
	r := &Replay{t: t, file: file, at: -1}
	if !*Update {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if r.steps, err = parse(string(text)); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	t.Cleanup(r.end)
	return r
}

// Step begins a step, which must be the transcript's next. If fail is positive, so many transfers of it are the last
// to arrive: that one fails.
func (r *Replay) Step(name string, fail int) {
	r.t.Helper()
	r.leftovers()
	r.at++
	r.fail = fail
	if *Update {
		fmt.Fprintf(&r.log, "-- %s\n", name)
		return
	}
	if r.at >= len(r.steps) || r.steps[r.at].name != name {
		r.t.Fatalf("%s has no step %q at place %d", r.file, name, r.at)
	}
	r.play = &i2ctest.Playback{Ops: r.steps[r.at].ops, DontPanic: true}
}

func (r *Replay) leftovers() {
	r.t.Helper()
	if r.play != nil {
		if err := r.play.Close(); err != nil {
			r.t.Errorf("%s, step %q: %v", r.file, r.steps[r.at].name, err)
		}
	}
}

func (r *Replay) end() {
	if *Update {
		if err := os.WriteFile(r.file, r.log.Bytes(), 0o666); err != nil {
			r.t.Error(err)
		}
		return
	}
	r.leftovers()
	if r.at != len(r.steps)-1 && !r.t.Failed() {
		r.t.Errorf("%s: steps left over: %d", r.file, len(r.steps)-1-r.at)
	}
}

// Tx implements i2c.Bus.
func (r *Replay) Tx(addr uint16, w, read []byte) error {
	r.t.Helper()
	fails := r.fail == 1
	if r.fail > 0 {
		r.fail--
	}
	if *Update {
		mark := ""
		if fails {
			mark = "! "
		}
		fmt.Fprintf(&r.log, "%s%x %s\n", mark, addr, format(w))
	} else {
		if r.play == nil {
			r.t.Fatal("a transfer before the first step")
		}
		if err := r.play.Tx(addr, w, read); err != nil {
			r.t.Errorf("%s, step %q: %v", r.file, r.steps[r.at].name, err)
			return err
		}
		if n := r.play.Count - 1; r.steps[r.at].fails[n] != fails {
			r.t.Errorf("%s, step %q, transfer %d: it fails is %v in the transcript and %v in the test",
				r.file, r.steps[r.at].name, n+1, !fails, fails)
		}
	}
	if fails {
		return errBus
	}
	return nil
}

// String and SetSpeed complete i2c.Bus.
func (r *Replay) String() string                  { return "replay of " + r.file }
func (r *Replay) SetSpeed(physic.Frequency) error { return nil }

// Write makes r the writing half of a serial line.
func (r *Replay) Write(b []byte) (int, error) {
	if err := r.Tx(0, b, nil); err != nil {
		return 0, err
	}
	return len(b), nil
}

// SPI returns r as an SPI port, and the pin beside it that tells commands from data.
func (r *Replay) SPI() (conn.Conn, *Pin) {
	pin := new(Pin)
	return &spiConn{r, pin}, pin
}

type spiConn struct {
	*Replay
	dc *Pin
}

func (c *spiConn) Tx(w, read []byte) error {
	addr := uint16(0)
	if c.dc.level {
		addr = 1
	}
	return c.Replay.Tx(addr, w, read)
}

func (c *spiConn) Duplex() conn.Duplex { return conn.Half }

// A Pin is a GPIO line that is driven.
type Pin struct{ level gpio.Level }

// Out implements the part of gpio.PinOut that drivers need.
func (p *Pin) Out(l gpio.Level) error {
	p.level = l
	return nil
}

func parse(text string) (steps []step, err error) {
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if name, is := strings.CutPrefix(line, "-- "); is {
			steps = append(steps, step{name: name})
			continue
		}
		line, fails := strings.CutPrefix(line, "!")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(steps) == 0 {
			return nil, fmt.Errorf("line %d: a transfer before the first step", n+1)
		}
		addr, err := strconv.ParseUint(f[0], 16, 16)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		var w []byte
		for _, s := range f[1:] {
			s, times, many := strings.Cut(s, "*")
			count := 1
			if many {
				if count, err = strconv.Atoi(times); err != nil {
					return nil, fmt.Errorf("line %d: %w", n+1, err)
				}
			}
			b, err := hex.DecodeString(s)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n+1, err)
			}
			w = append(w, bytes.Repeat(b, count)...)
		}
		last := &steps[len(steps)-1]
		last.ops = append(last.ops, i2ctest.IO{Addr: uint16(addr), W: w})
		last.fails = append(last.fails, fails)
	}
	return steps, nil
}

// format writes bytes as parse reads them.
func format(w []byte) string {
	var s []string
	for i := 0; i < len(w); {
		n := 1
		for i+n < len(w) && w[i+n] == w[i] {
			n++
		}
		if n >= 4 {
			s = append(s, fmt.Sprintf("%02x*%d", w[i], n))
		} else {
			for range n {
				s = append(s, fmt.Sprintf("%02x", w[i]))
			}
		}
		i += n
	}
	return strings.Join(s, " ")
}

// Good fails the test if a driver reports an error.
func (r *Replay) Good(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Error(err)
	}
}

// Bad fails the test if a driver reports none, where its bus failed.
func (r *Replay) Bad(err error) {
	r.t.Helper()
	if err == nil {
		r.t.Error("that failed, and the driver says nothing")
	}
}

package heat

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/board/chip/hwmon"
)

// A box is a tree as the kernel's, with a keeper that looks after it in a bubble of time.
type box struct {
	t    *testing.T
	dir  string
	k    *Keeper
	log  bytes.Buffer
	stop context.CancelFunc
	done chan struct{}
}

// in runs f with a box of a processor, a case, two disks and a fan.
func in(t *testing.T, f func(b *box)) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{t: t, dir: t.TempDir(), done: make(chan struct{})}
		for file, text := range map[string]string{
			"hwmon0/name": "cpu_thermal", "hwmon0/temp1_input": "40000",
			"hwmon1/name": "lm75", "hwmon1/temp1_input": "30000",
			"hwmon2/name": "drivetemp", "hwmon2/temp1_input": "33000",
			"hwmon3/name": "drivetemp", "hwmon3/temp1_input": "34000",
			"hwmon4/name": "pwmfan", "hwmon4/pwm1": "77", "hwmon4/pwm1_enable": "2",
			"hwmon5/name": "wifi", // its sensor cannot be read, ever
		} {
			b.write(file, text)
		}
		if err := os.Mkdir(filepath.Join(b.dir, "hwmon5/temp1_input"), 0o700); err != nil {
			t.Fatal(err)
		}
		b.k = &Keeper{
			Air: func() ([]board.Fan, []board.Sensor) { return hwmon.Find(b.dir) },
			Log: slog.New(slog.NewTextHandler(&b.log, nil)),
		}
		ctx, stop := context.WithCancel(t.Context())
		b.stop = stop
		go func() {
			defer close(b.done)
			if err := b.k.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		f(b)
		stop()
		<-b.done
	})
}

func (b *box) write(file, text string) {
	b.t.Helper()
	path := filepath.Join(b.dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) lose(monitor string) {
	b.t.Helper()
	if err := os.RemoveAll(filepath.Join(b.dir, monitor)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// fan checks how much of its power the fan gets.
func (b *box) fan(percent int) {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "hwmon4/pwm1"))
	if want := strconv.Itoa((percent*255 + 50) / 100); err != nil || strings.TrimSpace(string(text)) != want {
		b.t.Errorf("the fan gets %q of 255, %v; want %s (%d%%)", text, err, want, percent)
	}
}

func (b *box) state() State {
	s, _ := b.k.State.Get()
	return s
}

// The fan follows what is warmest for its kind: up at once, down only when it has cooled down by more than it takes to go
// up again. In the end it runs at full speed.
func TestCurve(t *testing.T) {
	in(t, func(b *box) {
		b.fan(30)
		if text, err := os.ReadFile(filepath.Join(b.dir, "hwmon4/pwm1_enable")); err != nil || string(text) != "1" {
			b.t.Errorf("the fan is not taken from who has it: %q, %v", text, err)
		}
		for _, c := range []struct {
			file, milli string
			percent     int
		}{
			{"hwmon0/temp1_input", "60000", 60}, // 30 + 70*10/30, in tens
			{"hwmon0/temp1_input", "54500", 50}, // 57.5 would take 50: three degrees less than where it began
			{"hwmon0/temp1_input", "53000", 50}, // not yet at 47
			{"hwmon0/temp1_input", "46900", 30},
			{"hwmon1/temp1_input", "45000", 70}, // the case is warm long before a processor is
			{"hwmon0/temp1_input", "50000", 70}, // the cooler of the two says nothing
			{"hwmon0/temp1_input", "95000", 100},
			{"hwmon0/temp1_input", "20000", 80}, // 45 and 3 degrees of the case
			{"hwmon1/temp1_input", "20000", 30},
		} {
			b.write(c.file, c.milli)
			b.wait(tick)
			b.t.Logf("%s %s", c.file, c.milli)
			b.fan(c.percent)
		}
		// Disks are read once a minute.
		b.write("hwmon3/temp1_input", "50000")
		b.wait(scan)
		b.fan(100)
		b.write("hwmon4/pwm1", "10") // somebody else sets it
		b.wait(tick)
		b.fan(100)
		b.lose("hwmon3") // pulled out, which is no failure
		b.wait(scan)
		b.fan(30)
		if s := b.state(); s != (State{}) || b.log.Len() > 0 {
			b.t.Errorf("%+v, and in the log: %s", s, b.log.String())
		}
		b.stop()
		<-b.done
		b.fan(100)
	})
}

// What swings by less than the hysteresis changes the fan once.
func TestCurveIsCalm(t *testing.T) {
	in(t, func(b *box) {
		b.write("hwmon0/temp1_input", "59000")
		b.wait(tick)
		b.fan(60)
		for range 20 {
			for _, milli := range []string{"57000", "58200"} {
				b.write("hwmon0/temp1_input", milli)
				b.wait(tick)
				b.fan(60)
			}
		}
	})
}

// Disks' sensors are left alone between two looks for them, so that they can rest.
func TestDisksRest(t *testing.T) {
	in(t, func(b *box) {
		b.write("hwmon2/temp1_input", "50000")
		b.wait(scan - tick)
		b.fan(30)
		b.wait(tick)
		b.fan(100)
	})
}

// A sensor that fails, or is gone, has the fans run at full speed at once; its owner hears of it when it stays so.
func TestSensorFails(t *testing.T) {
	for name, fail := range map[string]func(b *box){
		"not a number": func(b *box) { b.write("hwmon0/temp1_input", "hot") },
		"gone":         func(b *box) { b.lose("hwmon0") },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(b *box) {
				fail(b)
				b.wait(tick)
				b.fan(100)
				if s := b.state(); s != (State{}) {
					b.t.Errorf("told at once: %+v", s)
				}
				b.wait(told * tick)
				if s := b.state(); s.Blind != "cpu_thermal 1" {
					b.t.Errorf("%+v", s)
				}
				b.wait(10 * scan)
				b.fan(100)
				if n := strings.Count(b.log.String(), "cannot be read"); n != 1 {
					b.t.Errorf("%d lines in the log: %s", n, b.log.String())
				}
				b.write("hwmon0/name", "cpu_thermal")
				b.write("hwmon0/temp1_input", "40000")
				b.wait(scan)
				b.fan(30)
				if s := b.state(); s != (State{}) {
					b.t.Errorf("it is back: %+v", s)
				}
			})
		})
	}
}

// Too hot begins at a limit of the kind and ends some degrees below it.
func TestHot(t *testing.T) {
	in(t, func(b *box) {
		for _, c := range []struct {
			milli string
			want  State
		}{
			{"84900", State{}},
			{"85000", State{Hot: "cpu_thermal 1", Celsius: 85}},
			{"80100", State{Hot: "cpu_thermal 1", Celsius: 80.1}},
			{"79900", State{}},
			{"84900", State{}},
			{"90000", State{Hot: "cpu_thermal 1", Celsius: 90}},
			{"hot", State{Hot: "cpu_thermal 1", Celsius: 90}}, // nobody knows that it has cooled down
			{"30000", State{}},
		} {
			b.write("hwmon0/temp1_input", c.milli)
			b.wait(tick)
			if s := b.state(); s != c.want {
				b.t.Errorf("%s: %+v", c.milli, s)
			}
		}
		b.write("hwmon1/temp1_input", "60000")
		b.write("hwmon2/temp1_input", "70000") // what is too warm for a disk is told with its health
		b.wait(scan)
		if s := b.state(); s.Hot != "lm75 1" || s.Celsius != 60 {
			b.t.Errorf("the case: %+v", s)
		}
	})
}

// Without a sensor the fans are left to who has them, also in the end.
func TestNothingMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &box{t: t, dir: t.TempDir()}
		b.write("hwmon4/name", "pwmfan")
		b.write("hwmon4/pwm1", "77")
		k := &Keeper{Air: func() ([]board.Fan, []board.Sensor) { return hwmon.Find(b.dir) }, Log: slog.New(slog.DiscardHandler)}
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
		b.fan(30) // 77 of 255
	})
}

// A fan that cannot be set is told of once, and the others turn.
func TestFanFails(t *testing.T) {
	in(t, func(b *box) {
		b.write("hwmon6/name", "pwmfan")
		b.write("hwmon6/pwm1/here", "a folder") // sorts behind the other one
		b.write("hwmon0/temp1_input", "80000")
		b.wait(10 * scan)
		b.fan(100)
		if n := strings.Count(b.log.String(), "a fan cannot be set"); n != 1 {
			b.t.Errorf("%d lines in the log: %s", n, b.log.String())
		}
	})
}

func TestKinds(t *testing.T) {
	for name, want := range map[string]kind{
		"cpu_thermal 1": processor, "bigcore0_thermal 1": processor, "soc_thermal 1": processor, "coretemp Package id 0": processor,
		"drivetemp 1": disk, "nvme Composite": nvme, "lm75 1": inside, "nct7802 Case": inside, "r8169_0_100:00 1": other, "": other,
	} {
		if got := kindOf(name); got != want {
			t.Errorf("%q: %+v", name, got)
		}
	}
	for _, k := range []kind{disk, nvme, inside, processor, other} {
		last := 0
		for c := -50.0; c <= 150; c += 0.1 {
			p := k.percent(c)
			if p < last || p < slowest || p > 100 || p%step != 0 {
				t.Fatalf("%+v at %.1f: %d%% after %d%%", k, c, p, last)
			}
			last = p
		}
		if k.percent(k.quiet) != slowest || k.percent(k.full) != 100 {
			t.Errorf("%+v: %d%% and %d%% at its ends", k, k.percent(k.quiet), k.percent(k.full))
		}
	}
}

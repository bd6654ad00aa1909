package clock

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A computer is one whose clock a test moves. It runs with the test's.
type computer struct {
	offset time.Duration
	rtc    time.Time // zero: none
	slewed time.Duration
	steps  []time.Time
}

func (c *computer) machine() machine {
	return machine{
		now: func() time.Time { return time.Now().Add(c.offset) },
		step: func(t time.Time) error {
			c.offset = time.Until(t)
			c.steps = append(c.steps, t)
			return nil
		},
		slew: func(d time.Duration) error { c.offset += d; c.slewed += d; return nil },
		rtc: func() (time.Time, error) {
			if c.rtc.IsZero() {
				return c.rtc, os.ErrNotExist
			}
			return c.rtc, nil
		},
		setRTC: func(t time.Time) error { c.rtc = t; return nil },
	}
}

// true1 is the time in these tests.
var true1 = Built.Add(100 * 24 * time.Hour)

func quiet(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// at makes the computer's clock say t.
func at(t time.Time) *computer { return &computer{offset: time.Until(t)} }

func TestOpen(t *testing.T) {
	y1970 := time.Unix(100, 0)
	for name, c := range map[string]struct {
		system, rtc time.Time
		file        string
		want        time.Time
		trust       Trust
		problem     string
	}{
		"battery":             {y1970, true1, "", true1, Battery, ""},
		"the kernel took it":  {true1, true1, "", true1, Battery, ""},
		"nothing":             {y1970, time.Time{}, "", Built, Guessed, "no battery clock"},
		"seen before":         {y1970, time.Time{}, "2027-03-01T00:00:00Z\n", time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC), Guessed, "no battery clock"},
		"empty battery":       {y1970, y1970, "", Built, Guessed, "empty"},
		"behind the last":     {true1, true1, "2027-03-01T00:00:00Z", time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC), Guessed, "empty"},
		"far in the future":   {y1970, Built.Add(ahead + time.Hour), "", Built, Guessed, "battery clock says 20"},
		"damaged file":        {y1970, true1, "yesterday", true1, Battery, ""},
		"a file of year 9999": {y1970, time.Time{}, "9999-01-01T00:00:00Z", Built, Guessed, "no battery clock"},
		"set by another":      {true1, time.Time{}, "", true1, Guessed, "no battery clock"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.file != "" {
				if err := os.WriteFile(filepath.Join(dir, fileName), []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			m := at(c.system)
			m.rtc = c.rtc
			clock := open(Config{Dir: dir}, quiet(t), m.machine())
			s, _ := clock.State.Get()
			if got := m.machine().now(); got.Sub(c.want).Abs() > time.Minute || s.Trust != c.trust || !strings.Contains(s.Problem, c.problem) {
				t.Errorf("%v, %+v", got, s)
			}
			if (c.problem == "") != (s.Problem == "") {
				t.Errorf("%q", s.Problem)
			}
			clock.Save()
			if again, err := clock.saved(); err != nil || again.Sub(c.want).Abs() > time.Minute {
				t.Errorf("kept %v (%v)", again, err)
			}
		})
	}
}

// TestSavedCut: the file at every length never gives a time before Built, nor stops anything.
func TestSavedCut(t *testing.T) {
	whole := "2027-03-01T00:00:00Z\n"
	for n := range len(whole) + 1 {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), []byte(whole[:n]), 0o600); err != nil {
			t.Fatal(err)
		}
		m := at(time.Unix(0, 0))
		open(Config{Dir: dir}, slog.New(slog.DiscardHandler), m.machine())
		if m.machine().now().Before(Built) {
			t.Errorf("%q: %v", whole[:n], m.machine().now())
		}
	}
}

// truth makes a query that knows the true time.
func truth(m *computer, began, truly time.Time, distance time.Duration) func(context.Context, string) (sample, error) {
	return func(context.Context, string) (sample, error) {
		right := truly.Add(time.Since(began))
		return sample{offset: right.Sub(m.machine().now()), distance: distance}, nil
	}
}

// TestRun: a box without a battery clock finds the time, and keeps it through small and large errors; its file and battery
// clock follow.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		m := at(time.Unix(0, 0))
		c := open(Config{Dir: dir, Servers: []string{"a", "b", "c"}}, quiet(t), m.machine())
		down := true
		answer := truth(m, time.Now(), true1, time.Millisecond)
		c.query = func(ctx context.Context, s string) (sample, error) {
			if down {
				return sample{}, errors.New("no route")
			}
			return answer(ctx, s)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		time.Sleep(time.Minute)
		if s, _ := c.State.Get(); s.Trust != Guessed || s.Problem == "" || len(s.Servers) != 3 || s.Servers[0].Error == "" {
			t.Errorf("%+v", s)
		}
		down = false
		<-c.Settled()
		if s, _ := c.State.Get(); s.Trust != Network || s.Problem != "" || s.Steps != 1 {
			t.Errorf("%+v", s)
		}
		off := func() time.Duration { s, _ := answer(ctx, ""); return s.offset }
		if off().Abs() > time.Second {
			t.Error(off())
		}
		m.offset += 300 * time.Millisecond // drift
		time.Sleep(pollMost * 2)
		if s, _ := c.State.Get(); s.Steps != 1 || off() != 0 || m.slewed != -300*time.Millisecond {
			t.Errorf("%+v, off by %v", s, off())
		}
		m.offset -= 10 * time.Second
		time.Sleep(pollMost * 2)
		if s, _ := c.State.Get(); s.Steps != 2 || off() != 0 {
			t.Errorf("%+v, off by %v", s, off())
		}
		if m.rtc.Sub(true1) > 3*time.Hour || m.rtc.Before(true1) {
			t.Errorf("battery clock %v", m.rtc)
		}
		down = true
		time.Sleep(24 * time.Hour)
		if s, _ := c.State.Get(); s.Trust != Network || s.Servers[0].Error == "" {
			t.Errorf("%+v", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if saved, err := c.saved(); err != nil || saved.Before(true1.Add(24*time.Hour)) {
			t.Errorf("%v (%v)", saved, err)
		}
	})
}

// TestFar: a clock that was right does not follow two servers into another year, nor three at once; and nobody leads it to
// before the program was built.
func TestFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := at(true1)
		m.rtc = true1
		c := open(Config{Servers: []string{"a", "b"}}, quiet(t), m.machine())
		c.query = truth(m, time.Now(), true1.Add(365*24*time.Hour), time.Millisecond)
		for range 5 {
			if c.round(t.Context()) {
				t.Fatal("two servers were believed")
			}
		}
		c.cfg.Servers = []string{"a", "b", "c"}
		if c.round(t.Context()) {
			t.Error("three were believed at once")
		}
		if s, _ := c.State.Get(); !strings.Contains(s.Problem, "off by 8760h") {
			t.Errorf("%+v", s)
		}
		if !c.round(t.Context()) || len(m.steps) != 1 {
			t.Errorf("three were not believed the second time: %v", m.steps)
		}
		c.query = truth(m, time.Now(), Built.Add(-time.Hour), time.Millisecond)
		for range 5 {
			if c.round(t.Context()) {
				t.Fatal("before Built")
			}
		}
	})
}

func TestFound(t *testing.T) {
	m := at(true1)
	c := open(Config{Servers: []string{"a", "192.0.2.1", "b"}}, quiet(t), m.machine())
	c.Found([]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")})
	if got := strings.Join(c.servers(), " "); got != "192.0.2.1 192.0.2.2 a b" {
		t.Error(got)
	}
	for range 100 {
		c.cfg.Servers = append(c.cfg.Servers, time.Now().String())
	}
	if n := len(c.servers()); n != maxServers {
		t.Error(n)
	}
}

func TestAgree(t *testing.T) {
	ms := func(offset, distance int) sample {
		return sample{time.Duration(offset) * time.Millisecond, time.Duration(distance) * time.Millisecond}
	}
	for name, c := range map[string]struct {
		in    []sample
		want  sample
		votes int
	}{
		"none":            {nil, sample{}, 0},
		"one":             {[]sample{ms(5000, 10)}, ms(5000, 10), 1},
		"a liar":          {[]sample{ms(10, 30), ms(90_000, 5), ms(20, 10)}, ms(20, 10), 2},
		"two liars":       {[]sample{ms(10, 30), ms(90_000, 5), ms(-90_000, 5)}, sample{}, 0},
		"one against one": {[]sample{ms(0, 5), ms(90_000, 5)}, sample{}, 0},
		"all":             {[]sample{ms(1, 50), ms(2, 40), ms(3, 30)}, ms(3, 30), 3},
	} {
		if got, votes := agree(c.in); got != c.want || votes != c.votes {
			t.Errorf("%s: %v of %d", name, got, votes)
		}
	}
}

// ntpServer answers real packets (RFC 5905 7.3) on loopback, with a clock that is ahead.
func ntpServer(t *testing.T, ahead time.Duration, spoil func([]byte)) string {
	t.Helper()
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	stamp := func(b []byte, at time.Time) {
		at = at.Add(ahead)
		binary.BigEndian.PutUint32(b, uint32(at.Unix()+2208988800)) // seconds from 1900 to 1970
		binary.BigEndian.PutUint32(b[4:], uint32(uint64(at.Nanosecond())<<32/1e9))
	}
	go func() {
		for b := make([]byte, 512); ; {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			if n < 48 {
				continue
			}
			r := make([]byte, 48)
			r[0], r[1], r[2], r[3] = 0<<6|b[0]&0x38|4, 2, 6, 0xEC // server, stratum 2, 2^-20 s
			stamp(r[16:], time.Now().Add(-time.Minute))
			copy(r[24:32], b[40:48])
			stamp(r[32:], time.Now())
			stamp(r[40:], time.Now())
			spoil(r)
			_, _ = u.WriteTo(r, from)
		}
	}()
	return u.LocalAddr().String()
}

func TestAsk(t *testing.T) {
	for name, c := range map[string]struct {
		ahead time.Duration
		spoil func([]byte)
		ok    bool
	}{
		"right":              {0, func([]byte) {}, true},
		"an hour ahead":      {time.Hour, func([]byte) {}, true},
		"a year behind":      {-365 * 24 * time.Hour, func([]byte) {}, true},
		"not synchronized":   {0, func(r []byte) { r[0] |= 3 << 6 }, false},
		"kiss of death":      {0, func(r []byte) { r[1] = 0; copy(r[12:], "RATE") }, false},
		"stratum 16":         {0, func(r []byte) { r[1] = 16 }, false},
		"another's answer":   {0, func(r []byte) { r[30] ^= 1 }, false},
		"no time":            {0, func(r []byte) { clear(r[40:]) }, false},
		"a distance of days": {0, func(r []byte) { r[8] = 200 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ask(t.Context(), ntpServer(t, c.ahead, c.spoil))
			if (err == nil) != c.ok {
				t.Fatalf("%+v (%v)", s, err)
			}
			if err == nil && (s.offset-c.ahead).Abs() > time.Second {
				t.Errorf("%+v", s)
			}
		})
	}
	if s, err := ask(t.Context(), "127.0.0.1:9"); err == nil {
		t.Errorf("%+v of nobody", s)
	}
}

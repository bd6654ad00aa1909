// Package heat looks after a box's temperature: its fans follow whatever is warmest for its kind, and what is too hot, or
// cannot be measured any more, is told.
package heat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/postern-nas/postern/board"
	"github.com/postern-nas/postern/firmware/supervise"
	"github.com/postern-nas/postern/firmware/watch"
)

const (
	tick = 10 * time.Second // between two looks: fans need not follow every moment's work
	scan = time.Minute      // between two looks for fans and sensors: disks bring and take theirs, and drivers come late

	sink   = 3 // degrees that all must have cooled down by before the fans turn slower
	relief = 5 // degrees below its limit until what was too hot is so no more

	told = 3 // looks that a sensor has to fail before its owner hears of it; the fans do not wait
)

// A State is what is told.
type State struct {
	Hot     string  // the part that is too hot; "": none is
	Celsius float64 // its temperature
	Blind   string  // the sensor that cannot be read any more; "": all can
}

// A Keeper does it. Its fields are set before Run.
type Keeper struct {
	Air   func() ([]board.Fan, []board.Sensor) // what there is now
	Log   *slog.Logger
	State watch.Value[State]

	fans    []*fan
	parts   []*part
	scanned time.Time
	percent int // of the fans' power; 0: not set yet
}

type fan struct {
	board.Fan
	failed bool // and that is in the log
}

// A part is a sensor with what was read of it.
type part struct {
	board.Sensor
	key     string // its name, numbered: disks' are all called the same
	kind    kind
	celsius float64
	read    bool // it ever was; one that never was is none
	fails   int  // looks in a row
	hot     bool
}

// Run looks, again and again. When it ends the fans run at full speed, for nobody looks any more.
func (k *Keeper) Run(ctx context.Context) error {
	supervise.Healthy(ctx)
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		k.look(time.Now())
		select {
		case <-t.C:
		case <-ctx.Done():
			if k.percent > 0 {
				k.set(100)
			}
			return nil
		}
	}
}

// look measures, sets the fans, and tells what has changed.
func (k *Keeper) look(now time.Time) {
	fresh := k.scanned.IsZero() || now.Sub(k.scanned) >= scan
	if fresh {
		k.find(now)
	}
	k.measure(fresh)
	if want, known := k.wanted(); known {
		k.set(want)
	}
	var s State
	for _, p := range k.parts {
		if p.hot && p.celsius > s.Celsius {
			s.Hot, s.Celsius = p.Name(), p.celsius
		}
		if p.fails >= told {
			s.Blind = p.Name()
		}
	}
	if old, version := k.State.Get(); version == 0 || old != s {
		k.State.Set(s)
	}
}

// find makes the list anew. What is known of a sensor stays with its name; a disk's may go, any other that has gone is one
// that fails.
func (k *Keeper) find(now time.Time) {
	fans, sensors := k.Air()
	k.scanned = now
	oldFans, old := k.fans, k.parts
	k.fans, k.parts = nil, nil
	for i, f := range fans {
		failed := i < len(oldFans) && oldFans[i].Name() == f.Name() && oldFans[i].failed
		k.fans = append(k.fans, &fan{f, failed})
	}
	count := make(map[string]int)
	known := make(map[string]*part)
	for _, p := range old {
		known[p.key] = p
	}
	for _, s := range sensors {
		count[s.Name()]++
		key := fmt.Sprint(s.Name(), " ", count[s.Name()])
		p := &part{Sensor: s, key: key, kind: kindOf(s.Name())}
		if was := known[key]; was != nil {
			*p = *was
			p.Sensor = s
			delete(known, key)
		}
		k.parts = append(k.parts, p)
	}
	for _, p := range old {
		if known[p.key] != nil && p.read && !p.kind.disk {
			k.parts = append(k.parts, p)
		}
	}
}

// measure reads the sensors: those of disks only when the list is new, because some disks count it as use and never rest.
func (k *Keeper) measure(disks bool) {
	for _, p := range k.parts {
		if p.kind.disk && !disks {
			continue
		}
		c, err := p.Celsius()
		if err == nil {
			p.read, p.fails, p.celsius = true, 0, c
			limit := p.kind.hot
			if p.hot {
				limit -= relief
			}
			p.hot = p.kind.hot > 0 && c >= limit
			continue
		}
		if !p.read || p.kind.disk && errors.Is(err, fs.ErrNotExist) { // just pulled out
			continue
		}
		if p.fails++; p.fails == 1 {
			k.Log.Warn("a temperature cannot be read; the fans run at full speed", "sensor", p.Name(), "err", err)
		}
	}
}

// wanted is how fast the fans are to turn. Faster is at once, slower only when all have cooled down a little.
func (k *Keeper) wanted() (percent int, known bool) {
	want, relaxed := 0, 0
	for _, p := range k.parts {
		switch {
		case p.fails > 0:
			return 100, true
		case p.read:
			want, relaxed = max(want, p.kind.percent(p.celsius)), max(relaxed, p.kind.percent(p.celsius+sink))
		}
	}
	switch {
	case want > k.percent:
		return want, true
	case want > 0:
		return min(relaxed, k.percent), true
	}
	return 0, false // nothing is measured: the fans are left to who has them
}

// set tells the fans. It tells them what they were told before, too: something else may have set them meanwhile.
func (k *Keeper) set(percent int) {
	if percent != k.percent {
		k.Log.Debug("fans", "percent", percent)
	}
	k.percent = percent
	for _, f := range k.fans {
		err := f.Set(percent)
		if err != nil && !f.failed {
			k.Log.Warn("a fan cannot be set", "fan", f.Name(), "err", err)
		}
		f.failed = err != nil
	}
}

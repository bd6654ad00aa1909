package heat

import (
	"math"
	"strings"
)

// A kind of sensor, by what it is in: temperatures are in degrees Celsius.
type kind struct {
	disk  bool    // it comes and goes
	quiet float64 // up to here the fans turn as slowly as they may
	full  float64 // from here on as fast as they can
	hot   float64 // from here on its owner is told; 0: never by this package
}

// The kinds. Disks' limits are those under which they last; what is too warm for one is told with its health. Processors
// slow themselves down at 85 or soon after, and switch the box off above 100.
var (
	disk      = kind{disk: true, quiet: 38, full: 50}
	nvme      = kind{disk: true, quiet: 50, full: 70}
	inside    = kind{quiet: 35, full: 55, hot: 60}
	processor = kind{quiet: 50, full: 80, hot: 85}
	other     = kind{quiet: 60, full: 95}
)

// kindOf tells by the name that the kernel's driver has, and by the sensor's label. The thermal zones of a device tree are
// called after what they are in ("cpu_thermal", "soc_thermal", "bigcore0_thermal").
func kindOf(name string) kind {
	name = strings.ToLower(name)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(name, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("drivetemp"):
		return disk
	case has("nvme"):
		return nvme
	case has("lm75", "case", "ambient", "board"):
		return inside
	case has("thermal", "cpu", "soc", "coretemp", "k10temp"):
		return processor
	}
	return other
}

const (
	slowest = 30 // percent: many fans stand still below
	step    = 10
)

// percent is how much of their power the fans get at a temperature: in steps, so that they do not change all the time.
func (k kind) percent(celsius float64) int {
	if celsius <= k.quiet {
		return slowest
	}
	p := slowest + (100-slowest)*(celsius-k.quiet)/(k.full-k.quiet)
	return min(100, int(math.Ceil(p/step))*step)
}

package clock

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// rtcDevice is the battery clock. It runs in UTC.
const rtcDevice = "/dev/rtc0"

// linux is this computer.
var linux = machine{
	now: time.Now,
	step: func(t time.Time) error {
		ts, err := unix.TimeToTimespec(t)
		if err != nil {
			return err
		}
		return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
	},
	slew: func(d time.Duration) error {
		const singleShot = 0x8001 // ADJ_OFFSET_SINGLESHOT of linux/timex.h, in microseconds: as adjtime(3)
		_, err := unix.Adjtimex(&unix.Timex{Modes: singleShot, Offset: d.Microseconds()})
		return err
	},
	rtc: func() (t time.Time, err error) {
		f, err := os.Open(rtcDevice)
		if err != nil {
			return t, err
		}
		defer f.Close()
		r, err := unix.IoctlGetRTCTime(int(f.Fd()))
		if err != nil {
			return t, err
		}
		return time.Date(int(r.Year)+1900, time.Month(r.Mon+1), int(r.Mday), int(r.Hour), int(r.Min), int(r.Sec), 0, time.UTC), nil
	},
	setRTC: func(t time.Time) error {
		f, err := os.OpenFile(rtcDevice, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		t = t.UTC()
		return unix.IoctlSetRTCTime(int(f.Fd()), &unix.RTCTime{
			Year: int32(t.Year() - 1900), Mon: int32(t.Month() - 1), Mday: int32(t.Day()),
			Hour: int32(t.Hour()), Min: int32(t.Minute()), Sec: int32(t.Second()),
		})
	},
}

// Package steps measures how long a box takes from the moment that the kernel runs its first process until it listens, on
// the kernel's clock, which no time server moves.
package steps

import (
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Steps are the named parts of one start and when each was done. The log has them in one line as soon as the box listens,
// so that a start that has become slow says where.
type Steps struct {
	begin time.Duration

	mu   sync.Mutex
	done []any // names and milliseconds, as slog takes them
	over chan struct{}
}

// New begins to count at a moment of the kernel's clock.
func New(begin time.Duration) *Steps { return &Steps{begin: begin, over: make(chan struct{})} }

// Done notes that a part is over. Nil Steps, those of a laptop, note nothing.
func (s *Steps) Done(name string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, name, (Uptime() - s.begin).Milliseconds())
}

// Listening says that the start is over, and logs its parts. It may be said again: a box serves anew without starting.
func (s *Steps) Listening(log *slog.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.over:
		return
	default:
		close(s.over)
	}
	log.Info("init to listening", "ms", (Uptime() - s.begin).Milliseconds(), slog.Group("done", s.done...))
	s.done = nil
}

// Over is closed when the box listens.
func (s *Steps) Over() <-chan struct{} { return s.over }

// Uptime is how long the kernel runs.
func Uptime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano()).Round(time.Millisecond)
}

// Began is when the kernel ran its first process, by its log (/dev/kmsg): before the first line of Go the program was
// loaded, and that counts. It is Uptime at the call if the log does not say.
func Began(kmsg string) time.Duration {
	now := Uptime()
	fd, err := unix.Open(kmsg, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return now
	}
	f := os.NewFile(uintptr(fd), kmsg)
	defer f.Close()
	b := make([]byte, 8<<10) // a record is never longer
	for range 100_000 {
		n, err := unix.Read(fd, b)
		if err != nil || n == 0 {
			break
		}
		if at, ok := ranInit(string(b[:n])); ok {
			return min(at, now)
		}
	}
	return now
}

// runInit is the kernel's record of having run init: level, number, microseconds (Linux, Documentation/ABI/testing/dev-kmsg).
var runInit = regexp.MustCompile(`^\d+,\d+,(\d{1,15}),[^;]*;Run /init as init process`)

func ranInit(record string) (at time.Duration, ok bool) {
	m := runInit.FindStringSubmatch(record)
	if m == nil {
		return 0, false
	}
	us, err := strconv.ParseInt(m[1], 10, 64)
	return time.Duration(us) * time.Microsecond, err == nil
}

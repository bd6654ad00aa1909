package vm

import (
	"context"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/tools/vm/work"
)

// What a box may take.
const (
	listensWithin = 2 * time.Second // of this host's time, from the kernel's running init
	listensAfter  = 3 * time.Second // of the machine's, which are instructions
	idleMemory    = 40 << 10        // KiB of postern's, a minute after its start
)

// TestStart measures the box's start and what memory it takes when nobody asks anything of it, with the least memory that a
// box may have. The machine's clock counts instructions, so that neither QEMU nor its neighbours are in the result; a piece
// of work that is done there and here says how much of this host's time that is, and a start of an init that does nothing
// how much of it is anybody's.
func TestStart(t *testing.T) {
	needsVM(t)
	t.Parallel()
	small := smallMachine(t, "empty")
	small.Counted = true
	if err := small.Start(t.Output()); err != nil {
		t.Fatal(err)
	}
	empty := milliseconds(t, hear(t, small, boot, `smallinit: empty after (\d+) ms`))
	there := milliseconds(t, hear(t, small, boot, `smallinit: worked for (\d+) ms`))
	small.Cut()
	here := processorTime(t, func() { work.Do(work.Standard) })
	slower := float64(there) / float64(here)

	m := machine(t, image(t), "")
	m.Counted = true
	starts := []string{"first start", "later start"}
	if !*soak {
		starts = starts[:1]
	}
	for i, name := range starts {
		if err := m.Start(t.Output()); err != nil {
			t.Fatal(err)
		}
		took := milliseconds(t, hear(t, m, boot, `msg="init to listening" ms=(\d+)`))
		own := time.Duration(float64(took) / slower)
		t.Logf("%s: %v from init to listening at 10^9 instructions a second; an empty init takes %v, so it is %.0f times that; "+
			"of this host's time it is %v (the same work takes %v there and %v here)", name, took, empty, float64(took)/float64(empty),
			own.Round(time.Millisecond), there, here.Round(time.Millisecond))
		if own > listensWithin || took > listensAfter {
			t.Errorf("%s: the box listens after %v (%v)", name, own, took)
		}
		if i < len(starts)-1 {
			m.Cut()
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), boot)
	defer cancel()
	idle, err := m.Wait(ctx, `msg=memory postern="(\d+) kB" of_it_anonymous="(\d+) kB" machine="(\d+) kB" available="(\d+) kB"`)
	if err != nil {
		t.Fatal(err)
	}
	postern, anonymous, all, free := kib(t, idle[1]), kib(t, idle[2]), kib(t, idle[3]), kib(t, idle[4])
	t.Logf("idle: postern has %.1f MiB (%.1f of it its own, the rest its program), the machine uses %.1f of %.1f MiB", float64(postern)/1024, float64(anonymous)/1024,
		float64(all-free)/1024, float64(all)/1024)
	if postern > idleMemory {
		t.Errorf("postern takes %d KiB when it is idle, and may take %d", postern, idleMemory)
	}
	m.Cut()
}

func milliseconds(t *testing.T, text string) time.Duration {
	return time.Duration(kib(t, text)) * time.Millisecond
}

func kib(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// processorTime is how much f takes of a processor, however busy the host is: the least of some turns.
func processorTime(t *testing.T, f func()) (least time.Duration) {
	t.Helper()
	runtime.LockOSThread() // other tests of this process are not it
	defer runtime.UnlockOSThread()
	now := func() time.Duration {
		var u unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Nano())
	}
	for i := range 3 {
		begin := now()
		f()
		if took := now() - begin; i == 0 || took < least {
			least = took
		}
	}
	return least
}

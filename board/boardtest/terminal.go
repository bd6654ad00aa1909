package boardtest

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Terminal opens a pseudoterminal, which a serial line is for programs: the end of who looks and types, and the path of
// the program's. Where there are none the test is skipped, unless CI=true.
func Terminal(t testing.TB) (ours *os.File, path string) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no pseudoterminals here: ", err)
		}
		t.Skip("no pseudoterminals here: ", err)
	}
	t.Cleanup(func() { ours.Close() })
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return ours, fmt.Sprintf("/dev/pts/%d", n)
}

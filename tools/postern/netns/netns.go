// Package netns makes networks for tests that want one of their own: with nothing but loopback in it, every port free,
// and room for packet filters that are felt by nobody else. It takes root, on Linux.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A Net is one network namespace. It lasts until Close, and as long as a process is in it.
type Net struct{ ns *os.File }

// New makes one and sets its loopback up.
func New() (*Net, error) {
	n := &Net{}
	err := elsewhere(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("a network of its own: %w", err)
		}
		return nil
	}, func() (err error) {
		if err := loopback(); err != nil {
			return fmt.Errorf("loopback of a new network: %w", err)
		}
		n.ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}

// Require makes one for the time of a test. Where there can be none the test is skipped; with CI=true in the environment
// it fails instead.
func Require(t testing.TB) *Net {
	t.Helper()
	n, err := New()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("skipped: %v; run as root, outside of containers that forbid it", err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// elsewhere runs f on a thread that enter takes to another network, and takes it back to its own: the thread may not end,
// because a process that it has started would end with it (Pdeathsig).
func elsewhere(enter, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		if err = enter(); err == nil {
			err = f()
			if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil { // it stays locked, and ends
				done <- fmt.Errorf("back to the network of old: %w", back)
				return
			}
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
}

// Do runs f in the network: sockets that f itself makes, on no goroutine of its own, are there, and stay there.
func (n *Net) Do(f func() error) error {
	return elsewhere(func() error {
		if err := unix.Setns(int(n.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering a network: %w", err)
		}
		return nil
	}, f)
}

// Enter begins command lines of programs that are to run in it.
func (n *Net) Enter() []string {
	return []string{"nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), n.ns.Fd()), "--"}
}

// Fd is its descriptor, for calls that move something into it.
func (n *Net) Fd() int { return int(n.ns.Fd()) }

// Close gives it up.
func (n *Net) Close() error {
	if n.ns == nil {
		return errors.New("closed already")
	}
	err := n.ns.Close()
	n.ns = nil
	return err
}

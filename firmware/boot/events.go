package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// events are the kernel's announcements of devices (NETLINK_KOBJECT_UEVENT). What they say is not read: each is a
// reason to look again, and looking is what tells.
type events struct{ file *os.File }

// kernelGroup is the multicast group of the kernel's own announcements; udev's would be 2.
const kernelGroup = 1

func openEvents() (*events, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("kernel events: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		return nil, fmt.Errorf("kernel events: %w", errors.Join(err, unix.Close(fd)))
	}
	return &events{os.NewFile(uintptr(fd), "kernel events")}, nil
}

func (e *events) Close() error { return e.file.Close() }

// wait returns when there says yes, at the latest after limit with an error.
func (e *events) wait(ctx context.Context, limit time.Duration, there func() bool) error {
	deadline := time.Now().Add(limit)
	if err := e.file.SetReadDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = e.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for b := make([]byte, 8<<10); !there(); {
		_, err := e.file.Read(b)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("nothing within %v", limit)
		case err != nil && !errors.Is(err, unix.ENOBUFS): // some were lost: also a reason to look
			return err
		}
	}
	return nil
}

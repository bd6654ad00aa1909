package boot

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// kernelMounts are what Linux shows of itself, in this order. Only those that must be there stop the boot.
var kernelMounts = []struct {
	dir, kind string
	flags     uintptr
	data      string
	need      bool
}{
	{"/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", true},
	{"/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", true},
	{"/dev", "devtmpfs", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0755", true},
	{"/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "mode=0755,size=16m", true},
	{"/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "mode=1777,size=16m", true},
	{"/sys/kernel/security", "securityfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", false},
	{"/sys/fs/pstore", "pstore", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", false},
}

func mountKernel() error {
	for _, m := range kernelMounts {
		if m.need {
			if err := os.MkdirAll(m.dir, 0o755); err != nil {
				return err
			}
		}
		err := unix.Mount(m.kind, m.dir, m.kind, m.flags, m.data)
		if err != nil && m.need && !errors.Is(err, unix.EBUSY) { // mounted already
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	return nil
}

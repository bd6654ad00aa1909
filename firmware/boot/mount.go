package boot

import (
	"errors"
	"fmt"
	"log/slog"
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
	{"/srv", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "mode=0755,size=1m", true}, // where pools are mounted
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

// sealRoot lets nobody write to the image's own files any more, not by mistake either.
func sealRoot(log *slog.Logger) {
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		log.Warn("the root stays writable", "error", err)
		return
	}
	log.Info("the root is read-only", "write", unix.Access("/", unix.W_OK))
}

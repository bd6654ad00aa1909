package boot

import (
	"log/slog"
	"os"
	"path/filepath"
)

// limits are what the kernel allows less of than a box needs: each folder that clients look at takes an inotify watch.
// Memory is what bounds them here.
var limits = map[string]string{
	"fs/inotify/max_user_watches": "1048576",
}

// raiseLimits sets them in sys, which is /proc/sys. A kernel that will not has its own, and the server goes on with those.
func raiseLimits(sys string, log *slog.Logger) {
	for name, value := range limits {
		f, err := os.OpenFile(filepath.Join(sys, name), os.O_WRONLY|os.O_TRUNC, 0)
		if err == nil {
			_, err = f.WriteString(value)
			f.Close()
		}
		if err != nil {
			log.Warn("a limit of the kernel's stays", "limit", name, "error", err)
		}
	}
}

package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// boundMemory has the collector of garbage work harder before the box runs out of memory, which would end the server. Half
// is left for the kernel, for what it keeps of files, and for the programs that are called.
func boundMemory(log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		log.Warn("the size of the memory is not known", "error", err)
		return
	}
	limit := int64(info.Totalram * uint64(info.Unit) / 2)
	debug.SetMemoryLimit(limit)
	log.Debug("memory", "limit", limit)
}

//go:build profile

package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"syscall"
)

// A binary built with the tag "profile" takes a CPU profile between SIGUSR1 and SIGUSR2 and writes it to
// $POSTERN_PROFILE/PID: what tools/bench keeps beside its table. The file is under its name when it is whole.
func init() {
	dir := os.Getenv("POSTERN_PROFILE")
	if dir == "" {
		return
	}
	path := filepath.Join(dir, strconv.Itoa(os.Getpid()))
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for range told {
			f, err := os.Create(path + ".new")
			if err != nil || pprof.StartCPUProfile(f) != nil {
				return
			}
			<-told
			pprof.StopCPUProfile()
			if f.Close() != nil || os.Rename(f.Name(), path) != nil {
				return
			}
		}
	}()
}

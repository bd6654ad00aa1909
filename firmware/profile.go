//go:build profile

package main

import (
	"os"
	"runtime/pprof"
	"strconv"
	"time"
)

// A binary built with the tag "profile" writes a CPU profile to $POSTERN_PROFILE/PID.N every ten seconds: what
// tools/bench keeps beside its table.
func init() {
	dir := os.Getenv("POSTERN_PROFILE")
	if dir == "" {
		return
	}
	go func() {
		for n := 0; ; n++ {
			f, err := os.Create(dir + "/" + strconv.Itoa(os.Getpid()) + "." + strconv.Itoa(n))
			if err != nil || pprof.StartCPUProfile(f) != nil {
				return
			}
			time.Sleep(10 * time.Second)
			pprof.StopCPUProfile()
			f.Close()
		}
	}()
}

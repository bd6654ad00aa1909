package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of the times in /proc/PID/stat: USER_HZ, 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// A process is what we need of /proc/PID/stat.
type process struct {
	pid, parent int
	cpu         time.Duration // user and system time, of children that have ended too
}

// tree returns a process and all that descend from it.
func tree(root int) ([]process, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	kids := map[int][]process{}
	var found []process
	for _, path := range stats {
		p, err := readStat(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, errGone) {
			continue // it ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		if p.pid == root {
			found = append(found, p)
		}
		kids[p.parent] = append(kids[p.parent], p)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("process %d is gone", root)
	}
	for i := 0; i < len(found); i++ {
		found = append(found, kids[found[i].pid]...)
	}
	return found, nil
}

var errGone = errors.New("empty stat: the process is gone")

func readStat(path string) (p process, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		if strings.Contains(err.Error(), "no such process") {
			err = errGone
		}
		return p, err
	}
	// The name, in parentheses, may hold anything: fields count from the last parenthesis.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return p, errGone
	}
	f := strings.Fields(string(b[i+1:])) // f[0] is field 3 of proc(5), the state
	if len(f) < 15 {
		return p, fmt.Errorf("%s: %d fields", path, len(f))
	}
	nums := make([]int64, 0, 6)
	for _, s := range []string{filepath.Base(filepath.Dir(path)), f[1], f[11], f[12], f[13], f[14]} {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return p, fmt.Errorf("%s: %w", path, err)
		}
		nums = append(nums, n)
	}
	ticks := nums[2] + nums[3] + nums[4] + nums[5] // utime, stime, cutime, cstime
	return process{pid: int(nums[0]), parent: int(nums[1]), cpu: time.Duration(ticks) * clockTick}, nil
}

// cpuTime is the CPU time that a process and its descendants have used, the ended ones included.
func cpuTime(pid int) (time.Duration, error) {
	procs, err := tree(pid)
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, p := range procs {
		sum += p.cpu
	}
	return sum, nil
}

// A split is CPU time of both sides.
type split struct{ server, client time.Duration }

// cpu is what the target and this process have used so far.
func (t *target) cpu() (s split, err error) {
	for _, pid := range append([]int{t.pid}, t.beside...) {
		used, err := cpuTime(pid)
		if err != nil {
			return s, err
		}
		s.server += used
	}
	for _, pid := range t.ours {
		used, err := cpuTime(pid)
		if err != nil {
			return s, err
		}
		s.client += used
	}
	var own unix.Rusage // without the children: servers are among them
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err != nil {
		return s, err
	}
	s.client += time.Duration(own.Utime.Nano() + own.Stime.Nano())
	return s, nil
}

// pss is the memory of a process and its descendants in bytes, what they share counted once. (Adding up VmHWM or
// VmRSS would count smbd's shared pages once for each of its processes.)
func pss(pid int) (int64, error) {
	procs, err := tree(pid)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, p := range procs {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
		if err != nil {
			continue // it ended meanwhile
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "Pss:"); ok {
				kib, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
				if err != nil {
					return 0, err
				}
				sum += kib << 10
			}
		}
	}
	return sum, nil
}

// A memory knows the most that a process tree has been seen to hold.
type memory struct {
	mu  sync.Mutex
	max int64
}

// watch looks five times a second until the returned function is called.
func (m *memory) watch(pid int) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			if n, err := pss(pid); err == nil {
				m.mu.Lock()
				m.max = max(m.max, n)
				m.mu.Unlock()
			}
			select {
			case <-end:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(end); <-ended }
}

func (m *memory) peak() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.max
}

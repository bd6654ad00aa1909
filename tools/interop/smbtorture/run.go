package smbtorture

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Runner starts smbtorture.
type Runner struct {
	// Command makes the process; it is killed through its context.
	Command func(ctx context.Context, args ...string) *exec.Cmd
	// Limit is how long one test may take; nil or 0: DefaultLimit.
	Limit func(test string) time.Duration
	// Log gets each command, all that smbtorture prints beside results, and each result; nil: nothing.
	Log io.Writer
}

// DefaultLimit is far more than any test needs that does not hang. Tests that need more are named by the caller.
const DefaultLimit = 20 * time.Second

// List asks smbtorture for the names of its tests that belong to a suite, such as smb2.read, in its order.
func (r *Runner) List(ctx context.Context) ([]string, error) {
	out, err := r.Command(ctx, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("smbtorture --list: %w", err)
	}
	return parseList(string(out)), nil
}

// parseList reads names of the form suite.group.case. Nearly every group has one case of its own name, and then the
// name that smbtorture takes and reports is without the last part: smb2.read.eof.eof is run as smb2.read.eof.
func parseList(out string) []string {
	var names []string
	seen := map[string]bool{}
	for line := range strings.Lines(out) {
		name := strings.TrimRight(line, "\r\n")
		if !strings.Contains(name, ".") {
			continue
		}
		for i := range len(name) {
			if name[i] == '.' && strings.HasSuffix(name[:i], "."+name[i+1:]) {
				name = name[:i]
				break
			}
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// InSuite picks the names of one suite: smb2.read picks smb2.read and smb2.read.eof, not smb2.read-only.
func InSuite(names []string, suite string) []string {
	var in []string
	for _, n := range names {
		if n == suite || strings.HasPrefix(n, suite+".") {
			in = append(in, n)
		}
	}
	return in
}

// Run carries out the tests by name and returns an outcome for each. args are all other arguments of smbtorture:
// share, user, options. Only a cancelled context makes it return early; what has not run then has no outcome.
func (r *Runner) Run(ctx context.Context, args, tests []string) map[string]Outcome {
	out := map[string]Outcome{}
	left := tests
	for len(left) > 0 && ctx.Err() == nil {
		before := len(out)
		end := r.batch(ctx, args, left, left, out)
		if ctx.Err() != nil {
			break
		}
		if len(out) == before { // it did not even begin: blame the first, to come to an end
			out[left[0]] = end
		}
		var still []string
		for _, t := range left {
			if _, done := out[t]; !done {
				still = append(still, t)
			}
		}
		left = still
	}
	return out
}

// RunWhole carries out a suite whose tests cannot be asked for one by one, as those named by what they call. What it
// leaves out of tests has the suite's end for its result.
func (r *Runner) RunWhole(ctx context.Context, args []string, suite string, tests []string) map[string]Outcome {
	out := map[string]Outcome{}
	end := r.batch(ctx, args, []string{suite}, tests, out)
	for _, t := range tests {
		if _, done := out[t]; !done && ctx.Err() == nil {
			out[t] = end
		}
	}
	return out
}

// batch runs one smbtorture process with names, adds to out what became of tests, and returns how the process ended in
// terms of a test.
func (r *Runner) batch(ctx context.Context, args, names, tests []string, out map[string]Outcome) Outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	argv := append([]string{}, args...)
	argv = append(argv, "--fullname", "--format=subunit", "--option=torture:progress=no")
	cmd := r.Command(ctx, append(argv, names...)...)
	r.logf("## %s", strings.Join(cmd.Args, " "))
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return Outcome{Result: Error, Reason: err.Error()}
	}

	var mu sync.Mutex // the clock reads which test it is that hangs
	var current, tail string
	var began time.Time
	var hung bool
	clock := time.AfterFunc(r.limit(""), func() {
		mu.Lock()
		defer mu.Unlock()
		hung = true
		cancel()
	})
	wanted := map[string]bool{}
	for _, t := range tests {
		wanted[t] = true
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		err := readSubunit(reader, func(e event) {
			mu.Lock()
			defer mu.Unlock()
			if hung {
				return
			}
			if e.Result == "" {
				current, began = e.test, time.Now()
				clock.Reset(r.limit(e.test))
				return
			}
			e.Took = time.Since(began)
			r.logf("%s: %s %s (%v)", e.Result, e.test, e.Reason, e.Took.Round(time.Millisecond))
			if was, again := out[e.test]; wanted[e.test] && (!again || worse[e.Result] > worse[was.Result]) {
				out[e.test] = e.Outcome
			}
			current = ""
			clock.Reset(r.limit(""))
		}, func(line string) {
			r.logf("%s", line)
			if strings.TrimSpace(line) != "" {
				tail = line
			}
		})
		reader.CloseWithError(err)
	}()
	err := cmd.Wait()
	clock.Stop()
	writer.Close()
	<-read

	mu.Lock()
	defer mu.Unlock()
	end := Outcome{Result: Crash, Reason: fmt.Sprintf("smbtorture ended: %v: %s", err, tail)}
	if hung {
		end = Outcome{Result: Timeout, Reason: fmt.Sprintf("no result within %v; last line: %s", r.limit(current), tail)}
	}
	if current != "" && wanted[current] {
		if _, done := out[current]; !done {
			r.logf("%s: %s %s", end.Result, current, end.Reason)
			out[current] = end
		}
	}
	return end
}

func (r *Runner) limit(test string) time.Duration {
	if r.Limit != nil {
		if d := r.Limit(test); d > 0 {
			return d
		}
	}
	return DefaultLimit
}

func (r *Runner) logf(format string, args ...any) {
	if r.Log != nil {
		fmt.Fprintf(r.Log, format+"\n", args...)
	}
}

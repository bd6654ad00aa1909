package smbtorture

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// A Record is how another server did, and what each test is worth.
//
// As text, a line is
//
//	test | worth | tuned | default
//
// with the server's results under settings chosen for the tests, and under its own.
type Record map[string]Recorded

// Recorded is one test of a Record.
type Recorded struct {
	Worth          string // core, important or exotic
	Tuned, Default Result
}

// ReadRecord reads the text form.
func ReadRecord(r io.Reader) (Record, error) {
	rec := Record{}
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "|")
		if len(f) != 4 {
			return nil, fmt.Errorf("line %d: want test | worth | tuned | default", n)
		}
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		e := Recorded{f[1], Result(f[2]), Result(f[3])}
		_, tuned := worse[e.Tuned]
		_, byDefault := worse[e.Default]
		switch {
		case e.Worth != "core" && e.Worth != "important" && e.Worth != "exotic":
			return nil, fmt.Errorf("line %d: worth %q", n, e.Worth)
		case !tuned || !byDefault:
			return nil, fmt.Errorf("line %d: results %q and %q", n, e.Tuned, e.Default)
		}
		if _, twice := rec[f[0]]; twice || f[0] == "" {
			return nil, fmt.Errorf("line %d: %q is there twice, or is no name", n, f[0])
		}
		rec[f[0]] = e
	}
	return rec, in.Err()
}

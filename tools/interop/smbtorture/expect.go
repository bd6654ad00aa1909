package smbtorture

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Expectations say which tests do not pass, how, and why. A test that is not among them must pass.
//
// As text, a line is
//
//	test | transport | result | reason
//
// with transport tcp, quic or both, and an empty line or one that starts with # is a comment. A reason that starts
// with a question mark is what [Expectations.Update] writes for want of a better one, and is not accepted as one.
type Expectations map[Key]Outcome

// Key is a test on one transport.
type Key struct {
	Test, Transport string // transport "tcp" or "quic"
}

var transports = []string{"tcp", "quic"}

// ReadExpectations reads the text form.
func ReadExpectations(r io.Reader) (Expectations, error) {
	e := Expectations{}
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.SplitN(line, "|", 4)
		if len(f) != 4 {
			return nil, fmt.Errorf("line %d: want test | transport | result | reason", n)
		}
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
			if f[i] == "" {
				return nil, fmt.Errorf("line %d: an empty field", n)
			}
		}
		result := Result(f[2])
		if _, known := worse[result]; !known || result == Success {
			return nil, fmt.Errorf("line %d: %q is no result that a line is needed for", n, result)
		}
		on := []string{f[1]}
		if f[1] == "both" {
			on = transports
		} else if !slices.Contains(transports, f[1]) {
			return nil, fmt.Errorf("line %d: transport %q", n, f[1])
		}
		for _, tr := range on {
			k := Key{f[0], tr}
			if _, twice := e[k]; twice {
				return nil, fmt.Errorf("line %d: %s over %s is there twice", n, k.Test, tr)
			}
			e[k] = Outcome{Result: result, Reason: f[3]}
		}
	}
	return e, in.Err()
}

// WriteTo writes the text form, one line for both transports where they agree, ordered by name.
func (e Expectations) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	width := 0
	for k := range e {
		width = max(width, len(k.Test))
	}
	keys := slices.SortedFunc(maps.Keys(e), func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Test, b.Test), -cmp.Compare(a.Transport, b.Transport))
	})
	for _, k := range keys {
		transport := k.Transport
		if e[Key{k.Test, "tcp"}] == e[Key{k.Test, "quic"}] {
			if k.Transport == "quic" {
				continue
			}
			transport = "both"
		}
		fmt.Fprintf(&b, "%-*s | %-4s | %-7s | %s\n", width, k.Test, transport, e[k].Result, e[k].Reason)
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// Check compares the outcomes of tests (all of them, as named by smbtorture) on one transport with what is expected,
// and returns a sentence for each surprise: good ones too, so that the list only shrinks.
func (e Expectations) Check(transport string, tests []string, got map[string]Outcome) []string {
	var surprises []string
	say := func(format string, args ...any) { surprises = append(surprises, fmt.Sprintf(format, args...)) }
	for _, t := range tests {
		want, listed := e[Key{t, transport}]
		if !listed {
			want.Result = Success
		}
		is, ran := got[t]
		switch {
		case !ran:
			say("%s: has not run", t)
		case is.Result == want.Result && strings.HasPrefix(want.Reason, "?"):
			say("%s: its line in the expectations has no reason yet, only %q", t, want.Reason)
		case is.Result == want.Result:
		case is.Result == Success:
			say("%s: passes now; take its line out of the expectations (%s: %s)", t, want.Result, want.Reason)
		case want.Result == Success:
			say("%s: %s: %s", t, is.Result, is.Reason)
		default:
			say("%s: %s, expected %s: %s", t, is.Result, want.Result, is.Reason)
		}
	}
	return surprises
}

// Stale names the expectations of a suite that fit no test.
func (e Expectations) Stale(suite string, tests []string) []string {
	var stale []string
	for k := range e {
		if len(InSuite([]string{k.Test}, suite)) == 1 && !slices.Contains(tests, k.Test) {
			stale = append(stale, fmt.Sprintf("%s: smbtorture has no such test", k.Test))
		}
	}
	slices.Sort(stale)
	return slices.Compact(stale)
}

// Update makes the expectations of one transport agree with the outcomes. A reason stays while the result does; a new
// one is the test's own message behind a question mark, for a human to replace.
func (e Expectations) Update(transport string, got map[string]Outcome) {
	for t, is := range got {
		k := Key{t, transport}
		was, listed := e[k]
		switch {
		case is.Result == Success:
			delete(e, k)
		case !listed || was.Result != is.Result:
			reason, _, _ := strings.Cut(strings.TrimSpace(is.Reason), "\n")
			e[k] = Outcome{Result: is.Result, Reason: "? " + reason}
		}
	}
}

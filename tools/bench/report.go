package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/tools/bench/client"
)

const rowMemory = "peak memory"

// results are the values of each row and target, one a round.
type results struct {
	values map[[2]string][]float64
}

func newResults() *results { return &results{values: map[[2]string][]float64{}} }

func (r *results) add(row, target string, v float64) {
	k := [2]string{row, target}
	r.values[k] = append(r.values[k], v)
}

// median returns NaN for what was not measured.
func (r *results) median(row, target string) float64 {
	v := slices.Sorted(slices.Values(r.values[[2]string{row, target}]))
	switch n := len(v); {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return v[n/2]
	default:
		return (v[n/2-1] + v[n/2]) / 2
	}
}

// A row is one line of the tables.
type row struct {
	name, unit string
	less       bool // less is better
	digits     int
}

func rows() (all []row) {
	for _, l := range loads {
		all = append(all, row{name: l.name, unit: l.unit})
		if l.cpu != "" {
			unit := "s/GB"
			if l.bare == nil {
				unit = "µs each"
			}
			all = append(all, row{name: l.cpu, unit: unit, less: true, digits: 2})
		}
	}
	return append(all, row{name: rowMemory, unit: "MiB", less: true})
}

// comparisons are the ratios worth a column: like with like, as far as there is like.
var comparisons = []struct{ ours, theirs string }{
	{posternQUIC, bareQUIC},
	{posternQUIC, sambaTCPSealed},
	{posternQUIC, sambaTCP},
	{posternTCPSigned, sambaTCPSigned},
	{posternTCP, sambaTCP},
	{posternTCPSealed, sambaTCPSealed},
}

// report writes everything as Markdown.
func report(targets []*target, res *results, size sizes, rounds int, notes []string) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, fact := range append(facts(size, rounds), notes...) {
		p("- %s", fact)
	}
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.name
	}
	p("\n| median of %d | %s |", rounds, strings.Join(names, " | "))
	p("|---|%s", strings.Repeat("--:|", len(names)))
	cells := make([]string, len(targets))
	for i, t := range targets {
		switch {
		case t.bare:
			cells[i] = "TLS"
		case t.protection == client.Signed:
			cells[i] = "signed, " + t.signing
		default:
			cells[i] = t.protection.String()
		}
		if t.name == posternQUIC {
			cells[i] += ", in TLS"
		}
	}
	p("| requests on the wire | %s |", strings.Join(cells, " | "))
	for _, r := range rows() {
		for i, t := range targets {
			cells[i] = number(res.median(r.name, t.name), r.digits)
		}
		p("| %s, %s | %s |", r.name, r.unit, strings.Join(cells, " | "))
	}

	shown := comparisons[:0:0]
	var heads []string
	for _, c := range comparisons {
		if slices.Contains(names, c.ours) && slices.Contains(names, c.theirs) {
			shown, heads = append(shown, c), append(heads, c.ours+" ÷ "+c.theirs)
		}
	}
	if len(shown) == 0 {
		return b.String()
	}
	p("\n| ratio | %s |", strings.Join(heads, " | "))
	p("|---|%s", strings.Repeat("--:|", len(heads)))
	for _, r := range rows() {
		cells := make([]string, len(shown))
		for i, c := range shown {
			cells[i] = number(res.median(r.name, c.ours)/res.median(r.name, c.theirs), 2)
		}
		name := r.name
		if r.less {
			name += " (less is better)"
		}
		p("| %s | %s |", name, strings.Join(cells, " | "))
	}
	return b.String()
}

func number(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, v)
}

// facts say what was measured, on what, by what.
func facts(size sizes, rounds int) []string {
	var uts unix.Utsname
	kernel := "unknown"
	if unix.Uname(&uts) == nil {
		kernel = unix.ByteSliceToString(uts.Release[:])
	}
	cpu := "unknown"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	versions := []string{runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/quic-go/quic-go" {
				versions = append(versions, dep.Path+" "+dep.Version)
			}
		}
	}
	commit := "unknown"
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
	}
	if os.Getenv("POSTERN_BINARY") != "" {
		commit += " (but the binary is another, from $POSTERN_BINARY)"
	}
	return []string{
		fmt.Sprintf("%s; Postern %s; %s.", time.Now().Format("2006-01-02"), commit, strings.Join(versions, ", ")),
		fmt.Sprintf("%s, %d cores, Linux %s, %s.", cpu, runtime.NumCPU(), kernel, runtime.GOARCH),
		fmt.Sprintf("Client and server share these %d cores over loopback, so the client's own work is in every number:"+
			" ratios say more. The client is tools/bench/client: no copy, one pass over what it signs or seals.",
			runtime.NumCPU()),
		fmt.Sprintf("%d round(s), targets in turns. One connection, %d requests in flight. Sequential: %d MiB in requests"+
			" of 1 MiB, to and from the page cache, no FLUSH. stat is CREATE and CLOSE. Small files are 4 KiB. The listed"+
			" directory has %d entries.", rounds, inFlight, size.file>>20, size.entries),
		"Server CPU is user and system time of the server's processes. Peak memory is the largest sum of their" +
			" proportional set sizes (PSS), seen five times a second over the whole run; it is no median.",
	}
}

package main

import (
	"fmt"
	"io"
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

// Names of rows that are no load's.
const (
	rowMemory = "peak memory"
	serverCPU = "server CPU, "
	clientCPU = "client CPU, "

	rowCrowd    = "memory, 64 clients that read"
	rowIdleEach = "memory of an idle client"
	rowIdle     = "memory with 2,000 idle clients"
)

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
}

func rows() (all []row) {
	for _, l := range loads {
		all = append(all, row{name: l.name, unit: l.unit})
		if l.cpu != "" {
			unit := "s/GB"
			if l.bare == nil {
				unit = "µs each"
			}
			all = append(all, row{serverCPU + l.cpu, unit, true}, row{clientCPU + l.cpu, unit, true})
		}
	}
	for _, c := range counted {
		all = append(all, row{allocsRow(c.kind, c.size), "each", true})
	}
	return append(all, row{rowIdle, "MiB", true}, row{rowCrowd, "MiB", true}, row{rowMemory, "MiB", true})
}

// groups are the tables, by what stands beside each other.
var groups = []struct {
	title   string
	targets []string
}{
	{"On loopback", localTargets},
	{"Through a pair of Ethernet interfaces, each side in a network of its own", wireTargets},
	{"Over 50 ms and with 1 % of packets lost", lossyTargets},
}

// comparisons are the ratios worth a column: like with like, as far as there is like.
var comparisons = []struct{ ours, theirs string }{
	{posternQUIC, bareQUIC},
	{posternQUIC, sambaTCPSealed},
	{posternQUIC, sambaTCP},
	{posternTCPSigned, sambaTCPSigned},
	{posternTCP, sambaTCP},
	{posternTCPSealed, sambaTCPSealed},
	{wirePosternQUIC, wireSambaWireGuard},
	{wirePosternQUIC, wireBareQUIC},
	{lossyPosternQUIC, lossySambaTCP},
	{lossyPosternTCP, lossySambaTCP},
	{lossyPosternQUIC, lossyBareQUIC},
}

// report writes everything as Markdown.
func report(targets []*target, res *results, size sizes, rounds int, notes []string) string {
	var b strings.Builder
	for _, fact := range append(facts(size, rounds), notes...) {
		fmt.Fprintf(&b, "- %s\n", fact)
	}
	for _, g := range groups {
		columns := slices.DeleteFunc(slices.Clone(targets), func(t *target) bool { return !slices.Contains(g.targets, t.name) })
		if len(columns) > 0 {
			fmt.Fprintf(&b, "\n%s:\n\n", g.title)
			res.medians(&b, columns, rounds)
			res.ratios(&b, columns)
		}
	}
	res.verdicts(&b)
	return b.String()
}

// medians writes the table of what was measured.
func (r *results) medians(w io.Writer, columns []*target, rounds int) {
	cells := make([]string, len(columns))
	line := func(first string, cell func(t *target) string) {
		for i, t := range columns {
			cells[i] = cell(t)
		}
		fmt.Fprintf(w, "| %s | %s |\n", first, strings.Join(cells, " | "))
	}
	line(fmt.Sprintf("median of %d", rounds), func(t *target) string { return t.name })
	fmt.Fprintf(w, "|---|%s\n", strings.Repeat("--:|", len(columns)))
	line("requests on the wire", (*target).around)
	for _, row := range rows() {
		if r.has(row.name, columns) {
			line(row.name+", "+row.unit, func(t *target) string { return number(r.median(row.name, t.name)) })
		}
	}
}

// around is what protects the requests.
func (t *target) around() string {
	switch {
	case t.bare:
		return "TLS"
	case t.name == wireSambaWireGuard:
		return "plain, in WireGuard"
	case t.protection != client.Signed:
		return t.protection.String()
	case strings.Contains(t.name, "QUIC"):
		return "signed, " + t.signing + ", in TLS"
	}
	return "signed, " + t.signing
}

// has says whether a row was measured on one of these.
func (r *results) has(row string, columns []*target) bool {
	return slices.ContainsFunc(columns, func(t *target) bool { return len(r.values[[2]string{row, t.name}]) > 0 })
}

// ratios writes the table of who is how much better than whom.
func (r *results) ratios(w io.Writer, columns []*target) {
	among := func(name string) bool {
		return slices.ContainsFunc(columns, func(t *target) bool { return t.name == name })
	}
	shown := comparisons[:0:0]
	var heads []string
	for _, c := range comparisons {
		if among(c.ours) && among(c.theirs) {
			shown, heads = append(shown, c), append(heads, c.ours+" ÷ "+c.theirs)
		}
	}
	if len(shown) == 0 {
		return
	}
	fmt.Fprintf(w, "\n| ratio | %s |\n|---|%s\n", strings.Join(heads, " | "), strings.Repeat("--:|", len(heads)))
	for _, row := range rows() {
		if !r.has(row.name, columns) {
			continue
		}
		cells := make([]string, len(shown))
		for i, c := range shown {
			cells[i] = ratio(r.median(row.name, c.ours) / r.median(row.name, c.theirs))
		}
		name := row.name
		if row.less {
			name += " (less is better)"
		}
		fmt.Fprintf(w, "| %s | %s |\n", name, strings.Join(cells, " | "))
	}
}

// number writes a value with three digits or more.
func number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits(v), v)
}

func ratio(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	return fmt.Sprintf("%.2f", v)
}

func digits(v float64) int {
	switch {
	case v >= 100:
		return 0
	case v >= 10:
		return 1
	}
	return 2
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
		fmt.Sprintf("Client and server share these %d cores, so the client's own work is in every number:"+
			" ratios say more. The client is tools/bench/client: no copy, one pass over what it signs or seals.",
			runtime.NumCPU()),
		fmt.Sprintf("%d round(s), targets in turns. One connection, %d requests in flight. Sequential: %d MiB in requests"+
			" of 1 MiB, to and from the page cache, no FLUSH. stat is CREATE and CLOSE, open+close the same with the right to"+
			" read. Small files are 4 KiB. The listed directory has %d entries.", rounds, inFlight, size.file>>20, size.entries),
		fmt.Sprintf("The lossy loads: %d requests of %d KiB in flight, for %v each.", lossyInFlight, lossyBlock>>10, size.lossy),
		"Server CPU is user and system time of the server's processes. Peak memory is the largest sum of their" +
			" proportional set sizes (PSS), seen five times a second over the whole run; it is no median.",
	}
}

package main

import (
	"fmt"
	"io"
	"math"
)

// A demand is what the bench is for: a number that has to be reached.
type demand struct {
	what  string
	want  float64
	most  bool // at most; else at least
	found func(r *results) float64
}

// met says whether v is what was wanted. What was not measured is not.
func (d demand) met(v float64) bool {
	if d.most {
		return v <= d.want
	}
	return v >= d.want
}

// over is a demand on a ratio of one row.
func over(want float64, row, ours, theirs string) demand {
	return demand{
		what: fmt.Sprintf("%s: %s ÷ %s", row, ours, theirs), want: want,
		found: func(r *results) float64 { return r.median(row, ours) / r.median(row, theirs) },
	}
}

// atMost is a demand on one value.
func atMost(want float64, row, target string) demand {
	return demand{
		what: fmt.Sprintf("%s: %s", row, target), want: want, most: true,
		found: func(r *results) float64 { return r.median(row, target) },
	}
}

// budget is limits.memory_mib of the configuration that Postern comes with, in MiB.
const budget = 128

// demands are what is asked of Postern, in the order they are printed.
func demands() (all []demand) {
	add := func(d ...demand) { all = append(all, d...) }
	add(over(0.95, "sequential read", posternQUIC, bareQUIC), over(0.90, "sequential write", posternQUIC, bareQUIC))
	for _, row := range []string{"read over the wire", "write over the wire"} {
		add(over(1, row, wirePosternQUIC, wireSambaWireGuard))
	}
	for _, row := range []string{"sequential read", "sequential write"} {
		add(over(1, row, posternTCP, sambaTCP), over(1.2, row, posternTCPSealed, sambaTCPSealed))
	}
	for _, row := range []string{"stat", "open+close", "create+write+close", "rename", "delete"} {
		add(over(2, row, posternTCP, sambaTCP), over(1.2, row, posternQUIC, sambaTCP))
	}
	add(over(3, "list a big directory", posternTCP, sambaTCP))
	for _, row := range []string{"read, 50 ms, 1 %", "write, 50 ms, 1 %"} {
		add(over(3, row, lossyPosternQUIC, lossySambaTCP))
	}
	cpu := over(1.10, serverCPU+"read", posternQUIC, bareQUIC)
	cpu.most = true
	add(cpu, atMost(0, allocsRow('R', 1<<20), posternTCP), atMost(0, allocsRow('W', 1<<20), posternTCP))
	for _, name := range []string{posternQUIC, posternTCP} {
		add(demand{
			what: fmt.Sprintf("mixed reads, most clients ÷ best: %s", name), want: 0.8,
			found: func(r *results) float64 {
				best := 0.0
				for _, n := range crowds {
					best = max(best, r.median(crowdRow(n), name)) // NaN if one of them was not measured
				}
				return r.median(crowdRow(crowds[len(crowds)-1]), name) / best
			},
		})
	}
	for _, name := range idleTargets {
		add(atMost(96, rowIdleEach, name), atMost(256, rowIdle, name), atMost(budget, rowCrowd, name))
	}
	return all
}

// verdicts writes the table of demands of which anything was measured.
func (r *results) verdicts(w io.Writer) {
	head := "\n| asked | at least, or at most | found | |\n|---|--:|--:|---|\n"
	for _, d := range demands() {
		v := d.found(r)
		if math.IsNaN(v) {
			continue
		}
		word, sign := "met", "≥"
		if !d.met(v) {
			word = "**not met**"
		}
		if d.most {
			sign = "≤"
		}
		fmt.Fprintf(w, "%s| %s | %s %v | %s | %s |\n", head, d.what, sign, d.want, number(v), word)
		head = ""
	}
}

// record writes every value in a form whose lines stay the same from run to run but for what was measured: row, target,
// unit, median, least, most, values; then the demands.
func (r *results) record(w io.Writer, targets []*target) {
	for _, row := range rows() {
		for _, t := range targets {
			if v := r.values[[2]string{row.name, t.name}]; len(v) > 0 {
				least, most := v[0], v[0]
				for _, x := range v {
					least, most = min(least, x), max(most, x)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", row.name, t.name, row.unit, number(r.median(row.name, t.name)),
					number(least), number(most), len(v))
			}
		}
	}
	for _, d := range demands() {
		if v := d.found(r); !math.IsNaN(v) {
			fmt.Fprintf(w, "demand\t%s\t%v\t%s\t%t\n", d.what, d.want, number(v), d.met(v))
		}
	}
}

// Command bench measures Postern beside its peers with one client for all (package client). In one run, turn by
// turn, it drives Postern over QUIC and over TCP, Samba's smbd over TCP, and a bare QUIC stream, and prints
// medians and ratios as Markdown.
//
//	go run ./tools/bench            the whole table: about a quarter of an hour on two cores
//	go run ./tools/bench -quick     small sizes, one round (or -n): does it run, roughly what comes out
//	go run ./tools/bench -o NAME    writes tools/bench/results/NAME.md too
//
// Samba needs root, as every peer does; without it those columns are missing and the output says so.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/tools/postern"
)

// sizes are how much each load does.
type sizes struct {
	file    int64         // bytes of the file of the sequential loads
	span    time.Duration // of the loads that count operations
	entries int           // of the directory that is listed
	reads   int           // whose allocations are counted
}

func main() {
	// The bench is its own child for what must be a process of its own.
	if len(os.Args) > 1 {
		if child, ok := children[os.Args[1]]; ok {
			if err := child(os.Args[2:]); err != nil {
				fmt.Fprintf(os.Stderr, "bench %s: %v\n", os.Args[1], err)
				os.Exit(1)
			}
			return
		}
	}
	quick := flag.Bool("quick", false, "small sizes and one round")
	rounds := flag.Int("n", 0, "rounds; the table has the medians. 0: three, and one for -quick")
	only := flag.String("targets", "", "only targets whose name contains one of these words, separated by commas")
	which := flag.String("loads", "", "only loads whose name contains one of these words; one that reads needs \"sequential write\" before it")
	out := flag.String("o", "", "write tools/bench/results/`NAME`.md too")
	flag.Parse()
	size := sizes{file: 1 << 30, span: 5 * time.Second, entries: 100_000, reads: 2_000}
	if *quick {
		size = sizes{file: 128 << 20, span: time.Second, entries: 10_000, reads: 1_000}
		*rounds = cmp.Or(*rounds, 1)
	}
	*rounds = cmp.Or(*rounds, 3)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, size, *rounds, *only, *which, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, size sizes, rounds int, only, which, out string) (err error) {
	if rounds < 1 {
		return errors.New("-n must be at least 1")
	}
	targets, notes, stop, err := start(ctx, only)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	res, err := measure(ctx, targets, size, rounds, which)
	if err != nil {
		return err
	}
	if which == "" {
		progress("counting allocations per READ")
		note, err := allocations(ctx, size.reads)
		if err != nil {
			return fmt.Errorf("allocations: %w", err)
		}
		notes = append(notes, note)
	}
	text := report(targets, res, size, rounds, notes)
	fmt.Print(text)
	if out == "" {
		return nil
	}
	root, err := postern.Root()
	if err != nil {
		return err
	}
	path := filepath.Join(root, "tools", "bench", "results", filepath.Base(out)+".md")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// measure runs every load on every target, rounds times. The targets take turns within a load, and each round
// begins with another one, so that a machine that slows down slows all of them.
func measure(ctx context.Context, targets []*target, size sizes, rounds int, which string) (*results, error) {
	for _, t := range targets {
		if t.bare {
			continue
		}
		progress("%s: making %d entries to list", t.name, size.entries)
		if err := t.furnish(size); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	res := newResults()
	for round := range rounds {
		for _, l := range loads {
			if !selected(which, l.name) {
				continue
			}
			for i := range targets {
				t := targets[(i+round)%len(targets)]
				if t.bare && l.bare == nil {
					continue
				}
				o, err := once(ctx, t, l, size)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", t.name, l.name, err)
				}
				res.add(l.name, t.name, o.rate)
				if l.cpu != "" {
					res.add(l.cpu, t.name, o.cpu)
				}
				progress("round %d/%d  %-25s  %-19s %9.0f %s, CPU %.2f", round+1, rounds, l.name, t.name, o.rate, l.unit, o.cpu)
			}
		}
	}
	for _, t := range targets {
		if peak := t.memory.peak(); peak > 0 {
			res.add(rowMemory, t.name, float64(peak)/(1<<20))
		}
	}
	return res, nil
}

// An outcome is what one run of one load on one target gave.
type outcome struct {
	rate float64 // in the load's unit
	cpu  float64 // of the server: seconds for 10^9 bytes, or microseconds for one of what is counted
}

func once(ctx context.Context, t *target, l load, size sizes) (o outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	s, err := t.open(ctx)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	unix.Sync() // what earlier loads wrote must not be written out during this one
	runtime.GC()

	unwatch := t.memory.watch(t.pid)
	defer unwatch()
	before, err := cpuTime(t.pid)
	if err != nil {
		return o, err
	}
	began := time.Now()
	do := l.run
	if t.bare {
		do = l.bare
	}
	work, bytes, err := do(ctx, s, size)
	if err != nil {
		return o, err
	}
	took := time.Since(began)
	after, err := cpuTime(t.pid)
	if err != nil {
		return o, err
	}
	o.rate = work / took.Seconds()
	if o.cpu = (after - before).Seconds() * 1e6 / work; bytes > 0 {
		o.cpu = (after - before).Seconds() * 1e9 / float64(bytes)
	}
	return o, nil
}

// progress tells whoever waits what is going on.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// Command bench measures Postern beside its peers with one client for all (package client). In one run, turn by
// turn, it drives Postern over QUIC and over TCP, Samba's smbd over TCP, and a bare QUIC stream; then Postern over QUIC
// beside smbd over WireGuard, in networks of their own; then all of them over a link that is slow and loses packets. It
// prints medians and ratios as Markdown.
//
//	go run ./tools/bench            the whole table
//	go run ./tools/bench -quick     small sizes, one round (or -n): does it run, roughly what comes out
//	go run ./tools/bench -o NAME    writes tools/bench/results/NAME.txt too, and NAME.profile.txt: where Postern's
//	                                processor time went, load by load
//
// Samba and the networks need root; without it those columns are missing and the output says so.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/tools/postern"
)

// sizes are how much each load does.
type sizes struct {
	file    int64         // bytes of the file of the sequential loads
	span    time.Duration // of the loads that count operations
	lossy   time.Duration // of the loads over the impaired link
	entries int           // of the directory that is listed
	doomed  int           // files that are deleted
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
	rounds := flag.Int("n", 0, "rounds; the table has the medians. 0: five, and one for -quick")
	only := flag.String("targets", "", "only targets whose name contains one of these words, separated by commas")
	which := flag.String("loads", "", "only loads whose name contains one of these words")
	out := flag.String("o", "", "write tools/bench/results/`NAME`.txt and NAME.profile.txt too")
	flag.Parse()
	size := sizes{file: 512 << 20, span: 2 * time.Second, lossy: 10 * time.Second, entries: 100_000, doomed: 10_000, reads: 2_000}
	if *quick {
		size = sizes{file: 128 << 20, span: 600 * time.Millisecond, lossy: 4 * time.Second, entries: 10_000, doomed: 2_000, reads: 1_000}
		*rounds = cmp.Or(*rounds, 1)
	}
	*rounds = cmp.Or(*rounds, 5)
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
	chosen := slices.DeleteFunc(slices.Clone(loads), func(l load) bool { return !selected(which, l.name) })
	h := &hall{}
	defer func() { err = errors.Join(err, h.close()) }()
	if h.dir, err = os.MkdirTemp("", "postern-bench-"); err != nil {
		return err
	}
	h.stops = append(h.stops, func() error { return os.RemoveAll(h.dir) })
	if out != "" {
		if h.profiles, err = newProfiles(ctx, h.dir); err != nil {
			return err
		}
	}
	err = h.start(ctx, func(name string) bool {
		return selected(only, name) && slices.ContainsFunc(chosen, func(l load) bool { return l.runsOn(name) })
	})
	if err != nil {
		return err
	}
	res, failed := h.measure(ctx, chosen, size, rounds)
	if h.links != nil {
		h.note("The lossy link: %v each way, %v %% lost each way; %v. TCP's congestion control is %s.", lossyDelay, lossyShare*100,
			h.links.impairment, congestion)
	}
	if which == "" && ctx.Err() == nil {
		progress("counting allocations")
		if err := allocations(ctx, size.reads, res); err != nil {
			failed = errors.Join(failed, fmt.Errorf("allocations: %w", err))
		}
	}
	fmt.Print(report(h.targets, res, size, rounds, h.notes))
	if out == "" {
		return failed
	}
	return errors.Join(failed, save(out, h, res, size, rounds), h.profiles.save(out))
}

// save writes results/NAME.txt, one value a line.
func save(name string, h *hall, res *results, size sizes, rounds int) error {
	var b bytes.Buffer
	for _, fact := range append(facts(size, rounds), h.notes...) {
		fmt.Fprintf(&b, "# %s\n", fact)
	}
	res.record(&b, h.targets)
	path, err := resultPath(name)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// resultPath is where a result is kept, in a folder that is there.
func resultPath(name string) (string, error) {
	root, err := postern.Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "tools", "bench", "results")
	return filepath.Join(dir, filepath.Base(name)+".txt"), os.MkdirAll(dir, 0o755)
}

// measure runs every load on its targets, rounds times. The targets take turns within a load, and each round begins
// with another one, so that a machine that slows down slows all of them. What fails is noted, is not tried again, and
// takes nothing from the others.
func (h *hall) measure(ctx context.Context, chosen []load, size sizes, rounds int) (res *results, failed error) {
	res = newResults()
	broken := map[[2]string]bool{}
	for round := range rounds {
		for _, l := range chosen {
			for i := range h.targets {
				t := h.targets[(i+round)%len(h.targets)]
				if !l.runsOn(t.name) || l.single && round > 0 || t.bare && l.bare == nil || broken[[2]string{l.name, t.name}] {
					continue
				}
				o, err := h.once(ctx, t, l, size)
				if ctx.Err() != nil {
					return res, errors.Join(failed, ctx.Err())
				}
				if err != nil {
					broken[[2]string{l.name, t.name}] = true
					failed = errors.Join(failed, fmt.Errorf("%s, %s: %w", t.name, l.name, err))
					h.note("%s, %s, failed in round %d: %v.", t.name, l.name, round+1, err)
					continue
				}
				res.add(l.name, t.name, o.rate)
				for row, v := range o.more {
					res.add(row, t.name, v)
				}
				if l.cpu != "" {
					res.add(serverCPU+l.cpu, t.name, o.cpu)
					res.add(clientCPU+l.cpu, t.name, o.ours)
				}
				progress("round %d/%d  %-25s  %-19s %9.*f %s, CPU %.2f", round+1, rounds, l.name, t.name, digits(o.rate), o.rate, l.unit, o.cpu)
			}
		}
	}
	for _, t := range h.targets {
		if peak := t.memory.peak(); peak > 0 {
			res.add(rowMemory, t.name, float64(peak)/(1<<20))
		}
	}
	return res, failed
}

// An outcome is what one run of one load on one target gave.
type outcome struct {
	rate float64 // in the load's unit
	cpu  float64 // of the server: seconds for 10^9 bytes, or microseconds for one of what is counted
	ours float64 // the same of the client
	more map[string]float64
}

func (h *hall) once(ctx context.Context, t *target, l load, size sizes) (o outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if l.prepare != nil && !t.bare {
		if err := l.prepare(t, size); err != nil {
			return o, err
		}
	}
	s, err := t.open(ctx, netip.Addr{})
	if err != nil {
		return o, err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.close() }) // what waits for an answer hears of the end
	defer func() { stop(); err = errors.Join(err, s.close()) }()
	unix.Sync() // what earlier loads wrote must not be written out during this one
	runtime.GC()

	if !l.manual {
		defer t.memory.watch(t.pid)()
	}
	profiled, err := h.profiles.during(t, l.name)
	if err != nil {
		return o, err
	}
	before, err := t.cpu()
	if err != nil {
		return o, err
	}
	began := time.Now()
	do := l.run
	if t.bare {
		do = l.bare
	}
	d, err := do(ctx, s, size)
	if err != nil {
		return o, err
	}
	took := cmp.Or(d.took, time.Since(began))
	after, err := t.cpu()
	if err != nil {
		return o, err
	}
	if err := profiled(); err != nil {
		return o, err
	}
	o.rate, o.more = d.work/took.Seconds(), d.more
	each := 1e6 / d.work
	if d.bytes > 0 {
		each = 1e9 / float64(d.bytes)
	}
	o.cpu = (after.server - before.server).Seconds() * each
	o.ours = (after.client - before.client).Seconds() * each
	return o, nil
}

// progress tells whoever waits what is going on.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

package main

import (
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/tools/bench/client"
)

func TestMedian(t *testing.T) {
	r := newResults()
	if v := r.median("row", "target"); !math.IsNaN(v) {
		t.Errorf("median of nothing is %v", v)
	}
	for _, step := range []struct{ add, want float64 }{{5, 5}, {1, 3}, {100, 5}, {2, 3.5}} {
		r.add("row", "target", step.add)
		if v := r.median("row", "target"); v != step.want {
			t.Errorf("after %v: median %v, want %v", step.add, v, step.want)
		}
	}
}

// A child's time must count while it lives, with its own children's, and stay counted when it has ended.
func TestCPUTime(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done' & read x; wait`)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var during time.Duration
	for range 500 {
		if during, err = cpuTime(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
		if during >= 50*time.Millisecond {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if during < 50*time.Millisecond {
		t.Errorf("the busy grandchild is not counted: %v", during)
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	after, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after-before < during {
		t.Errorf("%v after the child has ended, %v before: its %v is lost", after, before, during)
	}
	if _, err := cpuTime(cmd.Process.Pid); err == nil {
		t.Error("an ended process has a time")
	}
}

func TestPSS(t *testing.T) {
	before, err := pss(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	block, err := unix.Mmap(-1, 0, 64<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Munmap(block); err != nil {
			t.Error(err)
		}
	}()
	after, err := pss(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if grown := after - before; grown < 60<<20 || grown > 80<<20 {
		t.Errorf("grew by %d bytes for %d", grown, len(block))
	}
}

func TestReport(t *testing.T) {
	targets := []*target{{name: posternQUIC, protection: client.Signed, signing: "AES-GMAC"}, {name: bareQUIC, bare: true}}
	res := newResults()
	res.add("sequential read", posternQUIC, 100)
	res.add("sequential read", bareQUIC, 400)
	res.add("server CPU, read", posternQUIC, 1.234)
	text := report(targets, res, sizes{file: 1 << 30, entries: 7}, 1, []string{"a note"})
	for _, want := range []string{
		"- a note\n",
		"| median of 1 | Postern QUIC | bare QUIC |\n",
		"| requests on the wire | signed, AES-GMAC, in TLS | TLS |\n",
		"| sequential read, MB/s | 100 | 400 |\n",
		"| server CPU, read, s/GB | 1.23 | – |\n",
		"| ratio | Postern QUIC ÷ bare QUIC |\n",
		"| sequential read | 0.25 |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "| stat") {
		t.Errorf("a row that nobody measured is in:\n%s", text)
	}
}

// A demand is met on its own side of its bound, and what was not measured is not asked for.
func TestVerdicts(t *testing.T) {
	res := newResults()
	res.add("sequential read", posternQUIC, 96)
	res.add("sequential read", bareQUIC, 100)
	res.add(serverCPU+"read", posternQUIC, 1.2)
	res.add(serverCPU+"read", bareQUIC, 1)
	for i, v := range []float64{50, 100, 90, 70} {
		res.add(crowdRow(crowds[i]), posternTCP, v)
	}
	res.add(crowdRow(512), posternQUIC, 70) // alone: nothing can be said
	var b strings.Builder
	res.verdicts(&b)
	for _, want := range []string{
		"| sequential read: Postern QUIC ÷ bare QUIC | ≥ 0.95 | 0.96 | met |\n",
		"| server CPU, read: Postern QUIC ÷ bare QUIC | ≤ 1.1 | 1.20 | **not met** |\n",
		"| mixed reads, most clients ÷ best: Postern TCP | ≥ 0.8 | 0.70 | **not met** |\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in:\n%s", want, b.String())
		}
	}
	if n := strings.Count(b.String(), "\n"); n != 6 {
		t.Errorf("%d lines:\n%s", n, b.String())
	}
	b.Reset()
	res.record(&b, []*target{{name: posternQUIC}, {name: posternTCP}})
	for _, want := range []string{"mixed reads, 512 clients\tPostern TCP\tMB/s\t70.0\t70.0\t70.0\t1\n", "demand\tsequential read: Postern QUIC ÷ bare QUIC\t0.95\t0.96\ttrue\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in:\n%s", want, b.String())
		}
	}
}

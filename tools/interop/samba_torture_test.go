package interop

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/interop/smbtorture"
	"github.com/postern-nas/postern/tools/peers/peers"
	"github.com/postern-nas/postern/tools/postern/netns"
)

var (
	update      = flag.Bool("update", false, "rewrite testdata/smbtorture.txt from what runs")
	conformance = flag.Bool("conformance", false, "run all of smbtorture, not only what is worth most")
)

const (
	// expectationsFile says which tests of smbtorture do not pass, and why.
	expectationsFile = "testdata/smbtorture.txt"
	// recordFile says what smbd makes of them.
	recordFile = "testdata/samba.txt"
)

// An exam is one run of smbtorture over both transports.
type exam struct {
	targets  []*sambaTarget
	runner   smbtorture.Runner
	all      []string // names of all tests
	expected smbtorture.Expectations
	record   smbtorture.Record
	logs     string // folder

	mu  sync.Mutex
	got map[string]map[string]smbtorture.Outcome // by transport and test
}

// TestSmbtorture holds the server against Samba's exam and the list of what it is known to fail in. Without -conformance
// it runs the tests of core worth; with it all, and a table says how we do beside smbd. To see one suite, whole:
//
//	go test ./tools/interop -run 'TestSmbtorture/quic/smb2.create' -conformance -v
//
// With -update the list is rewritten, and each new line wants a reason from you.
func TestSmbtorture(t *testing.T) {
	e := &exam{
		expected: readFile(t, expectationsFile, smbtorture.ReadExpectations), record: readFile(t, recordFile, smbtorture.ReadRecord),
		logs: os.Getenv("POSTERN_TORTURE_LOGS"), got: map[string]map[string]smbtorture.Outcome{"quic": {}, "tcp": {}},
	}
	if e.logs == "" {
		e.logs = t.TempDir()
	}
	p := peers.Require(t)
	e.runner = smbtorture.Runner{
		Command: func(ctx context.Context, args ...string) *exec.Cmd { return p.Command(ctx, "smbtorture", args...) },
		Limit:   func(test string) time.Duration { return cmp.Or(longTests[test], time.Minute) },
	}
	var err error
	if e.all, err = e.runner.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	// acls-with-sysacl.ACCESSBASED and ioctl.bug14788 ask for shares of these names.
	shares := []share{{name: "hideunread", hide: true}, {name: "noperm"}}
	for _, s := range suites { // to each its own, so that none trips over another's leavings
		if len(e.chosen(s)) == 0 || s.apart {
			continue
		}
		for _, transport := range []string{"quic", "tcp"} {
			shares = append(shares, s.shareFor(transport))
		}
	}
	e.targets = startSambaWith(t, examined, nil, shares...)
	t.Cleanup(func() { e.report(t) }) // after all parallel suites
	for _, tgt := range e.targets {
		t.Run(tgt.transport, func(t *testing.T) {
			for _, s := range suites {
				if len(e.chosen(s)) > 0 {
					t.Run(s.name, func(t *testing.T) {
						if !s.alone {
							t.Parallel()
						}
						e.sit(t, tgt, s)
					})
				}
			}
		})
	}
}

// examined is how the server is set up: the exam has channels over QUIC, too, and sessions without a user, and owners have to
// ask for both.
const examined = "multichannel = true\nanonymous = true\n"

// shareFor is the suite's share.
func (s suite) shareFor(transport string) share {
	sh := s.share
	sh.name, sh.within = s.shareOver(transport), s.local
	return sh
}

// startApart starts a server in a network of its own, and returns it as seen over the same transport as tgt, with the
// options that have smbtorture set up its packet filters there.
func (s suite) startApart(t *testing.T, tgt *sambaTarget) (*sambaTarget, []string) {
	t.Helper()
	for _, own := range startSambaWith(t, examined, netns.Require(t), s.shareFor(tgt.transport)) {
		if own.transport == tgt.transport {
			script := own.peers.TempDir(t).Sub("iptables")
			if err := os.WriteFile(script.Host, []byte(filters[tgt.transport]), 0o755); err != nil {
				t.Fatal(err)
			}
			return own, []string{"--option=torture:use_iptables=yes", "--option=torture:iptables_command=sh " + script.Inside}
		}
	}
	t.Fatalf("no server over %s", tgt.transport)
	return nil, nil
}

// filters are iptables for smbtorture, which thinks of TCP, and which is too quick: its kernel acknowledges what came last
// up to 40 ms late, and when that is lost the server's has something to send again before the test has even begun. Of a
// datagram that may not leave the sender is told, so those are dropped where they arrive.
var filters = map[string]string{
	"tcp":  `case "$*" in -I*DROP) sleep 0.1 ;; esac; exec iptables "$@"`,
	"quic": `for a; do shift; case $a in tcp) a=udp ;; OUTPUT) a=INPUT ;; esac; set -- "$@" "$a"; done; exec iptables "$@"`,
}

// shareOver is the name of the share that the suite uses.
func (s suite) shareOver(transport string) string {
	name := strings.TrimPrefix(s.name, "smb2.") + "-" + transport
	if s.share.btrfs {
		name += "-btrfs"
	}
	return name
}

// chosen are the suite's tests that are to run.
func (e *exam) chosen(s suite) (tests []string) {
	for _, test := range smbtorture.InSuite(e.all, s.name) {
		if s.only != nil && !s.only.MatchString(test) || s.but != nil && s.but.MatchString(test) {
			continue
		}
		if *conformance || e.record[test].Worth == "core" && !slowTests[test] {
			tests = append(tests, test)
		}
	}
	return tests
}

// sit runs one suite over one transport and judges what came of it.
func (e *exam) sit(t *testing.T, tgt *sambaTarget, s suite) {
	var args []string
	if s.apart {
		tgt, args = s.startApart(t, tgt)
	}
	log, err := os.Create(filepath.Join(e.logs, s.shareOver(tgt.transport)+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r := e.runner
	r.Log = log
	r.Command = func(ctx context.Context, args ...string) *exec.Cmd {
		return tgt.peers.Command(ctx, "smbtorture", args...)
	}
	name := s.shareOver(tgt.transport)
	login := alice + "%" + alicePassword
	if s.admin {
		login = carol + "%" + carolPassword
	}
	args = slices.Concat([]string{"//" + serverName + "/" + name, "-U" + login, "--target=samba3"}, tgt.connect, s.args, args)
	if s.local {
		args = append(args, "--option=torture:localdir="+tgt.within[name])
	}
	if s.prepare != nil {
		s.prepare(t, tgt.shares[name])
	}
	if s.file != "" {
		local := tgt.peers.TempDir(t)
		if err := os.WriteFile(local.Sub(s.file).Host, pattern(1, 20_000), 0o644); err != nil {
			t.Fatal(err)
		}
		tgt.do(t, name, "lcd "+local.Inside, "put "+s.file)
	}
	tests, began := e.chosen(s), time.Now()
	var out map[string]smbtorture.Outcome
	if s.whole {
		out = r.RunWhole(t.Context(), args, s.name, tests)
	} else {
		out = r.Run(t.Context(), args, tests)
	}
	pass := 0
	e.mu.Lock()
	for name, o := range out {
		e.got[tgt.transport][name] = o
		if o.Result == smbtorture.Success {
			pass++
		}
	}
	e.mu.Unlock()
	t.Logf("%d of %d pass, in %v", pass, len(tests), time.Since(began).Round(100*time.Millisecond))
	if *update {
		return
	}
	for _, s := range append(e.expected.Check(tgt.transport, tests, out), e.expected.Stale(s.name, smbtorture.InSuite(e.all, s.name))...) {
		t.Error(s)
	}
}

func readFile[T any](t *testing.T, path string, read func(io.Reader) (T, error)) T {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := read(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

// report prints the table, and rewrites the list if that is asked for.
func (e *exam) report(t *testing.T) {
	t.Log(e.table())
	if !*update {
		return
	}
	for transport, got := range e.got {
		e.expected.Update(transport, got)
	}
	if err := e.writeExpectations(); err != nil {
		t.Error(err)
	}
}

// writeExpectations keeps the comment at the top of the file.
func (e *exam) writeExpectations() error {
	old, err := os.ReadFile(expectationsFile)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for in := bufio.NewScanner(bytes.NewReader(old)); in.Scan(); {
		line := in.Text()
		if line != "" && line[0] != '#' {
			break
		}
		fmt.Fprintln(&b, line)
	}
	if _, err := e.expected.WriteTo(&b); err != nil {
		return err
	}
	return os.WriteFile(expectationsFile, b.Bytes(), 0o644)
}

// A score counts passes.
type score struct{ of, quic, tcp, tuned, byDefault int }

func (s *score) line(b *strings.Builder, name string) {
	if s.of > 0 {
		fmt.Fprintf(b, "| %s | %d | %d | %d | %d | %d |\n", name, s.of, s.quic, s.tcp, s.tuned, s.byDefault)
	}
}

// table shows how many tests of each suite pass here and at smbd, which of them pass only there or only here, and what
// took long.
func (e *exam) table() string {
	var b, rows, notes strings.Builder
	scores := map[string]*score{"core": {}, "important": {}, "exotic": {}, "all": {}}
	var slow []string
	for _, s := range suites {
		of := &score{}
		for _, test := range e.chosen(s) {
			quic, overQUIC := e.got["quic"][test]
			tcp, overTCP := e.got["tcp"][test]
			if !overQUIC && !overTCP {
				continue
			}
			rec := e.record[test]
			for _, sc := range []*score{of, scores["all"], scores[cmp.Or(rec.Worth, "exotic")]} {
				sc.add(quic.Result, tcp.Result, rec)
			}
			for _, over := range []struct {
				transport string
				ran       bool
				outcome   smbtorture.Outcome
			}{{"quic", overQUIC, quic}, {"tcp", overTCP, tcp}} {
				if over.ran && over.outcome.Result != smbtorture.Success && rec.Tuned == smbtorture.Success {
					why := e.expected[smbtorture.Key{Test: test, Transport: over.transport}].Reason
					fmt.Fprintf(&notes, "smbd passes (%s) %s over %s, we: %s; %s\n", rec.Worth, test, over.transport, over.outcome.Result, why)
				}
				if over.ran && over.outcome.Result == smbtorture.Success && rec.Tuned != smbtorture.Success {
					fmt.Fprintf(&notes, "we pass %s over %s, smbd: %s\n", test, over.transport, rec.Tuned)
				}
				if over.outcome.Took > 5*time.Second {
					slow = append(slow, fmt.Sprintf("%6.1f s %s over %s (%s)", over.outcome.Took.Seconds(), test, over.transport, rec.Worth))
				}
			}
		}
		name := s.name
		if s.share.btrfs {
			name += " on btrfs"
		}
		of.line(&rows, name)
	}
	fmt.Fprintf(&b, "smbtorture\n\n| passes | of | Postern QUIC | Postern TCP | smbd 4.24.7 tuned | smbd 4.24.7 default |\n|---|--:|--:|--:|--:|--:|\n")
	for _, worth := range []string{"core", "important", "exotic", "all"} {
		scores[worth].line(&b, "**"+worth+"**")
	}
	slices.SortFunc(slow, func(a, b string) int { return cmp.Compare(b, a) })
	fmt.Fprintf(&b, "%s\n%s\n%s", &rows, &notes, strings.Join(slow, "\n"))
	return b.String()
}

func (s *score) add(quic, tcp smbtorture.Result, rec smbtorture.Recorded) {
	count := func(n *int, r smbtorture.Result) {
		if r == smbtorture.Success {
			*n++
		}
	}
	s.of++
	count(&s.quic, quic)
	count(&s.tcp, tcp)
	count(&s.tuned, rec.Tuned)
	count(&s.byDefault, rec.Default)
}

package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-nas/postern/tools/interop/smbtorture"
)

var update = flag.Bool("update", false, "rewrite testdata/smbtorture.txt from the suites that run")

// expectationsFile says which tests of smbtorture do not pass, and why.
const expectationsFile = "testdata/smbtorture.txt"

// suites are what we take smbtorture's word on.
var suites = []string{
	"smb2.connect", "smb2.tcon", "smb2.session", "smb2.session-id", "smb2.session-require-signing", "smb2.credits",
	"smb2.compound", "smb2.compound_find", "smb2.create", "smb2.mkdir", "smb2.read", "smb2.rw", "smb2.dir",
	"smb2.getinfo", "smb2.setinfo", "smb2.fileid", "smb2.sharemode", "smb2.delete-on-close-perms",
	"smb2.acls-with-sysacl", "smb2.acls-ignore-sysacl", "smb2.maximum_allowed", "smb2.sdread",
	"smb2.lock", "smb2.notify-inotify", "smb2.dirlease", "smb2.rename",
}

// suiteOptions are what Samba's own runs of a suite give it.
var suiteOptions = map[string][]string{
	"smb2.session":                 {"--option=torture:user2name=" + bob, "--option=torture:user2password=" + bobPassword},
	"smb2.session-require-signing": {"--client-protection=sign"},
}

// longTests take more than smbtorture.DefaultLimit when they are well.
var longTests = map[string]time.Duration{
	"smb2.dir.large-files": 2 * time.Minute,
}

// TestSmbtorture holds the server against Samba's exam and the list of what it is known to fail in. To see one test:
//
//	go test ./tools/interop -run 'TestSmbtorture/quic/smb2.create' -v
//
// With -update the list is rewritten, and each new line wants a reason from you. With POSTERN_BASELINE naming a JSON
// file {suite: {test: {column: result}}} of another server, its results are shown beside ours.
func TestSmbtorture(t *testing.T) {
	expected := readExpectations(t)
	// acls-with-sysacl.ACCESSBASED asks for a share of this name.
	shares := []share{{name: "hideunread", hide: true}}
	for _, s := range suites { // to each its own, so that none trips over another's leavings
		for _, transport := range []string{"quic", "tcp"} {
			shares = append(shares, share{name: tortureShare(s, transport)})
		}
	}
	// The exam has channels over QUIC, too, and sessions without a user: owners have to ask for both.
	targets := startSambaWith(t, "multichannel = true\nanonymous = true\n", shares...)
	logs := os.Getenv("POSTERN_TORTURE_LOGS")
	if logs == "" {
		logs = t.TempDir()
	}
	runner := &smbtorture.Runner{
		Command: func(ctx context.Context, args ...string) *exec.Cmd {
			return targets[0].peers.Command(ctx, "smbtorture", args...)
		},
		Limit: func(test string) time.Duration { return longTests[test] },
	}
	all, err := runner.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	var mu sync.Mutex
	got := map[string]map[string]smbtorture.Outcome{"quic": {}, "tcp": {}}
	t.Cleanup(func() { // after all parallel suites
		for _, tgt := range targets {
			reportTorture(t, tgt.transport, all, got[tgt.transport])
			if *update {
				expected.Update(tgt.transport, got[tgt.transport])
			}
		}
		if *update {
			writeExpectations(t, expected)
		}
	})
	for _, tgt := range targets {
		t.Run(tgt.transport, func(t *testing.T) {
			for _, suite := range suites {
				t.Run(suite, func(t *testing.T) {
					t.Parallel()
					tests := smbtorture.InSuite(all, suite)
					if len(tests) == 0 {
						t.Fatalf("smbtorture has no suite %s", suite)
					}
					log, err := os.Create(filepath.Join(logs, tgt.transport+"-"+suite+".log"))
					if err != nil {
						t.Fatal(err)
					}
					defer log.Close()
					r := *runner
					r.Log = log
					args := append([]string{
						"//" + serverName + "/" + tortureShare(suite, tgt.transport), "-U" + alice + "%" + alicePassword,
						"--target=samba3",
					}, tgt.connect...)
					out := r.Run(t.Context(), append(args, suiteOptions[suite]...), tests)
					mu.Lock()
					defer mu.Unlock()
					for name, o := range out {
						got[tgt.transport][name] = o
					}
					if *update {
						return
					}
					for _, s := range append(expected.Check(tgt.transport, tests, out), expected.Stale(suite, tests)...) {
						t.Error(s)
					}
				})
			}
		})
	}
}

func tortureShare(suite, transport string) string {
	return strings.TrimPrefix(suite, "smb2.") + "-" + transport
}

func readExpectations(t *testing.T) smbtorture.Expectations {
	t.Helper()
	f, err := os.Open(expectationsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e, err := smbtorture.ReadExpectations(f)
	if err != nil {
		t.Fatalf("%s: %v", expectationsFile, err)
	}
	return e
}

// writeExpectations keeps the comment at the top of the file.
func writeExpectations(t *testing.T, e smbtorture.Expectations) {
	t.Helper()
	old, err := os.ReadFile(expectationsFile)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for in := bufio.NewScanner(bytes.NewReader(old)); in.Scan(); {
		line := in.Text()
		if line != "" && line[0] != '#' {
			break
		}
		fmt.Fprintln(&b, line)
	}
	if _, err := e.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(expectationsFile, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// reportTorture logs how many tests of each suite pass, and how many the baseline's server passes.
func reportTorture(t *testing.T, transport string, all []string, got map[string]smbtorture.Outcome) {
	t.Helper()
	var baseline map[string]map[string]map[string]string
	var columns []string
	if path := os.Getenv("POSTERN_BASELINE"); path != "" {
		b, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(b, &baseline)
		}
		if err != nil {
			t.Errorf("POSTERN_BASELINE: %v", err)
			return
		}
		for c := range baseline["smb2.connect"]["connect"] {
			columns = append(columns, c)
		}
		slices.Sort(columns)
	}
	var table strings.Builder
	fmt.Fprintf(&table, "smbtorture over %s\n%-30s %5s %5s", transport, "suite", "pass", "of")
	for _, c := range columns {
		fmt.Fprintf(&table, " %11s", c)
	}
	var pass, of int
	var only []string
	for _, suite := range suites {
		p, n, base := 0, 0, map[string]int{}
		for _, test := range smbtorture.InSuite(all, suite) {
			o, ran := got[test]
			if !ran {
				continue
			}
			n++
			if o.Result == smbtorture.Success {
				p++
			}
			short := strings.TrimPrefix(strings.TrimPrefix(test, suite), ".")
			if short == "" {
				short = strings.TrimPrefix(suite, "smb2.")
			}
			all := len(columns) > 0
			for _, c := range columns {
				if baseline[suite][short][c] == string(smbtorture.Success) {
					base[c]++
				} else {
					all = false
				}
			}
			if all && o.Result != smbtorture.Success {
				only = append(only, fmt.Sprintf("%s: %s", test, o.Result))
			}
		}
		if n == 0 {
			continue
		}
		pass, of = pass+p, of+n
		fmt.Fprintf(&table, "\n%-30s %5d %5d", suite, p, n)
		for _, c := range columns {
			fmt.Fprintf(&table, " %11d", base[c])
		}
	}
	fmt.Fprintf(&table, "\n%-30s %5d %5d", "all", pass, of)
	if len(only) > 0 {
		fmt.Fprintf(&table, "\nthe other server passes in every column, and this one does not:\n  %s", strings.Join(only, "\n  "))
	}
	t.Log(table.String())
}

package smbtorture

import (
	"context"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
)

// fake is an smbtorture whose tests do what their names say.
func fake(limit time.Duration, log *strings.Builder) *Runner {
	const script = `
for t in "$@"; do
	case $t in
	--*|//*) continue ;;
	esac
	case $t in
	*.absent) echo "Unknown torture operation '$t'"; exit 1 ;;
	esac
	echo "test: $t"
	case $t in
	*.good*) echo "success: $t" ;;
	*.bad) printf 'failure: %s [\nwrong\n]\n' "$t" ;;
	*.hang) echo "waiting for Godot"; exec sleep 60 ;;
	*.crash) echo "PANIC"; kill -9 $$ ;;
	*.twice) echo "failure: $t"; echo "test: $t"; echo "success: $t" ;;
	esac
done`
	r := &Runner{
		Command: func(ctx context.Context, args ...string) *exec.Cmd {
			return exec.CommandContext(ctx, "sh", append([]string{"-c", script, "sh"}, args...)...)
		},
		Limit: func(string) time.Duration { return limit },
	}
	if log != nil {
		r.Log = log
	}
	return r
}

func TestRun(t *testing.T) {
	var log strings.Builder
	r := fake(300*time.Millisecond, &log)
	tests := []string{"s.absent", "s.good 1", "s.hang", "s.bad", "s.crash", "s.good2", "s.twice"}
	start := time.Now()
	got := r.Run(t.Context(), []string{"//nas.test/share", "--option=x"}, tests)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	results := map[string]Result{}
	for name, o := range got {
		results[name] = o.Result
	}
	want := map[string]Result{
		"s.absent": Crash, "s.good 1": Success, "s.hang": Timeout, "s.bad": Failure, "s.crash": Crash, "s.good2": Success,
		"s.twice": Failure,
	}
	if !reflect.DeepEqual(results, want) {
		t.Errorf("results %v, want %v", results, want)
	}
	for name, reason := range map[string]string{
		"s.absent": "Unknown torture operation", "s.hang": "waiting for Godot", "s.bad": "wrong", "s.crash": "PANIC",
	} {
		if !strings.Contains(got[name].Reason, reason) {
			t.Errorf("%s: reason %q, want it to tell of %q", name, got[name].Reason, reason)
		}
	}
	if !strings.Contains(log.String(), "//nas.test/share") || !strings.Contains(log.String(), "failure: s.bad wrong") {
		t.Errorf("log:\n%s", &log)
	}
}

func TestRunNoProgram(t *testing.T) {
	r := &Runner{Command: func(ctx context.Context, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, "/nonexistent/smbtorture", args...)
	}}
	if got := r.Run(t.Context(), nil, []string{"a", "b"}); got["a"].Result != Error || got["b"].Result != Error {
		t.Errorf("%v, want two errors", got)
	}
	if _, err := r.List(t.Context()); err == nil {
		t.Error("List of nothing works")
	}
}

func TestRunCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	got := fake(time.Minute, nil).Run(ctx, nil, []string{"s.good", "s.hang", "s.good2"})
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	if got["s.good"].Result != Success {
		t.Errorf("what ran before is lost: %v", got)
	}
	if _, ran := got["s.good2"]; ran {
		t.Errorf("it went on: %v", got)
	}
}

func TestParseList(t *testing.T) {
	got := parseList("Tests:\nsmb2.read.eof.eof\nsmb2.connect.connect\nsmb2.connect\nsmb2.d.A B.A B\nsmb2.odd.case\n\nBASE-X\n")
	want := []string{"smb2.read.eof", "smb2.connect", "smb2.d.A B", "smb2.odd.case"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := InSuite([]string{"smb2.read", "smb2.read.eof", "smb2.read-only.x"}, "smb2.read"); len(got) != 2 {
		t.Errorf("InSuite: %q", got)
	}
}

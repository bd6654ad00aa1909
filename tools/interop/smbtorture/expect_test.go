package smbtorture

import (
	"reflect"
	"strings"
	"testing"
)

const text = `
# a comment
smb2.a     | both | failure | the reason | with a bar
smb2.b x y | tcp  | skip    | one
smb2.b x y | quic | timeout | another
smb2.c     | quic | failure | ? unexplained
`

func read(t *testing.T, text string) Expectations {
	t.Helper()
	e, err := ReadExpectations(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestExpectationsText(t *testing.T) {
	e := read(t, text)
	want := Expectations{
		{"smb2.a", "tcp"}: {Result: Failure, Reason: "the reason | with a bar"}, {"smb2.a", "quic"}: {Result: Failure, Reason: "the reason | with a bar"},
		{"smb2.b x y", "tcp"}: {Result: Skip, Reason: "one"}, {"smb2.b x y", "quic"}: {Result: Timeout, Reason: "another"},
		{"smb2.c", "quic"}: {Result: Failure, Reason: "? unexplained"},
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("read %v, want %v", e, want)
	}
	var b strings.Builder
	if _, err := e.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if _, lines, _ := strings.Cut(text, "comment\n"); b.String() != lines {
		t.Errorf("written\n%s, want\n%s", &b, lines)
	}
}

func TestExpectationsMalformed(t *testing.T) {
	for _, line := range []string{
		"smb2.a", "smb2.a | tcp | failure", "smb2.a | tcp | failure |", "| tcp | failure | why",
		"smb2.a | udp | failure | why", "smb2.a | tcp | success | why", "smb2.a | tcp | nonsense | why",
		"smb2.a | both | skip | why\nsmb2.a | quic | skip | why",
	} {
		if e, err := ReadExpectations(strings.NewReader(line)); err == nil {
			t.Errorf("%q is read as %v", line, e)
		}
	}
}

func TestCheck(t *testing.T) {
	e := read(t, text)
	tests := []string{"smb2.a", "smb2.b x y", "smb2.c", "smb2.d"}
	for _, c := range []struct {
		name, transport string
		got             map[string]Outcome
		want            []string // a part of each surprise
	}{
		{"as expected", "tcp", map[string]Outcome{
			"smb2.a": {Result: Failure, Reason: ""}, "smb2.b x y": {Result: Skip, Reason: ""}, "smb2.c": {Result: Success, Reason: ""}, "smb2.d": {Result: Success, Reason: ""},
		}, nil},
		{"unexpected pass", "tcp", map[string]Outcome{
			"smb2.a": {Result: Success, Reason: ""}, "smb2.b x y": {Result: Skip, Reason: ""}, "smb2.c": {Result: Success, Reason: ""}, "smb2.d": {Result: Success, Reason: ""},
		}, []string{"smb2.a: passes now"}},
		{"unexpected failure", "tcp", map[string]Outcome{
			"smb2.a": {Result: Failure, Reason: ""}, "smb2.b x y": {Result: Skip, Reason: ""}, "smb2.c": {Result: Success, Reason: ""}, "smb2.d": {Result: Failure, Reason: "broken"},
		}, []string{"smb2.d: failure: broken"}},
		{"another way to fail", "quic", map[string]Outcome{
			"smb2.a": {Result: Crash, Reason: "boom"}, "smb2.b x y": {Result: Timeout, Reason: ""}, "smb2.c": {Result: Success, Reason: ""}, "smb2.d": {Result: Success, Reason: ""},
		}, []string{"smb2.a: crash, expected failure: boom", "smb2.c: passes now"}},
		{"no reason, not run", "quic", map[string]Outcome{
			"smb2.a": {Result: Failure, Reason: ""}, "smb2.b x y": {Result: Timeout, Reason: ""}, "smb2.c": {Result: Failure, Reason: ""},
		}, []string{"smb2.c: its line in the expectations has no reason", "smb2.d: has not run"}},
	} {
		got := e.Check(c.transport, tests, c.got)
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
			continue
		}
		for i := range got {
			if !strings.HasPrefix(got[i], c.want[i]) {
				t.Errorf("%s: %q, want %q", c.name, got[i], c.want[i])
			}
		}
	}
	if got := e.Stale("smb2.a", nil); len(got) != 1 || !strings.HasPrefix(got[0], "smb2.a:") {
		t.Errorf("stale: %q", got)
	}
	if got := e.Stale("smb2.a", []string{"smb2.a"}); got != nil {
		t.Errorf("not stale: %q", got)
	}
}

func TestUpdate(t *testing.T) {
	e := read(t, text)
	e.Update("quic", map[string]Outcome{
		"smb2.a": {Result: Failure, Reason: "new words"}, "smb2.b x y": {Result: Failure, Reason: "x.c:1: now this\nand more"}, "smb2.c": {Result: Success, Reason: ""},
		"smb2.d": {Result: Skip, Reason: "not here"},
	})
	want := read(t, `
smb2.a     | both | failure | the reason | with a bar
smb2.b x y | tcp  | skip    | one
smb2.b x y | quic | failure | ? x.c:1: now this
smb2.d     | quic | skip    | ? not here
`)
	if !reflect.DeepEqual(e, want) {
		t.Errorf("%v, want %v", e, want)
	}
}

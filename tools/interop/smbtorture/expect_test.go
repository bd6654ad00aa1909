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
		{"smb2.a", "tcp"}: {Failure, "the reason | with a bar"}, {"smb2.a", "quic"}: {Failure, "the reason | with a bar"},
		{"smb2.b x y", "tcp"}: {Skip, "one"}, {"smb2.b x y", "quic"}: {Timeout, "another"},
		{"smb2.c", "quic"}: {Failure, "? unexplained"},
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
			"smb2.a": {Failure, ""}, "smb2.b x y": {Skip, ""}, "smb2.c": {Success, ""}, "smb2.d": {Success, ""},
		}, nil},
		{"unexpected pass", "tcp", map[string]Outcome{
			"smb2.a": {Success, ""}, "smb2.b x y": {Skip, ""}, "smb2.c": {Success, ""}, "smb2.d": {Success, ""},
		}, []string{"smb2.a: passes now"}},
		{"unexpected failure", "tcp", map[string]Outcome{
			"smb2.a": {Failure, ""}, "smb2.b x y": {Skip, ""}, "smb2.c": {Success, ""}, "smb2.d": {Failure, "broken"},
		}, []string{"smb2.d: failure: broken"}},
		{"another way to fail", "quic", map[string]Outcome{
			"smb2.a": {Crash, "boom"}, "smb2.b x y": {Timeout, ""}, "smb2.c": {Success, ""}, "smb2.d": {Success, ""},
		}, []string{"smb2.a: crash, expected failure: boom", "smb2.c: passes now"}},
		{"no reason, not run", "quic", map[string]Outcome{
			"smb2.a": {Failure, ""}, "smb2.b x y": {Timeout, ""}, "smb2.c": {Failure, ""},
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
		"smb2.a": {Failure, "new words"}, "smb2.b x y": {Failure, "x.c:1: now this\nand more"}, "smb2.c": {Success, ""},
		"smb2.d": {Skip, "not here"},
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

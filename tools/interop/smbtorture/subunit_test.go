package smbtorture

import (
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

const stream = `smbtorture 4.24.7
Using seed 1
time: 2026-11-22 18:02:21.663757
test: smb2.a
time: 2026-11-22 18:02:21.663938
success: smb2.a
test: smb2.b OVERWRITE_IF Existing
some talk: of the test
failure: smb2.b OVERWRITE_IF Existing [
util.c:1: status was X
expected Y
]
test: smb2.c
skip: smb2.c [
not here
]
test: smb2.d
`

var streamEvents = []event{
	{test: "smb2.a"},
	{"smb2.a", Outcome{Result: Success, Reason: ""}},
	{test: "smb2.b OVERWRITE_IF Existing"},
	{"smb2.b OVERWRITE_IF Existing", Outcome{Result: Failure, Reason: "util.c:1: status was X\nexpected Y"}},
	{test: "smb2.c"},
	{"smb2.c", Outcome{Result: Skip, Reason: "not here"}},
	{test: "smb2.d"},
}

func parse(t *testing.T, text string) (events []event, rest []string) {
	t.Helper()
	err := readSubunit(iotest.OneByteReader(strings.NewReader(text)), func(e event) { events = append(events, e) },
		func(line string) { rest = append(rest, line) })
	if err != nil {
		t.Fatal(err)
	}
	return events, rest
}

func TestReadSubunit(t *testing.T) {
	events, rest := parse(t, stream)
	if !reflect.DeepEqual(events, streamEvents) {
		t.Errorf("events\n%v, want\n%v", events, streamEvents)
	}
	if want := []string{"smbtorture 4.24.7", "Using seed 1", "some talk: of the test"}; !reflect.DeepEqual(rest, want) {
		t.Errorf("rest %q, want %q", rest, want)
	}
}

// Wherever the stream is cut, the events before the cut are there and none is invented.
func TestReadSubunitCut(t *testing.T) {
	for n := range len(stream) {
		events, _ := parse(t, stream[:n])
		for i, e := range events {
			w := streamEvents[min(i, len(streamEvents)-1)]
			if i == len(events)-1 { // the last may be a beginning of itself
				if e.Result != w.Result || !strings.HasPrefix(w.test, e.test) || !strings.HasPrefix(w.Reason, e.Reason) {
					t.Fatalf("cut at %d: last event %v, want a beginning of %v", n, e, w)
				}
			} else if e != w {
				t.Fatalf("cut at %d: event %d is %v, want %v", n, i, e, w)
			}
		}
	}
}

func TestReadSubunitBounds(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	events, _ := parse(t, "test: a\nfailure: a [\n"+long+"\n"+long+"\n]\ntest: b\nsuccess: b\n")
	if len(events) != 4 || len(events[1].Reason) > maxReason || events[3].Result != Success {
		t.Errorf("a reason of 2 MiB: %d events, reason of %d bytes", len(events), len(events[1].Reason))
	}
}

func FuzzReadSubunit(f *testing.F) {
	f.Add(stream)
	f.Add("failure: [\n]\n: \nfailure: x [")
	f.Add("test: \xff\nsuccess: \xff\n")
	f.Fuzz(func(t *testing.T, text string) {
		err := readSubunit(strings.NewReader(text), func(e event) {
			if len(e.Reason) > maxReason+1 {
				t.Errorf("a reason of %d bytes", len(e.Reason))
			}
			if _, known := worse[e.Result]; e.Result != "" && !known {
				t.Errorf("result %q", e.Result)
			}
		}, func(string) {})
		if err != nil {
			t.Error(err)
		}
	})
}

package steps

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRanInit(t *testing.T) {
	for record, want := range map[string]time.Duration{
		"6,290,1201529,-;Run /init as init process\n":                            1201529 * time.Microsecond,
		"6,290,1201529,-,caller=T1;Run /init as init process\n SUBSYSTEM=none\n": 1201529 * time.Microsecond,
		"6,290,1201529,-;Freeing unused kernel memory: 2176K\n":                  0,
		"12,1,5,-;said: 6,290,9,-;Run /init as init process\n":                   0,
		"": 0,
	} {
		if at, ok := ranInit(record); at != want || ok != (want > 0) {
			t.Errorf("%q: %v %v", record, at, ok)
		}
	}
}

// TestBegan: a log that does not say, or says what cannot be, is no reason to count wrongly.
func TestBegan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmsg")
	for text, known := range map[string]bool{
		"6,290,1000,-;Run /init as init process": true, "6,290,1000,-;something else": false,
		"6,290,999999999999999,-;Run /init as init process": false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		before := Uptime()
		got := Began(path)
		if known && got != time.Millisecond || !known && (got < before || got > Uptime()) {
			t.Errorf("%q: %v", text, got)
		}
	}
	if got := Began(path + "x"); got > Uptime() || got == 0 {
		t.Errorf("without a log: %v", got)
	}
}

func TestListening(t *testing.T) {
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil))
	s := New(Uptime())
	s.Done("state")
	s.Listening(log)
	s.Done("later")
	s.Listening(log)
	select {
	case <-s.Over():
	default:
		t.Error("it is not over")
	}
	if got := out.String(); strings.Count(got, "init to listening") != 1 || !strings.Contains(got, " ms=") || !strings.Contains(got, "done.state=") {
		t.Errorf("%s", got)
	}
	var none *Steps
	none.Done("nothing")
}

package sysled

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-nas/postern/board"
)

func TestSet(t *testing.T) {
	dir := t.TempDir()
	led := filepath.Join(dir, "green:status")
	if err := os.Mkdir(led, 0o777); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"max_brightness": "255\n", "brightness": "7\n", "trigger": "[heartbeat] none timer\n", "delay_on": "", "delay_off": ""} {
		if err := os.WriteFile(filepath.Join(led, file), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(dir, "green:status")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		to                  board.Light
		trigger, brightness string
		delay               string
	}{
		{board.Lit, "none", "255", ""},
		{board.Flashing, "timer", "255", "125"},
		{board.Blinking, "timer", "255", "500"},
		{board.Dark, "none", "0", "500"},
	} {
		if err := l.Set(c.to); err != nil {
			t.Fatal(err)
		}
		for file, want := range map[string]string{"trigger": c.trigger, "brightness": c.brightness, "delay_on": c.delay, "delay_off": c.delay} {
			if got, err := os.ReadFile(filepath.Join(led, file)); string(got) != want {
				t.Errorf("light %d: %s is %q, %v; want %q", c.to, file, got, err, want)
			}
		}
	}
	// An LED that went away is an error, and nothing is made in its place.
	if err := os.RemoveAll(led); err != nil {
		t.Fatal(err)
	}
	if err := l.Set(board.Lit); err == nil {
		t.Error("an LED that is gone was lit")
	}
	if _, err := Open(dir, "green:status"); err == nil {
		t.Error("an LED that is gone was opened")
	}
}

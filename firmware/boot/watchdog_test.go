package boot

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestHungry: fed through the boot and through a short illness; not through a long one, nor a boot that does not end.
func TestHungry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := openWatchdog(filepath.Join(t.TempDir(), "none"), slog.New(slog.DiscardHandler))
		at := func(d time.Duration) error { return w.hungry(time.Now().Add(d)) }
		if err := at(bootGrace - time.Second); err != nil {
			t.Error(err)
		}
		if err := at(bootGrace + time.Second); err == nil || !strings.Contains(err.Error(), "not begun") {
			t.Errorf("a boot without end: %v", err)
		}
		var ill error
		w.watch(func() error { return ill })
		if err := at(time.Hour); err != nil {
			t.Error(err)
		}
		ill = errors.New("quic is not healthy")
		if err := at(time.Hour); err != nil {
			t.Error(err)
		}
		if err := at(time.Hour + unwellGrace - time.Second); err != nil {
			t.Error(err)
		}
		ill = nil
		if err := at(time.Hour + unwellGrace + time.Second); err != nil {
			t.Error(err)
		}
		ill = errors.New("quic is not healthy")
		if err := at(2 * time.Hour); err != nil {
			t.Error(err)
		}
		if err := at(2*time.Hour + unwellGrace + time.Second); !errors.Is(err, ill) {
			t.Error(err)
		}
		w.watch(nil) // the keys are open now, and the server starts
		if err := at(bootGrace - time.Second); err != nil {
			t.Error(err)
		}
		if err := at(bootGrace + time.Second); err == nil || !strings.Contains(err.Error(), "not begun") {
			t.Errorf("a start without end: %v", err)
		}
	})
}

// TestFed counts signs of life in a file that takes the device's place.
func TestFed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "watchdog")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		w := openWatchdog(path, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan bool)
		go func() { w.run(ctx); close(done) }()
		fed := func() int { b, _ := os.ReadFile(path); return len(b) }
		time.Sleep(time.Minute + time.Second)
		if n := fed(); n != 7 {
			t.Errorf("%d signs in a minute", n)
		}
		ill := errors.New("hangs")
		w.watch(func() error { return ill })
		time.Sleep(bootGrace + unwellGrace)
		n := fed()
		time.Sleep(time.Hour)
		if fed() != n {
			t.Error("fed while it hangs")
		}
		cancel()
		<-done
		w.close(true)
		if b, _ := os.ReadFile(path); strings.Contains(string(b), "V") {
			t.Error("disarmed before a restart")
		}
		w.close(false)
		if b, _ := os.ReadFile(path); !strings.HasSuffix(string(b), "V") {
			t.Error("armed while the power is off")
		}
	})
}

func TestCollectCrash(t *testing.T) {
	pstore, dir := t.TempDir(), t.TempDir()
	log := slog.New(slog.DiscardHandler)
	now := time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)
	if c := collectCrash(filepath.Join(pstore, "none"), dir, now, log); c != nil {
		t.Errorf("%+v", c)
	}
	if c := collectCrash(pstore, dir, now, log); c != nil {
		t.Errorf("%+v", c)
	}
	if c, err := LastCrash(dir); c != nil || err != nil {
		t.Errorf("%+v (%v)", c, err)
	}
	for i := range keptCrash + 3 {
		for name, text := range map[string]string{
			"dmesg-efi_pstore-2": "Panic#1 Part2\n<4>older \x1b[31mline\n", "dmesg-efi_pstore-1": "Panic#1 Part1\nKernel panic - not syncing: \xff\n",
			"console-ramoops-0": strings.Repeat("x", 2*maxRecord),
		} {
			if err := os.WriteFile(filepath.Join(pstore, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		when := now.Add(time.Duration(i) * time.Hour)
		c := collectCrash(pstore, dir, when, log)
		if c == nil || len(c.Text) > maxCrash+1000 {
			t.Fatalf("%+v", c)
		}
		older, panic := strings.Index(c.Text, "older ?[31mline"), strings.Index(c.Text, "not syncing: ?")
		if older < 0 || panic < older || len(c.Text) < maxRecord {
			t.Errorf("%q", c.Text[:200])
		}
		if left, err := os.ReadDir(pstore); err != nil || len(left) > 0 {
			t.Errorf("left %v (%v)", left, err)
		}
		if last, err := LastCrash(dir); err != nil || !last.Found.Equal(when) || last.Text != c.Text {
			t.Errorf("%+v (%v)", last, err)
		}
	}
	if names, err := crashes(filepath.Join(dir, crashDir)); err != nil || len(names) != keptCrash {
		t.Errorf("%v (%v)", names, err)
	}
}

// TestCrashStateFull: what cannot be kept stays where the kernel left it, and is shown all the same.
func TestCrashNotKept(t *testing.T) {
	pstore, dir := t.TempDir(), t.TempDir()
	record := filepath.Join(pstore, "dmesg-ramoops-0")
	for _, path := range []string{record, filepath.Join(dir, crashDir)} { // a file where the folder is to be
		if err := os.WriteFile(path, []byte("Oops\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := collectCrash(pstore, dir, time.Now(), slog.New(slog.DiscardHandler))
	if c == nil || !strings.Contains(c.Text, "Oops") || !exists(record) {
		t.Errorf("%+v", c)
	}
}

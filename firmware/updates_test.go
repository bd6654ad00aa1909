package main

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/postern-nas/postern/firmware/boot"
	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/images/bundle"
	"github.com/postern-nas/postern/ui"
)

// TestBoxUpdates: a box knows from its image what it is; one that does not, cannot be updated.
func TestBoxUpdates(t *testing.T) {
	root, log := t.TempDir(), slog.New(slog.DiscardHandler)
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	refuse := func(what string) {
		t.Helper()
		if _, err := boxUpdates(root, t.TempDir(), log); err == nil {
			t.Errorf("%s: taken for a box", what)
		}
	}
	refuse("nothing")
	write(update.ReleaseFile, `{"board":"qemu","number":3,"version":"v0.3"}`)
	refuse("no keys")
	key, _, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	write(update.KeysFile, "# ours\n"+key.String()+"\n")
	for board, slots := range map[string]bool{"qemu": true, "helios64": true} {
		write(update.ReleaseFile, `{"board":"`+board+`","number":3,"version":"v0.3"}`)
		o, err := boxUpdates(root, t.TempDir(), log)
		if err != nil || o.Running.Number != 3 || len(o.Trusted) != 1 || (o.Slots != nil) != slots {
			t.Errorf("%s: %+v (%v)", board, o, err)
		}
	}
	write(update.ReleaseFile, `{"board":"toaster","number":3,"version":"v0.3"}`)
	refuse("another board")
}

func TestLastWords(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "one\ntwo\n\n": "two\n", "[1.0] Kernel panic - not syncing: x\n[1.1] ---[ end ]---\n": "[1.0] Kernel panic - not syncing: x\n",
	} {
		if got := lastWords(&boot.Crash{Text: text}); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	if lastWords(nil) != "" {
		t.Error("no crash has words")
	}
}

func TestUpdateCommand(t *testing.T) {
	dir := t.TempDir()
	run := func(words ...string) (int, string) {
		var out bytes.Buffer
		code := command(append([]string{"-state", dir, "update"}, words...), strings.NewReader(""), &out, &out)
		return code, out.String()
	}
	for _, words := range [][]string{{}, {"install"}, {"status", "x"}, {"dance"}} {
		if code, out := run(words...); code != exitUsage {
			t.Errorf("%q: %d %s", words, code, out)
		}
	}
	for _, words := range [][]string{{"status"}, {"install", "/dev/null"}} {
		if code, out := run(words...); code != exitFailed || !strings.Contains(out, "no box of its own") {
			t.Errorf("%q: %d %s", words, code, out)
		}
	}
	if code, out := run("check"); code != exitFailed || !strings.Contains(out, "none is named") {
		t.Errorf("check: %d %s", code, out)
	}
}

// TestPageUpdates: what an owner sees of an update.
func TestPageUpdates(t *testing.T) {
	u, err := update.Open(update.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	p := pageUpdates{u}
	release := bundle.Release{Board: "qemu", Number: 4, Version: "v0.4"}
	failed := update.Outcome{Release: release, Why: "it did not start", Time: time.Now()}
	for name, c := range map[string]struct {
		status  update.Status
		version string
		percent int
		alarms  int
		why     string
	}{
		"nothing":     {update.Status{Phase: update.Idle}, "", 0, 0, ""},
		"offered":     {update.Status{Phase: update.Idle, Offered: release}, "v0.4", 0, 0, ""},
		"coming":      {update.Status{Phase: update.Receiving, Next: release, Percent: 40}, "v0.4", 40, 0, ""},
		"just begun":  {update.Status{Phase: update.Receiving, Next: release}, "v0.4", 1, 0, ""},
		"ready":       {update.Status{Phase: update.Ready, Next: release, Percent: 100}, "v0.4", 100, 1, ""},
		"rolled back": {update.Status{Phase: update.Idle, Last: failed}, "", 0, 1, "it did not start"},
		"good": {
			update.Status{Phase: update.Idle, Last: update.Outcome{Release: release, Good: true, Time: time.Now()}}, "", 0, 0, "",
		},
	} {
		u.Status.Set(c.status)
		var s ui.State
		p.tell(&s)
		version, percent := "", 0
		if s.Update != nil {
			version, percent = s.Update.Version, s.Update.Percent
		}
		if _, why := p.RolledBack(); version != c.version || percent != c.percent || len(s.Alarms) != c.alarms || why != c.why {
			t.Errorf("%s: %q %d %% %v, %q", name, version, percent, s.Alarms, why)
		}
	}
}

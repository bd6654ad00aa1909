package main

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/update"
	"github.com/postern-nas/postern/images/bundle"
	"github.com/postern-nas/postern/ui"
)

// What the updater says is what panel and page show: what comes, how far it is, and what was taken back.
func TestUpdatesShown(t *testing.T) {
	next := bundle.Release{Board: "qemu", Number: 7, Version: "1.7"}
	for _, c := range []struct {
		name   string
		status update.Status
		want   *ui.Update
		alarm  string
	}{
		{"nothing", update.Status{Phase: update.Idle}, nil, ""},
		{"offered", update.Status{Phase: update.Idle, Offered: next}, &ui.Update{Version: "1.7 (7)"}, ""},
		{"coming in", update.Status{Phase: update.Receiving, Next: next, Percent: 40}, &ui.Update{Version: "1.7 (7)", Percent: 40}, ""},
		{"on trial", update.Status{Phase: update.OnTrial, Next: next}, nil, ""},
		{"good", update.Status{Phase: update.Idle, Last: update.Outcome{Release: next, Good: true, Time: time.Now()}}, nil, ""},
		{"taken back", update.Status{Phase: update.Idle, Last: update.Outcome{Release: next, Why: "it did not serve", Time: time.Now()}}, nil, "1.7"},
	} {
		u, err := update.Open(update.Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		u.Status.Set(c.status)
		p := pageUpdates{u}
		var s ui.State
		p.tell(&s)
		if (s.Update == nil) != (c.want == nil) || s.Update != nil && *s.Update != *c.want {
			t.Errorf("%s: %+v; want %+v", c.name, s.Update, c.want)
		}
		version, why := p.RolledBack()
		if (version != "") != (c.alarm != "") || !strings.Contains(version, c.alarm) || len(s.Alarms) > 0 != (c.alarm != "") {
			t.Errorf("%s: taken back %q, %q; alarms %v", c.name, version, why, s.Alarms)
		}
	}
}

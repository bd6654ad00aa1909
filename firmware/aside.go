package main

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern-nas/postern/firmware/account"
	"github.com/postern-nas/postern/firmware/state"
	"github.com/postern-nas/postern/ui"
)

// asideFor is how long panel and page tell of a file that was set aside.
const asideFor = 7 * 24 * time.Hour

// asides are alarms about files of the state folder that were damaged: who owns the box reads no log.
func asides(dir string, now time.Time) (alarms []ui.Alarm) {
	found, _ := filepath.Glob(filepath.Join(dir, "*"+state.AsideMark+"*")) // folders have no patterns in them that we chose
	slices.Sort(found)
	told := map[string]bool{}
	for _, path := range found {
		name, at, _ := strings.Cut(filepath.Base(path), state.AsideMark)
		when, err := time.Parse(state.AsideTime, at[:min(len(at), len(state.AsideTime))])
		if told[name] || strings.HasSuffix(name, state.CopyName("")) || err == nil && now.Sub(when) > asideFor {
			continue
		}
		told[name] = true
		alarms = append(alarms, ui.Alarm{
			ID: "damaged " + name, Kind: ui.AlarmOther, Health: ui.Warning, Text: "A file of the box's settings was damaged: " + name,
			Advice: asideAdvice(name),
		})
	}
	return alarms
}

// asideAdvice says what may be amiss now.
func asideAdvice(name string) string {
	switch {
	case name == "ca.key" || name == "ca.pem":
		return "If the authority's fingerprint is another one now, every device has to trust the box anew, or put a backup back."
	case name == "devices.json" || name == "access.json":
		return "Look whether your devices may still come in; if not, pair them again or put a backup back."
	case name == "identity.json" || name == "users.json" || name == "state.key":
		return "Look whether your users can still log on; if not, set new passwords or put a backup back."
	}
	return "The box goes on. Look whether all is as you left it; a backup puts it back."
}

// passwordAlarms are about users whose passwords nothing opens any more: the key that they were kept under is another one.
func passwordAlarms(users []account.User) (alarms []ui.Alarm) {
	for _, u := range users {
		if !u.HasPassword && !u.Disabled {
			alarms = append(alarms, ui.Alarm{
				ID: "password " + u.Name, Kind: ui.AlarmOther, Health: ui.Warning, Text: u.Name + " cannot log on: the password cannot be read",
				Advice: "Set a new one on the page, or put a backup back.",
			})
		}
	}
	return alarms
}

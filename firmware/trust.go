package main

import (
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/ui"
)

// keysSeen is what the panel and the page show of the keys, and what their owner should know.
func keysSeen(s keys.State) (where ui.Keys, alarms []ui.Alarm) {
	switch {
	case !s.Open:
	case s.Where == keys.Resident:
		where = ui.Resident
	case s.Where == keys.Sealed:
		where = ui.Sealed
	default:
		where = ui.OnDisk
	}
	switch {
	case !s.Open && s.Trouble != keys.None:
		alarms = append(alarms, ui.Alarm{ID: "keys", Health: ui.Failed, Text: s.Text, Advice: s.Advice})
	case s.Trouble == keys.NoTPM && where == ui.OnDisk: // no news every day: where says it
	case s.Trouble != keys.None:
		alarms = append(alarms, ui.Alarm{ID: "keys", Health: ui.Warning, Text: s.Text, Advice: s.Advice})
	}
	if s.Open && where != ui.OnDisk && !s.CodeNoted {
		alarms = append(alarms, ui.Alarm{
			ID: "recovery", Health: ui.Warning, Text: "Nobody has noted the recovery code",
			Advice: "Make one on the page, under System, and write it down: without it a broken TPM takes the keys along.",
		})
	}
	return where, alarms
}

package main

import (
	"fmt"
	"strings"

	"github.com/postern-nas/postern/firmware/cert"
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
	case s.Trouble != keys.None:
		alarms = append(alarms, ui.Alarm{ID: "keys", Health: ui.Warning, Text: s.Text, Advice: s.Advice})
	}
	if s.Open && where != ui.OnDisk && !s.CodeNoted {
		alarms = append(alarms, ui.Alarm{
			ID: "recovery-code", Health: ui.Warning, Text: "The recovery code was not noted",
			Advice: "Show it, write it down, and say so; without it a broken TPM takes the keys along",
		})
	}
	return where, alarms
}

// certificatesSeen is the certificate that most clients are shown, and those that end soon.
func certificatesSeen(list []cert.Serving) (c ui.Certificate, alarms []ui.Alarm) {
	for i, s := range list {
		if i == 0 {
			c = ui.Certificate{Names: s.Names, NotAfter: s.NotAfter, DaysLeft: s.DaysLeft, Own: s.Own}
		}
		if s.Urgency == cert.Calm {
			continue
		}
		a := ui.Alarm{
			ID: "certificate-" + s.ID, Kind: ui.AlarmCertificate, Health: ui.Warning,
			Text:   fmt.Sprintf("The certificate for %s ends in %d days", strings.Join(s.Serves, ", "), s.DaysLeft),
			Advice: "Take in a new one from your authority; when it has ended, Postern's own stands in",
		}
		if s.Urgency >= cert.Dire {
			a.Health = ui.Failed
		}
		if s.Urgency == cert.Expired {
			a.Text = fmt.Sprintf("The certificate for %s has ended", strings.Join(s.Serves, ", "))
		}
		alarms = append(alarms, a)
	}
	return c, alarms
}

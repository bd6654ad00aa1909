package main

import (
	"testing"
	"time"

	"github.com/postern-nas/postern/firmware/cert"
	"github.com/postern-nas/postern/firmware/keys"
	"github.com/postern-nas/postern/ui"
)

func TestKeysSeen(t *testing.T) {
	for _, c := range []struct {
		state  keys.State
		where  ui.Keys
		alarms []ui.Health
	}{
		{keys.State{}, ui.KeysUnknown, nil},
		{keys.State{Open: true, Where: keys.OnDisk}, ui.OnDisk, nil}, // as the owner wants it
		{keys.State{Open: true, Where: keys.OnDisk, Trouble: keys.NoTPM}, ui.OnDisk, []ui.Health{ui.Warning}},
		{keys.State{Open: true, Where: keys.Sealed, CodeNoted: true}, ui.Sealed, nil},
		{keys.State{Open: true, Where: keys.Resident}, ui.Resident, []ui.Health{ui.Warning}},
		{keys.State{Where: keys.Sealed, Trouble: keys.OtherTPM}, ui.KeysUnknown, []ui.Health{ui.Failed}},
		{keys.State{Open: true, Where: keys.Sealed, CodeNoted: true, Trouble: keys.NoTPM}, ui.Sealed, []ui.Health{ui.Warning}},
	} {
		where, alarms := keysSeen(c.state)
		ok := where == c.where && len(alarms) == len(c.alarms)
		for i := range alarms {
			ok = ok && alarms[i].Health == c.alarms[i]
		}
		if !ok {
			t.Errorf("%+v: %v, %+v", c.state, where, alarms)
		}
	}
}

func TestCertificatesSeen(t *testing.T) {
	end := time.Now()
	c, alarms := certificatesSeen([]cert.Serving{
		{ID: "own", Names: []string{"a"}, NotAfter: end, DaysLeft: 200, Own: true},
		{ID: "1", Serves: []string{"b", "c"}, DaysLeft: 20, Urgency: cert.Soon},
		{ID: "2", Serves: []string{"d"}, DaysLeft: -1, Urgency: cert.Expired},
	})
	if c.DaysLeft != 200 || !c.Own || !c.NotAfter.Equal(end) || len(alarms) != 2 {
		t.Fatalf("%+v, %+v", c, alarms)
	}
	if a := alarms[0]; a.Health != ui.Warning || a.Text != "The certificate for b, c ends in 20 days" {
		t.Errorf("%+v", a)
	}
	if a := alarms[1]; a.Health != ui.Failed || a.Text != "The certificate for d has ended" || a.ID == alarms[0].ID {
		t.Errorf("%+v", a)
	}
	if c, alarms := certificatesSeen(nil); !c.NotAfter.IsZero() || alarms != nil {
		t.Errorf("%+v, %+v", c, alarms)
	}
}

package main

import (
	"testing"

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
		{keys.State{Open: true, Where: keys.OnDisk, Trouble: keys.NoTPM}, ui.OnDisk, nil},
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

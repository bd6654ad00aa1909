package smb

import (
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
)

// How many opens wait for their clients is bounded: for all users, for one, and for one's byte ranges. Persistent ones
// find room always, for there are only so many.
func TestParkedLimits(t *testing.T) {
	var table durables
	var parked []*open
	add := func(user uint32, locks int64, persistent bool) bool {
		o := newOpen(&session{}, &tree{share: &share{}})
		o.id.Persistent = uint64(len(parked) + 1)
		d := &durable{granted: true, persistent: persistent, owner: auth.Identity{SID: dtyp.NewSID(5, user)}, timeout: time.Hour}
		o.durable.Store(d)
		if !table.add(o, d, locks) {
			return false
		}
		parked = append(parked, o)
		return true
	}
	if add(99, maxParkedLocks+1, false) || !add(99, maxParkedLocks, false) || add(99, 1, false) || !add(99, 0, false) {
		t.Error("byte ranges")
	}
	for user := uint32(0); len(parked) < maxParked; user++ {
		n := 0
		for add(user, 0, false) {
			n++
		}
		if n != maxParkedUser && len(parked) != maxParked {
			t.Fatalf("%d opens of one user", n)
		}
	}
	if add(1000, 0, false) || !add(1000, 0, true) || !add(0, 0, true) {
		t.Error("beyond the bound for all")
	}
	for _, o := range parked {
		if !table.take(o, nil) || table.take(o, nil) {
			t.Fatal("an open is taken once")
		}
	}
	if len(table.parked) != 0 || len(table.users) != 0 {
		t.Errorf("%d opens of %d users are left", len(table.parked), len(table.users))
	}
}

package smb_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// rename sends a rename whose answer is fetched later.
func rename(p *smbtest.Peer, id wire.FileID, to string) wire.Header {
	return send(p, wire.CmdSetInfo, &wire.SetInfoRequest{
		InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileRenameInformation), FileID: id, Buffer: fscc.RenameInfo{Name: to}.Append(nil),
	})
}

// answers collects the statuses of n requests by MessageID.
func answers(p *smbtest.Peer, n int) map[uint64]nt.Status {
	all := map[uint64]nt.Status{}
	for len(all) < n {
		m := p.Final()
		all[m.MessageID] = m.Status
	}
	return all
}

// A client that renames a file and opens it by its new name need not wait in between.
func TestCreateAfterRename(t *testing.T) {
	p := newHouse(t, nil).logon("alice", "disk")
	id := p.Open("a", all, wire.FileCreate, 0)
	for i := range 50 {
		to := string(rune('b' + i%20))
		moved := rename(p, id, to)
		opened := send(p, wire.CmdCreate, smbtest.OpenAs(to, all, wire.FileOpen, 0))
		if s := answers(p, 2); s[moved.MessageID] != nt.Success || s[opened.MessageID] != nt.Success {
			t.Fatalf("rename %d: %v, then open: %v", i, s[moved.MessageID], s[opened.MessageID])
		}
	}
}

// A rename that waits for a break lets the CREATEs behind it go, once the break is told.
func TestCreateAfterRenameThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newHouse(t, nil).pipe("alice")
		one := create(t, p, leasing("f", 1, leaseRH, -1)).FileID
		create(t, p, leasing("f", 2, leaseRH, -1))
		moved := rename(p, one, "g")
		opened := send(p, wire.CmdCreate, smbtest.OpenAs("g", all, wire.FileOpen, 0))
		var b wire.LeaseBreakNotification
		if err := b.Decode(recvBreak(t, p).Raw); err != nil || b.Key != [16]byte{2} {
			t.Fatalf("break of %x, %v", b.Key, err)
		}
		if m := p.Final(); m.MessageID != opened.MessageID || m.Status != nt.ObjectNameNotFound {
			t.Fatalf("open meanwhile: %v of %d", m.Status, m.MessageID)
		}
		ack := send(p, wire.CmdOplockBreak, &wire.LeaseBreakAck{Key: b.Key, State: b.NewState})
		if s := answers(p, 2); s[moved.MessageID] != nt.Success || s[ack.MessageID] != nt.Success {
			t.Errorf("rename: %v, acknowledgment: %v", s[moved.MessageID], s[ack.MessageID])
		}
	})
}

// Who waits for a break hears so only if it takes longer than a moment.
func TestWaitQuietly(t *testing.T) {
	for _, takes := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, nil)
			p, q := h.pipe("alice"), h.pipe("bob")
			create(t, p, leasing("f", 1, leaseRWH, -1))
			opened := send(q, wire.CmdCreate, smbtest.OpenAs("f", all, wire.FileOpen, 0))
			var b wire.LeaseBreakNotification
			if err := b.Decode(recvBreak(t, p).Raw); err != nil {
				t.Fatal(err)
			}
			ack := func() {
				if s := ackLease(p, 1, b.NewState); s != nt.Success {
					t.Error(s)
				}
			}
			if takes == 0 {
				ack()
			} else if m := q.MustRecv(); m.Status != nt.Pending || m.MessageID != opened.MessageID {
				t.Fatalf("who waits is told %v", m.Status)
			} else {
				time.Sleep(takes)
				ack()
			}
			if m := q.MustRecv(); m.Status != nt.Success || m.MessageID != opened.MessageID {
				t.Errorf("after %v: %v", takes, m.Status)
			}
		})
	}
}

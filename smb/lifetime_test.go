package smb_test

import (
	"fmt"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// What features leave to each other: opens that wait for a client while their share goes, requests that come after one
// another within one message, counters that several of them change.

// related marks an element as related to the one before it.
func related(h wire.Header) wire.Header {
	h.Flags |= wire.FlagRelated
	h.SessionID, h.TreeID = ^uint64(0), ^uint32(0)
	return h
}

// TestSEC04NotifyInCompound: a CHANGE_NOTIFY that would wait in the middle of a compound is refused, as Windows refuses
// it, and the CLOSE after it is answered. So is one that follows a CHANGE_NOTIFY that never got as far as its handler.
func TestSEC04NotifyInCompound(t *testing.T) {
	h := newHouse(t, nil)
	notify := &wire.ChangeNotifyRequest{FileID: wire.NoFileID, OutputBufferLength: 4096, CompletionFilter: 1}
	closing := &wire.CloseRequest{FileID: wire.NoFileID}
	opening := smbtest.OpenAs("", all, wire.FileOpen, wire.FileDirectoryFile)
	expect := func(p *smbtest.Peer, want ...nt.Status) {
		t.Helper()
		for i, w := range want {
			if m := p.Final(); m.Status != w {
				t.Errorf("answer %d: %v, want %v", i, m.Status, w)
			}
		}
	}
	p := h.logon("alice", "disk")
	p.Send(
		smbtest.Element{Header: p.Request(wire.CmdCreate, 0), Body: opening},
		smbtest.Element{Header: related(p.Request(wire.CmdChangeNotify, 4096)), Body: notify},
		smbtest.Element{Header: related(p.Request(wire.CmdClose, 0)), Body: closing},
	)
	expect(p, nt.Success, nt.InternalError, nt.Success)
	lost := p.Request(wire.CmdChangeNotify, 4096)
	lost.TreeID++
	id := p.Open("", all, wire.FileOpen, wire.FileDirectoryFile)
	p.Send(
		smbtest.Element{Header: lost, Body: notify},
		smbtest.Element{Header: p.Request(wire.CmdClose, 0), Body: &wire.CloseRequest{FileID: id}},
	)
	expect(p, nt.NetworkNameDeleted, nt.Success)
	// At the end of one it waits like any other.
	p.Send(
		smbtest.Element{Header: p.Request(wire.CmdCreate, 0), Body: opening},
		smbtest.Element{Header: related(p.Request(wire.CmdChangeNotify, 4096)), Body: notify},
	)
	expect(p, nt.Success)
	p.Send(smbtest.Element{Header: p.Request(wire.CmdLogoff, 0), Body: &wire.LogoffRequest{}})
	got := map[wire.Command]nt.Status{}
	for range 2 { // in any order
		m := p.Final()
		got[m.Command] = m.Status
	}
	if got[wire.CmdChangeNotify] != nt.NotifyCleanup || got[wire.CmdLogoff] != nt.Success {
		t.Errorf("in the end: %v", got)
	}
}

// removable is a site whose shares bob may remove.
func removable(t *testing.T) *house {
	t.Helper()
	return removableOn(t, newSite(t).shelf)
}

func removableOn(t *testing.T, store smb.HandleStore) *house {
	t.Helper()
	return newHouse(t, func(c *smb.Config) {
		c.Mechanisms = []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", DNSName: "nas.test", Accounts: withAdmin{}})}
		c.Sharing = &ledger{}
		c.Handles = store
		c.Shares[0].ContinuouslyAvailable = true
	})
}

// TestSEC33RemovedShare: what waits for a client in a share that is removed ends with it, and nobody gets it back from a
// share that has its name later.
func TestSEC33RemovedShare(t *testing.T) {
	h := removable(t)
	p := h.persistent("alice")
	durable := create(t, p, lasting(asking("durable", wire.OplockBatch), 1)).FileID
	lasts := create(t, p, forever(asking("persistent", wire.OplockBatch), 2)).FileID
	if s := p.Do(wire.CmdLock, locking(durable, 5, lockNow), nil); s != nt.Success {
		t.Fatal(s)
	}
	if s := p.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil); s != nt.Success {
		t.Fatal(s)
	}
	if n := h.server.Stats().Opens; n != 2 {
		t.Fatalf("%d opens wait", n)
	}
	bob := h.srvsvc("bob")
	if _, result := bob.call(shareDel, removeStub("disk")); result != 0 {
		t.Fatalf("removing: error %d", result)
	}
	if n := h.server.Stats().Opens; n != 1 { // bob's pipe
		t.Errorf("%d opens are left", n-1)
	}
	bob.Close(bob.id)
	if err := h.server.Counted(); err != nil {
		t.Error(err)
	}
	if _, result := h.srvsvc("bob").call(shareAdd, addStub("disk", `C:\sealed`)); result != 0 {
		t.Fatalf("adding: error %d", result)
	}
	q := h.logon("alice", "disk")
	for i, id := range []wire.FileID{durable, lasts} {
		req := again(asking([]string{"durable", "persistent"}[i], wire.OplockBatch), byte(i+1), id)
		if s := q.Do(wire.CmdCreate, req, nil); s != nt.ObjectNameNotFound {
			t.Errorf("taken up in another share of that name: %v", s)
		}
	}
}

// TestSEC33SessionCap: one session has a bounded number of durable opens. Opens beyond are what any open is, and there
// is room again when one is closed.
func TestSEC33SessionCap(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	open := func(i int) (wire.FileID, bool) {
		resp := create(t, p, lasting(asking(fmt.Sprint(i), wire.OplockBatch), 0))
		return resp.FileID, isDurable(resp)
	}
	var first wire.FileID
	for i := range smb.MaxDurable {
		id, ok := open(i)
		if !ok {
			t.Fatalf("the open %d is not durable", i)
		}
		first = id
	}
	if _, ok := open(smb.MaxDurable); ok {
		t.Errorf("more than %d are durable", smb.MaxDurable)
	}
	p.Close(first)
	if _, ok := open(smb.MaxDurable + 1); !ok {
		t.Error("there is no room after one was closed")
	}
	p.Conn.Close()
	h.comeBack(p, "alice", "disk")
	if n := h.server.Stats().Opens; n != smb.MaxDurable {
		t.Errorf("%d wait for the client", n)
	}
}

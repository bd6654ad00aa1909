package smb_test

import (
	"testing"
	"testing/synctest"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// A client whose address changed comes by a new connection before anybody noticed that the old one is lost. It names the
// session that it had, and that proves what the old connection cannot say: its opens are its again, with their locks and
// leases, and nobody waits for what the old connection no longer hears.
func TestReconnectWhileOldLives(t *testing.T) {
	for name, open := range map[string]func() *wire.CreateRequest{
		"batch": func() *wire.CreateRequest { return asking("file", wire.OplockBatch) },
		"lease": func() *wire.CreateRequest { return leasing("file", 1, leaseRWH, 4) },
	} {
		for _, channels := range []int{1, 2} {
			for _, guid := range []byte{0, 7} {
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						h := newHouse(t, nil)
						old := h.channels("alice", channels)
						p := old[0]
						first := create(t, p, lasting(open(), guid))
						id := first.FileID
						write(t, p, id, 0, []byte("before"))
						if s := p.Do(wire.CmdLock, locking(id, 100, lockNow), nil); s != nt.Success {
							t.Fatal(s)
						}
						// Without the session's name the open is somebody's who is there, [MS-SMB2] 3.3.5.9.7 and 3.3.5.9.12.
						early := h.pipe("alice")
						if s := early.Do(wire.CmdCreate, again(open(), guid, id), nil); s != nt.ObjectNameNotFound {
							t.Errorf("taken from a session that lives: %v", s)
						}
						q, _ := h.pipeDial()
						t.Cleanup(func() { q.Conn.Close() })
						q.Negotiate(wire.Dialect311)
						if s := q.Logon("alice", "secret", p.SessionID); s != nt.Success {
							t.Fatal(s)
						}
						if s := q.Tree("disk"); s != nt.Success {
							t.Fatal(s)
						}
						resp := create(t, q, again(open(), guid, id))
						if resp.FileID != id || resp.EndOfFile != 6 {
							t.Errorf("answer %+v", resp)
						}
						// What comes late by the old connections does nothing.
						for _, p := range old {
							if s := p.Do(wire.CmdWrite, &wire.WriteRequest{FileID: id, Data: []byte("late")}, nil); s != nt.UserSessionDeleted {
								t.Errorf("write by the old connection: %v", s)
							}
						}
						// The lock holds, and what breaks is told to who has the open now.
						other := h.pipe("bob")
						send(other, wire.CmdCreate, asking("file", 0))
						if name == "lease" {
							wantLeaseBreak(t, q, wire.LeaseBreakNotification{
								NewEpoch: 6, Flags: wire.LeaseAckRequired, Key: [16]byte{1}, CurrentState: leaseRWH, NewState: leaseRH,
							})
							if s := ackLease(q, 1, leaseRH); s != nt.Success {
								t.Error(s)
							}
						} else {
							wantOplockBreak(t, q, id, wire.OplockLevel2)
							if s := ackOplock(q, id, wire.OplockLevel2); s != nt.Success {
								t.Error(s)
							}
						}
						var there wire.CreateResponse
						m := other.Final()
						if err := there.Decode(m.Raw); m.Status != nt.Success || err != nil {
							t.Fatal(m.Status, err)
						}
						if s := other.Do(wire.CmdLock, locking(there.FileID, 100, lockNow), nil); s != nt.LockNotGranted {
							t.Errorf("the lock is gone: %v", s)
						}
						if got := read(t, q, id, 0, 6); string(got) != "before" {
							t.Errorf("read %q", got)
						}
						// The old connections were told nothing, and their end takes nothing away.
						for _, p := range old {
							if s := p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil); s != nt.Success {
								t.Errorf("echo by the old connection: %v", s)
							}
							p.Conn.Close()
						}
						synctest.Wait()
						if s := q.Do(wire.CmdLock, locking(id, 100, wire.LockUnlock), nil); s != nt.Success {
							t.Errorf("unlock: %v", s)
						}
						q.Close(id)
						other.Close(there.FileID)
						if st := h.server.Stats(); st.Opens != 0 || st.Sessions != 3 {
							t.Errorf("%+v", st)
						}
					})
				})
			}
		}
	}
}

// Whoever takes an open up again is told of the file what the CREATE told: what was reserved for it, and that the share
// shows such names as hidden.
func TestReconnectShows(t *testing.T) {
	h := newHouse(t, func(c *smb.Config) {
		c.Shares[0].HideFiles = []string{".*"}
	})
	p := h.logon("alice", "disk")
	req := lasting(asking(".file", wire.OplockBatch), 1)
	a := wire.AllocationSize{Size: 4096}
	first := create(t, p, with(req, wire.CreateAllocationSize, &a))
	if first.AllocationSize != 4096 || first.FileAttributes&vfs.AttrHidden == 0 {
		t.Fatalf("%+v", first)
	}
	write(t, p, first.FileID, 0, make([]byte, 4097))
	p = h.comeBack(p, "alice", "disk")
	resp := create(t, p, again(asking(".file", wire.OplockBatch), 1, first.FileID))
	if resp.AllocationSize != 8192 || resp.FileAttributes != first.FileAttributes {
		t.Errorf("%+v", resp)
	}
	got := info[fscc.StandardInfo](t, p, first.FileID, fscc.FileStandardInformation)
	if got.AllocationSize != 8192 || got.EndOfFile != 4097 {
		t.Errorf("%+v", got)
	}
}

// Who never had the answer to the CREATE of a persistent open finds it by the CREATE's name, [MS-SMB2] 3.3.5.9.12. What
// does not persist is found by its id alone, and so is what is in use.
func TestSEC33PersistentByName(t *testing.T) {
	s := newSite(t)
	h := s.start()
	p := h.persistent("alice")
	req := forever(asking("file", wire.OplockBatch), 1)
	id := create(t, p, req).FileID
	passing := create(t, p, lasting(asking("passing", wire.OplockBatch), 2)).FileID
	p = func() *smbtest.Peer {
		q := h.dial()
		q.Capabilities = wire.CapPersistentHandles
		q.Negotiate(wire.Dialect311)
		q.Logon("alice", "secret", p.SessionID)
		if s := q.Tree("disk"); s != nt.Success {
			t.Fatal(s)
		}
		return q
	}()
	nowhere := wire.FileID{Persistent: 1, Volatile: 1}
	bob := h.persistent("bob")
	for why, c := range map[string]struct {
		who  *smbtest.Peer
		req  *wire.CreateRequest
		want nt.Status
	}{
		"by another user":        {bob, foreverAgain(asking("file", wire.OplockBatch), 1, nowhere), nt.AccessDenied},
		"by no name":             {p, foreverAgain(asking("file", wire.OplockBatch), 3, nowhere), nt.ObjectNameNotFound},
		"not said to persist":    {p, again(asking("file", wire.OplockBatch), 1, nowhere), nt.ObjectNameNotFound},
		"what does not persist":  {p, foreverAgain(asking("passing", wire.OplockBatch), 2, nowhere), nt.ObjectNameNotFound},
		"by the id of something": {p, foreverAgain(asking("file", wire.OplockBatch), 1, passing), nt.ObjectNameNotFound},
	} {
		if s := c.who.Do(wire.CmdCreate, c.req, nil); s != c.want {
			t.Errorf("%s: %v, want %v", why, s, c.want)
		}
	}
	stranger := h.dial()
	stranger.Capabilities, stranger.Client = wire.CapPersistentHandles, dtyp.GUID{77}
	stranger.Negotiate(wire.Dialect311)
	stranger.Logon("alice", "secret", 0)
	stranger.Tree("disk")
	if s := stranger.Do(wire.CmdCreate, foreverAgain(asking("file", wire.OplockBatch), 1, nowhere), nil); s != nt.ObjectNameNotFound {
		t.Errorf("by another client: %v", s)
	}
	s.crash(h) // a restart forgets no name
	h = s.start()
	p = h.persistent("alice")
	if resp := create(t, p, foreverAgain(asking("file", wire.OplockBatch), 1, nowhere)); resp.FileID != id {
		t.Errorf("%+v", resp)
	}
	if s := p.Do(wire.CmdCreate, foreverAgain(asking("file", wire.OplockBatch), 1, nowhere), nil); s != nt.ObjectNameNotFound {
		t.Errorf("what is in use: %v", s)
	}
	p.Close(id)
}

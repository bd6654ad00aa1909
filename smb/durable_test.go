package smb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

// with adds a create context.
func with(req *wire.CreateRequest, name string, body smbtest.Body) *wire.CreateRequest {
	req.Contexts = append(req.Contexts, wire.CreateContext{Name: name, Data: body.Append(nil)})
	return req
}

// lasting asks for a durable open of version 2 for a minute, or of version 1 if guid is 0.
func lasting(req *wire.CreateRequest, guid byte) *wire.CreateRequest {
	if guid == 0 {
		return with(req, wire.CreateDurable, &wire.DurableRequest{})
	}
	return with(req, wire.CreateDurableV2, &wire.DurableV2Request{Timeout: 60_000, CreateGUID: dtyp.GUID{guid}})
}

// again asks for an open of lasting back.
func again(req *wire.CreateRequest, guid byte, id wire.FileID) *wire.CreateRequest {
	if guid == 0 {
		return with(req, wire.CreateDurableReconnect, &wire.DurableReconnect{FileID: id})
	}
	return with(req, wire.CreateDurableV2Reconnect, &wire.DurableV2Reconnect{FileID: id, CreateGUID: dtyp.GUID{guid}})
}

// context returns the data of a context in the answer, and whether it is there.
func contextOf(resp *wire.CreateResponse, name string) ([]byte, bool) {
	for _, c := range resp.Contexts {
		if c.Name == name {
			return c.Data, true
		}
	}
	return nil, false
}

func isDurable(resp *wire.CreateResponse) bool {
	_, v1 := contextOf(resp, wire.CreateDurable)
	_, v2 := contextOf(resp, wire.CreateDurableV2)
	return v1 || v2
}

// comeBack replaces p's session by one on a new connection: when it returns, what was durable waits.
func (h *house) comeBack(p *smbtest.Peer, user, share string, dialects ...uint16) *smbtest.Peer {
	h.t.Helper()
	q := h.dial()
	q.Client, q.Capabilities = p.Client, p.Capabilities
	if len(dialects) == 0 {
		dialects = []uint16{wire.Dialect311}
	}
	q.Negotiate(dialects...)
	if s := q.Logon(user, "secret", p.SessionID); s != nt.Success {
		h.t.Fatalf("logon: %v", s)
	}
	if s := q.Tree(share); s != nt.Success {
		h.t.Fatalf("tree connect: %v", s)
	}
	return q
}

func locking(id wire.FileID, off uint64, flags uint32) *wire.LockRequest {
	return &wire.LockRequest{FileID: id, Locks: []wire.LockElement{{Offset: off, Length: 1, Flags: flags}}}
}

const lockNow = wire.LockExclusive | wire.LockFailImmediately

// A client takes its open up again with all it had: contents, locks, position, oplock or lease.
func TestDurableReconnect(t *testing.T) {
	for _, guid := range []byte{0, 7} {
		for name, open := range map[string]func() *wire.CreateRequest{
			"batch": func() *wire.CreateRequest { return asking("file", wire.OplockBatch) },
			"lease": func() *wire.CreateRequest { return leasing("file", 1, 7, 4) },
		} {
			t.Run(fmt.Sprint(name, " ", guid), func(t *testing.T) {
				h := newHouse(t, nil)
				p := h.logon("alice", "disk")
				first := create(t, p, lasting(open(), guid))
				if !isDurable(first) {
					t.Fatal("not durable")
				}
				id := first.FileID
				write(t, p, id, 0, []byte("before"))
				if s := p.Do(wire.CmdLock, locking(id, 100, lockNow), nil); s != nt.Success {
					t.Fatal(s)
				}
				p.Conn.Close()
				q := h.comeBack(p, "alice", "disk")
				if s := q.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 6}, nil); s != nt.FileClosed {
					t.Errorf("read before the open is taken up: %v", s)
				}
				// Nothing of the request counts but its contexts; a lease's name does.
				req := again(open(), guid, id)
				req.Disposition, req.Options, req.DesiredAccess, req.ImpersonationLevel = 99, 0xFFFFFFFF, 0, 77
				resp := create(t, q, req)
				if isDurable(resp) || resp.Action != wire.FileOpened || resp.EndOfFile != 6 || resp.FileID != id {
					t.Errorf("answer %+v", resp)
				}
				if name == "lease" {
					if l := granted(t, resp); l.State != 7 || l.Epoch != granted(t, first).Epoch {
						t.Errorf("lease %+v", l)
					}
				} else if resp.OplockLevel != wire.OplockBatch {
					t.Errorf("oplock %#x", resp.OplockLevel)
				}
				read := wire.ReadResponse{}
				if s := q.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 6}, &read); s != nt.Success || string(read.Data) != "before" {
					t.Errorf("read: %v %q", s, read.Data)
				}
				if s := q.Do(wire.CmdLock, locking(id, 100, wire.LockUnlock), nil); s != nt.Success {
					t.Errorf("unlock: %v", s)
				}
				if s := q.Do(wire.CmdCreate, again(open(), guid, id), nil); s != nt.ObjectNameNotFound {
					t.Errorf("taken up while it is in use: %v", s)
				}
				q.Close(id)
				if n := h.server.Stats().Opens; n != 0 {
					t.Errorf("%d opens", n)
				}
			})
		}
	}
}

// Only who would be told that others want the file gets a durable open.
func TestDurableGrants(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	for i, c := range []struct {
		req  *wire.CreateRequest
		want bool
	}{
		{asking("f", wire.OplockNone), false},
		{asking("f", wire.OplockLevel2), false},
		{asking("f", wire.OplockExclusive), false},
		{asking("f", wire.OplockBatch), true},
		{leasing("f", 1, wire.LeaseRead, 0), false},
		{leasing("f", 1, wire.LeaseRead|wire.LeaseWrite, 0), false},
		{leasing("f", 1, wire.LeaseRead|wire.LeaseHandle, 0), true},
		{leasing("f", 1, wire.LeaseRead|wire.LeaseHandle, -1), true},
		{leasing("f", 1, 7, 0), true},
		{leasing("", 1, wire.LeaseRead|wire.LeaseHandle, 0), false}, // a directory
	} {
		for guid := range byte(2) {
			one := *c.req
			resp := create(t, p, lasting(&one, guid))
			if got := isDurable(resp); got != c.want {
				t.Errorf("%d, version %d: durable %t", i, guid+1, got)
			}
			p.Close(resp.FileID)
		}
	}
	for asked, want := range map[uint32]uint32{0: 180_000, 1: 1, 5000: 5000, 300_000: 300_000, 300_001: 300_000, 0xFFFFFFFF: 300_000} {
		resp := create(t, p, with(asking("f", wire.OplockBatch), wire.CreateDurableV2, &wire.DurableV2Request{Timeout: asked, CreateGUID: dtyp.GUID{9}, Flags: wire.DurablePersistent}))
		var d wire.DurableV2Response
		data, _ := contextOf(resp, wire.CreateDurableV2)
		if err := d.Decode(data); err != nil || d.Timeout != want || d.Flags != 0 {
			t.Errorf("asked for %d ms: %+v %v", asked, d, err)
		}
		p.Close(resp.FileID)
	}
	// Before 3.0 nobody knows version 2.
	old := h.logon("alice", "disk", wire.Dialect210)
	if resp := create(t, old, lasting(asking("f", wire.OplockBatch), 1)); isDurable(resp) {
		t.Error("version 2 in dialect 2.1")
	}
}

// Contexts that contradict each other, [MS-SMB2] 3.3.5.9.6 to 3.3.5.9.12.
func TestDurableContexts(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := wire.FileID{Persistent: 5, Volatile: 6}
	for i, c := range []struct {
		req  *wire.CreateRequest
		want nt.Status
	}{
		{lasting(lasting(asking("f", 9), 0), 1), nt.InvalidParameter},
		{again(lasting(asking("f", 9), 0), 1, id), nt.InvalidParameter},
		{again(lasting(asking("f", 9), 1), 1, id), nt.InvalidParameter},
		{again(lasting(asking("f", 9), 1), 0, id), nt.InvalidParameter},
		{again(again(asking("f", 9), 0, id), 1, id), nt.InvalidParameter},
		{again(lasting(asking("f", 9), 0), 0, id), nt.ObjectNameNotFound},
		{again(asking("f", 9), 0, id), nt.ObjectNameNotFound},
		{again(asking("f", 9), 1, id), nt.ObjectNameNotFound},
	} {
		if s := p.Do(wire.CmdCreate, c.req, nil); s != c.want {
			t.Errorf("%d: %v, want %v", i, s, c.want)
		}
	}
	for _, name := range []string{wire.CreateDurable, wire.CreateDurableReconnect, wire.CreateDurableV2, wire.CreateDurableV2Reconnect, wire.CreateAppInstanceID, wire.CreateAppInstanceVersion} {
		req := asking("f", 9)
		req.Contexts = []wire.CreateContext{{Name: name, Data: make([]byte, 7)}}
		if s := p.Do(wire.CmdCreate, req, nil); s != nt.InvalidParameter {
			t.Errorf("%s cut short: %v", name, s)
		}
	}
}

// What ends the session ends durable opens or not.
func TestDurableEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(t *testing.T, h *house, p *smbtest.Peer, id wire.FileID)
		kept bool
	}{
		"close": {func(_ *testing.T, _ *house, p *smbtest.Peer, id wire.FileID) { p.Close(id) }, false},
		"tree disconnect": {func(_ *testing.T, _ *house, p *smbtest.Peer, _ wire.FileID) {
			p.Do(wire.CmdTreeDisconnect, &wire.TreeDisconnectRequest{}, nil)
		}, false},
		"logoff": {func(_ *testing.T, _ *house, p *smbtest.Peer, _ wire.FileID) {
			p.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil)
		}, true},
		"replaced": {func(*testing.T, *house, *smbtest.Peer, wire.FileID) {}, true},
		"ended by us": {func(_ *testing.T, h *house, _ *smbtest.Peer, _ wire.FileID) {
			h.server.EndSessions(func(id *auth.Identity) bool { return id.User == "alice" })
		}, false},
		"ended by us while away": {func(t *testing.T, h *house, p *smbtest.Peer, _ wire.FileID) {
			p.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil)
			h.server.EndSessions(func(id *auth.Identity) bool { return id.User == "bob" })
			if h.server.Stats().Opens != 1 {
				t.Error("ended as another user's")
			}
			h.server.EndSessions(func(id *auth.Identity) bool { return id.User == "alice" })
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, nil)
			p := h.logon("alice", "disk")
			id := create(t, p, lasting(asking("file", wire.OplockBatch), 1)).FileID
			c.end(t, h, p, id)
			q := h.comeBack(p, "alice", "disk")
			want := nt.ObjectNameNotFound
			if c.kept {
				want = nt.Success
			}
			if s := q.Do(wire.CmdCreate, again(asking("file", 0), 1, id), nil); s != want {
				t.Errorf("taken up: %v, want %v", s, want)
			}
		})
	}
}

// Nobody gets another's durable open, and a failed attempt does not keep its client from it (SEC-33).
func TestSEC33DurableTheft(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	batch := create(t, p, lasting(asking("batch", wire.OplockBatch), 1)).FileID
	leased := create(t, p, lasting(leasing("leased", 1, 7, 0), 2)).FileID
	live := create(t, h.logon("alice", "disk"), lasting(asking("live", wire.OplockBatch), 3)).FileID
	q := h.comeBack(p, "alice", "disk")
	stranger := h.dial()
	stranger.Client = dtyp.GUID{66}
	stranger.Negotiate(wire.Dialect311)
	stranger.Logon("alice", "secret", 0)
	stranger.Tree("disk")
	bob, private := h.logon("bob", "disk"), h.logon("alice", "private")
	persistent := with(asking("batch", 0), wire.CreateDurableV2Reconnect, &wire.DurableV2Reconnect{FileID: batch, CreateGUID: dtyp.GUID{1}, Flags: wire.DurablePersistent})
	wrong := batch
	wrong.Persistent++
	for _, c := range []struct {
		why  string
		who  *smbtest.Peer
		req  *wire.CreateRequest
		want nt.Status
	}{
		{"another user", bob, again(asking("batch", 0), 1, batch), nt.AccessDenied},
		{"another user, version 1", bob, again(asking("batch", 0), 0, batch), nt.AccessDenied},
		{"another user, with the lease", bob, again(leasing("leased", 1, 7, 0), 2, leased), nt.AccessDenied},
		{"another client's lease", stranger, again(leasing("leased", 1, 7, 0), 2, leased), nt.ObjectNameNotFound},
		{"another share", private, again(asking("batch", 0), 1, batch), nt.ObjectNameNotFound},
		{"wrong create GUID", q, again(asking("batch", 0), 9, batch), nt.ObjectNameNotFound},
		{"wrong id", q, again(asking("batch", 0), 1, wrong), nt.ObjectNameNotFound},
		{"persistent", q, persistent, nt.ObjectNameNotFound},
		{"no lease", q, again(asking("leased", 0), 2, leased), nt.ObjectNameNotFound},
		{"wrong lease", q, again(leasing("leased", 2, 7, 0), 2, leased), nt.ObjectNameNotFound},
		{"a lease too many", q, again(leasing("batch", 1, 7, 0), 1, batch), nt.ObjectNameNotFound},
		{"wrong name", q, again(leasing("other", 1, 7, 0), 2, leased), nt.InvalidParameter},
		{"no name", q, again(leasing("", 1, 7, 0), 2, leased), nt.InvalidParameter},
		{"in use", q, again(asking("live", 0), 3, live), nt.ObjectNameNotFound},
	} {
		if s := c.who.Do(wire.CmdCreate, c.req, nil); s != c.want {
			t.Errorf("%s: %v, want %v", c.why, s, c.want)
		}
	}
	for _, id := range []wire.FileID{batch, leased} {
		for cmd, req := range map[wire.Command]smbtest.Body{
			wire.CmdRead: &wire.ReadRequest{FileID: id, Length: 1}, wire.CmdClose: &wire.CloseRequest{FileID: id},
			wire.CmdWrite: &wire.WriteRequest{FileID: id, Data: []byte("x")}, wire.CmdFlush: &wire.FlushRequest{FileID: id},
		} {
			if s := q.Do(cmd, req, nil); s != nt.FileClosed {
				t.Errorf("%v of an open that is away: %v", cmd, s)
			}
		}
	}
	create(t, stranger, again(asking("", 0), 1, batch)) // without a lease another computer of the user's may go on
	create(t, q, again(leasing("leased", 1, 0, 0), 2, leased))
}

// An open whose client does not come back is closed: until then it keeps its place, and not a moment longer.
func TestDurableScavenger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		for guid, after := range map[byte]time.Duration{0: 2 * time.Minute, 1: time.Minute} {
			p := h.pipe("alice")
			req := asking("file", wire.OplockBatch)
			req.Options |= wire.FileDeleteOnClose
			create(t, p, lasting(req, guid))
			p.Conn.Close()
			synctest.Wait()
			time.Sleep(after - time.Millisecond)
			synctest.Wait()
			if n := h.server.Stats().Opens; n != 1 {
				t.Errorf("version %d: %d opens before its time", guid+1, n)
			}
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
			if n := h.server.Stats().Opens; n != 0 {
				t.Errorf("version %d: %d opens after its time", guid+1, n)
			}
			q := h.pipe("alice")
			if s := q.Do(wire.CmdCreate, smbtest.OpenAs("file", all, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
				t.Errorf("it was to be deleted on close: %v", s)
			}
			q.Conn.Close()
		}
		synctest.Wait()
	})
}

// A timer of before does not end an open that was taken up and lost again.
func TestDurableTimerAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		p := h.pipe("alice")
		id := create(t, p, lasting(asking("file", wire.OplockBatch), 1)).FileID
		for range 3 {
			p.Conn.Close()
			synctest.Wait()
			time.Sleep(50 * time.Second)
			p = h.pipe("alice")
			create(t, p, again(asking("file", 0), 1, id))
		}
		p.Close(id)
		p.Conn.Close()
		synctest.Wait()
	})
}

// Who wants what a disconnected open caches, and cannot be had beside it, gets it.
func TestDurablePurge(t *testing.T) {
	read := func(name string) *wire.CreateRequest {
		return smbtest.OpenAs(name, dtyp.ReadData, wire.FileOpen, 0)
	}
	look := smbtest.OpenAs("file", dtyp.ReadAttributes, wire.FileOpen, 0)
	alone := asking("file", 0)
	alone.ShareAccess = 0
	for _, c := range []struct {
		name  string
		held  *wire.CreateRequest
		other *wire.CreateRequest
		kept  bool
	}{
		{"batch, read", asking("file", wire.OplockBatch), read("file"), false},
		{"batch, look", asking("file", wire.OplockBatch), look, true},
		{"RWH, read", leasing("file", 1, 7, 0), read("file"), false},
		{"RWH, look", leasing("file", 1, 7, 0), look, true},
		{"RH, read", leasing("file", 1, 3, 0), read("file"), true},
		{"RH, RWH", leasing("file", 1, 3, 0), leasing("file", 2, 7, 0), true},
		{"RH, sharing nothing", leasing("file", 1, 3, 0), alone, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, nil)
			p := h.logon("alice", "disk")
			id := create(t, p, lasting(c.held, 1)).FileID
			q := h.comeBack(p, "alice", "disk")
			bob := h.logon("bob", "disk")
			create(t, bob, c.other)
			want := nt.ObjectNameNotFound
			if c.kept {
				want = nt.Success
			}
			back := asking("file", 0)
			for _, ctx := range c.held.Contexts {
				if ctx.Name == wire.CreateLease {
					back.Contexts = append(back.Contexts, ctx)
				}
			}
			if s := q.Do(wire.CmdCreate, again(back, 1, id), nil); s != want {
				t.Errorf("taken up: %v, want %v", s, want)
			}
		})
	}
	t.Run("write", func(t *testing.T) { // a place beside it, and then its contents
		h := newHouse(t, nil)
		p := h.logon("alice", "disk")
		create(t, p, lasting(leasing("file", 1, 3, 0), 1))
		h.comeBack(p, "alice", "disk")
		bob := h.logon("bob", "disk")
		other := bob.Open("file", all, wire.FileOpen, 0)
		if h.server.Stats().Opens != 2 {
			t.Error("not kept")
		}
		write(t, bob, other, 0, []byte("x"))
		if h.server.Stats().Opens != 1 {
			t.Error("kept with old contents")
		}
	})
	t.Run("locks", func(t *testing.T) { // bytes that nobody could get at while others have the file
		h := newHouse(t, nil)
		p := h.logon("alice", "disk")
		id := create(t, p, lasting(leasing("file", 1, 3, 0), 1)).FileID
		if s := p.Do(wire.CmdLock, locking(id, 0, lockNow), nil); s != nt.Success {
			t.Fatal(s)
		}
		h.comeBack(p, "alice", "disk")
		if h.server.Stats().Opens != 0 {
			t.Error("kept")
		}
	})
}

// One user's opens that wait do not fill the server.
func TestDurableLimit(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	for i := range smb.MaxParkedUser + 5 {
		if i > 0 && i%smb.MaxDurable == 0 { // as many as one session may have
			p = h.comeBack(p, "alice", "disk")
		}
		create(t, p, lasting(asking(fmt.Sprint("file", i), wire.OplockBatch), 0))
	}
	h.comeBack(p, "alice", "disk")
	if n := h.server.Stats().Opens; n != smb.MaxParkedUser {
		t.Errorf("%d opens wait", n)
	}
	bob := h.logon("bob", "disk")
	create(t, bob, lasting(asking("bob's", wire.OplockBatch), 0))
	h.comeBack(bob, "bob", "disk")
	if n := h.server.Stats().Opens; n != smb.MaxParkedUser+1 {
		t.Errorf("%d opens wait with another user's", n)
	}
}

// Replays of a CREATE, [MS-SMB2] 3.3.5.9.10.
func TestReplayCreate(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	replay := func(p *smbtest.Peer, req *wire.CreateRequest, resp smbtest.Decoder) nt.Status {
		p.Flags = wire.FlagReplay
		defer func() { p.Flags = 0 }()
		return p.Do(wire.CmdCreate, req, resp)
	}
	ask := func() *wire.CreateRequest { return lasting(leasing("file", 1, 7, 0), 1) }
	var first, second wire.CreateResponse
	if s := replay(p, ask(), &first); s != nt.Success { // what was lost on its way here is not known
		t.Fatal(s)
	}
	if s := p.Do(wire.CmdCreate, ask(), nil); s != nt.DuplicateObjectID {
		t.Errorf("the same GUID for another CREATE: %v", s)
	}
	if s := replay(p, ask(), &second); s != nt.Success || second.FileID != first.FileID || second.Action != wire.FileCreated || !isDurable(&second) || granted(t, &second).State != 7 {
		t.Errorf("replay: %v %+v", s, second)
	}
	other := h.logon("alice", "disk")
	for why, c := range map[string]struct {
		who  *smbtest.Peer
		req  *wire.CreateRequest
		want nt.Status
	}{
		"in another session":   {other, ask(), nt.DuplicateObjectID},
		"by another user":      {h.logon("bob", "disk"), ask(), nt.AccessDenied},
		"with another lease":   {p, lasting(leasing("file", 2, 7, 0), 1), nt.AccessDenied},
		"with an oplock":       {p, lasting(asking("file", wire.OplockBatch), 1), nt.AccessDenied},
		"by another's version": {p, again(ask(), 1, first.FileID), nt.InvalidParameter},
	} {
		if s := replay(c.who, c.req, nil); s != c.want {
			t.Errorf("replay %s: %v, want %v", why, s, c.want)
		}
	}
	// The client lost the answer with its connection.
	p = h.comeBack(p, "alice", "disk")
	if s := replay(p, ask(), &second); s != nt.Success || second.FileID != first.FileID || second.Action != wire.FileCreated {
		t.Errorf("replay in a new session: %v %+v", s, second)
	}
	write(t, p, first.FileID, 0, []byte("used"))
	// From here on it is another CREATE.
	if s := replay(p, ask(), &second); s != nt.Success || second.FileID == first.FileID || second.Action != wire.FileOpened {
		t.Errorf("replay of what was used: %v %+v", s, second)
	}
	// A CREATE that failed is tried anew.
	missing := lasting(smbtest.OpenAs("missing", all, wire.FileOpen, 0), 9)
	for range 2 {
		if s := replay(p, missing, nil); s != nt.ObjectNameNotFound {
			t.Error(s)
		}
	}
	// An open that is closed is forgotten.
	p.Close(second.FileID)
	if s := p.Do(wire.CmdCreate, ask(), &second); s != nt.Success {
		t.Error(s)
	}
}

// A replay finds the CREATE that waits.
func TestReplayPending(t *testing.T) {
	h := newHouse(t, nil)
	p, q := h.logon("alice", "disk"), h.logon("bob", "disk")
	id := create(t, p, asking("file", wire.OplockBatch)).FileID
	ask := lasting(asking("file", 0), 3)
	first := send(q, wire.CmdCreate, ask)
	wantOplockBreak(t, p, id, wire.OplockLevel2)
	q.Flags = wire.FlagReplay
	if s := q.Do(wire.CmdCreate, ask, nil); s != nt.FileNotAvailable {
		t.Errorf("replay of a CREATE that waits: %v", s)
	}
	p.Close(id)
	var resp wire.CreateResponse
	m := q.Final()
	if err := resp.Decode(m.Raw); err != nil || m.MessageID != first.MessageID || m.Status != nt.Success {
		t.Fatal(m.Status, err)
	}
	var second wire.CreateResponse
	if s := q.Do(wire.CmdCreate, ask, &second); s != nt.Success || second.FileID != resp.FileID || isDurable(&second) {
		t.Errorf("replay of what is not durable: %v %+v", s, second)
	}
}

// Requests of before a channel failed must not be done after those that came later, [MS-SMB2] 3.3.5.2.10.
func TestChannelSequence(t *testing.T) {
	for _, flags := range []wire.Flags{0, wire.FlagReplay} {
		h := newHouse(t, nil)
		p := h.logon("alice", "disk")
		p.Flags = flags
		id := p.Open("file", all, wire.FileCreate, 0)
		for i, c := range []struct {
			seq uint16
			ok  bool
		}{
			{0, true},
			{0x8000, false},
			{0xFFFF, false},
			{0x7FFF, true},
			{0x7FFE, false},
			{0, false},
			{0x8000, true},
			{0xFFFF, true},
			{0, true},
			{1, true},
			{0, false},
			{0xFFFF, false},
			{1, true},
		} {
			p.Channel = c.seq
			want := nt.FileNotAvailable
			if c.ok {
				want = nt.Success
			}
			set := &wire.SetInfoRequest{FileID: id, InfoType: wire.InfoFile, InfoClass: uint8(fscc.FilePositionInformation), Buffer: make([]byte, 8)}
			for cmd, req := range map[wire.Command]smbtest.Body{
				wire.CmdWrite: &wire.WriteRequest{FileID: id, Data: []byte("x")}, wire.CmdSetInfo: set,
				wire.CmdIoctl: &wire.IoctlRequest{CtlCode: uint32(fscc.FsctlCreateOrGetObjectID), FileID: id, Flags: wire.IoctlIsFsctl, MaxOutputResponse: 64},
			} {
				if s := p.Do(cmd, req, nil); s != want {
					t.Errorf("%d: %v with %#x: %v", i, cmd, c.seq, s)
				}
			}
			if s := p.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 1}, nil); s != nt.Success {
				t.Errorf("%d: READ: %v", i, s)
			}
		}
		p.Channel = 0
	}
	// A replay waits for its original to be over.
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id, other := p.Open("file", all, wire.FileCreate, 0), p.Open("file", all, wire.FileOpen, 0)
	if s := p.Do(wire.CmdLock, locking(other, 0, lockNow), nil); s != nt.Success {
		t.Fatal(s)
	}
	waits := send(p, wire.CmdLock, locking(id, 0, wire.LockExclusive))
	if m := p.MustRecv(); m.Status != nt.Pending {
		t.Fatal(m.Status)
	}
	p.Channel, p.Flags = 1, wire.FlagReplay
	late := &wire.WriteRequest{FileID: id, Offset: 10, Data: []byte("x")}
	if s := p.Do(wire.CmdWrite, late, nil); s != nt.FileNotAvailable {
		t.Errorf("replay beside requests of before: %v", s)
	}
	p.Flags = 0
	if s := p.Do(wire.CmdWrite, late, nil); s != nt.Success {
		t.Errorf("new request beside requests of before: %v", s)
	}
	send(p, wire.CmdLock, locking(other, 0, wire.LockUnlock))
	for range 2 {
		if m := p.Final(); m.Status != nt.Success {
			t.Errorf("%v of %d: %v", m.Command, waits.MessageID, m.Status)
		}
	}
	p.Flags = wire.FlagReplay
	if s := p.Do(wire.CmdWrite, late, nil); s != nt.Success {
		t.Errorf("replay: %v", s)
	}
}

// A program that moved to another machine takes its files along, [MS-SMB2] 3.3.5.9.13.
func TestAppInstance(t *testing.T) {
	h := newHouse(t, nil)
	ask := func(guid, app byte, version uint64) *wire.CreateRequest {
		req := with(lasting(asking("file", wire.OplockBatch), guid), wire.CreateAppInstanceID, &wire.AppInstanceID{ID: dtyp.GUID{app}})
		req.ShareAccess = 0
		if version != 0 {
			with(req, wire.CreateAppInstanceVersion, &wire.AppInstanceVersion{High: 1, Low: version})
		}
		return req
	}
	at := func(client byte, user string) *smbtest.Peer {
		p := h.dial()
		p.Client = dtyp.GUID{client}
		p.Negotiate(wire.Dialect311)
		p.Logon(user, "secret", 0)
		p.Tree("disk")
		return p
	}
	p, q, bob := at(1, "alice"), at(2, "alice"), at(3, "bob")
	id := create(t, p, ask(1, 5, 0)).FileID
	moved := create(t, q, ask(2, 5, 7)).FileID
	if s := p.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 1}, nil); s != nt.FileClosed {
		t.Errorf("the program's old open: %v", s)
	}
	if s := p.Do(wire.CmdCreate, ask(3, 5, 7), nil); s != nt.FileForcedClosed {
		t.Errorf("an older version of the program: %v", s)
	}
	id = create(t, p, ask(4, 5, 8)).FileID
	if s := q.Do(wire.CmdRead, &wire.ReadRequest{FileID: moved, Length: 1}, nil); s != nt.FileClosed {
		t.Errorf("an older version's open: %v", s)
	}
	// Another user's open, or another program's, is not closed: it is asked to give way as any, and stays.
	for _, req := range []*wire.CreateRequest{ask(5, 5, 9), ask(6, 6, 0)} {
		h := send(bob, wire.CmdCreate, req)
		if m := p.Final(); m.Command == wire.CmdOplockBreak {
			p.Do(wire.CmdOplockBreak, &wire.OplockBreak{FileID: id, OplockLevel: wire.OplockLevel2}, nil)
		}
		if m := bob.Final(); m.Status != nt.SharingViolation || m.MessageID != h.MessageID {
			t.Errorf("%v", m.Status)
		}
		p.Close(id)
		id = create(t, p, ask(9, 5, 8)).FileID
	}
}

// Resilient opens, the predecessors of durable ones of version 2, are not offered: [MS-SMB2] 3.3.5.15.9.
func TestResilientRefused(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk", wire.Dialect210)
	id := p.Open("file", all, wire.FileCreate, 0)
	req := &wire.IoctlRequest{CtlCode: 0x001401D4, FileID: id, Flags: wire.IoctlIsFsctl, Input: make([]byte, 8)}
	if s := p.Do(wire.CmdIoctl, req, nil); s != nt.NotSupported {
		t.Errorf("%v", s)
	}
}

// A shelf is a HandleStore in memory.
type shelf struct {
	records map[uint64][]byte
	full    bool
}

func (s *shelf) Put(id uint64, record []byte) error {
	if s.full {
		return errors.New("full")
	}
	s.records[id] = bytes.Clone(record)
	return nil
}

func (s *shelf) Delete(id uint64) error {
	delete(s.records, id)
	return nil
}

func (s *shelf) Load() (map[uint64][]byte, error) {
	all := make(map[uint64][]byte)
	for id, b := range s.records {
		all[id] = b
	}
	return all, nil
}

// A site is a server that is started over and over with the same disk.
type site struct {
	t     *testing.T
	disk  *memfs.Volume
	shelf *shelf
}

func newSite(t *testing.T) *site {
	return &site{t, memfs.New(), &shelf{records: make(map[uint64][]byte)}}
}

func (s *site) start(more ...func(*smb.Config)) *house {
	return newHouse(s.t, func(cfg *smb.Config) {
		for _, f := range more {
			f(cfg)
		}
		cfg.Handles = s.shelf
		cfg.Shares = []smb.Share{{Name: "disk", Volume: s.disk, Rights: rights("disk"), ContinuouslyAvailable: true}}
	})
}

// crash takes away what a server's end would still write.
func (s *site) crash(h *house) {
	s.t.Helper()
	kept, _ := s.shelf.Load()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	if err := h.server.Shutdown(ctx); err != nil {
		s.t.Fatal(err)
	}
	if fmt.Sprint(s.shelf.records) != fmt.Sprint(kept) {
		s.t.Error("an orderly end changes what is kept")
	}
	s.shelf.records = kept
}

func (h *house) persistent(user string) *smbtest.Peer {
	h.t.Helper()
	p := h.dial()
	p.Capabilities = wire.CapPersistentHandles
	if resp := p.Negotiate(wire.Dialect311); resp.Capabilities&wire.CapPersistentHandles == 0 {
		h.t.Error("NEGOTIATE does not offer persistent handles")
	}
	p.Logon(user, "secret", 0)
	if s := p.Tree("disk"); s != nt.Success {
		h.t.Fatal(s)
	}
	return p
}

func forever(req *wire.CreateRequest, guid byte) *wire.CreateRequest {
	return with(req, wire.CreateDurableV2, &wire.DurableV2Request{Flags: wire.DurablePersistent, CreateGUID: dtyp.GUID{guid}})
}

func foreverAgain(req *wire.CreateRequest, guid byte, id wire.FileID) *wire.CreateRequest {
	return with(req, wire.CreateDurableV2Reconnect, &wire.DurableV2Reconnect{Flags: wire.DurablePersistent, FileID: id, CreateGUID: dtyp.GUID{guid}})
}

// A persistent open outlives the server: with its share mode, lease and locks, so that nobody gets between.
func TestPersistent(t *testing.T) {
	s := newSite(t)
	h := s.start()
	p := h.persistent("alice")
	req := forever(leasing("file", 1, 7, 4), 1)
	req.ShareAccess = 0
	first := create(t, p, req)
	var d wire.DurableV2Response
	if data, _ := contextOf(first, wire.CreateDurableV2); d.Decode(data) != nil || d.Flags != wire.DurablePersistent {
		t.Fatalf("%+v", d)
	}
	plain := forever(asking("plain", 0), 2) // one that caches nothing lasts as well
	plain.ShareAccess = 0
	other := create(t, p, plain).FileID
	id := first.FileID
	write(t, p, id, 0, []byte("before"))
	if s := p.Do(wire.CmdLock, locking(id, 100, lockNow), nil); s != nt.Success {
		t.Fatal(s)
	}
	s.crash(h)

	h = s.start()
	bob := h.persistent("bob")
	for name, want := range map[string]nt.Status{"file": nt.FileNotAvailable, "plain": nt.SharingViolation} {
		if s := bob.Do(wire.CmdCreate, asking(name, 0), nil); s != want {
			t.Errorf("%s is open to others: %v", name, s)
		}
	}
	if s := bob.Do(wire.CmdCreate, foreverAgain(leasing("file", 1, 7, 4), 1, id), nil); s != nt.AccessDenied {
		t.Errorf("taken up by another: %v", s)
	}
	p = h.persistent("alice")
	if s := p.Do(wire.CmdCreate, again(leasing("file", 1, 7, 4), 1, id), nil); s != nt.ObjectNameNotFound {
		t.Errorf("taken up as if it were not persistent: %v", s)
	}
	resp := create(t, p, foreverAgain(leasing("file", 1, 7, 4), 1, id))
	if l := granted(t, resp); l.State != 7 || l.Epoch != granted(t, first).Epoch+1 || l.Flags&wire.LeaseBreakInProgress == 0 {
		t.Errorf("lease %+v, was %+v", l, granted(t, first)) // what bob wanted is told now
	}
	if m := recvBreak(t, p); m.Status != nt.Success {
		t.Error(m.Status)
	}
	var read wire.ReadResponse
	if s := p.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 6}, &read); s != nt.Success || string(read.Data) != "before" {
		t.Errorf("%v %q", s, read.Data)
	}
	if s := p.Do(wire.CmdLock, locking(id, 100, wire.LockUnlock), nil); s != nt.Success {
		t.Errorf("its lock is gone: %v", s)
	}
	create(t, p, foreverAgain(asking("plain", 0), 2, other))
	p.Close(id)
	p.Close(other)
	if n := len(s.shelf.records); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// The client never had the answer to its CREATE.
func TestPersistentReplay(t *testing.T) {
	s := newSite(t)
	h := s.start()
	req := forever(asking("file", wire.OplockBatch), 1)
	id := create(t, h.persistent("alice"), req).FileID
	s.crash(h)
	h = s.start()
	p := h.persistent("alice")
	p.Flags = wire.FlagReplay
	if resp := create(t, p, req); resp.FileID != id || resp.Action != wire.FileCreated || resp.OplockLevel != wire.OplockBatch || !isDurable(resp) {
		t.Errorf("%+v", resp)
	}
}

// What changes of an open while the server runs is what it is afterwards.
func TestPersistentChanges(t *testing.T) {
	s := newSite(t)
	h := s.start()
	p := h.persistent("alice")
	renamed := create(t, p, forever(asking("old", 0), 1)).FileID
	rename := fscc.RenameInfo{Name: "new"}
	set := func(id wire.FileID, class fscc.FileClass, b []byte) {
		t.Helper()
		if s := p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{FileID: id, InfoType: wire.InfoFile, InfoClass: uint8(class), Buffer: b}, nil); s != nt.Success {
			t.Fatal(s)
		}
	}
	set(renamed, fscc.FileRenameInformation, rename.Append(nil))
	doomed := create(t, p, forever(asking("doomed", 0), 2)).FileID
	set(doomed, fscc.FileDispositionInformation, []byte{1})
	onClose := asking("on close", 0)
	onClose.Options |= wire.FileDeleteOnClose
	closes := create(t, p, forever(onClose, 3)).FileID
	s.crash(h)
	h = s.start()
	p = h.persistent("alice")
	for guid, id := range map[byte]wire.FileID{1: renamed, 2: doomed, 3: closes} {
		create(t, p, foreverAgain(asking("", 0), guid, id))
		p.Close(id)
	}
	for name, want := range map[string]nt.Status{
		"old": nt.ObjectNameNotFound, "new": nt.Success, "doomed": nt.ObjectNameNotFound, "on close": nt.ObjectNameNotFound,
	} {
		if s := p.Do(wire.CmdCreate, smbtest.OpenAs(name, all, wire.FileOpen, 0), nil); s != want {
			t.Errorf("%s: %v, want %v", name, s, want)
		}
	}
}

// Nothing is promised that is not on disk, or where it is not meant.
func TestPersistentRefused(t *testing.T) {
	s := newSite(t)
	h := s.start()
	p := h.persistent("alice")
	s.shelf.full = true
	if st := p.Do(wire.CmdCreate, forever(asking("file", wire.OplockBatch), 1), nil); st != nt.InsufficientResources {
		t.Errorf("with a store that is full: %v", st)
	}
	if n := h.server.Stats().Opens; n != 0 {
		t.Errorf("%d opens", n)
	}
	s.shelf.full = false
	isPersistent := func(p *smbtest.Peer, req *wire.CreateRequest) bool {
		t.Helper()
		resp := create(t, p, req)
		defer p.Close(resp.FileID)
		var d wire.DurableV2Response
		data, ok := contextOf(resp, wire.CreateDurableV2)
		return ok && d.Decode(data) == nil && d.Flags == wire.DurablePersistent
	}
	if isPersistent(p, forever(smbtest.OpenAs("", dtyp.FileRead, wire.FileOpen, 0), 1)) {
		t.Error("a directory")
	}
	if isPersistent(h.logon("alice", "disk"), forever(asking("file", 0), 1)) {
		t.Error("a client that does not know them")
	}
	if isPersistent(h.logon("alice", "disk", wire.Dialect210), forever(asking("file", 0), 1)) {
		t.Error("dialect 2.1")
	}
	plain := newHouse(t, func(cfg *smb.Config) { cfg.Handles = s.shelf })
	q := plain.dial()
	q.Capabilities = wire.CapPersistentHandles
	if resp := q.Negotiate(wire.Dialect311); resp.Capabilities&wire.CapPersistentHandles != 0 {
		t.Error("offered without a share that has them")
	}
	q.Logon("alice", "secret", 0)
	q.Tree("disk")
	if isPersistent(q, forever(asking("file", 0), 1)) {
		t.Error("a share that is not continuously available")
	}
}

// Records that are not what they were, and files that are not, are given up.
func TestPersistentGivenUp(t *testing.T) {
	s := newSite(t)
	h := s.start()
	p := h.persistent("alice")
	create(t, p, forever(asking("gone", 0), 1))
	create(t, p, forever(asking("other", 0), 2))
	s.crash(h)
	plain := newHouse(t, func(cfg *smb.Config) { cfg.Shares[0].Volume = s.disk })
	q := plain.logon("alice", "disk")
	for _, name := range []string{"gone", "other"} {
		if st := q.Do(wire.CmdCreate, smbtest.OpenAs(name, all, wire.FileOpen, wire.FileDeleteOnClose), &wire.CreateResponse{}); st != nt.Success {
			t.Fatal(st)
		}
	}
	q.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil)
	q = plain.logon("alice", "disk")
	q.Close(q.Open("other", all, wire.FileCreate, 0))
	s.shelf.records[77] = []byte("{")
	s.shelf.records[78] = bytes.Repeat([]byte(" "), 300<<10)
	h = s.start()
	if n := h.server.Stats().Opens; n != 0 || len(s.shelf.records) != 0 {
		t.Errorf("%d opens, %d records", n, len(s.shelf.records))
	}
	h.persistent("alice").Open("other", all, wire.FileOpen, 0)
}

// The time of a persistent open begins anew with the server, and ends.
func TestPersistentScavenger(t *testing.T) {
	s := newSite(t)
	h := s.start()
	create(t, h.persistent("alice"), with(asking("file", 0), wire.CreateDurableV2, &wire.DurableV2Request{Timeout: 1, Flags: wire.DurablePersistent, CreateGUID: dtyp.GUID{1}}))
	s.crash(h)
	h = s.start()
	for end := time.Now().Add(5 * time.Second); h.server.Stats().Opens != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is still open")
		}
	}
}

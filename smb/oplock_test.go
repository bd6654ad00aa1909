package smb_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// pipe is logon over an in-memory connection, which lives in synctest's time.
func (h *house) pipe(user string) *smbtest.Peer {
	h.t.Helper()
	client, server := net.Pipe()
	go h.server.ServeConn(context.Background(), server, h.info)
	h.t.Cleanup(func() { client.Close() })
	p := smbtest.New(h.t, client)
	p.Signing = crypt.AESGMAC
	p.Negotiate(wire.Dialect311)
	if s := p.Logon(user, "secret", 0); s != nt.Success {
		h.t.Fatalf("logon: %v", s)
	}
	if s := p.Tree("disk"); s != nt.Success {
		h.t.Fatalf("tree connect: %v", s)
	}
	return p
}

// asking is a CREATE of name that asks for an oplock.
func asking(name string, level uint8) *wire.CreateRequest {
	req := smbtest.OpenAs(name, all, wire.FileOpenIf, 0)
	req.OplockLevel = level
	return req
}

// leasing is a CREATE of name that asks for a lease of version 2, or of version 1 if the epoch is negative.
func leasing(name string, key byte, state uint32, epoch int) *wire.CreateRequest {
	req := asking(name, wire.OplockLease)
	l := wire.Lease{V2: epoch >= 0, Key: [16]byte{key}, State: state, Epoch: uint16(max(epoch, 0))}
	req.Contexts = []wire.CreateContext{{Name: wire.CreateLease, Data: l.Append(nil)}}
	return req
}

func create(t *testing.T, p *smbtest.Peer, req *wire.CreateRequest) *wire.CreateResponse {
	t.Helper()
	resp := &wire.CreateResponse{}
	if s := p.Do(wire.CmdCreate, req, resp); s != nt.Success {
		t.Fatalf("CREATE %q: %v", req.Name, s)
	}
	return resp
}

// granted is the lease in a CREATE response.
func granted(t *testing.T, resp *wire.CreateResponse) (l wire.Lease) {
	t.Helper()
	for _, c := range resp.Contexts {
		if c.Name == wire.CreateLease {
			if err := l.Decode(c.Data); err != nil {
				t.Fatal(err)
			}
			if resp.OplockLevel != wire.OplockLease {
				t.Errorf("a lease with oplock level %#x", resp.OplockLevel)
			}
			return l
		}
	}
	t.Fatal("no lease in the response")
	return l
}

// send sends a request whose answer is fetched later.
func send(p *smbtest.Peer, cmd wire.Command, req smbtest.Body) wire.Header {
	h := p.Request(cmd, 0)
	p.Send(smbtest.Element{Header: h, Body: req})
	return h
}

func recvBreak(t *testing.T, p *smbtest.Peer) smbtest.Message {
	t.Helper()
	m := p.Final()
	if m.Command != wire.CmdOplockBreak || m.MessageID != wire.BreakMessageID {
		t.Fatalf("want a break, got %v %d %v", m.Command, m.MessageID, m.Status)
	}
	if m.Flags&(wire.FlagSigned|wire.FlagAsync) != 0 || m.TreeID != 0 || m.Header.Credits != 0 {
		t.Errorf("header of a break: %+v", m.Header)
	}
	return m
}

func wantOplockBreak(t *testing.T, p *smbtest.Peer, id wire.FileID, level uint8) {
	t.Helper()
	m := recvBreak(t, p)
	var b wire.OplockBreak
	if err := b.Decode(m.Raw); err != nil {
		t.Fatal(err)
	}
	if b.FileID != id || b.OplockLevel != level || m.SessionID != p.SessionID {
		t.Errorf("break of %v to %#x in session %#x", b.FileID, b.OplockLevel, m.SessionID)
	}
}

func wantLeaseBreak(t *testing.T, p *smbtest.Peer, want wire.LeaseBreakNotification) {
	t.Helper()
	m := recvBreak(t, p)
	var b wire.LeaseBreakNotification
	if err := b.Decode(m.Raw); err != nil {
		t.Fatal(err)
	}
	if b != want {
		t.Errorf("got  %+v\nwant %+v", b, want)
	}
}

func ackOplock(p *smbtest.Peer, id wire.FileID, level uint8) nt.Status {
	return p.Do(wire.CmdOplockBreak, &wire.OplockBreak{FileID: id, OplockLevel: level}, &wire.OplockBreak{})
}

func ackLease(p *smbtest.Peer, key byte, state uint32) nt.Status {
	return p.Do(wire.CmdOplockBreak, &wire.LeaseBreakAck{Key: [16]byte{key}, State: state}, &wire.LeaseBreakAck{})
}

const (
	leaseR   = wire.LeaseRead
	leaseRH  = wire.LeaseRead | wire.LeaseHandle
	leaseRW  = wire.LeaseRead | wire.LeaseWrite
	leaseRWH = wire.LeaseRead | wire.LeaseWrite | wire.LeaseHandle
)

func TestOplock(t *testing.T) {
	h := newHouse(t, nil)
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")

	// The second opener waits for the first one's answer, and is told so.
	first := create(t, a, asking("f", wire.OplockBatch))
	if first.OplockLevel != wire.OplockBatch {
		t.Fatalf("granted %#x", first.OplockLevel)
	}
	send(b, wire.CmdCreate, asking("f", wire.OplockExclusive))
	wantOplockBreak(t, a, first.FileID, wire.OplockLevel2)
	if m := b.MustRecv(); m.Status != nt.Pending || m.Flags&wire.FlagAsync == 0 {
		t.Errorf("interim reply: %v %v", m.Status, m.Flags)
	}
	write(t, a, first.FileID, 0, []byte("kept back"))
	if s := ackOplock(a, first.FileID, wire.OplockLevel2); s != nt.Success {
		t.Errorf("acknowledgment: %v", s)
	}
	var second wire.CreateResponse
	if m := b.Final(); m.Status != nt.Success {
		t.Fatalf("second open: %v", m.Status)
	} else if err := second.Decode(m.Raw); err != nil {
		t.Fatal(err)
	}
	if second.OplockLevel != wire.OplockLevel2 || second.EndOfFile != 9 {
		t.Errorf("second open got %#x and sees %d bytes", second.OplockLevel, second.EndOfFile)
	}

	// A write breaks both, the writer's too, and needs no answers: one is against the protocol.
	send(b, wire.CmdWrite, &wire.WriteRequest{FileID: second.FileID, Data: []byte("x")})
	wantOplockBreak(t, a, first.FileID, wire.OplockNone)
	wantOplockBreak(t, b, second.FileID, wire.OplockNone)
	if m := b.Final(); m.Command != wire.CmdWrite || m.Status != nt.Success {
		t.Errorf("WRITE: %v", m.Status)
	}
	if s := ackOplock(a, first.FileID, wire.OplockNone); s != nt.InvalidOplockProtocol {
		t.Errorf("acknowledgment of what needs none: %v", s)
	}
	if s := ackOplock(a, first.FileID, wire.OplockLease); s != nt.InvalidParameter {
		t.Errorf("acknowledgment at lease level: %v", s)
	}
	a.Close(first.FileID)
	b.Close(second.FileID)

	// A sharing violation: the holder of a batch oplock may close, and then there is none.
	alone := asking("f", wire.OplockBatch)
	alone.ShareAccess = 0
	first = create(t, a, alone)
	send(b, wire.CmdCreate, asking("f", wire.OplockBatch))
	wantOplockBreak(t, a, first.FileID, wire.OplockLevel2)
	a.Close(first.FileID)
	if m := b.Final(); m.Status != nt.Success {
		t.Fatalf("open after the close: %v", m.Status)
	} else if err := second.Decode(m.Raw); err != nil || second.OplockLevel != wire.OplockBatch {
		t.Errorf("%v, level %#x", err, second.OplockLevel)
	}

	// Or its connection goes.
	send(a, wire.CmdCreate, alone)
	wantOplockBreak(t, b, second.FileID, wire.OplockLevel2)
	b.Conn.Close()
	if m := a.Final(); m.Status != nt.Success {
		t.Errorf("open after the holder is gone: %v", m.Status)
	}
}

// What was in the way left by deleting the file: another is made.
func TestOplockHolderDeletes(t *testing.T) {
	h := newHouse(t, nil)
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")
	doc := asking("f", wire.OplockBatch)
	doc.Options, doc.ShareAccess = wire.FileDeleteOnClose, 0
	first := create(t, a, doc)
	send(b, wire.CmdCreate, asking("f", wire.OplockBatch))
	wantOplockBreak(t, a, first.FileID, wire.OplockLevel2)
	a.Close(first.FileID)
	m := b.Final()
	var second wire.CreateResponse
	if m.Status != nt.Success {
		t.Fatal(m.Status)
	}
	if err := second.Decode(m.Raw); err != nil || second.Action != wire.FileCreated || second.OplockLevel != wire.OplockBatch {
		t.Errorf("%v, action %d, level %#x", err, second.Action, second.OplockLevel)
	}
}

// What was there when the wait began may not be there when it ends.
func TestOplockHolderDeletesForGood(t *testing.T) {
	h := newHouse(t, nil)
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")
	doc := asking("f", wire.OplockBatch)
	doc.Options, doc.ShareAccess = wire.FileDeleteOnClose, 0
	first := create(t, a, doc)
	req := asking("f", 0)
	req.DesiredAccess, req.Disposition = dtyp.MaximumAllowed|dtyp.ReadAttributes, wire.FileOpen
	req.Contexts = []wire.CreateContext{{Name: wire.CreateMaximalAccess}}
	send(b, wire.CmdCreate, req)
	wantOplockBreak(t, a, first.FileID, wire.OplockLevel2)
	a.Close(first.FileID)
	if m := b.Final(); m.Status != nt.ObjectNameNotFound {
		t.Errorf("nothing is there any more: %v", m.Status)
	}
}

// A notice is about an open that the client knows: it never overtakes the CREATE that made it, even in a compound.
func TestOplockCompound(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	c, w := p.Request(wire.CmdCreate, 0), p.Request(wire.CmdWrite, 0)
	w.Flags |= wire.FlagRelated
	p.Send(smbtest.Element{Header: c, Body: asking("f", wire.OplockLevel2)},
		smbtest.Element{Header: w, Body: &wire.WriteRequest{FileID: wire.NoFileID, Data: []byte("x")}})
	var resp wire.CreateResponse
	if m := p.MustRecv(); m.Command != wire.CmdCreate || resp.Decode(m.Raw) != nil || resp.OplockLevel != wire.OplockLevel2 {
		t.Fatalf("%v %v %#x", m.Command, m.Status, resp.OplockLevel)
	}
	if m := p.MustRecv(); m.Command != wire.CmdWrite || m.Status != nt.Success {
		t.Fatalf("%v %v", m.Command, m.Status)
	}
	wantOplockBreak(t, p, resp.FileID, wire.OplockNone)
}

// A holder that does not answer is waited for as long as Windows waits, once. Until it answers something it is neither
// waited for nor given writes to hold back (row 34).
func TestOplockNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		a, b := h.pipe("alice"), h.pipe("bob")
		create(t, a, asking("f", wire.OplockBatch))
		create(t, a, asking("g", wire.OplockBatch))
		go func() { // a reads and says nothing
			for {
				if _, err := a.Recv(); err != nil {
					return
				}
			}
		}()
		took := func(req *wire.CreateRequest, want uint8) time.Duration {
			start := time.Now()
			resp := &wire.CreateResponse{}
			send(b, wire.CmdCreate, req)
			for {
				m, err := b.Recv()
				if err != nil { // smbtest's own patience
					continue
				}
				if m.Status == nt.Pending {
					continue
				}
				if m.Status != nt.Success || resp.Decode(m.Raw) != nil || resp.OplockLevel != want {
					t.Errorf("%v, level %#x", m.Status, resp.OplockLevel)
				}
				return time.Since(start)
			}
		}
		if d := took(asking("f", wire.OplockBatch), wire.OplockLevel2); d != 35*time.Second {
			t.Errorf("waited %v", d)
		}
		if d := took(asking("g", wire.OplockBatch), wire.OplockLevel2); d > time.Second {
			t.Errorf("waited %v for one that does not answer", d)
		}
	})
}

// CANCEL ends the wait, and so does the end of the connection that waits.
func TestOplockCancel(t *testing.T) {
	h := newHouse(t, nil)
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")
	first := create(t, a, asking("f", wire.OplockBatch))
	send(b, wire.CmdCreate, asking("f", 0))
	interim := b.MustRecv()
	if interim.Status != nt.Pending {
		t.Fatal(interim.Status)
	}
	wantOplockBreak(t, a, first.FileID, wire.OplockLevel2)
	cancel := wire.Header{Command: wire.CmdCancel, Flags: wire.FlagAsync, MessageID: interim.MessageID, AsyncID: interim.AsyncID, SessionID: b.SessionID}
	b.Send(smbtest.Element{Header: cancel, Body: &wire.CancelRequest{}})
	if m := b.Final(); m.Status != nt.Cancelled {
		t.Errorf("cancelled CREATE: %v", m.Status)
	}
	send(b, wire.CmdCreate, asking("f", 0)) // the break is still on: no second notice
	b.MustRecv()
	b.Conn.Close()
	if s := ackOplock(a, first.FileID, wire.OplockNone); s != nt.Success {
		t.Errorf("acknowledgment: %v", s)
	}
}

func TestLease(t *testing.T) {
	h := newHouse(t, nil)
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk") // one client GUID: one client
	resp := create(t, a, leasing("f", 1, leaseRWH, 5))
	if l := granted(t, resp); l != (wire.Lease{V2: true, Key: [16]byte{1}, State: leaseRWH, Epoch: 6}) {
		t.Errorf("granted %+v", l)
	}
	// The key is the client's for one file, whoever asks, and no file is made for the refusal.
	if s := b.Do(wire.CmdCreate, leasing("other", 1, leaseR, 0), nil); s != nt.InvalidParameter {
		t.Errorf("key of another file: %v", s)
	}
	if s := b.Do(wire.CmdCreate, smbtest.OpenAs("other", all, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
		t.Errorf("file after the refusal: %v", s)
	}
	// Another key: the first gives up writes, by any of the client's connections.
	send(b, wire.CmdCreate, leasing("f", 2, leaseRWH, 0))
	wantLeaseBreak(t, a, wire.LeaseBreakNotification{NewEpoch: 7, Flags: wire.LeaseAckRequired, Key: [16]byte{1}, CurrentState: leaseRWH, NewState: leaseRH})
	if l := granted(t, create(t, a, leasing("f", 1, leaseRWH, 7))); l.State != leaseRWH || l.Flags != wire.LeaseBreakInProgress {
		t.Errorf("while it breaks: %+v", l)
	}
	if m := b.MustRecv(); m.Status != nt.Pending {
		t.Errorf("second open: %v", m.Status)
	}
	for _, wrong := range []struct {
		key   byte
		state uint32
		want  nt.Status
	}{{1, leaseRWH, nt.RequestNotAccepted}, {1, 0x40, nt.RequestNotAccepted}, {9, 0, nt.ObjectNameNotFound}} {
		if s := ackLease(a, wrong.key, wrong.state); s != wrong.want {
			t.Errorf("acknowledging %d with %#x: %v", wrong.key, wrong.state, s)
		}
	}
	h2 := b.Request(wire.CmdOplockBreak, 0)
	b.Send(smbtest.Element{Header: h2, Body: &wire.LeaseBreakAck{Key: [16]byte{1}, State: leaseRH}})
	var second wire.CreateResponse
	for range 2 { // the answers in any order
		switch m := b.Final(); {
		case m.Status != nt.Success:
			t.Fatalf("%v: %v", m.Command, m.Status)
		case m.Command == wire.CmdCreate:
			if err := second.Decode(m.Raw); err != nil {
				t.Fatal(err)
			}
		}
	}
	if l := granted(t, &second); l.State != leaseRH || l.Epoch != 1 {
		t.Errorf("second lease: %+v", l)
	}
	if s := ackLease(a, 1, 0); s != nt.Unsuccessful {
		t.Errorf("acknowledgment too many: %v", s)
	}
	// A write breaks the other lease, not the writer's.
	send(b, wire.CmdWrite, &wire.WriteRequest{FileID: second.FileID, Data: []byte("x")})
	wantLeaseBreak(t, a, wire.LeaseBreakNotification{NewEpoch: 8, Flags: wire.LeaseAckRequired, Key: [16]byte{1}, CurrentState: leaseRH})
	if m := b.Final(); m.Command != wire.CmdWrite || m.Status != nt.Success {
		t.Errorf("WRITE: %v %v", m.Command, m.Status)
	}
	if s := ackLease(a, 1, 0); s != nt.Success {
		t.Errorf("acknowledgment: %v", s)
	}
}

// When the connection that took a lease is gone, another that holds it is told.
func TestLeaseOtherConnection(t *testing.T) {
	h := newHouse(t, nil)
	a, b, c := h.logon("alice", "disk"), h.logon("alice", "disk"), h.logon("bob", "disk")
	create(t, a, leasing("f", 1, leaseRWH, 0))
	create(t, b, leasing("f", 1, leaseRWH, 1))
	a.Conn.Close()
	for h.server.Stats().Opens != 1 {
		time.Sleep(time.Millisecond)
	}
	send(c, wire.CmdCreate, asking("f", 0))
	wantLeaseBreak(t, b, wire.LeaseBreakNotification{NewEpoch: 2, Flags: wire.LeaseAckRequired, Key: [16]byte{1}, CurrentState: leaseRWH, NewState: leaseRH})
	if s := ackLease(b, 1, leaseRH); s != nt.Success {
		t.Errorf("acknowledgment: %v", s)
	}
	if m := c.Final(); m.Status != nt.Success {
		t.Errorf("open: %v", m.Status)
	}
}

// Which leases the dialects know, and which requests ask for one.
func TestLeaseDialects(t *testing.T) {
	h := newHouse(t, nil)
	for _, c := range []struct {
		dialect uint16
		req     *wire.CreateRequest
		want    uint8
		v2      bool
	}{
		{wire.Dialect202, leasing("f", 1, leaseR, -1), wire.OplockNone, false},
		{wire.Dialect210, leasing("f", 1, leaseR, -1), wire.OplockLease, false},
		{wire.Dialect210, leasing("f", 1, leaseR, 1), wire.OplockNone, false},
		{wire.Dialect300, leasing("f", 1, leaseR, -1), wire.OplockLease, false},
		{wire.Dialect311, leasing("f", 1, leaseR, 1), wire.OplockLease, true},
		{wire.Dialect311, asking("f", wire.OplockLease), wire.OplockNone, false}, // no context
		{wire.Dialect311, func() *wire.CreateRequest {
			r := leasing("f", 1, leaseR, 1)
			r.OplockLevel = wire.OplockBatch
			return r
		}(), wire.OplockBatch, false},
	} {
		p := h.logon("alice", "disk", c.dialect)
		resp := create(t, p, c.req)
		if resp.OplockLevel != c.want {
			t.Errorf("%#x: level %#x, want %#x", c.dialect, resp.OplockLevel, c.want)
		}
		if c.want == wire.OplockLease && granted(t, resp).V2 != c.v2 {
			t.Errorf("%#x: version 2 is %t", c.dialect, !c.v2)
		}
		p.Close(resp.FileID)
		want := uint32(0)
		if c.dialect != wire.Dialect202 {
			want = wire.CapLeasing
		}
		if got := h.dial().Negotiate(c.dialect).Capabilities & wire.CapLeasing; got != want {
			t.Errorf("%#x: leasing capability %#x", c.dialect, got)
		}
	}
	// A context that cannot be right is refused.
	bad := asking("f", wire.OplockLease)
	bad.Contexts = []wire.CreateContext{{Name: wire.CreateLease, Data: make([]byte, 40)}}
	if s := h.logon("alice", "disk").Do(wire.CmdCreate, bad, nil); s != nt.InvalidParameter {
		t.Errorf("lease context of 40 bytes: %v", s)
	}
}

// The lease has the version it was made with. Growing moves its epoch.
func TestLeaseVersions(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	if l := granted(t, create(t, p, leasing("f", 1, leaseR, 40))); l.Epoch != 41 {
		t.Errorf("%+v", l)
	}
	if l := granted(t, create(t, p, leasing("f", 1, leaseRH, -1))); !l.V2 || l.State != leaseRH || l.Epoch != 42 {
		t.Errorf("%+v", l)
	}
	req := leasing("f", 1, leaseRW, 0) // no superset: stays
	parent := wire.Lease{V2: true, Key: [16]byte{1}, State: leaseRW, Flags: wire.LeaseParentKeySet | wire.LeaseBreakInProgress, ParentKey: [16]byte{7}}
	req.Contexts[0].Data = parent.Append(nil)
	if l := granted(t, create(t, p, req)); l.State != leaseRH || l.Epoch != 42 || l.Flags != wire.LeaseParentKeySet || l.ParentKey != [16]byte{7} {
		t.Errorf("%+v", l)
	}
}

// An open made by a sealed request has its breaks sealed.
func TestLeaseSealed(t *testing.T) {
	h := newHouse(t, nil)
	a := h.logon("alice", "disk")
	a.Seal = true
	create(t, a, leasing("f", 1, leaseRWH, 0))
	send(a, wire.CmdCreate, asking("f", 0))
	if m := recvBreak(t, a); !m.Sealed || m.SessionID != a.SessionID {
		t.Errorf("sealed %t, session %#x", m.Sealed, m.SessionID)
	}
	send(a, wire.CmdOplockBreak, &wire.LeaseBreakAck{Key: [16]byte{1}, State: leaseRH})
	for range 2 {
		if m := a.Final(); m.Status != nt.Success {
			t.Errorf("%v: %v", m.Command, m.Status)
		}
	}
}

func renameTo(id wire.FileID, name string, replace bool) *wire.SetInfoRequest {
	info := fscc.RenameInfo{Name: name}
	if replace {
		info.Flags = 1
	}
	return &wire.SetInfoRequest{
		InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileRenameInformation), FileID: id, Buffer: info.Append(nil),
	}
}

// A rename waits for handles that are kept for their own sake: of the file, of what has the name, of what is below.
func TestRenameTakesHandles(t *testing.T) {
	h := newHouse(t, nil)
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")
	const rename = wire.CmdSetInfo
	breakOf := func(key byte) wire.LeaseBreakNotification {
		return wire.LeaseBreakNotification{NewEpoch: 2, Flags: wire.LeaseAckRequired, Key: [16]byte{key}, CurrentState: leaseRH, NewState: leaseR}
	}
	final := func(want nt.Status) {
		t.Helper()
		if m := b.MustRecv(); m.Command != rename || m.Status != want { // and no interim reply
			t.Errorf("%v: %v, want %v", m.Command, m.Status, want)
		}
	}
	// Of the file: it stays open, and has another name.
	held := create(t, a, leasing("f", 1, leaseRH, 0)).FileID
	id := b.Open("f", all, wire.FileOpen, 0)
	send(b, rename, renameTo(id, "g", false))
	wantLeaseBreak(t, a, breakOf(1))
	ackLease(a, 1, leaseR)
	final(nt.Success)
	a.Close(held)
	// Of what has the name: refused while it is open.
	held = create(t, a, leasing("target", 2, leaseRH, 0)).FileID
	send(b, rename, renameTo(id, "target", true))
	wantLeaseBreak(t, a, breakOf(2))
	ackLease(a, 2, leaseR)
	final(nt.AccessDenied)
	a.Close(held)
	held = create(t, a, leasing("target", 2, leaseRH, 0)).FileID
	send(b, rename, renameTo(id, "target", true))
	wantLeaseBreak(t, a, breakOf(2))
	a.Close(held)
	final(nt.Success)
	b.Close(id)
	// Of what is below a directory.
	dir := b.Open("dir", all, wire.FileCreate, wire.FileDirectoryFile)
	held = create(t, a, leasing(`dir\f`, 3, leaseRH, 0)).FileID
	send(b, rename, renameTo(dir, "moved", false))
	wantLeaseBreak(t, a, breakOf(3))
	late := create(t, a, leasing(`dir\late`, 4, leaseRH, 0)).FileID // is not asked
	a.Close(held)
	final(nt.AccessDenied)
	a.Close(late)
	send(b, rename, renameTo(dir, "moved", false))
	final(nt.Success)
	// The directory that gets the name must not be about to go.
	id = b.Open("f", all, wire.FileCreate, 0)
	send(b, rename, renameTo(id, `moved\g`, false))
	final(nt.SharingViolation)
	b.Close(dir)
	send(b, rename, renameTo(id, `moved\g`, false))
	final(nt.Success)
	// Marking for deletion asks too.
	held = create(t, a, leasing(`moved\g`, 5, leaseRH, 0)).FileID
	send(b, rename, &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileDispositionInformation), FileID: id, Buffer: []byte{1}})
	wantLeaseBreak(t, a, breakOf(5))
	a.Close(held)
	final(nt.Success)
}

// Ending a session gives its oplocks up.
func TestOplockSessionEnds(t *testing.T) {
	h := newHouse(t, nil)
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")
	for _, end := range []wire.Command{wire.CmdTreeDisconnect, wire.CmdLogoff} {
		first := create(t, a, asking("f", wire.OplockBatch))
		send(b, wire.CmdCreate, asking("f", wire.OplockBatch))
		wantOplockBreak(t, a, first.FileID, wire.OplockLevel2)
		if s := a.Do(end, bareRequest{end}, nil); s != nt.Success {
			t.Fatalf("%v: %v", end, s)
		}
		var resp wire.CreateResponse
		m := b.Final()
		if m.Status != nt.Success || resp.Decode(m.Raw) != nil || resp.OplockLevel != wire.OplockBatch {
			t.Errorf("after %v: %v, level %#x", end, m.Status, resp.OplockLevel)
		}
		b.Close(resp.FileID)
		if end == wire.CmdTreeDisconnect {
			a.Tree("disk")
		}
	}
}

type bareRequest struct{ cmd wire.Command }

func (r bareRequest) Append(b []byte) []byte {
	if r.cmd == wire.CmdLogoff {
		return (&wire.LogoffRequest{}).Append(b)
	}
	return (&wire.TreeDisconnectRequest{}).Append(b)
}

// inDir is a CREATE of name under a lease that names its directory's as parent.
func inDir(name string, key, parent byte, state uint32) *wire.CreateRequest {
	req := leasing(name, key, state, 0)
	l := wire.Lease{V2: true, Key: [16]byte{key}, State: state, Flags: wire.LeaseParentKeySet, ParentKey: [16]byte{parent}}
	req.Contexts[0].Data = l.Append(nil)
	return req
}

// A directory's lease lasts until an entry changes, unless the change names it as its own.
func TestDirectoryLease(t *testing.T) {
	h := newHouse(t, nil)
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")
	directory := func(name string, key byte, state uint32, epoch int) *wire.CreateRequest {
		req := leasing(name, key, state, epoch)
		req.Options = wire.FileDirectoryFile
		req.DesiredAccess &^= dtyp.Delete // who may delete a directory keeps names from being put into it
		return req
	}
	dir := create(t, a, directory("dir", 1, leaseRWH, 0))
	if l := granted(t, dir); l.State != leaseRH || l.Epoch != 1 {
		t.Fatalf("directory lease %+v", l)
	}
	create(t, b, directory("other", 2, leaseRH, 0))
	if resp := create(t, a, directory("third", 3, leaseRH, -1)); resp.OplockLevel != wire.OplockNone || len(resp.Contexts) != 0 {
		t.Errorf("version 1 on a directory: %#x", resp.OplockLevel)
	}
	epoch := uint16(1)
	broken := func(what string) {
		t.Helper()
		epoch++
		wantLeaseBreak(t, a, wire.LeaseBreakNotification{NewEpoch: epoch, Flags: wire.LeaseAckRequired, Key: [16]byte{1}, CurrentState: leaseRH})
		if s := ackLease(a, 1, 0); s != nt.Success {
			t.Errorf("%s: acknowledgment: %v", what, s)
		}
		epoch++
		resp := create(t, a, directory("dir", 1, leaseRH, int(epoch)))
		if l := granted(t, resp); l.State != leaseRH || l.Epoch != epoch {
			t.Errorf("%s: again: %+v", what, l)
		}
		a.Close(resp.FileID)
	}
	mine := create(t, b, inDir(`dir\f`, 9, 1, leaseR)).FileID // leaves it alone
	write(t, b, mine, 0, []byte("x"))
	b.Close(mine)
	foreign := b.Open(`dir\g`, all, wire.FileCreate, 0)
	broken("made")
	write(t, b, foreign, 0, []byte("x")) // shows in the directory when it is closed
	b.Close(foreign)
	broken("written and closed")
	foreign = b.Open(`dir\g`, all, wire.FileOverwrite, 0)
	broken("overwritten")
	if s := b.Do(wire.CmdSetInfo, setSize(foreign, 1), nil); s != nt.Success {
		t.Fatal(s)
	}
	broken("grown")
	basic := fscc.BasicInfo{Attributes: 2}
	b.Do(wire.CmdSetInfo, &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileBasicInformation), FileID: foreign, Buffer: basic.Append(nil)}, nil)
	broken("hidden")
	b.Do(wire.CmdSetInfo, renameTo(foreign, `dir\h`, false), nil)
	broken("renamed")
	b.Do(wire.CmdSetInfo, renameTo(foreign, `other\h`, false), nil)
	broken("moved away")
	wantLeaseBreak(t, b, wire.LeaseBreakNotification{NewEpoch: 2, Flags: wire.LeaseAckRequired, Key: [16]byte{2}, CurrentState: leaseRH})
	b.Do(wire.CmdSetInfo, renameTo(foreign, `dir\i`, false), nil)
	broken("moved in")
	doc := smbtest.OpenAs(`dir\i`, all, wire.FileOpen, wire.FileDeleteOnClose)
	b.Close(create(t, b, doc).FileID)
	b.Close(foreign)
	broken("deleted")
	// Deleted by one who knows, and closed last by the same.
	known := inDir(`dir\f`, 9, 1, leaseR)
	known.Options = wire.FileDeleteOnClose
	b.Close(create(t, b, known).FileID)
	a.Do(wire.CmdEcho, &wire.EchoRequest{}, nil) // nothing came before this
}

// setSize is a SET_INFO of the end of file.
func setSize(id wire.FileID, size int64) *wire.SetInfoRequest {
	return &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileEndOfFileInformation), FileID: id, Buffer: fscc.SizeInfo{Size: size}.Append(nil)}
}

// Whatever changes contents breaks what others cache of them; what only looks does not.
func TestWhatBreaksLeases(t *testing.T) {
	h := newHouse(t, nil)
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")
	id := b.Open("f", all, wire.FileCreate, 0)
	write(t, b, id, 0, make([]byte, 1000))
	var key wire.ResumeKeyResponse
	var out wire.IoctlResponse
	if s := b.Do(wire.CmdIoctl, &wire.IoctlRequest{CtlCode: wire.FsctlSrvRequestResumeKey, Flags: wire.IoctlIsFsctl, FileID: id, MaxOutputResponse: 64}, &out); s != nt.Success {
		t.Fatal(s)
	}
	if err := key.Decode(out.Output); err != nil {
		t.Fatal(err)
	}
	info := func(class fscc.FileClass, body interface{ Append([]byte) []byte }) *wire.SetInfoRequest {
		return &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(class), FileID: id, Buffer: body.Append(nil)}
	}
	control := func(code uint32, in []byte) *wire.IoctlRequest {
		return &wire.IoctlRequest{CtlCode: code, Flags: wire.IoctlIsFsctl, FileID: id, Input: in, MaxOutputResponse: 64}
	}
	chunk := wire.CopyChunkRequest{Source: key.Key, Chunks: []wire.CopyChunk{{SrcOffset: 0, DstOffset: 500, Length: 10}}}
	overwrite := smbtest.OpenAs("f", all, wire.FileOverwriteIf, 0)
	for i, c := range []struct {
		name   string
		cmd    wire.Command
		req    smbtest.Body
		breaks bool
	}{
		{"READ", wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 10}, false},
		{"times", wire.CmdSetInfo, info(fscc.FileBasicInformation, fscc.BasicInfo{Attributes: vfs.AttrTemporary}), false},
		{"open to look", wire.CmdCreate, smbtest.OpenAs("f", dtyp.ReadAttributes, wire.FileOpen, 0), false},
		{"open to write", wire.CmdCreate, smbtest.OpenAs("f", all, wire.FileOpen, 0), false},
		{"WRITE", wire.CmdWrite, &wire.WriteRequest{FileID: id, Data: []byte("x")}, true},
		{"end of file", wire.CmdSetInfo, info(fscc.FileEndOfFileInformation, fscc.SizeInfo{Size: 900}), true},
		{"allocation", wire.CmdSetInfo, info(fscc.FileAllocationInformation, fscc.SizeInfo{Size: 800}), true},
		{"zeroes", wire.CmdIoctl, control(uint32(fscc.FsctlSetZeroData), fscc.ZeroData{From: 0, Beyond: 10}.Append(nil)), true},
		{"copy", wire.CmdIoctl, control(wire.FsctlSrvCopychunk, chunk.Append(nil)), true},
		{"overwrite", wire.CmdCreate, overwrite, true},
	} {
		key := byte(i + 1)
		held := create(t, a, leasing("f", key, leaseR, 0))
		if l := granted(t, held); l.State != leaseR {
			t.Fatalf("%s: lease %+v", c.name, l)
		}
		send(b, c.cmd, c.req)
		m := b.Final()
		if m.Status.IsError() {
			t.Errorf("%s: %v", c.name, m.Status)
		}
		if c.breaks {
			wantLeaseBreak(t, a, wire.LeaseBreakNotification{NewEpoch: 2, Key: [16]byte{key}, CurrentState: leaseR})
		}
		a.Close(held.FileID) // its answer comes next: nothing else was told
	}
}

// A CREATE that waits at the head of a compound says so; the others wait with it. They may name its file by half.
func TestOplockCompoundWaits(t *testing.T) {
	h := newHouse(t, nil)
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")
	first := create(t, a, asking("f", wire.OplockBatch))
	c, r, cl := b.Request(wire.CmdCreate, 0), b.Request(wire.CmdWrite, 0), b.Request(wire.CmdClose, 0)
	r.Flags, cl.Flags = wire.FlagRelated, wire.FlagRelated
	b.Send(smbtest.Element{Header: c, Body: asking("f", 0)},
		smbtest.Element{Header: r, Body: &wire.WriteRequest{FileID: wire.FileID{Persistent: ^uint64(0)}, Data: []byte("x")}},
		smbtest.Element{Header: cl, Body: &wire.CloseRequest{FileID: wire.NoFileID}})
	wantOplockBreak(t, a, first.FileID, wire.OplockLevel2)
	if m := b.MustRecv(); m.Status != nt.Pending || m.MessageID != c.MessageID {
		t.Errorf("%v for %v", m.Status, m.Command)
	}
	if s := ackOplock(a, first.FileID, wire.OplockNone); s != nt.Success {
		t.Errorf("acknowledgment: %v", s)
	}
	for _, want := range []wire.Header{c, r, cl} {
		if m := b.MustRecv(); m.Status != nt.Success || m.MessageID != want.MessageID {
			t.Errorf("%v %d: %v", m.Command, m.MessageID, m.Status)
		}
	}
}

// A holder that does not read holds up nobody who need not wait for it.
func TestOplockHolderDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		a, b := h.pipe("alice"), h.pipe("bob")
		create(t, a, leasing("f", 1, leaseR, 0))
		id := b.Open("f", all, wire.FileOpen, 0)
		start := time.Now()
		write(t, b, id, 0, []byte("x"))
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("the writer waited %v", d)
		}
	})
}

// Many wait for one answer, each for the price of its request, and all get in (row 34).
func TestOplockManyWait(t *testing.T) {
	h := newHouse(t, nil)
	a := h.logon("alice", "disk")
	first := create(t, a, asking("f", wire.OplockBatch))
	const peers, each = 5, 200
	var list []*smbtest.Peer
	for range peers {
		p := h.logon("bob", "disk")
		for range 4 {
			p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil) // for credits
		}
		list = append(list, p)
		for range each {
			send(p, wire.CmdCreate, asking("f", 0))
		}
		for range each {
			if m := p.MustRecv(); m.Status != nt.Pending {
				t.Fatal(m.Status)
			}
		}
	}
	wantOplockBreak(t, a, first.FileID, wire.OplockLevel2)
	if s := ackOplock(a, first.FileID, wire.OplockNone); s != nt.Success {
		t.Fatal(s)
	}
	for _, p := range list {
		for range each {
			if m := p.Final(); m.Status != nt.Success {
				t.Fatal(m.Status)
			}
		}
	}
}

// The refusal of a reauthentication is signed with the key of the session that it ends.
func TestReauthRefusalSigned(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	send(p, wire.CmdSessionSetup, &wire.SessionSetupRequest{SecurityMode: wire.SigningEnabled, SecurityBuffer: []byte("no token")})
	m := p.Final()
	if !m.Status.IsError() || m.Flags&wire.FlagSigned == 0 || !p.Signer.Verify(m.Raw) {
		t.Errorf("%v, flags %#x", m.Status, m.Flags)
	}
	if s := p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil); s != nt.Success { // needs no session, and so none is missed
		t.Errorf("ECHO: %v", s)
	}
	if s := p.Do(wire.CmdCreate, asking("f", 0), nil); s != nt.UserSessionDeleted {
		t.Errorf("CREATE afterwards: %v", s)
	}
}

// Deleting on close waits for handles that are kept for their own sake: the name is free when the close is answered.
func TestDeleteOnCloseTakesHandles(t *testing.T) {
	h := newHouse(t, nil)
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")
	held := create(t, a, leasing("f", 1, leaseRH, 0)).FileID
	doc := create(t, b, smbtest.OpenAs("f", all, wire.FileOpen, wire.FileDeleteOnClose)).FileID
	send(b, wire.CmdClose, &wire.CloseRequest{FileID: doc})
	wantLeaseBreak(t, a, wire.LeaseBreakNotification{NewEpoch: 2, Flags: wire.LeaseAckRequired, Key: [16]byte{1}, CurrentState: leaseRH, NewState: leaseR})
	a.Close(held)
	if m := b.Final(); m.Command != wire.CmdClose || m.Status != nt.Success {
		t.Errorf("%v: %v", m.Command, m.Status)
	}
	b.Close(b.Open("f", all, wire.FileCreate, 0))
}

package smb_test

import (
	"testing"
	"testing/synctest"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// replay sends a CREATE again, or for the first time: nobody knows.
func replay(p *smbtest.Peer, req *wire.CreateRequest, resp smbtest.Decoder) nt.Status {
	p.Flags |= wire.FlagReplay
	defer func() { p.Flags &^= wire.FlagReplay }()
	return p.Do(wire.CmdCreate, req, resp)
}

// channels are n channels of one session, in synctest's time.
func (h *house) channels(user string, n int) (list []*smbtest.Peer) {
	h.t.Helper()
	list = append(list, h.pipe(user))
	for len(list) < n {
		p, _ := h.pipeDial()
		h.t.Cleanup(func() { p.Conn.Close() })
		p.Negotiate(wire.Dialect311)
		if s := p.Bind(list[0], user, "secret"); s != nt.Success {
			h.t.Fatalf("binding: %v", s)
		}
		list = append(list, p)
	}
	return list
}

// held opens file for somebody who has to be asked for it.
func (h *house) held() (holder *smbtest.Peer, id wire.FileID) {
	holder = h.pipe("alice")
	return holder, create(h.t, holder, asking("file", wire.OplockBatch)).FileID
}

// waits sends a CREATE that has to wait.
func waits(t *testing.T, p *smbtest.Peer, req *wire.CreateRequest) wire.Header {
	t.Helper()
	h := send(p, wire.CmdCreate, req)
	if m := p.MustRecv(); m.Status != nt.Pending || m.MessageID != h.MessageID {
		t.Fatalf("interim reply: %+v", m.Header)
	}
	return h
}

// A CREATE that waits outlives its channel, and the next one: its replays find it being worked on, and then its open.
func TestReplayOutlivesChannels(t *testing.T) {
	for name, c := range map[string]struct {
		ask     *wire.CreateRequest
		level   uint8
		durable bool
	}{
		"lease":   {leasing("file", 2, leaseRWH, 4), wire.OplockLease, true},
		"oplock":  {asking("file", wire.OplockBatch), wire.OplockBatch, true},
		"nothing": {asking("file", 0), wire.OplockNone, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, nil)
				holder, id := h.held()
				p := h.channels("bob", 3)
				ask := lasting(c.ask, 9)
				send(p[0], wire.CmdCreate, ask)
				wantOplockBreak(t, holder, id, wire.OplockLevel2)
				if m := p[0].MustRecv(); m.Status != nt.Pending {
					t.Fatal(m.Status)
				}
				for i := range 2 {
					p[i].Conn.Close()
					synctest.Wait()
					if s := replay(p[i+1], ask, nil); s != nt.FileNotAvailable {
						t.Fatalf("replay while the CREATE waits: %v", s)
					}
				}
				holder.Close(id)
				synctest.Wait()
				var resp wire.CreateResponse
				if s := replay(p[2], ask, &resp); s != nt.Success || resp.Action != wire.FileOpened || resp.OplockLevel != c.level || isDurable(&resp) != c.durable {
					t.Errorf("replay: %v %+v", s, resp)
				}
				if name == "lease" {
					if l := granted(t, &resp); l.State != leaseRWH || l.Epoch != 5 {
						t.Errorf("lease %+v", l)
					}
				}
				if st := h.server.Stats(); st.Opens != 1 || st.Connections != 2 {
					t.Errorf("%+v", st)
				}
				p[2].Close(resp.FileID)
			})
		})
	}
}

// The open may itself be broken before the replay comes: the break waits for the client to know of it, and then goes by
// the channel that is left.
func TestStrayBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		holder, id := h.held()
		p := h.channels("bob", 2)
		ask := lasting(leasing("file", 2, leaseRWH, 4), 9)
		send(p[0], wire.CmdCreate, ask)
		wantOplockBreak(t, holder, id, wire.OplockLevel2)
		p[0].MustRecv()
		p[0].Conn.Close()
		synctest.Wait()
		holder.Close(id)
		synctest.Wait()
		send(holder, wire.CmdCreate, asking("file", 0))
		wantLeaseBreak(t, p[1], wire.LeaseBreakNotification{
			NewEpoch: 6, Flags: wire.LeaseAckRequired, Key: [16]byte{2}, CurrentState: leaseRWH, NewState: leaseRH,
		})
		if s := ackLease(p[1], 2, leaseRH); s != nt.Success {
			t.Error(s)
		}
		if m := holder.Final(); m.Status != nt.Success {
			t.Error(m.Status)
		}
		var resp wire.CreateResponse
		if s := replay(p[1], ask, &resp); s != nt.Success || granted(t, &resp).State != leaseRH {
			t.Errorf("replay: %v %+v", s, resp)
		}
	})
}

// What outlives its channel does not outlive its session, whoever ends it, nor the server.
func TestStrayEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(h *house, p *smbtest.Peer)
		conns int
	}{
		"last channel lost": {func(_ *house, p *smbtest.Peer) { p.Conn.Close() }, 1},
		"logged off": {func(h *house, p *smbtest.Peer) {
			if s := p.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil); s != nt.Success {
				h.t.Error(s)
			}
		}, 2},
		"tree disconnected": {func(h *house, p *smbtest.Peer) {
			if s := p.Do(wire.CmdTreeDisconnect, &wire.TreeDisconnectRequest{}, nil); s != nt.Success {
				h.t.Error(s)
			}
		}, 3},
		"shutdown": {func(h *house, _ *smbtest.Peer) {
			if err := h.server.Shutdown(h.t.Context()); err != nil {
				h.t.Error(err)
			}
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, nil)
				holder, id := h.held()
				p := h.channels("bob", 2)
				send(p[0], wire.CmdCreate, lasting(asking("file", wire.OplockBatch), 9))
				wantOplockBreak(t, holder, id, wire.OplockLevel2)
				p[0].MustRecv()
				p[0].Conn.Close()
				synctest.Wait()
				if n := h.server.Stats().Connections; n != 3 {
					t.Errorf("%d connections: nothing waits", n)
				}
				c.end(h, p[1])
				synctest.Wait()
				if n := h.server.Stats().Connections; n != c.conns {
					t.Errorf("%d connections, want %d", n, c.conns)
				}
				if c.conns == 0 {
					return
				}
				holder.Close(id)
				synctest.Wait()
				if st := h.server.Stats(); st.Opens != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// There are only so many of a session's. A CREATE without a name ends with its channel, and so does one that is longer
// than any, and one whose session has no other channel left.
func TestStraysBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		holder, id := h.held()
		p := h.channels("bob", 2)
		long := lasting(asking("file", 0), 99)
		long.Contexts = append(long.Contexts, wire.CreateContext{Name: "long", Data: make([]byte, smb.MaxStrayFrame)})
		send(p[0], wire.CmdCreate, long)
		wantOplockBreak(t, holder, id, wire.OplockLevel2)
		p[0].MustRecv()
		waits(t, p[0], asking("file", 0))
		for i := range smb.MaxStrays + 5 {
			waits(t, p[0], with(asking("file", 0), wire.CreateDurableV2, &wire.DurableV2Request{CreateGUID: dtyp.GUID{1, byte(i)}}))
		}
		p[0].Conn.Close()
		synctest.Wait()
		if s := replay(p[1], with(asking("other", 0), wire.CreateDurableV2, &wire.DurableV2Request{CreateGUID: dtyp.GUID{99}}), nil); s != nt.Success {
			t.Errorf("replay of the long one: %v", s)
		}
		holder.Close(id)
		synctest.Wait()
		if n := h.server.Stats().Opens; n != smb.MaxStrays+1 {
			t.Errorf("%d opens, want %d", n, smb.MaxStrays+1)
		}
		p[1].Conn.Close()
		synctest.Wait()
		if st := h.server.Stats(); st.Opens != 0 || st.Connections != 1 {
			t.Errorf("%+v", st)
		}
		holder.Conn.Close()
		synctest.Wait()
		if err := h.server.Idle(); err != nil {
			t.Error(err)
		}
	})
}

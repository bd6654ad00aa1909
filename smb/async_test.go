package smb_test

import (
	"context"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// pipeDial connects a peer through net.Pipe, for synctest; over is closed when the server is done with it.
func (h *house) pipeDial() (p *smbtest.Peer, over chan struct{}) {
	client, server := net.Pipe()
	over = make(chan struct{})
	go func() {
		h.server.ServeConn(context.Background(), server, h.info)
		close(over)
	}()
	p = smbtest.New(h.t, client)
	p.Signing = crypt.AESGMAC
	return p, over
}

func (h *house) pipeLogon(share string) (p *smbtest.Peer, over chan struct{}) {
	h.t.Helper()
	p, over = h.pipeDial()
	p.Negotiate(wire.Dialect311)
	if s := p.Logon("alice", "secret", 0); s != nt.Success {
		h.t.Fatal(s)
	}
	if s := p.Tree(share); s != nt.Success {
		h.t.Fatal(s)
	}
	return p, over
}

// later sends a READ that has to wait, and returns its header and the interim reply's.
func later(t *testing.T, p *smbtest.Peer, id wire.FileID) (asked, interim wire.Header) {
	t.Helper()
	asked = p.Request(wire.CmdRead, 0)
	p.Send(smbtest.Element{Header: asked, Body: &wire.ReadRequest{FileID: id, Length: 1000}})
	m := p.MustRecv()
	switch {
	case m.Status != nt.Pending, m.MessageID != asked.MessageID, m.Flags&wire.FlagAsync == 0, m.AsyncID == 0:
		t.Fatalf("interim reply: %+v", m.Header)
	case m.Flags&wire.FlagSigned != 0:
		t.Error("the interim reply is signed: with AES-GMAC that shares a nonce with the final one")
	case m.Credits == 0:
		t.Error("no credits with the interim reply")
	}
	return asked, m.Header
}

// final checks the answer to what waited.
func final(t *testing.T, p *smbtest.Peer, asked, interim wire.Header, want nt.Status) {
	t.Helper()
	m := p.MustRecv()
	if m.Status != want || m.MessageID != asked.MessageID || m.AsyncID != interim.AsyncID || m.Flags&wire.FlagAsync == 0 || m.Command != wire.CmdRead {
		t.Errorf("final reply: %+v, want %v", m.Header, want)
	}
	if m.Flags&wire.FlagSigned == 0 || m.Credits != 0 {
		t.Errorf("final reply: flags %#x, %d credits after those of the interim one", m.Flags, m.Credits)
	}
}

// CANCEL has the id of what it cancels, and no answer of its own, [MS-SMB2] 3.3.5.16.
func TestCancel(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "IPC$")
	id := p.Open("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	cancel := func(hdr wire.Header) {
		hdr.Command, hdr.CreditCharge, hdr.Credits = wire.CmdCancel, 0, 0
		p.Send(smbtest.Element{Header: hdr, Body: &wire.CancelRequest{}})
	}
	for range 3 {
		asked, interim := later(t, p, id)
		byAsync := asked
		byAsync.Flags |= wire.FlagAsync
		byAsync.AsyncID = interim.AsyncID
		cancel(byAsync)
		final(t, p, asked, interim, nt.Cancelled)

		asked, interim = later(t, p, id)
		cancel(asked)
		final(t, p, asked, interim, nt.Cancelled)
	}
	// One that finds nothing, or belongs to another session, or is not signed, does nothing.
	asked, interim := later(t, p, id)
	wrong := asked
	wrong.Flags |= wire.FlagAsync
	wrong.AsyncID = interim.AsyncID + 1
	cancel(wrong)
	wrong = asked
	wrong.SessionID++
	cancel(wrong)
	bare := asked
	bare.Command = wire.CmdCancel
	p.SendRaw((&wire.CancelRequest{}).Append(bare.Append(nil)))
	if s := p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil); s != nt.Success {
		t.Errorf("ECHO beside a waiting request: %v", s)
	}
	// What it waits for comes after all.
	hdr := p.Request(wire.CmdWrite, 0)
	p.Send(smbtest.Element{Header: hdr, Body: &wire.WriteRequest{FileID: id, Data: bindRequest}})
	for range 2 {
		switch m := p.MustRecv(); m.MessageID {
		case hdr.MessageID:
			if m.Status != nt.Success {
				t.Errorf("WRITE: %v", m.Status)
			}
		case asked.MessageID:
			var resp wire.ReadResponse
			if err := resp.Decode(m.Raw); err != nil || m.Status != nt.Success || len(resp.Data) < 60 || m.AsyncID != interim.AsyncID {
				t.Errorf("%v, %v, %d bytes", err, m.Status, len(resp.Data))
			}
		}
	}
}

// A CLOSE answers what waits on the handle; so does the end of the session. A lost connection ends it.
func TestCloseWhileWaiting(t *testing.T) {
	h := newHouse(t, nil)
	p, over := h.pipeLogon("IPC$")
	for _, end := range []struct {
		cmd  wire.Command
		body func(wire.FileID) smbtest.Body
	}{
		{wire.CmdClose, func(id wire.FileID) smbtest.Body { return &wire.CloseRequest{FileID: id} }},
		{wire.CmdTreeDisconnect, func(wire.FileID) smbtest.Body { return &wire.TreeDisconnectRequest{} }},
		{wire.CmdLogoff, func(wire.FileID) smbtest.Body { return &wire.LogoffRequest{} }},
	} {
		p.Tree("IPC$")
		id := p.Open("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
		asked, _ := later(t, p, id)
		hdr := p.Request(end.cmd, 0)
		p.Send(smbtest.Element{Header: hdr, Body: end.body(id)})
		for range 2 {
			switch m := p.MustRecv(); m.MessageID {
			case hdr.MessageID:
				if m.Status != nt.Success {
					t.Errorf("%v: %v", end.cmd, m.Status)
				}
			case asked.MessageID:
				if m.Status != nt.PipeBroken {
					t.Errorf("READ after %v: %v", end.cmd, m.Status)
				}
			}
		}
	}
	p.Conn.Close()
	<-over
	p, over = h.pipeLogon("IPC$")
	id := p.Open("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	for range 3 {
		later(t, p, id)
	}
	p.Conn.Close()
	select {
	case <-over:
	case <-time.After(5 * time.Second):
		t.Error("a lost connection is kept by what waits on it")
	}
}

// In the middle of a compound nothing can wait; at its end it can, and what came before is answered at once.
func TestWaitInCompound(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "IPC$")
	id := p.Open("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	read := smbtest.Element{Header: p.Request(wire.CmdRead, 0), Body: &wire.ReadRequest{FileID: id, Length: 1000}}
	echo := smbtest.Element{Header: p.Request(wire.CmdEcho, 0), Body: &wire.EchoRequest{}}
	p.Send(read, echo)
	if a, b := p.MustRecv(), p.MustRecv(); a.Status != nt.InternalError || b.Status != nt.Success {
		t.Errorf("in the middle: %v, %v", a.Status, b.Status)
	}
	echo.Header, read.Header = p.Request(wire.CmdEcho, 0), p.Request(wire.CmdRead, 0)
	p.Send(echo, read)
	a, b := p.MustRecv(), p.MustRecv()
	if a.Status != nt.Success || a.Command != wire.CmdEcho || b.Status != nt.Pending {
		t.Errorf("at the end: %v %v, %v", a.Command, a.Status, b.Status)
	}
	p.Send(smbtest.Element{Header: p.Request(wire.CmdClose, 0), Body: &wire.CloseRequest{FileID: id}})
	for range 2 { // what waited is answered, too; in any order
		if m := p.MustRecv(); m.Command != wire.CmdRead && m.Status != nt.Success {
			t.Errorf("%v: %v", m.Command, m.Status)
		}
	}
}

// slow is a volume on a disk that takes its time to spin up.
type slow struct {
	vfs.Volume
	takes time.Duration
}

type slowFile struct {
	vfs.File
	takes time.Duration
}

func (s slow) Open(ctx context.Context, p vfs.Path, how vfs.How) (vfs.File, vfs.Action, error) {
	f, a, err := s.Volume.Open(ctx, p, how)
	if err != nil {
		return nil, 0, err
	}
	return slowFile{f, s.takes}, a, nil
}

func (f slowFile) ReadAt(b []byte, off int64) (int, error) {
	time.Sleep(f.takes)
	return f.File.ReadAt(b, off)
}

// A client is told after a second that its request is being worked on, and gets the answer when there is one.
func TestSlowStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			takes time.Duration
			seal  bool
		}{{8 * time.Second, false}, {8 * time.Second, true}, {time.Second / 2, false}} {
			h := newHouse(t, func(cfg *smb.Config) { cfg.Shares[0].Volume = slow{cfg.Shares[0].Volume, c.takes} })
			p, over := h.pipeLogon("disk")
			p.Seal = c.seal
			id := p.Open("file", all, wire.FileCreate, 0)
			write(t, p, id, 0, []byte("worth the wait"))
			start := time.Now()
			asked := p.Request(wire.CmdRead, 0)
			p.Send(smbtest.Element{Header: asked, Body: &wire.ReadRequest{FileID: id, Length: 100}})
			m := p.MustRecv()
			if c.takes > time.Second {
				if m.Status != nt.Pending || m.AsyncID == 0 || m.Sealed != c.seal || time.Since(start) != time.Second {
					t.Errorf("interim reply after %v: %+v", time.Since(start), m.Header)
				}
				// Others are served meanwhile.
				if s := p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil); s != nt.Success {
					t.Errorf("ECHO: %v", s)
				}
				interim := m.AsyncID
				if m = p.MustRecv(); m.AsyncID != interim {
					t.Errorf("AsyncId %d, then %d", interim, m.AsyncID)
				}
			}
			var resp wire.ReadResponse
			if err := resp.Decode(m.Raw); err != nil || m.MessageID != asked.MessageID || m.Status != nt.Success || string(resp.Data) != "worth the wait" || time.Since(start) != c.takes {
				t.Errorf("after %v: %v, %+v", time.Since(start), err, m.Header)
			}
			p.Conn.Close()
			<-over
		}
	})
}

// A CANCEL in a compound has no answer, and takes nothing from what stands beside it.
func TestCancelInCompound(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	for name, first := range map[string]bool{"before": true, "behind": false} {
		echo := p.Request(wire.CmdEcho, 0)
		cancel := wire.Header{Command: wire.CmdCancel, MessageID: 12345, SessionID: p.SessionID, TreeID: p.TreeID}
		elements := []smbtest.Element{{Header: echo, Body: &wire.EchoRequest{}}, {Header: cancel, Body: &wire.CancelRequest{}}}
		if first {
			elements[0], elements[1] = elements[1], elements[0]
		}
		p.Send(elements...)
		if m := p.Final(); m.Command != wire.CmdEcho || m.MessageID != echo.MessageID || m.Status != nt.Success {
			t.Errorf("%s: %v %d %v", name, m.Command, m.MessageID, m.Status)
		}
	}
}

// TestWorkersStayAndLeave: a worker takes the next request, and has left soon after the last one.
func TestWorkersStayAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, over := newHouse(t, nil).pipeLogon("disk")
		count := func() int {
			synctest.Wait()
			return runtime.NumGoroutine()
		}
		time.Sleep(3 * time.Second)
		before := count()
		for range 10 {
			if s := p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil); s != nt.Success {
				t.Fatal(s)
			}
			if n := count(); n != before+1 {
				t.Errorf("%d goroutines for requests that come one after the other", n-before)
			}
		}
		time.Sleep(3 * time.Second)
		if n := count(); n != before {
			t.Errorf("%d goroutines that have nothing to do", n-before)
		}
		p.Conn.Close()
		<-over
	})
}

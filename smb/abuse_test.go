package smb_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm/ntlmtest"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// No single request takes long, however it is made: the worst pattern there may be, over many names.
func TestSEC09NoLongWork(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	name := make([]byte, 200)
	for i := range name {
		name[i] = 'a'
	}
	for i := range 100 {
		name[199] = byte('A' + i%26)
		name[198] = byte('A' + i/26)
		p.Close(p.Open(string(name), all, wire.FileCreate, 0))
	}
	dir := p.Open("", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile)
	pattern := make([]byte, 0, 255)
	for len(pattern) < 254 {
		pattern = append(pattern, "*a"...)
	}
	start := time.Now()
	s := p.Do(wire.CmdQueryDirectory, &wire.QueryDirectoryRequest{
		FileID: dir, InfoClass: uint8(fscc.FileNamesInformation), Pattern: string(pattern) + "!", OutputBufferLength: 65536,
	}, nil)
	if took := time.Since(start); s != nt.NoSuchFile || took > 2*time.Second {
		t.Errorf("%v after %v", s, took)
	}
}

// Who relays a logon holds a session without its key: that is good for nothing.
func TestSEC19Relay(t *testing.T) {
	h := newHouse(t, nil)
	p := h.dial()
	p.Negotiate(wire.Dialect311)
	victim := &ntlmtest.Client{User: "alice", Password: "secret"}
	leg := func(token []byte) (smbtest.Message, []byte) {
		p.Send(smbtest.Element{Header: p.Request(wire.CmdSessionSetup, 0), Body: &wire.SessionSetupRequest{SecurityBuffer: token}})
		m := p.Final()
		var resp wire.SessionSetupResponse
		if err := resp.Decode(m.Raw); err != nil {
			t.Fatal(m.Status, err)
		}
		p.SessionID = m.SessionID
		return m, resp.SecurityBuffer
	}
	_, challenge := leg(victim.Negotiate())
	token, err := victim.Authenticate(challenge)
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := leg(token); m.Status != nt.Success {
		t.Fatal(m.Status)
	}
	if s := p.Tree("disk"); s != nt.AccessDenied {
		t.Errorf("tree connect without the key: %v", s)
	}
	if s := p.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil); s != nt.AccessDenied {
		t.Errorf("logoff without the key: %v", s)
	}
}

// Who is not a user any more has no session any more.
func TestSEC24EndSessions(t *testing.T) {
	h := newHouse(t, nil)
	p, q := h.logon("alice", "disk"), h.logon("bob", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	if n := h.server.EndSessions(func(id *auth.Identity) bool { return id.User == "alice" }); n != 1 {
		t.Errorf("%d sessions ended", n)
	}
	if s := p.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 1}, nil); s != nt.UserSessionDeleted {
		t.Errorf("alice: %v", s)
	}
	q.Close(q.Open("file", all, wire.FileOpen, 0))
}

// Names that DOS took for devices are names here, and come back as they were.
func TestSEC30ReservedNames(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	for _, name := range []string{"CON", "nul", "COM1", "lpt9.txt", "AUX.tar.gz", "CLOCK$", "conin$"} {
		id := p.Open(name, all, wire.FileCreate, 0)
		var resp wire.QueryInfoResponse
		s := p.Do(wire.CmdQueryInfo, &wire.QueryInfoRequest{
			FileID: id, InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileNormalizedNameInformation), OutputBufferLength: 600,
		}, &resp)
		var got fscc.NameInfo
		if err := got.Decode(resp.Buffer); s != nt.Success || err != nil || got.Name != name {
			t.Errorf("%s: %v, %v, %q", name, s, err, got.Name)
		}
		p.Close(id)
		p.Close(p.Open(name, all, wire.FileOpen, wire.FileDeleteOnClose))
	}
}

// A connection that breaks at any step gives everything back: the house checks that nothing is counted at the end, and
// a newcomer gets in.
func TestSEC42Counters(t *testing.T) {
	h := newHouse(t, nil)
	cut := func(p *smbtest.Peer) { p.Conn.(*net.TCPConn).SetLinger(0); p.Conn.Close() }
	steps := []func(*smbtest.Peer){
		func(p *smbtest.Peer) {},
		func(p *smbtest.Peer) { p.Conn.Write([]byte{0, 0}) },
		func(p *smbtest.Peer) { p.Conn.Write([]byte{0, 0, 1, 0, 0xFE}) },
		func(p *smbtest.Peer) { p.Negotiate(wire.Dialect311) },
		func(p *smbtest.Peer) {
			p.Negotiate(wire.Dialect311)
			c := &ntlmtest.Client{User: "alice", Password: "secret"}
			p.Send(smbtest.Element{Header: p.Request(wire.CmdSessionSetup, 0), Body: &wire.SessionSetupRequest{SecurityBuffer: c.Negotiate()}})
		},
		func(p *smbtest.Peer) { p.Negotiate(wire.Dialect311); p.Logon("alice", "wrong", 0) },
		func(p *smbtest.Peer) { p.Negotiate(wire.Dialect311); p.Logon("alice", "secret", 0) },
		func(p *smbtest.Peer) { p.Negotiate(wire.Dialect311); p.Logon("alice", "secret", 0); p.Tree("disk") },
		func(p *smbtest.Peer) {
			p.Negotiate(wire.Dialect311)
			p.Logon("alice", "secret", 0)
			p.Tree("disk")
			id := p.Open("file", all, wire.FileOpenIf, 0)
			for range 20 {
				p.Send(smbtest.Element{Header: p.Request(wire.CmdWrite, 0), Body: &wire.WriteRequest{FileID: id, Data: make([]byte, 60_000)}})
			}
		},
		func(p *smbtest.Peer) {
			p.Negotiate(wire.Dialect311)
			p.Logon("alice", "secret", 0)
			p.Tree("IPC$")
			id := p.Open("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
			p.Send(smbtest.Element{Header: p.Request(wire.CmdRead, 0), Body: &wire.ReadRequest{FileID: id, Length: 100}})
		},
	}
	for range 20 {
		for _, step := range steps {
			p := h.dial()
			step(p)
			cut(p)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for h.server.Stats().Connections > 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if st := h.server.Stats(); st.Connections != 0 || st.Sessions != 0 || st.Opens != 0 {
		t.Errorf("left: %+v", st)
	}
	if err := h.server.Idle(); err != nil {
		t.Error(err)
	}
	p := h.logon("bob", "disk")
	p.Close(p.Open("file", all, wire.FileOpenIf, 0))
}

// A refused logon is answered late, and only the refused one waits.
func TestFailedLogonDelay(t *testing.T) {
	const delay = 300 * time.Millisecond
	h := newHouse(t, func(c *smb.Config) { c.FailedLogonDelay = delay })
	p := h.dial()
	p.Negotiate(wire.Dialect311)
	start := time.Now()
	if s := p.Logon("alice", "wrong", 0); s != nt.LogonFailure || time.Since(start) < delay {
		t.Errorf("%v after %v", s, time.Since(start))
	}
	// A connection that leaves meanwhile does not wait it out.
	h2 := newHouse(t, func(c *smb.Config) { c.FailedLogonDelay = time.Hour })
	q := h2.dial()
	q.Negotiate(wire.Dialect311)
	q.Send(smbtest.Element{Header: q.Request(wire.CmdSessionSetup, 0), Body: &wire.SessionSetupRequest{SecurityBuffer: []byte("no token")}})
	time.Sleep(50 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := h2.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

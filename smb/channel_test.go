package smb_test

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/auth/ntlm/ntlmtest"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// ready is dial and NEGOTIATE as first did, with what change makes different.
func (h *house) ready(first *smbtest.Peer, change func(*smbtest.Peer)) *smbtest.Peer {
	h.t.Helper()
	p := h.dial()
	p.Signing, p.Cipher, p.Client, p.Capabilities, p.Dialect = first.Signing, first.Cipher, first.Client, first.Capabilities, first.Dialect
	if change != nil {
		change(p)
	}
	p.Negotiate(p.Dialect)
	return p
}

// bound is a further channel of first's session.
func (h *house) bound(first *smbtest.Peer) *smbtest.Peer {
	h.t.Helper()
	p := h.ready(first, nil)
	if s := p.Bind(first, "alice", "secret"); s != nt.Success {
		h.t.Fatalf("binding: %v", s)
	}
	return p
}

func alive(t *testing.T, p *smbtest.Peer) {
	t.Helper()
	p.Close(p.Open("alive", all, wire.FileOpenIf, 0))
}

// eventually waits for what another connection's end brings about. There is no message that tells of it.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// One session over two connections: what one opens the other uses, each with its own key.
func TestChannels(t *testing.T) {
	for _, c := range []struct {
		name    string
		dialect uint16
		signing crypt.SigningAlg
	}{
		{"3.0", wire.Dialect300, crypt.AESCMAC},
		{"3.0.2", wire.Dialect302, crypt.AESCMAC},
		{"3.1.1 GMAC", wire.Dialect311, crypt.AESGMAC},
		{"3.1.1 CMAC", wire.Dialect311, crypt.AESCMAC},
		{"3.1.1 HMAC", wire.Dialect311, crypt.HMACSHA256},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, nil)
			p := h.dial()
			p.Signing = c.signing
			p.Negotiate(c.dialect)
			if s := p.Logon("alice", "secret", 0); s != nt.Success {
				t.Fatal(s)
			}
			if s := p.Tree("disk"); s != nt.Success {
				t.Fatal(s)
			}
			id := p.Open("file", all, wire.FileCreate, 0)
			write(t, p, id, 0, []byte("by the first"))
			q := h.bound(p)
			if got := read(t, q, id, 0, 12); string(got) != "by the first" {
				t.Errorf("read %q", got)
			}
			other := q.Open("other", all, wire.FileCreate, 0)
			p.Close(other)
			own := q.Signer
			q.Signer, q.Blind = p.Signer, true
			if s := q.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 1}, nil); s != nt.AccessDenied {
				t.Errorf("signed with the other channel's key: %v", s)
			}
			q.Signer, q.Blind = own, false
			if n := h.server.Stats().Sessions; n != 1 {
				t.Errorf("%d sessions", n)
			}
			// Sealed on either channel.
			p.Seal, q.Seal = true, true
			alive(t, p)
			alive(t, q)
			p.Seal, q.Seal = false, false
			// The first connection goes, the session stays.
			p.Conn.Close()
			eventually(t, "one connection", func() bool { return h.server.Stats().Connections == 1 })
			if got := read(t, q, id, 0, 12); string(got) != "by the first" {
				t.Errorf("read %q", got)
			}
			r := h.bound(q)
			q.Conn.Close()
			eventually(t, "one connection", func() bool { return h.server.Stats().Connections == 1 })
			r.Close(id)
			r.Conn.Close()
			eventually(t, "no session", func() bool { return h.server.Stats().Sessions == 0 })
		})
	}
}

// Binding that is not offered is refused, whatever else is wrong with it.
func TestSEC22BindingOff(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	h.info.Multichannel = false
	for range 200 {
		q := h.dial()
		q.Negotiate(wire.Dialect311)
		q.SessionID = p.SessionID
		req := &wire.SessionSetupRequest{Flags: wire.SessionBinding, SecurityBuffer: []byte("NTLMSSP\x00\x01\x00\x00\x00\x15\x82\x08\xe2")}
		if s := q.Do(wire.CmdSessionSetup, req, nil); s != nt.RequestNotAccepted {
			t.Fatalf("binding: %v", s)
		}
		q.Conn.Close()
	}
	alive(t, p)
}

// Who may not bind is told why, and neither the session nor the connection takes harm.
func TestSEC22BindingRefused(t *testing.T) {
	type peer = smbtest.Peer
	noise, err := crypt.NewSigner(crypt.AESGMAC, make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	cmac := func(p *peer) { p.Signing = crypt.AESCMAC }
	dialect := func(d uint16) func(*peer) {
		return func(p *peer) { p.Dialect = d }
	}
	both := func(a, b func(*peer)) func(*peer) {
		return func(p *peer) { a(p); b(p) }
	}
	var until atomic.Int64
	for _, c := range []struct {
		name           string
		first, second  func(*peer) // before NEGOTIATE
		session        func(*house, *peer)
		user, password string
		want           nt.Status
	}{
		{"wrong password", nil, nil, nil, "alice", "wrong", nt.LogonFailure},
		{"other user", nil, nil, nil, "bob", "secret", nt.AccessDenied},
		{"wrong key", nil, nil, func(_ *house, p *peer) { p.Session = noise }, "alice", "secret", nt.AccessDenied},
		{"unsigned", nil, nil, func(_ *house, p *peer) { p.Session = nil }, "alice", "secret", nt.InvalidParameter},
		{"other client", nil, func(p *peer) { p.Client = dtyp.GUID{2} }, nil, "alice", "secret", nt.UserSessionDeleted},
		{"no such session", nil, nil, func(_ *house, p *peer) { p.SessionID++ }, "alice", "secret", nt.UserSessionDeleted},
		{"session 0", nil, nil, func(_ *house, p *peer) { p.SessionID = 0 }, "alice", "secret", nt.UserSessionDeleted},
		{"2.1 on both", dialect(wire.Dialect210), nil, nil, "alice", "secret", nt.RequestNotAccepted},
		{"2.1 to 3.1.1", dialect(wire.Dialect210), both(cmac, dialect(wire.Dialect311)), nil, "alice", "secret", nt.InvalidParameter},
		{"3.0.2 to 3.1.1", dialect(wire.Dialect302), both(cmac, dialect(wire.Dialect311)), nil, "alice", "secret", nt.InvalidParameter},
		{"3.1.1 to 3.0", cmac, dialect(wire.Dialect300), nil, "alice", "secret", nt.InvalidParameter},
		{"3.1.1 to 2.1", cmac, dialect(wire.Dialect210), nil, "alice", "secret", nt.RequestNotAccepted},
		{"other cipher", nil, func(p *peer) { p.Cipher = crypt.AES128CCM }, nil, "alice", "secret", nt.InvalidParameter},
		{"GMAC to CMAC", nil, cmac, nil, "alice", "secret", nt.RequestOutOfSequence},
		{"GMAC to 2.1", nil, dialect(wire.Dialect210), nil, "alice", "secret", nt.RequestOutOfSequence},
		{"CMAC to GMAC", cmac, func(p *peer) { p.Signing = crypt.AESGMAC }, nil, "alice", "secret", nt.NotSupported},
		{"other transport", nil, nil, func(h *house, _ *peer) { h.info.Transport = "quic" }, "alice", "secret", nt.RequestNotAccepted},
		{"transport that encrypts", nil, func(p *peer) { p.Transport = wire.TransportSecurity }, func(h *house, _ *peer) { h.info.Secure = true }, "alice", "secret", nt.RequestNotAccepted},
		{"expired", nil, nil, func(_ *house, p *peer) {
			until.Store(1)
			if s := p.Logon("alice", "secret", 0); s != nt.Success {
				t.Error(s)
			}
			until.Store(0)
		}, "alice", "secret", nt.NetworkSessionExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, func(c *smb.Config) { c.Mechanisms = temporary(&until) })
			p := h.dial()
			p.Dialect = wire.Dialect311
			if c.first != nil {
				c.first(p)
			}
			p.Negotiate(p.Dialect)
			if s := p.Logon("alice", "secret", 0); s != nt.Success {
				t.Fatal(s)
			}
			if s := p.Tree("disk"); s != nt.Success {
				t.Fatal(s)
			}
			to := *p
			if c.session != nil {
				c.session(h, &to)
				p.MessageID = to.MessageID
			}
			q := h.ready(p, c.second)
			for range 3 {
				if s := q.Bind(&to, c.user, c.password); s != c.want {
					t.Fatalf("%v, want %v", s, c.want)
				}
			}
			// Without the flag it is another connection's session and nothing else.
			q.SessionID, q.Signer = p.SessionID, nil
			if s := q.Do(wire.CmdSessionSetup, &wire.SessionSetupRequest{SecurityBuffer: []byte("x")}, nil); s != nt.UserSessionDeleted {
				t.Errorf("not flagged as a binding: %v", s)
			}
			if s := q.Do(wire.CmdTreeConnect, &wire.TreeConnectRequest{Path: `\\nas.test\disk`}, nil); s != nt.UserSessionDeleted {
				t.Errorf("used without being bound: %v", s)
			}
			q.SessionID = 0
			if s := q.Logon("bob", "secret", 0); s != nt.Success {
				t.Errorf("the connection itself: %v", s)
			}
			if c.name == "expired" {
				if s := p.Logon("alice", "secret", 0); s != nt.Success {
					t.Fatal(s)
				}
			}
			alive(t, p)
		})
	}
}

// CMAC and HMAC are Session's and Channel's own affair: they may differ.
func TestBindOtherSigning(t *testing.T) {
	h := newHouse(t, nil)
	p := h.dial()
	p.Signing = crypt.AESCMAC
	p.Negotiate(wire.Dialect311)
	if s := p.Logon("alice", "secret", 0); s != nt.Success {
		t.Fatal(s)
	}
	if s := p.Tree("disk"); s != nt.Success {
		t.Fatal(s)
	}
	q := h.ready(p, func(q *smbtest.Peer) { q.Signing = crypt.HMACSHA256 })
	if s := q.Bind(p, "alice", "secret"); s != nt.Success {
		t.Fatal(s)
	}
	alive(t, q)
}

// A session is bound to a connection once, and a binding that is cut short leaves nothing.
func TestSEC22BindingTwice(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	q := h.bound(p)
	again := *q
	again.Session = q.Signer // the channel's, or the signature would be refused first
	if s := q.Bind(&again, "alice", "secret"); s != nt.RequestNotAccepted {
		t.Errorf("a second time: %v", s)
	}
	again.Session = p.Session
	if s := bindSignedByChannel(q, &again); s != nt.RequestNotAccepted {
		t.Errorf("a second time, with the session's key: %v", s)
	}
	alive(t, q)
	// A reauthentication on the second channel may be signed with either key, and is answered under the channel's.
	own := q.Signer
	for _, key := range []*crypt.Signer{own, p.Session} {
		q.Signer, q.Blind = key, true
		c := &ntlmtest.Client{User: "alice", Password: "secret"}
		token := c.Negotiate()
		for range 2 {
			q.Send(smbtest.Element{Header: q.Request(wire.CmdSessionSetup, 0), Body: &wire.SessionSetupRequest{SecurityBuffer: token}})
			m := q.Final()
			var resp wire.SessionSetupResponse
			if m.Status.IsError() && m.Status != nt.MoreProcessingRequired || resp.Decode(m.Raw) != nil || !own.Verify(m.Raw) {
				t.Fatalf("reauthentication: %v", m.Status)
			}
			if m.Status == nt.MoreProcessingRequired {
				var err error
				if token, err = c.Authenticate(resp.SecurityBuffer); err != nil {
					t.Fatal(err)
				}
			}
		}
		q.Signer, q.Blind = own, false
	}
	alive(t, q)
	// First legs of bindings to more sessions than may be in progress.
	r := h.ready(p, nil)
	first := (&ntlmtest.Client{}).Negotiate()
	var sessions []*smbtest.Peer
	for i := range 17 {
		s := h.logon("alice", "disk")
		sessions = append(sessions, s)
		r.SessionID, r.Signer = s.SessionID, s.Session
		want := nt.MoreProcessingRequired
		if i == 16 {
			want = nt.InsufficientResources
		}
		r.Send(smbtest.Element{Header: r.Request(wire.CmdSessionSetup, 0), Body: &wire.SessionSetupRequest{Flags: wire.SessionBinding, SecurityBuffer: first}})
		if m := r.Final(); m.Status != want {
			t.Fatalf("binding %d in progress: %v", i, m.Status)
		}
	}
	// Those whose sessions have ended make room.
	if s := sessions[0].Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil); s != nt.Success {
		t.Fatal(s)
	}
	if s := r.Bind(sessions[16], "alice", "secret"); s != nt.Success {
		t.Errorf("with room again: %v", s)
	}
}

// bindSignedByChannel tries to bind p to a session that it is bound to, whose answers come under the channel's key.
func bindSignedByChannel(p, to *smbtest.Peer) nt.Status {
	own := p.Signer
	p.Signer, p.Blind = to.Session, true
	defer func() { p.Signer, p.Blind = own, false }()
	req := &wire.SessionSetupRequest{Flags: wire.SessionBinding, SecurityBuffer: (&ntlmtest.Client{}).Negotiate()}
	return p.Do(wire.CmdSessionSetup, req, nil)
}

// What was said in one binding makes no second one.
func TestSEC22BindingReplayed(t *testing.T) {
	for _, dialect := range []uint16{wire.Dialect300, wire.Dialect311} {
		h := newHouse(t, nil)
		p := h.logon("alice", "disk", dialect)
		q := h.dial()
		log := &tee{Conn: q.Conn}
		q.Conn = log
		q.Signing, q.Dialect = p.Signing, dialect
		q.Negotiate(dialect)
		before := len(log.said)
		if s := q.Bind(p, "alice", "secret"); s != nt.Success {
			t.Fatal(s)
		}
		r := h.ready(p, nil)
		r.Blind = true
		var statuses []nt.Status
		for _, s := range log.said[before:] {
			if s.mine {
				r.SendRaw(s.b[4:])
				statuses = append(statuses, r.Final().Status)
			}
		}
		r.MessageID += 2
		if want := []nt.Status{nt.MoreProcessingRequired, nt.LogonFailure}; !slices.Equal(statuses, want) {
			t.Errorf("%#x: %v", dialect, statuses)
		}
		r.SessionID, r.TreeID, r.Signer = p.SessionID, p.TreeID, q.Signer
		if s := r.Do(wire.CmdTreeDisconnect, &wire.TreeDisconnectRequest{}, nil); s != nt.UserSessionDeleted {
			t.Errorf("%#x: used all the same: %v", dialect, s)
		}
		alive(t, p)
		alive(t, q)
	}
}

// A session has 32 channels at most.
func TestMaxChannels(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	var q *smbtest.Peer
	for range 31 {
		q = h.bound(p)
	}
	r := h.ready(p, nil)
	if s := r.Bind(p, "alice", "secret"); s != nt.InsufficientResources {
		t.Errorf("the 33rd: %v", s)
	}
	q.Conn.Close()
	eventually(t, "32 connections", func() bool { return h.server.Stats().Connections == 32 })
	if s := r.Bind(p, "alice", "secret"); s != nt.Success {
		t.Errorf("with room again: %v", s)
	}
	alive(t, r)
}

// LOGOFF and a refused reauthentication end the session on all channels; so does a third party's right PreviousSessionId.
func TestSessionEndsOnAllChannels(t *testing.T) {
	for name, end := range map[string]func(*house, *smbtest.Peer){
		"logoff": func(h *house, q *smbtest.Peer) {
			if s := q.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil); s != nt.Success {
				t.Errorf("logoff: %v", s)
			}
		},
		"refused reauthentication": func(h *house, q *smbtest.Peer) {
			if s := q.Logon("alice", "wrong", 0); s != nt.LogonFailure {
				t.Errorf("reauthentication: %v", s)
			}
		},
		"other user": func(h *house, q *smbtest.Peer) {
			if s := q.Logon("bob", "secret", 0); s != nt.AccessDenied {
				t.Errorf("reauthentication: %v", s)
			}
		},
		"replaced": func(h *house, q *smbtest.Peer) {
			r := h.ready(q, nil)
			if s := r.Logon("alice", "secret", q.SessionID); s != nt.Success {
				t.Errorf("logon: %v", s)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, nil)
			p := h.logon("alice", "disk")
			q := h.bound(p)
			p.Open("left open", all, wire.FileCreate, 0)
			if s := p.Logon("alice", "secret", 0); s != nt.Success {
				t.Errorf("reauthentication: %v", s)
			}
			alive(t, q)
			if s := q.Logon("alice", "secret", 0); s != nt.Success {
				t.Errorf("reauthentication on the second channel: %v", s)
			}
			alive(t, p)
			end(h, q)
			for _, ch := range []*smbtest.Peer{p, q} {
				if s := ch.Do(wire.CmdCreate, asking("f", 0), nil); s != nt.UserSessionDeleted {
					t.Errorf("afterwards: %v", s)
				}
			}
			if n := h.server.Stats().Opens; n != 0 {
				t.Errorf("%d opens", n)
			}
			if s := q.Bind(p, "alice", "secret"); s != nt.UserSessionDeleted {
				t.Errorf("binding to it: %v", s)
			}
		})
	}
}

// The server's nonces never come twice under a key that several channels seal with.
func TestSEC11NoncesAcrossChannels(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	channels := []*smbtest.Peer{p, h.bound(p), h.bound(p)}
	var logs []*tee
	for _, ch := range channels {
		log := &tee{Conn: ch.Conn}
		ch.Conn, ch.Seal = log, true
		logs = append(logs, log)
	}
	var wg sync.WaitGroup
	for _, ch := range channels {
		wg.Go(func() {
			for range 50 {
				ch.Do(wire.CmdEcho, &wire.EchoRequest{}, nil)
			}
		})
	}
	wg.Wait()
	nonces := make(map[[16]byte]bool)
	for _, log := range logs {
		for _, s := range log.said {
			for b := s.b; !s.mine && len(b) > 0; {
				if !bytes.HasPrefix(b[4:], []byte{0xFD, 'S', 'M', 'B'}) {
					t.Fatal("not sealed")
				}
				nonces[[16]byte(b[4+20:])] = true
				b = b[4+int(b[2])<<8+int(b[3]):]
			}
		}
	}
	if len(nonces) != 150 {
		t.Errorf("%d nonces for 150 replies", len(nonces))
	}
}

// Breaks come by the oldest channel that lives, and may be acknowledged by any.
func TestBreakByAnyChannel(t *testing.T) {
	h := newHouse(t, nil)
	p, other := h.logon("alice", "disk"), h.logon("bob", "disk")
	q := h.bound(p)
	lease := wire.LeaseBreakNotification{NewEpoch: 2, Flags: wire.LeaseAckRequired, Key: [16]byte{1}, CurrentState: leaseRWH, NewState: leaseRH}
	create(t, q, leasing("f", 1, leaseRWH, 0))
	send(other, wire.CmdCreate, asking("f", 0))
	wantLeaseBreak(t, p, lease)
	if s := ackLease(q, 1, leaseRH); s != nt.Success {
		t.Errorf("acknowledged by the other channel: %v", s)
	}
	if m := other.Final(); m.Status != nt.Success {
		t.Error(m.Status)
	}
	// With the first channel gone, by the second.
	id := create(t, p, asking("g", wire.OplockBatch)).FileID
	p.Conn.Close()
	eventually(t, "two connections", func() bool { return h.server.Stats().Connections == 2 })
	send(other, wire.CmdCreate, asking("g", 0))
	wantOplockBreak(t, q, id, wire.OplockLevel2)
	if s := ackOplock(q, id, wire.OplockLevel2); s != nt.Success {
		t.Errorf("acknowledged: %v", s)
	}
	if m := other.Final(); m.Status != nt.Success {
		t.Error(m.Status)
	}
}

// A break that was sent by a channel which then is lost is sent again by another: who knows whether it came.
func TestBreakSentAgain(t *testing.T) {
	h := newHouse(t, nil)
	p, other := h.logon("alice", "disk"), h.logon("bob", "disk")
	q := h.bound(p)
	id := create(t, p, asking("f", wire.OplockBatch)).FileID
	create(t, p, leasing("g", 1, leaseRWH, 0))
	send(other, wire.CmdCreate, asking("f", 0))
	wantOplockBreak(t, p, id, wire.OplockLevel2)
	third := h.logon("bob", "disk")
	send(third, wire.CmdCreate, asking("g", 0))
	p.MustRecv() // and says nothing
	p.Conn.Close()
	seen := map[bool]int{}
	for range 2 {
		m := recvBreak(t, q)
		seen[wire.IsLeaseBreak(m.Raw) || len(m.Raw) > 64+24]++
	}
	if seen[true] != 1 || seen[false] != 1 {
		t.Errorf("breaks sent again: %v", seen)
	}
	if s := ackOplock(q, id, wire.OplockNone); s != nt.Success {
		t.Error(s)
	}
	if s := ackLease(q, 1, leaseRH); s != nt.Success {
		t.Error(s)
	}
	for _, p := range []*smbtest.Peer{other, third} {
		if m := p.Final(); m.Status != nt.Success {
			t.Error(m.Status)
		}
	}
}

// Once expired a session can be given back and renewed, and nothing else.
func TestSEC24Expiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var until atomic.Int64
		until.Store(time.Now().Add(time.Hour).UnixNano())
		h := newHouse(t, func(c *smb.Config) { c.Mechanisms = temporary(&until) })
		h.info.Anonymous = true
		p := h.pipe("alice")
		id := p.Open("file", all, wire.FileCreate, 0)
		gone := p.Open("gone", all, wire.FileCreate, 0)
		lock := func(flags uint32) nt.Status {
			return p.Do(wire.CmdLock, &wire.LockRequest{FileID: id, Locks: []wire.LockElement{{Length: 1, Flags: flags}}}, nil)
		}
		if s := lock(wire.LockExclusive | wire.LockFailImmediately); s != nt.Success {
			t.Fatal(s)
		}
		time.Sleep(59 * time.Minute)
		alive(t, p)
		time.Sleep(time.Minute)
		for cmd, req := range map[wire.Command]smbtest.Body{
			wire.CmdRead: &wire.ReadRequest{FileID: id, Length: 1}, wire.CmdCreate: asking("f", 0), wire.CmdTreeConnect: &wire.TreeConnectRequest{Path: `\\n\disk`},
			wire.CmdTreeDisconnect: &wire.TreeDisconnectRequest{}, wire.CmdFlush: &wire.FlushRequest{FileID: id},
			wire.CmdIoctl:       &wire.IoctlRequest{CtlCode: wire.FsctlQueryNetworkInterfaceInfo, FileID: wire.NoFileID, Flags: wire.IoctlIsFsctl, MaxOutputResponse: 4096},
			wire.CmdOplockBreak: &wire.OplockBreak{FileID: id}, wire.CmdChangeNotify: watchReq(id, names, false, 100),
		} {
			if s := p.Do(cmd, req, nil); s != nt.NetworkSessionExpired {
				t.Errorf("%v: %v", cmd, s)
			}
		}
		if s := lock(wire.LockExclusive | wire.LockFailImmediately); s != nt.NetworkSessionExpired {
			t.Errorf("lock: %v", s)
		}
		if s := lock(wire.LockUnlock); s != nt.Success {
			t.Errorf("unlock: %v", s)
		}
		if s := p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil); s != nt.Success {
			t.Errorf("echo: %v", s)
		}
		p.Close(gone)
		until.Store(time.Now().Add(time.Hour).UnixNano())
		if s := p.Logon("alice", "secret", 0); s != nt.Success {
			t.Fatalf("reauthentication: %v", s)
		}
		p.Close(id)
		alive(t, p)
		time.Sleep(2 * time.Hour)
		// Nobody renews what somebody proved.
		if s := p.LogonAs(&ntlmtest.Client{Anonymous: true}, 0); s != nt.Success {
			t.Errorf("reauthentication as nobody: %v", s)
		}
		if s := p.Do(wire.CmdTreeConnect, &wire.TreeConnectRequest{Path: `\\n\IPC$`}, nil); s != nt.NetworkSessionExpired {
			t.Errorf("used by nobody: %v", s)
		}
		if s := p.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil); s != nt.Success {
			t.Errorf("logoff: %v", s)
		}
	})
}

// temporary logs on users whose proof holds until a time, in nanoseconds; 0: for good.
func temporary(until *atomic.Int64) []auth.Mechanism {
	return []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", DNSName: "nas.test", Accounts: tickets{until}, Anonymous: true})}
}

type tickets struct{ until *atomic.Int64 }

func (k tickets) Lookup(ctx context.Context, user, domain string) ([16]byte, auth.Identity, error) {
	hash, id, err := accounts{}.Lookup(ctx, user, domain)
	if until := k.until.Load(); until != 0 {
		id.Expires = time.Unix(0, until)
	}
	return hash, id, err
}

// A reauthentication finds out what the user may do now. Handles stay; what is opened afresh is judged afresh.
func TestSEC24ReauthenticationRights(t *testing.T) {
	var rights atomic.Uint32
	rights.Store(uint32(dtyp.FileAll))
	h := newHouse(t, func(c *smb.Config) {
		c.Shares[0].Rights = func(*auth.Identity) dtyp.Access { return dtyp.Access(rights.Load()) }
	})
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	again := func() {
		t.Helper()
		if s := p.Logon("alice", "secret", 0); s != nt.Success {
			t.Fatal(s)
		}
	}
	again()
	alive(t, p)
	rights.Store(uint32(dtyp.FileRead))
	again()
	if s := p.Do(wire.CmdCreate, asking("new", 0), nil); s != nt.NetworkNameDeleted {
		t.Errorf("CREATE through the old tree connect: %v", s)
	}
	write(t, p, id, 0, []byte("the handle's own right"))
	old := p.TreeID
	if s := p.Tree("disk"); s != nt.Success {
		t.Fatal(s)
	}
	if s := p.Do(wire.CmdCreate, asking("new", 0), nil); s != nt.AccessDenied {
		t.Errorf("CREATE through a new one: %v", s)
	}
	rights.Store(0)
	again()
	if s := p.Tree("disk"); s != nt.AccessDenied {
		t.Errorf("TREE_CONNECT without rights: %v", s)
	}
	rights.Store(uint32(dtyp.FileAll))
	again()
	p.TreeID = old
	alive(t, p)
	p.Close(id)
}

// Nobody gets in where it was not asked for, and where it was, to nothing that is anyone's.
func TestSEC25Anonymous(t *testing.T) {
	anonymous := &ntlmtest.Client{Anonymous: true}
	offer := func(c *smb.Config) {
		c.Mechanisms = []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", DNSName: "nas.test", Accounts: accounts{}, Anonymous: true})}
	}
	h := newHouse(t, offer)
	p := h.dial()
	p.Negotiate(wire.Dialect311)
	if s := p.LogonAs(anonymous, 0); s != nt.AccessDenied {
		t.Errorf("where the connection does not offer it: %v", s)
	}
	h.info.Anonymous = true
	ready := func() *smbtest.Peer {
		p := h.dial()
		p.Negotiate(wire.Dialect311)
		var resp wire.SessionSetupResponse
		if s := p.LogonAs(anonymous, 0); s != nt.Success {
			t.Fatalf("logon: %v, %+v", s, resp)
		}
		return p
	}
	p = ready()
	for _, share := range []string{"disk", "private", "sealed"} {
		if s := p.Tree(share); s != nt.AccessDenied {
			t.Errorf("%s: %v", share, s)
		}
	}
	if s := p.Tree("IPC$"); s != nt.Success {
		t.Fatal(s)
	}
	pipe := dtyp.FileRead | dtyp.FileWrite
	p.Close(p.Open("srvsvc", pipe, wire.FileOpen, 0))
	if s := p.Do(wire.CmdCreate, smbtest.OpenAs("lsarpc", pipe, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
		t.Errorf("lsarpc of a server that has none: %v", s)
	}
	// It need not sign, but a wrong signature is wrong.
	signer := p.Signer
	p.Signer = nil
	if s := p.Tree("IPC$"); s != nt.Success {
		t.Errorf("unsigned: %v", s)
	}
	if p.Signer, _ = crypt.NewSigner(crypt.AESGMAC, make([]byte, 16)); p.Tree("IPC$") != nt.AccessDenied {
		t.Error("a wrong signature is taken")
	}
	p.Signer = signer
	if s := h.ready(p, nil).Bind(p, "alice", "secret"); s != nt.NotSupported {
		t.Errorf("binding: %v", s)
	}
	// Nobody takes a session over, nor replaces one.
	if s := p.Logon("alice", "secret", 0); s != nt.AccessDenied {
		t.Errorf("somebody where nobody was: %v", s)
	}
	first, second := ready(), h.dial()
	second.Negotiate(wire.Dialect311)
	if s := second.LogonAs(anonymous, first.SessionID); s != nt.Success {
		t.Error(s)
	}
	if s := first.Tree("IPC$"); s != nt.Success {
		t.Errorf("replaced by nobody: %v", s)
	}
	// Its key is no secret: sealed messages under it are no sign of anyone, as long as nobody else is there.
	p = ready()
	p.Seal = true
	p.Send(smbtest.Element{Header: p.Request(wire.CmdTreeConnect, 0), Body: &wire.TreeConnectRequest{Path: `\\nas.test\IPC$`}})
	if !p.Dropped() {
		t.Error("sealed, and answered")
	}
}

// A session becomes nobody's for a while: its handles stay, and nothing is opened.
func TestSEC25ReauthenticatedAsNobody(t *testing.T) {
	h := newHouse(t, func(c *smb.Config) {
		c.Mechanisms = []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", DNSName: "nas.test", Accounts: accounts{}, Anonymous: true})}
	})
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	h.info.Anonymous = true
	q := h.logon("alice", "disk")
	other := q.Open("other", all, wire.FileCreate, 0)
	if s := q.LogonAs(&ntlmtest.Client{Anonymous: true}, 0); s != nt.Success {
		t.Fatal(s)
	}
	write(t, q, other, 0, []byte("x"))
	if s := q.Do(wire.CmdCreate, asking("new", 0), nil); s != nt.NetworkNameDeleted {
		t.Errorf("CREATE: %v", s)
	}
	if s := q.Tree("disk"); s != nt.AccessDenied {
		t.Errorf("TREE_CONNECT: %v", s)
	}
	if s := h.ready(q, nil).Bind(q, "alice", "secret"); s != nt.NotSupported {
		t.Errorf("binding: %v", s)
	}
	if n := h.server.EndSessions(func(id *auth.Identity) bool { return id.User == "bob" }); n != 0 {
		t.Errorf("%d sessions of bob's", n)
	}
	if s := q.Logon("alice", "secret", 0); s != nt.Success {
		t.Fatal(s)
	}
	alive(t, q)
	if s := q.LogonAs(&ntlmtest.Client{Anonymous: true}, 0); s != nt.Success {
		t.Fatal(s)
	}
	if n := h.server.EndSessions(func(id *auth.Identity) bool { return id.User == "alice" }); n != 2 {
		t.Errorf("%d sessions of alice's, one of them as nobody", n)
	}
	if s := p.Do(wire.CmdClose, &wire.CloseRequest{FileID: id}, nil); s != nt.UserSessionDeleted {
		t.Error(s)
	}
}

// Who wants to know is told when we end a session, on each channel.
func TestSessionClosedNotification(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		h := newHouse(t, func(c *smb.Config) { c.RequireEncryption = sealed })
		p := h.dial()
		p.Capabilities = wire.CapNotifications
		if resp := p.Negotiate(wire.Dialect311); resp.Capabilities&wire.CapNotifications == 0 {
			t.Error("not said that there are notifications")
		}
		if s := p.Logon("alice", "secret", 0); s != nt.Success {
			t.Fatal(s)
		}
		q := h.bound(p)
		other := h.dial()
		if resp := other.Negotiate(wire.Dialect311); resp.Capabilities&wire.CapNotifications != 0 {
			t.Error("notifications for a client that knows none")
		}
		if s := other.Logon("alice", "secret", 0); s != nt.Success {
			t.Fatal(s)
		}
		if n := h.server.EndSessions(func(id *auth.Identity) bool { return id.User == "alice" }); n != 2 {
			t.Errorf("%d sessions ended", n)
		}
		for _, ch := range []*smbtest.Peer{p, q} {
			m := ch.MustRecv()
			var n wire.ServerNotification
			if err := n.Decode(m.Raw); err != nil || n.Type != wire.NotifySessionClosed || m.Command != wire.CmdServerNotification ||
				m.MessageID != wire.BreakMessageID || m.SessionID != p.SessionID || m.Sealed != sealed || m.Flags&wire.FlagSigned == 0 != sealed {
				t.Errorf("%+v, %+v, %v", m.Header, n, err)
			}
			if s := ch.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil); s != nt.UserSessionDeleted {
				t.Errorf("afterwards: %v", s)
			}
		}
		if s := other.Do(wire.CmdEcho, &wire.EchoRequest{}, nil); s != nt.Success {
			t.Errorf("who asked for nothing: %v", s)
		}
	}
}

// Clients are told of the addresses that they can reach.
func TestNetworkInterfaces(t *testing.T) {
	ask := func(p *smbtest.Peer) ([]wire.NetworkInterface, nt.Status) {
		var resp wire.IoctlResponse
		s := p.DoCharged(wire.CmdIoctl, 65536, &wire.IoctlRequest{
			CtlCode: wire.FsctlQueryNetworkInterfaceInfo, FileID: wire.NoFileID, Flags: wire.IoctlIsFsctl, MaxOutputResponse: 65536,
		}, &resp)
		if s != nt.Success {
			return nil, s
		}
		list, err := wire.DecodeNetworkInterfaces(resp.Output)
		if err != nil {
			t.Fatal(err)
		}
		return list, s
	}
	h := newHouse(t, func(c *smb.Config) {
		c.Interfaces = func() []smb.Interface { return []smb.Interface{{Index: 3, Addr: netip.MustParseAddr("192.0.2.1")}} }
	})
	p := h.logon("alice", "disk")
	p.Capabilities = wire.CapMultiChannel
	want := []wire.NetworkInterface{{Index: 1, LinkSpeed: 1_000_000_000, Addr: netip.MustParseAddr("127.0.0.1")}}
	if list, s := ask(p); s != nt.Success || !slices.Equal(list, want) {
		t.Errorf("%v, %+v", s, list)
	}
	if resp := h.ready(p, nil); resp.Dialect != wire.Dialect311 {
		t.Error("no dialect")
	}
	q := h.dial()
	q.Capabilities = wire.CapMultiChannel
	if resp := q.Negotiate(wire.Dialect311); resp.Capabilities&wire.CapMultiChannel == 0 {
		t.Error("not said that there are channels")
	}
	h.info.Multichannel = false
	if _, s := ask(h.logon("alice", "disk")); s != nt.FSDriverRequired {
		t.Errorf("where there are none: %v", s)
	}
	q = h.dial()
	q.Capabilities = wire.CapMultiChannel
	if resp := q.Negotiate(wire.Dialect311); resp.Capabilities&wire.CapMultiChannel != 0 {
		t.Error("said that there are channels")
	}

	addr := netip.MustParseAddr
	all := []smb.Interface{
		{Index: 2, Addr: addr("192.0.2.1"), LinkSpeed: 2_500_000_000},
		{Index: 2, Addr: addr("2001:db8::1")},
		{Index: 2, Addr: addr("fe80::1%eth0")},
		{Index: 3, Addr: addr("::ffff:198.51.100.7")},
		{Index: 1, Addr: addr("127.0.0.1")},
	}
	h = newHouse(t, func(c *smb.Config) { c.Interfaces = func() []smb.Interface { return all } })
	for here, want := range map[string]string{
		"192.0.2.1":   "192.0.2.1 2001:db8::1 198.51.100.7",
		"203.0.113.9": "192.0.2.1 2001:db8::1 198.51.100.7 203.0.113.9", // behind a translation
		"fe80::1":     "fe80::1",
		"::1":         "::1",
	} {
		got := ""
		for i, a := range h.server.ReachableFrom(addr(here)) {
			if i > 0 {
				got += " "
			}
			got += a.Addr.String()
			if a.LinkSpeed == 0 {
				t.Errorf("%v: no speed", a.Addr)
			}
		}
		if got != want {
			t.Errorf("to %s: %s, want %s", here, got, want)
		}
	}
	many := all[:1:1]
	for i := range 500 {
		many = append(many, smb.Interface{Index: 9, Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})})
	}
	all = many
	if n := len(h.server.ReachableFrom(addr("192.0.2.1"))); n > 64 {
		t.Errorf("%d addresses", n)
	}
}

// Session ids fit into 32 bits, for clients that keep no more of them.
func TestSessionID(t *testing.T) {
	h := newHouse(t, nil)
	seen := make(map[uint64]bool)
	p := h.dial()
	p.Negotiate(wire.Dialect311)
	for range 16 {
		p.SessionID, p.Signer = 0, nil
		req := &wire.SessionSetupRequest{SecurityBuffer: (&ntlmtest.Client{}).Negotiate()}
		p.Send(smbtest.Element{Header: p.Request(wire.CmdSessionSetup, 0), Body: req})
		m := p.Final()
		if m.Status != nt.MoreProcessingRequired || m.SessionID == 0 || m.SessionID >= 1<<32-1 || seen[m.SessionID] {
			t.Errorf("%v, session %#x", m.Status, m.SessionID)
		}
		seen[m.SessionID] = true
	}
	if n := h.server.SessionIDs(); n != 16 {
		t.Errorf("%d ids taken", n)
	}
	p.Conn.Close()
	eventually(t, "no ids taken", func() bool { return h.server.SessionIDs() == 0 })
}

// Who has the keys before the server says that the session is there may end it then, and that leaves nothing behind.
func TestLogoffBeforeAnswer(t *testing.T) {
	h := newHouse(t, nil)
	for range 50 {
		p := h.dial()
		p.Negotiate(wire.Dialect311)
		c := &ntlmtest.Client{User: "alice", Password: "secret"}
		preauth := p.Preauth
		leg := func(token []byte) {
			msg := p.Encode(smbtest.Element{Header: p.Request(wire.CmdSessionSetup, 0), Body: &wire.SessionSetupRequest{SecurityBuffer: token}})
			preauth.Update(msg)
			p.SendRaw(msg)
		}
		leg(c.Negotiate())
		m := p.Final()
		preauth.Update(m.Raw)
		p.SessionID = m.SessionID
		var resp wire.SessionSetupResponse
		if err := resp.Decode(m.Raw); err != nil {
			t.Fatal(err)
		}
		token, err := c.Authenticate(resp.SecurityBuffer)
		if err != nil {
			t.Fatal(err)
		}
		p.MessageID++ // the LOGOFF first: it waits for nothing
		logoff := p.Request(wire.CmdLogoff, 0)
		p.MessageID -= 2
		leg(token)
		if p.Signer, err = crypt.NewSigner(p.Signing, crypt.Derive(p.Dialect, c.SessionKey(), preauth[:], p.Cipher).Signing); err != nil {
			t.Fatal(err)
		}
		p.Send(smbtest.Element{Header: logoff, Body: &wire.LogoffRequest{}})
		p.Conn.Close()
	}
	eventually(t, "nothing left", func() bool { return h.server.Stats().Connections == 0 })
	if n := h.server.Stats().Sessions + h.server.SessionIDs(); n != 0 {
		t.Errorf("%d left", n)
	}
}

// falling is for a peer whose connection may be gone at any point.
type falling struct{ testing.TB }

func (falling) Error(...any)          { panic("falling") }
func (falling) Errorf(string, ...any) { panic("falling") }
func (falling) Fatal(...any)          { panic("falling") }
func (falling) Fatalf(string, ...any) { panic("falling") }

// Bindings, endings and lost connections in any order leave nothing behind and corrupt nothing (CVE-2026-23226 and its
// like).
func TestChannelRaces(t *testing.T) {
	h := newHouse(t, nil)
	for round := range 20 {
		p := h.logon("alice", "disk")
		id := p.Open("file", all, wire.FileOpenIf, 0)
		var peers []*smbtest.Peer
		for range 4 {
			peers = append(peers, h.ready(p, nil))
		}
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i, q := range peers {
			wg.Go(func() {
				defer func() { _ = recover() }()
				<-start
				q.T = falling{t}
				if q.Bind(p, "alice", "secret") == nt.Success {
					q.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 1}, nil)
				}
				if i%2 == 0 {
					q.Conn.Close()
				}
			})
		}
		wg.Go(func() {
			<-start
			switch round % 3 {
			case 0:
				p.Conn.Close()
			case 1:
				send(p, wire.CmdLogoff, &wire.LogoffRequest{})
			case 2:
				h.server.EndSessions(func(*auth.Identity) bool { return true })
			}
		})
		close(start)
		wg.Wait()
		p.Conn.Close()
		for _, q := range peers {
			q.Conn.Close()
		}
	}
	eventually(t, "nothing left", func() bool {
		s := h.server.Stats()
		return s.Connections == 0 && s.Sessions == 0 && s.Opens == 0
	})
	if err := h.server.Idle(); err != nil {
		t.Error(err)
	}
}

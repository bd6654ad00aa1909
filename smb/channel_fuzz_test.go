package smb_test

import (
	"context"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth/ntlm/ntlmtest"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

// What an element of FuzzBinding's input says, in its one byte.
const (
	bindFlag    = 1 << iota // SMB2_SESSION_FLAG_BINDING
	bindTarget              // names the session of the other connection
	bindSigned              // signed with its key
	bindLast                // the second leg, in answer to the last challenge
	bindBob                 // as bob
	bindNobody              // as nobody
	bindGarbled             // a token that is none
)

// Any order of SESSION_SETUPs on another connection: only alice's own binding makes a channel, and whatever else they do,
// her session does not feel it.
func FuzzBinding(f *testing.F) {
	leg := byte(bindFlag | bindTarget | bindSigned)
	for _, seed := range [][]byte{
		{leg, leg | bindLast},
		{leg, leg | bindLast, leg, leg | bindLast},
		{leg, leg | bindLast | bindBob},
		{leg, leg | bindLast | bindNobody},
		{leg | bindGarbled, leg, leg | bindLast | bindGarbled},
		{leg, leg &^ bindSigned},
		{leg &^ bindFlag},
		{leg &^ bindTarget},
		{0, bindLast, leg, leg | bindLast},
		{leg, 0, leg | bindLast, bindLast | bindBob},
		{0, bindLast | bindNobody, leg, leg | bindLast},
		{bindFlag, bindFlag | bindSigned | bindLast},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s := fuzzServer(t, memfs.New())
		before := runtime.NumGoroutine()
		connect := func() (*smbtest.Peer, func()) {
			client, server := net.Pipe()
			over := make(chan struct{})
			go func() {
				s.ServeConn(context.Background(), server, smb.ConnInfo{Transport: "tcp", Pipes: smb.AllPipes.Always, Multichannel: true, Anonymous: true})
				close(over)
			}()
			p := smbtest.New(t, client)
			p.Signing = crypt.AESCMAC
			p.Negotiate(wire.Dialect311)
			return p, func() { client.Close(); <-over }
		}
		p, end := connect()
		if s := p.Logon("alice", "secret", 0); s != nt.Success {
			t.Fatal(s)
		}
		q, end2 := connect()
		q.Blind = true
		var challenge []byte
		var own uint64
		bound, again := false, false
		for _, how := range in[:min(len(in), 32)] {
			c := &ntlmtest.Client{User: "alice", Password: "secret", Anonymous: how&bindNobody != 0}
			if how&bindBob != 0 {
				c.User = "bob"
			}
			req := &wire.SessionSetupRequest{SecurityMode: wire.SigningEnabled, SecurityBuffer: c.Negotiate()}
			if how&bindLast != 0 && challenge != nil {
				// The MIC is over the first message, which is the same each time.
				req.SecurityBuffer, _ = c.Authenticate(challenge)
			}
			if how&bindGarbled != 0 {
				req.SecurityBuffer = req.SecurityBuffer[:len(req.SecurityBuffer)-1]
				req.SecurityBuffer[9] ^= 4
			}
			if how&bindFlag != 0 {
				req.Flags = wire.SessionBinding
			}
			// On its own channel alice may authenticate again: as nobody, and a refusal ends the session.
			again = again || bound && how&(bindFlag|bindTarget|bindSigned) == bindTarget|bindSigned
			q.SessionID, q.Signer = own, nil
			if how&bindTarget != 0 {
				q.SessionID = p.SessionID
			}
			if how&bindSigned != 0 {
				q.Signer = p.Signer
			}
			q.Send(smbtest.Element{Header: q.Request(wire.CmdSessionSetup, 0), Body: req})
			m, err := q.Recv()
			if err != nil {
				break
			}
			challenge = nil
			var resp wire.SessionSetupResponse
			switch {
			case m.Status == nt.MoreProcessingRequired && resp.Decode(m.Raw) == nil:
				challenge = resp.SecurityBuffer
			case m.Status == nt.Success && m.SessionID == p.SessionID && bound && how&bindFlag == 0:
				if how&(bindTarget|bindSigned) != bindTarget|bindSigned || how&bindBob != 0 && how&bindNobody == 0 {
					t.Errorf("authenticated again by %#x", how)
				}
			case m.Status == nt.Success && m.SessionID == p.SessionID:
				if how&(bindFlag|bindTarget|bindSigned) != leg || how&(bindBob|bindNobody|bindGarbled) != 0 {
					t.Errorf("bound by %#x", how)
				}
				bound = true
			}
			if how&bindTarget == 0 {
				own = m.SessionID
			}
		}
		p.Blind = again
		if s := p.Tree("disk"); s != nt.Success && !(again && (s == nt.UserSessionDeleted || s == nt.AccessDenied)) {
			t.Errorf("alice's own connection: %v", s)
		}
		q.SessionID, q.Signer = p.SessionID, p.Signer
		if _, err := p.Conn.Write(nil); err == nil && !bound {
			q.Send(smbtest.Element{Header: q.Request(wire.CmdTreeConnect, 0), Body: &wire.TreeConnectRequest{Path: `\\nas.test\disk`}})
			if m, err := q.Recv(); err == nil && m.Status != nt.UserSessionDeleted {
				t.Errorf("used without a binding: %v", m.Status)
			}
		}
		end2()
		end()
		for limit := time.Now().Add(5 * time.Second); s.Stats().Sessions > 0 && time.Now().Before(limit); {
			time.Sleep(time.Millisecond)
		}
		left(t, s, before)
	})
}

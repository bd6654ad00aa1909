package interop

import (
	"flag"
	"testing"

	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// The Go client library has no locks, no oplocks and no control codes. Tests that need them send wire values.

// peer connects, logs on and mounts the share.
func (tgt goTarget) peer(t testing.TB, l link) *smbtest.Peer {
	t.Helper()
	conn, err := l.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := smbtest.New(t, conn)
	p.Signing = crypt.AESGMAC
	p.Negotiate(wire.Dialect311)
	if s := p.Logon(tgt.user, tgt.password, 0); s != nt.Success {
		t.Fatalf("logon: %v", s)
	}
	if s := p.Tree(tgt.share); s != nt.Success {
		t.Fatalf("tree connect: %v", s)
	}
	// Credits for what follows: one request answered is enough to be given some.
	p.Do(wire.CmdEcho, &wire.EchoRequest{}, &wire.EchoResponse{})
	return p
}

func peerWrite(p *smbtest.Peer, id wire.FileID, off int64, b []byte) {
	p.T.Helper()
	var resp wire.WriteResponse
	s := p.DoCharged(wire.CmdWrite, len(b), &wire.WriteRequest{FileID: id, Offset: uint64(off), Data: b}, &resp)
	if s != nt.Success || int(resp.Count) != len(b) {
		p.T.Fatalf("WRITE of %d bytes at %d: %v, %d", len(b), off, s, resp.Count)
	}
}

// peerRead reads n bytes, fewer at the end of the file.
func peerRead(p *smbtest.Peer, id wire.FileID, off int64, n int) []byte {
	p.T.Helper()
	var resp wire.ReadResponse
	switch s := p.DoCharged(wire.CmdRead, n, &wire.ReadRequest{FileID: id, Offset: uint64(off), Length: uint32(n)}, &resp); s {
	case nt.Success:
	case nt.EndOfFile:
		return nil
	default:
		p.T.Fatalf("READ of %d bytes at %d: %v", n, off, s)
	}
	return resp.Data
}

func peerFlush(p *smbtest.Peer, id wire.FileID) {
	p.T.Helper()
	if s := p.Do(wire.CmdFlush, &wire.FlushRequest{FileID: id}, &wire.FlushResponse{}); s != nt.Success {
		p.T.Fatalf("FLUSH: %v", s)
	}
}

func peerIoctl(p *smbtest.Peer, id wire.FileID, code fscc.FSCTL, in []byte, room uint32) []byte {
	p.T.Helper()
	var resp wire.IoctlResponse
	req := &wire.IoctlRequest{CtlCode: uint32(code), FileID: id, Input: in, MaxOutputResponse: room, Flags: wire.IoctlIsFsctl}
	if s := p.DoCharged(wire.CmdIoctl, int(room), req, &resp); s != nt.Success {
		p.T.Fatalf("%v: %v", code, s)
	}
	return resp.Output
}

func peerSet(p *smbtest.Peer, id wire.FileID, class fscc.FileClass, body smbtest.Body) {
	p.T.Helper()
	req := &wire.SetInfoRequest{FileID: id, InfoType: wire.InfoFile, InfoClass: uint8(class), Buffer: body.Append(nil)}
	if s := p.Do(wire.CmdSetInfo, req, &wire.SetInfoResponse{}); s != nt.Success {
		p.T.Fatalf("set %v: %v", class, s)
	}
}

func peerStandard(p *smbtest.Peer, id wire.FileID) (info fscc.StandardInfo) {
	p.T.Helper()
	var resp wire.QueryInfoResponse
	req := &wire.QueryInfoRequest{FileID: id, InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileStandardInformation), OutputBufferLength: 24}
	if s := p.Do(wire.CmdQueryInfo, req, &resp); s != nt.Success || info.Decode(resp.Buffer) != nil {
		p.T.Fatalf("query: %v", s)
	}
	return info
}

// peerDelete deletes what id has open when it is closed, and closes it.
func peerDelete(p *smbtest.Peer, id wire.FileID) {
	p.T.Helper()
	peerSet(p, id, fscc.FileDispositionInformation, fscc.DispositionInfo{Delete: true})
	p.Close(id)
}

const everything = dtyp.FileAll

// Without -soak the long tests do a small part of their work, for make test.
var soak = flag.Bool("soak", false, "the tests of endurance and scale at full length; see make soak")

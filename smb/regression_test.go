package smb_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth/ntlm/ntlmtest"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// RequireEncryption is for every request, also for one that is signed.
func TestRequireEncryption(t *testing.T) {
	h := newHouse(t, func(c *smb.Config) { c.RequireEncryption = true })
	p := h.dial()
	p.Negotiate(wire.Dialect311)
	if s := p.Logon("alice", "secret", 0); s != nt.Success {
		t.Fatal(s)
	}
	if s := p.Tree("disk"); s != nt.AccessDenied {
		t.Errorf("signed, not sealed TREE_CONNECT: %v", s)
	}
}

// The Ex form replaces only when asked to.
func TestRenameEx(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	for _, flags := range []uint32{0, fscc.RenamePosix, fscc.RenameIgnoreReadOnly} {
		a := p.Open("a", all, wire.FileOpenIf, 0)
		p.Close(p.Open("b", all, wire.FileOpenIf, 0))
		ren := fscc.RenameInfo{Name: "b", Flags: flags}
		if s := p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileRenameInformationEx), FileID: a, Buffer: ren.Append(nil)}, nil); s != nt.ObjectNameCollision {
			t.Errorf("flags %#x: %v", flags, s)
		}
		p.Close(a)
	}
}

// A compound of READs must not make a reply larger than a frame.
func TestCompoundReads(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("big", all, wire.FileCreate, 0)
	p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileEndOfFileInformation), FileID: id, Buffer: fscc.SizeInfo{Size: 1 << 30}.Append(nil)}, nil)
	for p.Credits < 4000 {
		hd := p.Request(wire.CmdEcho, 0)
		hd.Credits = 8000
		p.Send(smbtest.Element{Header: hd, Body: &wire.EchoRequest{}})
		p.Final()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var es []smbtest.Element
	const n = 30
	for i := range n {
		hd := p.Request(wire.CmdRead, 8<<20)
		_ = i
		es = append(es, smbtest.Element{Header: hd, Body: &wire.ReadRequest{FileID: id, Length: 8 << 20}})
	}
	p.Send(es...)
	var prefix [4]byte
	p.Conn.SetReadDeadline(time.Now().Add(smbtest.Patience))
	if _, err := io.ReadFull(p.Conn, prefix[:]); err != nil {
		t.Fatal(err)
	}
	if n := binary.BigEndian.Uint32(prefix[:]); n > 16<<20 {
		t.Errorf("one frame of %d MiB: its length field is % x", n>>20, prefix)
	}
	runtime.ReadMemStats(&after)
	t.Logf("total allocated %d MiB, sys %d MiB", (after.TotalAlloc-before.TotalAlloc)>>20, after.Sys>>20)
}

// Deleting by one hard link leaves the other.
func TestDeleteOneLink(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	a := p.Open("a", all, wire.FileCreate, 0)
	link := fscc.RenameInfo{Name: "b"}
	if s := p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileLinkInformation), FileID: a, Buffer: link.Append(nil)}, nil); s != nt.Success {
		t.Fatal(s)
	}
	b := p.Open("b", dtyp.FileRead, wire.FileOpen, 0)
	if s := p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileDispositionInformation), FileID: a, Buffer: []byte{1}}, nil); s != nt.Success {
		t.Fatal(s)
	}
	p.Close(a)
	p.Close(b)
	if s := p.Do(wire.CmdCreate, smbtest.OpenAs("a", all, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
		t.Errorf("the deleted name: %v", s)
	}
	if s := p.Do(wire.CmdCreate, smbtest.OpenAs("b", all, wire.FileOpen, 0), nil); s != nt.Success {
		t.Errorf("the other name: %v", s)
	}
}

// Once CLOSE is answered, the file is not open any more.
func TestRenameOntoClosed(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	bad := 0
	for i := range 2000 {
		tmp := p.Open(fmt.Sprint("tmp", i), all, wire.FileCreate, 0)
		p.Close(p.Open("target", all, wire.FileOpenIf, 0))
		ren := fscc.RenameInfo{Name: "target", Flags: 1}
		if s := p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileRenameInformation), FileID: tmp, Buffer: ren.Append(nil)}, nil); s != nt.Success {
			bad++
		}
		p.Close(tmp)
	}
	if bad > 0 {
		t.Errorf("%d of 2000 renames onto a closed file refused", bad)
	}
}

// A compound that starts with SESSION_SETUP must not hold the reader.
func TestReaderHeld(t *testing.T) {
	h := newHouse(t, nil)
	client, server := net.Pipe()
	over := make(chan struct{})
	go func() { h.server.ServeConn(context.Background(), server, h.info); close(over) }()
	p := smbtest.New(t, client)
	p.Signing = 2
	p.Negotiate(wire.Dialect311)
	p.Logon("alice", "secret", 0)
	p.Tree("IPC$")
	pipe := p.Open("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	h1 := p.Request(wire.CmdSessionSetup, 0)
	h1.SessionID = 0
	p.Send(smbtest.Element{Header: h1, Body: &wire.SessionSetupRequest{SecurityBuffer: []byte("x")}},
		smbtest.Element{Header: p.Request(wire.CmdRead, 0), Body: &wire.ReadRequest{FileID: pipe, Length: 1000}})
	go func() {
		for {
			m, err := p.Recv()
			if err != nil {
				return
			}
			t.Log(m.Command, m.Status)
		}
	}()
	time.Sleep(300 * time.Millisecond)
	client.Close()
	select {
	case <-over:
	case <-time.After(3 * time.Second):
		t.Error("the connection is still there 3 s after the peer left")
	}
}

// SESSION_SETUP behind an ECHO runs on a worker beside the reader's: run with -race.
func TestSetupOnWorker(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil)
	p.Blind = true
	token := (&ntlmtest.Client{}).Negotiate()
	go func() {
		for {
			m, err := p.Recv()
			if err != nil {
				return
			}
			_ = m
		}
	}()
	var frames []byte
	for range 30 {
		msg := p.Encode(smbtest.Element{Header: p.Request(wire.CmdEcho, 0), Body: &wire.EchoRequest{}},
			smbtest.Element{Header: p.Request(wire.CmdSessionSetup, 0), Body: &wire.SessionSetupRequest{SecurityBuffer: token}})
		frames = append(binary.BigEndian.AppendUint32(frames, uint32(len(msg))), msg...)
	}
	p.Conn.Write(frames)
	time.Sleep(300 * time.Millisecond)
}

// CANCEL looks at requests that are being worked on: run with -race.
func TestCancelRace(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil)
	for range 50 {
		a, b := p.Request(wire.CmdCreate, 0), p.Request(wire.CmdClose, 0)
		b.Flags |= wire.FlagRelated
		p.Send(smbtest.Element{Header: a, Body: smbtest.OpenAs("f", all, wire.FileOpenIf, 0)}, smbtest.Element{Header: b, Body: &wire.CloseRequest{FileID: wire.NoFileID}})
		c := b
		c.Flags &^= wire.FlagRelated
		c.Command = wire.CmdCancel
		for range 5 {
			p.Send(smbtest.Element{Header: c, Body: &wire.EchoRequest{}})
		}
		p.Final()
		p.Final()
	}
}

// -2 gives a time back.
func TestThaw(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("f", all, wire.FileCreate, 0)
	set := func(b fscc.BasicInfo) {
		if s := p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileBasicInformation), FileID: id, Buffer: b.Append(nil)}, nil); s != nt.Success {
			t.Fatal(s)
		}
	}
	old := dtyp.FiletimeOf(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))
	get := func() fscc.BasicInfo {
		var r wire.QueryInfoResponse
		p.Do(wire.CmdQueryInfo, &wire.QueryInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileBasicInformation), FileID: id, OutputBufferLength: 40}, &r)
		var b fscc.BasicInfo
		if err := b.Decode(r.Buffer); err != nil {
			t.Fatal(err)
		}
		return b
	}
	set(fscc.BasicInfo{LastWrite: old})
	write(t, p, id, 0, []byte("x"))
	if get().LastWrite != old {
		t.Error("a held time moved")
	}
	set(fscc.BasicInfo{LastWrite: fscc.TimeThaw})
	write(t, p, id, 0, []byte("x"))
	if get().LastWrite == old {
		t.Error("a time given back did not move")
	}
}

// A read-only file that is to be deleted on close is not made at all.
func TestReadOnlyDeleteOnClose(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	req := smbtest.OpenAs("ro", all, wire.FileCreate, wire.FileDeleteOnClose)
	req.FileAttributes = 1
	if s := p.Do(wire.CmdCreate, req, nil); s != nt.CannotDelete {
		t.Error(s)
	}
	if s := p.Do(wire.CmdCreate, smbtest.OpenAs("ro", dtyp.FileRead, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
		t.Errorf("afterwards: %v", s)
	}
}

// A read of a broken pipe fails.
func TestBrokenPipe(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "IPC$")
	id := p.Open("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	if s := p.Do(wire.CmdWrite, &wire.WriteRequest{FileID: id, Data: make([]byte, 64)}, nil); s != nt.PipeDisconnected {
		t.Fatal(s)
	}
	p.Send(smbtest.Element{Header: p.Request(wire.CmdRead, 0), Body: &wire.ReadRequest{FileID: id, Length: 1000}})
	if m := p.MustRecv(); m.Status != nt.PipeDisconnected {
		t.Errorf("%v", m.Status)
	}
}

// attrBomb panics where the object is in the table of open files, and the open in no session.
type (
	attrBomb     struct{ vfs.Volume }
	attrBombFile struct{ vfs.File }
)

func (v attrBomb) Open(ctx context.Context, p vfs.Path, how vfs.How) (vfs.File, vfs.Action, error) {
	f, a, err := v.Volume.Open(ctx, p, how)
	if err == nil && p.Base() == "bomb" {
		return attrBombFile{f}, a, nil
	}
	return f, a, err
}
func (attrBombFile) Attr(context.Context, vfs.Mask) (vfs.Attr, error) { panic("attr") }

// A panic within CREATE leaves the object's table entry behind.
func TestPanicInCreate(t *testing.T) {
	h := newHouse(t, func(c *smb.Config) { c.Shares[0].Volume = attrBomb{c.Shares[0].Volume} })
	h.panics = 1
	p := h.logon("alice", "disk")
	p.Send(smbtest.Element{Header: p.Request(wire.CmdCreate, 0), Body: smbtest.OpenAs("bomb", all, wire.FileCreate, 0)})
	p.Dropped()
	for h.server.Stats().Connections > 0 {
		time.Sleep(time.Millisecond)
	}
	if err := h.server.Idle(); err != nil {
		t.Error(err)
	}
}

// Every NetrShareEnum lists in the same order: a resume handle is a place in it.
func TestShareOrder(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "IPC$")
	id := p.Open("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	ask := func(in []byte) string {
		var resp wire.IoctlResponse
		if s := p.Do(wire.CmdIoctl, &wire.IoctlRequest{CtlCode: wire.FsctlPipeTransceive, FileID: id, Input: in, MaxOutputResponse: 4096, Flags: wire.IoctlIsFsctl}, &resp); s != nt.Success {
			t.Fatal(s)
		}
		return string(resp.Output)
	}
	ask(bindRequest)
	first := ask(shareEnum)
	for range 20 {
		if ask(shareEnum) != first {
			t.Fatal("listed in another order")
		}
	}
}

// A client that does not read must not use up the replies of all others.
func TestStuckReaders(t *testing.T) {
	h := newHouse(t, nil)
	stuck := func() {
		p := h.logon("alice", "disk")
		id := p.Open("big", all, wire.FileOpenIf, 0)
		p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileEndOfFileInformation), FileID: id, Buffer: fscc.SizeInfo{Size: 1 << 30}.Append(nil)}, nil)
		p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil)
		for p.Credits > 130 || p.Credits > 64 {
			p.Send(smbtest.Element{Header: p.Request(wire.CmdRead, 4<<20), Body: &wire.ReadRequest{FileID: id, Length: 4 << 20}})
		}
	}
	for range 20 {
		stuck()
	}
	time.Sleep(200 * time.Millisecond)
	h2 := h.dial()
	h2.Negotiate(wire.Dialect311)
	h2.Logon("bob", "secret", 0)
	h2.Send(smbtest.Element{Header: h2.Request(wire.CmdTreeConnect, 0), Body: &wire.TreeConnectRequest{Path: "\\\\nas\\disk"}})
	start := time.Now()
	if _, err := h2.Recv(); err != nil {
		t.Errorf("another client is not answered for %v: %v", time.Since(start), err)
	}
}

// An unknown command of a session is answered with a signature of ours.
func TestUnknownCommandSigned(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	p.Send(smbtest.Element{Header: p.Request(0x42, 0), Body: &wire.EchoRequest{}})
	if m := p.MustRecv(); !p.Signer.Verify(m.Raw) {
		t.Error("signed with the request's own signature")
	}
}

package smb_test

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/rpc"
	"github.com/postern-nas/postern/smb/rpc/samr"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// withAdmin are the accounts, and bob is an administrator.
type withAdmin struct{ accounts }

func (w withAdmin) Lookup(ctx context.Context, user, domain string) ([16]byte, auth.Identity, error) {
	hash, id, err := w.accounts.Lookup(ctx, user, domain)
	if id.User == "bob" {
		id.Groups = []dtyp.SID{dtyp.Administrators}
	}
	return hash, id, err
}

func adminHouse(t *testing.T) *house {
	t.Helper()
	return newHouse(t, func(c *smb.Config) {
		c.Mechanisms = []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", DNSName: "nas.test", Accounts: withAdmin{}})}
		c.Shares[1].Hidden = true
	})
}

// A caller is one open of srvsvc.
type caller struct {
	*smbtest.Peer
	t  *testing.T
	id wire.FileID
}

func (h *house) srvsvc(user string) *caller {
	h.t.Helper()
	c := &caller{Peer: h.logon(user, "IPC$"), t: h.t}
	c.id = c.Open("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	c.transact(bindRequest)
	return c
}

func (c *caller) transact(in []byte) []byte {
	c.t.Helper()
	var resp wire.IoctlResponse
	req := &wire.IoctlRequest{CtlCode: wire.FsctlPipeTransceive, FileID: c.id, Input: in, MaxOutputResponse: 16384, Flags: wire.IoctlIsFsctl}
	if s := c.Do(wire.CmdIoctl, req, &resp); s != nt.Success {
		c.t.Fatalf("transceive: %v", s)
	}
	return resp.Output
}

// call runs an operation and returns its answer and the error code that this ends with.
func (c *caller) call(opnum uint16, stub []byte) (out []byte, result uint32) {
	c.t.Helper()
	req := []byte("\x05\x00\x00\x03\x10\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	req = append(binary.LittleEndian.AppendUint16(req, opnum), stub...)
	binary.LittleEndian.PutUint16(req[8:], uint16(len(req)))
	reply := c.transact(req)
	if len(reply) < 28 || reply[2] != 2 {
		c.t.Fatalf("operation %d: % x", opnum, reply)
	}
	return reply[24 : len(reply)-4], binary.LittleEndian.Uint32(reply[len(reply)-4:])
}

// enumerate runs an enumeration at a level, with as many null texts before it, and returns all of the answer as text.
func (c *caller) enumerate(opnum uint16, level uint32, texts ...string) (text string, result uint32) {
	c.t.Helper()
	var w rpc.Writer
	for _, t := range append([]string{""}, texts...) {
		w.Pointer(t != "")
		if t != "" {
			w.String(t)
		}
	}
	w.U32(level)
	w.U32(level)
	w.Pointer(true)
	w.U32(0)
	w.Pointer(false)
	w.U32(0xFFFFFFFF)
	w.Pointer(false)
	out, result := c.call(opnum, w.Bytes())
	u := make([]uint16, len(out)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(out[2*i:])
	}
	return string(utf16.Decode(u)), result
}

const (
	connectionEnum = 8
	fileEnum       = 9
	fileClose      = 11
	sessionEnum    = 12
	sessionDel     = 13
	shareEnumOp    = 15
	statisticsGet  = 24
	transportEnum  = 26
)

// number finds a user's open of a path in NetrFileEnum at level 2.
func (c *caller) number(path, user string) uint32 {
	c.t.Helper()
	var w rpc.Writer
	w.Pointer(false)
	for _, t := range []string{path, user} {
		w.Pointer(true)
		w.String(t)
	}
	w.U32(2)
	w.U32(2)
	w.Pointer(true)
	w.U32(0)
	w.Pointer(false)
	w.U32(0xFFFFFFFF)
	w.Pointer(false)
	out, result := c.call(fileEnum, w.Bytes())
	if result != 0 || len(out) < 28 || binary.LittleEndian.Uint32(out[12:]) != 1 {
		c.t.Fatalf("looking for %s of %s: error %d, % x", path, user, result, out)
	}
	return binary.LittleEndian.Uint32(out[24:])
}

func numberStub(n uint32) []byte { return binary.LittleEndian.AppendUint32(make([]byte, 4), n) }

// What an administrator is told and others are not: sessions, connections, open files, hidden shares.
func TestAdministrationTells(t *testing.T) {
	h := adminHouse(t)
	alice := h.logon("alice", "disk")
	dir := alice.Open("folder", all, wire.FileCreate, wire.FileDirectoryFile)
	file := alice.Open(`folder\letter`, all, wire.FileCreate, 0)
	lock := &wire.LockRequest{FileID: file, Locks: []wire.LockElement{{Offset: 1, Length: 2, Flags: wire.LockExclusive | wire.LockFailImmediately}}}
	if s := alice.Do(wire.CmdLock, lock, nil); s != nt.Success {
		t.Fatal(s)
	}
	bob, reader := h.srvsvc("bob"), h.srvsvc("reader")
	for _, c := range []struct {
		name  string
		op    uint16
		level uint32
		texts []string
		want  []string
	}{
		{"sessions", sessionEnum, 502, []string{"", ""}, []string{"alice", "bob", "reader", "127.0.0.1", `\Device\TCP`}},
		{"connections", connectionEnum, 1, []string{"disk"}, []string{"alice", "127.0.0.1"}},
		{"a client's connections", connectionEnum, 1, []string{`\\127.0.0.1`}, []string{"alice", "disk", "IPC$", "bob"}},
		{"files", fileEnum, 3, []string{"", ""}, []string{`C:\disk\folder\letter`, `\PIPE\srvsvc`, "alice"}},
		{"shares", shareEnumOp, 2, nil, []string{"disk", "private", "sealed", `C:\disk`}},
		{"transports", transportEnum, 0, nil, []string{`\Device\TCP`}},
	} {
		text, result := bob.enumerate(c.op, c.level, c.texts...)
		if result != 0 {
			t.Errorf("%s: error %d", c.name, result)
		}
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in %q", c.name, want, text)
			}
		}
		if text, result := reader.enumerate(c.op, c.level, c.texts...); result != 5 || strings.Contains(text, "alice") {
			t.Errorf("%s for a user: error %d, %q", c.name, result, text)
		}
	}
	if text, _ := reader.enumerate(shareEnumOp, 1); strings.Contains(text, "private") || !strings.Contains(text, "disk") {
		t.Errorf("a user is shown %q", text)
	}
	if out, result := bob.call(statisticsGet, make([]byte, 16)); result != 0 || binary.LittleEndian.Uint32(out[8:]) != 4 {
		t.Errorf("statistics: error %d, % x; want 4 opens", result, out)
	}
	alice.Close(file)
	alice.Close(dir)
}

// Ending opens and sessions, those of the one who asks among them: nothing waits for itself.
func TestAdministrationEnds(t *testing.T) {
	h := adminHouse(t)
	alice := h.logon("alice", "disk")
	file := alice.Open("letter", all, wire.FileCreate, 0)
	bob, reader := h.srvsvc("bob"), h.srvsvc("reader")

	number := bob.number(`C:\disk\letter`, "alice")
	if _, result := reader.call(fileClose, numberStub(number)); result != 5 {
		t.Errorf("a user closes a file: error %d", result)
	}
	write(t, alice, file, 0, []byte("still open"))
	if _, result := bob.call(fileClose, numberStub(number)); result != 0 {
		t.Errorf("closing a file: error %d", result)
	}
	if s := alice.Do(wire.CmdWrite, &wire.WriteRequest{FileID: file, Data: []byte("gone")}, nil); s != nt.FileClosed {
		t.Errorf("writing to it: %v", s)
	}
	if _, result := bob.call(fileClose, numberStub(number)); result != 2314 {
		t.Errorf("closing it again: error %d", result)
	}

	del := func(user string) []byte {
		var w rpc.Writer
		w.Pointer(false)
		w.Pointer(false)
		w.Pointer(true)
		w.String(user)
		return w.Bytes()
	}
	if _, result := reader.call(sessionDel, del("alice")); result != 5 {
		t.Errorf("a user ends a session: error %d", result)
	}
	if _, result := bob.call(sessionDel, del("alice")); result != 0 {
		t.Errorf("ending a session: error %d", result)
	}
	alice.Signer = nil
	if s := alice.Do(wire.CmdCreate, smbtest.OpenAs("letter", all, wire.FileOpen, 0), nil); s != nt.UserSessionDeleted {
		t.Errorf("using it: %v", s)
	}

	// Their own: an open by its number, the pipe that the call comes by, and the session.
	if _, result := bob.call(fileClose, numberStub(bob.number(`\PIPE\srvsvc`, "reader"))); result != 0 {
		t.Errorf("closing the other pipe: error %d", result)
	}
	if s := reader.Do(wire.CmdRead, &wire.ReadRequest{FileID: reader.id, Length: 100}, nil); s != nt.FileClosed {
		t.Errorf("reading from it: %v", s)
	}
	if _, result := bob.call(fileClose, numberStub(bob.number(`\PIPE\srvsvc`, "bob"))); result != 0 {
		t.Errorf("closing the own pipe: error %d", result)
	}
	if s := bob.Do(wire.CmdRead, &wire.ReadRequest{FileID: bob.id, Length: 100}, nil); s != nt.FileClosed {
		t.Errorf("reading from it: %v", s)
	}
	bob = h.srvsvc("bob")
	if _, result := bob.call(sessionDel, del("bob")); result != 0 {
		t.Errorf("ending the own session: error %d", result)
	}
	bob.Signer = nil
	if s := bob.Do(wire.CmdCreate, smbtest.OpenAs("srvsvc", dtyp.FileRead, wire.FileOpen, 0), nil); s != nt.UserSessionDeleted {
		t.Errorf("using it: %v", s)
	}
}

// A session is active since its logon, and idle since its last request.
func TestSessionIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := adminHouse(t)
		alice, bob := h.pipe("alice"), &caller{Peer: h.pipe("bob"), t: t}
		if s := bob.Tree("IPC$"); s != nt.Success {
			t.Fatal(s)
		}
		bob.id = bob.Open("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
		bob.transact(bindRequest)
		wants := func(active, idle uint32) {
			t.Helper()
			var w rpc.Writer
			w.Pointer(false)
			w.Pointer(false)
			w.Pointer(true)
			w.String("alice")
			w.U32(10)
			w.U32(10)
			w.Pointer(true)
			w.U32(0)
			w.Pointer(false)
			w.U32(0xFFFFFFFF)
			w.Pointer(false)
			out, result := bob.call(sessionEnum, w.Bytes())
			if result != 0 || len(out) < 40 {
				t.Fatalf("error %d, % x", result, out)
			}
			if a, i := binary.LittleEndian.Uint32(out[32:]), binary.LittleEndian.Uint32(out[36:]); a != active || i != idle {
				t.Errorf("active for %d s and idle for %d s, want %d and %d", a, i, active, idle)
			}
		}
		wants(0, 0)
		time.Sleep(90 * time.Second)
		wants(90, 90)
		alice.Do(wire.CmdTreeConnect, &wire.TreeConnectRequest{Path: `\\nas\disk`}, nil)
		wants(90, 0)
		time.Sleep(30 * time.Second)
		wants(120, 30)
		for _, p := range []*smbtest.Peer{alice, bob.Peer} {
			p.Conn.Close()
		}
		synctest.Wait()
	})
}

type samrSource struct{}

func (samrSource) Machine() (string, dtyp.SID) { return "NAS", dtyp.NewSID(5, 21, 1, 2, 3) }
func (samrSource) Users() []samr.User          { return nil }

// The pipes there are, each by its name alone.
func TestPipes(t *testing.T) {
	h := newHouse(t, func(c *smb.Config) { c.Names, c.Accounts = nobody{}, samrSource{} })
	p := h.logon("alice", "IPC$")
	for _, name := range []string{"srvsvc", "WKSSVC", "lsarpc", "SamR"} {
		p.Close(p.Open(name, dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0))
	}
	for _, name := range []string{"netlogon", "spoolss", "winreg", "svcctl", "samr ", `\samr`} {
		if s := p.Do(wire.CmdCreate, smbtest.OpenAs(name, dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
			t.Errorf("pipe %q: %v", name, s)
		}
	}
}

// An interface is behind the pipe of its own name and no other.
func TestPipeInterfaces(t *testing.T) {
	h := newHouse(t, func(c *smb.Config) { c.Names, c.Accounts = nobody{}, samrSource{} })
	own := map[string]string{
		"srvsvc": "4b324fc8-1670-01d3-1278-5a47bf6ee188/3", "wkssvc": "6bffd098-a112-3610-9833-46c3f87e345a/1",
		"lsarpc": "12345778-1234-abcd-ef00-0123456789ab/0", "samr": "12345778-1234-abcd-ef00-0123456789ac/1",
	}
	for pipe := range own {
		for name, iface := range own {
			id, version, _ := strings.Cut(iface, "/")
			uuid, err := dtyp.ParseGUID(id)
			if err != nil {
				t.Fatal(err)
			}
			bind := append([]byte(nil), bindRequest...)
			copy(bind[32:], uuid[:])
			bind[48] = version[0] - '0'
			c := &caller{Peer: h.logon("alice", "IPC$"), t: t}
			c.id = c.Open(pipe, dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
			out := c.transact(bind)
			if result := out[len(out)-24]; (result == 0) != (pipe == name) || result != 0 && out[len(out)-22] != 1 {
				t.Errorf("%s on pipe %s: % x", name, pipe, out)
			}
			c.Close(c.id)
		}
	}
}

// A READ that waits on a pipe and the CLOSE right behind it are taken in this order, however busy the server is.
func TestPipeReadThenClose(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "IPC$")
	for range 100 {
		id := p.Open("srvsvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
		read, closing := p.Request(wire.CmdRead, 0), p.Request(wire.CmdClose, 0)
		p.Send(smbtest.Element{Header: read, Body: &wire.ReadRequest{FileID: id, Length: 1000}})
		p.Send(smbtest.Element{Header: closing, Body: &wire.CloseRequest{FileID: id}})
		for answered := 0; answered < 2; {
			m := p.MustRecv()
			if m.Status == nt.Pending {
				continue
			}
			if answered++; m.MessageID == read.MessageID && m.Status != nt.PipeBroken || m.MessageID == closing.MessageID && m.Status != nt.Success {
				t.Fatalf("%v: %v", m.Command, m.Status)
			}
		}
	}
}

package smb_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// These tests are named for the rows of the project's catalogue of bug classes.

// Transport lengths that lie: nothing is allocated or parsed beyond what may come now.
func TestSEC01FrameLength(t *testing.T) {
	h := newHouse(t, nil)
	for _, prefix := range []uint32{0, 1, 3, 63, 0xFFFFFF, 0x01000040, 0x85000000, 20 << 10} {
		p := h.dial()
		p.Conn.Write(binary.BigEndian.AppendUint32(nil, prefix))
		p.Conn.Write(make([]byte, min(prefix, 63)))
		if !p.Dropped() {
			t.Errorf("prefix %#x: not dropped", prefix)
		}
	}
	// One byte at a time, and two frames at once, are two ways to say the same.
	p := h.dial()
	req := p.Encode(smbtest.Element{Header: p.Request(wire.CmdNegotiate, 0), Body: p.NegotiateRequest(wire.Dialect210)})
	for _, b := range append(binary.BigEndian.AppendUint32(nil, uint32(len(req))), req...) {
		p.Conn.Write([]byte{b})
	}
	if m := p.Final(); m.Status != nt.Success {
		t.Errorf("byte by byte: %v", m.Status)
	}
	q := h.logon("alice", "disk")
	var both []byte
	for range 2 {
		msg := q.Encode(smbtest.Element{Header: q.Request(wire.CmdEcho, 0), Body: &wire.EchoRequest{}})
		both = append(binary.BigEndian.AppendUint32(both, uint32(len(msg))), msg...)
	}
	q.Conn.Write(both)
	if a, b := q.Final(), q.Final(); a.Status != nt.Success || b.Status != nt.Success {
		t.Error("two frames in one write")
	}
}

// What may be announced grows with what was proved.
func TestSEC02FrameLimit(t *testing.T) {
	h := newHouse(t, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const n = 200
	for range n {
		p := h.dial()
		p.Conn.Write([]byte{0, 0x80, 0, 0}) // 8 MiB to come
	}
	for h.server.Stats().Dropped < n {
		time.Sleep(time.Millisecond)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > n*128<<10 {
		t.Errorf("%d KiB a connection", grown/n>>10)
	}
	p := h.dial()
	p.Negotiate(wire.Dialect311)
	p.Conn.Write([]byte{0, 0x02, 0, 0}) // 128 KiB without a session
	if !p.Dropped() {
		t.Error("a long frame before a session")
	}
}

func TestSEC03NextCommand(t *testing.T) {
	h := newHouse(t, nil)
	echo := func(p *smbtest.Peer, next uint32, pad int) []byte {
		hdr := p.Request(wire.CmdEcho, 0)
		hdr.NextCommand = next
		return append((&wire.EchoRequest{}).Append(hdr.Append(nil)), make([]byte, pad)...)
	}
	for _, next := range []uint32{1, 7, 8, 63, 64, 66, 68, 72, 73, 80, 0x7FFFFFF8, 0xFFFFFFF8, 0xFFFFFFFF} {
		p := h.dial()
		p.Negotiate(wire.Dialect210)
		p.SendRaw(echo(p, next, 4))
		if !p.Dropped() {
			t.Errorf("NextCommand %#x: answered", next)
		}
	}
	// A chain of more elements than anyone sends.
	p := h.dial()
	p.Negotiate(wire.Dialect210)
	var elements []smbtest.Element
	for range 10_000 {
		elements = append(elements, smbtest.Element{Header: p.Request(wire.CmdEcho, 0), Body: &wire.EchoRequest{}})
	}
	msg := p.Encode(elements...)
	start := time.Now()
	p.SendRaw(msg[:min(len(msg), 16<<10)])
	if !p.Dropped() || time.Since(start) > 5*time.Second {
		t.Error("a long chain")
	}
}

// Elements of a compound are checked one by one, as of when they run.
func TestSEC04RelatedCompound(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	p.Close(p.Open("file", all, wire.FileCreate, 0))
	open := smbtest.OpenAs("file", all, wire.FileOpen, 0)
	missing := smbtest.OpenAs("missing", all, wire.FileOpen, 0)
	read := &wire.ReadRequest{FileID: wire.NoFileID, Length: 1}
	run := func(bodies ...any) (got []nt.Status) {
		t.Helper()
		var list []smbtest.Element
		for i, b := range bodies {
			cmd := map[string]wire.Command{
				"*wire.CreateRequest": wire.CmdCreate, "*wire.ReadRequest": wire.CmdRead, "*wire.CloseRequest": wire.CmdClose,
				"*wire.TreeDisconnectRequest": wire.CmdTreeDisconnect, "*wire.LogoffRequest": wire.CmdLogoff, "*wire.FlushRequest": wire.CmdFlush,
			}[fmt.Sprintf("%T", b)]
			hdr := p.Request(cmd, 0)
			if i > 0 {
				hdr.Flags |= wire.FlagRelated
				hdr.SessionID, hdr.TreeID = ^uint64(0), ^uint32(0)
			}
			list = append(list, smbtest.Element{Header: hdr, Body: b.(smbtest.Body)})
		}
		p.Send(list...)
		for range bodies {
			got = append(got, p.Final().Status)
		}
		return got
	}
	gone, closed := nt.NetworkNameDeleted, &wire.CloseRequest{FileID: wire.NoFileID}
	for _, c := range []struct {
		name   string
		bodies []any
		want   []nt.Status
	}{
		{"open, read, close", []any{open, read, closed}, []nt.Status{0, nt.EndOfFile, 0}},
		{"close, read", []any{open, closed, read}, []nt.Status{0, 0, nt.FileClosed}},
		{"failed open", []any{missing, read, closed}, []nt.Status{nt.ObjectNameNotFound, nt.ObjectNameNotFound, nt.ObjectNameNotFound}},
		{"tree disconnect, read", []any{open, &wire.TreeDisconnectRequest{}, read}, []nt.Status{0, 0, gone}},
	} {
		if c.name == "tree disconnect, read" {
			p.Tree("disk")
		}
		if got := run(c.bodies...); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	p.Tree("disk")
	first := p.Request(wire.CmdEcho, 0)
	first.Flags |= wire.FlagRelated
	p.Send(smbtest.Element{Header: first, Body: &wire.EchoRequest{}})
	if s := p.Final().Status; s != nt.InvalidParameter {
		t.Errorf("first element related: %v", s)
	}
	if got := run(open, &wire.LogoffRequest{}, read); !slices.Equal(got, []nt.Status{0, 0, nt.UserSessionDeleted}) {
		t.Errorf("logoff, read: %v", got)
	}
}

// Offsets and lengths at the ends of their range.
func TestSEC08Integers(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	for _, off := range []uint64{1 << 63, 1<<63 - 1, 1<<64 - 1, 1<<64 - 8} {
		if s := p.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Offset: off, Length: 16}, nil); s != nt.InvalidParameter {
			t.Errorf("READ at %#x: %v", off, s)
		}
		if s := p.Do(wire.CmdWrite, &wire.WriteRequest{FileID: id, Offset: off, Data: make([]byte, 16)}, nil); s != nt.InvalidParameter {
			t.Errorf("WRITE at %#x: %v", off, s)
		}
		for _, class := range []fscc.FileClass{fscc.FileEndOfFileInformation, fscc.FileAllocationInformation, fscc.FilePositionInformation} {
			b := binary.LittleEndian.AppendUint64(nil, off)
			s := p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(class), FileID: id, Buffer: b}, nil)
			if off>>63 != 0 && s != nt.InvalidParameter || s == nt.InternalError {
				t.Errorf("%v = %#x: %v", class, off, s)
			}
		}
	}
	for _, n := range []uint32{1 << 31, 1<<32 - 1, 8<<20 + 1} {
		if s := p.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: n}, nil); s != nt.InvalidParameter {
			t.Errorf("READ of %d bytes: %v", n, s)
		}
	}
}

// Seals that are broken, misused or replayed.
func TestSEC11Transform(t *testing.T) {
	h := newHouse(t, nil)
	sealed := func() (*smbtest.Peer, []byte) {
		p := h.logon("alice", "disk")
		p.Seal = true
		return p, p.Encode(smbtest.Element{Header: p.Request(wire.CmdEcho, 0), Body: &wire.EchoRequest{}})
	}
	p, msg := sealed()
	p.SendRaw(msg)
	if m := p.Final(); m.Status != nt.Success || !m.Sealed {
		t.Fatalf("%v, sealed %t", m.Status, m.Sealed)
	}
	p.SendRaw(msg)
	if !p.Dropped() {
		t.Error("the same message twice: its MessageId is used up")
	}
	for _, at := range []int{4, 20, 36, 42, 44, 52, 60, len(msg) - 1} {
		p, msg := sealed()
		msg[at] ^= 1
		p.SendRaw(msg)
		if !p.Dropped() {
			t.Errorf("byte %d changed: not dropped", at)
		}
	}
	for n := range wire.TransformHeaderSize + wire.HeaderSize {
		if n < 4 {
			continue
		}
		p, msg := sealed()
		p.SendRaw(msg[:n])
		if !p.Dropped() {
			t.Errorf("cut at %d: not dropped", n)
		}
	}
	p, msg = sealed()
	nested := append(make([]byte, wire.TransformHeaderSize), msg...)
	if err := p.Sealer.Seal(nested, p.SessionID); err != nil {
		t.Fatal(err)
	}
	p.SendRaw(nested)
	if !p.Dropped() {
		t.Error("a seal within a seal")
	}
	p, _ = sealed()
	hdr := p.Request(wire.CmdEcho, 0)
	hdr.SessionID++
	p.Send(smbtest.Element{Header: hdr, Body: &wire.EchoRequest{}})
	if !p.Dropped() {
		t.Error("another session id within the seal")
	}
}

// Every reply is made of bytes that were written into it: memory that comes back from the pool is poisoned under -race.
func TestSEC12StaleMemory(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	write(t, p, id, 0, make([]byte, 60_000))
	stale := []byte{0xA5, 0xA5, 0xA5, 0xA5, 0xA5, 0xA5, 0xA5, 0xA5}
	check := func(what string, m smbtest.Message) {
		if strings.Contains(string(m.Raw), string(stale)) {
			t.Errorf("%s: the reply has stale bytes", what)
		}
	}
	for class := range 0x60 {
		for kind := uint8(0); kind < 5; kind++ {
			for _, n := range []uint32{0, 1, 4, 7, 8, 24, 100, 4096, 65536} {
				p.Send(smbtest.Element{Header: p.Request(wire.CmdQueryInfo, 0), Body: &wire.QueryInfoRequest{
					InfoType: kind, InfoClass: uint8(class), OutputBufferLength: n, FileID: id, AdditionalInfo: 7,
				}})
				m := p.Final()
				check(fmt.Sprintf("type %d class %#x", kind, class), m)
				var resp wire.QueryInfoResponse
				if !m.Status.IsError() && resp.Decode(m.Raw) == nil && len(resp.Buffer) > int(n) {
					t.Errorf("type %d class %#x: %d bytes into %d", kind, class, len(resp.Buffer), n)
				}
			}
		}
	}
	for range 200 {
		p.Send(smbtest.Element{Header: p.Request(wire.CmdRead, 0), Body: &wire.ReadRequest{FileID: id, Length: 65536, Offset: 10}})
		check("READ", p.Final())
	}
}

func TestSEC13Negotiate(t *testing.T) {
	h := newHouse(t, nil)
	p := h.dial()
	p.Negotiate(wire.Dialect311)
	p.Send(smbtest.Element{Header: p.Request(wire.CmdNegotiate, 0), Body: p.NegotiateRequest(wire.Dialect311)})
	if !p.Dropped() {
		t.Error("a second NEGOTIATE")
	}
	p = h.dial()
	p.Send(smbtest.Element{Header: p.Request(wire.CmdEcho, 0), Body: &wire.EchoRequest{}})
	if !p.Dropped() {
		t.Error("a request before NEGOTIATE")
	}
	// Whoever changes NEGOTIATE on the way changes the keys: the final reply does not verify, and no request is taken.
	p = h.dial()
	p.Negotiate(wire.Dialect311, wire.Dialect302)
	p.Preauth.Update([]byte("what the client sent was something else"))
	p.T, p.Blind = quiet{t}, true
	if s := p.Logon("alice", "secret", 0); s != nt.Success {
		t.Fatal(s)
	}
	if s := p.Tree("disk"); s != nt.AccessDenied {
		t.Errorf("after a changed NEGOTIATE: %v", s)
	}
	h.info.Transport = "quic"
	p = h.dial()
	p.Send(smbtest.Element{Header: p.Request(wire.CmdNegotiate, 0), Body: p.NegotiateRequest(wire.Dialect302, wire.Dialect210)})
	if s := p.Final().Status; s != nt.NotSupported {
		t.Errorf("3.0.2 over QUIC: %v", s)
	}
}

// quiet swallows the complaints of a peer that is being fooled.
type quiet struct{ testing.TB }

func (quiet) Error(...any) {}

// Sessions that are set up in turns keep their hashes apart.
func TestSEC13InterleavedSetup(t *testing.T) {
	h := newHouse(t, nil)
	p := h.dial()
	p.Negotiate(wire.Dialect311)
	q := *p
	half := *p
	half.Send(smbtest.Element{Header: half.Request(wire.CmdSessionSetup, 0), Body: &wire.SessionSetupRequest{SecurityBuffer: []byte("NTLMSSP\x00\x01\x00\x00\x00\x15\x82\x08\xe2")}})
	half.Final()
	q.MessageID = half.MessageID
	if s := q.Logon("alice", "secret", 0); s != nt.Success {
		t.Fatal(s)
	}
	if s := q.Tree("disk"); s != nt.Success {
		t.Error(s)
	}
}

// What is not signed as it must be is not done.
func TestSEC20SigningEnforced(t *testing.T) {
	h := newHouse(t, nil)
	canary := h.logon("alice", "disk")
	check := func(what string) {
		t.Helper()
		if s := canary.Do(wire.CmdCreate, smbtest.OpenAs("canary", all, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
			t.Errorf("%s: it was done: %v", what, s)
		}
	}
	create := smbtest.OpenAs("canary", all, wire.FileCreate, 0)
	p := h.logon("alice", "disk")
	signer := p.Signer
	p.Signer = nil
	for cmd, body := range map[wire.Command]smbtest.Body{
		wire.CmdCreate: create, wire.CmdTreeConnect: &wire.TreeConnectRequest{Path: `\\nas.test\disk`}, wire.CmdLogoff: &wire.LogoffRequest{},
		wire.CmdTreeDisconnect: &wire.TreeDisconnectRequest{}, wire.CmdEcho: &wire.EchoRequest{},
	} {
		if s := p.Do(cmd, body, nil); s != nt.AccessDenied {
			t.Errorf("unsigned %v: %v", cmd, s)
		}
	}
	check("unsigned")
	p.Signer, _ = crypt.NewSigner(crypt.AESGMAC, make([]byte, 16))
	p.T = quiet{t}
	h1 := p.Request(wire.CmdCreate, 0)
	msg := p.Encode(smbtest.Element{Header: h1, Body: create})
	p.Signer = signer
	p.SendRaw(msg)
	if s := p.Final().Status; s != nt.AccessDenied {
		t.Errorf("signed with another key: %v", s)
	}
	check("wrong key")
	other, _ := crypt.NewSigner(crypt.AESCMAC, make([]byte, 16))
	hdr := p.Request(wire.CmdCreate, 0)
	hdr.Flags |= wire.FlagSigned
	msg = create.Append(hdr.Append(nil))
	other.Sign(msg)
	p.SendRaw(msg)
	if s := p.Final().Status; s != nt.AccessDenied {
		t.Errorf("signed with another algorithm: %v", s)
	}
	check("wrong algorithm")
	// A compound of which only the last element is not signed.
	e1 := smbtest.Element{Header: p.Request(wire.CmdEcho, 0), Body: &wire.EchoRequest{}}
	e2 := smbtest.Element{Header: p.Request(wire.CmdCreate, 0), Body: create}
	msg = p.Encode(e1, e2)
	next := binary.LittleEndian.Uint32(msg[20:])
	wire.PutFlags(msg[next:], 0)
	p.SendRaw(msg)
	if a, b := p.Final().Status, p.Final().Status; a != nt.Success || b != nt.AccessDenied {
		t.Errorf("last element unsigned: %v, %v", a, b)
	}
	check("last element unsigned")
	// A signed request sent again.
	msg = p.Encode(smbtest.Element{Header: p.Request(wire.CmdEcho, 0), Body: &wire.EchoRequest{}})
	p.SendRaw(msg)
	p.Final()
	p.SendRaw(msg)
	if !p.Dropped() {
		t.Error("a replayed request is answered")
	}
}

// Only its own user, after logging on, replaces a session.
func TestSEC23PreviousSession(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	q := h.dial()
	q.Negotiate(wire.Dialect311)
	if s := q.Logon("bob", "secret", p.SessionID); s != nt.Success {
		t.Fatal(s)
	}
	q = h.dial()
	q.Negotiate(wire.Dialect311)
	if s := q.Logon("alice", "wrong", p.SessionID); s != nt.LogonFailure {
		t.Fatal(s)
	}
	id := p.Open("mine", all, wire.FileCreate, 0)
	q = h.dial()
	q.Negotiate(wire.Dialect311)
	if s := q.Logon("alice", "secret", p.SessionID); s != nt.Success {
		t.Fatal(s)
	}
	p.Signer = nil
	if s := p.Do(wire.CmdClose, &wire.CloseRequest{FileID: id}, nil); s != nt.UserSessionDeleted {
		t.Errorf("the replaced session: %v", s)
	}
}

// No guests, nobody anonymous, and pipes by name from a table only.
func TestSEC25Pipes(t *testing.T) {
	h := newHouse(t, nil)
	for _, who := range [][2]string{{"", ""}, {"guest", ""}, {"alice", ""}, {"nobody", ""}} {
		p := h.dial()
		p.Negotiate(wire.Dialect311)
		if s := p.Logon(who[0], who[1], 0); s != nt.LogonFailure && s != nt.AccessDenied {
			t.Errorf("%q with %q: %v", who[0], who[1], s)
		}
	}
	p := h.logon("alice", "IPC$")
	for _, name := range []string{"lsass", "samr", `..\srvsvc`, "srvsvc/", "", `\srvsvc`, "winreg", "srvsvc:x", "epmapper"} {
		if s := p.Do(wire.CmdCreate, smbtest.OpenAs(name, dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
			t.Errorf("pipe %q: %v", name, s)
		}
	}
	p.Close(p.Open("SrvSvc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0))
	h.info.Pipes = nil
	q := h.logon("alice", "IPC$")
	if s := q.Do(wire.CmdCreate, smbtest.OpenAs("srvsvc", dtyp.FileRead, wire.FileOpen, 0), nil); s != nt.AccessDenied {
		t.Errorf("pipe where there are none: %v", s)
	}
}

// A wrong name and a wrong password look the same.
func TestSEC26StatusOracle(t *testing.T) {
	h := newHouse(t, nil)
	for _, user := range []string{"alice", "nobody"} {
		p := h.dial()
		p.Negotiate(wire.Dialect311)
		if s := p.Logon(user, "wrong", 0); s != nt.LogonFailure {
			t.Errorf("%s: %v", user, s)
		}
	}
}

// A handle is its session's, even on one connection.
func TestSEC32ForeignHandle(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	q := *p
	q.SessionID, q.Signer = 0, nil
	if s := q.Logon("bob", "secret", 0); s != nt.Success {
		t.Fatal(s)
	}
	if s := q.Tree("disk"); s != nt.Success {
		t.Fatal(s)
	}
	if s := q.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 1}, nil); s != nt.FileClosed {
		t.Errorf("bob reads alice's handle: %v", s)
	}
	for _, near := range []wire.FileID{{Persistent: id.Persistent, Volatile: id.Volatile + 1}, {Persistent: id.Persistent + 1, Volatile: id.Volatile}, {}, wire.NoFileID} {
		p.MessageID = q.MessageID
		if s := p.Do(wire.CmdRead, &wire.ReadRequest{FileID: near, Length: 1}, nil); s != nt.FileClosed {
			t.Errorf("a guessed handle: %v", s)
		}
		q.MessageID = p.MessageID
	}
}

// Two listings on one handle at once; names that come and go meanwhile.
func TestSEC36DirectoryState(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	for i := range 200 {
		p.Close(p.Open(fmt.Sprintf("f%03d", i), all, wire.FileCreate, 0))
	}
	dir := p.Open("", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile)
	seen := map[string]int{}
	const inFlight = 8
	req := &wire.QueryDirectoryRequest{FileID: dir, InfoClass: uint8(fscc.FileNamesInformation), Pattern: "*", OutputBufferLength: 256}
	for range inFlight {
		p.Send(smbtest.Element{Header: p.Request(wire.CmdQueryDirectory, 0), Body: req})
	}
	for ended := 0; ended < inFlight; {
		m := p.Final()
		if m.Status == nt.NoMoreFiles {
			ended++
			continue
		}
		var resp wire.QueryDirectoryResponse
		if err := resp.Decode(m.Raw); err != nil {
			t.Fatal(m.Status, err)
		}
		entries, err := fscc.DecodeDir(fscc.FileNamesInformation, resp.Buffer)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			seen[e.Name]++
		}
		p.Send(smbtest.Element{Header: p.Request(wire.CmdQueryDirectory, 0), Body: req})
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s listed %d times", name, n)
		}
	}
	if len(seen) != 202 {
		t.Errorf("%d names", len(seen))
	}
}

func TestSEC39CopyChunk(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	src, dst := p.Open("src", all, wire.FileCreate, 0), p.Open("dst", all, wire.FileCreate, 0)
	data := make([]byte, 60_000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	write(t, p, src, 0, data)
	fsctl := func(p *smbtest.Peer, code uint32, id wire.FileID, in []byte, resp *wire.IoctlResponse) nt.Status {
		return p.Do(wire.CmdIoctl, &wire.IoctlRequest{CtlCode: code, FileID: id, Input: in, MaxOutputResponse: 4096, Flags: wire.IoctlIsFsctl}, resp)
	}
	var out wire.IoctlResponse
	if s := fsctl(p, wire.FsctlSrvRequestResumeKey, src, nil, &out); s != nt.Success {
		t.Fatal(s)
	}
	var key wire.ResumeKeyResponse
	if err := key.Decode(out.Output); err != nil {
		t.Fatal(err)
	}
	chunks := func(list ...wire.CopyChunk) []byte {
		return (&wire.CopyChunkRequest{Source: key.Key, Chunks: list}).Append(nil)
	}
	one := wire.CopyChunk{Length: 60_000}
	if s := fsctl(p, wire.FsctlSrvCopychunk, dst, chunks(one), &out); s != nt.Success {
		t.Fatal(s)
	}
	if got := read(t, p, dst, 0, 60_000); string(got) != string(data) {
		t.Error("the copy differs")
	}
	if s := fsctl(p, wire.FsctlSrvCopychunk, src, chunks(wire.CopyChunk{SrcOffset: 0, DstOffset: 100, Length: 50_000}), &out); s != nt.Success {
		t.Fatal(s)
	}
	if got := read(t, p, src, 100, 50_000); string(got) != string(data[:50_000]) {
		t.Error("an overlapping copy is not what was there before")
	}
	many := make([]wire.CopyChunk, 257)
	for i := range many {
		many[i].Length = 1
	}
	for name, c := range map[string]struct {
		in   []byte
		want nt.Status
	}{
		"too many": {chunks(many...), nt.InvalidParameter}, "too long": {chunks(wire.CopyChunk{Length: 1<<20 + 1}), nt.InvalidParameter},
		"empty": {chunks(wire.CopyChunk{}), nt.InvalidParameter}, "behind the end": {chunks(wire.CopyChunk{SrcOffset: 59_999, Length: 2}), nt.InvalidViewSize},
		"offset wraps": {chunks(wire.CopyChunk{SrcOffset: 1<<64 - 1, Length: 2}), nt.InvalidParameter},
		"no such key":  {make([]byte, 32), nt.ObjectNameNotFound}, "short": {make([]byte, 31), nt.InvalidParameter},
	} {
		if s := fsctl(p, wire.FsctlSrvCopychunk, dst, c.in, nil); s != c.want {
			t.Errorf("%s: %v, want %v", name, s, c.want)
		}
	}
	q := h.logon("alice", "disk") // another session of the same user
	mine := q.Open("dst2", all, wire.FileCreate, 0)
	if s := fsctl(q, wire.FsctlSrvCopychunk, mine, chunks(one), nil); s != nt.ObjectNameNotFound {
		t.Errorf("key of another session: %v", s)
	}
	blind := p.Open("dst", dtyp.FileWrite, wire.FileOpen, 0)
	if s := fsctl(p, wire.FsctlSrvCopychunk, blind, chunks(one), nil); s != nt.AccessDenied {
		t.Errorf("target that may not be read: %v", s)
	}
	if s := fsctl(p, wire.FsctlSrvCopychunkWrite, blind, chunks(one), &out); s != nt.Success {
		t.Errorf("the form for such a target: %v", s)
	}
}

func TestSEC41Credits(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	write(t, p, id, 0, make([]byte, 65536))
	hdr := p.Request(wire.CmdRead, 65536)
	p.Send(smbtest.Element{Header: hdr, Body: &wire.ReadRequest{FileID: id, Length: 65537}})
	if s := p.Final().Status; s != nt.InvalidParameter {
		t.Errorf("a read that its charge does not pay for: %v", s)
	}
	for range 50 { // asking for all there is
		hdr := p.Request(wire.CmdEcho, 0)
		hdr.Credits = 65535
		p.Send(smbtest.Element{Header: hdr, Body: &wire.EchoRequest{}})
		p.Final()
	}
	if p.Credits > 8192 {
		t.Errorf("%d credits", p.Credits)
	}
	for name, id := range map[string]uint64{"used": 0, "far": 1 << 40, "last": 1<<64 - 2, "just outside": p.MessageID + 20_000} {
		p := h.logon("alice", "disk")
		hdr := p.Request(wire.CmdEcho, 0)
		hdr.MessageID = id
		p.Send(smbtest.Element{Header: hdr, Body: &wire.EchoRequest{}})
		if !p.Dropped() {
			t.Errorf("%s MessageId: answered", name)
		}
	}
}

// A client that does not read what it asked for stops being served; others do not notice.
func TestSEC41NeverReads(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	for i := range 16 {
		write(t, p, id, uint64(i)<<16, make([]byte, 65536))
	}
	p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	stuck := make(chan int)
	go func() {
		n := 0
		p.Conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
		for ; n < 1000; n++ {
			hdr := wire.Header{Command: wire.CmdRead, CreditCharge: 1, Credits: 1, MessageID: p.MessageID, SessionID: p.SessionID, TreeID: p.TreeID}
			if p.Credits--; p.Credits < 0 {
				break
			}
			p.MessageID++
			msg := p.Encode(smbtest.Element{Header: hdr, Body: &wire.ReadRequest{FileID: id, Length: 65536}})
			if _, err := p.Conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(msg))), msg...)); err != nil {
				break
			}
		}
		stuck <- n
	}()
	n := <-stuck
	time.Sleep(200 * time.Millisecond)
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("%d requests of a client that does not read hold %d MiB", n, grown>>20)
	}
	q := h.logon("bob", "disk")
	q.Close(q.Open("other", all, wire.FileCreate, 0))
}

// Who says nothing, or too little, is dropped in time; who has a session may be idle.
func TestSEC44Slowloris(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, nil)
		dial := func() (*smbtest.Peer, chan struct{}) {
			client, server := net.Pipe()
			over := make(chan struct{})
			go func() {
				h.server.ServeConn(context.Background(), server, h.info)
				close(over)
			}()
			p := smbtest.New(t, client)
			p.Signing = crypt.AESGMAC
			return p, over
		}
		wait := func(what string, over chan struct{}, start time.Time, limit time.Duration) {
			t.Helper()
			<-over
			if took := time.Since(start); took > limit {
				t.Errorf("%s: dropped after %v", what, took)
			}
		}
		start := time.Now()
		_, over := dial()
		wait("silent", over, start, 10*time.Second)
		start = time.Now()
		p, over := dial()
		p.Negotiate(wire.Dialect311)
		wait("no session", over, start, 45*time.Second)
		start = time.Now()
		trickle, over := dial()
		go func() {
			for { // a byte a second
				if _, err := trickle.Conn.Write([]byte{0}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		wait("a byte a second", over, start, 10*time.Second)
		p, over = dial()
		p.Negotiate(wire.Dialect311)
		if s := p.Logon("alice", "secret", 0); s != nt.Success {
			t.Fatal(s)
		}
		time.Sleep(24 * time.Hour)
		if s := p.Tree("disk"); s != nt.Success {
			t.Errorf("after a day: %v", s)
		}
		start = time.Now()
		p.Conn.Write([]byte{0, 0x10, 0, 0}) // 1 MiB to come
		go func() {
			for {
				if _, err := p.Conn.Write(make([]byte, 100)); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		wait("slow within a frame", over, start, 31*time.Second)
	})
}

// A panic costs its connection, is counted, and leaves nothing locked.
func TestCrashContainment(t *testing.T) {
	h := newHouse(t, func(cfg *smb.Config) {
		cfg.Shares[0].Volume = explosive{cfg.Shares[0].Volume}
	})
	p, q := h.logon("alice", "disk"), h.logon("bob", "disk")
	safe := q.Open("safe", all, wire.FileCreate, 0)
	p.Send(smbtest.Element{Header: p.Request(wire.CmdCreate, 0), Body: smbtest.OpenAs("bomb", all, wire.FileCreate, 0)})
	if !p.Dropped() {
		t.Error("the connection survived")
	}
	if n := h.server.Stats().Panics; n != 1 {
		t.Errorf("%d panics counted", n)
	}
	write(t, q, safe, 0, []byte("still here"))
	q.Close(safe)
	h.panics = 1
}

// Concurrent use of one handle under -race: reads, writes, queries and a close in the middle.
func TestConcurrentHandle(t *testing.T) {
	h := newHouse(t, nil)
	for range 10 {
		p := h.logon("alice", "disk")
		id := p.Open("file", all, wire.FileOpenIf, 0)
		write(t, p, id, 0, make([]byte, 1000))
		var wg sync.WaitGroup
		n := 0
		for i := range 40 {
			var e smbtest.Element
			switch i % 4 {
			case 0:
				e = smbtest.Element{Header: p.Request(wire.CmdRead, 0), Body: &wire.ReadRequest{FileID: id, Length: 1000}}
			case 1:
				e = smbtest.Element{Header: p.Request(wire.CmdWrite, 0), Body: &wire.WriteRequest{FileID: id, Data: make([]byte, 1000)}}
			case 2:
				e = smbtest.Element{Header: p.Request(wire.CmdQueryInfo, 0), Body: &wire.QueryInfoRequest{FileID: id, InfoType: 1, InfoClass: uint8(fscc.FileAllInformation), OutputBufferLength: 4096}}
			case 3:
				e = smbtest.Element{Header: p.Request(wire.CmdFlush, 0), Body: &wire.FlushRequest{FileID: id}}
			}
			if i == 30 {
				e = smbtest.Element{Header: p.Request(wire.CmdClose, 0), Body: &wire.CloseRequest{FileID: id}}
			}
			p.Send(e)
			n++
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range n {
				if s := p.Final().Status; s != nt.Success && s != nt.FileClosed {
					t.Errorf("%v", s)
				}
			}
		}()
		wg.Wait()
	}
}

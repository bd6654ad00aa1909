package smb_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/crypt"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

// accounts has alice, bob and reader, each with the password secret.
type accounts struct{}

func (accounts) Lookup(_ context.Context, user, _ string) ([16]byte, auth.Identity, error) {
	rid := map[string]uint32{"alice": 1000, "bob": 1001, "reader": 1002}[strings.ToLower(user)]
	if rid == 0 {
		return [16]byte{}, auth.Identity{}, fmt.Errorf("no user %q", user)
	}
	return ntlm.NTHash("secret"), auth.Identity{User: strings.ToLower(user), SID: dtyp.NewSID(5, 21, 1, 2, 3, rid)}, nil
}

// rights: reader only reads, bob does not see "private".
func rights(share string) func(*auth.Identity) dtyp.Access {
	return func(id *auth.Identity) dtyp.Access {
		switch {
		case share == "private" && id.User == "bob":
			return 0
		case id.User == "reader":
			return dtyp.FileRead | dtyp.FileExecute
		}
		return dtyp.FileAll
	}
}

type house struct {
	t      *testing.T
	server *smb.Server
	info   smb.ConnInfo
	panics uint64 // that the test provokes
}

func newHouse(t *testing.T, change func(*smb.Config)) *house {
	t.Helper()
	cfg := smb.Config{
		Name: "NAS", GUID: dtyp.GUID{9},
		Mechanisms: []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", DNSName: "nas.test", Accounts: accounts{}})},
	}
	for _, name := range []string{"disk", "private", "sealed"} {
		cfg.Shares = append(cfg.Shares, smb.Share{Name: name, Volume: memfs.New(), Rights: rights(name), Encrypt: name == "sealed"})
	}
	if change != nil {
		change(&cfg)
	}
	s, err := smb.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, server: s, info: smb.ConnInfo{ID: "1", Transport: "tcp", Pipes: smb.AllPipes.Always, Multichannel: true}}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if st := s.Stats(); st.Opens != 0 || st.Sessions != 0 || st.Connections != 0 || st.Panics != h.panics {
			t.Errorf("left behind: %+v", st)
		}
	})
	return h
}

// dial connects a peer over loopback TCP.
func (h *house) dial() *smbtest.Peer {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		h.t.Fatal(err)
	}
	go h.server.ServeConn(context.Background(), server, h.info)
	h.t.Cleanup(func() { client.Close() })
	p := smbtest.New(h.t, client)
	p.Signing = crypt.AESGMAC
	return p
}

// logon is dial, NEGOTIATE, SESSION_SETUP and TREE_CONNECT.
func (h *house) logon(user, share string, dialects ...uint16) *smbtest.Peer {
	h.t.Helper()
	p := h.dial()
	if len(dialects) == 0 {
		dialects = []uint16{wire.Dialect311}
	}
	p.Negotiate(dialects...)
	if s := p.Logon(user, "secret", 0); s != nt.Success {
		h.t.Fatalf("logon: %v", s)
	}
	if s := p.Tree(share); s != nt.Success {
		h.t.Fatalf("tree connect: %v", s)
	}
	return p
}

// explosive is a Volume with a bug.
type explosive struct{ vfs.Volume }

func (e explosive) Open(ctx context.Context, p vfs.Path, how vfs.How) (vfs.File, vfs.Action, error) {
	if p.Base() == "bomb" {
		panic("bomb")
	}
	return e.Volume.Open(ctx, p, how)
}

const all = dtyp.FileAll

func write(t *testing.T, p *smbtest.Peer, id wire.FileID, off uint64, data []byte) {
	t.Helper()
	var resp wire.WriteResponse
	if s := p.DoCharged(wire.CmdWrite, len(data), &wire.WriteRequest{FileID: id, Offset: off, Data: data}, &resp); s != nt.Success || int(resp.Count) != len(data) {
		t.Fatalf("WRITE: %v, %d of %d", s, resp.Count, len(data))
	}
}

func read(t *testing.T, p *smbtest.Peer, id wire.FileID, off uint64, n int) []byte {
	t.Helper()
	var resp wire.ReadResponse
	if s := p.DoCharged(wire.CmdRead, n, &wire.ReadRequest{FileID: id, Offset: off, Length: uint32(n)}, &resp); s != nt.Success {
		t.Fatalf("READ: %v", s)
	}
	return resp.Data
}

// The main job, in every dialect, signed with every algorithm and sealed with every cipher.
func TestReadWrite(t *testing.T) {
	h := newHouse(t, nil)
	type way struct {
		name    string
		dialect uint16
		signing crypt.SigningAlg
		cipher  crypt.Cipher
		seal    bool
	}
	ways := []way{
		{"2.0.2", wire.Dialect202, 0, 0, false},
		{"2.1", wire.Dialect210, 0, 0, false},
		{"3.0", wire.Dialect300, 0, 0, false},
		{"3.0 sealed", wire.Dialect300, 0, 0, true},
		{"3.0.2 sealed", wire.Dialect302, 0, 0, true},
		{"3.1.1 HMAC", wire.Dialect311, crypt.HMACSHA256, 0, false},
		{"3.1.1 CMAC", wire.Dialect311, crypt.AESCMAC, 0, false},
		{"3.1.1 GMAC", wire.Dialect311, crypt.AESGMAC, 0, false},
	}
	for _, c := range []crypt.Cipher{crypt.AES128CCM, crypt.AES128GCM, crypt.AES256CCM, crypt.AES256GCM} {
		ways = append(ways, way{"3.1.1 " + c.String(), wire.Dialect311, crypt.AESGMAC, c, true})
	}
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			p := h.dial()
			p.T, p.Signing, p.Cipher = t, w.signing, w.cipher
			if got := p.Negotiate(w.dialect); got.Dialect != w.dialect {
				t.Fatalf("dialect %#x", got.Dialect)
			}
			if s := p.Logon("alice", "secret", 0); s != nt.Success {
				t.Fatal(s)
			}
			p.Seal = w.seal
			if s := p.Tree("disk"); s != nt.Success {
				t.Fatal(s)
			}
			size := 1 << 20
			if w.dialect == wire.Dialect202 {
				size = 1 << 16
			} else {
				p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil) // for credits
			}
			data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
			id := p.Open("file "+w.name, all, wire.FileOpenIf, 0)
			write(t, p, id, 3, data)
			if got := read(t, p, id, 3, size); !bytes.Equal(got, data) {
				t.Errorf("read %d bytes, not what was written", len(got))
			}
			if got := read(t, p, id, uint64(size), 100); string(got) != "def" {
				t.Errorf("read at the end: %q", got)
			}
			if s := p.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Offset: uint64(size) + 3, Length: 1}, nil); s != nt.EndOfFile {
				t.Errorf("read behind the end: %v", s)
			}
			if s := p.Do(wire.CmdFlush, &wire.FlushRequest{FileID: id}, nil); s != nt.Success {
				t.Errorf("FLUSH: %v", s)
			}
			p.Close(id)
			if s := p.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 1}, nil); s != nt.FileClosed {
				t.Errorf("read of a closed file: %v", s)
			}
			if s := p.Do(wire.CmdTreeDisconnect, &wire.TreeDisconnectRequest{}, nil); s != nt.Success {
				t.Errorf("TREE_DISCONNECT: %v", s)
			}
			if s := p.Do(wire.CmdLogoff, &wire.LogoffRequest{}, nil); s != nt.Success {
				t.Errorf("LOGOFF: %v", s)
			}
			if w.seal {
				return // a message sealed for a session that is gone ends the connection
			}
			if s := p.Do(wire.CmdEcho, &wire.EchoRequest{}, nil); s != nt.Success {
				t.Errorf("ECHO after LOGOFF: %v", s)
			}
		})
	}
}

func TestListDirectory(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	for i := range 50 {
		p.Close(p.Open(fmt.Sprintf("File%02d.TXT", i), all, wire.FileCreate, 0))
	}
	dir := p.Open("", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile)
	list := func(pattern string, flags uint8, class fscc.FileClass, size uint32) ([]string, nt.Status) {
		var names []string
		for {
			var resp wire.QueryDirectoryResponse
			s := p.Do(wire.CmdQueryDirectory, &wire.QueryDirectoryRequest{
				FileID: dir, InfoClass: uint8(class), Pattern: pattern, Flags: flags, OutputBufferLength: size,
			}, &resp)
			if s != nt.Success {
				return names, s
			}
			entries, err := fscc.DecodeDir(class, resp.Buffer)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				names = append(names, e.Name)
			}
			flags &^= wire.QueryRestartScans | wire.QueryReopen
		}
	}
	for _, class := range []fscc.FileClass{
		fscc.FileDirectoryInformation, fscc.FileFullDirectoryInformation, fscc.FileBothDirectoryInformation, fscc.FileNamesInformation,
		fscc.FileIdBothDirectoryInformation, fscc.FileIdFullDirectoryInformation, fscc.FileIdExtdDirectoryInformation,
		fscc.FileId64ExtdDirectoryInformation, fscc.FileId64ExtdBothDirInformation, fscc.FileIdAllExtdDirectoryInformation, fscc.FileIdAllExtdBothDirInformation,
	} {
		for _, size := range []uint32{65536, 700} {
			names, s := list("*", wire.QueryReopen, class, size)
			if len(names) != 52 || s != nt.NoMoreFiles || names[0] != "." || names[1] != ".." {
				t.Errorf("%v into %d: %d names, then %v", class, size, len(names), s)
			}
		}
	}
	const class = fscc.FileIdBothDirectoryInformation
	if names, s := list("file1?.txt", wire.QueryRestartScans, class, 65536); len(names) != 10 || s != nt.NoMoreFiles {
		t.Errorf("pattern: %d names, %v", len(names), s)
	}
	if names, s := list("*.jpg", wire.QueryReopen, class, 65536); len(names) != 0 || s != nt.NoSuchFile {
		t.Errorf("no match: %d names, %v", len(names), s)
	}
	if _, s := list("", 0, class, 65536); s != nt.NoMoreFiles {
		t.Errorf("again after no match: %v", s)
	}
	if names, s := list("*", wire.QueryReopen|wire.QueryReturnSingleEntry, class, 65536); len(names) != 52 || s != nt.NoMoreFiles {
		t.Errorf("one at a time: %d names, %v", len(names), s)
	}
	for _, bad := range []struct {
		class fscc.FileClass
		size  uint32
		want  nt.Status
	}{{class, 10, nt.InfoLengthMismatch}, {0x77, 1000, nt.InvalidInfoClass}, {class, 105, nt.InfoLengthMismatch}, {class, 1 << 20, nt.InvalidParameter}} {
		if _, s := list("File*", wire.QueryReopen, bad.class, bad.size); s != bad.want {
			t.Errorf("class %#x into %d: %v, want %v", bad.class, bad.size, s, bad.want)
		}
	}
}

func TestDispositions(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	names := []string{"supersede", "open", "create", "openif", "overwrite", "overwriteif"}
	for d, want := range []struct {
		missing, there nt.Status
		made, found    uint32
		emptied        bool
	}{
		{0, 0, wire.FileCreated, wire.FileSuperseded, true},
		{nt.ObjectNameNotFound, 0, 0, wire.FileOpened, false},
		{0, nt.ObjectNameCollision, wire.FileCreated, 0, false},
		{0, 0, wire.FileCreated, wire.FileOpened, false},
		{nt.ObjectNameNotFound, 0, 0, wire.FileOverwritten, true},
		{0, 0, wire.FileCreated, wire.FileOverwritten, true},
	} {
		var resp wire.CreateResponse
		if s := p.Do(wire.CmdCreate, smbtest.OpenAs(names[d], all, uint32(d), 0), &resp); s != want.missing {
			t.Errorf("%s of a missing file: %v", names[d], s)
		} else if s == nt.Success {
			if resp.Action != want.made {
				t.Errorf("%s: action %d", names[d], resp.Action)
			}
			p.Close(resp.FileID)
		}
		id := p.Open(names[d], all, wire.FileOpenIf, 0)
		write(t, p, id, 0, []byte("contents"))
		p.Close(id)
		if s := p.Do(wire.CmdCreate, smbtest.OpenAs(strings.ToUpper(names[d]), all, uint32(d), 0), &resp); s != want.there {
			t.Errorf("%s of a file: %v", names[d], s)
		} else if s == nt.Success {
			if resp.Action != want.found || (resp.EndOfFile == 0) != want.emptied {
				t.Errorf("%s: action %d, %d bytes", names[d], resp.Action, resp.EndOfFile)
			}
			p.Close(resp.FileID)
		}
	}
}

func TestDeleteOnClose(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("gone", all, wire.FileCreate, wire.FileDeleteOnClose)
	other := p.Open("gone", dtyp.FileRead, wire.FileOpen, 0)
	p.Close(id)
	if s := p.Do(wire.CmdCreate, smbtest.OpenAs("gone", all, wire.FileOpen, 0), nil); s != nt.DeletePending {
		t.Errorf("open of a file that is going: %v", s)
	}
	p.Close(other)
	if s := p.Do(wire.CmdCreate, smbtest.OpenAs("gone", all, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
		t.Errorf("open of a file that is gone: %v", s)
	}
	dir := p.Open("dir", all, wire.FileCreate, wire.FileDirectoryFile)
	file := p.Open(`dir\file`, all, wire.FileCreate, 0)
	set := &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileDispositionInformation), FileID: dir, Buffer: []byte{1}}
	if s := p.Do(wire.CmdSetInfo, set, nil); s != nt.DirectoryNotEmpty {
		t.Errorf("deleting a directory with a file: %v", s)
	}
	rename := fscc.RenameInfo{Name: "elsewhere"}
	move := &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileRenameInformation), FileID: dir, Buffer: rename.Append(nil)}
	if s := p.Do(wire.CmdSetInfo, move, nil); s != nt.AccessDenied {
		t.Errorf("renaming a directory with an open file: %v", s)
	}
	p.Close(file)
	if s := p.Do(wire.CmdSetInfo, move, nil); s != nt.Success {
		t.Errorf("renaming a directory: %v", s)
	}
	p.Close(p.Open(`elsewhere\FILE`, all, wire.FileOpen, wire.FileDeleteOnClose))
	if s := p.Do(wire.CmdSetInfo, set, nil); s != nt.Success {
		t.Errorf("deleting an empty directory: %v", s)
	}
	p.Close(dir)
	if s := p.Do(wire.CmdCreate, smbtest.OpenAs("elsewhere", all, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
		t.Errorf("open of a directory that is gone: %v", s)
	}
}

func TestShareModes(t *testing.T) {
	h := newHouse(t, nil)
	p, q := h.logon("alice", "disk"), h.logon("bob", "disk")
	id := p.Open("file", dtyp.FileRead, wire.FileCreate, 0)
	alone := smbtest.OpenAs("FILE", dtyp.FileWrite, wire.FileOpen, 0)
	alone.ShareAccess = 0
	if s := q.Do(wire.CmdCreate, alone, nil); s != nt.SharingViolation {
		t.Errorf("second opener shares nothing: %v", s)
	}
	p.Close(id)
	id = q.Open("file", dtyp.FileWrite, wire.FileOpen, 0)
	q.Conn.Close() // a lost connection gives its opens up
	deadline := time.Now().Add(5 * time.Second)
	for {
		s := p.Do(wire.CmdCreate, alone, nil)
		if s == nt.Success {
			break
		}
		if s != nt.SharingViolation || time.Now().After(deadline) {
			t.Fatalf("after the connection was lost: %v", s)
		}
		time.Sleep(5 * time.Millisecond)
	}
	_ = id
}

func TestRights(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	write(t, p, id, 0, []byte("x"))
	p.Close(id)
	r := h.logon("reader", "disk")
	for _, c := range []struct {
		access      dtyp.Access
		disposition uint32
		name        string
		want        nt.Status
	}{
		{dtyp.FileRead, wire.FileOpen, "file", nt.Success},
		{dtyp.MaximumAllowed, wire.FileOpen, "file", nt.Success},
		{dtyp.WriteData, wire.FileOpen, "file", nt.AccessDenied},
		{dtyp.Delete, wire.FileOpen, "file", nt.AccessDenied},
		{dtyp.GenericAll, wire.FileOpen, "file", nt.AccessDenied},
		{dtyp.FileRead, wire.FileOverwriteIf, "file", nt.AccessDenied},
		{dtyp.FileRead, wire.FileCreate, "new", nt.AccessDenied},
		{dtyp.FileRead, wire.FileOpenIf, "new", nt.ObjectNameNotFound},
		{dtyp.WriteAttributes, wire.FileOpen, "file", nt.AccessDenied},
		{dtyp.SystemSecurity, wire.FileOpen, "file", nt.PrivilegeNotHeld},
	} {
		if s := r.Do(wire.CmdCreate, smbtest.OpenAs(c.name, c.access, c.disposition, 0), nil); s != c.want {
			t.Errorf("reader: %#x, disposition %d: %v, want %v", uint32(c.access), c.disposition, s, c.want)
		}
	}
	if s := h.logon("bob", "disk").Tree("private"); s != nt.AccessDenied {
		t.Errorf("bob in private: %v", s)
	}
	if s := p.Tree("nothing"); s != nt.BadNetworkName {
		t.Errorf("unknown share: %v", s)
	}
}

func TestEncryptedShare(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "sealed")
	if s := p.Do(wire.CmdCreate, smbtest.OpenAs("x", all, wire.FileCreate, 0), nil); s != nt.AccessDenied {
		t.Errorf("plain request in a share that wants sealed ones: %v", s)
	}
	p.Seal = true
	p.Close(p.Open("x", all, wire.FileCreate, 0))
	old := h.dial()
	old.Negotiate(wire.Dialect210)
	old.Logon("alice", "secret", 0)
	if s := old.Tree("sealed"); s != nt.AccessDenied {
		t.Errorf("a client without encryption: %v", s)
	}
	// A secure transport stands in for it if the client agrees.
	h.info.Secure, h.info.Transport = true, "quic"
	q := h.dial()
	q.Transport = wire.TransportSecurity
	q.Negotiate(wire.Dialect311)
	q.Logon("alice", "secret", 0)
	if s := q.Tree("sealed"); s != nt.Success {
		t.Fatal(s)
	}
	q.Close(q.Open("x", all, wire.FileOpen, 0))
	f := h.logon("alice", "sealed") // forced: no context sent
	if s := f.Do(wire.CmdCreate, smbtest.OpenAs("x", all, wire.FileOpen, 0), nil); s != nt.AccessDenied {
		t.Errorf("client did not agree, request came plain: %v", s)
	}
}

func TestMultiProtocol(t *testing.T) {
	h := newHouse(t, nil)
	p := h.dial()
	p.SendRaw(wire.AppendSMB1Negotiate(nil, "NT LM 0.12", wire.SMB1Dialect202, wire.SMB1DialectWild))
	m := p.Final()
	var resp wire.NegotiateResponse
	if err := resp.Decode(m.Raw); err != nil || resp.Dialect != wire.DialectWild {
		t.Fatalf("%v, dialect %#x", err, resp.Dialect)
	}
	p.MessageID = 1
	if got := p.Negotiate(wire.Dialect202, wire.Dialect311); got.Dialect != wire.Dialect311 {
		t.Errorf("dialect %#x", got.Dialect)
	}
	if s := p.Logon("alice", "secret", 0); s != nt.Success {
		t.Error(s)
	}
	p = h.dial()
	p.SendRaw(wire.AppendSMB1Negotiate(nil, "NT LM 0.12", wire.SMB1Dialect202))
	p.Final()
	p.MessageID, p.Dialect, p.Signing = 1, wire.Dialect202, crypt.HMACSHA256
	if s := p.Logon("alice", "secret", 0); s != nt.Success {
		t.Errorf("2.002: %v", s)
	}
	p = h.dial()
	p.SendRaw(wire.AppendSMB1Negotiate(nil, "NT LM 0.12"))
	if !p.Dropped() {
		t.Error("SMB1 alone is answered")
	}
}

package smb_test

import (
	"slices"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs/osfs"
	"github.com/postern-nas/postern/smb/wire"
)

// posixPeer is a client that knows the POSIX extensions, on share; data is that of its negotiate context.
func posixPeer(h *house, user, share string, data []byte) (*smbtest.Peer, *wire.NegotiateResponse) {
	h.t.Helper()
	p := h.dial()
	p.POSIX = data
	resp := p.Negotiate(wire.Dialect311)
	if s := p.Logon(user, "secret", 0); s != nt.Success {
		h.t.Fatal(s)
	}
	if s := p.Tree(share); s != nt.Success {
		h.t.Fatal(s)
	}
	return p, resp
}

func posixHouse(t *testing.T) *house {
	return newHouse(t, func(c *smb.Config) {
		v, err := osfs.New(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { v.Close() })
		c.Shares = append(c.Shares, smb.Share{Name: "linux", Volume: v, Rights: rights("linux"), POSIX: true})
	})
}

// posixOpen is a CREATE with the POSIX context.
func posixOpen(p *smbtest.Peer, name string, access dtyp.Access, disposition, options, mode uint32) (wire.FileID, *fscc.POSIXObject, nt.Status) {
	p.T.Helper()
	req := smbtest.OpenAs(name, access, disposition, options)
	req.Contexts = []wire.CreateContext{{Name: wire.CreatePOSIX, Data: (&wire.POSIXRequest{Mode: mode}).Append(nil)}}
	var resp wire.CreateResponse
	s := p.Do(wire.CmdCreate, req, &resp)
	for _, ctx := range resp.Contexts {
		if ctx.Name == wire.CreatePOSIX {
			o := new(fscc.POSIXObject)
			if err := o.Decode(ctx.Data); err != nil {
				p.T.Fatal(err)
			}
			return resp.FileID, o, s
		}
	}
	return resp.FileID, nil, s
}

func mustPOSIX(p *smbtest.Peer, name string, access dtyp.Access, disposition, options, mode uint32) (wire.FileID, fscc.POSIXObject) {
	p.T.Helper()
	id, o, s := posixOpen(p, name, access, disposition, options, mode)
	if s != nt.Success || o == nil {
		p.T.Fatalf("%q: %v, %v", name, s, o)
	}
	return id, *o
}

func TestPOSIXNegotiate(t *testing.T) {
	h := posixHouse(t)
	tag := []byte(wire.CreatePOSIX)
	agreed := func(resp *wire.NegotiateResponse) bool {
		return slices.ContainsFunc(resp.Contexts, func(c wire.NegotiateContext) bool {
			return c.Type == wire.ContextPOSIX && string(c.Data) == wire.CreatePOSIX
		})
	}
	for _, c := range []struct {
		name string
		data []byte
		want bool
	}{
		{"known", tag, true},
		{"second", append([]byte("0123456789abcdef"), tag...), true},
		{"unknown", []byte("0123456789abcdef"), false},
		{"not asked", nil, false},
	} {
		p, resp := posixPeer(h, "alice", "linux", c.data)
		if agreed(resp) != c.want {
			t.Errorf("%s: agreed on: %v", c.name, !c.want)
		}
		// Without it the create context is one that the server does not know.
		_, o, s := posixOpen(p, "", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile, 0)
		if s != nt.Success || (o != nil) != c.want {
			t.Errorf("%s: %v, %v", c.name, s, o)
		}
		p.Conn.Close()
	}
	p := h.dial()
	p.POSIX = []byte("01234")
	if s := p.Do(wire.CmdNegotiate, p.NegotiateRequest(wire.Dialect311), nil); s != nt.InvalidParameter {
		t.Errorf("a context of 5 bytes: %v", s)
	}
	// In a share without them, and on a server without such shares, they are not there.
	p, _ = posixPeer(h, "alice", "disk", tag)
	if _, o, s := posixOpen(p, "", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile, 0); s != nt.Success || o != nil {
		t.Errorf("another share: %v, %v", s, o)
	}
	if _, resp := posixPeer(newHouse(t, nil), "alice", "disk", tag); agreed(resp) {
		t.Error("agreed on without a share that has them")
	}
}

func TestPOSIXOpens(t *testing.T) {
	h := posixHouse(t)
	p, _ := posixPeer(h, "alice", "linux", []byte(wire.CreatePOSIX))
	alice := dtyp.NewSID(5, 21, 1, 2, 3, 1000)

	dir, o := mustPOSIX(p, "dir", all, wire.FileCreate, wire.FileDirectoryFile, 0o4751)
	if o.Mode != fscc.POSIXDirectory|0o751 || o.Owner != alice {
		t.Errorf("directory: %+v", o)
	}
	lower, o := mustPOSIX(p, `dir/a:b\?`, all, wire.FileCreate, 0, 0o640)
	if o.Mode != fscc.POSIXFile|0o640 || o.Links != 1 || o.ReparseTag != 0 || o.Owner != alice || o.Group != dtyp.BuiltinUsers {
		t.Errorf("file: %+v", o)
	}
	write(t, p, lower, 0, []byte("lower"))
	upper, _ := mustPOSIX(p, `dir/A:B\?`, all, wire.FileOpenIf, 0, 0o600)
	write(t, p, upper, 0, []byte("UPPER"))
	if got := read(t, p, lower, 0, 5); string(got) != "lower" {
		t.Errorf("two names that differ in case are one file: %q", got)
	}
	for name, want := range map[string]nt.Status{
		`dir/a:B\?`: nt.ObjectNameNotFound, `DIR/a:b\?`: nt.ObjectPathNotFound, "/dir": nt.InvalidParameter, "dir//x": nt.ObjectNameInvalid,
		"dir/..": nt.ObjectNameInvalid,
	} {
		if _, _, s := posixOpen(p, name, all, wire.FileOpen, 0, 0); s != want {
			t.Errorf("%q: %v, want %v", name, s, want)
		}
	}
	// Other opens see the same files under names they can have.
	p.Close(p.Open("DIR\\a\uf03ab\uf05c\uf03f", all, wire.FileOpen, 0))

	// The file class.
	var q wire.QueryInfoResponse
	query := func(id wire.FileID, kind uint8, class uint8, size uint32) nt.Status {
		return p.Do(wire.CmdQueryInfo, &wire.QueryInfoRequest{FileID: id, InfoType: kind, InfoClass: class, OutputBufferLength: size}, &q)
	}
	posix := uint8(fscc.FilePosixInformation)
	var info fscc.POSIXInfo
	if s := query(lower, wire.InfoFile, posix, 1000); s != nt.Success || info.Decode(q.Buffer) != nil {
		t.Fatalf("%v, % x", s, q.Buffer)
	}
	if info.EndOfFile != 5 || info.Inode == 0 || info.Mode != 0o640 || info.Links != 1 || info.LastWrite == 0 {
		t.Errorf("%+v", info)
	}
	if s := query(lower, wire.InfoFile, posix, 95); s != nt.InfoLengthMismatch {
		t.Errorf("into 95 bytes: %v", s)
	}
	blind, _ := mustPOSIX(p, "dir", dtyp.Synchronize, wire.FileOpen, 0, 0)
	if s := query(blind, wire.InfoFile, posix, 1000); s != nt.AccessDenied {
		t.Errorf("without the right to read attributes: %v", s)
	}
	var fs fscc.FSPOSIXInfo
	if s := query(dir, wire.InfoFileSystem, uint8(fscc.FileFsPosixInformation), 56); s != nt.Success || fs.Decode(q.Buffer) != nil || fs.BlockSize == 0 || fs.Blocks < fs.Free {
		t.Errorf("filesystem: %v, %+v", s, fs)
	}

	// The directory class, in pieces.
	list := func(size uint32) (names []string, s nt.Status) {
		for restart := wire.QueryRestartScans; ; restart = 0 {
			var d wire.QueryDirectoryResponse
			req := &wire.QueryDirectoryRequest{FileID: dir, InfoClass: posix, Pattern: "*", Flags: restart, OutputBufferLength: size}
			if s = p.Do(wire.CmdQueryDirectory, req, &d); s != nt.Success {
				return names, s
			}
			entries, err := fscc.DecodePOSIXDir(d.Buffer)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				names = append(names, e.Name)
				if e.Name == `a:b\?` && (e.Mode != 0o640 || e.Owner != alice || e.EndOfFile != 5 || e.Inode != info.Inode) {
					t.Errorf("%+v", e)
				}
				if e.Name == ".." && e.Inode == 0 {
					t.Errorf("nothing is told of the share's root: %+v", e)
				}
			}
		}
	}
	for _, size := range []uint32{4096, 170} {
		names, s := list(size)
		slices.Sort(names)
		if want := []string{".", "..", `A:B\?`, `a:b\?`}; s != nt.NoMoreFiles || !slices.Equal(names, want) {
			t.Errorf("listed %q, %v", names, s)
		}
	}
	if _, s := list(107); s != nt.InfoLengthMismatch {
		t.Errorf("into 107 bytes: %v", s)
	}
	// What lies above a share is nobody's.
	dir, _ = mustPOSIX(p, "", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile, 0)
	var d wire.QueryDirectoryResponse
	p.Do(wire.CmdQueryDirectory, &wire.QueryDirectoryRequest{FileID: dir, InfoClass: posix, Pattern: "*", OutputBufferLength: 4096}, &d)
	for e := range slices.Values(must(fscc.DecodePOSIXDir(d.Buffer))) {
		if e.Name == ".." && (e.Inode != 0 || e.Device != 0 || e.Owner != dtyp.NewSID(0, 0) || e.Group != e.Owner) {
			t.Errorf("above the share: %+v", e)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Renames of POSIX opens are with regard to case, too.
func TestPOSIXRename(t *testing.T) {
	h := posixHouse(t)
	p, _ := posixPeer(h, "alice", "linux", []byte(wire.CreatePOSIX))
	a, _ := mustPOSIX(p, "a", all, wire.FileCreate, 0, 0o600)
	b, _ := mustPOSIX(p, "readme", all, wire.FileCreate, 0, 0o600)
	write(t, p, b, 0, []byte("stays"))
	rename := func(id wire.FileID, to string) nt.Status {
		return p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{
			FileID: id, InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileRenameInformation),
			Buffer: fscc.RenameInfo{Name: to, Flags: fscc.RenameReplace}.Append(nil),
		}, nil)
	}
	for _, to := range []string{"README", "x:y", "README"} {
		if s := rename(a, to); s != nt.Success {
			t.Fatalf("to %q: %v", to, s)
		}
		id, _ := mustPOSIX(p, to, all, wire.FileOpen, 0, 0)
		p.Close(id)
	}
	if got := read(t, p, b, 0, 5); string(got) != "stays" {
		t.Errorf("%q", got)
	}
	id, _ := mustPOSIX(p, "readme", all, wire.FileOpen, 0, 0)
	p.Close(id)
}

// A DACL with an ACE for a mode's SID is a change of mode, and no other; who may not change the DACL may not.
func TestSEC40POSIXMode(t *testing.T) {
	h := posixHouse(t)
	p, _ := posixPeer(h, "alice", "linux", []byte(wire.CreatePOSIX))
	id, _ := mustPOSIX(p, "f", all, wire.FileCreate, 0, 0o600)
	sd := &dtyp.SecurityDescriptor{Control: dtyp.DACLPresent, DACL: &dtyp.ACL{Revision: 2, ACEs: []dtyp.ACE{
		{Type: dtyp.AccessDenied, SID: dtyp.NewSID(5, 88, 3, 0o6754)},
		{Type: dtyp.AccessAllowed, Mask: dtyp.FileAll, SID: dtyp.Everyone},
	}}}
	body := must(sd.Append(nil))
	dacl := func(id wire.FileID) []byte {
		var q wire.QueryInfoResponse
		req := &wire.QueryInfoRequest{FileID: id, InfoType: wire.InfoSecurity, AdditionalInfo: wire.SecurityDACL, OutputBufferLength: 1000}
		if s := p.Do(wire.CmdQueryInfo, req, &q); s != nt.Success {
			t.Fatal(s)
		}
		return q.Buffer
	}
	set := func(id wire.FileID) nt.Status {
		req := &wire.SetInfoRequest{FileID: id, InfoType: wire.InfoSecurity, AdditionalInfo: wire.SecurityDACL, Buffer: body}
		return p.Do(wire.CmdSetInfo, req, nil)
	}
	before := dacl(id)
	weak, _ := mustPOSIX(p, "f", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0, 0)
	if s := set(weak); s != nt.AccessDenied {
		t.Errorf("without the right to change the DACL: %v", s)
	}
	if s := set(id); s != nt.Success {
		t.Fatal(s)
	}
	again, o := mustPOSIX(p, "f", all, wire.FileOpen, 0, 0)
	if o.Mode != 0o754 {
		t.Errorf("mode %#o", o.Mode)
	}
	if after := dacl(again); string(after) != string(before) {
		t.Errorf("the DACL has changed: % x", after)
	}
	// On any other open it is a DACL like others.
	plain := p.Open("f", all, wire.FileOpen, 0)
	if s := set(plain); s != nt.Success {
		t.Fatal(s)
	}
	if after := dacl(plain); string(after) == string(before) {
		t.Error("the DACL has not changed")
	}
}

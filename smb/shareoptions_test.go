package smb_test

import (
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// entries lists a directory.
func entries(t *testing.T, p *smbtest.Peer, dir, pattern string) map[string]fscc.DirEntry {
	t.Helper()
	const class = fscc.FileIdBothDirectoryInformation
	id := p.Open(dir, dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile)
	defer p.Close(id)
	all := map[string]fscc.DirEntry{}
	for {
		var resp wire.QueryDirectoryResponse
		req := &wire.QueryDirectoryRequest{InfoClass: uint8(class), FileID: id, Pattern: pattern, OutputBufferLength: 1000}
		s := p.Do(wire.CmdQueryDirectory, req, &resp)
		if s == nt.NoMoreFiles || s == nt.NoSuchFile {
			return all
		}
		if s != nt.Success {
			t.Fatal(s)
		}
		list, err := fscc.DecodeDir(class, resp.Buffer)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			all[e.Name] = e
		}
	}
}

// basic is what FileBasicInformation says of an open.
func basic(t *testing.T, p *smbtest.Peer, id wire.FileID) (b fscc.BasicInfo) {
	t.Helper()
	var resp wire.QueryInfoResponse
	req := &wire.QueryInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileBasicInformation), OutputBufferLength: 100, FileID: id}
	if s := p.Do(wire.CmdQueryInfo, req, &resp); s != nt.Success {
		t.Fatal(s)
	}
	if err := b.Decode(resp.Buffer); err != nil {
		t.Fatal(err)
	}
	return b
}

// Names of a pattern are shown as hidden, wherever attributes are, and nothing else becomes of it.
func TestHideFiles(t *testing.T) {
	h := newHouse(t, func(c *smb.Config) { c.Shares[0].HideFiles = []string{".*", "desktop.ini"} })
	p := h.logon("alice", "disk")
	for name, hidden := range map[string]bool{".profile": true, "DESKTOP.INI": true, "desktop.init": false, "a.b": false} {
		want := uint32(0)
		if hidden {
			want = vfs.AttrHidden
		}
		resp := create(t, p, smbtest.OpenAs(name, all, wire.FileCreate, 0))
		if got := resp.FileAttributes & vfs.AttrHidden; got != want {
			t.Errorf("CREATE of %q: %#x", name, resp.FileAttributes)
		}
		if got := basic(t, p, resp.FileID).Attributes & vfs.AttrHidden; got != want {
			t.Errorf("query of %q: hidden %#x", name, got)
		}
		if got := entries(t, p, "", "*")[name].Attributes; got&vfs.AttrHidden != want || got&vfs.AttrArchive == 0 {
			t.Errorf("listing of %q: %#x", name, got)
		}
		var closed wire.CloseResponse
		if s := p.Do(wire.CmdClose, &wire.CloseRequest{Flags: wire.ClosePostQueryAttrib, FileID: resp.FileID}, &closed); s != nt.Success || closed.FileAttributes&vfs.AttrHidden != want {
			t.Errorf("CLOSE of %q: %v, %#x", name, s, closed.FileAttributes)
		}
		// A file that really is hidden is not overwritten by who does not know it.
		p.Close(create(t, p, smbtest.OpenAs(name, all, wire.FileOverwriteIf, 0)).FileID)
	}
	if e := entries(t, p, "", "*"); e["."].Attributes&vfs.AttrHidden != 0 || e[".."].Attributes&vfs.AttrHidden != 0 {
		t.Error("the directory itself is hidden")
	}
	// It is the name that counts, now.
	id := p.Open("a.b", all, wire.FileOpen, 0)
	if s := setInfo(p, id, fscc.FileRenameInformation, fscc.RenameInfo{Name: ".b"}.Append(nil)); s != nt.Success {
		t.Fatal(s)
	}
	if basic(t, p, id).Attributes&vfs.AttrHidden == 0 {
		t.Error("renamed to .b and not hidden")
	}
}

func TestWithoutNotify(t *testing.T) {
	h := newHouse(t, func(c *smb.Config) { c.Shares[0].WithoutNotify = true })
	p := h.logon("alice", "disk")
	dir := p.Open("", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile)
	if s := p.Do(wire.CmdChangeNotify, watchReq(dir, names, true, 1000), nil); s != nt.NotImplemented {
		t.Errorf("CHANGE_NOTIFY: %v", s)
	}
}

// Whether a DACL counts as inherited is for whoever asks with DACL_AUTO_INHERIT_REQ, or in a share that keeps what is
// set for everyone.
func TestKeepACLFlags(t *testing.T) {
	for _, keeps := range []bool{false, true} {
		h := newHouse(t, func(c *smb.Config) { c.Shares[0].KeepACLFlags = keeps })
		g := guarded{h.logon("alice", "disk"), t}
		g.make("f", 0)
		sd := dacl(allow(alice, all, 0))
		sd.Control |= dtyp.DACLAutoInher
		g.protect("f", sd)
		if got := g.shown("f").Control&dtyp.DACLAutoInher != 0; got != keeps {
			t.Errorf("keeping %t: %t", keeps, got)
		}
		sd.Control = dtyp.DACLPresent
		g.protect("f", sd)
		if g.shown("f").Control&dtyp.DACLAutoInher != 0 {
			t.Errorf("keeping %t: stays without being set", keeps)
		}
	}
}

package smb_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/osfs"
	"github.com/postern-nas/postern/smb/wire"
)

// linkHouse has a share on a real folder, beside which a secret lies.
func linkHouse(t *testing.T) (h *house, dir string) {
	t.Helper()
	base := t.TempDir()
	dir = filepath.Join(base, "share")
	if err := os.MkdirAll(filepath.Join(dir, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, contents := range map[string]string{"secret": "secret", "share/dir/file": "inside"} {
		if err := os.WriteFile(filepath.Join(base, name), []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v, err := osfs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return newHouse(t, func(c *smb.Config) { c.Shares[0].Volume = v }), dir
}

func symlink(target string) []byte {
	return fscc.Symlink{Substitute: target, Print: target, Flags: fscc.SymlinkRelative}.Append(nil)
}

// makeLink makes a link as Windows does: an empty file or directory first.
func makeLink(t *testing.T, p *smbtest.Peer, name, target string, options uint32) nt.Status {
	t.Helper()
	id := p.Open(name, dtyp.WriteAttributes|dtyp.Delete|dtyp.Synchronize, wire.FileCreate, wire.FileOpenReparsePoint|options)
	defer p.Close(id)
	s, _ := fsctl(t, p, fscc.FsctlSetReparsePoint, id, symlink(target), 0)
	return s
}

func TestReparsePoints(t *testing.T) {
	h, dir := linkHouse(t)
	p := h.logon("alice", "disk")
	for name, c := range map[string]struct {
		target  string
		options uint32
	}{
		"link": {`dir\file`, 0}, `dir\up`: {`..\link`, 0}, "folder": {"dir", wire.FileDirectoryFile}, "nowhere": {`.\none`, 0},
	} {
		wantStatus(t, name, makeLink(t, p, name, c.target, c.options), nt.Success)
		if got, err := os.Readlink(filepath.Join(dir, strings.ReplaceAll(name, `\`, "/"))); err != nil || got != strings.ReplaceAll(c.target, `\`, "/") {
			t.Errorf("%s leads to %q, %v", name, got, err)
		}
	}
	// The server follows.
	for _, name := range []string{"link", `dir\up`, `folder\file`, `FOLDER\UP`} {
		id := p.Open(name, dtyp.FileRead, wire.FileOpen, 0)
		if got := string(read(t, p, id, 0, 6)); got != "inside" {
			t.Errorf("%s: %q", name, got)
		}
		if a := info[fscc.AttributeTagInfo](t, p, id, fscc.FileAttributeTagInformation); a.ReparseTag != 0 {
			t.Errorf("%s: %+v", name, a)
		}
		s, _ := fsctl(t, p, fscc.FsctlGetReparsePoint, id, nil, 1000)
		wantStatus(t, name, s, nt.NotAReparsePoint)
		p.Close(id)
	}
	// The link itself.
	id := p.Open("link", dtyp.ReadAttributes|dtyp.WriteAttributes, wire.FileOpen, wire.FileOpenReparsePoint)
	a := info[fscc.AttributeTagInfo](t, p, id, fscc.FileAttributeTagInformation)
	if a.ReparseTag != fscc.TagSymlink || a.Attributes != vfs.AttrReparsePoint {
		t.Errorf("%+v", a)
	}
	get := func(room int) (nt.Status, []byte) { return fsctl(t, p, fscc.FsctlGetReparsePoint, id, nil, room) }
	s, b := get(1000)
	var l fscc.Symlink
	if err := l.Decode(b); s != nt.Success || err != nil || l != (fscc.Symlink{Substitute: `dir\file`, Print: `dir\file`, Flags: fscc.SymlinkRelative}) {
		t.Errorf("%v, %+v, %v", s, l, err)
	}
	if s, part := get(len(b) - 1); s != nt.BufferOverflow || string(part) != string(b[:len(b)-1]) {
		t.Errorf("a byte short: %v, % x", s, part)
	}
	wantStatus(t, "no room", first(get(19)), nt.BufferTooSmall)
	// It can be led elsewhere, and be made a file again.
	s, _ = fsctl(t, p, fscc.FsctlSetReparsePoint, id, symlink("dir"), 0)
	wantStatus(t, "another target", s, nt.Success)
	p.Close(id)
	id = p.Open("link", dtyp.WriteAttributes, wire.FileOpen, wire.FileOpenReparsePoint)
	clearTag := binary.LittleEndian.AppendUint32(nil, fscc.TagSymlink)
	s, _ = fsctl(t, p, fscc.FsctlDeleteReparsePoint, id, []byte{3, 0, 0, 0xA0, 0, 0, 0, 0}, 0)
	wantStatus(t, "another tag", s, nt.IOReparseTagMismatch)
	s, _ = fsctl(t, p, fscc.FsctlDeleteReparsePoint, id, append(clearTag, 2, 0, 0, 0, 1, 1), 0)
	wantStatus(t, "with data", s, nt.IOReparseDataInvalid)
	s, _ = fsctl(t, p, fscc.FsctlDeleteReparsePoint, id, append(clearTag, 0, 0, 0, 0), 0)
	wantStatus(t, "remove", s, nt.Success)
	p.Close(id)
	id = p.Open("link", all, wire.FileOpen, wire.FileOpenReparsePoint)
	s, _ = fsctl(t, p, fscc.FsctlDeleteReparsePoint, id, append(clearTag, 0, 0, 0, 0), 0)
	wantStatus(t, "remove from a file", s, nt.NotAReparsePoint)
	if st, err := os.Lstat(filepath.Join(dir, "link")); err != nil || !st.Mode().IsRegular() || st.Size() != 0 {
		t.Errorf("%v, %v", st, err)
	}
	p.Close(id)
	// Deleting is of the link.
	id = p.Open("folder", dtyp.Delete, wire.FileOpen, wire.FileOpenReparsePoint|wire.FileDeleteOnClose)
	p.Close(id)
	if _, err := os.Lstat(filepath.Join(dir, "folder")); !os.IsNotExist(err) {
		t.Error("the link to a folder is still there")
	}
	if _, err := os.Stat(filepath.Join(dir, "dir/file")); err != nil {
		t.Error(err)
	}
	if s, b := query(t, p, p.Open("", dtyp.FileRead, wire.FileOpen, 0), wire.InfoFileSystem, uint8(fscc.FileFsAttributeInformation), 100); s != nt.Success ||
		binary.LittleEndian.Uint32(b)&fscc.FSReparsePoints == 0 {
		t.Error("links are not announced")
	}
	// A link that leads nowhere is listed as what it is, its tag where the class has it.
	root := p.Open("", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile)
	for class := range 256 {
		c := fscc.FileClass(class)
		if _, ok := c.DirMin(); !ok || c == fscc.FileNamesInformation || c == fscc.FileDirectoryInformation || c == fscc.FilePosixInformation {
			continue
		}
		var resp wire.QueryDirectoryResponse
		wantStatus(t, c.String(), p.Do(wire.CmdQueryDirectory, &wire.QueryDirectoryRequest{
			FileID: root, InfoClass: uint8(c), Pattern: "nowhere", Flags: wire.QueryReopen, OutputBufferLength: 1000,
		}, &resp), nt.Success)
		if list, err := fscc.DecodeDir(c, resp.Buffer); err != nil || len(list) != 1 || list[0].ReparseTag != fscc.TagSymlink {
			t.Errorf("%v: %+v, %v", c, list, err)
		}
	}
}

// SEC-27: no link that a client makes, or finds, leads out of the share.
func TestSEC27ReparsePointEscape(t *testing.T) {
	h, dir := linkHouse(t)
	p := h.logon("alice", "disk")
	id := p.Open(`dir\new`, all, wire.FileCreate, wire.FileOpenReparsePoint)
	set := func(in []byte) nt.Status { s, _ := fsctl(t, p, fscc.FsctlSetReparsePoint, id, in, 0); return s }
	for target, want := range map[string]nt.Status{
		`..\..\secret`: nt.AccessDenied, `..\dir\..\..\secret`: nt.AccessDenied, `..\..`: nt.AccessDenied, `x\..\..\..\secret`: nt.AccessDenied,
		`\secret`: nt.NotSupported, `/secret`: nt.NotSupported, `\\server\share`: nt.NotSupported, `\??\C:\x`: nt.NotSupported,
		`../../secret`: nt.AccessDenied, `C:\x`: nt.ObjectNameInvalid, `a\\b`: nt.ObjectNameInvalid, "a\x01": nt.ObjectNameInvalid,
		"\uf02e": nt.ObjectNameInvalid, strings.Repeat(`a\`, 3000) + "a": nt.IOReparseDataInvalid,
	} {
		if got := set(symlink(target)); got != want && !(want == nt.ObjectNameInvalid && got == nt.AccessDenied) {
			t.Errorf("%.40q: %v; want %v", target, got, want)
		}
	}
	wantStatus(t, "absolute", set(fscc.Symlink{Substitute: "dir"}.Append(nil)), nt.NotSupported)
	wantStatus(t, "junction", set([]byte{3, 0, 0, 0xA0, 0, 0, 0, 0}), nt.NotSupported)
	wantStatus(t, "reserved tag", set([]byte{1, 0, 0, 0, 0, 0, 0, 0}), nt.IOReparseTagInvalid)
	good := symlink("file")
	for n := range good {
		if s := set(good[:n]); s == nt.Success {
			t.Errorf("%d of %d bytes: success", n, len(good))
		}
	}
	if st, err := os.Lstat(filepath.Join(dir, "dir/new")); err != nil || !st.Mode().IsRegular() {
		t.Errorf("%v, %v", st, err)
	}
	p.Close(id)
	// One that leads out now, because it was moved, is not followed, and where it leads is not told if that is absolute.
	wantStatus(t, "within", makeLink(t, p, `dir\deep`, `..\secret`, 0), nt.Success)
	id = p.Open(`dir\deep`, all&^dtyp.WriteData, wire.FileOpen, wire.FileOpenReparsePoint)
	wantStatus(t, "move", set2(p, id, "up"), nt.Success)
	p.Close(id)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "absolute")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"up", "absolute"} {
		wantStatus(t, name, p.Do(wire.CmdCreate, smbtest.OpenAs(name, dtyp.FileRead, wire.FileOpen, 0), nil), nt.AccessDenied)
	}
	id = p.Open("absolute", dtyp.ReadAttributes, wire.FileOpen, wire.FileOpenReparsePoint)
	s, _ := fsctl(t, p, fscc.FsctlGetReparsePoint, id, nil, 1000)
	wantStatus(t, "where an absolute link leads", s, nt.AccessDenied)
}

func set2(p *smbtest.Peer, id wire.FileID, to string) nt.Status {
	return set(p, id, fscc.FileRenameInformation, fscc.RenameInfo{Name: to})
}

// SEC-31: links are made and removed by who may write, and nothing is lost by it.
func TestSEC31ReparsePoints(t *testing.T) {
	h, dir := linkHouse(t)
	p, reader := h.logon("alice", "disk"), h.logon("reader", "disk")
	wantStatus(t, "link", makeLink(t, p, "link", "dir", 0), nt.Success)
	before, _ := os.Readlink(filepath.Join(dir, "link"))
	clearTag := append(binary.LittleEndian.AppendUint32(nil, fscc.TagSymlink), 0, 0, 0, 0)
	for _, who := range []*smbtest.Peer{reader, p} {
		id := who.Open("link", dtyp.FileRead, wire.FileOpen, wire.FileOpenReparsePoint)
		s, _ := fsctl(t, who, fscc.FsctlSetReparsePoint, id, symlink(`dir\file`), 0)
		wantStatus(t, "set without the right", s, nt.AccessDenied)
		s, _ = fsctl(t, who, fscc.FsctlDeleteReparsePoint, id, clearTag, 0)
		wantStatus(t, "delete without the right", s, nt.AccessDenied)
		who.Close(id)
	}
	if now, _ := os.Readlink(filepath.Join(dir, "link")); now != before {
		t.Errorf("the link leads to %q now", now)
	}
	set := func(name string, options uint32) nt.Status {
		t.Helper()
		id := p.Open(name, all, wire.FileOpen, wire.FileOpenReparsePoint|options)
		defer p.Close(id)
		s, _ := fsctl(t, p, fscc.FsctlSetReparsePoint, id, symlink("x"), 0)
		return s
	}
	wantStatus(t, "a file with contents", set(`dir\file`, 0), nt.NotSupported)
	wantStatus(t, "a directory with entries", set("dir", 0), nt.DirectoryNotEmpty)
	wantStatus(t, "the root", set("", 0), nt.AccessDenied)
	if b, err := os.ReadFile(filepath.Join(dir, "dir/file")); err != nil || string(b) != "inside" {
		t.Errorf("%q, %v", b, err)
	}
	empty := p.Open("empty", all, wire.FileCreate, 0)
	wantStatus(t, "what is open", set("empty", 0), nt.SharingViolation)
	p.Close(empty)
	if list, _ := filepath.Glob(filepath.Join(dir, ".postern-*")); len(list) > 0 {
		t.Errorf("left behind: %q", list)
	}
	// A link is protected as its folder is, though it has no descriptor of its own.
	folder := p.Open("mine", all, wire.FileCreate, wire.FileDirectoryFile)
	wantStatus(t, "link", makeLink(t, p, `mine\link`, "x", 0), nt.Success)
	only := &dtyp.SecurityDescriptor{Control: dtyp.DACLPresent, DACL: &dtyp.ACL{Revision: 2, ACEs: []dtyp.ACE{
		{Type: dtyp.AccessAllowed, Flags: dtyp.ObjectInherit | dtyp.ContainerInherit, Mask: dtyp.FileAll, SID: dtyp.NewSID(5, 21, 1, 2, 3, 1000)},
		{Type: dtyp.AccessAllowed, Flags: dtyp.ObjectInherit | dtyp.ContainerInherit, Mask: dtyp.FileRead, SID: dtyp.Everyone},
	}}}
	b, err := only.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "protect", p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{FileID: folder, InfoType: wire.InfoSecurity, AdditionalInfo: wire.SecurityDACL, Buffer: b}, nil), nt.Success)
	bob := h.logon("bob", "disk")
	for _, access := range []dtyp.Access{dtyp.Delete, dtyp.WriteAttributes} {
		wantStatus(t, "another's link", bob.Do(wire.CmdCreate, smbtest.OpenAs(`mine\link`, access, wire.FileOpen, wire.FileOpenReparsePoint), nil), nt.AccessDenied)
	}
	bob.Close(bob.Open(`mine\link`, dtyp.ReadAttributes, wire.FileOpen, wire.FileOpenReparsePoint))
	p.Close(p.Open(`mine\link`, dtyp.Delete, wire.FileOpen, wire.FileOpenReparsePoint|wire.FileDeleteOnClose))
}

// TestSEC31LinksInheritNothing: what protects an object is inherited from where it lies, whatever links lead to it from
// folders of one's own.
func TestSEC31LinksInheritNothing(t *testing.T) {
	h, dir := linkHouse(t)
	for _, name := range []string{"dir/sub", "dir/sub/sub"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "deep"), []byte("inside"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g := guarded{h.logon("alice", "disk"), t}
	g.make("mine", wire.FileDirectoryFile)
	for name, target := range map[string]string{"file": `..\dir\file`, "deep": `..\dir\sub\sub\deep`, "dir": `..\dir`, "sub": `..\dir\sub`} {
		wantStatus(t, name, makeLink(t, g.Peer, `mine\`+name, target, 0), nt.Success)
	}
	paths := []string{`mine\file`, `mine\deep`, `mine\dir\file`, `mine\sub\deep`, `mine\sub\sub\deep`, `mine\dir\sub\sub\deep`}
	for _, name := range paths { // as long as nothing is against it
		g.wants(nt.Success, name, dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	}
	id := g.Open("dir", dtyp.WriteDAC|dtyp.ReadControl, wire.FileOpen, 0)
	if s := g.set(id, dtyp.DACLPart, encode(t, dacl(allow(bob, dtyp.FileAll, toAll)))); s == nt.NotSupported {
		t.Skip("no descriptors are kept here")
	} else if s != nt.Success {
		t.Fatal(s)
	}
	g.Close(id)
	for _, name := range append(paths, `dir\file`, `dir\sub\sub\deep`) {
		g.wants(nt.AccessDenied, name, dtyp.ReadData, wire.FileOpen, 0)
		g.wants(nt.AccessDenied, name, dtyp.WriteData, wire.FileOverwrite, 0)
		g.wants(nt.AccessDenied, name, dtyp.WriteDAC, wire.FileOpen, 0)
		g.wants(nt.AccessDenied, name+":stream", dtyp.WriteData, wire.FileOpenIf, 0)
	}
	for _, name := range []string{`mine\dir\new`, `mine\sub\new`, `mine\sub\sub\new`, `mine\dir\sub\new`} {
		g.wants(nt.AccessDenied, name, dtyp.WriteData, wire.FileCreate, 0)
		g.wants(nt.AccessDenied, name, dtyp.WriteData, wire.FileCreate, wire.FileDirectoryFile)
	}
	own := g.Open(`mine\own`, all, wire.FileCreate, 0)
	for _, to := range []string{`mine\sub\own`, `mine\dir\own`, `mine\dir\sub\sub\own`} {
		wantStatus(t, "moved to "+to, setInfo(g.Peer, own, fscc.FileRenameInformation, fscc.RenameInfo{Name: to}.Append(nil)), nt.AccessDenied)
	}
	g.Close(own)
	// Whom it is for has it, by the links as well.
	b := guarded{h.logon("bob", "disk"), t}
	for _, name := range paths {
		b.wants(nt.Success, name, dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	}
}

// TestSEC31Relink: to make a link of an object takes its descriptor away, and to make a file of a link puts one there:
// only who may delete it and make another does so.
func TestSEC31Relink(t *testing.T) {
	h, _ := linkHouse(t)
	g := guarded{h.logon("alice", "disk"), t}
	g.make("file", 0)
	g.make("folder", wire.FileDirectoryFile)
	g.make(`folder\file`, 0)
	wantStatus(t, "link", makeLink(t, g.Peer, `folder\link`, "file", 0), nt.Success)
	write := dtyp.FileRead | dtyp.FileWrite
	id := g.Open("file", dtyp.WriteDAC, wire.FileOpen, 0)
	if s := g.set(id, dtyp.DACLPart, encode(t, dacl(allow(alice, write, 0)))); s == nt.NotSupported {
		t.Skip("no descriptors are kept here")
	}
	g.Close(id)
	g.protect(`folder\file`, dacl(allow(alice, write|dtyp.Delete, 0)))
	set := func(name string) nt.Status {
		id := g.Open(name, dtyp.WriteAttributes, wire.FileOpen, wire.FileOpenReparsePoint)
		defer g.Close(id)
		s, _ := fsctl(t, g.Peer, fscc.FsctlSetReparsePoint, id, symlink("elsewhere"), 0)
		return s
	}
	// The folder lets alice change what is in it, but neither delete nor make anything.
	g.protect("folder", dacl(allow(alice, dtyp.FileRead|dtyp.WriteAttributes, toAll), allow(bob, dtyp.FileAll, toAll)))
	wantStatus(t, "a file that may be deleted, and no other be made", set(`folder\file`), nt.AccessDenied)
	wantStatus(t, "a link in it", set(`folder\link`), nt.AccessDenied)
	// The root lets her make something, but not delete what has the name.
	id = g.Open("", dtyp.WriteDAC, wire.FileOpen, 0)
	wantStatus(t, "root", g.set(id, dtyp.DACLPart, encode(t, dacl(allow(alice, dtyp.FileAll&^dtyp.DeleteChild, 0)))), nt.Success)
	g.Close(id)
	wantStatus(t, "a file that may not be deleted", set("file"), nt.AccessDenied)
	g.make("other", 0)
	wantStatus(t, "one's own", set("other"), nt.Success)
}

package smb_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// try is a CREATE whose status counts.
func try(p *smbtest.Peer, req *wire.CreateRequest) nt.Status {
	p.T.Helper()
	var resp wire.CreateResponse
	s := p.Do(wire.CmdCreate, req, &resp)
	if s == nt.Success {
		p.Close(resp.FileID)
	}
	return s
}

func wantTry(p *smbtest.Peer, want nt.Status, name string, access dtyp.Access, share, disposition, options uint32) {
	p.T.Helper()
	req := smbtest.OpenAs(name, access, disposition, options)
	req.ShareAccess = share
	if s := try(p, req); s != want {
		p.T.Errorf("CREATE %q: %v, want %v", name, s, want)
	}
}

// streams lists FileStreamInformation as name=size, sorted.
func streams(t *testing.T, p *smbtest.Peer, id wire.FileID) string {
	t.Helper()
	s, b := query(t, p, id, wire.InfoFile, uint8(fscc.FileStreamInformation), 4096)
	list, err := fscc.DecodeStreams(b)
	if s != nt.Success || err != nil {
		t.Fatalf("%v, %v", s, err)
	}
	var out []string
	for _, e := range list {
		out = append(out, fmt.Sprintf("%s=%d", e.Name, e.Size))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

const (
	shareNone = uint32(0)
	shareAll  = wire.ShareRead | wire.ShareWrite | wire.ShareDelete
)

// A day with a stream: it is made with its file, listed, written, read, renamed, named, deleted.
func TestStreams(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	zone := p.Open("File.txt:Zone.Identifier", all, wire.FileCreate, 0)
	write(t, p, zone, 0, []byte("[ZoneTransfer]"))
	base := p.Open("file.txt::$DATA", all, wire.FileOpen, 0)
	if got := streams(t, p, base); got != "::$DATA=0 :Zone.Identifier:$DATA=14" {
		t.Errorf("streams %q", got)
	}
	if got := streams(t, p, zone); got != "::$DATA=0 :Zone.Identifier:$DATA=14" {
		t.Errorf("streams through one of them %q", got)
	}
	again := p.Open("FILE.TXT:zone.identifier:$data", all, wire.FileOpenIf, 0)
	if got := read(t, p, again, 0, 100); string(got) != "[ZoneTransfer]" {
		t.Errorf("read %q", got)
	}
	for class, want := range map[fscc.FileClass]string{
		fscc.FileNameInformation: `\File.txt:Zone.Identifier`, fscc.FileNormalizedNameInformation: "File.txt:Zone.Identifier",
	} {
		if got := info[fscc.NameInfo](t, p, again, class).Name; got != want {
			t.Errorf("%v: %q, want %q", class, got, want)
		}
	}
	own, whole := info[fscc.AllInfo](t, p, again, fscc.FileAllInformation), info[fscc.AllInfo](t, p, base, fscc.FileAllInformation)
	if own.FileID != whole.FileID || own.EndOfFile != 14 || whole.EndOfFile != 0 || own.Creation != whole.Creation || own.Name != `\File.txt:Zone.Identifier` {
		t.Errorf("stream %+v\nfile %+v", own, whole)
	}
	// Attributes and times are the file's.
	if s := set(p, again, fscc.FileBasicInformation, fscc.BasicInfo{Creation: 1 << 56, Attributes: 2}); s != nt.Success {
		t.Fatal(s)
	}
	if b := info[fscc.BasicInfo](t, p, base, fscc.FileBasicInformation); b.Creation != 1<<56 || b.Attributes != 2 {
		t.Errorf("set through a stream: %+v", b)
	}
	p.Close(zone)
	if s := set(p, again, fscc.FileRenameInformation, fscc.RenameInfo{Name: ":other"}); s != nt.Success {
		t.Fatal(s)
	}
	if got := streams(t, p, base); got != "::$DATA=0 :other:$DATA=14" {
		t.Errorf("after a rename: %q", got)
	}
	p.Close(again)
	wantTry(p, nt.ObjectNameNotFound, "file.txt:Zone.Identifier", all, shareAll, wire.FileOpen, 0)
	wantTry(p, nt.ObjectNameNotFound, "none.txt:s", all, shareAll, wire.FileOpen, 0)
	wantTry(p, nt.ObjectNameCollision, "file.txt:other", all, shareAll, wire.FileCreate, 0)
	wantTry(p, nt.Success, "file.txt:other", all, shareAll, wire.FileOpen, wire.FileDeleteOnClose)
	if got := streams(t, p, base); got != "::$DATA=0" {
		t.Errorf("after delete on close: %q", got)
	}
	p.Close(base)
	wantTry(p, nt.Success, "file.txt", all, shareAll, wire.FileOpen, 0)
}

// What a name says of types, [MS-FSCC] 2.1.5.4.
func TestStreamNames(t *testing.T) {
	h := newHouse(t, func(c *smb.Config) {
		sh := c.Shares[0]
		sh.Name, sh.NoStreams = "plain", true
		c.Shares = append(c.Shares, sh)
	})
	p := h.logon("alice", "disk")
	mkdir(p, "dir")
	p.Close(p.Open("file", all, wire.FileCreate, 0))
	for _, c := range []struct {
		name    string
		options uint32
		want    nt.Status
	}{
		{"file:s", wire.FileDirectoryFile, nt.NotADirectory},
		{"dir:s", wire.FileDirectoryFile, nt.NotADirectory},
		{"dir::$DATA", wire.FileDirectoryFile, nt.NotADirectory},
		{"dir::$DATA", 0, nt.FileIsADirectory},
		{"dir::$INDEX_ALLOCATION", 0, nt.Success},
		{"dir:$I30:$INDEX_ALLOCATION", wire.FileDirectoryFile, nt.Success},
		{"dir::$INDEX_ALLOCATION", wire.FileNonDirectoryFile, nt.FileIsADirectory},
		{"file::$INDEX_ALLOCATION", 0, nt.NotADirectory},
		{"dir:other:$INDEX_ALLOCATION", 0, nt.ObjectNameInvalid},
		{"file::$DATA", wire.FileNonDirectoryFile, nt.Success},
		{"file:s:", 0, nt.ObjectNameInvalid},
		{"file:s:$FOO", 0, nt.ObjectNameInvalid},
		{"file:a/b", 0, nt.ObjectNameInvalid},
		{"dir:s", wire.FileNonDirectoryFile, nt.ObjectNameNotFound},
		{":s", 0, nt.ObjectNameNotFound},
	} {
		wantTry(p, c.want, c.name, all, shareAll, wire.FileOpen, c.options)
	}
	wantTry(p, nt.InvalidParameter, "dir::$INDEX_ALLOCATION", all, shareAll, wire.FileOverwrite, 0)
	wantTry(p, nt.Success, "dir:s", all, shareAll, wire.FileOpenIf, 0)
	wantTry(p, nt.Success, ":s", all, shareAll, wire.FileOpenIf, 0)
	dir := p.Open("dir", all, wire.FileOpen, 0)
	if got := streams(t, p, dir); got != ":s:$DATA=0" {
		t.Errorf("streams of a directory %q", got)
	}

	q := h.logon("alice", "plain")
	for _, name := range []string{"file::$DATA", "file:s", "dir:s:$DATA", "dir::$INDEX_ALLOCATION"} {
		wantTry(q, nt.ObjectNameInvalid, name, all, shareAll, wire.FileOpenIf, 0)
	}
	file := q.Open("file", all, wire.FileOpen, 0)
	if got := streams(t, q, file); got != "::$DATA=0" {
		t.Errorf("a share without streams lists %q", got)
	}
	for share, want := range map[*smbtest.Peer]uint32{p: fscc.FSNamedStreams | fscc.FSExtendedAttributes, q: fscc.FSExtendedAttributes} {
		id := share.Open("", dtyp.FileRead, wire.FileOpen, 0)
		_, b := query(t, share, id, wire.InfoFileSystem, uint8(fscc.FileFsAttributeInformation), 100)
		var a fscc.FSAttributeInfo
		if err := a.Decode(b); err != nil || a.Attributes&(fscc.FSNamedStreams|fscc.FSExtendedAttributes) != want {
			t.Errorf("filesystem attributes %#x, %v; want %#x among them", a.Attributes, err, want)
		}
	}
}

// Share modes: each stream has its own, but who may delete the file may delete its streams.
func TestStreamSharing(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	open := func(name string, access dtyp.Access, share uint32) wire.FileID {
		t.Helper()
		req := smbtest.OpenAs(name, access, wire.FileOpenIf, 0)
		req.ShareAccess = share
		return create(t, p, req).FileID
	}
	one := open("file:one", dtyp.WriteData, shareNone)
	two := open("file:two", dtyp.WriteData, shareNone)
	wantTry(p, nt.SharingViolation, "file:ONE", dtyp.WriteData, shareNone, wire.FileSupersede, 0)
	base := open("file", dtyp.WriteData, shareNone)
	wantTry(p, nt.SharingViolation, "file", dtyp.Delete, shareAll, wire.FileOpen, 0)
	p.Close(base)
	wantTry(p, nt.SharingViolation, "file", dtyp.Delete, shareAll, wire.FileOpen, 0)
	p.Close(one)
	wantTry(p, nt.SharingViolation, "file", dtyp.Delete, shareAll, wire.FileOpen, 0)
	p.Close(two)
	base = open("file", dtyp.Delete, shareAll)
	wantTry(p, nt.SharingViolation, "file:one", dtyp.WriteData, wire.ShareRead|wire.ShareWrite, wire.FileOpen, 0)
	one = open("file:one", dtyp.ReadData, shareAll)
	p.Close(base)
	p.Close(one)
	// A file that does not share delete lets its streams be deleted.
	base = open("file", dtyp.ReadData, shareNone)
	wantTry(p, nt.Success, "file:one", dtyp.Delete, shareNone, wire.FileOpen, wire.FileDeleteOnClose)
	// Who has the file open does not keep a lease of a stream from being asked for.
	resp := create(t, p, leasing("file:two", 1, 7, 0))
	if l := granted(t, resp); l.State != 7 {
		t.Errorf("lease of a stream: %#x", l.State)
	}
	if s := try(p, leasing("file:three", 1, 7, 0)); s != nt.InvalidParameter {
		t.Errorf("one lease key for two streams: %v", s)
	}
	p.Close(resp.FileID)
	p.Close(base)
}

// A file that is to be deleted goes with the last open of it or of its streams.
func TestStreamDeletePending(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	s := p.Open("file:s", dtyp.FileRead|dtyp.FileWrite, wire.FileCreate, 0)
	write(t, p, s, 0, []byte("contents"))
	wantTry(p, nt.Success, "file", all, shareAll, wire.FileOpen, wire.FileDeleteOnClose)
	for _, name := range []string{"file", "file:s", "file:t"} {
		wantTry(p, nt.DeletePending, name, all, shareAll, wire.FileOpenIf, 0)
	}
	if got := read(t, p, s, 0, 8); string(got) != "contents" {
		t.Errorf("read %q", got)
	}
	p.Close(s)
	wantTry(p, nt.ObjectNameNotFound, "file", all, shareAll, wire.FileOpen, 0)

	// The same with the mark set and taken back.
	s = p.Open("file:s", all, wire.FileCreate, 0)
	base := p.Open("file", all, wire.FileOpen, 0)
	for _, on := range []bool{true, false} {
		if st := set(p, base, fscc.FileDispositionInformation, fscc.DispositionInfo{Delete: on}); st != nt.Success {
			t.Fatal(st)
		}
	}
	p.Close(base)
	p.Close(s)
	base = p.Open("file", all, wire.FileOpen, 0)
	// A stream that is to be deleted leaves the file and its other streams alone.
	s = p.Open("file:s", all, wire.FileOpen, 0)
	if st := set(p, s, fscc.FileDispositionInformation, fscc.DispositionInfo{Delete: true}); st != nt.Success {
		t.Fatal(st)
	}
	wantTry(p, nt.DeletePending, "file:s", all, shareAll, wire.FileOpen, 0)
	wantTry(p, nt.Success, "file:t", all, shareAll, wire.FileOpenIf, 0)
	if a := info[fscc.StandardInfo](t, p, base, fscc.FileStandardInformation); a.DeletePending {
		t.Error("the file is said to be deleted")
	}
	p.Close(s)
	if got := streams(t, p, base); got != "::$DATA=0 :t:$DATA=0" {
		t.Errorf("streams %q", got)
	}
	// A directory, by way of its stream.
	mkdir(p, "dir")
	s = p.Open("dir:s", dtyp.FileRead, wire.FileOpenIf, 0)
	rmdir(p, "dir")
	wantTry(p, nt.DeletePending, "dir", all, shareAll, wire.FileOpen, 0)
	p.Close(s)
	wantTry(p, nt.ObjectNameNotFound, "dir", all, shareAll, wire.FileOpen, 0)
}

// Overwriting a file takes its streams and attributes; overwriting a stream empties that one. [MS-FSA] 2.1.5.1.2
func TestStreamOverwrite(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	for _, disposition := range []uint32{wire.FileOverwrite, wire.FileOverwriteIf, wire.FileSupersede} {
		s := p.Open("file:s", all, wire.FileOpenIf, 0)
		write(t, p, s, 0, []byte("contents"))
		p.Close(s)
		s = p.Open("file:s", all, disposition, 0)
		base := p.Open("file", all, wire.FileOpen, 0)
		if got := streams(t, p, base); got != "::$DATA=0 :s:$DATA=0" {
			t.Errorf("stream overwritten (%d): %q", disposition, got)
		}
		p.Close(s)
		p.Close(base)
		base = p.Open("file", all, disposition, 0)
		if got := streams(t, p, base); got != "::$DATA=0" {
			t.Errorf("file overwritten (%d): %q", disposition, got)
		}
		p.Close(base)
	}
	// A hidden file wants to be called so when it is overwritten; its streams do not.
	req := smbtest.OpenAs("hidden:s", all, wire.FileCreate, 0)
	req.FileAttributes = 2
	p.Close(create(t, p, req).FileID)
	wantTry(p, nt.AccessDenied, "hidden", all, shareAll, wire.FileOverwrite, 0)
	wantTry(p, nt.Success, "hidden:s", all, shareAll, wire.FileOverwrite, 0)
}

// Renames, [MS-FSA] 2.1.5.15.11.
func TestStreamRename(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	rename := func(id wire.FileID, to string, flags uint32) nt.Status {
		return set(p, id, fscc.FileRenameInformation, fscc.RenameInfo{Name: to, Flags: flags})
	}
	s := p.Open("file:s", all, wire.FileCreate, 0)
	full := p.Open("file:full", all, wire.FileCreate, 0)
	write(t, p, full, 0, []byte("x"))
	p.Close(full)
	p.Close(p.Open("file:empty", all, wire.FileCreate, 0))
	open := p.Open("file:open", all, wire.FileCreate, 0)
	base := p.Open("file", all, wire.FileOpen, 0)
	for _, c := range []struct {
		id    wire.FileID
		to    string
		flags uint32
		want  nt.Status
	}{
		{s, ":empty", 0, nt.ObjectNameCollision},
		{s, ":full", fscc.RenameReplace, nt.InvalidParameter},
		{s, ":open", fscc.RenameReplace, nt.InvalidParameter},
		{s, "::$DATA", fscc.RenameReplace, nt.InvalidParameter},
		{s, ":a:b", 0, nt.InvalidParameter},
		{s, "file:t", 0, nt.SharingViolation},
		{s, "other", 0, nt.SharingViolation},
		{base, ":t", 0, nt.InvalidParameter},
		{base, "other:t", 0, nt.InvalidParameter},
		{base, "other", 0, nt.AccessDenied}, // streams are open
		{s, ":S", 0, nt.Success},
		{s, ":empty:$DATA", fscc.RenameReplace, nt.Success},
	} {
		if got := rename(c.id, c.to, c.flags); got != c.want {
			t.Errorf("to %q (%d): %v, want %v", c.to, c.flags, got, c.want)
		}
	}
	if got := set(p, s, fscc.FileLinkInformation, fscc.RenameInfo{Name: "link"}); got != nt.InvalidParameter {
		t.Errorf("link of a stream: %v", got)
	}
	p.Close(s)
	p.Close(open)
	if got := rename(base, "other", 0); got != nt.Success {
		t.Errorf("without open streams: %v", got)
	}
	if got := streams(t, p, base); got != "::$DATA=0 :empty:$DATA=0 :full:$DATA=1 :open:$DATA=0" {
		t.Errorf("streams %q", got)
	}
}

// Who may do what with a stream is in the file's descriptor.
func TestStreamSecurity(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	file := p.Open("file", all, wire.FileCreate, 0)
	p.Close(p.Open("file:s", all, wire.FileCreate, 0))
	readOnly := &dtyp.SecurityDescriptor{Control: dtyp.DACLPresent, DACL: &dtyp.ACL{Revision: 2, ACEs: []dtyp.ACE{
		{Type: dtyp.AccessAllowed, Mask: dtyp.FileRead | dtyp.WriteDAC, SID: dtyp.Everyone},
	}}}
	b, err := readOnly.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	setDACL := func(id wire.FileID) nt.Status {
		return p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{FileID: id, InfoType: wire.InfoSecurity, AdditionalInfo: wire.SecurityDACL, Buffer: b}, nil)
	}
	s := p.Open("file:s", all, wire.FileOpen, 0)
	if got := setDACL(s); got != nt.Success { // through the stream
		t.Fatal(got)
	}
	_, one := query(t, p, s, wire.InfoSecurity, 0, 1000)
	_, two := query(t, p, file, wire.InfoSecurity, 0, 1000)
	if len(one) == 0 || !slices.Equal(one, two) {
		t.Errorf("descriptors %x and %x", one, two)
	}
	q := h.logon("bob", "disk")
	wantTry(q, nt.Success, "file:s", dtyp.FileRead, shareAll, wire.FileOpen, 0)
	wantTry(q, nt.AccessDenied, "file:s", dtyp.WriteData, shareAll, wire.FileOpen, 0)
	wantTry(q, nt.AccessDenied, "file:s", dtyp.FileRead, shareAll, wire.FileOverwrite, 0)
	wantTry(q, nt.AccessDenied, "file:new", dtyp.FileRead, shareAll, wire.FileCreate, 0)
	wantTry(q, nt.AccessDenied, "file:new", dtyp.WriteData, shareAll, wire.FileOpenIf, 0)
	if got := streams(t, p, file); got != "::$DATA=0 :s:$DATA=0" {
		t.Errorf("a user who may not write has made a stream: %q", got)
	}
	// A read-only file gets no streams either; a read-only directory does.
	ro := smbtest.OpenAs("ro", all, wire.FileCreate, 0)
	ro.FileAttributes = 1
	p.Close(create(t, p, ro).FileID)
	wantTry(p, nt.AccessDenied, "ro:s", dtyp.FileRead, shareAll, wire.FileCreate, 0)
	ro = smbtest.OpenAs("rodir", all, wire.FileCreate, wire.FileDirectoryFile)
	ro.FileAttributes = 1
	p.Close(create(t, p, ro).FileID)
	wantTry(p, nt.Success, "rodir:s", all, shareAll, wire.FileCreate, 0)
	wantTry(p, nt.Success, "rodir:s", dtyp.WriteData, shareAll, wire.FileOpen, 0)
}

// Every operation, through a stream's handle, by a user who may only read: nothing changes.
func TestSEC31Streams(t *testing.T) {
	for _, op := range operations() {
		h := newHouse(t, nil)
		alice := h.logon("alice", "disk")
		file := alice.Open("file", all, wire.FileCreate, 0)
		write(t, alice, file, 0, []byte("contents"))
		s := alice.Open("file:s", all, wire.FileCreate, 0)
		write(t, alice, s, 0, []byte("of the stream"))
		alice.Close(s)
		before, listed := look(t, alice), streams(t, alice, file)
		p := h.logon("reader", "disk")
		id := p.Open("file:s", dtyp.MaximumAllowed, wire.FileOpen, 0)
		p.Send(smbtest.Element{Header: p.Request(op.cmd, 0), Body: op.body(id)})
		p.Recv()
		p.Conn.Close()
		if look(t, alice) != before || streams(t, alice, file) != listed {
			t.Errorf("%s changes something", op.name)
		}
	}
}

// Locks, copies and cached contents are the stream's own.
func TestStreamData(t *testing.T) {
	h := newHouse(t, nil)
	p, q := h.logon("alice", "disk"), h.pipe("bob")
	one := p.Open("file:one", all, wire.FileCreate, 0)
	write(t, p, one, 0, []byte("0123456789"))
	two := p.Open("file:two", all, wire.FileCreate, 0)
	if s := lock(p, one, wire.LockElement{Length: 5, Flags: wire.LockExclusive | wire.LockFailImmediately}); s != nt.Success {
		t.Fatal(s)
	}
	other := q.Open("file:one", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	if s := q.Do(wire.CmdRead, &wire.ReadRequest{FileID: other, Length: 5}, nil); s != nt.FileLockConflict {
		t.Errorf("read of a locked range: %v", s)
	}
	base := q.Open("file", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
	write(t, q, base, 0, []byte("not locked"))
	var key wire.IoctlResponse
	if s := p.Do(wire.CmdIoctl, &wire.IoctlRequest{CtlCode: wire.FsctlSrvRequestResumeKey, FileID: one, MaxOutputResponse: 32, Flags: wire.IoctlIsFsctl}, &key); s != nt.Success {
		t.Fatal(s)
	}
	var source wire.ResumeKey
	copy(source[:], key.Output)
	in := wire.CopyChunkRequest{Source: source, Chunks: []wire.CopyChunk{{SrcOffset: 2, DstOffset: 1, Length: 6}}}
	if s := p.Do(wire.CmdIoctl, &wire.IoctlRequest{CtlCode: wire.FsctlSrvCopychunk, FileID: two, Input: in.Append(nil), MaxOutputResponse: 12, Flags: wire.IoctlIsFsctl}, &wire.IoctlResponse{}); s != nt.Success {
		t.Fatal(s)
	}
	if got := read(t, p, two, 0, 10); string(got) != "\x00234567" {
		t.Errorf("copied %q", got)
	}
	// Writing to the file or another stream breaks nobody's oplock on this one.
	three := create(t, q, asking("file:three", wire.OplockBatch))
	if three.OplockLevel != wire.OplockBatch {
		t.Errorf("oplock %#x on a stream", three.OplockLevel)
	}
	write(t, p, two, 0, []byte("x"))
	p.Close(p.Open("file", all, wire.FileOpen, 0))
	q.Close(three.FileID)
}

// What happens to streams, CHANGE_NOTIFY tells to those that ask.
func TestStreamNotify(t *testing.T) {
	h := newHouse(t, nil)
	p, q := h.logon("alice", "disk"), h.logon("bob", "disk")
	mkdir(q, "dir")
	q.Close(q.Open(`dir\file`, all, wire.FileCreate, 0))
	dir := p.Open("dir", all&^dtyp.Delete, wire.FileOpen, wire.FileDirectoryFile)
	const filter = 0xE00 // stream name, size, write
	ask := func() { notify(p, watchReq(dir, filter, false, 1000)) }
	ask()
	s := q.Open(`dir\file:s`, all, wire.FileCreate, 0)
	wantChanges(p, "6:file:s")
	ask()
	write(t, q, s, 0, []byte("x"))
	wantChanges(p, "8:file:s")
	ask()
	if st := set(q, s, fscc.FileDispositionInformation, fscc.DispositionInfo{Delete: true}); st != nt.Success {
		t.Fatal(st)
	}
	q.Close(s)
	wantChanges(p, "7:file:s")
}

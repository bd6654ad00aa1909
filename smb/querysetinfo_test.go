package smb_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// query is one QUERY_INFO: the status and what came, also with a warning.
func query(t *testing.T, p *smbtest.Peer, id wire.FileID, kind, class uint8, size int) (nt.Status, []byte) {
	t.Helper()
	p.Send(smbtest.Element{Header: p.Request(wire.CmdQueryInfo, 0), Body: &wire.QueryInfoRequest{
		FileID: id, InfoType: kind, InfoClass: class, OutputBufferLength: uint32(size), AdditionalInfo: wire.SecurityOwner | wire.SecurityGroup | wire.SecurityDACL,
	}})
	m := p.Final()
	if m.Status != nt.Success && m.Status != nt.BufferOverflow {
		return m.Status, nil
	}
	var resp wire.QueryInfoResponse
	if err := resp.Decode(m.Raw); err != nil {
		t.Fatal(err)
	}
	return m.Status, resp.Buffer
}

// info is a query that must succeed, decoded.
func info[T any, P interface {
	*T
	Decode([]byte) error
}](t *testing.T, p *smbtest.Peer, id wire.FileID, class fscc.FileClass,
) (v T) {
	t.Helper()
	s, b := query(t, p, id, wire.InfoFile, uint8(class), 4096)
	if s != nt.Success {
		t.Fatalf("%v: %v", class, s)
	}
	if err := P(&v).Decode(b); err != nil {
		t.Fatalf("%v: %v", class, err)
	}
	return v
}

// set is one SET_INFO.
func set(p *smbtest.Peer, id wire.FileID, class fscc.FileClass, body smbtest.Body) nt.Status {
	return setRaw(p, id, class, body.Append(nil))
}

func setRaw(p *smbtest.Peer, id wire.FileID, class fscc.FileClass, b []byte) nt.Status {
	return p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{FileID: id, InfoType: wire.InfoFile, InfoClass: uint8(class), Buffer: b}, nil)
}

// Every class number there is, on a file and on a directory: how long the answer is, what becomes of shorter buffers, and
// what is refused.
func TestQueryFileClasses(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	p.Close(p.Open("folder", all, wire.FileCreate, wire.FileDirectoryFile))
	file := p.Open(`folder\file`, all, wire.FileCreate, 0)
	write(t, p, file, 0, []byte("hello"))
	dir := p.Open("folder", all, wire.FileOpen, 0)
	const nameFile, nameDir = len(`\folder\file`) * 2, len(`\folder`) * 2
	sizes := map[fscc.FileClass]struct{ least, file, dir int }{
		fscc.FileBasicInformation: {40, 40, 40}, fscc.FileStandardInformation: {24, 24, 24}, fscc.FileInternalInformation: {8, 8, 8},
		fscc.FileEaInformation: {4, 4, 4}, fscc.FileAccessInformation: {4, 4, 4}, fscc.FileNameInformation: {8, 4 + nameFile, 4 + nameDir},
		fscc.FilePositionInformation: {8, 8, 8}, fscc.FileModeInformation: {4, 4, 4}, fscc.FileAlignmentInformation: {4, 4, 4},
		fscc.FileAllInformation: {104, 100 + nameFile, 100 + nameDir}, fscc.FileStreamInformation: {32, 24 + len("::$DATA")*2, 0},
		fscc.FileCompressionInformation: {16, 16, 16}, fscc.FileNetworkOpenInformation: {56, 56, 56}, fscc.FileAttributeTagInformation: {8, 8, 8},
		fscc.FileIdInformation: {24, 24, 24}, fscc.FileNormalizedNameInformation: {8, 4 + nameFile - 2, 4 + nameDir - 2}, fscc.FileStandardLinkInformation: {12, 12, 12},
		fscc.FileAlternateNameInformation: {8, 4 + len("file")*2, 4 + len("folder")*2}, // short as they are
	}
	refused := map[fscc.FileClass]nt.Status{
		fscc.FileFullEaInformation: nt.NoEAsOnFile, fscc.FilePipeInformation: nt.NotSupported,
		fscc.FilePipeLocalInformation: nt.NotSupported,
	}
	for number := range 256 {
		class := fscc.FileClass(number)
		c, known := sizes[class]
		for name, on := range map[string]struct {
			id   wire.FileID
			size int
		}{"file": {file, c.file}, "directory": {dir, c.dir}} {
			if !known {
				want := nt.InvalidInfoClass
				if s, ok := refused[class]; ok {
					want = s
				}
				if s, _ := query(t, p, on.id, wire.InfoFile, uint8(class), 4096); s != want {
					t.Errorf("%v of a %s: %v, want %v", class, name, s, want)
				}
				continue
			}
			s, whole := query(t, p, on.id, wire.InfoFile, uint8(class), 4096)
			if s != nt.Success || len(whole) != on.size {
				t.Errorf("%v of a %s: %v, %d bytes, want %d", class, name, s, len(whole), on.size)
			}
			for size := 0; size <= on.size+1; size++ {
				s, b := query(t, p, on.id, wire.InfoFile, uint8(class), size)
				want, length := nt.Success, on.size
				switch {
				case size < c.least:
					want, length = nt.InfoLengthMismatch, 0
				case size < on.size:
					want, length = nt.BufferOverflow, size
				}
				if class == fscc.FileStreamInformation && want == nt.BufferOverflow {
					length = len(b) // no part of an entry is sent
				}
				if s != want || len(b) != length || !bytes.HasPrefix(whole, b) && class != fscc.FileStreamInformation {
					t.Errorf("%v of a %s into %d bytes: %v, %d bytes, want %v, %d", class, name, size, s, len(b), want, length)
				}
			}
		}
	}
	// Contents agree with each other and with what CREATE said.
	var made wire.CreateResponse
	p.Do(wire.CmdCreate, smbtest.OpenAs(`folder\file`, all, wire.FileOpen, 0), &made)
	everything := info[fscc.AllInfo](t, p, made.FileID, fscc.FileAllInformation)
	if everything.Creation != made.CreationTime || everything.EndOfFile != 5 || everything.StandardInfo.AllocationSize != int64(made.AllocationSize) ||
		everything.Attributes != vfs.AttrArchive || everything.Directory || everything.Links != 1 || everything.Access != all || everything.NameInfo.Name != `\folder\file` {
		t.Errorf("FileAllInformation: %+v after CREATE %+v", everything, made)
	}
	if got := info[fscc.BasicInfo](t, p, made.FileID, fscc.FileBasicInformation); got != everything.BasicInfo {
		t.Errorf("basic: %+v, all: %+v", got, everything.BasicInfo)
	}
	if got := info[fscc.InternalInfo](t, p, made.FileID, fscc.FileInternalInformation); got != everything.InternalInfo || got.FileID == 0 {
		t.Errorf("internal: %+v, all: %+v", got, everything.InternalInfo)
	}
	if got := info[fscc.NetworkOpenInfo](t, p, made.FileID, fscc.FileNetworkOpenInformation); got.EndOfFile != 5 || got.LastWrite != everything.LastWrite {
		t.Errorf("network open: %+v", got)
	}
	if got := info[fscc.StandardInfo](t, p, dir, fscc.FileStandardInformation); !got.Directory || got.EndOfFile != 0 || got.DeletePending {
		t.Errorf("standard information of a directory: %+v", got)
	}
	if got := info[fscc.AccessInfo](t, p, p.Open("folder", dtyp.ReadAttributes|dtyp.Synchronize, wire.FileOpen, 0), fscc.FileAccessInformation); got.Access != dtyp.ReadAttributes|dtyp.Synchronize {
		t.Errorf("access: %#x", uint32(got.Access))
	}
	read(t, p, made.FileID, 1, 3)
	if got := info[fscc.PositionInfo](t, p, made.FileID, fscc.FilePositionInformation); got.Offset != 4 {
		t.Errorf("position after a read of 3 at 1: %d", got.Offset)
	}
}

func TestQueryFilesystemClasses(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("", dtyp.FileRead, wire.FileOpen, 0)
	sizes := map[fscc.FSClass]struct{ least, whole int }{
		fscc.FileFsVolumeInformation: {24, 18 + 2*len("memfs")}, fscc.FileFsSizeInformation: {24, 24}, fscc.FileFsDeviceInformation: {8, 8},
		fscc.FileFsAttributeInformation: {16, 12 + 2*len("NTFS")}, fscc.FileFsFullSizeInformation: {32, 32}, fscc.FileFsObjectIdInformation: {64, 64},
		fscc.FileFsSectorSizeInformation: {28, 28}, fscc.FileFsControlInformation: {48, 48},
	}
	for number := range 256 {
		class := fscc.FSClass(number)
		c, ok := sizes[class]
		if !ok {
			if s, _ := query(t, p, id, wire.InfoFileSystem, uint8(class), 4096); s != nt.InvalidInfoClass {
				t.Errorf("%v: %v, want %v", class, s, nt.InvalidInfoClass)
			}
			continue
		}
		s, whole := query(t, p, id, wire.InfoFileSystem, uint8(class), 4096)
		if s != nt.Success || len(whole) != c.whole {
			t.Errorf("%v: %v, %d bytes, want %d", class, s, len(whole), c.whole)
		}
		for size := range c.whole {
			want, length := nt.BufferOverflow, size
			if size < c.least {
				want, length = nt.InfoLengthMismatch, 0
			}
			if s, b := query(t, p, id, wire.InfoFileSystem, uint8(class), size); s != want || len(b) != length || !bytes.HasPrefix(whole, b) {
				t.Errorf("%v into %d bytes: %v, %d bytes, want %v, %d", class, size, s, len(b), want, length)
			}
		}
	}
	for _, kind := range []uint8{0, 5, 255} {
		if s, _ := query(t, p, id, kind, 4, 4096); s != nt.InvalidParameter {
			t.Errorf("information type %d: %v", kind, s)
		}
	}
}

// A descriptor that does not fit is not sent in part: the client is told how much room it takes.
func TestQuerySecurity(t *testing.T) {
	h := newHouse(t, nil)
	for _, dialect := range []uint16{wire.Dialect311, wire.Dialect210} {
		p := h.logon("alice", "disk", dialect)
		id := p.Open("", all, wire.FileOpen, 0)
		s, whole := query(t, p, id, wire.InfoSecurity, 0, 4096)
		sd, err := dtyp.DecodeSecurityDescriptor(whole)
		if s != nt.Success || err != nil || sd.Owner != dtyp.Administrators || sd.DACL == nil {
			t.Fatalf("%v, %v, %+v", s, err, sd)
		}
		p.Send(smbtest.Element{Header: p.Request(wire.CmdQueryInfo, 0), Body: &wire.QueryInfoRequest{FileID: id, InfoType: wire.InfoSecurity, AdditionalInfo: 7, OutputBufferLength: uint32(len(whole) - 1)}})
		m := p.Final()
		var resp wire.ErrorResponse
		if err := resp.Decode(m.Raw); err != nil || m.Status != nt.BufferTooSmall {
			t.Fatal(err, m.Status)
		}
		data := resp.Data
		if dialect == wire.Dialect311 {
			list, err := resp.Contexts()
			if err != nil || len(list) != 1 || list[0].ID != wire.ErrorIDDefault {
				t.Fatalf("%v, %+v", err, list)
			}
			data = list[0].Data
		} else if resp.ContextCount != 0 {
			t.Errorf("%d error contexts before 3.1.1", resp.ContextCount)
		}
		if need, err := wire.BufferTooSmall(data); err != nil || int(need) != len(whole) {
			t.Errorf("%v, %d bytes needed, are %d", err, need, len(whole))
		}
		for additional, want := range map[uint32]nt.Status{wire.SecuritySACL: nt.AccessDenied, wire.SecuritySACL | wire.SecurityOwner: nt.AccessDenied, 0: nt.Success} {
			if s := p.Do(wire.CmdQueryInfo, &wire.QueryInfoRequest{FileID: id, InfoType: wire.InfoSecurity, AdditionalInfo: additional, OutputBufferLength: 4096}, nil); s != want {
				t.Errorf("security information %#x: %v, want %v", additional, s, want)
			}
		}
	}
}

// Every class number there is: what is set, what is refused, and that a body that is too short is neither.
func TestSetFileClasses(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	least := map[fscc.FileClass]int{
		fscc.FileBasicInformation: 40, fscc.FileRenameInformation: 20, fscc.FileLinkInformation: 20, fscc.FileDispositionInformation: 1, fscc.FilePositionInformation: 8,
		fscc.FileModeInformation: 4, fscc.FileAllocationInformation: 8, fscc.FileEndOfFileInformation: 8, fscc.FileValidDataLengthInformation: 8,
		fscc.FileShortNameInformation: 4, fscc.FileDispositionInformationEx: 4, fscc.FileRenameInformationEx: 20, fscc.FileLinkInformationEx: 20,
	}
	for number := range 256 {
		class := fscc.FileClass(number)
		n, ok := least[class]
		switch {
		case class == fscc.FileFullEaInformation: // see the access matrix
		case !ok:
			if s := setRaw(p, id, class, make([]byte, 100)); s != nt.InvalidInfoClass {
				t.Errorf("%v: %v", class, s)
			}
		default:
			for size := range n {
				if s := setRaw(p, id, class, make([]byte, size)); s != nt.InfoLengthMismatch {
					t.Errorf("%v in %d bytes: %v", class, size, s)
				}
			}
		}
	}
	for class, b := range map[fscc.FileClass][]byte{
		fscc.FileEndOfFileInformation: bytes.Repeat([]byte{0xFF}, 8), fscc.FileAllocationInformation: bytes.Repeat([]byte{0x80}, 8),
		fscc.FilePositionInformation: bytes.Repeat([]byte{0xFF}, 8), fscc.FileModeInformation: {0xFF, 0xFF, 0xFF, 0xFF}, fscc.FileRenameInformation: make([]byte, 24),
		fscc.FileBasicInformation: append(bytes.Repeat([]byte{0xFD, 0xFF, 0xFF, 0xFF}, 8), make([]byte, 8)...),
	} {
		if s := setRaw(p, id, class, b); s != nt.InvalidParameter {
			t.Errorf("%v with % x: %v", class, b, s)
		}
	}
}

func TestSetBasic(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	dir := p.Open("dir", all, wire.FileCreate, wire.FileDirectoryFile)
	at := func(year int) dtyp.Filetime { return dtyp.FiletimeOf(time.Date(year, 2, 3, 4, 5, 6, 700, time.UTC)) }
	all4 := fscc.BasicInfo{Creation: at(1991), LastAccess: at(1992), LastWrite: at(1993), Change: at(1994), Attributes: vfs.AttrHidden | vfs.AttrReadOnly}
	for _, on := range []wire.FileID{id, dir} {
		if s := set(p, on, fscc.FileBasicInformation, all4); s != nt.Success {
			t.Fatal(s)
		}
		want := all4
		if on == dir {
			want.Attributes |= vfs.AttrDirectory
		}
		if got := info[fscc.BasicInfo](t, p, on, fscc.FileBasicInformation); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	// 0 leaves a time and the attributes as they are; FILE_ATTRIBUTE_NORMAL takes all away; -1 keeps them from moving.
	if s := set(p, id, fscc.FileBasicInformation, fscc.BasicInfo{LastWrite: at(2000), Creation: fscc.TimeFreeze}); s != nt.Success {
		t.Fatal(s)
	}
	write(t, p, id, 0, []byte("later"))
	got := info[fscc.BasicInfo](t, p, id, fscc.FileBasicInformation)
	if got.Creation != at(1991) || got.LastAccess != at(1992) || got.LastWrite != at(2000) || got.Attributes != all4.Attributes {
		t.Errorf("after setting one time and a write: %+v", got)
	}
	if s := set(p, id, fscc.FileBasicInformation, fscc.BasicInfo{Attributes: vfs.AttrNormal}); s != nt.Success {
		t.Fatal(s)
	}
	if got := info[fscc.BasicInfo](t, p, id, fscc.FileBasicInformation); got.Attributes != vfs.AttrNormal {
		t.Errorf("attributes %#x", got.Attributes)
	}
	for _, bad := range []struct {
		id         wire.FileID
		attributes uint32
	}{{id, vfs.AttrDirectory}, {dir, vfs.AttrTemporary}} {
		if s := set(p, bad.id, fscc.FileBasicInformation, fscc.BasicInfo{Attributes: bad.attributes}); s != nt.InvalidParameter {
			t.Errorf("attributes %#x: %v", bad.attributes, s)
		}
	}
}

func TestSetSizes(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	write(t, p, id, 0, []byte("0123456789"))
	size := func(class fscc.FileClass, n int64) fscc.StandardInfo {
		t.Helper()
		if s := set(p, id, class, fscc.SizeInfo{Size: n}); s != nt.Success {
			t.Fatalf("%v to %d: %v", class, n, s)
		}
		return info[fscc.StandardInfo](t, p, id, fscc.FileStandardInformation)
	}
	if got := size(fscc.FileEndOfFileInformation, 4); got.EndOfFile != 4 {
		t.Errorf("%+v", got)
	}
	if got := size(fscc.FileEndOfFileInformation, 8); got.EndOfFile != 8 {
		t.Errorf("%+v", got)
	}
	if got := read(t, p, id, 0, 100); string(got) != "0123\x00\x00\x00\x00" {
		t.Errorf("%q", got)
	}
	if got := size(fscc.FileAllocationInformation, 1<<20); got.EndOfFile != 8 || got.AllocationSize < 1<<20 {
		t.Errorf("reserving space: %+v", got)
	}
	if got := size(fscc.FileAllocationInformation, 2); got.EndOfFile != 2 {
		t.Errorf("less space than there is: %+v", got)
	}
	if got := size(fscc.FileEndOfFileInformation, 0); got.EndOfFile != 0 {
		t.Errorf("%+v", got)
	}
	// Position and mode are kept, and do nothing.
	for _, c := range []struct {
		class fscc.FileClass
		body  smbtest.Body
	}{{fscc.FilePositionInformation, fscc.PositionInfo{Offset: 77}}, {fscc.FileModeInformation, fscc.ModeInfo{Mode: wire.FileSequentialOnly}}} {
		if s := set(p, id, c.class, c.body); s != nt.Success {
			t.Errorf("%v: %v", c.class, s)
		}
		if _, b := query(t, p, id, wire.InfoFile, uint8(c.class), 100); !bytes.Equal(b, c.body.Append(nil)) {
			t.Errorf("%v: % x", c.class, b)
		}
	}
}

func TestRename(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	name := func(id wire.FileID) string { return info[fscc.NameInfo](t, p, id, fscc.FileNameInformation).Name }
	id := p.Open("file", all, wire.FileCreate, 0)
	write(t, p, id, 0, []byte("moved"))
	p.Close(p.Open("dir", all, wire.FileCreate, wire.FileDirectoryFile))
	create := func(name string, attributes uint32) {
		req := smbtest.OpenAs(name, all, wire.FileCreate, 0)
		req.FileAttributes = attributes
		var resp wire.CreateResponse
		if s := p.Do(wire.CmdCreate, req, &resp); s != nt.Success {
			t.Fatal(s)
		}
		p.Close(resp.FileID)
	}
	create("there", 0)
	create("guarded", vfs.AttrReadOnly)
	create("held", 0)
	held := p.Open("held", dtyp.FileRead, wire.FileOpen, 0)
	for _, c := range []struct {
		to      string
		replace uint32
		want    nt.Status
	}{
		{"there", 0, nt.ObjectNameCollision},
		{"guarded", 1, nt.AccessDenied},
		{"held", 1, nt.AccessDenied},
		{"dir", 0, nt.ObjectNameCollision},
		{"dir", 1, nt.AccessDenied},
		{`nowhere\x`, 0, nt.ObjectPathNotFound},
		{`nowhere\x`, 1, nt.ObjectPathNotFound},
		{`there\x`, 0, nt.ObjectPathNotFound},
		{`a?b`, 0, nt.ObjectNameInvalid},
		{`a:stream`, 0, nt.InvalidParameter},
		{`..\x`, 0, nt.ObjectPathSyntaxBad},
		{"File", 0, nt.Success}, // its own name in another case
		{"File", 1, nt.Success},
		{"there", 1, nt.Success},
		{`dir\deep`, 0, nt.Success},
		{`\file`, 0, nt.ObjectNameInvalid}, // names count from the root of the share, without a separator
		{"file", 0, nt.Success},
	} {
		before := name(id)
		s := set(p, id, fscc.FileRenameInformation, fscc.RenameInfo{Name: c.to, Flags: c.replace})
		if s != c.want {
			t.Errorf("%s to %s (%d): %v, want %v", before, c.to, c.replace, s, c.want)
		}
		want := before
		if s == nt.Success {
			want = `\` + c.to
		}
		if got := name(id); got != want {
			t.Errorf("to %s: the name is %s", c.to, got)
		}
	}
	p.Close(held)
	if got := read(t, p, id, 0, 100); string(got) != "moved" {
		t.Errorf("%q", got)
	}
	// Others have it open and do not share delete.
	alone := smbtest.OpenAs("file", dtyp.FileRead, wire.FileOpen, 0)
	alone.ShareAccess = wire.ShareRead | wire.ShareWrite
	other := p.Open("other", dtyp.FileRead|dtyp.Delete, wire.FileCreate, 0)
	alone.Name = "other"
	if s := p.Do(wire.CmdCreate, alone, nil); s != nt.SharingViolation {
		t.Errorf("opening without sharing delete beside one who may delete: %v", s)
	}
	p.Close(other)
	// The root stays where it is.
	root := p.Open("", all, wire.FileOpen, 0)
	if s := set(p, root, fscc.FileRenameInformation, fscc.RenameInfo{Name: "x"}); s != nt.AccessDenied {
		t.Errorf("renaming the root: %v", s)
	}
	p.Close(root) // while someone may delete a directory, no name is put into it
	// A directory moves with what is in it, but not into itself.
	dir := p.Open("dir", all, wire.FileOpen, 0)
	p.Close(p.Open(`dir\inside`, all, wire.FileCreate, 0))
	if s := set(p, dir, fscc.FileRenameInformation, fscc.RenameInfo{Name: `dir\self`}); !s.IsError() {
		t.Errorf("a directory into itself: %v", s)
	}
	if s := set(p, dir, fscc.FileRenameInformation, fscc.RenameInfo{Name: "DIR2"}); s != nt.Success {
		t.Errorf("a directory: %v", s)
	}
	p.Close(p.Open(`dir2\INSIDE`, all, wire.FileOpen, 0))
}

func TestHardLink(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	write(t, p, id, 0, []byte("two names"))
	p.Close(p.Open("there", all, wire.FileCreate, 0))
	dir := p.Open("dir", all, wire.FileCreate, wire.FileDirectoryFile)
	for _, c := range []struct {
		id      wire.FileID
		to      string
		replace uint32
		want    nt.Status
	}{
		{id, "there", 0, nt.ObjectNameCollision},
		{dir, "x", 0, nt.FileIsADirectory},
		{id, `nowhere\x`, 0, nt.ObjectPathNotFound},
		{id, "dir", 1, nt.AccessDenied},
		{id, `dir\link`, 0, nt.Success},
	} {
		if s := set(p, c.id, fscc.FileLinkInformation, fscc.RenameInfo{Name: c.to, Flags: c.replace}); s != c.want {
			t.Errorf("link %s (%d): %v, want %v", c.to, c.replace, s, c.want)
		}
	}
	link := p.Open(`dir\link`, dtyp.FileRead, wire.FileOpen, 0)
	if got := read(t, p, link, 0, 100); string(got) != "two names" {
		t.Errorf("%q", got)
	}
	a, b := info[fscc.InternalInfo](t, p, id, fscc.FileInternalInformation), info[fscc.InternalInfo](t, p, link, fscc.FileInternalInformation)
	if n := info[fscc.StandardInfo](t, p, id, fscc.FileStandardInformation).Links; a != b || n != 2 {
		t.Errorf("ids %v and %v, %d links", a, b, n)
	}
}

func TestDisposition(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	const plain, ex = fscc.FileDispositionInformation, fscc.FileDispositionInformationEx
	id := p.Open("file", all, wire.FileCreate, 0)
	pending := func() bool { return info[fscc.StandardInfo](t, p, id, fscc.FileStandardInformation).DeletePending }
	for _, c := range []struct {
		class fscc.FileClass
		body  []byte
		want  bool
	}{{plain, []byte{1}, true}, {plain, []byte{0}, false}, {ex, []byte{1, 0, 0, 0}, true}, {ex, []byte{0, 0, 0, 0}, false}} {
		if s := setRaw(p, id, c.class, c.body); s != nt.Success || pending() != c.want {
			t.Errorf("%v % x: %v, pending %t", c.class, c.body, s, pending())
		}
	}
	p.Close(id)
	// Taken back in time, the file stays.
	id = p.Open("file", all, wire.FileOpen, 0)
	// Read-only files are not deleted, except by who asks to ignore that.
	if s := set(p, id, fscc.FileBasicInformation, fscc.BasicInfo{Attributes: vfs.AttrReadOnly}); s != nt.Success {
		t.Fatal(s)
	}
	if s := setRaw(p, id, plain, []byte{1}); s != nt.CannotDelete {
		t.Errorf("a read-only file: %v", s)
	}
	if s := set(p, id, ex, fscc.DispositionExInfo{Flags: fscc.DispositionDelete}); s != nt.CannotDelete {
		t.Errorf("a read-only file: %v", s)
	}
	if s := set(p, id, ex, fscc.DispositionExInfo{Flags: fscc.DispositionDelete | fscc.DispositionIgnoreReadOnly}); s != nt.Success {
		t.Errorf("a read-only file all the same: %v", s)
	}
	if s := set(p, id, fscc.FileRenameInformation, fscc.RenameInfo{Name: "late"}); s != nt.DeletePending {
		t.Errorf("renaming what is going: %v", s)
	}
	if s := set(p, id, fscc.FileLinkInformation, fscc.RenameInfo{Name: "late"}); s != nt.DeletePending {
		t.Errorf("linking what is going: %v", s)
	}
	p.Close(id)
	if s := p.Do(wire.CmdCreate, smbtest.OpenAs("file", all, wire.FileOpen, 0), nil); s != nt.ObjectNameNotFound {
		t.Errorf("a deleted file: %v", s)
	}
	if s := setRaw(p, p.Open("", all, wire.FileOpen, 0), plain, []byte{1}); s != nt.CannotDelete {
		t.Errorf("the root: %v", s)
	}
}

// Listing takes the right to list, whatever else the handle may do.
func TestListRight(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	for access, want := range map[dtyp.Access]nt.Status{
		all: nt.Success, dtyp.ReadData: nt.Success, all &^ dtyp.ReadData: nt.AccessDenied, dtyp.Synchronize | dtyp.ReadAttributes: nt.AccessDenied,
	} {
		id := p.Open("", access, wire.FileOpen, 0)
		req := &wire.QueryDirectoryRequest{FileID: id, InfoClass: uint8(fscc.FileNamesInformation), Pattern: "*", OutputBufferLength: 1000}
		if s := p.Do(wire.CmdQueryDirectory, req, nil); s != want {
			t.Errorf("access %#x: %v, want %v", uint32(access), s, want)
		}
	}
}

package smb_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/wire"
)

// fsctl is one IOCTL: the status and what came, also with a warning.
func fsctl(t *testing.T, p *smbtest.Peer, code fscc.FSCTL, id wire.FileID, in []byte, room int) (nt.Status, []byte) {
	t.Helper()
	p.Send(smbtest.Element{Header: p.Request(wire.CmdIoctl, 0), Body: &wire.IoctlRequest{
		CtlCode: uint32(code), FileID: id, Input: in, MaxOutputResponse: uint32(room), Flags: wire.IoctlIsFsctl,
	}})
	m := p.Final()
	var resp wire.IoctlResponse
	if m.Status == nt.Success || m.Status == nt.BufferOverflow {
		if err := resp.Decode(m.Raw); err != nil {
			t.Fatal(err)
		}
	}
	return m.Status, resp.Output
}

func wantStatus(t *testing.T, what string, got, want nt.Status) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v; want %v", what, got, want)
	}
}

func duplicate(src wire.FileID, from, to, n int64) fscc.DuplicateExtents {
	d := fscc.DuplicateExtents{SourceOffset: from, TargetOffset: to, Count: n}
	binary.LittleEndian.PutUint64(d.SourceID[0:], src.Persistent)
	binary.LittleEndian.PutUint64(d.SourceID[8:], src.Volatile)
	return d
}

// FSCTL_DUPLICATE_EXTENTS_TO_FILE, [MS-FSA] 2.1.5.9.4.
func TestDuplicateExtents(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	src, dst := p.Open("src", all, wire.FileCreate, 0), p.Open("dst", all, wire.FileCreate, 0)
	defer p.Close(src)
	defer p.Close(dst)
	const block = 4096
	text := append(bytes.Repeat([]byte("a"), block), bytes.Repeat([]byte("b"), block)...)
	write(t, p, src, 0, text)
	if s, b := query(t, p, src, wire.InfoFileSystem, uint8(fscc.FileFsAttributeInformation), 100); s != nt.Success || binary.LittleEndian.Uint32(b)&fscc.FSBlockRefcounting == 0 {
		t.Errorf("block sharing is not announced: %v", s)
	}
	try := func(d fscc.DuplicateExtents) nt.Status {
		t.Helper()
		s, _ := fsctl(t, p, fscc.FsctlDuplicateExtents, dst, d.Append(nil), 0)
		return s
	}
	size := func() int64 { return info[fscc.StandardInfo](t, p, dst, fscc.FileStandardInformation).EndOfFile }

	wantStatus(t, "into an empty file", try(duplicate(src, 0, 0, block)), nt.Success)
	if size() != 0 {
		t.Errorf("the target grew to %d bytes", size())
	}
	wantStatus(t, "end of file", set(p, dst, fscc.FileEndOfFileInformation, fscc.SizeInfo{Size: 2 * block}), nt.Success)
	wantStatus(t, "one block", try(duplicate(src, block, 0, block)), nt.Success)
	wantStatus(t, "past the target's end", try(duplicate(src, 0, block, 2*block)), nt.Success)
	if got := read(t, p, dst, 0, 2*block); !bytes.Equal(got, append(bytes.Repeat([]byte("b"), block), bytes.Repeat([]byte("a"), block)...)) {
		t.Error("the blocks are not the source's")
	}
	wantStatus(t, "no bytes", try(duplicate(src, 0, 0, 0)), nt.Success)
	wantStatus(t, "beyond the source", try(duplicate(src, block, 0, 2*block)), nt.NotSupported)
	wantStatus(t, "no such source", try(duplicate(wire.FileID{Persistent: 1, Volatile: 2}, 0, 0, block)), nt.InvalidHandle)
	wantStatus(t, "over itself", try(duplicate(dst, 0, 0, block)), nt.NotSupported)
	s, _ := fsctl(t, p, fscc.FsctlDuplicateExtentsEx, dst, duplicate(src, 0, 0, block).AppendEx(nil), 0)
	wantStatus(t, "extended form", s, nt.Success)

	// Holes stay out of a file that has none.
	s, _ = fsctl(t, p, fscc.FsctlSetSparse, src, nil, 0)
	wantStatus(t, "sparse", s, nt.Success)
	wantStatus(t, "from a sparse file", try(duplicate(src, 0, 0, block)), nt.NotSupported)
	s, _ = fsctl(t, p, fscc.FsctlSetSparse, dst, []byte{1}, 0)
	wantStatus(t, "sparse", s, nt.Success)
	wantStatus(t, "from a sparse file to another", try(duplicate(src, 0, 0, block)), nt.Success)
}

// SEC-39: blocks come only from what the session has open for reading.
func TestSEC39DuplicateExtents(t *testing.T) {
	h := newHouse(t, nil)
	p, other := h.logon("alice", "disk"), h.logon("alice", "disk")
	src := p.Open("src", all, wire.FileCreate, 0)
	write(t, p, src, 0, bytes.Repeat([]byte("secret"), 1000))
	blind := p.Open("src", dtyp.ReadAttributes|dtyp.WriteData, wire.FileOpen, 0)
	dst := p.Open("dst", all, wire.FileCreate, 0)
	write(t, p, dst, 0, make([]byte, 4096))
	s, _ := fsctl(t, p, fscc.FsctlDuplicateExtents, dst, duplicate(blind, 0, 0, 4096).Append(nil), 0)
	wantStatus(t, "a source that may not be read", s, nt.AccessDenied)
	theirs := other.Open("theirs", all, wire.FileCreate, 0)
	write(t, other, theirs, 0, make([]byte, 4096))
	s, _ = fsctl(t, other, fscc.FsctlDuplicateExtents, theirs, duplicate(src, 0, 0, 4096).Append(nil), 0)
	wantStatus(t, "another session's source", s, nt.InvalidHandle)
	dir := p.Open("dir", all, wire.FileCreate, wire.FileDirectoryFile)
	s, _ = fsctl(t, p, fscc.FsctlDuplicateExtents, dst, duplicate(dir, 0, 0, 4096).Append(nil), 0)
	wantStatus(t, "a directory", s, nt.InvalidParameter)
	for cut := range 40 {
		s, _ = fsctl(t, p, fscc.FsctlDuplicateExtents, dst, duplicate(src, 0, 0, 4096).Append(nil)[:cut], 0)
		wantStatus(t, "cut off", s, nt.InvalidParameter)
	}
}

// FSCTL_GET_COMPRESSION and FSCTL_SET_COMPRESSION, [MS-FSA] 2.1.5.9.33.
func TestCompressionState(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	state := func(id wire.FileID) uint16 {
		t.Helper()
		s, b := fsctl(t, p, fscc.FsctlGetCompression, id, nil, 2)
		if s != nt.Success || len(b) != 2 {
			t.Fatalf("%v, % x", s, b)
		}
		return binary.LittleEndian.Uint16(b)
	}
	set := func(id wire.FileID, format uint16) nt.Status {
		s, _ := fsctl(t, p, fscc.FsctlSetCompression, id, fscc.AppendCompression(nil, format), 0)
		return s
	}
	dir := p.Open("dir", all, wire.FileCreate, wire.FileDirectoryFile)
	if state(dir) != fscc.CompressionNone {
		t.Error("compressed from the start")
	}
	wantStatus(t, "unknown format", set(dir, 0x42), nt.InvalidParameter)
	wantStatus(t, "default", set(dir, fscc.CompressionDefault), nt.Success)
	f := p.Open(`dir\f`, all, wire.FileCreate, 0)
	plain := p.Open(`dir\plain`, all, wire.FileCreate, wire.FileNoCompression)
	if state(dir) != fscc.CompressionLZNT1 || state(f) != fscc.CompressionLZNT1 || state(plain) != fscc.CompressionNone {
		t.Errorf("directory %d, file %d, file without %d", state(dir), state(f), state(plain))
	}
	if a := info[fscc.BasicInfo](t, p, f, fscc.FileBasicInformation).Attributes; a&vfs.AttrCompressed == 0 {
		t.Errorf("attributes %#x", a)
	}
	if i := info[fscc.CompressionInfo](t, p, f, fscc.FileCompressionInformation); i.Format != fscc.CompressionLZNT1 {
		t.Errorf("compression information %+v", i)
	}
	wantStatus(t, "none", set(f, fscc.CompressionNone), nt.Success)
	if state(f) != fscc.CompressionNone {
		t.Error("compressed still")
	}
	s, _ := fsctl(t, p, fscc.FsctlGetCompression, f, nil, 1)
	wantStatus(t, "one byte of room", s, nt.BufferTooSmall)
}

// FSCTL_QUERY_ALLOCATED_RANGES: a file that is not sparse has no holes, whatever the filesystem made of it.
func TestAllocatedRanges(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	f := p.Open("f", all, wire.FileCreate, 0)
	write(t, p, f, 1<<20, []byte("end"))
	ranges := func(off, n int64, room int) (nt.Status, []fscc.Range) {
		t.Helper()
		s, b := fsctl(t, p, fscc.FsctlQueryAllocatedRanges, f, fscc.Range{Offset: off, Length: n}.Append(nil), room)
		list, err := fscc.DecodeRanges(b)
		if err != nil {
			t.Fatal(err)
		}
		return s, list
	}
	if s, list := ranges(1, 1<<30, 100); s != nt.Success || len(list) != 1 || list[0] != (fscc.Range{Offset: 1, Length: 1<<20 + 2}) {
		t.Errorf("not sparse: %v, %v", s, list)
	}
	if s, list := ranges(1<<21, 10, 100); s != nt.Success || len(list) != 0 {
		t.Errorf("past the end: %v, %v", s, list)
	}
	s, _ := fsctl(t, p, fscc.FsctlSetSparse, f, nil, 0)
	wantStatus(t, "sparse", s, nt.Success)
	write(t, p, f, 0, []byte("begin"))
	if s, list := ranges(0, 1<<30, 100); s != nt.Success || len(list) != 2 {
		t.Errorf("sparse: %v, %v", s, list)
	}
	if s, list := ranges(0, 1<<30, 31); s != nt.BufferOverflow || len(list) != 1 {
		t.Errorf("room for one: %v, %v", s, list)
	}
	wantStatus(t, "room for none", first(ranges(0, 1<<30, 15)), nt.BufferTooSmall)
	wantStatus(t, "wrapped around", first(ranges(512, -1, 100)), nt.InvalidParameter)
}

func first[T, U any](v T, _ U) T { return v }

// FSCTL_FILE_LEVEL_TRIM makes holes in sparse files and nothing elsewhere.
func TestTrim(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	f := p.Open("f", all, wire.FileCreate, 0)
	data := bytes.Repeat([]byte("x"), 64<<10)
	write(t, p, f, 0, data)
	trim := func(ranges ...fscc.Range) (nt.Status, []byte) {
		t.Helper()
		return fsctl(t, p, fscc.FsctlFileLevelTrim, f, fscc.Trim{Ranges: ranges}.Append(nil), 4)
	}
	half := fscc.Range{Length: 32 << 10}
	if s, b := trim(half); s != nt.Success || len(b) != 4 || b[0] != 1 || !bytes.Equal(read(t, p, f, 0, 64<<10), data) {
		t.Errorf("not sparse: %v, % x, or contents gone", s, b)
	}
	fsctl(t, p, fscc.FsctlSetSparse, f, nil, 0)
	if s, b := trim(half, fscc.Range{Offset: 1 << 40, Length: 1 << 40}); s != nt.Success || b[0] != 2 {
		t.Errorf("sparse: %v, % x", s, b)
	}
	clear(data[:32<<10])
	if !bytes.Equal(read(t, p, f, 0, 64<<10), data) {
		t.Error("not the range was trimmed")
	}
	if a := info[fscc.StandardInfo](t, p, f, fscc.FileStandardInformation); a.AllocationSize != 32<<10 || a.EndOfFile != 64<<10 {
		t.Errorf("%+v", a)
	}
	wantStatus(t, "too many", first(trim(make([]fscc.Range, 4000)...)), nt.Success)
	wantStatus(t, "too many", first(trim(make([]fscc.Range, 4097)...)), nt.InvalidParameter)
	wantStatus(t, "none", first(trim()), nt.InvalidParameter)
}

// Codes that are asked of the connection name no file, [MS-SMB2] 3.3.5.15.
func TestControlOfNoFile(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "IPC$")
	wait := func(id wire.FileID, name string) nt.Status {
		s, _ := fsctl(t, p, fscc.FsctlPipeWait, id, fscc.PipeWait{Name: name}.Append(nil), 0)
		return s
	}
	wantStatus(t, "a pipe", wait(wire.NoFileID, "SRVSVC"), nt.Success)
	wantStatus(t, "no such pipe", wait(wire.NoFileID, "spoolss"), nt.ObjectNameNotFound)
	wantStatus(t, "of a file", wait(wire.FileID{Persistent: 1, Volatile: 1}, "srvsvc"), nt.InvalidParameter)
	s, _ := fsctl(t, p, fscc.FSCTL(wire.FsctlQueryNetworkInterfaceInfo), wire.FileID{Persistent: 1, Volatile: 1}, nil, 1)
	wantStatus(t, "interfaces of a file", s, nt.InvalidParameter)
	s, _ = fsctl(t, p, fscc.FSCTL(wire.FsctlQueryNetworkInterfaceInfo), wire.NoFileID, nil, 1)
	wantStatus(t, "interfaces without room", s, nt.BufferTooSmall)
}

// A CREATE that reserves space is told what it reserved.
func TestReserveAtCreate(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	for size, want := range map[uint64]uint64{1 << 20: 1 << 20, 1000: 4096, 0: 0} {
		req := smbtest.OpenAs(fmt.Sprint(size), all, wire.FileCreate, 0)
		a := wire.AllocationSize{Size: size}
		req.Contexts = []wire.CreateContext{{Name: wire.CreateAllocationSize, Data: a.Append(nil)}}
		var resp wire.CreateResponse
		if s := p.Do(wire.CmdCreate, req, &resp); s != nt.Success || resp.AllocationSize != want {
			t.Errorf("%d bytes: %v, %d are told", size, s, resp.AllocationSize)
		}
	}
}

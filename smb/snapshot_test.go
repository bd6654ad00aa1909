package smb_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

// A keeper is a Volume with previous versions, which could be written to: the server must not.
type keeper struct {
	*memfs.Volume
	past map[int64]*memfs.Volume
	used *atomic.Int32 // At without done
}

func (k *keeper) Snapshots(context.Context) (list []time.Time, err error) {
	for at := range k.past {
		list = append(list, time.Unix(at, 0))
	}
	slices.SortFunc(list, func(a, b time.Time) int { return b.Compare(a) })
	return list, nil
}

func (k *keeper) At(_ context.Context, t time.Time) (vfs.Volume, func(), error) {
	v := k.past[t.Unix()]
	if v == nil {
		return nil, nil, nt.ObjectNameNotFound
	}
	k.used.Add(1)
	return v, func() { k.used.Add(-1) }, nil
}

var (
	in2015 = time.Date(2015, 10, 31, 19, 40, 30, 0, time.UTC)
	in2016 = time.Date(2016, 1, 1, 0, 0, 0, 0, time.UTC)
)

const token2015 = "@GMT-2015.10.31-19.40.30"

// keptHouse has a share whose previous versions of 2015 have a file, and of 2016 nothing.
func keptHouse(t *testing.T) (*house, *keeper) {
	t.Helper()
	k := &keeper{memfs.New(), map[int64]*memfs.Volume{in2015.Unix(): memfs.New(), in2016.Unix(): memfs.New()}, new(atomic.Int32)}
	fill := func(v vfs.Volume, contents string) {
		t.Helper()
		ctx := context.Background()
		d, _, err := v.Open(ctx, vfs.Path{Names: []string{"dir"}}, vfs.How{Disposition: vfs.Create, Directory: true})
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
		for _, p := range []vfs.Path{{Names: []string{"file"}}, {Names: []string{"dir", "inner"}}} {
			f, _, err := v.Open(ctx, p, vfs.How{Disposition: vfs.Create, Access: all})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte(contents), 0); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	fill(k.Volume, "now")
	fill(k.past[in2015.Unix()], "then")
	t.Cleanup(func() { // after the house is closed
		if n := k.used.Load(); n != 0 {
			t.Errorf("%d versions are still in use", n)
		}
	})
	h := newHouse(t, func(c *smb.Config) { c.Shares[0].Volume = k })
	return h, k
}

// openAt is a CREATE with a timewarp token.
func openAt(p *smbtest.Peer, name string, at time.Time, change func(*wire.CreateRequest)) (nt.Status, wire.FileID) {
	req := smbtest.OpenAs(name, dtyp.FileRead, wire.FileOpen, 0)
	if change != nil {
		change(req)
	}
	w := wire.Timewarp{Timestamp: dtyp.FiletimeOf(at)}
	req.Contexts = append(req.Contexts, wire.CreateContext{Name: wire.CreateTimewarp, Data: w.Append(nil)})
	var resp wire.CreateResponse
	s := p.Do(wire.CmdCreate, req, &resp)
	return s, resp.FileID
}

// Opening what was, [MS-SMB2] 3.3.5.9.7, by context and by token in the path.
func TestPreviousVersion(t *testing.T) {
	h, k := keptHouse(t)
	p := h.logon("alice", "disk")
	contents := func(id wire.FileID) string { t.Helper(); return string(read(t, p, id, 0, 4)) }

	s, id := openAt(p, "file", in2015, nil)
	wantStatus(t, "by context", s, nt.Success)
	if got := contents(id); got != "then" {
		t.Errorf("read %q", got)
	}
	if n := k.used.Load(); n != 1 {
		t.Errorf("%d versions in use", n)
	}
	p.Close(id)
	for _, name := range []string{token2015 + `\file`, token2015 + `\dir\inner`, `dir\` + token2015 + `\inner`, `dir\inner\` + token2015} {
		id := p.Open(name, dtyp.FileRead, wire.FileOpen, 0)
		if got := contents(id); got != "then" {
			t.Errorf("%s: %q", name, got)
		}
		i := info[fscc.StandardInfo](t, p, id, fscc.FileStandardInformation)
		if i.EndOfFile != 4 {
			t.Errorf("%s: %+v", name, i)
		}
		p.Close(id)
	}
	for name, want := range map[string]nt.Status{
		"@GMT-2015.10.31-19.40.31\\file":          nt.ObjectNameNotFound,
		"@GMT-2016.01.01-00.00.00\\file":          nt.ObjectNameNotFound,
		"@GMT-2015.10.31-19.40.30\\none":          nt.ObjectNameNotFound,
		"@GMT-2015.13.31-19.40.30\\file":          nt.ObjectPathNotFound, // a name like any other
		token2015 + `\` + token2015 + `\file`:     nt.ObjectNameInvalid,
		token2015 + `\` + "..\\" + `secret`:       nt.ObjectNameNotFound, // out of the past again, in the share
		token2015 + `\..\..\secret`:               nt.ObjectPathSyntaxBad,
		token2015 + `\dir\none\` + `further\down`: nt.ObjectPathNotFound,
	} {
		wantStatus(t, name, p.Do(wire.CmdCreate, smbtest.OpenAs(name, dtyp.FileRead, wire.FileOpen, 0), nil), want)
	}
	s, _ = openAt(p, "file", in2015.Add(time.Second), nil)
	wantStatus(t, "at no moment", s, nt.ObjectNameNotFound)
	s, id = openAt(p, "", in2015.Add(time.Millisecond), func(r *wire.CreateRequest) { r.Options = wire.FileDirectoryFile })
	wantStatus(t, "the root", s, nt.Success)
	var list wire.QueryDirectoryResponse
	wantStatus(t, "list", p.Do(wire.CmdQueryDirectory, &wire.QueryDirectoryRequest{
		FileID: id, InfoClass: uint8(fscc.FileNamesInformation), Pattern: "*", OutputBufferLength: 1000,
	}, &list), nt.Success)
	if entries, err := fscc.DecodeDir(fscc.FileNamesInformation, list.Buffer); err != nil || len(entries) != 4 {
		t.Errorf("%+v, %v", entries, err)
	}
	if _, b := query(t, p, id, wire.InfoFileSystem, uint8(fscc.FileFsAttributeInformation), 100); binary.LittleEndian.Uint32(b)&fscc.FSReadOnlyVolume == 0 {
		t.Error("the past does not say that it is read-only")
	}
	p.Close(id)
	// A share without them.
	q := h.logon("alice", "private")
	s, _ = openAt(q, "file", in2015, nil)
	wantStatus(t, "a volume without versions", s, nt.ObjectNameNotFound)
	s, _ = fsctl(t, q, fscc.FSCTL(wire.FsctlSrvEnumerateSnapshots), q.Open("x", all, wire.FileCreate, 0), nil, 16)
	wantStatus(t, "list of a volume without versions", s, nt.NotSupported)
}

// SEC-31: what was cannot be changed, by any operation, though it may be opened for it.
func TestSEC31PreviousVersionReadOnly(t *testing.T) {
	h, k := keptHouse(t)
	p := h.logon("alice", "disk")
	for disposition, want := range map[uint32]nt.Status{
		wire.FileOpen: nt.Success, wire.FileOverwrite: nt.MediaWriteProtected, wire.FileOverwriteIf: nt.MediaWriteProtected,
		wire.FileSupersede: nt.MediaWriteProtected,
	} {
		s, _ := openAt(p, "file", in2015, func(r *wire.CreateRequest) { r.Disposition = disposition })
		wantStatus(t, fmt.Sprint("disposition ", disposition), s, want)
	}
	s, _ := openAt(p, "file", in2015, func(r *wire.CreateRequest) {
		r.Options, r.DesiredAccess = wire.FileDeleteOnClose, all
	})
	wantStatus(t, "delete on close", s, nt.MediaWriteProtected)

	s, id := openAt(p, "file", in2015, func(r *wire.CreateRequest) { r.DesiredAccess = all })
	wantStatus(t, "open for everything", s, nt.Success)
	wantStatus(t, "write", p.Do(wire.CmdWrite, &wire.WriteRequest{FileID: id, Data: []byte("xxxx")}, nil), nt.MediaWriteProtected)
	for _, class := range smb.SetClasses() {
		want := nt.MediaWriteProtected
		switch class {
		case fscc.FileRenameInformation, fscc.FileRenameInformationEx, fscc.FileLinkInformation, fscc.FileLinkInformationEx:
			want = nt.NotSameDevice
		case fscc.FilePositionInformation, fscc.FileModeInformation:
			want = nt.Success
		}
		wantStatus(t, class.String(), setRaw(p, id, class, make([]byte, 40)), want)
	}
	nullDACL := append([]byte{1, 0, 0x04, 0x80}, make([]byte, 16)...)
	wantStatus(t, "security", p.Do(wire.CmdSetInfo, &wire.SetInfoRequest{
		FileID: id, InfoType: wire.InfoSecurity, AdditionalInfo: wire.SecurityDACL, Buffer: nullDACL,
	}, nil), nt.MediaWriteProtected)
	readsOnly := []uint32{
		wire.FsctlSrvRequestResumeKey, wire.FsctlSrvEnumerateSnapshots, uint32(fscc.FsctlQueryAllocatedRanges), uint32(fscc.FsctlGetCompression),
	} // it has no object id, and gets none
	for _, code := range smb.Controls() {
		s, _ := fsctl(t, p, fscc.FSCTL(code), id, fscc.Range{Length: 4}.Append(nil), 100)
		if ok := slices.Contains(readsOnly, code); (s == nt.Success) != ok {
			t.Errorf("control code %#x: %v", code, s)
		}
	}
	if got := string(read(t, p, id, 0, 10)); got != "then" {
		t.Errorf("it reads %q now", got)
	}
	p.Close(id)
	var names []string
	root, _, err := k.past[in2015.Unix()].Open(context.Background(), vfs.Path{}, vfs.How{Access: all, Directory: true})
	if err != nil {
		t.Fatal(err)
	}
	root.ReadDir(context.Background(), 0, nil, 0, func(_ uint64, e vfs.Entry) bool { names = append(names, e.Name); return true })
	if strings.Join(names, " ") != ". .. dir file" {
		t.Errorf("it holds %q now", names)
	}
}

// The list of previous versions, [MS-SMB2] 3.3.5.15.1: of this file, all or the counts alone.
func TestEnumerateSnapshots(t *testing.T) {
	h, _ := keptHouse(t)
	p := h.logon("alice", "disk")
	file, root := p.Open("file", dtyp.FileRead, wire.FileOpen, 0), p.Open("", dtyp.FileRead, wire.FileOpen, 0)
	fresh := p.Open("new", all, wire.FileCreate, 0)
	list := func(id wire.FileID, room int) (nt.Status, wire.SnapshotArray, int) {
		t.Helper()
		s, b := fsctl(t, p, fscc.FSCTL(wire.FsctlSrvEnumerateSnapshots), id, nil, room)
		var a wire.SnapshotArray
		if s == nt.Success {
			if err := a.Decode(b); err != nil {
				t.Fatal(err)
			}
		}
		return s, a, len(b)
	}
	const one = 24*2 + 2 // bytes of a name
	for _, c := range []struct {
		what   string
		id     wire.FileID
		room   int
		status nt.Status
		total  uint32
		size   uint32
		names  []string
		n      int
	}{
		{"no room", file, 15, nt.InvalidParameter, 0, 0, nil, 0},
		{"counts", file, 16, nt.Success, 1, one + 2, nil, 16},
		{"a byte short", file, 12 + one + 1, nt.Success, 1, one + 2, nil, 16},
		{"all", file, 12 + one + 2, nt.Success, 1, one + 2, []string{token2015}, 12 + one + 2},
		{"the root", root, 4096, nt.Success, 2, 2*one + 2, []string{"@GMT-2016.01.01-00.00.00", token2015}, 12 + 2*one + 2},
		{"never was", fresh, 4096, nt.Success, 0, 0, nil, 16},
	} {
		s, a, n := list(c.id, c.room)
		if s != c.status || a.Total != c.total || a.Size != c.size || !slices.Equal(a.Names, c.names) || n != c.n {
			t.Errorf("%s: %v, %+v in %d bytes; want %+v", c.what, s, a, n, c)
		}
	}
	// In the past there are the same moments.
	_, was := openAt(p, "file", in2015, nil)
	if s, a, _ := list(was, 4096); s != nt.Success || a.Total != 1 {
		t.Errorf("%v, %+v", s, a)
	}
}

// A previous version is copied back by server-side copy.
func TestRestorePreviousVersion(t *testing.T) {
	h, _ := keptHouse(t)
	p := h.logon("alice", "disk")
	s, src := openAt(p, "file", in2015, nil)
	wantStatus(t, "open", s, nt.Success)
	dst := p.Open("file", all, wire.FileOpen, 0)
	s, b := fsctl(t, p, fscc.FSCTL(wire.FsctlSrvRequestResumeKey), src, nil, 32)
	var key wire.ResumeKeyResponse
	if err := key.Decode(b); s != nt.Success || err != nil {
		t.Fatal(s, err)
	}
	chunk := wire.CopyChunkRequest{Source: key.Key, Chunks: []wire.CopyChunk{{Length: 4}}}
	s, _ = fsctl(t, p, fscc.FSCTL(wire.FsctlSrvCopychunk), dst, chunk.Append(nil), 12)
	wantStatus(t, "copy", s, nt.Success)
	if got := string(read(t, p, dst, 0, 10)); got != "then" {
		t.Errorf("restored %q", got)
	}
}

package smb_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs/osfs"
	"github.com/postern-nas/postern/smb/wire"
)

// eaList encodes NAME=value pairs.
func eaList(pairs ...string) []byte {
	var list []fscc.EA
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		list = append(list, fscc.EA{Name: name, Value: []byte(value)})
	}
	b, _ := fscc.AppendEAs(nil, 1<<20, list)
	return b
}

// askEAs is a query of FileFullEaInformation.
func askEAs(p *smbtest.Peer, id wire.FileID, size int, flags, index uint32, names ...string) (string, nt.Status) {
	p.T.Helper()
	req := &wire.QueryInfoRequest{
		FileID: id, InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileFullEaInformation), OutputBufferLength: uint32(size),
		Flags: flags, AdditionalInfo: index, Input: fscc.AppendEANames(nil, names),
	}
	p.Send(smbtest.Element{Header: p.Request(wire.CmdQueryInfo, size), Body: req})
	m := p.Final()
	if m.Status != nt.Success && m.Status != nt.BufferOverflow {
		return "", m.Status
	}
	var resp wire.QueryInfoResponse
	if err := resp.Decode(m.Raw); err != nil {
		p.T.Fatal(err)
	}
	list, err := fscc.DecodeEAs(resp.Buffer)
	if err != nil {
		p.T.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, fmt.Sprintf("%s=%s", e.Name, e.Value))
	}
	return strings.Join(out, " "), m.Status
}

func wantEAs(p *smbtest.Peer, id wire.FileID, want string) {
	p.T.Helper()
	got, s := askEAs(p, id, 4096, wire.QueryInfoRestartScan, 0)
	if want == "" && s == nt.NoEAsOnFile {
		return
	}
	if s != nt.Success || got != want {
		p.T.Errorf("attributes %q, %v; want %q", got, s, want)
	}
}

// Set, asked for in all the ways there are, and removed. [MS-FSA] 2.1.5.12.14, 2.1.5.15.5
func TestEAs(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	f := p.Open("file", all, wire.FileCreate, 0)
	wantEAs(p, f, "")
	if s := setRaw(p, f, fscc.FileFullEaInformation, eaList("ONE=1", "SECOND=zwei", "THIRD=drei")); s != nt.Success {
		t.Fatal(s)
	}
	wantEAs(p, f, "ONE=1 SECOND=zwei THIRD=drei")
	size := info[fscc.EAInfo](t, p, f, fscc.FileEaInformation).Size
	if size != uint32(len(eaList("ONE=1", "SECOND=zwei", "THIRD=drei"))) || size != info[fscc.AllInfo](t, p, f, fscc.FileAllInformation).Size {
		t.Errorf("size %d", size)
	}
	for _, c := range []struct {
		size         int
		flags, index uint32
		names        []string
		want         string
		status       nt.Status
	}{
		{4096, wire.QueryInfoReturnSingleEntry | wire.QueryInfoRestartScan, 0, nil, "ONE=1", nt.Success},
		{4096, wire.QueryInfoReturnSingleEntry, 0, nil, "SECOND=zwei", nt.Success},
		{4096, 0, 0, nil, "THIRD=drei", nt.Success},
		{4096, 0, 0, nil, "", nt.NoMoreEAs},
		{40, wire.QueryInfoRestartScan, 0, nil, "ONE=1 SECOND=zwei", nt.BufferOverflow},
		{40, 0, 0, nil, "THIRD=drei", nt.Success},
		{12, wire.QueryInfoRestartScan, 0, nil, "", nt.BufferTooSmall},
		{0, wire.QueryInfoRestartScan, 0, nil, "", nt.BufferTooSmall},
		{4096, wire.QueryInfoIndexSpecified, 2, nil, "SECOND=zwei THIRD=drei", nt.Success},
		{4096, wire.QueryInfoIndexSpecified, 0, nil, "", nt.NonexistentEAEntry},
		{4096, wire.QueryInfoIndexSpecified, 4, nil, "", nt.NonexistentEAEntry},
		{4096, 0, 0, []string{"third", "None", "THIRD"}, "THIRD=drei NONE=", nt.Success},
	} {
		got, s := askEAs(p, f, c.size, c.flags, c.index, c.names...)
		if got != c.want || s != c.status {
			t.Errorf("%+v: %q, %v", c, got, s)
		}
	}
	if s := setRaw(p, f, fscc.FileFullEaInformation, eaList("second=", "none=", "One=uno")); s != nt.Success {
		t.Fatal(s)
	}
	wantEAs(p, f, "ONE=uno THIRD=drei")
	// In listings, too.
	dir := p.Open("", dtyp.FileRead, wire.FileOpen, 0)
	var resp wire.QueryDirectoryResponse
	if s := p.Do(wire.CmdQueryDirectory, &wire.QueryDirectoryRequest{FileID: dir, InfoClass: uint8(fscc.FileFullDirectoryInformation), Pattern: "file", OutputBufferLength: 1000}, &resp); s != nt.Success {
		t.Fatal(s)
	}
	list, err := fscc.DecodeDir(fscc.FileFullDirectoryInformation, resp.Buffer)
	if err != nil || len(list) != 1 || list[0].EASize != uint32(len(eaList("ONE=uno", "THIRD=drei"))) {
		t.Errorf("listed %+v, %v", list, err)
	}
}

// CREATE brings them, for a file that is made or replaced: [MS-SMB2] 3.3.5.9.1.
func TestEACreate(t *testing.T) {
	h := newHouse(t, nil)
	p := h.logon("alice", "disk")
	with := func(name string, disposition uint32, b []byte) (wire.FileID, nt.Status) {
		req := smbtest.OpenAs(name, all, disposition, 0)
		req.Contexts = []wire.CreateContext{{Name: wire.CreateEA, Data: b}}
		h := p.Request(wire.CmdCreate, len(b))
		p.Send(smbtest.Element{Header: h, Body: req})
		m := p.Final()
		var resp wire.CreateResponse
		if m.Status == nt.Success {
			if err := resp.Decode(m.Raw); err != nil {
				t.Fatal(err)
			}
		}
		return resp.FileID, m.Status
	}
	for _, c := range []struct {
		disposition uint32
		value, want string
	}{
		{wire.FileCreate, "A=1", "A=1"},
		{wire.FileOpen, "A=2", "A=1"},
		{wire.FileOpenIf, "A=3", "A=1"},
		{wire.FileOverwrite, "B=4", "B=4"},
		{wire.FileSupersede, "C=5", "C=5"},
	} {
		id, s := with("file", c.disposition, eaList(c.value))
		if s != nt.Success {
			t.Fatal(s)
		}
		wantEAs(p, id, c.want)
		p.Close(id)
	}
	need, _ := fscc.AppendEAs(nil, 100, []fscc.EA{{Flags: fscc.NeedEA, Name: "A", Value: []byte("x")}})
	for name, c := range map[string]struct {
		b    []byte
		want nt.Status
	}{
		"new:s": {eaList("A=1"), nt.InvalidParameter}, "a": {need, nt.EAsNotSupported}, "b": {eaList("A:B=1"), nt.InvalidEAName},
		"c": {[]byte{1, 0, 0, 0, 0}, nt.EAListInconsistent}, "d": {make([]byte, fscc.MaxEATotal+1), nt.EATooLarge},
	} {
		if id, s := with(name, wire.FileCreate, c.b); s != c.want {
			t.Errorf("%s: %v, want %v", name, s, c.want)
			p.Close(id)
		}
		wantTry(p, nt.ObjectNameNotFound, strings.TrimSuffix(name, ":s"), all, shareAll, wire.FileOpen, 0)
	}
	s := p.Open("file:s", all, wire.FileCreate, 0)
	if st := setRaw(p, s, fscc.FileFullEaInformation, eaList("A=1")); st != nt.InvalidParameter {
		t.Errorf("set on a stream: %v", st)
	}
}

// folderOnDisk is a folder that is not in memory: a tmpfs has room for attributes of any size.
func folderOnDisk(t *testing.T) string {
	t.Helper()
	for _, in := range []string{"", "/var/tmp"} {
		dir, err := os.MkdirTemp(in, "postern")
		if err != nil {
			continue
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil && st.Type != unix.TMPFS_MAGIC && st.Type != unix.RAMFS_MAGIC {
			return dir
		}
	}
	t.Skip("skipped: TMPDIR and /var/tmp are both in memory, where attributes have no bound")
	return ""
}

// EAs are bounded, their names are judged, and what we keep in xattrs ourselves is neither seen nor written.
func TestSEC38EAs(t *testing.T) {
	dir := folderOnDisk(t)
	h := newHouse(t, func(c *smb.Config) {
		v, err := osfs.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { v.Close() })
		c.Shares[0].Volume = v
	})
	p := h.logon("alice", "disk")
	f := p.Open("file", all, wire.FileCreate, 0)
	s := p.Open("file:s", all, wire.FileCreate, 0)
	write(t, p, s, 0, bytes.Repeat([]byte("large"), 20_000))
	p.Close(p.Open("file:small", all, wire.FileCreate, 0))
	for _, name := range []string{
		"DOSATTRIB", "dosattrib", "DosStream.small", "DOSSTREAM.X", "DosStreamExt.1.x", "postern.ntacl", "POSTERN.stream.s", "postern.x",
		"SAMBA_PAI", "SmbReparse", "org.netatalk.Metadata",
	} {
		for _, value := range []string{"x", ""} {
			if st := setRaw(p, f, fscc.FileFullEaInformation, eaList("FINE=1", name+"="+value)); st != nt.AccessDenied {
				t.Errorf("set %s to %q: %v", name, value, st)
			}
		}
		if got, st := askEAs(p, f, 4096, 0, 0, name); st != nt.Success || got != strings.ToUpper(name)+"=" {
			t.Errorf("asked for %s: %q, %v", name, got, st)
		}
	}
	wantEAs(p, f, "")
	if size := info[fscc.EAInfo](t, p, f, fscc.FileEaInformation).Size; size != 0 {
		t.Errorf("%d bytes of attributes", size)
	}
	if st := setRaw(p, f, fscc.FileFullEaInformation, eaList("BIG="+strings.Repeat("x", 65_500))); st != nt.EATooLarge {
		t.Errorf("an attribute that no storage has room for: %v", st)
	}
	if st := setRaw(p, f, fscc.FileFullEaInformation, eaList("A=1")); st != nt.Success {
		t.Fatal(st)
	}
	wantEAs(p, f, "A=1")
}

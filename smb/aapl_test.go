package smb_test

import (
	"encoding/binary"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// askMac opens the root as a Mac does first, and returns the answer.
func askMac(t *testing.T, p *smbtest.Peer, ask *wire.AAPLRequest) *wire.AAPLResponse {
	t.Helper()
	req := smbtest.OpenAs("", dtyp.FileRead, wire.FileOpen, 0)
	req.Contexts = []wire.CreateContext{{Name: wire.CreateAAPL, Data: ask.Append(nil)}}
	resp := create(t, p, req)
	p.Close(resp.FileID)
	for _, c := range resp.Contexts {
		if c.Name == wire.CreateAAPL {
			var a wire.AAPLResponse
			if err := a.Decode(c.Data); err != nil {
				t.Fatal(err)
			}
			return &a
		}
	}
	return nil
}

// A server query is answered with what was asked for; Time Machine hears of shares that are for it.
func TestAAPL(t *testing.T) {
	h := newHouse(t, func(c *smb.Config) { c.Shares[1].TimeMachine = true })
	for share, caps := range map[string]uint64{"disk": 0, "private": wire.AAPLFullSync} {
		a := askMac(t, h.logon("alice", share), &wire.AAPLRequest{Command: wire.AAPLServerQuery, Want: 7, ClientCaps: 0xFF})
		if a == nil || a.Have != 7 || a.ServerCaps != wire.AAPLUnixBased|wire.AAPLReadDirAttr || a.VolumeCaps != caps || a.Model == "" {
			t.Errorf("%s: %+v", share, a)
		}
	}
	p := h.logon("alice", "disk")
	if a := askMac(t, p, &wire.AAPLRequest{Command: wire.AAPLServerQuery, Want: wire.AAPLVolumeCaps | 0x80}); a == nil || *a != (wire.AAPLResponse{Have: wire.AAPLVolumeCaps}) {
		t.Errorf("volume only: %+v", a)
	}
	if a := askMac(t, p, &wire.AAPLRequest{Command: 2, Want: 7}); a != nil {
		t.Errorf("another command: %+v", a)
	}
	req := smbtest.OpenAs("", dtyp.FileRead, wire.FileOpen, 0)
	req.Contexts = []wire.CreateContext{{Name: wire.CreateAAPL, Data: make([]byte, 23)}}
	if s := try(p, req); s != nt.InvalidParameter {
		t.Errorf("cut: %v", s)
	}
}

// Finder's data comes whole and well-formed, and without any the stream goes. To others it is a stream as any.
func TestAFPInfo(t *testing.T) {
	h := newHouse(t, nil)
	mac, pc := h.logon("alice", "disk"), h.logon("bob", "disk")
	askMac(t, mac, &wire.AAPLRequest{Command: wire.AAPLServerQuery, Want: 7})
	finder := make([]byte, 60)
	binary.BigEndian.PutUint32(finder, 0x41465000)
	binary.BigEndian.PutUint32(finder[4:], 0x00000100)
	if string(finder[:8]) != "AFP\x00\x00\x00\x01\x00" { // as Macs, Services for Macintosh and Samba write it
		t.Fatalf("% x", finder[:8])
	}
	empty := append([]byte(nil), finder...)
	copy(finder[16:], "TEXTttxt")
	wrong := append([]byte(nil), finder...)
	wrong[0] = 'X'

	f := mac.Open("file:AFP_AfpInfo", all, wire.FileCreate, 0)
	put := func(p *smbtest.Peer, id wire.FileID, off uint64, b []byte) nt.Status {
		return p.Do(wire.CmdWrite, &wire.WriteRequest{FileID: id, Offset: off, Data: b}, nil)
	}
	for _, c := range []struct {
		off uint64
		b   []byte
	}{{0, finder[:59]}, {1, finder}, {0, append(finder[:60:60], 0)}, {0, wrong}, {0, nil}, {1 << 40, finder}} {
		if s := put(mac, f, c.off, c.b); s != nt.InvalidParameter {
			t.Errorf("%d bytes at %d: %v", len(c.b), c.off, s)
		}
	}
	for _, b := range [][]byte{finder, empty, finder} {
		if s := put(mac, f, 0, b); s != nt.Success {
			t.Fatal(s)
		}
	}
	mac.Close(f)
	f = mac.Open("file:AFP_AfpInfo", all, wire.FileOpen, 0)
	if got := read(t, mac, f, 0, 100); string(got) != string(finder) {
		t.Errorf("read %x", got)
	}
	if s := put(mac, f, 0, empty); s != nt.Success {
		t.Fatal(s)
	}
	mac.Close(f)
	wantTry(mac, nt.ObjectNameNotFound, "file:AFP_AfpInfo", all, shareAll, wire.FileOpen, 0)
	f = pc.Open("file:AFP_AfpInfo", all, wire.FileCreate, 0)
	write(t, pc, f, 3, []byte("whatever"))
	pc.Close(f)
	r := mac.Open("file:AFP_Resource", all, wire.FileCreate, 0)
	write(t, mac, r, 100, []byte("of any size"))
	mac.Close(r)

	for p, want := range map[*smbtest.Peer]bool{mac: false, pc: true} { // IDs that may come again are none for a Mac
		dir := p.Open("", dtyp.FileRead, wire.FileOpen, 0)
		var resp wire.QueryDirectoryResponse
		if s := p.Do(wire.CmdQueryDirectory, &wire.QueryDirectoryRequest{FileID: dir, InfoClass: uint8(fscc.FileIdBothDirectoryInformation), Pattern: "file", OutputBufferLength: 1000}, &resp); s != nt.Success {
			t.Fatal(s)
		}
		list, err := fscc.DecodeDir(fscc.FileIdBothDirectoryInformation, resp.Buffer)
		if err != nil || len(list) != 1 || (list[0].FileID != 0) != want {
			t.Errorf("listed %+v, %v", list, err)
		}
	}
}

// Who asks for it is told with each entry of a listing what he may do with it, and what Finder keeps of it; and others,
// on connections of their own, get listings as ever.
func TestMacListing(t *testing.T) {
	h := newHouse(t, nil)
	mac, pc, guest := h.logon("alice", "disk"), h.logon("alice", "disk"), h.logon("reader", "disk")
	ask := &wire.AAPLRequest{Command: wire.AAPLServerQuery, Want: 7, ClientCaps: wire.AAPLReadDirAttr}
	askMac(t, mac, ask)
	askMac(t, guest, ask)
	askMac(t, pc, &wire.AAPLRequest{Command: wire.AAPLServerQuery, Want: 7})
	mac.Close(mac.Open("file", all, wire.FileCreate, 0))
	info := make([]byte, 60)
	binary.BigEndian.PutUint32(info, 0x41465000)
	binary.BigEndian.PutUint32(info[4:], 0x00000100)
	copy(info[16:], "TEXTttxt")
	for stream, b := range map[string][]byte{"AFP_AfpInfo": info, "AFP_Resource": make([]byte, 777)} {
		f := mac.Open("file:"+stream, all, wire.FileCreate, 0)
		write(t, mac, f, 0, b)
		mac.Close(f)
	}
	list := func(p *smbtest.Peer, class fscc.FileClass) []byte {
		dir := p.Open("", dtyp.FileRead, wire.FileOpen, 0)
		defer p.Close(dir)
		var resp wire.QueryDirectoryResponse
		if s := p.Do(wire.CmdQueryDirectory, &wire.QueryDirectoryRequest{FileID: dir, InfoClass: uint8(class), Pattern: "file", OutputBufferLength: 1000}, &resp); s != nt.Success {
			t.Fatal(s)
		}
		return resp.Buffer
	}
	for _, c := range []struct {
		who    string
		p      *smbtest.Peer
		access dtyp.Access
	}{{"alice", mac, dtyp.FileAll}, {"reader", guest, dtyp.FileRead | dtyp.FileExecute}} {
		b := list(c.p, fscc.FileIdBothDirectoryInformation)
		access, fork := dtyp.Access(binary.LittleEndian.Uint32(b[64:])), binary.LittleEndian.Uint64(b[70:])
		if access != c.access || b[68] != 0 || fork != 777 || string(b[78:86]) != "TEXTttxt" {
			t.Errorf("%s may %#x, want %#x; fork of %d bytes, Finder's %q", c.who, access, c.access, fork, b[78:94])
		}
	}
	if b := list(pc, fscc.FileIdBothDirectoryInformation); [32]byte(b[64:96]) != [32]byte{} {
		t.Errorf("another client got % x", b[64:96])
	}
	if b := list(mac, fscc.FileIdFullDirectoryInformation); binary.LittleEndian.Uint32(b[64:]) != 0 {
		t.Errorf("another class has % x", b[64:80])
	}
}

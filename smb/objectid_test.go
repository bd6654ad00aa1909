package smb_test

import (
	"sync"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// objectID asks for an object id through a handle.
func objectID(t *testing.T, p *smbtest.Peer, code fscc.FSCTL, id wire.FileID) (nt.Status, fscc.ObjectID) {
	t.Helper()
	s, b := fsctl(t, p, code, id, nil, 64)
	var got fscc.ObjectID
	if s == nt.Success {
		if err := got.Decode(b); err != nil || len(b) != 64 {
			t.Fatal(err, len(b))
		}
	}
	return s, got
}

// An object id is made when it is first asked for, stays with the file whatever its name, is the same to everyone and
// through every stream, and says where it was made.
func TestObjectIDs(t *testing.T) {
	h := newHouse(t, nil)
	p, r := h.logon("alice", "disk"), h.logon("reader", "disk")
	id := p.Open("file", all, wire.FileCreate, 0)
	byReader := r.Open("file", dtyp.MaximumAllowed, wire.FileOpen, 0)
	for _, peer := range []struct {
		*smbtest.Peer
		id   wire.FileID
		want nt.Status
	}{{p, id, nt.ObjectIDNotFound}, {r, byReader, nt.ObjectIDNotFound}} {
		s, _ := objectID(t, peer.Peer, fscc.FsctlGetObjectID, peer.id)
		wantStatus(t, "before it is made", s, peer.want)
	}
	s, _ := objectID(t, r, fscc.FsctlCreateOrGetObjectID, byReader)
	wantStatus(t, "made by a reader", s, nt.MediaWriteProtected)

	weak := p.Open("file", dtyp.ReadAttributes|dtyp.Synchronize, wire.FileOpen, 0) // as shortcuts are made
	s, made := objectID(t, p, fscc.FsctlCreateOrGetObjectID, weak)
	wantStatus(t, "made", s, nt.Success)
	s, b := query(t, p, id, wire.InfoFileSystem, uint8(fscc.FileFsObjectIdInformation), 64)
	var volume fscc.ObjectID
	if err := volume.Decode(b); s != nt.Success || err != nil || volume.ID == (dtyp.GUID{}) {
		t.Fatalf("volume: %v %v %x", s, err, volume)
	}
	birthVolume, birth := made.Birth()
	if made.ID == (dtyp.GUID{}) || birth != made.ID || birthVolume != volume.ID || [16]byte(made.Extended[32:]) != [16]byte{} {
		t.Errorf("made %x on volume %x", made, volume)
	}
	private := h.logon("alice", "private")
	other := private.Open("file", all, wire.FileCreate, 0)
	if s, b := query(t, private, other, wire.InfoFileSystem, uint8(fscc.FileFsObjectIdInformation), 64); s != nt.Success || dtyp.GUID(b[:16]) == volume.ID {
		t.Errorf("another volume: %v, %x as well", s, b)
	}
	stream := p.Open("file:s", all, wire.FileCreate, 0)
	same := func(what string, peer *smbtest.Peer, id wire.FileID) {
		t.Helper()
		for _, code := range []fscc.FSCTL{fscc.FsctlGetObjectID, fscc.FsctlCreateOrGetObjectID} {
			if s, got := objectID(t, peer, code, id); s != nt.Success || got != made {
				t.Errorf("%s, %v: %v, %x, was %x", what, code, s, got, made)
			}
		}
	}
	same("again", p, id)
	same("to a reader", r, byReader)
	same("of a stream", p, stream)
	to := fscc.RenameInfo{Name: "renamed"}.Append(nil)
	p.Close(stream)
	p.Close(weak)
	r.Close(byReader)
	wantStatus(t, "rename", setRaw(p, id, fscc.FileRenameInformation, to), nt.Success)
	p.Close(id)
	id = p.Open("renamed", all, wire.FileOpen, 0)
	same("under another name", p, id)
	for _, room := range []int{0, 63} {
		for _, code := range []fscc.FSCTL{fscc.FsctlGetObjectID, fscc.FsctlCreateOrGetObjectID} {
			s, _ := fsctl(t, p, code, id, nil, room)
			wantStatus(t, "no room", s, nt.InvalidParameter)
		}
	}
	// Two are never the same, directories have them, too, and one that is deleted is replaced by another.
	dir := p.Open("dir", all, wire.FileCreate, wire.FileDirectoryFile)
	if s, got := objectID(t, p, fscc.FsctlCreateOrGetObjectID, dir); s != nt.Success || got.ID == made.ID {
		t.Errorf("of a directory: %v %x", s, got)
	}
	for range 2 { // there may be none
		s, _ = fsctl(t, p, fscc.FsctlDeleteObjectID, id, nil, 0)
		wantStatus(t, "delete", s, nt.Success)
	}
	s, _ = objectID(t, p, fscc.FsctlGetObjectID, id)
	wantStatus(t, "deleted", s, nt.ObjectIDNotFound)
	if s, got := objectID(t, p, fscc.FsctlCreateOrGetObjectID, id); s != nt.Success || got.ID == made.ID {
		t.Errorf("made anew: %v %x", s, got)
	}
}

// What a client sets: the extended part by who may change attributes, a whole one by who restores backups.
func TestSetObjectID(t *testing.T) {
	h := newHouse(t, func(c *smb.Config) {
		c.Mechanisms = []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", DNSName: "nas.test", Accounts: withAdmin{}})}
	})
	a, b := h.logon("alice", "disk"), h.logon("bob", "disk")
	a.Close(a.Open("file", all, wire.FileCreate, 0))
	want := fscc.ObjectID{ID: dtyp.GUID{1, 15: 2}, Extended: [48]byte{0: 3, 16: 4, 47: 5}}
	whole := want.Append(nil)
	for _, c := range []struct {
		p       *smbtest.Peer
		access  dtyp.Access
		options uint32
		in      []byte
		want    nt.Status
	}{
		{a, all, wire.FileOpenForBackupIntent, whole, nt.AccessDenied}, // no privilege
		{b, all, 0, whole, nt.AccessDenied},                            // no intent
		{b, dtyp.FileRead, wire.FileOpenForBackupIntent, whole, nt.AccessDenied},
		{b, all, wire.FileOpenForBackupIntent, whole[:63], nt.InvalidParameter},
		{b, all, wire.FileOpenForBackupIntent, append(whole[:64:64], 0), nt.InvalidParameter},
		{b, all, wire.FileOpenForBackupIntent, make([]byte, 64), nt.InvalidParameter},
		{b, all, wire.FileOpenForBackupIntent, whole, nt.Success},
		{b, all, wire.FileOpenForBackupIntent, whole, nt.ObjectNameCollision},
	} {
		id := c.p.Open("file", c.access, wire.FileOpen, c.options)
		s, _ := fsctl(t, c.p, fscc.FsctlSetObjectID, id, c.in, 0)
		wantStatus(t, "set", s, c.want)
		c.p.Close(id)
	}
	id := a.Open("file", dtyp.WriteAttributes, wire.FileOpen, 0)
	defer a.Close(id)
	if s, got := objectID(t, a, fscc.FsctlCreateOrGetObjectID, id); s != nt.Success || got != want {
		t.Errorf("%v %x", s, got)
	}
	want.Extended = [48]byte{47: 7}
	for n := range 48 {
		s, _ := fsctl(t, a, fscc.FsctlSetObjectIDExtended, id, want.Append(nil)[16:][:n], 0)
		wantStatus(t, "extended, cut", s, nt.InvalidParameter)
	}
	s, _ := fsctl(t, a, fscc.FsctlSetObjectIDExtended, id, want.Append(nil)[16:], 0)
	wantStatus(t, "extended", s, nt.Success)
	if s, got := objectID(t, a, fscc.FsctlGetObjectID, id); s != nt.Success || got != want {
		t.Errorf("extended: %v %x", s, got)
	}
	// Without birth it is born now.
	s, _ = fsctl(t, a, fscc.FsctlSetObjectIDExtended, id, make([]byte, 48), 0)
	wantStatus(t, "without birth", s, nt.Success)
	s, got := objectID(t, a, fscc.FsctlCreateOrGetObjectID, id)
	if _, birth := got.Birth(); s != nt.Success || got.ID != want.ID || birth != want.ID {
		t.Errorf("born anew: %v %x", s, got)
	}
	s, _ = fsctl(t, a, fscc.FsctlDeleteObjectID, id, nil, 0)
	wantStatus(t, "delete", s, nt.Success)
	s, _ = fsctl(t, a, fscc.FsctlSetObjectIDExtended, id, make([]byte, 48), 0)
	wantStatus(t, "extended of none", s, nt.ObjectIDNotFound)
}

// All who ask at once are told the same.
func TestObjectIDRace(t *testing.T) {
	h := newHouse(t, nil)
	var peers []*smbtest.Peer
	var ids []wire.FileID
	for range 4 {
		p := h.logon("alice", "disk")
		peers, ids = append(peers, p), append(ids, p.Open("file", all, wire.FileOpenIf, 0))
	}
	got := make([]fscc.ObjectID, len(peers))
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() { _, got[i] = objectID(t, p, fscc.FsctlCreateOrGetObjectID, ids[i]) })
	}
	wg.Wait()
	for _, g := range got {
		if g != got[0] || g.ID == (dtyp.GUID{}) {
			t.Errorf("%x and %x", g, got[0])
		}
	}
}

// A volume that keeps none says so.
func TestNoObjectIDs(t *testing.T) {
	_, as := aclHouse(t)
	p := as("alice@plain")
	p.make("file", 0)
	id := p.Open("file", all, wire.FileOpen, 0)
	defer p.Close(id)
	for _, code := range []fscc.FSCTL{fscc.FsctlGetObjectID, fscc.FsctlCreateOrGetObjectID, fscc.FsctlDeleteObjectID, fscc.FsctlSetObjectIDExtended} {
		s, _ := fsctl(t, p.Peer, code, id, make([]byte, 48), 64)
		wantStatus(t, code.String(), s, nt.VolumeNotUpgraded)
	}
	s, b := query(t, p.Peer, id, wire.InfoFileSystem, uint8(fscc.FileFsAttributeInformation), 100)
	var info fscc.FSAttributeInfo
	if err := info.Decode(b); s != nt.Success || err != nil || info.Attributes&fscc.FSObjectIDs != 0 {
		t.Errorf("%v %v %#x", s, err, info.Attributes)
	}
}

package smb_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/rpc/lsarpc"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/vfs"
	"github.com/postern-nas/postern/smb/vfs/memfs"
	"github.com/postern-nas/postern/smb/wire"
)

var (
	alice = dtyp.NewSID(5, 21, 1, 2, 3, 1000)
	bob   = dtyp.NewSID(5, 21, 1, 2, 3, 1001)
)

// Inheritance flags.
const (
	toFiles = dtyp.ObjectInherit
	toAll   = dtyp.ObjectInherit | dtyp.ContainerInherit
)

func allow(sid dtyp.SID, mask dtyp.Access, flags uint8) dtyp.ACE {
	return dtyp.ACE{Type: dtyp.AccessAllowed, Flags: flags, Mask: mask, SID: sid}
}

func deny(sid dtyp.SID, mask dtyp.Access) dtyp.ACE {
	return dtyp.ACE{Type: dtyp.AccessDenied, Mask: mask, SID: sid}
}

func dacl(aces ...dtyp.ACE) *dtyp.SecurityDescriptor {
	return &dtyp.SecurityDescriptor{Control: dtyp.DACLPresent, DACL: &dtyp.ACL{Revision: 2, ACEs: aces}}
}

func encode(t *testing.T, sd *dtyp.SecurityDescriptor) []byte {
	t.Helper()
	b, err := sd.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// guarded is a person at a share with a volume that the test can also reach from behind.
type guarded struct {
	*smbtest.Peer
	t *testing.T
}

func (g guarded) try(name string, access dtyp.Access, disposition, options uint32) nt.Status {
	g.t.Helper()
	var resp wire.CreateResponse
	s := g.Do(wire.CmdCreate, smbtest.OpenAs(name, access, disposition, options), &resp)
	if s == nt.Success {
		g.Close(resp.FileID)
	}
	return s
}

func (g guarded) wants(want nt.Status, name string, access dtyp.Access, disposition, options uint32) {
	g.t.Helper()
	if s := g.try(name, access, disposition, options); s != want {
		g.t.Errorf("%q for %#x, disposition %d: %v, want %v", name, uint32(access), disposition, s, want)
	}
}

func (g guarded) set(id wire.FileID, parts uint32, b []byte) nt.Status {
	g.t.Helper()
	return g.Do(wire.CmdSetInfo, &wire.SetInfoRequest{InfoType: wire.InfoSecurity, AdditionalInfo: parts, Buffer: b, FileID: id}, nil)
}

// protect gives name a DACL.
func (g guarded) protect(name string, sd *dtyp.SecurityDescriptor) {
	g.t.Helper()
	id := g.Open(name, dtyp.WriteDAC, wire.FileOpen, 0)
	if s := g.set(id, dtyp.DACLPart, encode(g.t, sd)); s != nt.Success {
		g.t.Fatalf("protect %q: %v", name, s)
	}
	g.Close(id)
}

func (g guarded) query(id wire.FileID, parts uint32, size uint32) (*dtyp.SecurityDescriptor, nt.Status) {
	g.t.Helper()
	var resp wire.QueryInfoResponse
	s := g.Do(wire.CmdQueryInfo, &wire.QueryInfoRequest{InfoType: wire.InfoSecurity, AdditionalInfo: parts, OutputBufferLength: size, FileID: id}, &resp)
	if s != nt.Success {
		return nil, s
	}
	sd, err := dtyp.DecodeSecurityDescriptor(resp.Buffer)
	if err != nil {
		g.t.Fatal(err)
	}
	return sd, s
}

// shown returns what name's descriptor is.
func (g guarded) shown(name string) *dtyp.SecurityDescriptor {
	g.t.Helper()
	id := g.Open(name, dtyp.ReadControl, wire.FileOpen, 0)
	defer g.Close(id)
	sd, s := g.query(id, dtyp.OwnerPart|dtyp.GroupPart|dtyp.DACLPart, 65536)
	if s != nt.Success {
		g.t.Fatalf("descriptor of %q: %v", name, s)
	}
	return sd
}

func (g guarded) make(name string, options uint32) {
	g.t.Helper()
	g.Peer.Close(g.Open(name, all, wire.FileCreate, options))
}

// aclHouse is a house whose volume "disk" can be reached from behind, and its guests.
func aclHouse(t *testing.T) (v *memfs.Volume, as func(user string) guarded) {
	v = memfs.New()
	h := newHouse(t, func(c *smb.Config) {
		c.Shares[0].Volume = v
		c.Shares = append(c.Shares,
			smb.Share{Name: "hides", Volume: v, Rights: rights("hides"), AccessBasedEnumeration: true},
			smb.Share{Name: "plain", Volume: plainVolume{v}, Rights: rights("plain")})
	})
	return v, func(user string) guarded {
		user, share, _ := strings.Cut(user, "@")
		if share == "" {
			share = "disk"
		}
		return guarded{h.logon(user, share), t}
	}
}

// behind makes something as a process on the NAS itself would: nobody is asked and it has no descriptor.
func behind(t *testing.T, v vfs.Volume, dir bool, names ...string) {
	t.Helper()
	f, _, err := v.Open(context.Background(), vfs.Path{Names: names}, vfs.How{Disposition: vfs.Create, Access: all, Directory: dir})
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// plainVolume keeps no descriptors.
type plainVolume struct{ v *memfs.Volume }

type plainFile struct{ vfs.File }

func (p plainVolume) Open(ctx context.Context, path vfs.Path, how vfs.How) (vfs.File, vfs.Action, error) {
	if admit := how.Admit; admit != nil {
		how.Admit = func([]byte) ([]byte, error) { _, err := admit(nil); return nil, err }
	}
	f, action, err := p.v.Open(ctx, path, how)
	if err != nil {
		return nil, action, err
	}
	return plainFile{f}, action, nil
}

func (p plainVolume) Usage(ctx context.Context) (int64, int64, error) { return p.v.Usage(ctx) }

func TestDefaultDescriptor(t *testing.T) {
	v, as := aclHouse(t)
	a, b := as("alice"), as("bob")
	behind(t, v, true, "old")
	behind(t, v, false, "old", "file")
	a.make("new", wire.FileDirectoryFile)
	a.make(`new\file`, 0)
	for _, c := range []struct {
		name  string
		owner dtyp.SID
		flags uint8
	}{
		{"", dtyp.Administrators, toAll},
		{"old", dtyp.Administrators, toAll | dtyp.Inherited},
		{`old\file`, dtyp.Administrators, dtyp.Inherited},
		{"new", alice, toAll | dtyp.Inherited},
		{`new\file`, alice, dtyp.Inherited},
	} {
		sd := b.shown(c.name)
		want := []dtyp.ACE{allow(dtyp.Administrators, dtyp.FileAll, c.flags), allow(dtyp.AuthenticatedUsers, dtyp.FileAll, c.flags)}
		if sd.Owner != c.owner || sd.Group != dtyp.BuiltinUsers || sd.Control&dtyp.DACLAutoInher == 0 ||
			!slices.EqualFunc(sd.DACL.ACEs, want, func(a, b dtyp.ACE) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
			t.Errorf("%q: %v %v %+v", c.name, sd.Owner, sd.Group, sd.DACL)
		}
		b.wants(nt.Success, c.name, dtyp.FileAll, wire.FileOpen, 0)
	}
	b.wants(nt.Success, `new\file`, dtyp.Delete, wire.FileOpen, wire.FileDeleteOnClose)
}

// Every right by itself, as owner, as someone the DACL names, and as nobody.
func TestSEC40EveryRight(t *testing.T) {
	_, as := aclHouse(t)
	a, b := as("alice"), as("bob")
	a.make("file", 0)
	a.protect("", dacl(allow(alice, dtyp.FileAll, 0))) // nothing comes with the folder for bob
	rights := []dtyp.Access{
		dtyp.ReadData, dtyp.WriteData, dtyp.AppendData, dtyp.ReadEA, dtyp.WriteEA, dtyp.Execute, dtyp.DeleteChild, dtyp.ReadAttributes,
		dtyp.WriteAttributes, dtyp.Delete, dtyp.ReadControl, dtyp.WriteDAC, dtyp.WriteOwner, dtyp.Synchronize,
	}
	for _, granted := range append(rights, 0, dtyp.FileRead, dtyp.GenericWrite) {
		a.protect("file", dacl(allow(bob, granted, 0)))
		for _, right := range rights {
			want := nt.AccessDenied
			if granted.Expand()&right != 0 {
				want = nt.Success
			}
			b.wants(want, "file", right, wire.FileOpen, 0)
			want = nt.AccessDenied
			if right&(dtyp.ReadControl|dtyp.WriteDAC|dtyp.Delete|dtyp.ReadAttributes) != 0 { // as owner, and by the folder
				want = nt.Success
			}
			a.wants(want, "file", right, wire.FileOpen, 0)
		}
	}
	// What is denied first is denied, what is allowed first is allowed.
	a.protect("file", dacl(deny(bob, dtyp.WriteData), allow(dtyp.Everyone, dtyp.FileAll, 0)))
	b.wants(nt.AccessDenied, "file", dtyp.WriteData, wire.FileOpen, 0)
	b.wants(nt.Success, "file", dtyp.ReadData, wire.FileOpen, 0)
	a.protect("file", dacl(allow(dtyp.Everyone, dtyp.FileAll, 0), deny(bob, dtyp.WriteData)))
	b.wants(nt.Success, "file", dtyp.WriteData, wire.FileOpen, 0)
	if got := a.shown("file").DACL.ACEs; len(got) != 2 || got[1].Type != dtyp.AccessDenied {
		t.Errorf("order is not kept: %+v", got)
	}
	// A null DACL is for everyone, an empty one for no one but the owner.
	a.protect("file", &dtyp.SecurityDescriptor{Control: dtyp.DACLPresent})
	b.wants(nt.Success, "file", dtyp.FileAll, wire.FileOpen, 0)
	if sd := a.shown("file"); sd.DACL != nil || sd.Control&dtyp.DACLPresent == 0 {
		t.Errorf("null DACL: %+v", sd)
	}
	a.protect("file", dacl())
	b.wants(nt.AccessDenied, "file", dtyp.ReadControl, wire.FileOpen, 0)
	a.wants(nt.Success, "file", dtyp.ReadControl|dtyp.WriteDAC, wire.FileOpen, 0)
	if sd := a.shown("file"); sd.DACL == nil || len(sd.DACL.ACEs) != 0 {
		t.Errorf("empty DACL: %+v", sd)
	}
}

func TestMaximumAllowed(t *testing.T) {
	_, as := aclHouse(t)
	a, b := as("alice"), as("bob")
	a.make("file", 0)
	a.protect("", dacl(allow(alice, dtyp.FileAll, 0)))
	a.protect("file", dacl(allow(bob, dtyp.FileRead, 0)))
	open := func(g guarded, access dtyp.Access) (granted, maximal dtyp.Access, s nt.Status) {
		t.Helper()
		req := smbtest.OpenAs("file", access, wire.FileOpen, 0)
		req.Contexts = []wire.CreateContext{{Name: wire.CreateMaximalAccess}}
		var resp wire.CreateResponse
		if s := g.Do(wire.CmdCreate, req, &resp); s != nt.Success {
			return 0, 0, s
		}
		var m wire.MaximalAccessResponse
		for _, c := range resp.Contexts {
			if err := m.Decode(c.Data); err != nil {
				t.Fatal(err)
			}
		}
		var q wire.QueryInfoResponse
		g.Do(wire.CmdQueryInfo, &wire.QueryInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileAccessInformation), OutputBufferLength: 4, FileID: resp.FileID}, &q)
		var info fscc.AccessInfo
		if err := info.Decode(q.Buffer); err != nil {
			t.Fatal(err)
		}
		g.Close(resp.FileID)
		return info.Access, m.MaximalAccess, nt.Success
	}
	const owns = dtyp.ReadControl | dtyp.WriteDAC | dtyp.Delete | dtyp.ReadAttributes
	for _, c := range []struct {
		who              guarded
		access           dtyp.Access
		granted, maximal dtyp.Access
		status           nt.Status
	}{
		{b, dtyp.MaximumAllowed, dtyp.FileRead, dtyp.FileRead, nt.Success},
		{b, dtyp.MaximumAllowed | dtyp.GenericRead, dtyp.FileRead, dtyp.FileRead, nt.Success},
		{b, dtyp.MaximumAllowed | dtyp.WriteData, 0, 0, nt.AccessDenied},
		{b, dtyp.ReadData, dtyp.ReadData, dtyp.FileRead, nt.Success},
		{a, dtyp.MaximumAllowed, owns, owns, nt.Success},
		{a, dtyp.ReadControl, dtyp.ReadControl, owns, nt.Success},
	} {
		granted, maximal, s := open(c.who, c.access)
		if granted != c.granted || maximal != c.maximal || s != c.status {
			t.Errorf("asked for %#x: granted %#x of %#x, %v; want %#x of %#x, %v", c.access, granted, maximal, s, c.granted, c.maximal, c.status)
		}
	}
}

// A read-only file can be overwritten by nobody who is granted all that may be had, and still has a DACL that allows it.
func TestMaximumOfReadOnly(t *testing.T) {
	_, as := aclHouse(t)
	a := as("alice")
	req := smbtest.OpenAs("file", all, wire.FileCreate, 0)
	req.FileAttributes = vfs.AttrReadOnly
	var resp wire.CreateResponse
	if s := a.Do(wire.CmdCreate, req, &resp); s != nt.Success {
		t.Fatal(s)
	}
	a.Close(resp.FileID)
	req = smbtest.OpenAs("file", dtyp.MaximumAllowed, wire.FileOpen, 0)
	req.Contexts = []wire.CreateContext{{Name: wire.CreateMaximalAccess}}
	if s := a.Do(wire.CmdCreate, req, &resp); s != nt.Success {
		t.Fatal(s)
	}
	var m wire.MaximalAccessResponse
	if err := m.Decode(resp.Contexts[0].Data); err != nil || m.MaximalAccess != dtyp.FileAll {
		t.Errorf("maximal access %#x, %v", m.MaximalAccess, err)
	}
	var q wire.QueryInfoResponse
	a.Do(wire.CmdQueryInfo, &wire.QueryInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileAccessInformation), OutputBufferLength: 4, FileID: resp.FileID}, &q)
	var info fscc.AccessInfo
	const writes = dtyp.WriteData | dtyp.AppendData | dtyp.DeleteChild
	if err := info.Decode(q.Buffer); err != nil || info.Access != dtyp.FileAll&^writes {
		t.Errorf("granted %#x, %v", info.Access, err)
	}
	a.Close(resp.FileID)
	for _, right := range []dtyp.Access{dtyp.WriteData, dtyp.AppendData, dtyp.DeleteChild} {
		a.wants(nt.AccessDenied, "file", right, wire.FileOpen, 0)
	}
}

// Overwriting needs others to share writing while it lasts; after that the handle counts for what it was granted.
func TestOverwriteSharing(t *testing.T) {
	_, as := aclHouse(t)
	a, b := as("alice"), as("bob")
	for _, d := range []uint32{wire.FileSupersede, wire.FileOverwrite, wire.FileOverwriteIf} {
		reader := smbtest.OpenAs("file", dtyp.ReadData, wire.FileOpenIf, 0)
		reader.ShareAccess = wire.ShareRead
		eraser := smbtest.OpenAs("file", dtyp.ReadData, d, 0)
		eraser.ShareAccess = wire.ShareRead
		var first, second wire.CreateResponse
		if s := a.Do(wire.CmdCreate, reader, &first); s != nt.Success {
			t.Fatal(s)
		}
		if s := b.Do(wire.CmdCreate, eraser, nil); s != nt.SharingViolation {
			t.Errorf("beside a reader, disposition %d: %v", d, s)
		}
		a.Close(first.FileID)
		if s := b.Do(wire.CmdCreate, eraser, &second); s != nt.Success {
			t.Fatal(s)
		}
		if s := a.Do(wire.CmdCreate, reader, &first); s != nt.Success {
			t.Errorf("a reader after it, disposition %d: %v", d, s)
		} else {
			a.Close(first.FileID)
		}
		b.Close(second.FileID)
	}
}

// The share's rights bound whatever a descriptor says.
func TestSEC40ShareBounds(t *testing.T) {
	_, as := aclHouse(t)
	a, r := as("alice"), as("reader")
	a.make("file", 0)
	a.protect("file", &dtyp.SecurityDescriptor{Control: dtyp.DACLPresent})
	r.wants(nt.Success, "file", dtyp.FileRead|dtyp.FileExecute, wire.FileOpen, 0)
	for _, right := range []dtyp.Access{dtyp.WriteData, dtyp.WriteDAC, dtyp.WriteOwner, dtyp.Delete, dtyp.WriteAttributes} {
		r.wants(nt.AccessDenied, "file", right, wire.FileOpen, 0)
	}
	r.wants(nt.AccessDenied, "new", dtyp.ReadData, wire.FileCreate, 0)
	id := r.Open("file", dtyp.MaximumAllowed, wire.FileOpen, 0)
	if s := r.Do(wire.CmdWrite, &wire.WriteRequest{FileID: id, Data: []byte("x")}, nil); s != nt.AccessDenied {
		t.Errorf("as much as may be had lets a reader write: %v", s)
	}
	if s := r.set(id, dtyp.DACLPart, encode(t, dacl())); s != nt.AccessDenied {
		t.Errorf("as much as may be had lets a reader change the DACL: %v", s)
	}
	r.Close(id)
	if sd := r.shown("file"); sd.DACL != nil {
		t.Errorf("%+v", sd)
	}
}

// What is made inherits, whoever asked for what; what has no descriptor inherits each time.
func TestInheritance(t *testing.T) {
	v, as := aclHouse(t)
	a, b := as("alice"), as("bob")
	a.make("dir", wire.FileDirectoryFile)
	a.make(`dir\sub`, wire.FileDirectoryFile)
	a.protect("dir", dacl(allow(dtyp.CreatorOwner, dtyp.FileAll, toAll|dtyp.InheritOnly), allow(alice, dtyp.FileAll, toAll), allow(bob, dtyp.FileRead, toFiles)))

	// Only alice may make something.
	b.wants(nt.AccessDenied, `dir\file`, dtyp.ReadData, wire.FileCreate, 0)
	b.wants(nt.AccessDenied, `dir\file`, dtyp.ReadData, wire.FileOpenIf, 0)
	b.wants(nt.AccessDenied, `dir\other`, dtyp.ReadData, wire.FileCreate, wire.FileDirectoryFile)
	b.wants(nt.ObjectNameNotFound, `dir\file`, dtyp.ReadData, wire.FileOpen, 0)
	a.make(`dir\file`, 0)
	a.make(`dir\other`, wire.FileDirectoryFile)
	a.make(`dir\other\file`, 0)
	b.wants(nt.Success, `dir\file`, dtyp.FileRead, wire.FileOpen, 0)
	b.wants(nt.AccessDenied, `dir\file`, dtyp.WriteData, wire.FileOpen, 0)
	b.wants(nt.AccessDenied, `dir\file`, dtyp.Delete, wire.FileOpen, 0)
	b.wants(nt.AccessDenied, `dir\other`, dtyp.ReadData, wire.FileOpen, 0)
	// Nobody has to be let through the folders on the way.
	b.wants(nt.Success, `dir\other\file`, dtyp.FileRead, wire.FileOpen, 0)
	if sd := a.shown(`dir\other`); len(sd.DACL.ACEs) != 4 || sd.DACL.ACEs[0].SID != alice || sd.DACL.ACEs[1].SID != dtyp.CreatorOwner {
		t.Errorf("%+v", sd.DACL)
	}
	// The handle that made it has what it asked for, later ones what they inherited.
	a.protect("dir", dacl(allow(alice, dtyp.WriteData|dtyp.ReadControl, toAll)))
	id := a.Open(`dir\tight`, all, wire.FileCreate, 0)
	write(t, a.Peer, id, 0, []byte("x"))
	a.Close(id)
	a.wants(nt.AccessDenied, `dir\tight`, dtyp.WriteAttributes, wire.FileOpen, 0)

	// From behind: judged by the folder as it is now.
	behind(t, v, true, "dir", "sub", "deep")
	behind(t, v, false, "dir", "sub", "deep", "file")
	b.wants(nt.Success, `dir\sub\deep\file`, dtyp.FileAll, wire.FileOpen, 0) // sub was made before dir was closed
	a.protect(`dir\sub`, dacl(allow(alice, dtyp.FileAll, toAll)))
	b.wants(nt.AccessDenied, `dir\sub\deep\file`, dtyp.ReadData, wire.FileOpen, 0)
	b.wants(nt.AccessDenied, `dir\sub\deep\new`, dtyp.ReadData, wire.FileCreate, 0)
	a.wants(nt.Success, `dir\sub\deep\file`, dtyp.FileAll, wire.FileOpen, 0)
	// Level by level: what is not to go on does not.
	a.protect(`dir\sub`, dacl(allow(bob, dtyp.FileRead, toAll|dtyp.NoPropagate)))
	b.wants(nt.Success, `dir\sub\deep`, dtyp.FileRead, wire.FileOpen, 0)
	b.wants(nt.AccessDenied, `dir\sub\deep\file`, dtyp.ReadControl, wire.FileOpen, 0)
	a.protect(`dir\sub`, dacl(allow(alice, dtyp.FileAll, toAll)))
	if sd := a.shown(`dir\sub\deep\file`); sd.Owner != dtyp.Administrators || len(sd.DACL.ACEs) != 1 {
		t.Errorf("%+v", sd)
	}
}

// A descriptor can come with CREATE, [MS-SMB2] 3.3.5.9.2.
func TestCreateDescriptor(t *testing.T) {
	_, as := aclHouse(t)
	a, b := as("alice"), as("bob")
	create := func(name string, data []byte) nt.Status {
		req := smbtest.OpenAs(name, all, wire.FileOpenIf, 0)
		req.Contexts = []wire.CreateContext{{Name: wire.CreateSecurityDescriptor, Data: data}}
		var resp wire.CreateResponse
		s := a.Do(wire.CmdCreate, req, &resp)
		if s == nt.Success {
			a.Close(resp.FileID)
		}
		return s
	}
	given := dacl(allow(bob, dtyp.GenericRead, 0))
	given.Owner = bob
	if s := create("given", encode(t, given)); s != nt.Success {
		t.Fatal(s)
	}
	if sd := b.shown("given"); sd.Owner != bob || sd.Group != dtyp.BuiltinUsers || len(sd.DACL.ACEs) != 1 || sd.DACL.ACEs[0].Mask != dtyp.FileRead {
		t.Errorf("%+v", sd)
	}
	if s := create("given", encode(t, dacl(allow(alice, dtyp.FileAll, 0)))); s != nt.AccessDenied {
		t.Errorf("of what is there already: %v", s) // it is ignored, and alice may not
	}
	if s := create("empty", encode(t, &dtyp.SecurityDescriptor{})); s != nt.Success || len(a.shown("empty").DACL.ACEs) != 2 {
		t.Errorf("one that says nothing: %v", s)
	}
	audit := dacl()
	audit.SACL = &dtyp.ACL{Revision: 2}
	for _, c := range []struct {
		data []byte
		want nt.Status
	}{
		{nil, nt.InvalidSecurityDescr},
		{make([]byte, 20), nt.InvalidSecurityDescr},
		{make([]byte, 64<<10), nt.InvalidSecurityDescr},
		{encode(t, audit), nt.PrivilegeNotHeld},
	} {
		if s := create("bad", c.data); s != c.want {
			t.Errorf("%d bytes: %v, want %v", len(c.data), s, c.want)
		}
	}
	a.wants(nt.ObjectNameNotFound, "bad", dtyp.ReadData, wire.FileOpen, 0)
}

func TestSEC40SetDescriptor(t *testing.T) {
	_, as := aclHouse(t)
	a := as("alice")
	a.make("file", 0)
	const audit, label = dtyp.SACLPart, dtyp.LabelPart
	full := dacl(allow(alice, dtyp.FileAll, 0))
	full.Owner, full.Group = bob, dtyp.Everyone
	good := encode(t, full)
	nobody := encode(t, dacl())
	big := &dtyp.SecurityDescriptor{Control: dtyp.DACLPresent, DACL: &dtyp.ACL{Revision: 2}}
	for range 65000 / 36 {
		big.DACL.ACEs = append(big.DACL.ACEs, allow(alice, dtyp.FileAll, 0))
	}
	for _, c := range []struct {
		access dtyp.Access
		parts  uint32
		b      []byte
		want   nt.Status
	}{
		{dtyp.FileAll &^ dtyp.WriteDAC, dtyp.DACLPart, good, nt.AccessDenied},
		{dtyp.FileAll &^ dtyp.WriteOwner, dtyp.OwnerPart, good, nt.AccessDenied},
		{dtyp.FileAll &^ dtyp.WriteOwner, dtyp.GroupPart, good, nt.AccessDenied},
		{dtyp.FileAll &^ dtyp.WriteOwner, dtyp.OwnerPart | dtyp.DACLPart, good, nt.AccessDenied},
		{dtyp.FileAll &^ dtyp.WriteDAC, dtyp.OwnerPart | dtyp.DACLPart, good, nt.AccessDenied},
		{dtyp.FileAll, audit, good, nt.AccessDenied},
		{dtyp.FileAll, dtyp.DACLPart | audit, good, nt.AccessDenied},
		{dtyp.FileAll, label, good, nt.AccessDenied},
		{dtyp.FileAll, dtyp.OwnerPart, nobody, nt.InvalidOwner},
		{dtyp.FileAll, dtyp.GroupPart, nobody, nt.InvalidPrimaryGroup},
		{dtyp.FileAll, dtyp.DACLPart, nil, nt.InvalidSecurityDescr},
		{dtyp.FileAll, dtyp.DACLPart, good[:30], nt.InvalidSecurityDescr},
		{dtyp.FileAll, dtyp.DACLPart, encode(t, big), nt.InvalidSecurityDescr},
		{dtyp.ReadData, 0, good, nt.Success},
	} {
		id := a.Open("file", c.access, wire.FileOpen, 0)
		if s := a.set(id, c.parts, c.b); s != c.want {
			t.Errorf("%#x with %#x: %v, want %v", c.parts, uint32(c.access), s, c.want)
		}
		a.Close(id)
		if sd := a.shown("file"); sd.Owner != alice || len(sd.DACL.ACEs) != 2 {
			t.Fatalf("%#x with %#x: now %+v", c.parts, uint32(c.access), sd)
		}
	}
	// Each part is set by itself, and the others stay.
	id := a.Open("file", dtyp.WriteOwner|dtyp.WriteDAC|dtyp.ReadControl, wire.FileOpen, 0)
	for _, c := range []struct {
		parts        uint32
		owner, group dtyp.SID
		aces         int
	}{
		{dtyp.GroupPart, alice, dtyp.Everyone, 2},
		{dtyp.OwnerPart, bob, dtyp.Everyone, 2},
		{dtyp.DACLPart | dtyp.ProtectedDACLPart, bob, dtyp.Everyone, 1},
	} {
		if s := a.set(id, c.parts, good); s != nt.Success {
			t.Fatal(s)
		}
		sd, s := a.query(id, dtyp.OwnerPart|dtyp.GroupPart|dtyp.DACLPart, 4096)
		if s != nt.Success || sd.Owner != c.owner || sd.Group != c.group || len(sd.DACL.ACEs) != c.aces {
			t.Errorf("%#x: %v %+v", c.parts, s, sd)
		}
	}
	a.Close(id)
	// The descriptor goes with the file.
	id = a.Open("file", dtyp.Delete, wire.FileOpen, 0)
	to := fscc.RenameInfo{Name: "renamed"}.Append(nil)
	if s := a.Do(wire.CmdSetInfo, &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileRenameInformation), Buffer: to, FileID: id}, nil); s != nt.Success {
		t.Fatal(s)
	}
	a.Close(id)
	if sd := a.shown("renamed"); sd.Owner != bob || len(sd.DACL.ACEs) != 1 {
		t.Errorf("%+v", sd)
	}
}

func TestQueryDescriptor(t *testing.T) {
	_, as := aclHouse(t)
	a := as("alice")
	a.make("file", 0)
	blind := a.Open("file", dtyp.ReadAttributes, wire.FileOpen, 0)
	for _, part := range []uint32{dtyp.OwnerPart, dtyp.GroupPart, dtyp.DACLPart, dtyp.SACLPart} {
		if _, s := a.query(blind, part, 4096); s != nt.AccessDenied {
			t.Errorf("%#x without READ_CONTROL: %v", part, s)
		}
	}
	if sd, s := a.query(blind, 0, 4096); s != nt.Success || sd.Owner != "" || sd.Group != "" || sd.DACL != nil {
		t.Errorf("nothing: %v %+v", s, sd)
	}
	a.Close(blind)
	id := a.Open("file", all, wire.FileOpen, 0)
	defer a.Close(id)
	if _, s := a.query(id, dtyp.SACLPart, 4096); s != nt.AccessDenied {
		t.Errorf("audit list: %v", s)
	}
	whole, _ := a.query(id, dtyp.OwnerPart|dtyp.DACLPart, 4096)
	size := len(encode(t, whole))
	for _, n := range []int{0, 1, 19, 20, size - 1} {
		h := a.Request(wire.CmdQueryInfo, 0)
		a.Send(smbtest.Element{Header: h, Body: &wire.QueryInfoRequest{InfoType: wire.InfoSecurity, AdditionalInfo: dtyp.OwnerPart | dtyp.DACLPart, OutputBufferLength: uint32(n), FileID: id}})
		m := a.Final()
		var e wire.ErrorResponse
		if err := e.Decode(m.Raw); m.Status != nt.BufferTooSmall || err != nil {
			t.Fatalf("into %d bytes: %v %v", n, m.Status, err)
		}
		list, err := e.Contexts()
		if err != nil || len(list) != 1 {
			t.Fatalf("into %d bytes: %+v %v", n, list, err)
		}
		if need, err := wire.BufferTooSmall(list[0].Data); err != nil || int(need) != size {
			t.Errorf("into %d bytes: needs %d, %v", n, need, err)
		}
	}
	if _, s := a.query(id, dtyp.OwnerPart|dtyp.DACLPart, uint32(size)); s != nt.Success {
		t.Error(s)
	}
}

// SEC-31: the doors at the side. Renames and links ask the folder they lead to, and what they replace.
func TestSEC31SideDoors(t *testing.T) {
	_, as := aclHouse(t)
	a, b := as("alice"), as("bob")
	a.make("closed", wire.FileDirectoryFile)
	a.make(`closed\file`, 0)
	a.protect("closed", dacl(allow(alice, dtyp.FileAll, toAll), allow(bob, dtyp.FileRead, 0)))
	a.protect(`closed\file`, dacl(allow(alice, dtyp.FileAll, 0)))
	a.make("mine", 0)
	a.protect("mine", dacl(allow(alice, dtyp.FileAll, 0)))
	b.make("his", 0)
	b.make("folder", wire.FileDirectoryFile)
	name := func(g guarded, class fscc.FileClass, from, to string) nt.Status {
		t.Helper()
		id := g.Open(from, all, wire.FileOpen, 0)
		defer g.Close(id)
		body := fscc.RenameInfo{Name: to, Flags: 1}.Append(nil)
		return g.Do(wire.CmdSetInfo, &wire.SetInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(class), Buffer: body, FileID: id}, nil)
	}
	for _, class := range []fscc.FileClass{fscc.FileRenameInformation, fscc.FileLinkInformation} {
		for _, to := range []string{`closed\new`, `closed\file`} {
			if s := name(b, class, "his", to); s != nt.AccessDenied {
				t.Errorf("%v to %q: %v", class, to, s)
			}
		}
		if s := name(b, class, "his", `none\new`); s != nt.ObjectPathNotFound {
			t.Errorf("%v to nowhere: %v", class, s)
		}
	}
	if s := name(b, fscc.FileRenameInformation, "folder", `closed\folder`); s != nt.AccessDenied {
		t.Errorf("a folder into it: %v", s)
	}
	// The root gives bob the right to delete; who takes that away keeps what is there from being replaced.
	a.protect("", dacl(allow(dtyp.Everyone, dtyp.FileAll&^dtyp.DeleteChild, 0)))
	for _, class := range []fscc.FileClass{fscc.FileRenameInformation, fscc.FileLinkInformation} {
		if s := name(b, class, "his", "mine"); s != nt.AccessDenied {
			t.Errorf("%v over a file of another's: %v", class, s)
		}
	}
	a.protect("", dacl(allow(dtyp.Everyone, dtyp.FileAll, 0)))
	if s := name(b, fscc.FileRenameInformation, "his", "mine"); s != nt.Success {
		t.Errorf("with the right to delete what is in the folder: %v", s)
	}
	if sd := a.shown("mine"); sd.Owner != bob {
		t.Errorf("replaced by what belongs to %v", sd.Owner)
	}

	// Overwriting is writing, whatever else is asked for; and so is what a delete on close takes.
	a.protect(`closed\file`, dacl(allow(bob, dtyp.FileRead, 0)))
	for _, d := range []uint32{wire.FileOverwrite, wire.FileOverwriteIf, wire.FileSupersede} {
		b.wants(nt.AccessDenied, `closed\file`, dtyp.ReadData, d, 0)
	}
	b.wants(nt.AccessDenied, `closed\file`, dtyp.MaximumAllowed, wire.FileOpen, wire.FileDeleteOnClose)
	// What may not be made is not there afterwards.
	req := smbtest.OpenAs("readonly", all, wire.FileCreate, wire.FileDeleteOnClose)
	req.FileAttributes = vfs.AttrReadOnly
	if s := a.Do(wire.CmdCreate, req, nil); s != nt.CannotDelete {
		t.Errorf("read-only and to be deleted: %v", s)
	}
	a.wants(nt.ObjectNameNotFound, "readonly", dtyp.ReadData, wire.FileOpen, 0)
}

// A handle keeps what it was granted, and no more, however the descriptor changes.
func TestGrantedStays(t *testing.T) {
	_, as := aclHouse(t)
	a, b := as("alice"), as("bob")
	a.make("file", 0)
	wr := b.Open("file", dtyp.WriteData, wire.FileOpen, 0)
	rd := b.Open("file", dtyp.ReadData, wire.FileOpen, 0)
	a.protect("file", dacl())
	write(t, b.Peer, wr, 0, []byte("x"))
	read(t, b.Peer, rd, 0, 1)
	if s := b.Do(wire.CmdWrite, &wire.WriteRequest{FileID: rd, Data: []byte("x")}, nil); s != nt.AccessDenied {
		t.Error(s)
	}
	b.Close(wr)
	b.Close(rd)
}

// What cannot be read lets nobody in: it may have been meant to keep someone out.
func TestSEC40BrokenDescriptor(t *testing.T) {
	v, as := aclHouse(t)
	a := as("alice")
	a.make("dir", wire.FileDirectoryFile)
	a.make(`dir\file`, 0)
	for _, name := range []string{"dir", "file"} {
		names := []string{"dir", "file"}[:map[string]int{"dir": 1, "file": 2}[name]]
		for _, b := range [][]byte{{}, []byte("what?"), make([]byte, 20), encode(t, dacl(allow(alice, all, 0)))} {
			f, _, err := v.Open(context.Background(), vfs.Path{Names: names}, vfs.How{Access: dtyp.ReadControl})
			if err != nil {
				t.Fatal(err)
			}
			old, _ := f.(vfs.Security).SecurityDescriptor(context.Background())
			if err := f.(vfs.Security).SetSecurityDescriptor(context.Background(), b); err != nil {
				t.Fatal(err)
			}
			if b = bytes.Clone(b); len(b) > 0 { // memfs gives nil for nothing
				a.wants(nt.AccessDenied, strings.Join(names, `\`), dtyp.ReadControl, wire.FileOpen, 0)
				a.wants(nt.AccessDenied, `dir\new`, dtyp.ReadData, wire.FileCreate, 0)
			}
			if err := f.(vfs.Security).SetSecurityDescriptor(context.Background(), old); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if name == "file" {
				break
			}
		}
	}
}

func TestAccessBasedEnumeration(t *testing.T) {
	v, as := aclHouse(t)
	a := as("alice")
	for _, name := range []string{"open", "closed", "read", "attributes"} {
		a.make(name, 0)
	}
	a.make("folder", wire.FileDirectoryFile)
	a.protect("closed", dacl(allow(alice, all, 0)))
	a.protect("folder", dacl(allow(alice, all, 0)))
	a.protect("read", dacl(allow(bob, dtyp.FileRead, 0), allow(alice, all, 0)))
	a.protect("attributes", dacl(allow(bob, dtyp.FileRead&^dtyp.ReadData, 0), allow(alice, all, 0)))
	behind(t, v, false, "behind")
	list := func(g guarded, class fscc.FileClass, pattern string) []string {
		t.Helper()
		id := g.Open("", dtyp.FileRead, wire.FileOpen, wire.FileDirectoryFile)
		defer g.Close(id)
		names := []string{}
		for {
			var resp wire.QueryDirectoryResponse
			s := g.Do(wire.CmdQueryDirectory, &wire.QueryDirectoryRequest{InfoClass: uint8(class), FileID: id, Pattern: pattern, OutputBufferLength: 500}, &resp)
			if s == nt.NoMoreFiles || s == nt.NoSuchFile {
				slices.Sort(names)
				return names
			}
			if s != nt.Success {
				t.Fatal(s)
			}
			entries, err := fscc.DecodeDir(class, resp.Buffer)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				names = append(names, e.Name)
			}
		}
	}
	everything := []string{".", "..", "attributes", "behind", "closed", "folder", "open", "read"}
	for _, c := range []struct {
		who     string
		pattern string
		want    []string
	}{
		{"bob@disk", "*", everything},
		{"alice@hides", "*", everything},
		{"bob@hides", "*", []string{".", "..", "behind", "open", "read"}},
		{"bob@hides", "closed", []string{}},
		{"alice@hides", "closed", []string{"closed"}},
	} {
		for _, class := range []fscc.FileClass{fscc.FileIdBothDirectoryInformation, fscc.FileNamesInformation} {
			if got := list(as(c.who), class, c.pattern); !slices.Equal(got, c.want) {
				t.Errorf("%s, %v, %q: %q; want %q", c.who, class, c.pattern, got, c.want)
			}
		}
	}
	// A folder closed to bob takes what has no descriptor along.
	a.protect("", dacl(allow(alice, all, toAll), allow(bob, dtyp.FileRead, 0)))
	if got := list(as("bob@hides"), fscc.FileNamesInformation, "*"); !slices.Equal(got, []string{".", "..", "open", "read"}) {
		t.Errorf("%q", got)
	}
	// The client is told.
	for share, want := range map[string]uint32{"disk": 0, "hides": wire.ShareFlagAccessBasedDirectoryEnum} {
		h := a.Request(wire.CmdTreeConnect, 0)
		a.Send(smbtest.Element{Header: h, Body: &wire.TreeConnectRequest{Path: `\\nas.test\` + share}})
		var resp wire.TreeConnectResponse
		if err := resp.Decode(a.Final().Raw); err != nil || resp.ShareFlags&wire.ShareFlagAccessBasedDirectoryEnum != want {
			t.Errorf("%s: flags %#x, %v", share, resp.ShareFlags, err)
		}
	}
}

// Where none can be kept there is the default, and setting is refused; the client is told beforehand.
func TestNoDescriptors(t *testing.T) {
	_, as := aclHouse(t)
	for share, keeps := range map[string]bool{"disk": true, "plain": false} {
		a := as("alice@" + share)
		id := a.Open("file of "+share, all, wire.FileCreate, 0)
		want := nt.Success
		if !keeps {
			want = nt.NotSupported
		}
		sd, s := a.query(id, dtyp.OwnerPart|dtyp.DACLPart, 4096)
		if s != nt.Success || len(sd.DACL.ACEs) != 2 || keeps != (sd.Owner == alice) {
			t.Errorf("%s: %v %+v", share, s, sd)
		}
		if s := a.set(id, dtyp.DACLPart, encode(t, dacl())); s != want {
			t.Errorf("%s: %v", share, s)
		}
		var resp wire.QueryInfoResponse
		a.Do(wire.CmdQueryInfo, &wire.QueryInfoRequest{InfoType: wire.InfoFileSystem, InfoClass: uint8(fscc.FileFsAttributeInformation), OutputBufferLength: 100, FileID: id}, &resp)
		var info fscc.FSAttributeInfo
		if err := info.Decode(resp.Buffer); err != nil || keeps != (info.Attributes&fscc.FSPersistentACLs != 0) {
			t.Errorf("%s: attributes %#x, %v", share, info.Attributes, err)
		}
		a.Close(id)
	}
}

// nobody is a machine without accounts.
type nobody struct{}

func (nobody) Machine() (string, dtyp.SID) { return "NAS", dtyp.NewSID(5, 21, 1, 2, 3) }
func (nobody) Accounts() []lsarpc.Account  { return nil }

// lsarpc is there when the server knows names.
func TestNamesPipe(t *testing.T) {
	for _, names := range []lsarpc.Source{nil, nobody{}} {
		h := newHouse(t, func(c *smb.Config) { c.Names = names })
		a := guarded{h.logon("alice", "IPC$"), t}
		if names == nil {
			a.wants(nt.ObjectNameNotFound, "lsarpc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
			continue
		}
		id := a.Open("LsaRpc", dtyp.FileRead|dtyp.FileWrite, wire.FileOpen, 0)
		var q wire.QueryInfoResponse
		a.Do(wire.CmdQueryInfo, &wire.QueryInfoRequest{InfoType: wire.InfoFile, InfoClass: uint8(fscc.FileNameInformation), OutputBufferLength: 100, FileID: id}, &q)
		var info fscc.NameInfo
		if err := info.Decode(q.Buffer); err != nil || info.Name != `\lsarpc` {
			t.Errorf("name %q, %v", info.Name, err)
		}
		if sd, s := a.query(id, dtyp.DACLPart, 4096); s != nt.Success || sd.DACL == nil {
			t.Errorf("descriptor of a pipe: %v", s)
		}
		if s := a.set(id, dtyp.DACLPart, encode(t, dacl())); s != nt.NotSupported {
			t.Errorf("setting it: %v", s)
		}
		a.Close(id)
	}
}

package smb_test

import (
	"reflect"
	"testing"

	"github.com/postern-nas/postern/smb"
	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/auth/ntlm"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/smbtest"
	"github.com/postern-nas/postern/smb/wire"
)

// saclHouse has bob as an administrator, who is only a reader in the share "readonly".
func saclHouse(t *testing.T) func(user, share string) guarded {
	h := newHouse(t, func(c *smb.Config) {
		c.Mechanisms = []auth.Mechanism{ntlm.New(ntlm.Config{Computer: "NAS", DNSName: "nas.test", Accounts: withAdmin{}})}
		c.Shares = append(c.Shares, smb.Share{
			Name: "readonly", Volume: c.Shares[0].Volume, Rights: func(*auth.Identity) dtyp.Access { return dtyp.FileRead | dtyp.FileExecute },
		})
	})
	return func(user, share string) guarded { return guarded{h.logon(user, share), t} }
}

// audit is an ACE of an audit list, of successful access.
func audit(sid dtyp.SID, mask dtyp.Access, flags uint8) dtyp.ACE {
	const successful = 0x40
	return dtyp.ACE{Type: dtyp.SystemAudit, Flags: successful | flags, Mask: mask, SID: sid}
}

func sacl(aces ...dtyp.ACE) *dtyp.SecurityDescriptor {
	return &dtyp.SecurityDescriptor{Control: dtyp.SACLPresent, SACL: &dtyp.ACL{Revision: 2, ACEs: aces}}
}

// audited returns the audit list of name, as g is shown it.
func (g guarded) audited(name string) []dtyp.ACE {
	g.t.Helper()
	id := g.Open(name, dtyp.SystemSecurity, wire.FileOpen, 0)
	defer g.Close(id)
	sd, s := g.query(id, dtyp.SACLPart, 65536)
	switch {
	case s != nt.Success:
		g.t.Fatalf("audit list of %q: %v", name, s)
	case sd.Owner != "" || sd.DACL != nil:
		g.t.Errorf("more of %q than was asked for: %+v", name, sd)
	case sd.SACL == nil:
		return nil
	}
	return sd.SACL.ACEs
}

func (g guarded) wantAudited(name string, want ...dtyp.ACE) {
	g.t.Helper()
	if got := g.audited(name); !reflect.DeepEqual(got, want) {
		g.t.Errorf("audit list of %q: %+v, want %+v", name, got, want)
	}
}

// Who holds the privilege sees the audit list and sets it, through handles that were opened for it, and the rest of the
// descriptor stays. To who does not hold it there is none.
func TestSACLTakesThePrivilege(t *testing.T) {
	as := saclHouse(t)
	a, b := as("alice", "disk"), as("bob", "disk")
	a.make("file", 0)
	list := sacl(audit(alice, dtyp.GenericWrite, 0))

	for _, access := range []dtyp.Access{dtyp.SystemSecurity, dtyp.SystemSecurity | dtyp.FileRead, dtyp.SystemSecurity | dtyp.MaximumAllowed, dtyp.SystemSecurity | dtyp.GenericAll} {
		a.wants(nt.PrivilegeNotHeld, "file", access, wire.FileOpen, 0)
		a.wants(nt.PrivilegeNotHeld, "new", access, wire.FileCreate, 0)
	}
	a.wants(nt.ObjectNameNotFound, "new", dtyp.ReadAttributes, wire.FileOpen, 0)
	for _, access := range []dtyp.Access{dtyp.MaximumAllowed, dtyp.FileAll} { // neither brings it, not even to who holds it
		for _, g := range []guarded{a, b} {
			id := g.Open("file", access, wire.FileOpen, 0)
			for _, parts := range []uint32{dtyp.SACLPart, dtyp.SACLPart | dtyp.OwnerPart | dtyp.DACLPart} {
				if _, s := g.query(id, parts, 4096); s != nt.AccessDenied {
					t.Errorf("query of %#x through %#x: %v", parts, uint32(access), s)
				}
				if s := g.set(id, parts, encode(t, list)); s != nt.AccessDenied {
					t.Errorf("setting %#x through %#x: %v", parts, uint32(access), s)
				}
			}
			g.Close(id)
		}
	}

	before := a.shown("file")
	id := b.Open("file", dtyp.SystemSecurity, wire.FileOpen, 0)
	if s := b.set(id, dtyp.SACLPart, encode(t, list)); s != nt.Success {
		t.Fatal(s)
	}
	for _, parts := range []uint32{dtyp.OwnerPart, dtyp.GroupPart, dtyp.DACLPart, dtyp.DACLPart | dtyp.SACLPart} { // it brings nothing else
		if _, s := b.query(id, parts, 4096); s != nt.AccessDenied {
			t.Errorf("query of %#x with ACCESS_SYSTEM_SECURITY alone: %v", parts, s)
		}
		if s := b.set(id, parts, encode(t, before)); s != nt.AccessDenied {
			t.Errorf("setting %#x with ACCESS_SYSTEM_SECURITY alone: %v", parts, s)
		}
	}
	var got wire.ReadResponse
	if s := b.Do(wire.CmdRead, &wire.ReadRequest{FileID: id, Length: 1}, &got); s != nt.AccessDenied {
		t.Errorf("READ with ACCESS_SYSTEM_SECURITY alone: %v", s)
	}
	b.Close(id)
	b.wantAudited("file", audit(alice, dtyp.FileWrite, 0))
	if after := a.shown("file"); !reflect.DeepEqual(before, after) {
		t.Errorf("what everyone sees became %+v", after)
	}
	// It stays when the rest is changed, by whoever owns the file.
	a.protect("file", dacl(allow(alice, dtyp.FileAll, 0), allow(bob, dtyp.ReadControl, 0)))
	b.wantAudited("file", audit(alice, dtyp.FileWrite, 0))
	// With every right at once, and gone again.
	id = b.Open("file", dtyp.SystemSecurity|dtyp.ReadControl, wire.FileOpen, 0)
	if sd, s := b.query(id, dtyp.OwnerPart|dtyp.DACLPart|dtyp.SACLPart, 4096); s != nt.Success || sd.Owner != alice || len(sd.DACL.ACEs) != 2 || len(sd.SACL.ACEs) != 1 {
		t.Errorf("all: %v %+v", s, sd)
	}
	if s := b.set(id, dtyp.SACLPart, encode(t, &dtyp.SecurityDescriptor{})); s != nt.Success {
		t.Error(s)
	}
	b.Close(id)
	b.wantAudited("file")

	// A DACL gives no such right, whatever it says.
	a.protect("file", dacl(allow(alice, dtyp.FileAll|dtyp.SystemSecurity, 0)))
	a.wants(nt.PrivilegeNotHeld, "file", dtyp.SystemSecurity, wire.FileOpen, 0)
	id = a.Open("file", dtyp.MaximumAllowed, wire.FileOpen, 0)
	if _, s := a.query(id, dtyp.SACLPart, 4096); s != nt.AccessDenied {
		t.Errorf("by a DACL: %v", s)
	}
	a.Close(id)
	// And the privilege opens nothing that the DACL closes.
	a.protect("file", dacl(allow(alice, dtyp.FileAll, 0)))
	b.wants(nt.AccessDenied, "file", dtyp.SystemSecurity|dtyp.ReadData, wire.FileOpen, 0)
	b.wants(nt.Success, "file", dtyp.SystemSecurity, wire.FileOpen, 0)

	// Where the user may change no protection, the privilege counts for nothing.
	as("bob", "readonly").wants(nt.AccessDenied, "file", dtyp.SystemSecurity, wire.FileOpen, 0)
	as("alice", "readonly").wants(nt.PrivilegeNotHeld, "file", dtyp.SystemSecurity, wire.FileOpen, 0)
	as("alice", "readonly").wants(nt.AccessDenied, "file", dtyp.WriteDAC, wire.FileOpen, 0)
}

// Pipes have no audit list, and take the privilege all the same.
func TestSACLOfPipe(t *testing.T) {
	as := saclHouse(t)
	as("alice", "IPC$").wants(nt.PrivilegeNotHeld, "srvsvc", dtyp.FileRead|dtyp.SystemSecurity, wire.FileOpen, 0)
	b := as("bob", "IPC$")
	id := b.Open("srvsvc", dtyp.SystemSecurity, wire.FileOpen, 0)
	defer b.Close(id)
	if sd, s := b.query(id, dtyp.SACLPart, 4096); s != nt.Success || sd.SACL != nil {
		t.Errorf("%v %+v", s, sd)
	}
}

// An audit list denies nobody and allows nobody, not even one that says so.
func TestSACLChangesNoAccess(t *testing.T) {
	as := saclHouse(t)
	a, b := as("alice", "disk"), as("bob", "disk")
	a.make("file", 0)
	a.protect("file", dacl(allow(alice, dtyp.FileRead, 0)))
	everything := sacl(
		audit(alice, dtyp.FileAll, 0), deny(alice, dtyp.FileAll), allow(dtyp.Everyone, dtyp.FileAll, 0),
		dtyp.ACE{Type: dtyp.SystemMandatory, Mask: 7, SID: dtyp.NewSID(16, 0x4000)},
	)
	id := b.Open("file", dtyp.SystemSecurity, wire.FileOpen, 0)
	if s := b.set(id, dtyp.SACLPart, encode(t, everything)); s != nt.Success {
		t.Fatal(s)
	}
	b.Close(id)
	a.wants(nt.Success, "file", dtyp.FileRead, wire.FileOpen, 0)
	a.wants(nt.AccessDenied, "file", dtyp.WriteData, wire.FileOpen, 0)
	b.wants(nt.AccessDenied, "file", dtyp.ReadData, wire.FileOpen, 0)
	var resp wire.CreateResponse
	req := smbtest.OpenAs("file", dtyp.MaximumAllowed, wire.FileOpen, 0)
	if s := a.Do(wire.CmdCreate, req, &resp); s != nt.Success {
		t.Fatal(s)
	}
	defer a.Close(resp.FileID)
	if s := a.DoCharged(wire.CmdWrite, 1, &wire.WriteRequest{FileID: resp.FileID, Data: []byte("x")}, nil); s != nt.AccessDenied {
		t.Errorf("WRITE: %v", s)
	}
}

// What is made in a folder inherits its audit list, by whomever it is made and whatever DACL comes with it; only who holds
// the privilege may give another.
func TestSACLInherits(t *testing.T) {
	as := saclHouse(t)
	a, b := as("alice", "disk"), as("bob", "disk")
	a.make("dir", wire.FileDirectoryFile)
	id := b.Open("dir", dtyp.SystemSecurity, wire.FileOpen, 0)
	list := sacl(audit(dtyp.Everyone, dtyp.Delete, toAll), audit(dtyp.CreatorOwner, dtyp.FileWrite, toFiles|dtyp.InheritOnly))
	list.Control |= dtyp.SACLAutoInher | dtyp.SACLAutoInherReq
	if s := b.set(id, dtyp.SACLPart, encode(t, list)); s != nt.Success {
		t.Fatal(s)
	}
	b.Close(id)

	create := func(g guarded, name string, sd *dtyp.SecurityDescriptor) nt.Status {
		req := smbtest.OpenAs(name, dtyp.ReadControl, wire.FileCreate, 0)
		req.Contexts = []wire.CreateContext{{Name: wire.CreateSecurityDescriptor, Data: encode(t, sd)}}
		var resp wire.CreateResponse
		s := g.Do(wire.CmdCreate, req, &resp)
		if s == nt.Success {
			g.Close(resp.FileID)
		}
		return s
	}
	const inh = dtyp.Inherited
	everyone := audit(dtyp.Everyone, dtyp.Delete, inh)
	a.make(`dir\file`, 0)
	b.wantAudited(`dir\file`, everyone, audit(alice, dtyp.FileWrite, inh))
	a.make(`dir\sub`, wire.FileDirectoryFile)
	b.wantAudited(`dir\sub`, audit(dtyp.Everyone, dtyp.Delete, toAll|inh), audit(dtyp.CreatorOwner, dtyp.FileWrite, toFiles|dtyp.InheritOnly|inh))
	a.make(`dir\sub\deep`, 0)
	b.wantAudited(`dir\sub\deep`, everyone, audit(alice, dtyp.FileWrite, inh))

	own := dacl(allow(alice, dtyp.FileAll, 0))
	if s := create(a, `dir\own`, own); s != nt.Success {
		t.Fatal(s)
	}
	b.wantAudited(`dir\own`, everyone, audit(alice, dtyp.FileWrite, inh))
	own.Control |= dtyp.SACLPresent | dtyp.SACLProtected // one that is null is none that takes a privilege, and none that counts
	if s := create(a, `dir\null`, own); s != nt.Success {
		t.Fatal(s)
	}
	b.wantAudited(`dir\null`, everyone, audit(alice, dtyp.FileWrite, inh))
	own.SACL = &dtyp.ACL{Revision: 2, ACEs: []dtyp.ACE{audit(bob, dtyp.GenericRead, 0)}}
	if s := create(a, `dir\given`, own); s != nt.PrivilegeNotHeld {
		t.Errorf("an audit list of alice's own: %v", s)
	}
	if s := create(b, `dir\given`, own); s != nt.Success {
		t.Errorf("one of bob's: %v", s)
	}
	b.wantAudited(`dir\given`, audit(bob, dtyp.FileRead, 0))
}

// Two lists that fit each and not together are refused, and nothing is changed.
func TestSACLBounds(t *testing.T) {
	as := saclHouse(t)
	a, b := as("alice", "disk"), as("bob", "disk")
	a.make("file", 0)
	many := make([]dtyp.ACE, 35000/36)
	for i := range many {
		many[i] = allow(alice, dtyp.FileAll, 0)
	}
	a.protect("file", dacl(many...))
	for i := range many {
		many[i] = audit(alice, dtyp.FileAll, 0)
	}
	id := b.Open("file", dtyp.SystemSecurity, wire.FileOpen, 0)
	defer b.Close(id)
	if s := b.set(id, dtyp.SACLPart, encode(t, sacl(many...))); s != nt.InvalidSecurityDescr {
		t.Error(s)
	}
	b.wantAudited("file")
}

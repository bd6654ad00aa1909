package dtyp

import (
	"reflect"
	"testing"
)

const (
	oi, ci, np, io, id = ObjectInherit, ContainerInherit, NoPropagate, InheritOnly, Inherited
)

func acl(aces ...ACE) *ACL { return &ACL{Revision: 2, ACEs: aces} }

// A SACL inherits by the same table as a DACL, and by itself: what is given as a DACL leaves it alone.
func TestInheritSACL(t *testing.T) {
	audit := func(flags uint8, mask Access, s SID) ACE {
		return ACE{Type: SystemAudit, Flags: 0xC0 | flags, Mask: mask, SID: s}
	}
	given := &SecurityDescriptor{Control: DACLPresent, DACL: acl(ACE{Mask: FileRead, SID: bob})}
	mine := &SecurityDescriptor{Control: SACLPresent | SACLProtected, SACL: acl(audit(0, GenericAll, bob))}
	for _, c := range []struct {
		name      string
		auto      uint16
		parent    *ACL
		given     *SecurityDescriptor
		container bool
		want      *ACL
		control   uint16
	}{
		{"none", SACLAutoInher, nil, nil, true, nil, 0},
		{"none for the child", SACLAutoInher, acl(audit(0, Delete, bob)), nil, true, nil, 0},
		{"file", 0, acl(audit(oi|ci, GenericRead, bob)), nil, false, acl(audit(0, FileRead, bob)), SACLPresent},
		{"file, marked", SACLAutoInher, acl(audit(oi, Delete, CreatorOwner)), nil, false, acl(audit(id, Delete, alice)), SACLPresent | SACLAutoInher},
		{"folder", SACLAutoInher, acl(audit(oi, Delete, bob)), nil, true, acl(audit(id|oi|io, Delete, bob)), SACLPresent | SACLAutoInher},
		{"with a DACL", 0, acl(audit(oi, Delete, bob)), given, false, acl(audit(0, Delete, bob)), SACLPresent},
		{"with a null SACL", 0, acl(audit(oi, Delete, bob)), &SecurityDescriptor{Control: SACLPresent}, false, acl(audit(0, Delete, bob)), SACLPresent},
		{"with a SACL", SACLAutoInher, acl(audit(oi, Delete, bob)), mine, false, acl(audit(0, FileAll, bob)), SACLPresent | SACLProtected},
	} {
		parent := &SecurityDescriptor{Control: SACLPresent | c.auto, SACL: c.parent}
		got := parent.Child(c.given, alice, BuiltinUsers, c.container)
		const ofSACL = SACLPresent | SACLDefaulted | SACLAutoInherReq | SACLAutoInher | SACLProtected
		if !reflect.DeepEqual(got.SACL, c.want) || got.Control&ofSACL != c.control || got.DACL == nil {
			t.Errorf("%s: %+v, control %#x", c.name, got.SACL, got.Control)
		}
	}
}

// The table of [MS-DTYP] 2.5.3.4.3, for an ACE of CREATOR OWNER and one of a user, in a parent that was not worked out
// by inheritance itself. Nothing inherited is the default DACL, here -1.
func TestInheritFlags(t *testing.T) {
	none := []int{-1}
	for _, c := range []struct {
		flags               uint8
		file, dir, ownerDir []int // flags of what the child gets
	}{
		{0, none, none, none},
		{oi, []int{0}, []int{int(oi | io)}, []int{int(oi | io)}},
		{ci, none, []int{int(ci)}, []int{0, int(ci | io)}},
		{oi | ci, []int{0}, []int{int(oi | ci)}, []int{0, int(oi | ci | io)}},
		{np, none, none, none},
		{np | oi, []int{0}, none, none},
		{np | ci, none, []int{0}, []int{0}},
		{np | oi | ci, []int{0}, []int{0}, []int{0}},
		{io, none, none, none},
		{io | oi, []int{0}, []int{int(oi | io)}, []int{int(oi | io)}},
		{io | ci, none, []int{int(ci)}, []int{0, int(ci | io)}},
		{io | oi | ci, []int{0}, []int{int(oi | ci)}, []int{0, int(oi | ci | io)}},
		{io | np | ci, none, []int{0}, []int{0}},
		{id | oi, []int{0}, []int{int(oi | io)}, []int{int(oi | io)}}, // that the parent's was inherited is its own affair
	} {
		for _, trustee := range []SID{bob, CreatorOwner} {
			for _, auto := range []uint16{0, DACLAutoInher} {
				parent := &SecurityDescriptor{
					Control: DACLPresent | auto,
					DACL:    acl(ACE{Type: AccessAllowed, Flags: c.flags, Mask: GenericRead, SID: trustee}, ACE{Type: AccessDenied, Mask: FileAll, SID: Everyone}),
				}
				for _, container := range []bool{false, true} {
					want := c.file
					if container {
						want = c.dir
						if trustee == CreatorOwner {
							want = c.ownerDir
						}
					}
					child := parent.Child(nil, alice, BuiltinUsers, container)
					got, mark := []int{}, uint8(0)
					if auto != 0 {
						mark = Inherited
					}
					inherits := want[0] >= 0
					for _, a := range child.DACL.ACEs {
						if inherits && a.Flags&Inherited != mark {
							t.Errorf("%#x, auto %#x: marked %#x", c.flags, auto, a.Flags)
						}
						got = append(got, int(a.Flags&^Inherited))
						switch effective := a.Flags&InheritOnly == 0; {
						case !inherits:
						case a.Mask != FileRead:
							t.Errorf("%#x: mask %#x", c.flags, a.Mask)
						case trustee == bob && a.SID != bob, trustee == CreatorOwner && effective != (a.SID == alice):
							t.Errorf("%#x, %v: for %v with flags %#x", c.flags, trustee, a.SID, a.Flags)
						}
					}
					if !inherits {
						got = none
						if len(child.DACL.ACEs) != 2 || child.DACL.ACEs[0].SID != alice || child.DACL.ACEs[1].SID != LocalSystem {
							t.Errorf("%#x: default %+v", c.flags, child.DACL.ACEs)
						}
					}
					if !reflect.DeepEqual(got, want) {
						t.Errorf("%#x, %v, container %t: flags %v, want %v", c.flags, trustee, container, got, want)
					}
					if inherited := child.Control&DACLAutoInher != 0; inherited != (inherits && auto != 0) || child.Control&DACLPresent == 0 {
						t.Errorf("%#x, auto %#x: control %#x", c.flags, auto, child.Control)
					}
				}
			}
		}
	}
}

func TestChildGiven(t *testing.T) {
	parent := &SecurityDescriptor{Control: DACLPresent, DACL: acl(ACE{Flags: oi | ci, Mask: FileRead, SID: Everyone})}
	full := acl(ACE{Mask: GenericAll, SID: bob})

	got := parent.Child(&SecurityDescriptor{Owner: bob, Group: Everyone, Control: DACLPresent, DACL: full}, alice, BuiltinUsers, false)
	if got.Owner != bob || got.Group != Everyone || len(got.DACL.ACEs) != 1 || got.DACL.ACEs[0].Mask != FileAll {
		t.Errorf("%+v", got)
	}
	if full.ACEs[0].Mask != GenericAll {
		t.Error("what was given was changed")
	}
	// A DACL that is present and null is one; one that is not present is none.
	if got := parent.Child(&SecurityDescriptor{Control: DACLPresent}, alice, BuiltinUsers, false); got.DACL != nil || got.Control&DACLPresent == 0 {
		t.Errorf("null DACL: %+v", got)
	}
	if got := parent.Child(&SecurityDescriptor{}, alice, BuiltinUsers, false); got.Owner != alice || len(got.DACL.ACEs) != 1 || got.DACL.ACEs[0].SID != Everyone {
		t.Errorf("no DACL: %+v", got)
	}
	// Who inherits from a parent without a DACL inherits nothing.
	if got := (&SecurityDescriptor{Control: DACLPresent}).Child(nil, alice, BuiltinUsers, true); len(got.DACL.ACEs) != 2 {
		t.Errorf("from a null DACL: %+v", got)
	}
	// The owner that is given is CREATOR OWNER, too.
	parent = &SecurityDescriptor{Control: DACLPresent, DACL: acl(ACE{Flags: oi, Mask: FileRead, SID: CreatorOwner}, ACE{Flags: oi, Mask: FileRead, SID: CreatorGroup})}
	got = parent.Child(&SecurityDescriptor{Owner: bob}, alice, BuiltinUsers, false)
	if len(got.DACL.ACEs) != 2 || got.DACL.ACEs[0].SID != bob || got.DACL.ACEs[1].SID != BuiltinUsers {
		t.Errorf("%+v", got.DACL)
	}
}

func TestMerge(t *testing.T) {
	old := &SecurityDescriptor{
		Control: DACLPresent | DACLAutoInher | SACLPresent, Owner: alice, Group: BuiltinUsers, SACL: acl(ACE{Type: SystemAudit, SID: Everyone}),
		DACL: acl(ACE{Mask: FileRead, SID: Everyone}),
	}
	in := &SecurityDescriptor{Owner: bob, Group: Everyone, Control: DACLPresent | DACLProtected, DACL: acl(ACE{Mask: GenericWrite, SID: bob})}
	for _, c := range []struct {
		parts        uint32
		owner, group SID
		mask         Access
		control      uint16
	}{
		{0, alice, BuiltinUsers, FileRead, DACLPresent | DACLAutoInher | SACLPresent},
		{OwnerPart, bob, BuiltinUsers, FileRead, DACLPresent | DACLAutoInher | SACLPresent},
		{GroupPart, alice, Everyone, FileRead, DACLPresent | DACLAutoInher | SACLPresent},
		{DACLPart, alice, BuiltinUsers, FileWrite, DACLPresent | DACLProtected | SACLPresent},
	} {
		got := old.Merge(in, c.parts)
		if got.Owner != c.owner || got.Group != c.group || got.DACL.ACEs[0].Mask != c.mask || got.Control != c.control || got.SACL != old.SACL {
			t.Errorf("%#x: %+v", c.parts, got)
		}
	}
	audits := &SecurityDescriptor{Control: SACLPresent | SACLAutoInher | SACLAutoInherReq | SACLProtected, SACL: acl(ACE{Type: SystemAudit, Mask: GenericRead, SID: bob})}
	got := old.Merge(audits, SACLPart)
	if got.Control != DACLPresent|DACLAutoInher|SACLPresent|SACLAutoInher|SACLProtected || got.SACL.ACEs[0].Mask != FileRead || got.DACL != old.DACL || got.Owner != alice {
		t.Errorf("SACL: %+v", got)
	}
	if got := old.Merge(&SecurityDescriptor{Control: SACLPresent}, SACLPart); got.Control != DACLPresent|DACLAutoInher || got.SACL != nil {
		t.Errorf("null SACL: %+v", got)
	}
	if old.Owner != alice || old.DACL.ACEs[0].Mask != FileRead {
		t.Error("the old one was changed")
	}
	for set, want := range map[uint16]uint16{
		DACLAutoInher: 0, DACLAutoInherReq: 0, DACLAutoInher | DACLAutoInherReq: DACLAutoInher, DACLDefaulted: 0,
	} {
		if got := old.Merge(&SecurityDescriptor{Control: set | DACLPresent}, DACLPart); got.Control != DACLPresent|SACLPresent|want || got.DACL != nil {
			t.Errorf("%#x: control %#x", set, got.Control)
		}
	}
}

package dtyp

import "slices"

// Child makes the descriptor of a new object in the container that sd protects: CreateSecurityDescriptor of [MS-DTYP]
// 2.5.3.4.1. given is what the creator wants, nil for nothing; owner and group are the creator's own, for what given
// leaves out. container says that the object is one too.
//
// A DACL that was given is taken as it is, and so is a SACL: whether the creator may give one is for the caller to judge.
// Otherwise the object inherits. What inherits no DACL gets full control for its owner and the system, the default DACL
// of a Windows user's token; what inherits no SACL has none.
func (sd *SecurityDescriptor) Child(given *SecurityDescriptor, owner, group SID, container bool) *SecurityDescriptor {
	out := &SecurityDescriptor{Owner: owner, Group: group, Control: DACLPresent}
	if given != nil {
		if given.Owner != "" {
			out.Owner = given.Owner
		}
		if given.Group != "" {
			out.Group = given.Group
		}
	}
	if given != nil && given.SACL != nil {
		out.setSACL(given)
	} else {
		out.inheritSACL(sd, container)
	}
	if given != nil && given.Control&DACLPresent != 0 {
		out.setDACL(given)
		return out
	}
	var flag uint8
	if sd.Control&DACLAutoInher != 0 {
		flag = Inherited
	}
	out.DACL = sd.DACL.inherit(out.Owner, out.Group, container, flag)
	switch {
	case out.DACL == nil:
		out.DACL = &ACL{Revision: 2, ACEs: []ACE{
			{Type: AccessAllowed, Mask: FileAll, SID: out.Owner}, {Type: AccessAllowed, Mask: FileAll, SID: LocalSystem},
		}}
	case flag != 0:
		out.Control |= DACLAutoInher
	}
	return out
}

// inheritSACL takes over what of the parent's SACL is for sd, which has its owner and group already.
func (sd *SecurityDescriptor) inheritSACL(parent *SecurityDescriptor, container bool) {
	var flag uint8
	if parent.Control&SACLAutoInher != 0 {
		flag = Inherited
	}
	if sd.SACL = parent.SACL.inherit(sd.Owner, sd.Group, container, flag); sd.SACL == nil {
		return
	}
	sd.Control |= SACLPresent
	if flag != 0 {
		sd.Control |= SACLAutoInher
	}
}

// inherit is ComputeInheritedACLFromParent, [MS-DTYP] 2.5.3.4.3; nil if nothing of acl is for the child. flag marks
// what is inherited.
func (acl *ACL) inherit(owner, group SID, container bool, flag uint8) *ACL {
	if acl == nil {
		return nil
	}
	out := &ACL{Revision: acl.Revision}
	for _, a := range acl.ACEs {
		if hasSID, _ := a.Type.shape(); !hasSID {
			continue // of a type unknown to us, so it cannot be said whom it is for
		}
		on := a.Flags & (ObjectInherit | ContainerInherit)
		if a.Flags&NoPropagate != 0 {
			on = 0
		}
		audit := a.Flags &^ (ObjectInherit | ContainerInherit | NoPropagate | InheritOnly | Inherited)
		effective := a.Flags&ObjectInherit != 0
		if container {
			effective = a.Flags&ContainerInherit != 0
		}
		own := a
		own.SID, own.Mask, own.Flags = substitute(a.SID, owner, group), a.Mask.Expand(), audit|flag
		switch {
		case effective && container && on != 0 && own.SID != a.SID:
			// What is CREATOR OWNER's is the owner's here, and CREATOR OWNER's again further down.
			a.Mask, a.Flags = a.Mask.Expand(), audit|flag|on|InheritOnly
			out.ACEs = append(out.ACEs, own, a)
		case effective:
			if container {
				own.Flags |= on
			}
			out.ACEs = append(out.ACEs, own)
		case container && on != 0: // for files below it
			a.Mask, a.Flags = a.Mask.Expand(), audit|flag|on|InheritOnly
			out.ACEs = append(out.ACEs, a)
		}
	}
	if len(out.ACEs) == 0 {
		return nil
	}
	return out
}

func substitute(s, owner, group SID) SID {
	switch s {
	case CreatorOwner:
		return owner
	case CreatorGroup:
		return group
	}
	return s
}

// Merge returns sd with the parts of in that parts names, as SET_INFO sets them ([MS-FSA] 2.1.5.17). A DACL that is
// not there lets everyone do everything, from then on.
func (sd *SecurityDescriptor) Merge(in *SecurityDescriptor, parts uint32) *SecurityDescriptor {
	out := *sd
	if parts&OwnerPart != 0 {
		out.Owner = in.Owner
		out.Control &^= OwnerDefaulted
	}
	if parts&GroupPart != 0 {
		out.Group = in.Group
		out.Control &^= GroupDefaulted
	}
	if parts&DACLPart != 0 {
		out.setDACL(in)
	}
	if parts&SACLPart != 0 {
		out.setSACL(in)
	}
	return &out
}

// setDACL takes in's DACL over with the control bits that go with it. DACLAutoInher says that what inherits was
// worked out by whoever sets it, which it says by asking with DACLAutoInherReq; that one is not kept. Generic rights
// become what they mean.
func (sd *SecurityDescriptor) setDACL(in *SecurityDescriptor) {
	const both = DACLAutoInher | DACLAutoInherReq
	sd.Control &^= DACLDefaulted | DACLProtected | both
	sd.Control |= DACLPresent | in.Control&DACLProtected
	if in.Control&both == both {
		sd.Control |= DACLAutoInher
	}
	sd.DACL = in.DACL.mapped()
}

// setSACL is setDACL for the SACL. One that is not there, or null, audits nothing: then there is none.
func (sd *SecurityDescriptor) setSACL(in *SecurityDescriptor) {
	const both = SACLAutoInher | SACLAutoInherReq
	sd.Control &^= SACLPresent | SACLDefaulted | SACLProtected | both
	sd.Control |= in.Control & SACLProtected
	if in.Control&both == both {
		sd.Control |= SACLAutoInher
	}
	if sd.SACL = in.SACL.mapped(); sd.SACL != nil {
		sd.Control |= SACLPresent
	}
}

// mapped is a copy of acl, nil of nil, with generic rights as what they mean.
func (acl *ACL) mapped() *ACL {
	if acl == nil {
		return nil
	}
	out := &ACL{Revision: acl.Revision, ACEs: slices.Clone(acl.ACEs)}
	for i := range out.ACEs {
		out.ACEs[i].Mask = out.ACEs[i].Mask.Expand()
	}
	return out
}

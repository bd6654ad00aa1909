package dtyp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/postern-nas/postern/smb/cursor"
)

// ErrSecurityDescriptor says that bytes are no security descriptor, or that one is too large for its encoding.
var ErrSecurityDescriptor = errors.New("malformed security descriptor")

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrSecurityDescriptor, what) }

// An ACEType says what an ACE does, [MS-DTYP] 2.4.4.1.
type ACEType uint8

// Types of ACE that mean something for files; others are kept and have no effect.
const (
	AccessAllowed       ACEType = 0x00
	AccessDenied        ACEType = 0x01
	SystemAudit         ACEType = 0x02
	AccessAllowedObject ACEType = 0x05
	AccessDeniedObject  ACEType = 0x06
	AccessAllowedIf     ACEType = 0x09 // callback: conditional
	AccessDeniedIf      ACEType = 0x0A
	SystemMandatory     ACEType = 0x11
)

// Flags of an ACE, [MS-DTYP] 2.4.4.1.
const (
	ObjectInherit    uint8 = 0x01
	ContainerInherit uint8 = 0x02
	NoPropagate      uint8 = 0x04
	InheritOnly      uint8 = 0x08
	Inherited        uint8 = 0x10
)

// An ACE is one entry of an ACL, [MS-DTYP] 2.4.4.
type ACE struct {
	Type   ACEType
	Flags  uint8
	Mask   Access
	Object []byte // object types: flags and GUIDs, 4 to 36 bytes
	SID    SID
	Data   []byte // what follows the SID: a condition; of unknown types the whole body
}

// shape says how the body of an ACE is laid out.
func (t ACEType) shape() (hasSID, hasObject bool) {
	switch t {
	case 0x00, 0x01, 0x02, 0x03, 0x09, 0x0A, 0x0D, 0x0E, 0x11, 0x12, 0x13, 0x14:
		return true, false
	case 0x05, 0x06, 0x07, 0x08, 0x0B, 0x0C, 0x0F, 0x10:
		return true, true
	}
	return false, false
}

// Bounds of an ACL, [MS-DTYP] 2.4.5: its size is a 16-bit field, and so is that of an ACE.
const (
	aclHeader = 8
	aceHeader = 4
	MaxACL    = 0xFFFC
)

// An ACL is a list of ACEs in the order in which they are applied, [MS-DTYP] 2.4.5.
type ACL struct {
	Revision uint8 // 2, or 4 with object ACEs
	ACEs     []ACE
}

// DecodeACL reads an ACL from the start of b and returns how long it was. It copies what it keeps.
func DecodeACL(b []byte) (*ACL, int, error) {
	r := cursor.New(b)
	rev := r.U8()
	r.Skip(1)
	size, count := int(r.U16()), int(r.U16())
	r.Skip(2)
	if r.Err() != nil || rev < 2 || rev > 4 || size < aclHeader || size > len(b) {
		return nil, 0, malformed("ACL")
	}
	if count > (size-aclHeader)/aceHeader {
		return nil, 0, malformed("more ACEs than bytes")
	}
	acl := &ACL{Revision: rev}
	if count > 0 {
		acl.ACEs = make([]ACE, count)
	}
	rest := b[aclHeader:size]
	for i := range acl.ACEs {
		n, err := acl.ACEs[i].decode(rest)
		if err != nil {
			return nil, 0, err
		}
		rest = rest[n:]
	}
	return acl, size, nil
}

func (a *ACE) decode(b []byte) (int, error) {
	if len(b) < aceHeader {
		return 0, malformed("ACE")
	}
	a.Type, a.Flags = ACEType(b[0]), b[1]
	size := int(binary.LittleEndian.Uint16(b[2:]))
	if size < aceHeader || size%4 != 0 || size > len(b) {
		return 0, malformed("ACE size")
	}
	r := cursor.New(b[aceHeader:size])
	if hasSID, hasObject := a.Type.shape(); hasSID {
		a.Mask = Access(r.U32())
		if hasObject {
			start := r.Offset()
			flags := r.U32()
			if flags&1 != 0 {
				r.Skip(16)
			}
			if flags&2 != 0 {
				r.Skip(16)
			}
			if r.Err() == nil {
				a.Object = append([]byte(nil), b[aceHeader+start:aceHeader+r.Offset()]...)
			}
		}
		sid, n, err := DecodeSID(b[aceHeader+r.Offset() : size])
		if err != nil || r.Err() != nil {
			return 0, malformed("SID of an ACE")
		}
		a.SID = sid
		r.Skip(n)
	}
	if r.Len() > 0 {
		a.Data = append([]byte(nil), r.Rest()...)
	}
	return size, nil
}

func (a *ACE) size() int {
	n := aceHeader + len(a.Data)
	if hasSID, _ := a.Type.shape(); hasSID {
		n += 4 + len(a.Object) + len(a.SID)
	}
	return n
}

// size returns how long the ACL is on the wire.
func (acl *ACL) size() int {
	n := aclHeader
	for i := range acl.ACEs {
		n += acl.ACEs[i].size()
	}
	return n
}

// Append encodes acl. One longer than MaxACL, or with a part that cannot be, is an error.
func (acl *ACL) Append(b []byte) ([]byte, error) {
	size := acl.size()
	if size > MaxACL {
		return b, malformed("ACL too large")
	}
	le := binary.LittleEndian
	rev := max(acl.Revision, 2)
	out := append(b, rev, 0)
	out = le.AppendUint16(out, uint16(size))
	out = le.AppendUint16(out, uint16(len(acl.ACEs)))
	out = append(out, 0, 0)
	for i := range acl.ACEs {
		a := &acl.ACEs[i]
		n := a.size()
		if n%4 != 0 {
			return b, malformed("ACE size")
		}
		out = append(out, byte(a.Type), a.Flags)
		out = le.AppendUint16(out, uint16(n))
		if hasSID, hasObject := a.Type.shape(); hasSID {
			if !a.SID.valid() || hasObject != (len(a.Object) > 0) {
				return b, malformed("SID of an ACE")
			}
			out = le.AppendUint32(out, uint32(a.Mask))
			out = append(append(out, a.Object...), a.SID...)
		}
		out = append(out, a.Data...)
	}
	return out, nil
}

func (s SID) valid() bool {
	_, n, err := DecodeSID([]byte(s))
	return err == nil && n == len(s)
}

// Control bits of a security descriptor, [MS-DTYP] 2.4.6.
const (
	OwnerDefaulted   uint16 = 0x0001
	GroupDefaulted   uint16 = 0x0002
	DACLPresent      uint16 = 0x0004
	DACLDefaulted    uint16 = 0x0008
	SACLPresent      uint16 = 0x0010
	SACLDefaulted    uint16 = 0x0020
	DACLAutoInherReq uint16 = 0x0100
	SACLAutoInherReq uint16 = 0x0200
	DACLAutoInher    uint16 = 0x0400
	SACLAutoInher    uint16 = 0x0800
	DACLProtected    uint16 = 0x1000
	SACLProtected    uint16 = 0x2000
	RMControlValid   uint16 = 0x4000
	SelfRelative     uint16 = 0x8000
)

// A SecurityDescriptor says who owns an object and who may do what with it, [MS-DTYP] 2.4.6. A nil DACL, whether
// DACLPresent is set or not, lets everyone do everything; an empty one lets no one do anything.
type SecurityDescriptor struct {
	Control      uint16
	RMControl    uint8
	Owner, Group SID // empty: none
	SACL, DACL   *ACL
}

const sdHeader = 20

// MaxSecurityDescriptor is more than any security descriptor of valid parts takes.
const MaxSecurityDescriptor = sdHeader + 2*(8+4*MaxSubAuthorities) + 2*(MaxACL+3)

// DecodeSecurityDescriptor reads the self-relative form. Parts may lie in any order but not over one another, except
// that owner and group may be the same bytes. It copies what it keeps.
func DecodeSecurityDescriptor(b []byte) (*SecurityDescriptor, error) {
	r := cursor.New(b)
	rev := r.U8()
	sd := &SecurityDescriptor{RMControl: r.U8(), Control: r.U16()}
	var off [4]uint64 // owner, group, SACL, DACL
	for i := range off {
		off[i] = uint64(r.U32())
	}
	if r.Err() != nil || rev != 1 || sd.Control&SelfRelative == 0 || len(b) > MaxSecurityDescriptor {
		return nil, malformed("header")
	}
	var end [4]uint64
	for i, o := range off {
		if o == 0 || i == 2 && sd.Control&SACLPresent == 0 || i == 3 && sd.Control&DACLPresent == 0 {
			off[i] = 0
			continue
		}
		if o < sdHeader || o > uint64(len(b)) {
			return nil, malformed("offset")
		}
		var n int
		var err error
		switch i {
		case 0:
			sd.Owner, n, err = DecodeSID(b[o:])
		case 1:
			sd.Group, n, err = DecodeSID(b[o:])
		case 2:
			sd.SACL, n, err = DecodeACL(b[o:])
		case 3:
			sd.DACL, n, err = DecodeACL(b[o:])
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSecurityDescriptor, err)
		}
		end[i] = o + uint64(n)
		for j := range i {
			if o < end[j] && off[j] < end[i] && !(i == 1 && off[0] == o) {
				return nil, malformed("parts overlap")
			}
		}
	}
	return sd, nil
}

// Append encodes sd in the self-relative form: SACL, DACL, owner, group, as Windows does.
func (sd *SecurityDescriptor) Append(b []byte) ([]byte, error) {
	control := sd.Control | SelfRelative
	var off [4]int
	out := append(b, 1, sd.RMControl)
	out = append(out, make([]byte, sdHeader-2)...)
	var err error
	for i, acl := range [...]*ACL{2: sd.SACL, 3: sd.DACL} {
		if acl == nil {
			continue
		}
		control |= [...]uint16{2: SACLPresent, 3: DACLPresent}[i]
		off[i] = len(out) - len(b)
		if out, err = acl.Append(out); err != nil {
			return b, err
		}
	}
	for i, sid := range [...]SID{sd.Owner, sd.Group} {
		if sid == "" {
			continue
		}
		if !sid.valid() {
			return b, malformed("SID")
		}
		off[i] = len(out) - len(b)
		out = append(out, sid...)
	}
	head := out[len(b):]
	binary.LittleEndian.PutUint16(head[2:], control)
	for i, o := range off {
		binary.LittleEndian.PutUint32(head[4+4*i:], uint32(o))
	}
	return out, nil
}

// Parts of a security descriptor that a client asks for or sets: SECURITY_INFORMATION, [MS-DTYP] 2.4.7.
const (
	OwnerPart         uint32 = 0x00000001
	GroupPart         uint32 = 0x00000002
	DACLPart          uint32 = 0x00000004
	SACLPart          uint32 = 0x00000008
	LabelPart         uint32 = 0x00000010
	AttributePart     uint32 = 0x00000020
	ScopePart         uint32 = 0x00000040
	BackupPart        uint32 = 0x00010000
	UnprotectedSACL   uint32 = 0x10000000
	UnprotectedDACL   uint32 = 0x20000000
	ProtectedSACLPart uint32 = 0x40000000
	ProtectedDACLPart uint32 = 0x80000000
)

// Select returns a descriptor with only the owner, group, DACL and SACL that parts names, and the control bits that
// go with them.
func (sd *SecurityDescriptor) Select(parts uint32) *SecurityDescriptor {
	out := &SecurityDescriptor{}
	if parts&OwnerPart != 0 {
		out.Owner = sd.Owner
		out.Control |= sd.Control & OwnerDefaulted
	}
	if parts&GroupPart != 0 {
		out.Group = sd.Group
		out.Control |= sd.Control & GroupDefaulted
	}
	if parts&DACLPart != 0 {
		out.DACL = sd.DACL
		out.Control |= sd.Control & (DACLPresent | DACLDefaulted | DACLAutoInherReq | DACLAutoInher | DACLProtected)
	}
	if parts&SACLPart != 0 {
		out.SACL = sd.SACL
		out.Control |= sd.Control & (SACLPresent | SACLDefaulted | SACLAutoInherReq | SACLAutoInher | SACLProtected)
	}
	return out
}

// OwnerRights in a DACL says what the owner may do, instead of ReadControl and WriteDAC ([MS-DTYP] 2.4.2.4).
var OwnerRights = NewSID(3, 4)

// Check decides whether a user may have want, [MS-DTYP] 2.5.3.2. groups are all groups that count, Everyone and
// AuthenticatedUsers among them if they do. Generic bits are expanded. With MaximumAllowed granted is all that the
// user may have, and ok that it is something and has the rest of want; otherwise granted is want, or nothing.
//
// Privileges are the caller's: SystemSecurity is granted only by an ACE. A conditional ACE never allows and always
// denies, because no condition is evaluated; an object ACE likewise, because files have no object types.
func (sd *SecurityDescriptor) Check(user SID, groups []SID, want Access) (granted Access, ok bool) {
	maximum := want&MaximumAllowed != 0
	want = want.Expand() &^ MaximumAllowed
	granted = FileAll
	if sd.DACL != nil {
		granted = sd.allowed(user, groups)
	}
	if want&^granted != 0 {
		return 0, false
	}
	if maximum {
		return granted, granted != 0
	}
	return want, want != 0
}

// allowed returns everything that the DACL, which is not nil, lets the user do.
func (sd *SecurityDescriptor) allowed(user SID, groups []SID) (granted Access) {
	is := func(s SID) bool {
		if s == "" {
			return false
		}
		if s == user {
			return true
		}
		for _, g := range groups {
			if s == g {
				return true
			}
		}
		return false
	}
	owner := is(sd.Owner)
	if owner {
		granted = ReadControl | WriteDAC
		for i := range sd.DACL.ACEs {
			if a := &sd.DACL.ACEs[i]; a.SID == OwnerRights && a.Flags&InheritOnly == 0 {
				granted = 0
				break
			}
		}
	}
	var denied Access
	for i := range sd.DACL.ACEs {
		a := &sd.DACL.ACEs[i]
		if a.Flags&InheritOnly != 0 || !is(a.SID) && !(owner && a.SID == OwnerRights) {
			continue
		}
		switch a.Type {
		case AccessAllowed:
			granted |= a.Mask.Expand() &^ denied
		case AccessDenied, AccessDeniedIf, AccessDeniedObject, 0x0C: // the last: conditional and object
			denied |= a.Mask.Expand() &^ granted
		}
	}
	return granted &^ MaximumAllowed
}

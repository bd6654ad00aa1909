package dtyp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/postern-nas/postern/smb/hextext"
)

var (
	alice = NewSID(5, 21, 1, 2, 3, 1001)
	bob   = NewSID(5, 21, 1, 2, 3, 1002)
	staff = NewSID(5, 21, 1, 2, 3, 2000)
)

// vectorSD is a descriptor with every part, written down from [MS-DTYP] 2.4.4 to 2.4.6.
const vectorSD = `
	01 00 14 94      # revision; self-relative, DACL protected and auto-inherited, DACL and SACL present
	84000000 94000000 14000000 30000000
	# SACL at 0x14
	02 00 1c00 0100 0000
	02 c0 1400 00000100 01 01 000000000001 00000000 # audit everyone's delete
	# DACL at 0x30
	04 00 5400 0300 0000
	01 00 1400 02000000 01 01 000000000001 00000000 # deny everyone to write
	00 03 1800 ff011f00 01 02 000000000005 20000000 20020000 # administrators may all, inherited by all
	06 00 2000 01000000 00000000 # deny, object, no GUID
	01 02 000000000005 20000000 21020000
	deadbeef
	# owner at 0x84
	01 02 000000000005 20000000 20020000
	# group at 0x94
	01 01 000000000005 12000000
`

func everyPart() *SecurityDescriptor {
	return &SecurityDescriptor{
		Control: 0x9414,
		Owner:   Administrators,
		Group:   LocalSystem,
		SACL:    &ACL{2, []ACE{{Type: SystemAudit, Flags: 0xC0, Mask: Delete, SID: Everyone}}},
		DACL: &ACL{4, []ACE{
			{Type: AccessDenied, Mask: WriteData, SID: Everyone},
			{Type: AccessAllowed, Flags: ObjectInherit | ContainerInherit, Mask: FileAll, SID: Administrators},
			{Type: AccessDeniedObject, Mask: ReadData, Object: []byte{0, 0, 0, 0}, SID: BuiltinUsers, Data: []byte{0xDE, 0xAD, 0xBE, 0xEF}},
		}},
	}
}

func TestSecurityDescriptorVector(t *testing.T) {
	want := hextext.Bytes(vectorSD)
	sd, err := DecodeSecurityDescriptor(want)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(sd, everyPart()) {
		t.Errorf("%+v\n%+v\n%+v", sd, sd.SACL, sd.DACL)
	}
	got, err := everyPart().Append([]byte("abc"))
	if err != nil || string(got[:3]) != "abc" || !bytes.Equal(got[3:], want) {
		t.Errorf("%v\n% x, want\n% x", err, got[3:], want)
	}
	for n := range want {
		if _, err := DecodeSecurityDescriptor(want[:n:n]); !errors.Is(err, ErrSecurityDescriptor) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func TestSecurityDescriptorForms(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		want      *SecurityDescriptor // nil: refused
	}{
		{"nothing", `01 00 0080 00000000 00000000 00000000 00000000`, &SecurityDescriptor{Control: SelfRelative}},
		{"null DACL", `01 00 0480 00000000 00000000 00000000 00000000`, &SecurityDescriptor{Control: SelfRelative | DACLPresent}},
		{
			"empty DACL", `01 00 0480 00000000 00000000 00000000 14000000 02 00 0800 0000 0000`,
			&SecurityDescriptor{Control: SelfRelative | DACLPresent, DACL: &ACL{Revision: 2}},
		},
		{"DACL not present", `01 00 0080 00000000 00000000 00000000 ffffffff`, &SecurityDescriptor{Control: SelfRelative}},
		{"absolute", `01 00 0400 00000000 00000000 00000000 00000000`, nil},
		{"revision", `02 00 0480 00000000 00000000 00000000 00000000`, nil},
		{
			"owner and group the same", `01 00 0080 14000000 14000000 00000000 00000000 0101000000000005 12000000`,
			&SecurityDescriptor{Control: SelfRelative, Owner: LocalSystem, Group: LocalSystem},
		},
		{
			"a gap", `01 00 0080 18000000 00000000 00000000 00000000 ffffffff 0101000000000005 12000000`,
			&SecurityDescriptor{Control: SelfRelative, Owner: LocalSystem},
		},
	} {
		sd, err := DecodeSecurityDescriptor(hextext.Bytes(c.hex))
		if c.want == nil {
			if !errors.Is(err, ErrSecurityDescriptor) {
				t.Errorf("%s: %+v, %v", c.name, sd, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(sd, c.want) {
			t.Errorf("%s: %+v, %v", c.name, sd, err)
		}
	}
}

// TestSEC40SecurityDescriptor: what the parts say of one another and of themselves is not believed.
func TestSEC40SecurityDescriptor(t *testing.T) {
	refuse := func(name string, b []byte) {
		t.Helper()
		if sd, err := DecodeSecurityDescriptor(b); !errors.Is(err, ErrSecurityDescriptor) {
			t.Errorf("%s: %+v, %v", name, sd, err)
		}
	}
	for part := range 4 {
		for _, off := range []uint32{1, 4, 19, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF, 0x7FFFFFFF, uint32(len(hextext.Bytes(vectorSD))), uint32(len(hextext.Bytes(vectorSD))) - 1} {
			b := hextext.Bytes(vectorSD)
			binary.LittleEndian.PutUint32(b[4+4*part:], off)
			refuse(fmt.Sprintf("part %d at %#x", part, off), b)
		}
	}
	b := hextext.Bytes(vectorSD)
	binary.LittleEndian.PutUint32(b[4:], 0x30+8+8) // a SID inside the DACL, of a DACL that is right
	refuse("owner in the DACL", b)
	b = hextext.Bytes(vectorSD)
	binary.LittleEndian.PutUint32(b[16:], 0x14)
	refuse("DACL is the SACL", b)

	const dacl = 0x30
	for name, change := range map[string]func(b []byte){
		"ACL size 0":                      func(b []byte) { b[dacl+2], b[dacl+3] = 0, 0 },
		"ACL size 7":                      func(b []byte) { b[dacl+2], b[dacl+3] = 7, 0 },
		"ACL size less than its ACEs":     func(b []byte) { b[dacl+2] -= 4 },
		"ACL size past the end":           func(b []byte) { b[dacl+3] = 0xFF },
		"65535 ACEs":                      func(b []byte) { b[dacl+4], b[dacl+5] = 0xFF, 0xFF },
		"one ACE more":                    func(b []byte) { b[dacl+4]++ },
		"ACL revision":                    func(b []byte) { b[dacl] = 5 },
		"ACE size 0":                      func(b []byte) { b[dacl+8+2] = 0 },
		"ACE size 3":                      func(b []byte) { b[dacl+8+2] = 3 },
		"ACE size 4":                      func(b []byte) { b[dacl+8+2] = 4 },
		"ACE size odd":                    func(b []byte) { b[dacl+8+2] = 0x15 },
		"ACE size past the ACL":           func(b []byte) { b[dacl+8+3] = 0xFF },
		"ACE less than its SID":           func(b []byte) { b[dacl+8+2] = 0x10 },
		"SID of 15 in an ACE of 1":        func(b []byte) { b[dacl+8+9] = 15 },
		"SID of 16":                       func(b []byte) { b[dacl+8+9] = 16 },
		"object GUIDs that are not there": func(b []byte) { b[dacl+8+0x14+0x18+8] = 3 },
	} {
		b := hextext.Bytes(vectorSD)
		change(b)
		refuse(name, b)
	}

	// 15 sub-authorities are the most a SID has, and it may.
	big := NewSID(5, make([]uint32, MaxSubAuthorities)...)
	sd := &SecurityDescriptor{Owner: big, Group: big, DACL: &ACL{2, []ACE{{Type: AccessAllowed, Mask: 1, SID: big}}}}
	b, err := sd.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := DecodeSecurityDescriptor(b); err != nil || back.DACL.ACEs[0].SID != big {
		t.Errorf("15 sub-authorities: %v", err)
	}

	// A DACL of 64 KiB cannot be written down, and one just below is.
	sd = &SecurityDescriptor{DACL: &ACL{Revision: 2}}
	for sd.DACL.size()+20 <= MaxACL {
		sd.DACL.ACEs = append(sd.DACL.ACEs, ACE{Type: AccessAllowed, Mask: 1, SID: Everyone})
	}
	if b, err = sd.Append(nil); err != nil {
		t.Fatal(err)
	}
	if back, err := DecodeSecurityDescriptor(b); err != nil || len(back.DACL.ACEs) != len(sd.DACL.ACEs) {
		t.Errorf("%d ACEs: %v", len(sd.DACL.ACEs), err)
	}
	sd.DACL.ACEs = append(sd.DACL.ACEs, sd.DACL.ACEs[0])
	if out, err := sd.Append([]byte("x")); !errors.Is(err, ErrSecurityDescriptor) || string(out) != "x" {
		t.Errorf("a DACL of %d bytes: %v", sd.DACL.size(), err)
	}
	refuse("a megabyte", append(hextext.Bytes(vectorSD), make([]byte, 1<<20)...))

	for name, sd := range map[string]*SecurityDescriptor{
		"no SID":       {DACL: &ACL{2, []ACE{{Type: AccessAllowed}}}},
		"bad SID":      {DACL: &ACL{2, []ACE{{SID: "x"}}}},
		"bad owner":    {Owner: "x"},
		"odd data":     {DACL: &ACL{2, []ACE{{SID: Everyone, Data: []byte{1}}}}},
		"no object":    {DACL: &ACL{2, []ACE{{Type: AccessDeniedObject, SID: Everyone}}}},
		"extra object": {DACL: &ACL{2, []ACE{{SID: Everyone, Object: make([]byte, 4)}}}},
	} {
		if _, err := sd.Append(nil); !errors.Is(err, ErrSecurityDescriptor) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// The order of ACEs is kept, so a deny stays where it was.
	sd = everyPart()
	sd.DACL.ACEs[0], sd.DACL.ACEs[1] = sd.DACL.ACEs[1], sd.DACL.ACEs[0]
	if b, err = sd.Append(nil); err != nil {
		t.Fatal(err)
	}
	if back, err := DecodeSecurityDescriptor(b); err != nil || !reflect.DeepEqual(back.DACL, sd.DACL) {
		t.Errorf("order: %+v, %v", back.DACL, err)
	}
}

func TestSelect(t *testing.T) {
	sd := everyPart()
	for _, c := range []struct {
		parts uint32
		want  *SecurityDescriptor
	}{
		{0, &SecurityDescriptor{}},
		{OwnerPart, &SecurityDescriptor{Owner: Administrators}},
		{GroupPart, &SecurityDescriptor{Group: LocalSystem}},
		{DACLPart, &SecurityDescriptor{Control: DACLPresent | DACLAutoInher | DACLProtected, DACL: sd.DACL}},
		{SACLPart, &SecurityDescriptor{Control: SACLPresent, SACL: sd.SACL}},
	} {
		if got := sd.Select(c.parts); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%#x: %+v", c.parts, got)
		}
	}
}

func TestCheck(t *testing.T) {
	allow := func(s SID, m Access) ACE { return ACE{Type: AccessAllowed, Mask: m, SID: s} }
	deny := func(s SID, m Access) ACE { return ACE{Type: AccessDenied, Mask: m, SID: s} }
	flags := func(a ACE, f uint8) ACE { a.Flags = f; return a }
	acl := func(a ...ACE) *ACL { return &ACL{2, a} }
	const rw = ReadData | WriteData
	for _, c := range []struct {
		name    string
		owner   SID
		dacl    *ACL
		want    Access
		granted Access
		ok      bool
	}{
		{"no DACL", bob, nil, rw, rw, true},
		{"no DACL, maximum", bob, nil, MaximumAllowed, FileAll, true},
		{"no DACL, nothing asked", bob, nil, 0, 0, false},
		{"empty DACL", bob, acl(), ReadData, 0, false},
		{"empty DACL, maximum", bob, acl(), MaximumAllowed, 0, false},
		{"allowed", bob, acl(allow(alice, rw)), rw, rw, true},
		{"allowed more than asked", bob, acl(allow(alice, rw)), ReadData, ReadData, true},
		{"allowed in parts", bob, acl(allow(alice, ReadData), allow(staff, WriteData)), rw, rw, true},
		{"allowed a part", bob, acl(allow(alice, ReadData)), rw, 0, false},
		{"allowed another", bob, acl(allow(bob, rw)), ReadData, 0, false},
		{"by group", bob, acl(allow(staff, rw)), rw, rw, true},
		{"denied first", bob, acl(deny(staff, WriteData), allow(alice, rw)), rw, 0, false},
		{"denied first, other bit", bob, acl(deny(staff, WriteData), allow(alice, rw)), ReadData, ReadData, true},
		{"allowed first", bob, acl(allow(alice, rw), deny(staff, WriteData)), rw, rw, true},
		{"maximum with a deny", bob, acl(deny(staff, WriteData), allow(alice, rw)), MaximumAllowed, ReadData, true},
		{"maximum and more", bob, acl(deny(staff, WriteData), allow(alice, rw)), MaximumAllowed | WriteData, 0, false},
		{"maximum and less", bob, acl(allow(alice, rw)), MaximumAllowed | WriteData, rw, true},
		{"inherit only", bob, acl(flags(allow(alice, rw), InheritOnly|ContainerInherit)), ReadData, 0, false},
		{"inherit only deny", bob, acl(flags(deny(alice, rw), InheritOnly), allow(alice, rw)), rw, rw, true},
		{"inherited", bob, acl(flags(allow(alice, rw), Inherited)), rw, rw, true},
		{"generic in the ACE", bob, acl(allow(alice, GenericAll)), FileAll, FileAll, true},
		{"generic asked", bob, acl(allow(alice, FileRead)), GenericRead, FileRead, true},
		{"generic asked, too little", bob, acl(allow(alice, FileRead&^ReadEA)), GenericRead, 0, false},
		{"owner", alice, acl(), ReadControl | WriteDAC, ReadControl | WriteDAC, true},
		{"owner wants more", alice, acl(), ReadControl | ReadData, 0, false},
		{"owner denied", alice, acl(deny(alice, FileAll)), ReadControl, ReadControl, true},
		{"owner rights", alice, acl(allow(OwnerRights, ReadData)), MaximumAllowed, ReadData, true},
		{"owner rights take", alice, acl(allow(OwnerRights, ReadData)), WriteDAC, 0, false},
		{"owner rights, not of the owner", bob, acl(allow(OwnerRights, ReadData)), ReadData, 0, false},
		{"owner by group", staff, acl(), WriteDAC, WriteDAC, true},
		{"no owner", "", acl(), ReadControl, 0, false},
		{"system security", alice, nil, SystemSecurity, 0, false},
		{"condition allows", bob, acl(ACE{Type: AccessAllowedIf, Mask: rw, SID: alice}), ReadData, 0, false},
		{"condition denies", bob, acl(ACE{Type: AccessDeniedIf, Mask: rw, SID: alice}, allow(alice, rw)), ReadData, 0, false},
		{"object allows", bob, acl(ACE{Type: AccessAllowedObject, Mask: rw, SID: alice}), ReadData, 0, false},
		{"object denies", bob, acl(ACE{Type: AccessDeniedObject, Mask: rw, SID: alice}, allow(alice, rw)), ReadData, 0, false},
		{"audit does nothing", bob, acl(ACE{Type: SystemAudit, Mask: rw, SID: alice}, allow(alice, rw)), rw, rw, true},
		{"unknown type does nothing", bob, acl(ACE{Type: 0x77, Data: []byte(alice)}, allow(alice, rw)), rw, rw, true},
		{"maximum in an ACE", bob, acl(allow(alice, MaximumAllowed|ReadData)), MaximumAllowed, ReadData, true},
	} {
		sd := &SecurityDescriptor{Owner: c.owner, DACL: c.dacl}
		granted, ok := sd.Check(alice, []SID{staff, Everyone}, c.want)
		if granted != c.granted || ok != c.ok {
			t.Errorf("%s: %#x, %v, want %#x, %v", c.name, granted, ok, c.granted, c.ok)
		}
	}
	// No one is no SID that an ACE could name.
	sd := &SecurityDescriptor{Owner: "", DACL: acl(ACE{Type: AccessAllowed, Mask: rw})}
	if granted, ok := sd.Check("", nil, ReadData); ok {
		t.Errorf("no one: %#x", granted)
	}
}

func FuzzSecurityDescriptor(f *testing.F) {
	f.Add(hextext.Bytes(vectorSD))
	f.Add(hextext.Bytes(`01 00 0480 00000000 00000000 00000000 14000000 02 00 0800 0000 0000`))
	f.Fuzz(func(t *testing.T, b []byte) {
		sd, err := DecodeSecurityDescriptor(b)
		if err != nil {
			return
		}
		sd.Check(alice, []SID{Everyone}, MaximumAllowed)
		out, err := sd.Append(nil)
		if err != nil {
			t.Fatalf("%+v: %v", sd, err)
		}
		if again, err := DecodeSecurityDescriptor(out); err != nil || !reflect.DeepEqual(sd, again) {
			t.Errorf("%+v became %+v, %v", sd, again, err)
		}
	})
}

package samr

import (
	"bytes"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/rpc"
)

// What a user account is, [MS-SAMR] 2.2.1.12.
const (
	controlDisabled     = 0x00000001
	controlNormal       = 0x00000010
	controlDontExpire   = 0x00000200
	attributesOfMembers = 0x00000007 // mandatory, enabled by default, enabled: 2.2.1.10
)

func (u *User) control() uint32 {
	c := uint32(controlNormal | controlDontExpire)
	if u.Disabled {
		c |= controlDisabled
	}
	return c
}

// openAccount is SamrOpenUser and its kin, [MS-SAMR] 3.1.5.1.7 to 3.1.5.1.9.
func (s *service) openAccount(o object, r *rpc.Reader, w *rpc.Writer, k *kind, use uint32, missing nt.Status) nt.Status {
	access, rid := dtyp.Access(r.U32()), r.U32()
	if r.Err() != nil {
		return 0
	}
	d := s.domain(o.builtin)
	if a, ok := d.find(rid); !ok || a.use != use {
		w.Handle(rpc.Handle{})
		return missing
	}
	return s.open(w, object{kind: k, builtin: o.builtin, rid: rid}, access)
}

func (s *service) openUser(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	return s.openAccount(o, r, w, kindUser, useUser, nt.NoSuchUser)
}

func (s *service) openGroup(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	return s.openAccount(o, r, w, kindGroup, useGroup, nt.NoSuchGroup)
}

func (s *service) openAlias(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	return s.openAccount(o, r, w, kindAlias, useAlias, nt.NoSuchAlias)
}

// Classes of USER_INFORMATION_CLASS, [MS-SAMR] 2.2.6.28, that are answered.
const (
	userGeneral      = 1
	userPreferences  = 2
	userLogon        = 3
	userLogonHours   = 4
	userAccount      = 5
	userName         = 6
	userAccountName  = 7
	userFullName     = 8
	userPrimaryGroup = 9
	userHome         = 10
	userScript       = 11
	userProfile      = 12
	userAdminComment = 13
	userWorkStations = 14
	userControl      = 16
	userExpires      = 17
	userParameters   = 20
	userAll          = 21
)

// A fields writes a structure: what its pointers point to is kept until the end.
type fields struct {
	w     *rpc.Writer
	after []func()
}

func (f *fields) texts(list ...string) {
	for _, t := range list {
		f.w.Name(t)
		f.after = append(f.after, func() { f.w.NameBody(t) })
	}
}

// hours are a SAMPR_LOGON_HOURS, [MS-SAMR] 2.2.6.5: all of the week.
func (f *fields) hours() {
	const units, most = 168, 1260
	f.w.Align(4)
	f.w.U16(units)
	f.w.Pointer(true)
	f.after = append(f.after, func() {
		f.w.U32(most)
		f.w.U32(0)
		f.w.U32(units / 8)
		f.w.Raw(bytes.Repeat([]byte{0xFF}, units/8))
	})
}

func (f *fields) times(list ...uint64) {
	for _, t := range list {
		f.w.Time(t)
	}
}

func (f *fields) end() {
	for _, write := range f.after {
		write()
	}
}

// queryUser is SamrQueryInformationUser, [MS-SAMR] 3.1.5.5.6. Of a user there are a name and what it may; what else the
// structures have room for is empty, or not counted.
func (s *service) queryUser(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	class := r.U16()
	d := s.domain(o.builtin)
	a, ok := d.find(o.rid)
	if r.Err() != nil || !ok { // removed meanwhile
		w.Pointer(false)
		return nt.NoSuchUser
	}
	u := &a.user
	f := &fields{w: w}
	write := map[uint16]func(){
		userGeneral: func() {
			f.texts(u.Name, "")
			w.U32(ridNone)
			f.texts("", "")
		},
		userPreferences: func() {
			f.texts("", "")
			w.U16(0) // country, code page
			w.U16(0)
		},
		userLogon: func() {
			f.texts(u.Name, "")
			w.U32(u.RID)
			w.U32(ridNone)
			f.texts("", "", "", "", "")
			f.times(noTime, noTime, noTime, noTime, never) // logon, logoff, password set, may change, must change
			f.hours()
			w.U16(0) // bad passwords, logons
			w.U16(0)
			w.U32(u.control())
		},
		userLogonHours: f.hours,
		userAccount: func() {
			f.texts(u.Name, "")
			w.U32(u.RID)
			w.U32(ridNone)
			f.texts("", "", "", "", "", "")
			f.times(noTime, noTime) // logon, logoff
			f.hours()
			w.U16(0)
			w.U16(0)
			f.times(noTime, never) // password set, account expires
			w.U32(u.control())
		},
		userName:         func() { f.texts(u.Name, "") },
		userAccountName:  func() { f.texts(u.Name) },
		userFullName:     func() { f.texts("") },
		userPrimaryGroup: func() { w.U32(ridNone) },
		userHome:         func() { f.texts("", "") },
		userScript:       func() { f.texts("") },
		userProfile:      func() { f.texts("") },
		userAdminComment: func() { f.texts("") },
		userWorkStations: func() { f.texts("") },
		userControl:      func() { w.U32(u.control()) },
		userExpires:      func() { f.times(never) },
		userParameters:   func() { f.texts("") },
		userAll:          func() { f.all(u) },
	}[class]
	w.Pointer(write != nil)
	if write == nil {
		return nt.InvalidInfoClass
	}
	w.U16(class)
	w.Align(4) // what every structure here begins with
	write()
	f.end()
	return nt.Success
}

// all is SAMPR_USER_ALL_INFORMATION, [MS-SAMR] 2.2.6.6. Hashes are not told to anyone.
func (f *fields) all(u *User) {
	const known = 0x00FFFFFF // all fields but the passwords and what is private
	w := f.w
	f.times(noTime, noTime, noTime, never, noTime, never) // logon, logoff, password set, expires, may change, must change
	f.texts(u.Name, "", "", "", "", "", "", "", "", "")
	for range 2 { // hashes
		w.U16(0)
		w.U16(0)
		w.Pointer(false)
	}
	f.texts("") // private data
	w.U32(0)    // security descriptor
	w.Pointer(false)
	w.U32(u.RID)
	w.U32(ridNone)
	w.U32(u.control())
	w.U32(known)
	f.hours()
	for range 4 { // bad passwords, logons, country, code page
		w.U16(0)
	}
	for range 4 { // passwords there, expired, private
		w.U8(0)
	}
}

// userGroups is SamrGetGroupsForUser, [MS-SAMR] 3.1.5.9.1: "None".
func (s *service) userGroups(_ object, _ *rpc.Reader, w *rpc.Writer) nt.Status {
	w.Pointer(true)
	w.U32(1)
	w.Pointer(true)
	w.U32(1)
	w.U32(ridNone)
	w.U32(attributesOfMembers)
	return nt.Success
}

// userPasswordInfo is SamrGetUserDomainPasswordInformation, [MS-SAMR] 3.1.5.13.1.
func (s *service) userPasswordInfo(_ object, _ *rpc.Reader, w *rpc.Writer) nt.Status {
	w.U16(minLength)
	w.U32(0) // properties
	return nt.Success
}

// domainPasswordInfo is SamrGetDomainPasswordInformation, [MS-SAMR] 3.1.5.13.2.
func (s *service) domainPasswordInfo(r *rpc.Reader, w *rpc.Writer) nt.Status {
	if r.Pointer() && r.Text() { // of which server: this one
		_ = r.String()
	}
	return s.userPasswordInfo(object{}, r, w)
}

// queryGroup is SamrQueryInformationGroup, [MS-SAMR] 3.1.5.5.3.
func (s *service) queryGroup(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	d := s.domain(o.builtin)
	a, _ := d.find(o.rid) // groups do not come and go
	members := func() { w.U32(uint32(len(d.only(useUser)))) }
	attributes := func() { w.U32(attributesOfMembers) }
	return describe(r, w, a.name, attributes, members, []string{"nam", "n", "a", "", "nam"})
}

// queryAlias is SamrQueryInformationAlias, [MS-SAMR] 3.1.5.5.5.
func (s *service) queryAlias(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	d := s.domain(o.builtin)
	a, _ := d.find(o.rid)
	members := func() { w.U32(uint32(len(s.members(o.rid)))) }
	return describe(r, w, a.name, nil, members, []string{"nm", "n", ""})
}

// describe answers for a group or alias. layouts has, for each class from 1 on, what is in its structure: a name,
// attributes, a count of members, and always at the end, unless it is only one of these, a comment, which is empty.
func describe(r *rpc.Reader, w *rpc.Writer, name string, attributes, members func(), layouts []string) nt.Status {
	class := r.U16()
	if r.Err() != nil || class == 0 || int(class) > len(layouts) {
		w.Pointer(false)
		return nt.InvalidInfoClass
	}
	layout := layouts[class-1]
	f := &fields{w: w}
	w.Pointer(true)
	w.U16(class)
	w.Align(4)
	for _, part := range layout {
		switch part {
		case 'n':
			f.texts(name)
		case 'a':
			attributes()
		case 'm':
			members()
		}
	}
	if len(layout) != 1 {
		f.texts("")
	}
	f.end()
	return nt.Success
}

// groupMembers is SamrGetMembersInGroup, [MS-SAMR] 3.1.5.8.3: everybody.
func (s *service) groupMembers(o object, _ *rpc.Reader, w *rpc.Writer) nt.Status {
	d := s.domain(o.builtin)
	users := d.only(useUser)
	n := uint32(len(users))
	w.Pointer(true)
	w.U32(n)
	w.Pointer(n > 0)
	w.Pointer(n > 0)
	for _, of := range []func(account) uint32{
		func(a account) uint32 { return a.rid }, func(account) uint32 { return attributesOfMembers },
	} {
		if n > 0 {
			w.U32(n)
		}
		for _, a := range users {
			w.U32(of(a))
		}
	}
	return nt.Success
}

// aliasMembers is SamrGetMembersInAlias, [MS-SAMR] 3.1.5.8.2.
func (s *service) aliasMembers(o object, _ *rpc.Reader, w *rpc.Writer) nt.Status {
	members := s.members(o.rid)
	n := uint32(len(members))
	w.U32(n)
	w.Pointer(n > 0)
	if n > 0 {
		w.U32(n)
	}
	for range members {
		w.Pointer(true)
	}
	for _, m := range members {
		w.SID(m)
	}
	return nt.Success
}

// Classes of DOMAIN_DISPLAY_INFORMATION, [MS-SAMR] 2.2.8.12, that are answered.
const (
	displayUser    = 1
	displayMachine = 2
	displayGroup   = 3
)

// queryDisplay is SamrQueryDisplayInformation3, [MS-SAMR] 3.1.5.3.1: lists as a person is shown them.
func (s *service) queryDisplay(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	class, from, most, preferred := r.U16(), r.U32(), r.U32(), min(r.U32(), maxEnum)
	if r.Err() != nil {
		return 0
	}
	d := s.domain(o.builtin)
	var list []account
	status := nt.Success
	switch class {
	case displayUser:
		list = d.only(useUser)
	case displayMachine: // none has joined
	case displayGroup:
		list = d.only(useGroup)
	default:
		w.U32(0)
		w.U32(0)
		w.U16(class)
		w.U32(0)
		w.Pointer(false)
		return nt.InvalidInfoClass
	}
	size := func(a account) uint32 { return 36 + uint32(2*len(a.name)) }
	var total, told uint32
	for _, a := range list {
		total += size(a)
	}
	list = list[min(uint64(from), uint64(len(list))):]
	for i, a := range list {
		if uint32(i) >= most || told+size(a) > preferred && i > 0 {
			list, status = list[:i], nt.MoreEntries
			break
		}
		told += size(a)
	}
	n := uint32(len(list))
	w.U32(total)
	w.U32(told)
	w.U16(class)
	w.U32(n)
	w.Pointer(n > 0)
	if n > 0 {
		w.U32(n)
	}
	f := &fields{w: w}
	for i, a := range list {
		w.U32(from + uint32(i) + 1)
		w.U32(a.rid)
		if class == displayUser {
			w.U32(a.user.control())
			f.texts(a.name, "", "")
			continue
		}
		w.U32(attributesOfMembers)
		f.texts(a.name, "")
	}
	f.end()
	return status
}

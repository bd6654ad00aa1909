package samr

import (
	"slices"
	"strings"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/rpc"
)

// Kinds of accounts, a SID_NAME_USE: [MS-SAMR] 2.2.2.3.
const (
	useUser    uint32 = 1
	useGroup   uint32 = 2
	useAlias   uint32 = 4
	useUnknown uint32 = 8
)

// An account is one row of a domain.
type account struct {
	rid  uint32
	use  uint32
	name string
	user User
}

// A domain is what is in one.
type domain struct {
	name     string
	sid      dtyp.SID
	accounts []account
}

// builtinSID is the same on every machine.
var builtinSID = dtyp.NewSID(5, 32)

// RIDs that are the same on every machine, [MS-DTYP] 2.4.2.4.
const (
	ridNone           = 513
	ridAdministrators = 544
	ridUsers          = 545
	ridGuests         = 546
)

// domain returns the machine's own domain or Builtin.
func (s *service) domain(builtin bool) domain {
	if builtin {
		return domain{"Builtin", builtinSID, []account{
			{rid: ridAdministrators, use: useAlias, name: "Administrators"},
			{rid: ridUsers, use: useAlias, name: "Users"},
			{rid: ridGuests, use: useAlias, name: "Guests"},
		}}
	}
	name, sid := s.src.Machine()
	d := domain{name, sid, []account{{rid: ridNone, use: useGroup, name: "None"}}}
	for _, u := range s.src.Users() {
		d.accounts = append(d.accounts, account{rid: u.RID, use: useUser, name: u.Name, user: u})
	}
	return d
}

// find returns the account of a number.
func (d *domain) find(rid uint32) (account, bool) {
	i := slices.IndexFunc(d.accounts, func(a account) bool { return a.rid == rid })
	if i < 0 {
		return account{}, false
	}
	return d.accounts[i], true
}

// only returns the accounts of one kind.
func (d *domain) only(use uint32) (list []account) {
	for _, a := range d.accounts {
		if a.use == use {
			list = append(list, a)
		}
	}
	return list
}

// lookupDomain is SamrLookupDomainInSamServer, [MS-SAMR] 3.1.5.11.1.
func (s *service) lookupDomain(_ object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	name := ""
	if r.Text() {
		name = r.String()
	}
	if name == "" {
		writeSID(w, "")
		return nt.InvalidParameter
	}
	for _, builtin := range []bool{false, true} {
		if d := s.domain(builtin); strings.EqualFold(d.name, name) {
			writeSID(w, d.sid)
			return nt.Success
		}
	}
	writeSID(w, "")
	return nt.NoSuchDomain
}

// openDomain is SamrOpenDomain, [MS-SAMR] 3.1.5.1.5.
func (s *service) openDomain(_ object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	access, sid := dtyp.Access(r.U32()), r.SID()
	if r.Err() != nil {
		return 0
	}
	if sid != builtinSID && sid != s.domain(false).sid {
		w.Handle(rpc.Handle{})
		return nt.NoSuchDomain
	}
	return s.open(w, object{kind: kindDomain, builtin: sid == builtinSID}, access)
}

// enumDomains is SamrEnumerateDomainsInSamServer, [MS-SAMR] 3.1.5.2.1.
func (s *service) enumDomains(_ object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	from := r.U32()
	return enumerate(r, w, from, []account{{name: s.domain(false).name}, {name: s.domain(true).name}})
}

// enumGroups is SamrEnumerateGroupsInDomain, [MS-SAMR] 3.1.5.2.2.
func (s *service) enumGroups(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	d := s.domain(o.builtin)
	return enumerate(r, w, r.U32(), d.only(useGroup))
}

// enumAliases is SamrEnumerateAliasesInDomain, [MS-SAMR] 3.1.5.2.3.
func (s *service) enumAliases(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	d := s.domain(o.builtin)
	return enumerate(r, w, r.U32(), d.only(useAlias))
}

// enumUsers is SamrEnumerateUsersInDomain, [MS-SAMR] 3.1.5.2.4.
func (s *service) enumUsers(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	d := s.domain(o.builtin)
	from, wanted := r.U32(), r.U32()
	users := slices.DeleteFunc(d.only(useUser), func(a account) bool { return wanted != 0 && a.user.control()&wanted == 0 })
	return enumerate(r, w, from, users)
}

// maxEnum bounds the reply of an enumeration, in bytes, whatever a client prefers.
const maxEnum = 1 << 20

// enumerate answers with a SAMPR_ENUMERATION_BUFFER, [MS-SAMR] 2.2.7.13, from the index on that the EnumerationContext is.
func enumerate(r *rpc.Reader, w *rpc.Writer, from uint32, list []account) nt.Status {
	preferred := min(r.U32(), maxEnum)
	list = list[min(uint64(from), uint64(len(list))):]
	status, used := nt.Success, uint32(0)
	for i, a := range list {
		// One is always told, or a client that prefers too little would ask for ever.
		if used += 12 + uint32(cursor.UTF16Len(a.name)); used > preferred && i > 0 {
			list, status = list[:i], nt.MoreEntries
			break
		}
	}
	next := uint32(0)
	if status == nt.MoreEntries {
		next = from + uint32(len(list))
	}
	n := uint32(len(list))
	w.U32(next)
	w.Pointer(true)
	w.U32(n)
	w.Pointer(n > 0)
	if n > 0 {
		w.U32(n)
	}
	for _, a := range list {
		w.U32(a.rid)
		w.Name(a.name)
	}
	for _, a := range list {
		w.NameBody(a.name)
	}
	w.U32(n)
	return status
}

// maxLookup bounds one lookup; the IDL has 1,000.
const maxLookup = 1000

// array reads the head of an array of which room for maxLookup elements is declared and n are there.
func array(r *rpc.Reader, n uint32) bool {
	if size, offset, count := r.U32(), r.U32(), r.U32(); n > maxLookup || size < n || offset != 0 || count != n {
		r.Fail()
	}
	return r.Err() == nil
}

// lookupNames is SamrLookupNamesInDomain, [MS-SAMR] 3.1.5.11.2.
func (s *service) lookupNames(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	n := r.U32()
	if !array(r, n) {
		return 0
	}
	follows := make([]bool, n)
	for i := range follows {
		follows[i] = r.Text()
	}
	d := s.domain(o.builtin)
	var found []account
	for _, has := range follows {
		name := ""
		if has {
			name = r.String()
		}
		if r.Err() != nil {
			return 0
		}
		i := slices.IndexFunc(d.accounts, func(a account) bool { return strings.EqualFold(a.name, name) })
		if i < 0 {
			found = append(found, account{use: useUnknown})
			continue
		}
		found = append(found, d.accounts[i])
	}
	longs(w, found, func(a account) uint32 { return a.rid })
	return uses(w, found)
}

// longs writes a SAMPR_ULONG_ARRAY, [MS-SAMR] 2.2.7.7.
func longs(w *rpc.Writer, list []account, of func(account) uint32) {
	n := uint32(len(list))
	w.U32(n)
	w.Pointer(n > 0)
	if n > 0 {
		w.U32(n)
	}
	for _, a := range list {
		w.U32(of(a))
	}
}

// uses writes what was found, and says how much of it was.
func uses(w *rpc.Writer, found []account) nt.Status {
	longs(w, found, func(a account) uint32 { return a.use })
	unknown := 0
	for _, a := range found {
		if a.use == useUnknown {
			unknown++
		}
	}
	switch unknown {
	case 0:
		return nt.Success
	case len(found):
		return nt.NoneMapped
	}
	return nt.SomeNotMapped
}

// lookupIDs is SamrLookupIdsInDomain, [MS-SAMR] 3.1.5.11.3.
func (s *service) lookupIDs(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	n := r.U32()
	if !array(r, n) {
		return 0
	}
	d := s.domain(o.builtin)
	var found []account
	for range n {
		a, ok := d.find(r.U32())
		if !ok {
			a = account{use: useUnknown}
		}
		found = append(found, a)
	}
	w.U32(n)
	w.Pointer(n > 0)
	if n > 0 {
		w.U32(n)
	}
	for _, a := range found {
		w.Name(a.name)
	}
	for _, a := range found {
		w.NameBody(a.name)
	}
	return uses(w, found)
}

// aliasMembership is SamrGetAliasMembership, [MS-SAMR] 3.1.5.9.2: which aliases of the domain the SIDs are in.
func (s *service) aliasMembership(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	sids := r.SIDs(maxLookup)
	var in []account
	d := s.domain(o.builtin)
	for _, a := range d.only(useAlias) {
		if slices.ContainsFunc(s.members(a.rid), func(m dtyp.SID) bool { return slices.Contains(sids, m) }) {
			in = append(in, a)
		}
	}
	longs(w, in, func(a account) uint32 { return a.rid })
	return nt.Success
}

// members returns who is in an alias of Builtin.
func (s *service) members(alias uint32) (list []dtyp.SID) {
	_, machine := s.src.Machine()
	for _, u := range s.src.Users() {
		if alias == ridUsers || alias == ridAdministrators && u.Admin {
			list = append(list, machine.Child(u.RID))
		}
	}
	return list
}

// Classes of DOMAIN_INFORMATION_CLASS, [MS-SAMR] 2.2.3.16, that are answered.
const (
	domainPassword    = 1
	domainGeneral     = 2
	domainLogoff      = 3
	domainOEM         = 4
	domainName        = 5
	domainReplication = 6
	domainServerRole  = 7
	domainModified    = 8
	domainState       = 9
	domainGeneral2    = 11
	domainLockout     = 12
	domainModified2   = 13
)

const (
	never     = 1<<63 - 1 // as a time, or 1<<63 as a duration
	forEver   = 1 << 63
	noTime    = 0
	enabled   = 1 // DOMAIN_SERVER_ENABLE_STATE
	primary   = 3 // DOMAIN_SERVER_ROLE
	minLength = 10
)

// queryDomain is SamrQueryInformationDomain, [MS-SAMR] 3.1.5.5.2. Nothing of it can be set: passwords are as firmware's
// accounts have them, and nobody is locked out.
func (s *service) queryDomain(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	class := r.U16()
	d := s.domain(o.builtin)
	count := func(use uint32) uint32 { return uint32(len(d.only(use))) }
	text := func(t string) {
		w.Name(t)
		w.NameBody(t)
	}
	known := class >= domainPassword && class <= domainModified2 && class != 10
	w.Pointer(known)
	if !known {
		return nt.InvalidInfoClass
	}
	w.U16(class)
	switch class {
	case domainPassword:
		w.Align(4)
		w.U16(minLength)
		w.U16(0) // history
		w.U32(0) // properties
		w.Time(forEver)
		w.Time(0)
	case domainGeneral, domainGeneral2:
		if w.Align(4); class == domainGeneral2 {
			w.Align(8)
		}
		w.Time(forEver) // ForceLogoff
		f := &fields{w: w}
		f.texts("", d.name, "") // OemInformation, DomainName, ReplicaSourceNodeName
		w.Time(0)               // DomainModifiedCount
		w.U32(enabled)
		w.U32(primary)
		w.U8(1) // UasCompatibilityRequired
		w.U32(count(useUser))
		w.U32(count(useGroup))
		w.U32(count(useAlias))
		if class == domainGeneral2 {
			lockout(w)
		}
		f.end()
	case domainLogoff:
		w.Time(forEver)
	case domainOEM, domainReplication:
		text("")
	case domainName:
		text(d.name)
	case domainServerRole:
		w.U32(primary) // 32 bits, as in class 2 and as clients read it
	case domainModified:
		w.Time(0)
		w.Time(noTime)
	case domainState:
		w.U32(enabled)
	case domainLockout:
		lockout(w)
	case domainModified2:
		w.Time(0)
		w.Time(noTime)
		w.Time(0)
	}
	return nt.Success
}

// lockout writes that nobody is locked out, ever.
func lockout(w *rpc.Writer) {
	const halfAnHour = 18_000_000_000
	w.U64(1<<64 - halfAnHour) // times to come are negative
	w.U64(1<<64 - halfAnHour)
	w.U16(0)
}

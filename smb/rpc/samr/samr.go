// Package samr is the part of the Security Account Manager protocol [MS-SAMR] that clients read a machine's users and
// groups with. It changes nothing, and knows no passwords: operations that would are refused.
//
//	samr.go     handles, rights, the dispatch
//	domain.go   the two domains: what lists and looks up
//	account.go  one user, group or alias
//
// There are two domains, as on a Windows machine that has joined none: the machine's own with its users and the group
// "None", and Builtin with the aliases that rights are given to. Every user may read all of it, as with lsarpc, and
// nobody logs on without being one.
package samr

import (
	"cmp"
	"context"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/rpc"
)

// A User is a local account.
type User struct {
	RID             uint32
	Name            string
	Disabled, Admin bool
}

// A Source knows the machine's users.
type Source interface {
	// Machine returns the name and the SID of the domain that the users are in: the machine's own.
	Machine() (name string, domain dtyp.SID)
	Users() []User
}

// Operations, [MS-SAMR] 3.1.5.
const (
	opConnect               = 0
	opClose                 = 1
	opQuerySecurity         = 3
	opLookupDomain          = 5
	opEnumDomains           = 6
	opOpenDomain            = 7
	opQueryDomain           = 8
	opEnumGroups            = 11
	opEnumUsers             = 13
	opEnumAliases           = 15
	opGetAliasMembership    = 16
	opLookupNames           = 17
	opLookupIDs             = 18
	opOpenGroup             = 19
	opQueryGroup            = 20
	opGetMembersInGroup     = 25
	opOpenAlias             = 27
	opQueryAlias            = 28
	opGetMembersInAlias     = 33
	opOpenUser              = 34
	opQueryUser             = 36
	opGetGroupsForUser      = 39
	opQueryDisplay          = 40
	opGetUserPasswordInfo   = 44
	opQueryDomain2          = 46
	opQueryUser2            = 47
	opQueryDisplay2         = 48
	opQueryDisplay3         = 51
	opGetDomainPasswordInfo = 56
	opConnect2              = 57
	opConnect4              = 62
	opConnect5              = 64
	opRIDToSID              = 65
)

// refused are the operations that would change something, or a password.
var refused = map[uint16]bool{
	2: true, 9: true, 10: true, 12: true, 14: true, 21: true, 22: true, 23: true, 24: true, 26: true, 29: true, 30: true, 31: true,
	32: true, 35: true, 37: true, 38: true, 45: true, 50: true, 52: true, 53: true, 54: true, 55: true, 58: true, 63: true, 66: true,
}

var uuid = dtyp.MustGUID("12345778-1234-abcd-ef00-0123456789ac")

// New returns the interface samr, version 1.0, for one open of the pipe.
func New(src Source) rpc.Interface {
	s := &service{src: src}
	return rpc.Interface{UUID: uuid, Major: 1, Endpoint: `\PIPE\samr`, Call: s.call}
}

// A service is one open of the pipe; its calls come one after the other.
type service struct {
	src     Source
	handles rpc.Handles[object]
}

// A kind of object, and what may be done with one, [MS-SAMR] 2.2.1.3 to 2.2.1.7.
type kind struct {
	all  dtyp.Access
	user dtyp.Access // what every user may: GENERIC_READ and GENERIC_EXECUTE
}

var (
	kindServer = &kind{all: 0x000F003F, user: 0x00020031}
	kindDomain = &kind{all: 0x000F07FF, user: 0x00020385}
	kindGroup  = &kind{all: 0x000F001F, user: 0x00020011}
	kindAlias  = &kind{all: 0x000F001F, user: 0x0002000C}
	kindUser   = &kind{all: 0x000F07FF, user: 0x0002035B}
)

// An object is what a handle stands for.
type object struct {
	kind    *kind
	builtin bool   // in that domain, or that domain
	rid     uint32 // of a user, group or alias
}

// An operation on an object reads its arguments behind the handle, and writes what it answers before the status.
type operation struct {
	on  *kind // nil: any
	run func(s *service, o object, r *rpc.Reader, w *rpc.Writer) nt.Status
}

// openings are the operations that need no handle.
var openings = map[uint16]func(s *service, r *rpc.Reader, w *rpc.Writer) nt.Status{
	opConnect: (*service).connect, opConnect2: (*service).connect2, opConnect4: (*service).connect4, opConnect5: (*service).connect5,
	opGetDomainPasswordInfo: (*service).domainPasswordInfo,
}

var operations = map[uint16]operation{
	opQuerySecurity: {nil, (*service).querySecurity},
	opLookupDomain:  {kindServer, (*service).lookupDomain}, opEnumDomains: {kindServer, (*service).enumDomains},
	opOpenDomain:  {kindServer, (*service).openDomain},
	opQueryDomain: {kindDomain, (*service).queryDomain}, opQueryDomain2: {kindDomain, (*service).queryDomain},
	opEnumGroups: {kindDomain, (*service).enumGroups}, opEnumUsers: {kindDomain, (*service).enumUsers}, opEnumAliases: {kindDomain, (*service).enumAliases},
	opGetAliasMembership: {kindDomain, (*service).aliasMembership},
	opLookupNames:        {kindDomain, (*service).lookupNames}, opLookupIDs: {kindDomain, (*service).lookupIDs},
	opQueryDisplay: {kindDomain, (*service).queryDisplay}, opQueryDisplay2: {kindDomain, (*service).queryDisplay}, opQueryDisplay3: {kindDomain, (*service).queryDisplay},
	opOpenGroup: {kindDomain, (*service).openGroup}, opOpenAlias: {kindDomain, (*service).openAlias}, opOpenUser: {kindDomain, (*service).openUser},
	opQueryGroup: {kindGroup, (*service).queryGroup}, opGetMembersInGroup: {kindGroup, (*service).groupMembers},
	opQueryAlias: {kindAlias, (*service).queryAlias}, opGetMembersInAlias: {kindAlias, (*service).aliasMembers},
	opQueryUser: {kindUser, (*service).queryUser}, opQueryUser2: {kindUser, (*service).queryUser},
	opGetGroupsForUser: {kindUser, (*service).userGroups}, opGetUserPasswordInfo: {kindUser, (*service).userPasswordInfo},
	opRIDToSID: {nil, (*service).ridToSID},
}

func (s *service) call(_ context.Context, opnum uint16, stub []byte) ([]byte, error) {
	r, w := rpc.NewReader(stub), new(rpc.Writer)
	var status nt.Status
	var err error
	if refused[opnum] {
		return nil, rpc.FaultAccessDenied
	} else if open := openings[opnum]; open != nil {
		status = open(s, r, w)
	} else {
		status, err = s.use(opnum, r, w)
	}
	if err = cmp.Or(r.Err(), err); err != nil {
		return nil, err
	}
	w.U32(uint32(status))
	return w.Bytes(), nil
}

// use runs an operation on the object behind a handle.
func (s *service) use(opnum uint16, r *rpc.Reader, w *rpc.Writer) (nt.Status, error) {
	op, known := operations[opnum]
	if !known && opnum != opClose {
		return 0, rpc.FaultOpRange
	}
	h := r.Handle()
	if r.Err() != nil {
		return 0, r.Err()
	}
	o, ok := s.handles.Find(h)
	if !ok || op.on != nil && op.on != o.kind {
		return 0, rpc.FaultBadContext
	}
	if opnum == opClose {
		s.handles.Close(h)
		w.Handle(rpc.Handle{})
		return nt.Success, nil
	}
	return op.run(s, o, r, w), nil
}

// open answers with a handle for an object, if every user may have access to it.
func (s *service) open(w *rpc.Writer, o object, access dtyp.Access) nt.Status {
	const generic = dtyp.GenericRead | dtyp.GenericExecute | dtyp.MaximumAllowed
	var h rpc.Handle
	status := nt.AccessDenied
	if access&^(o.kind.user|generic) == 0 {
		var ok bool
		if h, ok = s.handles.Open(o); ok {
			status = nt.Success
		} else {
			status = nt.InsufficientResources
		}
	}
	w.Handle(h)
	return status
}

// connect is SamrConnect, [MS-SAMR] 3.1.5.1.4.
func (s *service) connect(r *rpc.Reader, w *rpc.Writer) nt.Status {
	if r.Pointer() {
		r.U16() // ServerName: of one character
	}
	return s.openServer(r, w)
}

// connect2 is SamrConnect2, [MS-SAMR] 3.1.5.1.3.
func (s *service) connect2(r *rpc.Reader, w *rpc.Writer) nt.Status {
	r.UniqueString()
	return s.openServer(r, w)
}

// connect4 is SamrConnect4, [MS-SAMR] 3.1.5.1.2.
func (s *service) connect4(r *rpc.Reader, w *rpc.Writer) nt.Status {
	r.UniqueString()
	r.U32() // ClientRevision
	return s.openServer(r, w)
}

func (s *service) openServer(r *rpc.Reader, w *rpc.Writer) nt.Status {
	access := dtyp.Access(r.U32())
	if r.Err() != nil {
		return 0
	}
	return s.open(w, object{kind: kindServer}, access)
}

// connect5 is SamrConnect5, [MS-SAMR] 3.1.5.1.1.
func (s *service) connect5(r *rpc.Reader, w *rpc.Writer) nt.Status {
	r.UniqueString()
	access, version := dtyp.Access(r.U32()), r.U32()
	if r.U32() != version || version != 1 {
		r.Fail()
	}
	r.U32() // Revision
	r.U32() // SupportedFeatures
	if r.Err() != nil {
		return 0
	}
	const revision, features = 3, 0
	w.U32(version)
	w.U32(version)
	w.U32(revision)
	w.U32(features)
	return s.open(w, object{kind: kindServer}, access)
}

// querySecurity is SamrQuerySecurityObject, [MS-SAMR] 3.1.5.12.2.
func (s *service) querySecurity(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	parts := r.U32()
	sd := dtyp.SecurityDescriptor{
		Owner: dtyp.Administrators, Group: dtyp.Administrators,
		DACL: &dtyp.ACL{Revision: 2, ACEs: []dtyp.ACE{
			{Mask: o.kind.user, SID: dtyp.Everyone}, {Mask: o.kind.all, SID: dtyp.Administrators},
		}},
	}
	b, err := sd.Select(parts).Append(nil)
	if err != nil || parts&dtyp.SACLPart != 0 {
		w.Pointer(false)
		return nt.AccessDenied
	}
	w.Pointer(true)
	w.U32(uint32(len(b)))
	w.Pointer(true)
	w.U32(uint32(len(b)))
	w.Raw(b)
	return nt.Success
}

// sid is a SID behind a pointer, or null.
func writeSID(w *rpc.Writer, sid dtyp.SID) {
	w.Pointer(sid != "")
	if sid != "" {
		w.SID(sid)
	}
}

// ridToSID is SamrRidToSid, [MS-SAMR] 3.1.5.13.8.
func (s *service) ridToSID(o object, r *rpc.Reader, w *rpc.Writer) nt.Status {
	rid := r.U32()
	if o.kind == kindServer {
		writeSID(w, "")
		return nt.InvalidHandle
	}
	writeSID(w, s.domain(o.builtin).sid.Child(rid))
	return nt.Success
}

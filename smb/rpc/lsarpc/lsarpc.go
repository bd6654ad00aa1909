// Package lsarpc is the part of the Local Security Authority protocols [MS-LSAT] and [MS-LSAD] that turns SIDs into
// names and back, for the Security tab of a file's properties. It changes nothing.
//
//	lsarpc.go     policy handles, the dispatch, what the machine is
//	lookup.go     LsarLookupSids, LsarLookupNames and their kin
//	wellknown.go  whom a SID stands for
package lsarpc

import (
	"cmp"
	"context"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/nt"
	"github.com/postern-nas/postern/smb/rpc"
)

// A Source knows the machine's accounts.
type Source interface {
	// Machine returns the name and the SID of the domain that the accounts are in: the machine's own.
	Machine() (name string, domain dtyp.SID)
	// Accounts returns all of them. Their Domain is not looked at.
	Accounts() []Account
}

// Operations, [MS-LSAD] 3.1.4 and [MS-LSAT] 3.1.4.
const (
	opClose                   = 0
	opOpenPolicy              = 6
	opQueryInformationPolicy  = 7
	opLookupNames             = 14
	opLookupSids              = 15
	opOpenPolicy2             = 44
	opGetUserName             = 45
	opQueryInformationPolicy2 = 46
	opLookupSids2             = 57
	opLookupNames2            = 58
	opLookupNames3            = 68
	opLookupSids3             = 76
	opLookupNames4            = 77
)

// refused are operations that [MS-LSAD] has and that nobody may use: those that list or change accounts, privileges,
// secrets and trusted domains, and the two lookups without a handle, which are for domain members alone
// ([MS-LSAT] 3.1.4.5 and 3.1.4.9).
var refused = map[uint16]bool{
	1: true, 2: true, 3: true, 4: true, 8: true, 10: true, 11: true, 12: true, 13: true, 16: true, 17: true, 18: true, 19: true,
	20: true, 23: true, 24: true, 25: true, 26: true, 28: true, 29: true, 30: true, 34: true, 35: true, 36: true, 37: true, 38: true,
	39: true, 40: true, 41: true, 42: true, 43: true, 47: true, 48: true, 49: true, 50: true, 51: true, 53: true, 54: true, 55: true,
	59: true, 73: true, 74: true, opLookupSids3: true, opLookupNames4: true,
}

var uuid = dtyp.MustGUID("12345778-1234-abcd-ef00-0123456789ab")

// New returns the interface lsarpc, version 0.0, for one open of the pipe by the user self. What it tells every user may
// know: the names of those with whom files are shared.
func New(src Source, self dtyp.SID) rpc.Interface {
	s := &service{src: src, self: self}
	return rpc.Interface{UUID: uuid, Endpoint: `\PIPE\lsarpc`, Call: s.call}
}

// A service is one open of the pipe; its calls come one after the other.
type service struct {
	src     Source
	self    dtyp.SID
	handles rpc.Handles[policy]
}

// A policy is what a handle stands for: there is one.
type policy struct{}

// Rights to the policy, [MS-LSAD] 2.2.1.1.2: what every user may, POLICY_READ and POLICY_EXECUTE. POLICY_LOOKUP_NAMES and
// POLICY_VIEW_LOCAL_INFORMATION are all that is of use here.
const policyUser dtyp.Access = 0x00020000 | 0x00000807

// An operation on the policy reads its arguments behind the handle, and writes what it answers before the status.
type operation func(s *service, r *rpc.Reader, w *rpc.Writer) nt.Status

var operations = map[uint16]operation{
	opQueryInformationPolicy: (*service).queryPolicy, opQueryInformationPolicy2: (*service).queryPolicy,
	opLookupSids:   func(s *service, r *rpc.Reader, w *rpc.Writer) nt.Status { return s.lookupSids(r, w, false) },
	opLookupSids2:  func(s *service, r *rpc.Reader, w *rpc.Writer) nt.Status { return s.lookupSids(r, w, true) },
	opLookupNames:  func(s *service, r *rpc.Reader, w *rpc.Writer) nt.Status { return s.lookupNames(r, w, sidsRID) },
	opLookupNames2: func(s *service, r *rpc.Reader, w *rpc.Writer) nt.Status { return s.lookupNames(r, w, sidsRIDFlags) },
	opLookupNames3: func(s *service, r *rpc.Reader, w *rpc.Writer) nt.Status { return s.lookupNames(r, w, sidsWhole) },
}

func (s *service) call(_ context.Context, opnum uint16, stub []byte) ([]byte, error) {
	r, w := rpc.NewReader(stub), new(rpc.Writer)
	var status nt.Status
	var err error
	switch {
	case refused[opnum]:
		return nil, rpc.FaultAccessDenied
	case opnum == opOpenPolicy:
		if r.Pointer() {
			r.U16() // SystemName: of one character
		}
		status = s.openPolicy(r, w)
	case opnum == opOpenPolicy2:
		r.UniqueString() // SystemName
		status = s.openPolicy(r, w)
	case opnum == opGetUserName:
		status = s.getUserName(r, w)
	default:
		status, err = s.use(opnum, r, w)
	}
	if err = cmp.Or(r.Err(), err); err != nil {
		return nil, err
	}
	w.U32(uint32(status))
	return w.Bytes(), nil
}

// use runs an operation on the policy behind a handle.
func (s *service) use(opnum uint16, r *rpc.Reader, w *rpc.Writer) (nt.Status, error) {
	op := operations[opnum]
	if op == nil && opnum != opClose {
		return 0, rpc.FaultOpRange
	}
	h := r.Handle()
	if r.Err() != nil {
		return 0, r.Err()
	}
	if _, ok := s.handles.Find(h); !ok {
		return 0, rpc.FaultBadContext
	}
	if opnum == opClose { // LsarClose, [MS-LSAD] 3.1.4.9.4
		s.handles.Close(h)
		w.Handle(rpc.Handle{})
		return nt.Success, nil
	}
	return op(s, r, w), nil
}

// openPolicy is LsarOpenPolicy, [MS-LSAD] 3.1.4.4.2, and LsarOpenPolicy2, 3.1.4.4.1, from the LSAPR_OBJECT_ATTRIBUTES on,
// of which nothing counts.
func (s *service) openPolicy(r *rpc.Reader, w *rpc.Writer) nt.Status {
	r.U32() // Length
	root, name := r.Pointer(), r.Pointer()
	r.U32() // Attributes
	sd, qos := r.Pointer(), r.Pointer()
	if root || name || sd {
		r.Fail() // there is nothing to point to: no client does
	}
	if qos {
		r.U32() // Length, ImpersonationLevel, ContextTrackingMode, EffectiveOnly
		r.U16()
		r.U8()
		r.U8()
	}
	access := dtyp.Access(r.U32())
	if r.Err() != nil {
		return 0
	}
	var h rpc.Handle
	status := nt.AccessDenied
	if access&^(policyUser|dtyp.MaximumAllowed|dtyp.GenericRead|dtyp.GenericExecute) == 0 {
		var ok bool
		if h, ok = s.handles.Open(policy{}); ok {
			status = nt.Success
		} else {
			status = nt.InsufficientResources
		}
	}
	w.Handle(h)
	return status
}

// Classes of POLICY_INFORMATION_CLASS, [MS-LSAD] 2.2.4.1, that are answered.
const (
	policyAuditEvents   = 2
	policyPrimaryDomain = 3
	policyAccountDomain = 5
	policyServerRole    = 6
	policyDNSDomain     = 12
	policyLocalAccounts = 14 // what class 5 has for a machine in no domain
)

// queryPolicy is LsarQueryInformationPolicy, [MS-LSAD] 3.1.4.4.4: the machine is in no domain but its own.
func (s *service) queryPolicy(r *rpc.Reader, w *rpc.Writer) nt.Status {
	class := r.U16()
	machine, domain := s.src.Machine()
	switch class {
	case policyAuditEvents, policyPrimaryDomain, policyAccountDomain, policyServerRole, policyDNSDomain, policyLocalAccounts:
		w.Pointer(true)
		w.U16(class)
	default:
		w.Pointer(false)
		return nt.InvalidParameter
	}
	switch class {
	case policyAuditEvents:
		w.U32(0) // nothing is audited,
		w.Pointer(false)
		w.U32(0) // of no kinds of events
	case policyPrimaryDomain:
		w.Text(workgroup)
		w.Pointer(false)
		w.TextBody(workgroup)
	case policyAccountDomain, policyLocalAccounts:
		w.Text(machine)
		w.Pointer(true)
		w.TextBody(machine)
		w.SID(domain)
	case policyServerRole:
		w.U32(3) // primary; Windows answers 32 bits
	case policyDNSDomain:
		w.Text(workgroup)
		w.Text("")
		w.Text("")
		w.Raw(make([]byte, 16))
		w.Pointer(false)
		w.TextBody(workgroup)
	}
	return nt.Success
}

// getUserName is LsarGetUserName, [MS-LSAT] 3.1.4.4: whom the server takes the client for.
func (s *service) getUserName(r *rpc.Reader, w *rpc.Writer) nt.Status {
	ignore := func() { // what the client says where it wants to be told
		if r.Pointer() && r.Text() {
			_ = r.String()
		}
	}
	r.UniqueString() // SystemName
	ignore()
	wantsDomain := r.Pointer()
	if wantsDomain {
		ignore()
	}
	a, ok := s.directory().bySID(s.self)
	text := func(t string) {
		w.Pointer(ok)
		if ok {
			w.Text(t)
			w.TextBody(t)
		}
	}
	text(a.Name)
	w.Pointer(wantsDomain)
	if wantsDomain {
		text(a.Domain)
	}
	if !ok {
		return nt.NoneMapped
	}
	return nt.Success
}

// workgroup is what Windows calls the place of machines that are in no domain.
const workgroup = "WORKGROUP"

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
	"crypto/rand"

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
)

var uuid = func() dtyp.GUID {
	g, err := dtyp.ParseGUID("12345778-1234-abcd-ef00-0123456789ab")
	if err != nil {
		panic(err)
	}
	return g
}()

// New returns the interface lsarpc, version 0.0, for one open of the pipe by the user self. What it tells every user may
// know: the names of those with whom files are shared.
func New(src Source, self dtyp.SID) rpc.Interface {
	s := &service{src: src, self: self, handles: make(map[handle]bool)}
	return rpc.Interface{UUID: uuid, Endpoint: `\PIPE\lsarpc`, Call: s.call}
}

// A service is one open of the pipe; its calls come one after the other.
type service struct {
	src     Source
	self    dtyp.SID
	handles map[handle]bool
}

// A handle is a context handle, C706 14.2.16.6.
type handle [20]byte

// maxHandles bounds the policies that one client has open; clients open one at a time.
const maxHandles = 64

func (s *service) call(_ context.Context, opnum uint16, stub []byte) ([]byte, error) {
	r, w := rpc.NewReader(stub), new(rpc.Writer)
	var status nt.Status
	var err error
	switch opnum {
	case opOpenPolicy, opOpenPolicy2:
		status, err = s.openPolicy(r, w)
	case opGetUserName:
		status, err = s.getUserName(r, w)
	default:
		op := map[uint16]func(*rpc.Reader, *rpc.Writer) (nt.Status, error){
			opClose:                  s.close,
			opQueryInformationPolicy: s.queryPolicy, opQueryInformationPolicy2: s.queryPolicy,
			opLookupSids: s.lookupSids(false), opLookupSids2: s.lookupSids(true),
			opLookupNames: s.lookupNames(sidsRID), opLookupNames2: s.lookupNames(sidsRIDFlags), opLookupNames3: s.lookupNames(sidsWhole),
		}[opnum]
		if op == nil {
			return nil, rpc.FaultOpRange
		}
		var h handle
		copy(h[:], r.Bytes(len(h)))
		if r.Err() == nil && !s.handles[h] {
			return nil, rpc.FaultBadContext
		}
		if opnum == opClose {
			delete(s.handles, h)
		}
		status, err = op(r, w)
	}
	if err = cmp.Or(r.Err(), err); err != nil {
		return nil, err
	}
	w.U32(uint32(status))
	return w.Bytes(), nil
}

// openPolicy is LsarOpenPolicy2, [MS-LSAD] 3.1.4.4.1. Who is asked, and for which access, does not matter: there is one
// policy, and every user may do with it what can be done here.
func (s *service) openPolicy(_ *rpc.Reader, w *rpc.Writer) (nt.Status, error) {
	var h handle
	if len(s.handles) >= maxHandles {
		w.Raw(h[:])
		return nt.InsufficientResources, nil
	}
	rand.Read(h[4:]) // never fails
	s.handles[h] = true
	w.Raw(h[:])
	return nt.Success, nil
}

// close is LsarClose, [MS-LSAD] 3.1.4.9.4; the handle is gone already.
func (s *service) close(_ *rpc.Reader, w *rpc.Writer) (nt.Status, error) {
	w.Raw(make([]byte, len(handle{})))
	return nt.Success, nil
}

// Classes of POLICY_INFORMATION_CLASS, [MS-LSAD] 2.2.4.1, that are answered.
const (
	policyAuditEvents   = 2
	policyPrimaryDomain = 3
	policyAccountDomain = 5
	policyServerRole    = 6
	policyDNSDomain     = 12
)

// queryPolicy is LsarQueryInformationPolicy, [MS-LSAD] 3.1.4.4.4: the machine is in no domain but its own.
func (s *service) queryPolicy(r *rpc.Reader, w *rpc.Writer) (nt.Status, error) {
	class := r.U16()
	machine, domain := s.src.Machine()
	switch class {
	case policyAuditEvents, policyPrimaryDomain, policyAccountDomain, policyServerRole, policyDNSDomain:
		w.Pointer(true)
		w.U16(class)
	default:
		w.Pointer(false)
		return nt.InvalidParameter, nil
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
	case policyAccountDomain:
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
	return nt.Success, nil
}

// getUserName is LsarGetUserName, [MS-LSAT] 3.1.4.4: whom the server takes the client for.
func (s *service) getUserName(r *rpc.Reader, w *rpc.Writer) (nt.Status, error) {
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
	a, ok := s.bySID(s.self)
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
		return nt.NoneMapped, nil
	}
	return nt.Success, nil
}

// workgroup is what Windows calls the place of machines that are in no domain.
const workgroup = "WORKGROUP"

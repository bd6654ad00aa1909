// Package wkssvc is the part of the Workstation Service Remote Protocol [MS-WKST] that clients ask a server: what it is
// called, which version it is, who uses it. It changes nothing. Postern is no client of other servers, so that lists of
// what it uses are empty.
package wkssvc

import (
	"context"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/rpc"
)

// A Workstation is what is told of the machine.
type Workstation struct {
	Name  string
	Admin bool // whoever asks is an administrator
}

// A Source tells one client what it may know.
type Source interface {
	Workstation(ctx context.Context) Workstation
	// Users are who is logged on, each once. Only administrators are told.
	Users(ctx context.Context) []string
}

// Operations, [MS-WKST] 3.2.4.
const (
	opGetInfo                = 0
	opUserEnum               = 2
	opTransportEnum          = 5
	opUseEnum                = 11
	opGetJoinInformation     = 20
	opEnumerateComputerNames = 30
)

// workgroup is what Windows calls the place of machines that are in no domain.
const workgroup = "WORKGROUP"

var uuid = dtyp.MustGUID("6bffd098-a112-3610-9833-46c3f87e345a")

// New returns the interface wkssvc, version 1.0, that tells what src does.
func New(src Source) rpc.Interface {
	return rpc.Interface{UUID: uuid, Major: 1, Endpoint: `\PIPE\wkssvc`, Call: operations.Of(service{src})}
}

type service struct{ src Source }

var operations = rpc.Win32Operations[service]{
	opGetInfo: service.getInfo, opUserEnum: service.userEnum, opTransportEnum: service.transportEnum, opUseEnum: service.useEnum,
	opGetJoinInformation: service.getJoinInformation, opEnumerateComputerNames: service.computerNames,
}

func (s service) admin(ctx context.Context) rpc.Win32 {
	if !s.src.Workstation(ctx).Admin {
		return rpc.Win32AccessDenied
	}
	return rpc.Win32Success
}

// getInfo is NetrWkstaGetInfo, [MS-WKST] 3.2.4.1: WKSTA_INFO_100 to _102, 2.2.5.1 to 2.2.5.3. The levels of a client's
// settings, which 502 begins, have nothing to tell.
func (s service) getInfo(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	level := r.U32()
	if r.Err() != nil {
		return 0, r.Err()
	}
	const platformNT, major, minor = 500, 10, 0
	v := s.src.Workstation(ctx)
	result, row := rpc.Win32Success, rpc.Row{uint32(platformNT), v.Name, workgroup, uint32(major), uint32(minor)}
	switch level {
	case 100:
	case 101:
		row = append(row, "") // lanroot: nothing since LAN Manager
	case 102:
		result = s.admin(ctx)
		row = append(row, "", uint32(len(s.src.Users(ctx))))
	case 502, 1013, 1018, 1046:
		result = rpc.Win32InvalidLevel
	default:
		return 0, rpc.FaultInvalidTag
	}
	return w.Info(level, result, row), nil
}

// userEnum is NetrWkstaUserEnum, [MS-WKST] 3.2.4.3: WKSTA_USER_INFO_0 and _1, 2.2.5.9 and 2.2.5.10.
func (s service) userEnum(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	l, err := r.List(0, 1)
	if err != nil {
		return 0, err
	}
	result := s.admin(ctx)
	var rows []rpc.Row
	if result == rpc.Win32Success {
		name := s.src.Workstation(ctx).Name
		for _, user := range s.src.Users(ctx) {
			row := rpc.Row{user}
			if l.Level == 1 {
				row = append(row, name, "", name) // domain, others, the server that logged on
			}
			rows = append(rows, row)
		}
	}
	return w.List(l, result, rows), nil
}

// transportEnum is NetrWkstaTransportEnum, [MS-WKST] 3.2.4.4: the transports of a client, which we are none.
func (s service) transportEnum(_ context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	l, err := r.List(0)
	if err != nil {
		return 0, err
	}
	return w.List(l, rpc.Win32Success, nil), nil
}

// useEnum is NetrUseEnum, [MS-WKST] 3.2.4.10: what we are connected to, which is nothing.
func (s service) useEnum(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	l, err := r.List(0, 1, 2, 3)
	if err != nil {
		return 0, err
	}
	return w.List(l, s.admin(ctx), nil), nil
}

// getJoinInformation is NetrGetJoinInformation, [MS-WKST] 3.2.4.15: a workgroup.
func (s service) getJoinInformation(_ context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	r.UniqueString() // what the client has where it wants to be told
	const setupWorkgroup = 2
	w.Pointer(true)
	w.String(workgroup)
	w.U16(setupWorkgroup)
	return rpc.Win32Success, nil
}

// Names that are asked for, [MS-WKST] 2.2.3.3.
const (
	namePrimary = iota
	nameAlternate
	nameAll
)

// computerNames is NetrEnumerateComputerNames, [MS-WKST] 3.2.4.23: a NET_COMPUTER_NAME_ARRAY, 2.2.5.22.
func (s service) computerNames(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	kind, reserved := r.U16(), r.U32()
	if r.Err() != nil {
		return 0, r.Err()
	}
	if kind > nameAll || reserved != 0 {
		w.Pointer(false)
		return rpc.Win32InvalidParameter, nil
	}
	var names []string
	if kind != nameAlternate {
		names = []string{s.src.Workstation(ctx).Name}
	}
	w.Pointer(true)
	w.U32(uint32(len(names)))
	w.Pointer(len(names) > 0)
	if len(names) > 0 {
		w.U32(uint32(len(names)))
	}
	for _, n := range names {
		w.Text(n)
	}
	for _, n := range names {
		w.TextBody(n)
	}
	return rpc.Win32Success, nil
}

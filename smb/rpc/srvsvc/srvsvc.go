// Package srvsvc is the part of the Server Service Remote Protocol [MS-SRVS] that clients browse with, and that an
// administrator looks after a server with: which shares there are, who uses them, what server this is.
//
//	srvsvc.go   the dispatch, and what is asked of the server
//	share.go    NetrShareEnum and its kin
//	change.go   NetrShareAdd, NetrShareSetInfo, NetrShareDel
//	session.go  sessions, connections and open files
//	server.go   the server itself, its time, disks, transports, counts; names
//
// Who may see what is as on Windows: levels that tell paths, users or security are for administrators, and others
// get ERROR_ACCESS_DENIED.
package srvsvc

import (
	"context"
	"time"

	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/rpc"
)

// A Source tells one client what it may know. The server makes one for each open of the pipe.
type Source interface {
	Server(ctx context.Context) Server
	Shares(ctx context.Context) []Share

	// The others are asked for administrators only.

	Sessions(ctx context.Context) []Session
	Connections(ctx context.Context) []Connection
	Files(ctx context.Context) []File
	Transports(ctx context.Context) []Transport
	Statistics(ctx context.Context) Statistics
	// EndSessions ends the sessions for which gone holds, with all they have open, and returns how many.
	EndSessions(ctx context.Context, gone func(*Session) bool) int
	// CloseFile ends an open, and reports whether there was one of that number.
	CloseFile(ctx context.Context, id uint32) bool
	// AddShare makes a share of a folder, whose path is as administrators see it. Name and comment have been checked.
	AddShare(ctx context.Context, name, path, comment string) rpc.Win32
	SetShareComment(ctx context.Context, name, comment string) rpc.Win32
	RemoveShare(ctx context.Context, name string) rpc.Win32
}

// A Server is what is told of the server.
type Server struct {
	Name, Comment string
	Major, Minor  uint32 // version; 0 is 10.0, as a current Windows says
	// Admin says that whoever asks is an administrator.
	Admin bool
}

// Operations, [MS-SRVS] 3.1.4.
const (
	opConnectionEnum      = 8
	opFileEnum            = 9
	opFileGetInfo         = 10
	opFileClose           = 11
	opSessionEnum         = 12
	opSessionDel          = 13
	opShareAdd            = 14
	opShareEnum           = 15
	opShareGetInfo        = 16
	opShareSetInfo        = 17
	opShareDel            = 18
	opShareDelSticky      = 19
	opShareCheck          = 20
	opServerGetInfo       = 21
	opServerDiskEnum      = 23
	opServerStatisticsGet = 24
	opServerTransportEnum = 26
	opRemoteTOD           = 28
	opNameValidate        = 33
	opShareEnumSticky     = 36
)

var uuid = dtyp.MustGUID("4b324fc8-1670-01d3-1278-5a47bf6ee188")

// New returns the interface srvsvc, version 3.0, that tells what src does.
func New(src Source) rpc.Interface {
	return rpc.Interface{UUID: uuid, Major: 3, Endpoint: `\PIPE\srvsvc`, Call: operations.Of(service{src})}
}

type service struct{ src Source }

var operations = rpc.Win32Operations[service]{
	opConnectionEnum: service.connectionEnum,
	opFileEnum:       service.fileEnum, opFileGetInfo: service.fileGetInfo, opFileClose: service.fileClose,
	opSessionEnum: service.sessionEnum, opSessionDel: service.sessionDel,
	opShareEnum: service.shareEnum, opShareGetInfo: service.shareGetInfo, opShareEnumSticky: service.shareEnumSticky, opShareCheck: service.shareCheck,
	opShareAdd: service.shareAdd, opShareSetInfo: service.shareSetInfo, opShareDel: service.shareDel, opShareDelSticky: service.shareDel,
	opServerGetInfo: service.serverGetInfo, opServerDiskEnum: service.serverDiskEnum, opServerStatisticsGet: service.serverStatisticsGet,
	opServerTransportEnum: service.serverTransportEnum, opRemoteTOD: service.remoteTOD, opNameValidate: service.nameValidate,
}

// admin is success for administrators.
func (s service) admin(ctx context.Context) rpc.Win32 {
	if !s.src.Server(ctx).Admin {
		return rpc.Win32AccessDenied
	}
	return rpc.Win32Success
}

func seconds(d time.Duration) uint32 { return uint32(min(max(d/time.Second, 0), 1<<32-1)) }

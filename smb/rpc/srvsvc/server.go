package srvsvc

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/rpc"
)

// serverArms are the levels that SERVER_INFO, [MS-SRVS] 2.2.3.7, has arms for, as far as clients ask.
var serverArms = []uint32{100, 101, 102, 103, 502, 503, 599}

// What SERVER_INFO says besides, [MS-SRVS] 2.2.2.6 and 2.2.2.7.
const (
	platformNT     = 500
	typeServer     = 0x00001003 // workstation, server, NT
	typeServerNT   = 0x00008000
	noDisconnect   = 0xFFFFFFFF
	maxUsers       = 0xFFFFFFFF
	announceEvery  = 240 // seconds
	announceJitter = 3000
)

// disk is what the one disk is called that all paths an administrator sees begin with.
const disk = "C:"

// serverGetInfo is NetrServerGetInfo, [MS-SRVS] 3.1.4.17.
func (s service) serverGetInfo(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	number := r.U32()
	if r.Err() != nil {
		return 0, r.Err()
	}
	if !slices.Contains(serverArms, number) {
		return 0, rpc.FaultInvalidTag
	}
	v := s.src.Server(ctx)
	if v.Major == 0 {
		v.Major, v.Minor = 10, 0
	}
	result, row := rpc.Win32Success, rpc.Row{uint32(platformNT), v.Name}
	switch number {
	case 100:
	case 101:
		row = append(row, v.Major, v.Minor, uint32(typeServer|typeServerNT), v.Comment)
	case 102:
		result = s.admin(ctx)
		row = append(row, v.Major, v.Minor, uint32(typeServer|typeServerNT), v.Comment,
			uint32(maxUsers), uint32(noDisconnect), uint32(0), uint32(announceEvery), uint32(announceJitter), uint32(0), `c:\`)
	default:
		result = rpc.Win32InvalidLevel
	}
	return w.Info(number, result, row), nil
}

// remoteTOD is NetrRemoteTOD, [MS-SRVS] 3.1.4.21: the time, in UTC and with the offset of local time.
func (s service) remoteTOD(_ context.Context, _ *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	t := time.Now()
	_, east := t.Zone()
	u := t.UTC()
	w.Pointer(true)
	for _, f := range [...]uint32{
		uint32(u.Unix()), uint32(u.UnixMilli()),
		uint32(u.Hour()), uint32(u.Minute()), uint32(u.Second()), uint32(u.Nanosecond() / 10_000_000),
		uint32(int32(-east / 60)), 310,
		uint32(u.Day()), uint32(u.Month()), uint32(u.Year()), uint32(u.Weekday()),
	} {
		w.U32(f)
	}
	return rpc.Win32Success, nil
}

// serverDiskEnum is NetrServerDiskEnum, [MS-SRVS] 3.1.4.19, and tells of the one disk. The list ends with an empty name,
// which counts.
func (s service) serverDiskEnum(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	level := r.U32()
	r.U32() // entries
	if r.Pointer() && r.U32() > 0 {
		r.Fail() // disks from the client
	}
	r.U32() // PreferedMaximumLength: there is not enough to be cut
	resumes := r.Pointer()
	if resumes {
		r.U32()
	}
	if r.Err() != nil {
		return 0, r.Err()
	}
	result := s.admin(ctx)
	if level != 0 {
		result = rpc.Win32InvalidLevel
	}
	var names []string
	if result == rpc.Win32Success {
		names = []string{disk, ""}
	}
	n := uint32(len(names))
	w.U32(n)
	w.Pointer(n > 0)
	if n > 0 {
		w.U32(n)
		w.U32(0)
		w.U32(n)
	}
	for _, name := range names { // DISK_INFO, [MS-SRVS] 2.2.4.92: a varying string in place
		w.U32(0)
		w.U32(uint32(cursor.UTF16Len(name)/2) + 1)
		w.Raw(append(cursor.AppendUTF16(nil, name), 0, 0))
	}
	w.U32(n)
	w.Pointer(resumes)
	if resumes {
		w.U32(0)
	}
	return result, nil
}

// A Transport is one that clients come over.
type Transport struct {
	Name, Address string
	Connections   uint32
}

// serverTransportEnum is NetrServerTransportEnum, [MS-SRVS] 3.1.4.23: SERVER_TRANSPORT_INFO_0 and _1, 2.2.4.93 and 94.
func (s service) serverTransportEnum(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	l, err := r.List(0, 1, 2, 3)
	if err != nil {
		return 0, err
	}
	result := s.admin(ctx)
	if l.Level > 1 {
		result = rpc.Win32InvalidLevel
	}
	var rows []rpc.Row
	if result == rpc.Win32Success {
		for _, t := range s.src.Transports(ctx) {
			row := rpc.Row{t.Connections, t.Name, []byte(t.Address), uint32(len(t.Address)), t.Address}
			if l.Level == 1 {
				row = append(row, "")
			}
			rows = append(rows, row)
		}
	}
	return w.List(l, result, rows), nil
}

// Statistics are what the server has counted since its start.
type Statistics struct {
	Start          time.Time
	FilesOpened    uint32
	Sessions       uint32
	Errors         uint32 // sessions that an error of ours cut off
	WrongPasswords uint32
}

// serverStatisticsGet is NetrServerStatisticsGet, [MS-SRVS] 3.1.4.20: a STAT_SERVER_0, 2.2.4.39.
func (s service) serverStatisticsGet(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	r.UniqueString() // Service: it is not looked at
	level := r.U32()
	r.U32() // Options
	if r.Err() != nil {
		return 0, r.Err()
	}
	result := s.admin(ctx)
	if level != 0 {
		result = rpc.Win32InvalidLevel
	}
	w.Pointer(result == rpc.Win32Success)
	if result == rpc.Win32Success {
		v := s.src.Statistics(ctx)
		row := rpc.Row{
			uint32(v.Start.Unix()), v.FilesOpened, uint32(0), uint32(0), v.Sessions, uint32(0), v.Errors, v.WrongPasswords,
		}
		for len(row) < 17 { // errors, bytes and buffers: not counted
			row = append(row, uint32(0))
		}
		w.Row(row)
	}
	return result, nil
}

// Types of names, [MS-SRVS] 2.2.2.8.
const (
	nameUser = iota + 1
	namePassword
	nameGroup
	nameComputer
	nameEvent
	nameDomain
	nameService
	nameNet
	nameShare
	nameMessage
	nameMessageDestination
	nameSharePassword
	nameWorkgroup
)

// nameRules say how long a name may be, in UTF-16 code units, and which characters it has not, [MS-SRVS] 3.1.4.30 with
// the limits of lmcons.h: the second length is that for flag 0x80000000, names as LAN Manager 2 had them.
var nameRules = map[uint32]struct {
	max, maxOld int
	without     string
}{
	nameUser:               {256, 20, `"/\[]:;|=,+*?<>`},
	namePassword:           {256, 14, ""},
	nameGroup:              {256, 20, `"/\[]:;|=,+*?<>`},
	nameComputer:           {15, 15, `"/\[]:;|=,+*?<> `},
	nameEvent:              {16, 16, `"/\[]:;|=,+*?<>`},
	nameDomain:             {15, 15, `"/\[]:;|=,+*?<>`},
	nameService:            {80, 15, `/\`},
	nameNet:                {15, 15, `"/\[]:;|=,+*?<>`},
	nameShare:              {80, 12, `"/\[]:;|=,+*?<>`},
	nameMessage:            {15, 15, `"/\[]:;|=,+*?<>`},
	nameMessageDestination: {15, 15, `"/\[]:;|=,+?<>`},
	nameSharePassword:      {8, 8, ""},
	nameWorkgroup:          {15, 15, `"/\[]:;|=,+*?<>`},
}

const flagOldNames = 0x80000000

// nameValidate is NetrpNameValidate, [MS-SRVS] 3.1.4.30.
func (s service) nameValidate(_ context.Context, r *rpc.Reader, _ *rpc.Writer) (rpc.Win32, error) {
	name := r.String()
	kind, flags := r.U32(), r.U32()
	if r.Err() != nil {
		return 0, r.Err()
	}
	return validName(name, kind, flags), nil
}

func validName(name string, kind, flags uint32) rpc.Win32 {
	rule, known := nameRules[kind]
	if !known || flags&^flagOldNames != 0 {
		return rpc.Win32InvalidParameter
	}
	most := rule.max
	if flags != 0 {
		most = rule.maxOld
	}
	bad := strings.ContainsAny(name, rule.without) || strings.ContainsFunc(name, func(c rune) bool { return c < 0x20 })
	if n := cursor.UTF16Len(name) / 2; bad || n > most || n == 0 && kind != namePassword && kind != nameSharePassword {
		return rpc.Win32InvalidName
	}
	return rpc.Win32Success
}

// Package srvsvc is the part of the Server Service Remote Protocol [MS-SRVS] that clients browse with: which shares
// there are and what server this is. It changes nothing.
//
// Who may see what is as on Windows: levels that tell paths, users or security are for administrators, and others
// get ERROR_ACCESS_DENIED.
package srvsvc

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/postern-nas/postern/smb/cursor"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/rpc"
)

// Types of a share, [MS-SRVS] 2.2.2.4.
const (
	TypeDisk    uint32 = 0
	TypeIPC     uint32 = 3
	TypeSpecial uint32 = 0x80000000 // administrative: names that end in $
)

// A Share is what is told of one share.
type Share struct {
	Name, Comment string
	Type          uint32
	Path          string // as an administrator is shown it, such as `C:\data`
	// Flags are the SHI1005 flags, [MS-SRVS] 2.2.4.29, such as the caching mode in 0x30.
	Flags   uint32
	MaxUses uint32 // 0: no limit
	Uses    uint32
}

// A Server is what is told of the server.
type Server struct {
	Name, Comment string
	Major, Minor  uint32 // version; 0 is 10.0, as a current Windows says
	// Admin says that whoever asks is an administrator.
	Admin bool
}

// A Source tells one client what it may know. The server makes one for each open of the pipe.
type Source interface {
	Shares(ctx context.Context) []Share
	Server(ctx context.Context) Server
}

// A werror is a Win32 error, [MS-ERREF] 2.2, that an operation returns.
type werror uint32

const (
	success      werror = 0
	accessDenied werror = 5
	invalidLevel werror = 124
	moreData     werror = 234
	shareUnknown werror = 2310 // NERR_NetNameNotFound
)

// Operations, [MS-SRVS] 3.1.4.
const (
	opShareEnum       = 15
	opShareGetInfo    = 16
	opServerGetInfo   = 21
	opRemoteTOD       = 28
	opShareEnumSticky = 36
)

var uuid = func() dtyp.GUID {
	g, err := dtyp.ParseGUID("4b324fc8-1670-01d3-1278-5a47bf6ee188")
	if err != nil {
		panic(err)
	}
	return g
}()

// New returns the interface srvsvc, version 3.0, that tells what src does.
func New(src Source) rpc.Interface {
	s := service{src}
	return rpc.Interface{UUID: uuid, Major: 3, Endpoint: `\PIPE\srvsvc`, Call: s.call}
}

type service struct{ src Source }

func (s service) call(ctx context.Context, opnum uint16, stub []byte) ([]byte, error) {
	r, w := rpc.NewReader(stub), new(rpc.Writer)
	r.UniqueString() // ServerName, the first argument of all: we are the one that was asked
	var result werror
	var err error
	switch opnum {
	case opShareEnum, opShareEnumSticky:
		result, err = s.shareEnum(ctx, r, w)
	case opShareGetInfo:
		result, err = s.shareGetInfo(ctx, r, w)
	case opServerGetInfo:
		result, err = s.serverGetInfo(ctx, r, w)
	case opRemoteTOD:
		remoteTOD(w, time.Now())
	default:
		return nil, rpc.FaultOpRange
	}
	if err = cmp.Or(r.Err(), err); err != nil {
		return nil, err
	}
	w.U32(uint32(result))
	return w.Bytes(), nil
}

// A level is one form of SHARE_INFO, [MS-SRVS] 2.2.4.22 to 2.2.4.29: fixed part and, in the order of their pointers,
// what these point to.
type level struct {
	admin  bool
	fixed  func(w *rpc.Writer, s *Share)
	texts  func(s *Share) []string
	length int // of the fixed part
}

func fixed0(w *rpc.Writer, _ *Share) { w.Pointer(true) }

func fixed1(w *rpc.Writer, s *Share) {
	w.Pointer(true)
	w.U32(s.Type)
	w.Pointer(true)
}

func fixed501(w *rpc.Writer, s *Share) {
	fixed1(w, s)
	w.U32(s.Flags)
}

func fixed2(w *rpc.Writer, s *Share) {
	fixed1(w, s)
	w.U32(0) // permissions: of share-level security, which there is none of
	uses := s.MaxUses
	if uses == 0 {
		uses = 0xFFFFFFFF
	}
	w.U32(uses)
	w.U32(s.Uses)
	w.Pointer(true)
	w.Pointer(false) // password: likewise
}

func fixed502(w *rpc.Writer, s *Share) {
	fixed2(w, s)
	w.U32(0) // length of the security descriptor
	w.Pointer(false)
}

func fixed1005(w *rpc.Writer, s *Share) { w.U32(s.Flags) }

func texts0(s *Share) []string { return []string{s.Name} }
func texts1(s *Share) []string { return []string{s.Name, s.Comment} }
func texts2(s *Share) []string { return []string{s.Name, s.Comment, s.Path} }

var levels = map[uint32]level{
	0:    {fixed: fixed0, texts: texts0, length: 4},
	1:    {fixed: fixed1, texts: texts1, length: 12},
	2:    {admin: true, fixed: fixed2, texts: texts2, length: 32},
	501:  {fixed: fixed501, texts: texts1, length: 16},
	502:  {admin: true, fixed: fixed502, texts: texts2, length: 40},
	1005: {fixed: fixed1005, texts: func(*Share) []string { return nil }, length: 4},
}

// The unions of the IDL ([MS-SRVS] 6) have arms for these levels. One of them that we do not serve is
// ERROR_INVALID_LEVEL; any other number cannot even be answered, for there is no arm to answer it with, and is a fault.
var (
	enumArms   = []uint32{0, 1, 2, 501, 502, 503}
	shareArms  = []uint32{0, 1, 2, 501, 502, 503, 1004, 1005, 1006, 1501}
	serverArms = []uint32{100, 101, 102, 103, 502, 503, 599}
)

// size is what a share takes of PreferedMaximumLength: its fixed part and its texts.
func (l level) size(s *Share) uint64 {
	n := uint64(l.length)
	for _, t := range l.texts(s) {
		n += uint64(cursor.UTF16Len(t)) + 2
	}
	return n
}

// shareEnum is NetrShareEnum, [MS-SRVS] 3.1.4.8. No reply is larger than maxList whatever the client prefers; the
// resume handle is the index of the share that is next.
func (s service) shareEnum(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (werror, error) {
	number := r.U32()
	if r.U32() != number {
		r.Fail() // the union is not of the level
	}
	if !slices.Contains(enumArms, number) {
		return 0, rpc.FaultInvalidTag
	}
	if r.Pointer() {
		r.U32() // entries
		if r.Pointer() && r.U32() > 0 {
			r.Fail() // shares from the client: they would be thrown away, so none sends them
		}
	}
	preferred := uint64(min(r.U32(), maxList))
	var resume uint32
	hasResume := r.Pointer()
	if hasResume {
		resume = r.U32()
	}
	if r.Err() != nil {
		return 0, r.Err()
	}
	l, ok := levels[number]
	result := success
	var list []Share
	switch {
	case !ok:
		result = invalidLevel
	case l.admin && !s.src.Server(ctx).Admin:
		result = accessDenied
	default:
		list = s.src.Shares(ctx)
	}
	list = list[min(uint64(resume), uint64(len(list))):]
	total := len(list)
	var used uint64
	for i := range list {
		// One share is always told, or a client that prefers too little would ask for ever.
		if used += l.size(&list[i]); used > preferred && i > 0 {
			list, result = list[:i], moreData
			break
		}
	}
	if result == moreData {
		resume += uint32(len(list))
	} else {
		resume = 0
	}

	told := result == success || result == moreData
	w.U32(number)
	w.U32(number)
	w.Pointer(told)
	if told {
		w.U32(uint32(len(list)))
		w.Pointer(len(list) > 0)
	}
	if len(list) > 0 {
		w.U32(uint32(len(list)))
		for i := range list {
			l.fixed(w, &list[i])
		}
		for i := range list {
			for _, t := range l.texts(&list[i]) {
				w.String(t)
			}
		}
	}
	w.U32(uint32(total))
	w.Pointer(hasResume)
	if hasResume {
		w.U32(resume)
	}
	return result, nil
}

// maxList bounds the reply of an enumeration, in bytes of shares.
const maxList = 1 << 20

// shareGetInfo is NetrShareGetInfo, [MS-SRVS] 3.1.4.10.
func (s service) shareGetInfo(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (werror, error) {
	name := r.String()
	number := r.U32()
	if r.Err() != nil {
		return 0, r.Err()
	}
	if !slices.Contains(shareArms, number) {
		return 0, rpc.FaultInvalidTag
	}
	l, ok := levels[number]
	result := success
	var share *Share
	switch {
	case !ok:
		result = invalidLevel
	case l.admin && !s.src.Server(ctx).Admin:
		result = accessDenied
	default:
		result = shareUnknown
		for _, sh := range s.src.Shares(ctx) {
			if strings.EqualFold(sh.Name, name) {
				share, result = &sh, success
				break
			}
		}
	}
	w.U32(number)
	w.Pointer(share != nil)
	if share != nil {
		l.fixed(w, share)
		for _, t := range l.texts(share) {
			w.String(t)
		}
	}
	return result, nil
}

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

// serverGetInfo is NetrServerGetInfo, [MS-SRVS] 3.1.4.17.
func (s service) serverGetInfo(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (werror, error) {
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
	result := success
	switch {
	case number != 100 && number != 101 && number != 102:
		result = invalidLevel
	case number == 102 && !v.Admin:
		result = accessDenied
	}
	w.U32(number)
	w.Pointer(result == success)
	if result != success {
		return result, nil
	}
	w.U32(platformNT)
	w.Pointer(true)
	if number >= 101 {
		w.U32(v.Major)
		w.U32(v.Minor)
		w.U32(typeServer | typeServerNT)
		w.Pointer(true)
	}
	if number == 102 {
		for _, f := range [...]uint32{maxUsers, noDisconnect, 0, announceEvery, announceJitter, 0} {
			w.U32(f)
		}
		w.Pointer(true)
	}
	w.String(v.Name)
	if number >= 101 {
		w.String(v.Comment)
	}
	if number == 102 {
		w.String(`c:\`)
	}
	return success, nil
}

// remoteTOD is NetrRemoteTOD, [MS-SRVS] 3.1.4.21: the time, in UTC and with the offset of local time.
func remoteTOD(w *rpc.Writer, t time.Time) {
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
}

package srvsvc

import (
	"context"
	"slices"
	"strings"

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

// maxUses is what stands for no limit on the wire.
func (s *Share) maxUses() uint32 {
	if s.MaxUses == 0 {
		return noLimit
	}
	return s.MaxUses
}

// The SHARE_INFO structures, [MS-SRVS] 2.2.4.22 to 2.2.4.33. There is no share-level security, so that permissions and
// passwords are none, and no server but one; the lists of users that Postern keeps for a share are not told as a
// security descriptor. 1007 is in no union of [MS-SRVS], but in Samba's, whose clients ask for it.
var shareLevels = map[uint32]struct {
	admin bool
	row   func(s *Share) rpc.Row
}{
	0: {row: func(s *Share) rpc.Row { return rpc.Row{s.Name} }},
	1: {row: share1},
	2: {admin: true, row: share2},
	501: {row: func(s *Share) rpc.Row {
		return append(share1(s), s.Flags)
	}},
	502: {admin: true, row: func(s *Share) rpc.Row {
		return append(share2(s), uint32(0), []byte(nil))
	}},
	503: {admin: true, row: func(s *Share) rpc.Row {
		return append(share2(s), "*", uint32(0), []byte(nil))
	}},
	1004: {row: func(s *Share) rpc.Row { return rpc.Row{s.Comment} }},
	1005: {row: func(s *Share) rpc.Row { return rpc.Row{s.Flags} }},
	1006: {admin: true, row: func(s *Share) rpc.Row { return rpc.Row{s.maxUses()} }},
	1007: {admin: true, row: func(s *Share) rpc.Row { return rpc.Row{uint32(0), ""} }},
	1501: {admin: true, row: func(*Share) rpc.Row { return rpc.Row{uint32(0), []byte(nil)} }},
}

func share1(s *Share) rpc.Row { return rpc.Row{s.Name, s.Type, s.Comment} }

func share2(s *Share) rpc.Row {
	return append(share1(s), uint32(0), s.maxUses(), s.Uses, s.Path, nil)
}

// The unions of the IDL ([MS-SRVS] 6) have arms for these levels; those from 1004 on are, for an enumeration, in Samba's
// alone. An arm that is not served is ERROR_INVALID_LEVEL.
var (
	enumArms  = []uint32{0, 1, 2, 501, 502, 503, 1004, 1005, 1006, 1007, 1501}
	shareArms = []uint32{0, 1, 2, 501, 502, 503, 1004, 1005, 1006, 1007, 1501}

	enumLevels   = []uint32{0, 1, 2, 501, 502, 503}
	stickyLevels = []uint32{0, 1, 2, 502, 503}
)

// shareEnum is NetrShareEnum, [MS-SRVS] 3.1.4.8.
func (s service) shareEnum(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	return s.enumerate(ctx, r, w, enumLevels)
}

// shareEnumSticky is NetrShareEnumSticky, [MS-SRVS] 3.1.4.9: shares that outlive a restart, which is all of them.
func (s service) shareEnumSticky(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	return s.enumerate(ctx, r, w, stickyLevels)
}

func (s service) enumerate(ctx context.Context, r *rpc.Reader, w *rpc.Writer, served []uint32) (rpc.Win32, error) {
	l, err := r.List(enumArms...)
	if err != nil {
		return 0, err
	}
	level, result := shareLevels[l.Level], rpc.Win32Success
	switch {
	case !slices.Contains(served, l.Level):
		result = rpc.Win32InvalidLevel
	case level.admin:
		result = s.admin(ctx)
	}
	var rows []rpc.Row
	if result == rpc.Win32Success {
		for _, sh := range s.src.Shares(ctx) {
			rows = append(rows, level.row(&sh))
		}
	}
	return w.List(l, result, rows), nil
}

// shareGetInfo is NetrShareGetInfo, [MS-SRVS] 3.1.4.10.
func (s service) shareGetInfo(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	name := r.String()
	number := r.U32()
	if r.Err() != nil {
		return 0, r.Err()
	}
	if !slices.Contains(shareArms, number) {
		return 0, rpc.FaultInvalidTag
	}
	level, result := shareLevels[number], rpc.Win32Success
	if level.admin {
		result = s.admin(ctx)
	}
	var row rpc.Row
	if result == rpc.Win32Success {
		result = rpc.NerrNetNameNotFound
		for _, sh := range s.src.Shares(ctx) {
			if strings.EqualFold(sh.Name, name) {
				row, result = level.row(&sh), rpc.Win32Success
				break
			}
		}
	}
	return w.Info(number, result, row), nil
}

// shareCheck is NetrShareCheck, [MS-SRVS] 3.1.4.13: whether a folder, by its path on the server, is shared.
func (s service) shareCheck(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	device := r.String()
	result, kind := s.admin(ctx), uint32(0)
	if result == rpc.Win32Success {
		result = rpc.NerrDeviceNotShared
		for _, sh := range s.src.Shares(ctx) {
			if strings.EqualFold(sh.Path, device) {
				kind, result = sh.Type, rpc.Win32Success
				break
			}
		}
	}
	w.U32(kind)
	return result, nil
}

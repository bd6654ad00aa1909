package srvsvc

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/postern-nas/postern/smb/rpc"
)

// A Session is what is told of one user's session.
type Session struct {
	Client, User string // Client is the address it came from
	Transport    string
	Opens        uint32
	Active, Idle time.Duration
}

// A Connection is what is told of one tree connect.
type Connection struct {
	ID, Opens           uint32
	Type                uint32 // of the share
	Active              time.Duration
	User, Share, Client string
}

// A File is what is told of one open.
type File struct {
	ID, Locks   uint32
	Permissions uint32 // Permission bits
	Path, User  string // Path as an administrator is shown it, such as `C:\data\file`
}

// Permissions of an open file, [MS-SRVS] 2.2.4.7.
const (
	PermissionRead   uint32 = 1
	PermissionWrite  uint32 = 2
	PermissionCreate uint32 = 4
)

func session10(s *Session) rpc.Row {
	return rpc.Row{s.Client, s.User, seconds(s.Active), seconds(s.Idle)}
}

func session1(s *Session) rpc.Row {
	// The last: flags for guests, of whom there are none.
	return rpc.Row{s.Client, s.User, s.Opens, seconds(s.Active), seconds(s.Idle), uint32(0)}
}

// The SESSION_INFO structures, [MS-SRVS] 2.2.4.11 to 2.2.4.15. What kind of a machine the client is, it does not say.
var sessionLevels = map[uint32]func(s *Session) rpc.Row{
	0:   func(s *Session) rpc.Row { return rpc.Row{s.Client} },
	1:   session1,
	2:   func(s *Session) rpc.Row { return append(session1(s), "") },
	10:  session10,
	502: func(s *Session) rpc.Row { return append(session1(s), "", s.Transport) },
}

// clientName is how clients may be named, with or without backslashes.
func clientName(s string) string { return strings.TrimLeft(s, `\`) }

// selects reports whether a session is of that client and user; an empty name is anyone.
func (s *Session) selects(client, user string) bool {
	return (client == "" || strings.EqualFold(s.Client, clientName(client))) && (user == "" || strings.EqualFold(s.User, user))
}

// sessionEnum is NetrSessionEnum, [MS-SRVS] 3.1.4.5.
func (s service) sessionEnum(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	client, _ := r.UniqueString()
	user, _ := r.UniqueString()
	l, err := r.List(0, 1, 2, 10, 502)
	if err != nil {
		return 0, err
	}
	result := s.admin(ctx)
	var rows []rpc.Row
	if result == rpc.Win32Success {
		for _, ses := range s.src.Sessions(ctx) {
			if ses.selects(client, user) {
				rows = append(rows, sessionLevels[l.Level](&ses))
			}
		}
		if len(rows) == 0 && user != "" {
			result = rpc.NerrUserNotFound
		} else if len(rows) == 0 && client != "" {
			result = rpc.NerrClientNotFound
		}
	}
	return w.List(l, result, rows), nil
}

// sessionDel is NetrSessionDel, [MS-SRVS] 3.1.4.6. Without a client and a user it would be everybody, and is refused.
func (s service) sessionDel(ctx context.Context, r *rpc.Reader, _ *rpc.Writer) (rpc.Win32, error) {
	client, _ := r.UniqueString()
	user, _ := r.UniqueString()
	if r.Err() != nil {
		return 0, r.Err()
	}
	if result := s.admin(ctx); result != rpc.Win32Success {
		return result, nil
	}
	if client == "" && user == "" {
		return rpc.Win32InvalidParameter, nil
	}
	if s.src.EndSessions(ctx, func(ses *Session) bool { return ses.selects(client, user) }) == 0 {
		return rpc.NerrClientNotFound, nil
	}
	return rpc.Win32Success, nil
}

// connectionEnum is NetrConnectionEnum, [MS-SRVS] 3.1.4.1: who uses a share, or what a client at \\address uses.
func (s service) connectionEnum(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	qualifier, _ := r.UniqueString()
	l, err := r.List(0, 1)
	if err != nil {
		return 0, err
	}
	result := s.admin(ctx)
	var rows []rpc.Row
	switch {
	case result != rpc.Win32Success:
	case qualifier == "":
		result = rpc.Win32InvalidParameter
	default:
		client, byClient := strings.CutPrefix(qualifier, `\\`)
		if !byClient && !slices.ContainsFunc(s.src.Shares(ctx), func(sh Share) bool { return strings.EqualFold(sh.Name, qualifier) }) {
			result = rpc.NerrNetNameNotFound
			break
		}
		for _, c := range s.src.Connections(ctx) {
			row, other := rpc.Row{c.ID}, c.Client
			if byClient && !strings.EqualFold(c.Client, client) || !byClient && !strings.EqualFold(c.Share, qualifier) {
				continue
			}
			if byClient {
				other = c.Share // the one that was not asked by is told
			}
			if l.Level == 1 {
				row = append(row, c.Type, c.Opens, uint32(1), seconds(c.Active), c.User, other)
			}
			rows = append(rows, row)
		}
	}
	return w.List(l, result, rows), nil
}

func fileRow(level uint32, f *File) rpc.Row {
	row := rpc.Row{f.ID}
	if level == 3 {
		row = append(row, f.Permissions, f.Locks, f.Path, f.User)
	}
	return row
}

// fileEnum is NetrFileEnum, [MS-SRVS] 3.1.4.2.
func (s service) fileEnum(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	base, _ := r.UniqueString()
	user, _ := r.UniqueString()
	l, err := r.List(2, 3)
	if err != nil {
		return 0, err
	}
	result := s.admin(ctx)
	var rows []rpc.Row
	if result == rpc.Win32Success {
		for _, f := range s.src.Files(ctx) {
			if beneath(f.Path, base) && (user == "" || strings.EqualFold(f.User, user)) {
				rows = append(rows, fileRow(l.Level, &f))
			}
		}
	}
	return w.List(l, result, rows), nil
}

// beneath reports whether a path begins with base.
func beneath(path, base string) bool {
	return len(path) >= len(base) && strings.EqualFold(path[:len(base)], base)
}

// fileGetInfo is NetrFileGetInfo, [MS-SRVS] 3.1.4.3.
func (s service) fileGetInfo(ctx context.Context, r *rpc.Reader, w *rpc.Writer) (rpc.Win32, error) {
	id, level := r.U32(), r.U32()
	if r.Err() != nil {
		return 0, r.Err()
	}
	if level != 2 && level != 3 {
		return 0, rpc.FaultInvalidTag
	}
	result := s.admin(ctx)
	var row rpc.Row
	if result == rpc.Win32Success {
		result = rpc.NerrFileIDNotFound
		for _, f := range s.src.Files(ctx) {
			if f.ID == id {
				row, result = fileRow(level, &f), rpc.Win32Success
				break
			}
		}
	}
	return w.Info(level, result, row), nil
}

// fileClose is NetrFileClose, [MS-SRVS] 3.1.4.4.
func (s service) fileClose(ctx context.Context, r *rpc.Reader, _ *rpc.Writer) (rpc.Win32, error) {
	id := r.U32()
	if r.Err() != nil {
		return 0, r.Err()
	}
	if result := s.admin(ctx); result != rpc.Win32Success {
		return result, nil
	}
	if !s.src.CloseFile(ctx, id) {
		return rpc.NerrFileIDNotFound, nil
	}
	return rpc.Win32Success, nil
}

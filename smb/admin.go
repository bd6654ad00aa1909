package smb

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/postern-nas/postern/smb/auth"
	"github.com/postern-nas/postern/smb/dtyp"
	"github.com/postern-nas/postern/smb/fscc"
	"github.com/postern-nas/postern/smb/rpc/srvsvc"
	"github.com/postern-nas/postern/smb/rpc/wkssvc"
)

// isAdmin reports whether a user is an administrator: the accounts put those into the group, as Windows does.
func isAdmin(id *auth.Identity) bool { return slices.Contains(id.Groups, dtyp.Administrators) }

// An administration is what srvsvc and wkssvc tell one user, and do for an administrator.
type administration struct {
	s    *Server
	id   *auth.Identity
	conn *conn // that the user has come by; nil: the owner's own word
}

// Shares are those that the user can connect to; an administrator sees the hidden ones, too.
func (a administration) Shares(context.Context) []srvsvc.Share {
	uses := make(map[*share]uint32)
	for _, ses := range a.s.valid() {
		for _, t := range ses.treeList() {
			uses[t.share]++
		}
	}
	var list []srvsvc.Share
	for _, sh := range a.s.shares.all() {
		if !isAdmin(a.id) && (sh.Hidden && !sh.pipes || sh.rights(a.id) == 0) {
			continue
		}
		e := srvsvc.Share{Name: sh.Name, Comment: *sh.comment.Load(), Type: sh.kind(), Uses: uses[sh]}
		if !sh.pipes {
			e.Path = sh.path()
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b srvsvc.Share) int { return strings.Compare(fscc.Fold(a.Name), fscc.Fold(b.Name)) })
	return list
}

func (sh *share) kind() uint32 {
	if sh.pipes {
		return srvsvc.TypeIPC | srvsvc.TypeSpecial
	}
	return srvsvc.TypeDisk
}

// path is where an administrator is shown the share to be: one disk with all shares on it. Where its folder really is
// is no client's business.
func (sh *share) path() string { return `C:\` + sh.Name }

func (a administration) Server(context.Context) srvsvc.Server {
	return srvsvc.Server{Name: a.s.cfg.Name, Comment: a.s.cfg.Comment, Admin: isAdmin(a.id)}
}

// valid returns the sessions that are valid, the oldest first.
func (s *Server) valid() []*session {
	s.mu.Lock()
	list := make([]*session, 0, len(s.sessions))
	for _, ses := range s.sessions {
		list = append(list, ses)
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b *session) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.id, b.id)) })
	return list
}

// treeList returns the session's tree connects in the order of their IDs.
func (s *session) treeList() []*tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*tree, 0, len(s.trees))
	for _, t := range s.trees {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *tree) int { return cmp.Compare(a.id, b.id) })
	return list
}

// openList returns the session's opens in the order they were made. Each holds a reference, to be released.
func (s *session) openList() []*open {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*open, 0, len(s.opens))
	for _, o := range s.opens {
		o.refs.Add(1) // the table holds one
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b *open) int { return cmp.Compare(a.number, b.number) })
	return list
}

// client is the address that the session came from.
func (s *session) client() string {
	if host, _, err := net.SplitHostPort(s.remote); err == nil {
		return host
	}
	return s.remote
}

func (s *session) describe() srvsvc.Session {
	s.mu.Lock()
	opens := len(s.opens)
	s.mu.Unlock()
	active := time.Since(s.since)
	return srvsvc.Session{
		Client: s.client(), User: s.user(), Transport: transportName(s.terms.transport), Opens: uint32(opens),
		Active: active, Idle: active - time.Duration(s.used.Load()),
	}
}

// transportName is how Windows names a transport.
func transportName(transport string) string { return `\Device\` + strings.ToUpper(transport) }

func (a administration) Sessions(context.Context) (list []srvsvc.Session) {
	for _, ses := range a.s.valid() {
		list = append(list, ses.describe())
	}
	return list
}

// EndSessions ends sessions. The one that asks may be among them: it hears of it from its next request.
func (a administration) EndSessions(_ context.Context, gone func(*srvsvc.Session) bool) (n int) {
	for _, ses := range a.s.valid() {
		if d := ses.describe(); gone(&d) {
			a.s.log.Info("session ended by an administrator", "session", sessionTag(ses.id), "user", d.User, "by", a.id.User)
			ses.end()
			n++
		}
	}
	return n
}

func (a administration) Connections(context.Context) (list []srvsvc.Connection) {
	for _, ses := range a.s.valid() {
		opens := make(map[*tree]uint32)
		ses.mu.Lock()
		for _, o := range ses.opens {
			opens[o.at.Load().tree]++
		}
		ses.mu.Unlock()
		for _, t := range ses.treeList() {
			list = append(list, srvsvc.Connection{
				ID: t.id, Opens: opens[t], Type: t.share.kind(), Active: time.Since(t.since),
				User: ses.user(), Share: t.share.Name, Client: ses.client(),
			})
		}
	}
	return list
}

func (a administration) Files(ctx context.Context) (list []srvsvc.File) {
	for _, ses := range a.s.valid() {
		for _, o := range ses.openList() {
			list = append(list, o.describe(ctx))
			o.release()
		}
	}
	return list
}

func (o *open) describe(ctx context.Context) srvsvc.File {
	f := srvsvc.File{ID: o.number, User: o.session().user()}
	for bit, access := range map[uint32]dtyp.Access{
		srvsvc.PermissionRead: dtyp.ReadData | dtyp.Execute, srvsvc.PermissionWrite: dtyp.WriteData | dtyp.AppendData,
	} {
		if o.access&access != 0 {
			f.Permissions |= bit
		}
	}
	if o.file == nil {
		f.Path = `\PIPE\` + o.name
		return f
	}
	f.Path = o.tree.share.path()
	if p, err := o.file.Path(ctx); err == nil { // else its name is gone
		f.Path += `\` + p.String()
	}
	o.object.mu.Lock()
	f.Locks = uint32(o.object.fsa.Locks(o))
	o.object.mu.Unlock()
	return f
}

// CloseFile ends an open as CLOSE does. What it was asked from cannot be ended by it: a pipe has no other name for
// itself than its user.
func (a administration) CloseFile(_ context.Context, id uint32) (found bool) {
	for _, ses := range a.s.valid() {
		for _, o := range ses.openList() {
			if o.number == id && o.remove() {
				a.s.log.Info("open ended by an administrator", "session", sessionTag(ses.id), "user", ses.user(), "by", a.id.User)
				if err := o.end(); err != nil {
					a.s.log.Warn("ending an open failed", "why", err)
				}
				found = true
			}
			o.release()
		}
	}
	return found
}

// Transports are those with connections, for there is no telling here what the others listen on.
func (a administration) Transports(context.Context) (list []srvsvc.Transport) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	for c := range a.s.conns {
		name, addr := transportName(c.info.Transport), c.nc.LocalAddr().String()
		i := slices.IndexFunc(list, func(t srvsvc.Transport) bool { return t.Name == name && t.Address == addr })
		if i < 0 {
			i = len(list)
			list = append(list, srvsvc.Transport{Name: name, Address: addr})
		}
		list[i].Connections++
	}
	slices.SortFunc(list, func(a, b srvsvc.Transport) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Address, b.Address))
	})
	return list
}

func (a administration) Statistics(context.Context) srvsvc.Statistics {
	st := a.s.Stats()
	return srvsvc.Statistics{
		Start: a.s.started, FilesOpened: a.s.numbers.Load(), Sessions: uint32(st.Logons),
		Errors: uint32(st.Panics), WrongPasswords: uint32(st.LogonsFailed),
	}
}

// Workstation is what wkssvc tells.
func (a administration) Workstation(context.Context) wkssvc.Workstation {
	return wkssvc.Workstation{Name: a.s.cfg.Name, Admin: isAdmin(a.id)}
}

// Users are those who have sessions.
func (a administration) Users(context.Context) (list []string) {
	for _, ses := range a.s.valid() {
		if u := ses.user(); u != "" && !slices.Contains(list, u) {
			list = append(list, u)
		}
	}
	return list
}
